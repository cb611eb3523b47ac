"""Hub folders: read back as runs are, on another machine, and uploaded."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from helpers.kill_process import MOMENTS, die_at
from helpers.tiny_runs import MLP, SHORT, TINY, localrules, only_run, resume, start_process, tiny_csv, train
from PIL import Image
from safetensors.torch import load_file

import localrules as package
from localrules.engine.exported_weights import write_weights
from localrules.errors import LocalRulesError, UsageError
from localrules.tracking.model_card import ModelDescription, model_card
from localrules.tracking.model_folder import portable_record

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a rule with state, on data from a file."""
    place = tmp_path_factory.mktemp("runs")
    data = ["--data", "fer2013", "--data-path", str(tiny_csv(place / "faces.csv"))]
    summary = train(place, "--rule", "noprop", "--granularity", "layer", setting=[*data, *MLP, *SHORT])
    return Path(summary["run_dir"])


@pytest.fixture
def exported(run: Path, tmp_path: Path) -> Path:
    said = localrules("export", run, "--format", "hub", "--out", tmp_path / "net", "--license", "mit", "--json")
    assert said.document == {"path": str(tmp_path / "net"), "format": "hub", "max_abs_difference": 0.0}
    return tmp_path / "net"


def test_a_hub_folder_is_read_back_elsewhere(run: Path, exported: Path, tmp_path: Path) -> None:
    names = {"model.safetensors", "rule.safetensors", "config.toml", "README.md", "export.json"}
    assert {path.name for path in exported.iterdir()} == names
    moved = Path(shutil.move(exported, tmp_path / "elsewhere"))
    for path in moved.iterdir():
        assert str(run.parent).encode() not in path.read_bytes(), path
    plain = package.load_run(run).model
    assert load_file(moved / "model.safetensors").keys() == plain.state_dict().keys()

    data = ["--data-path", run.parent / "faces.csv", "--json"]
    scores = [localrules("eval", folder, *data).document for folder in (run, moved)]
    assert scores[0]["confusion"] == scores[1]["confusion"]
    assert (moved / "evaluation").is_dir()
    Image.new("L", (48, 48), 90).save(tmp_path / "image.png")
    answers = [localrules("predict", folder, tmp_path / "image.png", "--json").out for folder in (run, moved)]
    assert answers[0] == answers[1]
    images = torch.rand(3, 1, 48, 48)
    assert torch.equal(package.load_run(run).predict(images), package.load_run(moved).predict(images))


def test_the_card_has_metrics_terms_and_licence(run: Path, exported: Path) -> None:
    card = (exported / "README.md").read_text()
    summary = json.loads((run / "summary.json").read_text())
    assert card.startswith("---\nlibrary_name: localrules\n")
    assert 'license: "mit"' in card
    assert f"| accuracy on valid | {summary['valid_accuracy']:.1%}" in card.replace(" %", "%")
    assert "| rule | noprop |" in card
    assert "| class of locality | local-labels |" in card
    assert "may not be redistributed" in card
    assert summary["weights_sha256"] in card
    assert "localrules eval net" in card


def test_an_export_of_an_export_keeps_the_steps_and_the_accuracies(tmp_path: Path) -> None:
    stops = ["--set", "early_stopping.min_delta=1", "--set", "early_stopping.patience=1"]
    summary = train(tmp_path / "runs", "--rule", "backprop", *stops)
    package.export(summary["run_dir"], "hub", tmp_path / "first")
    package.export(tmp_path / "first", "hub", tmp_path / "second", license="mit")
    cards = [(tmp_path / name / "README.md").read_text().splitlines() for name in ("first", "second")]
    assert f"| steps | {summary['steps']} |" in cards[1]
    assert summary["steps"] < 12  # of the settings
    assert any(line.startswith("model-index: ") for line in cards[1])
    expected = {"| accuracy on valid |", "| accuracy on train |"}
    assert {start for start in expected for line in cards[1] if line.startswith(start)} == expected
    assert [line for line in cards[0] if line.startswith("| ")] == [line for line in cards[1] if line.startswith("| ")]
    kept = json.loads((tmp_path / "second" / "export.json").read_text())
    assert [kept[name] for name in ("done", "steps")] == [True, summary["steps"]]


@pytest.mark.parametrize(
    ("moment", "steps"),
    [
        ("between two checkpoints", MOMENTS["between two checkpoints"][1]),
        # The weights that a rule without state is read from are those of the checkpoint before.
        ("between a checkpoint and its weights for readers", 3),
    ],
)
def test_the_export_of_a_run_that_is_not_done_says_so_and_after_which_step(
    moment: str, steps: int, tmp_path: Path
) -> None:
    words = ["run", "--rule", "backprop", *TINY, "--checkpoint-every", "3", "--out", str(tmp_path / "runs")]
    process = start_process(die_at, moment, words)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    run, said = only_run(tmp_path / "runs"), f"is not done: its weights after step {steps} are exported"
    with pytest.warns(UserWarning, match=said):
        package.export(run, "hub", tmp_path / "first")
    with pytest.warns(UserWarning, match=said):
        package.export(tmp_path / "first", "hub", tmp_path / "second")
    for name in ("first", "second"):
        card = (tmp_path / name / "README.md").read_text()
        assert f"**The run is not done.** These are its weights after step {steps}." in card
        assert f"| steps | {steps} |" in card
        assert "accuracy on" not in card
    resume(run)
    package.export(run, "hub", tmp_path / "third")
    assert "not done" not in (tmp_path / "third" / "README.md").read_text()


