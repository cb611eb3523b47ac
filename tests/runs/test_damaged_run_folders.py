"""A file of the wrong shape in a run folder is one message, whichever command reads it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.exhaustive import few
from helpers.tiny_runs import localrules, train

pytestmark = pytest.mark.slow

COMMANDS: dict[str, Callable[[Path, Path], list[str]]] = {
    "resume": lambda run, _: ["run", "--resume", str(run)],
    "eval": lambda run, _: ["eval", str(run)],
    "predict": lambda run, image: ["predict", str(run), str(image)],
    "compare": lambda run, image: ["compare", str(run), str(run), "--out", str(image.parent / "page")],
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(train(tmp_path_factory.mktemp("done"), "--rule", "local-ce")["run_dir"])


@pytest.fixture
def run(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "run"))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    path = tmp_path_factory.mktemp("image") / "face.png"
    Image.new("L", (48, 48), 90).save(path)
    return path


def edited(pattern: str, replacement: str) -> Callable[[Path], object]:
    def edit(path: Path) -> None:
        text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.DOTALL | re.MULTILINE)
        assert count == 1
        path.write_text(text)

    return edit


def as_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def as_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("a file")


def without_table(name: str) -> str:
    return rf"^\[{name}\].*?(?=^\[|\Z)"


CONFIG: dict[str, Callable[[Path], object]] = {
    "environment-number": lambda path: path.write_text("environment = 5\n" + without(path, "environment")),
    "trained-on-number": lambda path: path.write_text("trained_on = 3\n" + without(path, "trained_on")),
    "no-trained-on": lambda path: path.write_text(without(path, "trained_on")),
    "shape-text": edited(r"^shape = \[.*?\]", 'shape = "large"'),
    "shape-negative": edited(r"^shape = \[.*?\]", "shape = [-1, 48, 48]"),
    "classes-number": edited(r"^classes = \[.*?\]", "classes = 7"),
    "mean-text": edited(r"^mean = \[.*?\]", 'mean = ["a"]'),
    "nested-tables": lambda path: path.write_text(path.read_text() + "[" + ".".join(["a"] * 2000) + "]\n"),
    "nested-arrays": lambda path: path.write_text("a = " + "[" * 2000 + "]" * 2000 + "\n" + path.read_text()),
    "digits": lambda path: path.write_text(f"a = {'9' * 5000}\n" + path.read_text()),
    "folder": as_folder,
    "utf-16": lambda path: path.write_text(path.read_text(), encoding="utf-16"),
    "list": lambda path: path.write_text("[1, 2]"),
    "empty": lambda path: path.write_text(""),
    "bytes": lambda path: path.write_bytes(bytes(range(256))),
    "rule-number": lambda path: path.write_text("rule = 5\n"),
    "phases-number": edited(r"^phases = \[.*?^\]", "phases = 5"),
}


def without(path: Path, table: str) -> str:
    return re.sub(without_table(table), "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def check(words: list[str]) -> dict[str, str]:
    said = localrules(*words, "--json")
    assert said.code in (1, 2), said.out
    assert "did not foresee" not in said.error["what"]
    assert said.error["where"]
    assert len(said.out) < 2500
    return said.error


@pytest.mark.parametrize("command", few(COMMANDS, {"resume"}))
@pytest.mark.parametrize("damage", CONFIG)
def test_the_configuration(damage: str, command: str, run: Path, image: Path) -> None:
    if damage == "phases-number" and "phases = [" not in (run / "config.toml").read_text():
        edited(r"\A", "phases = 5\n")(run / "config.toml")
        (run / "config.toml").write_text(
            re.sub(
                r"^\[\[phases\]\].*?(?=^\[[^\[]|\Z)",
                "",
                (run / "config.toml").read_text(),
                flags=re.DOTALL | re.MULTILINE,
            )
        )
    else:
        CONFIG[damage](run / "config.toml")
    check(COMMANDS[command](run, image))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_byte_order_mark_does_no_harm(command: str, run: Path, image: Path) -> None:
    for name in ("config.toml", "summary.json"):
        (run / name).write_text((run / name).read_text(), encoding="utf-8-sig")
    said = localrules(*COMMANDS[command](run, image), "--json")
    assert said.code == 0, said.out


@pytest.mark.parametrize("command", ["resume", "eval", "predict"])
@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (edited(r"^seed = 0", "seed = 3"), "seed: 0 in the run, 3 now"),
        (edited(r"^mean = \[.*?\]", "mean = [0.1]"), "its table [trained_on] was edited"),
        (edited(r'"angry"', '"cross"'), "its table [trained_on] was edited"),
    ],
)
def test_a_configuration_that_was_edited(
    edit: Callable[[Path], object], why: str, command: str, run: Path, image: Path
) -> None:
    edit(run / "config.toml")
    error = check(COMMANDS[command](run, image))
    assert (error["what"], error["why"]) == ("the settings in config.toml differ from those of the run", why)


def test_a_configuration_that_was_laid_out_anew_is_as_good(run: Path, image: Path) -> None:
    path = run / "config.toml"
    path.write_text("# A comment.\n" + path.read_text().replace("\n", "\n\n"))
    assert localrules("eval", run, "--json").code == 0


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_a_finished_run_without_its_checkpoints(command: str, run: Path, image: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    error = check(COMMANDS[command](run, image))
    assert error["what"] == "the run's checkpoint is gone"
    assert f"localrules run --config {run}/config.toml" in error["fix"]
    assert localrules("run", "--resume", run, "--json").document["status"] == "done"


@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_resuming_a_finished_run_writes_its_weights_anew(damage: str, run: Path, image: Path) -> None:
    weights = run / "checkpoints" / "last.safetensors"
    before = weights.read_bytes()
    weights.unlink() if damage == "lost" else weights.write_bytes(before[:-10])
    said = localrules(*COMMANDS["eval"](run, image), "--json")
    assert said.code != 0
    assert "--resume" in said.document["error"]["fix"]
    assert localrules("run", "--resume", run, "--json").document["status"] == "done"
    assert weights.read_bytes() == before


def test_a_stopped_run_without_its_checkpoints_does_not_begin_anew(run: Path, image: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    summary = run / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"status": "stopped"}))
    assert check(COMMANDS["resume"](run, image))["what"] == "the run's checkpoint is gone"


SUMMARY: dict[str, Callable[[Path], object]] = {
    "list": lambda path: path.write_text("[]"),
    "number": lambda path: path.write_text("5"),
    "null": lambda path: path.write_text("null"),
    "nested": lambda path: path.write_text("[" * 100_000 + "]" * 100_000),
    "utf-16": lambda path: path.write_text(path.read_text(), encoding="utf-16"),
    "text": lambda path: path.write_text("done"),
    "folder": as_folder,
    "text-for-number": lambda path: path.write_text(
        json.dumps(json.loads(path.read_text()) | {"valid_accuracy": "good"})
    ),
    "only-status": lambda path: path.write_text('{"status": "done"}'),
}


@pytest.mark.parametrize("command", ["resume", "compare"])
@pytest.mark.parametrize("damage", SUMMARY)
def test_the_summary(damage: str, command: str, run: Path, image: Path) -> None:
    SUMMARY[damage](run / "summary.json")
    check(COMMANDS[command](run, image))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["metrics.csv", "summary.json", "checkpoints"])
def test_a_folder_for_a_file_or_a_file_for_a_folder(name: str, command: str, run: Path, image: Path) -> None:
    (as_file if name == "checkpoints" else as_folder)(run / name)
    assert name in check(COMMANDS[command](run, image))["where"]


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", bytes(range(256)), "step,valid_accuracy\n1,0.5\n".encode("utf-16")]
)
def test_metrics_that_are_none(content: bytes, run: Path, image: Path) -> None:
    (run / "metrics.csv").write_bytes(content)
    assert "metrics.csv" in check(COMMANDS["compare"](run, image))["where"]


@pytest.mark.parametrize("damage", ["folder", "utf-16", "nested-tables", "bytes", "rule-number"])
def test_a_file_of_settings(damage: str, run: Path, tmp_path: Path) -> None:
    CONFIG[damage](run / "config.toml")
    check(["run", "--config", str(run / "config.toml"), "--out", str(tmp_path / "out"), "--rule", "local-ce"])
