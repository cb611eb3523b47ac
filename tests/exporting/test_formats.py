"""Exports predict what their run predicts, whatever the rule answers by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.exhaustive import few
from helpers.tiny_runs import DENSE, FACES, MLP, SHORT, localrules, train

import localrules as package
from localrules.errors import DataError
from localrules.runs.load import TrainedRun

pytestmark = pytest.mark.slow

VIT = ["--model", "vit_tiny", "--set", "model.depth=1", "--set", "model.width=12", "--set", "model.heads=2"]
FEW = [*SHORT, "--steps", "2", "--set", "optimizer.lr=0.01"]
IN_TORCH = {
    "readout, in parts": ["--rule", "hsic", *DENSE, "--granularity", "2"],
    "flips": ["--rule", "backprop", "--model", "lenet", "--set", "tta_flip=true"],
    "labels tried": ["--rule", "forward-forward", "--model", "mlp", "--set", "model.hidden=[8]"],
    "goodness": ["--rule", "mono-forward", *MLP],
    "least squares": ["--rule", "cafo", *MLP],
}
IN_ONNX = {  # which traces the same graph first
    "votes": ["--rule", "hsic-projected", *VIT],
    "denoised label": ["--rule", "noprop", *MLP, "--set", "rule.draws=1"],
}


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of each case, trained when it is first needed."""
    found: dict[str, Path] = {}

    def get(case: str) -> Path:
        if case not in found:
            setting = [*FACES, *(IN_TORCH | IN_ONNX)[case], *FEW]
            found[case] = Path(train(tmp_path_factory.mktemp("runs"), setting=setting)["run_dir"])
        return found[case]

    return get


@pytest.mark.parametrize("case", few(IN_TORCH, {"least squares", "goodness"}))
def test_a_torch_export_predicts_what_the_run_predicts(case: str, run_of: Any, tmp_path: Path) -> None:
    run = run_of(case)
    found = package.export(run, "torch", tmp_path / "out")
    assert found.max_abs_difference <= 1e-6
    facts = {"localrules.json": ""}
    graph = torch.export.load(tmp_path / "out" / "model.pt2", extra_files=facts)
    images = torch.rand(5, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    expected = package.load_run(run).predict(images)
    assert torch.allclose(graph.module()(images), expected, atol=1e-6)
    assert json.loads(facts["localrules.json"])["classes"] == list(package.load_run(run).classes)


@pytest.mark.parametrize("case", few(IN_ONNX, {"denoised label"}))
def test_an_onnx_export_predicts_what_the_run_predicts(case: str, run_of: Any, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    run = run_of(case)
    said = localrules("export", run, "--format", "onnx", "--out", tmp_path / "out", "--json")
    assert said.code == 0, said.err
    assert said.document.keys() == {"path", "format", "max_abs_difference"}
    assert said.document["path"] == str(tmp_path / "out")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    (images,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.shape) == ("images", ["batch", 1, 48, 48])
    assert (probabilities.name, probabilities.shape) == ("probabilities", ["batch", 7])
    batch = torch.rand(5, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    (found,) = session.run(None, {"images": batch.numpy()})
    difference = float((torch.from_numpy(found) - package.load_run(run).predict(batch)).abs().max())
    assert difference <= 1e-5
    assert said.document["max_abs_difference"] <= 1e-5
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"])[:2] == ["angry", "disgust"]
    assert str(Path(package.__file__).parent).encode() not in (tmp_path / "out" / "model.onnx").read_bytes()


def test_small_constants_stay_in_an_onnx_export(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    setting = [*FACES, "--rule", "forward-forward", "--model", "mlp", "--set", "model.hidden=[2,2]", *FEW]
    run = Path(train(tmp_path / "runs", setting=setting)["run_dir"])
    assert localrules("export", run, "--format", "onnx", "--out", tmp_path / "out", "--json").code == 0
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    shades = torch.linspace(0, 1, 64).view(-1, 1, 1, 1).expand(-1, 1, 48, 48).contiguous()  # some silence all units
    (found,) = session.run(None, {"images": shades.numpy()})
    assert torch.allclose(torch.from_numpy(found), package.load_run(run).predict(shades), atol=1e-5)


def test_a_prediction_that_settles_is_refused(tmp_path: Path) -> None:
    setting = [*FACES, *MLP, *FEW, "--set", "rule.free_steps=2", "--set", "rule.nudged_steps=2"]
    run = train(tmp_path / "runs", "--rule", "equilibrium-propagation", setting=setting)["run_dir"]
    said = localrules("export", run, "--format", "torch", "--out", tmp_path / "out", "--json")
    assert said.code == 2
    assert "gradients" in said.error["why"]
    assert "--format hub" in said.error["fix"]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert localrules("export", run, "--format", "hub", "--out", tmp_path / "out").code == 0


def test_an_export_that_predicts_something_else_is_not_kept(
    run_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from localrules.exporting.torch_format import TorchFormat

    def shifted(self: TorchFormat, run: TrainedRun, folder: Path, images: list[torch.Tensor]) -> list[torch.Tensor]:
        return [run.predictor.probabilities(batch) + 2e-5 for batch in images]

    monkeypatch.setattr(TorchFormat, "predict", shifted)
    said = localrules("export", run_of("goodness"), "--format", "torch", "--out", tmp_path / "out", "--json")
    assert said.code == 1
    assert "2e-05" in said.error["why"]
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_export_is_not_taken_for_the_same(run_of: Any, tmp_path: Path) -> None:
    words = ["export", run_of("goodness"), "--format", "torch", "--out", tmp_path / "out", "--json"]
    assert localrules(*words).code == 0
    content = (tmp_path / "out" / "model.pt2").read_bytes()
    (tmp_path / "out" / "model.pt2").write_bytes(content[:1000])
    said = localrules(*words)
    assert said.code == 1
    assert "remove it and export again" in said.error["fix"]


def test_images_are_predicted_in_either_range_and_others_are_refused(run_of: Any) -> None:
    run = package.load_run(run_of("denoised label"))
    images = torch.randint(256, (2, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = run.predict(images)
    assert found.shape == (2, 7)
    assert torch.allclose(found.sum(1), torch.ones(2))
    frozen = images.numpy()[:, :, ::-1]
    frozen.setflags(write=False)
    assert torch.equal(run.predict(frozen), run.predict(images.flip(2)))
    assert torch.allclose(run.predict(images.numpy() / 255), found, atol=1e-6)
    wrong = [images[0], images[:0], images.long(), images.float(), images / 128 - 1]
    for each in wrong:
        with pytest.raises(DataError, match="do not fit the run"):
            run.predict(each)


def test_missing_packages_are_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = localrules("export", tmp_path / "no run", "--format", "onnx", "--out", tmp_path / "out", "--json")
    assert said.code == 2
    assert said.error["what"] == "onnx, onnxscript, onnxruntime are not installed"
    assert said.error["fix"] == "pip install 'localrules[onnx]'"