def test_an_export_of_unknown_steps_states_none(exported: Path, tmp_path: Path) -> None:
    record = json.loads((exported / "export.json").read_text())
    for name in ("done", "steps", "train_accuracy", "valid_accuracy"):  # which older exports have not
        del record[name]
    (exported / "export.json").write_text(json.dumps(record))
    package.export(exported, "hub", tmp_path / "second")
    card = (tmp_path / "second" / "README.md").read_text()
    assert "| steps |" not in card
    assert "not done" not in card
    package.export(exported, "hub", tmp_path / "second")  # which is there already


def test_notes_stand_on_the_card(run: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("## Limits\n\nNot for decisions about people.\n", encoding="utf-8")
    words = ["export", run, "--out", tmp_path / "net", "--notes", notes, "--json"]
    assert localrules(*words, "--format", "hub").code == 0
    card = (tmp_path / "net" / "README.md").read_text()
    assert "\n\n## Limits\n\nNot for decisions about people.\n\n## Terms\n" in card
    notes.write_text("Others.")
    assert localrules(*words, "--format", "hub").error["why"] == "it holds another export: notes differ"
    refused = localrules(*words, "--format", "torch")
    assert (refused.code, refused.error["what"]) == (2, "only a hub folder has a model card")
    notes.write_bytes(b"\xff\xfe")
    refused = localrules(*words, "--format", "hub")
    assert (refused.code, refused.error["what"]) == (2, "the notes cannot be read")


def test_the_same_export_is_kept_and_another_is_refused(run: Path, exported: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in exported.iterdir()}
    words = ["export", run, "--format", "hub", "--out", exported, "--json"]
    assert localrules(*words, "--license", "mit").document["max_abs_difference"] == 0.0
    assert {path.name: path.stat().st_mtime_ns for path in exported.iterdir()} == before
    refused = localrules(*words)
    assert refused.code == 2
    assert refused.error["why"] == "it holds another export: license differ"
    (exported / "export.json").unlink()
    refused = localrules(*words)
    assert refused.error["why"] == "it is not empty, and holds no export"
    assert "remove this one" in refused.error["fix"]


def test_parameters_in_half_precision_predict_nearly_the_same(run: Path, tmp_path: Path) -> None:
    words = ["export", run, "--out", tmp_path / "net", "--half", "--json"]
    said = localrules(*words, "--format", "hub")
    assert 0 < said.document["max_abs_difference"] < 0.01
    stored, whole = load_file(tmp_path / "net" / "model.safetensors"), package.load_run(run).model
    parameters = {name for name, _ in whole.named_parameters()}
    for name, tensor in whole.state_dict().items():
        assert torch.equal(stored[name], tensor.half() if name in parameters else tensor)
    again = package.load_run(tmp_path / "net")
    assert {parameter.dtype for parameter in again.model.parameters()} == {torch.float32}
    card = (tmp_path / "net" / "README.md").read_text()
    assert "| weights stored as | float16" in card
    assert localrules(*words, "--format", "hub").document["max_abs_difference"] > 0
    refused = localrules(*words[:-2], "--format", "hub", "--json")
    assert refused.error["why"] == "it holds another export: half differ"
    refused = localrules(*words, "--format", "torch")
    assert (refused.code, refused.error["where"]) == (2, "--half")


def test_weights_beyond_half_precision_are_named(run: Path, tmp_path: Path) -> None:
    loaded = package.load_run(run)
    with torch.no_grad():
        next(iter(loaded.model.parameters())).flatten()[0] = 1e5
    with pytest.raises(UsageError, match="do not fit into half precision"):
        write_weights(tmp_path, loaded.predictor.network, loaded.predictor.rule, half=True)


def test_an_export_cannot_be_continued_as_a_run(exported: Path) -> None:
    before = {path.name for path in exported.iterdir()}
    said = localrules("run", "--resume", exported, "--json")
    assert said.code == 2
    assert said.document["error"]["what"] == "an export has no state of training"
    assert {path.name for path in exported.iterdir()} == before


def test_a_configuration_that_was_edited_is_refused(exported: Path) -> None:
    config = exported / "config.toml"
    config.write_text(config.read_text().replace('"angry"', '"anger"'))
    with pytest.raises(UsageError, match="differ from those of the run that was exported"):
        package.load_run(exported)


def test_weights_that_were_changed_after_loading_are_not_exported(run: Path, tmp_path: Path) -> None:
    loaded = package.load_run(run)
    with torch.no_grad():
        next(loaded.model.parameters()).add_(1)
    with pytest.raises(UsageError, match="not those of its folder"):
        package.export(loaded, "hub", tmp_path / "changed")


def test_damaged_weights_are_an_error(exported: Path) -> None:
    content = bytearray((exported / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (exported / "model.safetensors").write_bytes(bytes(content))
    with pytest.raises(LocalRulesError, match="cannot be loaded") as caught:
        package.load_run(exported)
    assert "export or download it again" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "the last weights, in eval mode, without augmentation."),
        ({"tta_flip": True}, "the last weights, in eval mode, averaged over each image and its flip."),
        ({"ema_decay": 0.9}, "the moving average of the weights, in eval mode, without augmentation."),
    ],
)
def test_a_card_says_what_its_accuracies_are_of(settings: dict[str, Any], said: str) -> None:
    about = ModelDescription("hsic", "mlp", "faces", ("a", "b"), 10, "local-labels", True)
    assert said in model_card(about, {"valid_accuracy": 0.5, **settings}, "here")


def test_a_record_loses_what_holds_on_one_machine_alone() -> None:
    record = {
        "device": "cuda:1",
        "model": {"name": "timm:resnet18", "pretrained": True, "weights": "/elsewhere/somebody/w.pt"},
        "data": {"name": "fer2013", "path": "C:\\data\\fer2013.csv", "seed": 1},
        "rule": {"name": "mixed", "parts": [{"name": "hsic", "file": "/elsewhere/somebody/x"}]},
        "trackers": {"wandb": {"project": "mine"}},
        "environment": {"python": "3.11", "command": "/elsewhere/somebody/bin/localrules run", "git": {}},
        "trained_on": {"origin": "/elsewhere/somebody/fer2013.csv: the original", "fingerprint": "1"},
    }
    assert portable_record(record) == {
        "device": "auto",
        "model": {"name": "timm:resnet18", "pretrained": False},
        "data": {"name": "fer2013", "seed": 1},
        "rule": {"name": "mixed", "parts": [{"name": "hsic"}]},
        "environment": {"python": "3.11"},
        "trained_on": {"fingerprint": "1"},
    }


class _Hub(BaseHTTPRequestHandler):
    """As much of the Hub's protocol as an upload of small files needs."""

    asked: ClassVar[list[tuple[str, str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.path, self.headers.get("Authorization", ""), body))
        here = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
        if self.path == "/api/repos/create":
            self._answer({"url": f"{here}/somebody/net", "id": "somebody/net"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self._answer(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        elif "/commit/" in self.path:
            self._answer({"commitUrl": f"{here}/somebody/net/commit/1", "commitOid": "1", "success": True})
        else:
            self._answer({"errors": [], "warnings": []})

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization", ""), b""))
        self._answer({"id": "somebody/net", "sha": "0", "siblings": []})

    def _answer(self, document: Any) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A server in the place of the Hub."""
    from huggingface_hub import constants, hf_api

    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(_Hub, "asked", [])
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(hf_api, "ENDPOINT", constants.ENDPOINT, raising=False)
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
        yield server
        server.shutdown()


def test_a_folder_is_uploaded(run: Path, exported: Path, hub: ThreadingHTTPServer) -> None:
    localrules("eval", exported, "--data-path", run.parent / "faces.csv")
    (exported / "wandb").mkdir()
    (exported / "wandb" / "debug.log").write_text("paths and command lines of this machine")
    words = ["export", run, "--format", "hub", "--out", exported, "--license", "mit", "--push", "somebody/net"]
    said = localrules(*words, "--json")
    assert said.code == 0, said.out + said.err
    assert said.document["url"].endswith("/somebody/net")
    ((token, commit),) = [(token, body) for path, token, body in _Hub.asked if "/commit/" in path]
    assert token == "Bearer hf_of_the_test"
    lines = [json.loads(line) for line in commit.splitlines()]
    sent = {line["value"]["path"] for line in lines if line["key"] == "file"}
    assert sent == {"model.safetensors", "rule.safetensors", "config.toml", "README.md", "export.json"}


def test_an_upload_that_cannot_succeed_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    def refused(*words: str) -> dict[str, str]:
        said = localrules("export", tmp_path / "no run", "--out", tmp_path / "out", "--json", *words)
        assert said.code == 2
        return said.error

    assert refused("--format", "onnx", "--push", "a/b")["fix"] == "add --format hub"
    assert "USER/NAME" in refused("--format", "hub", "--push", "a/b/c")["fix"]
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "hf auth login" in refused("--format", "hub", "--push", "a/b")["fix"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refused("--format", "hub", "--push", "a/b")["where"] == "HF_HUB_OFFLINE"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "localrules[hub]" in refused("--format", "hub", "--push", "a/b")["fix"]


def test_a_hub_that_does_not_answer_is_an_error(run: Path, exported: Path, hub: ThreadingHTTPServer) -> None:
    hub.shutdown()
    hub.server_close()
    words = ["export", run, "--format", "hub", "--out", exported, "--license", "mit", "--push", "somebody/net"]
    said = localrules(*words, "--json")
    assert said.code == 1
    assert str(exported) in said.error["fix"]
