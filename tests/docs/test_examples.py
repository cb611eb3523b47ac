"""The examples run, and the rule that the pages show is the one in examples/."""

from __future__ import annotations

import csv
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.cifar_files import cifar10, pickled
from helpers.image_trees import write_folder
from helpers.snippets import ROOT, snippets
from helpers.tiny_runs import FACES, MLP, train
from sklearn.datasets import load_digits

from localrules.reproduce.league.row import Row, write_row

pytestmark = pytest.mark.slow


def test_a_module_of_ones_own_learns_in_a_loop_of_ones_own() -> None:
    main = runpy.run_path(str(ROOT / "examples" / "wrap_your_module.py"))["main"]
    assert main(steps=40, images=980) > 1.5 / 7


@pytest.mark.exhaustive
def test_the_notebook_runs_from_a_comparison_to_its_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is; it holds no output of its own, and says how to install what it uses."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "examples" / "first_comparison.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in cells if cell.outputs or cell.execution_count] == []
    assert "# %pip install .." in cells[0].source
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in cells for output in cell.outputs if output.output_type != "stream"]
    assert ["image/png" in output.data for output in outputs] == [False, True]
    assert "backprop" in outputs[0].data["text/plain"]
    assert (tmp_path / "first_comparison" / "index.html").is_file()
    assert not (ROOT / "examples" / "first_comparison").exists()


def test_the_pages_show_the_example_rule_as_it_is() -> None:
    example = (ROOT / "examples" / "myrule.py").read_text(encoding="utf-8").split("\n", 2)[2]
    for page in ("README.md", "docs/tutorial.md"):
        first = next(snippet for snippet in snippets(page) if snippet.file == "myrule.py")
        assert first.code == example, first.place
    assert len([line for line in example.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize(
    "name",
    [
        "forward_forward_gap.py",
        "hsic_readout_gap.py",
        "step_cost_beside_public_code.py",
        "votes_of_layers.py",
    ],
)
def test_an_example_that_needs_more_than_a_test_has_says_what_it_wants(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(ROOT / "examples" / "studies" / name))["main"]
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "--threads" in capsys.readouterr().out


def test_the_cost_of_the_pipeline_is_measured_beside_a_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = runpy.run_path(str(ROOT / "examples" / "studies" / "pipeline_cost.py"))
    words = ["--model", "lenet", "--rounds", "1", "--samples", "64", "--batch-size", "32"]
    monkeypatch.setattr("sys.argv", ["pipeline_cost.py", *words])
    study["main"].__globals__["AT_MOST"] = 0.0  # whatever it costs is too much
    assert study["main"]() == 1
    assert "lenet by backprop" in capsys.readouterr().out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit on a process's data is Linux's")
@pytest.mark.parametrize(("limit", "failed"), [("8", 0), ("0.05", 1)])
def test_the_study_of_large_sets_says_whether_a_run_fits_into_a_limit(
    limit: str, failed: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(ROOT / "examples" / "studies" / "large_set.py"))["main"]
    monkeypatch.setattr("sys.argv", ["large_set.py", "--gib", "0.02", "--limit-gib", limit])
    assert main() == failed
    line = capfd.readouterr().out.splitlines()[-1]
    assert line.startswith("437 images, 0.02 GiB decoded")
    assert line.endswith("failed" if failed else "done")


def test_the_start_of_a_run_is_timed_beside_that_of_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_folder(tmp_path / "cifar-10-batches-py", pickled(cifar10()))
    main = runpy.run_path(str(ROOT / "examples" / "studies" / "start_time.py"))["main"]
    monkeypatch.setattr("sys.argv", ["start_time.py", str(tmp_path), "--rounds", "1", "--batch-size", "4"])
    main()
    form = r"empty cache: (\S+) s\nfull cache: (\S+) s; the control: (\S+) s; .* (\S+)\n"
    said = re.search(form, capsys.readouterr().out)
    assert said is not None
    empty, full, control, ratio = map(float, said.groups())
    assert min(empty, full, control) > 0
    assert ratio == pytest.approx(full / control, abs=0.05)


def test_cases_of_the_gap_are_those_of_the_suite() -> None:
    """Same widths, batches, epochs and published values."""
    from localrules_hsic.published import hsic

    rows = runpy.run_path(str(ROOT / "examples" / "studies" / "hsic_readout_gap.py"))["CASES"].values()
    suite = [row for row in hsic().cases if "readout" in row.name]
    assert sorted(row.published for row in rows) == sorted(row.published for row in suite)
    for row in suite:
        (same,) = (one for one in rows if one.published == row.published)
        assert list(same.hidden[1:]) == row.settings["model"]["hidden"]
        assert (same.batch, same.width) == (row.settings["batch_size"], row.settings["rule"]["width"])
        assert same.epochs + 5 == row.settings["epochs"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("form", ["ours", "all of them"])
def test_forward_forward_by_hand_learns_digits(form: str, tmp_path: Path) -> None:
    """Made as large as MNIST's images, and by fewer steps."""
    found = load_digits()
    images = np.repeat(np.repeat(found.images * 15.9, 3, axis=1), 3, axis=2).astype("uint8")
    parts = {"x_train": images[:1500], "y_train": found.target[:1500], "x_test": images[1500:]}
    np.savez(tmp_path / "digits.npz", **parts, y_test=found.target[1500:])
    example = runpy.run_path(str(ROOT / "examples" / "studies" / "forward_forward_gap.py"))
    right = example["accuracy"](tmp_path / "digits.npz", example["FORMS"][form], shown=200, steps=250, seed=0)
    assert 50 < right < 100


def test_layers_of_a_finished_run_get_a_vote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The network is as it was: its readout scores what the run scored. The layers' share is learned."""
    summary = train(tmp_path / "runs", "--rule", "backprop", setting=[*FACES, *MLP, "--threads", "1", "--steps", "60"])
    example = runpy.run_path(str(ROOT / "examples" / "studies" / "votes_of_layers.py"))
    monkeypatch.setattr("sys.argv", ["votes_of_layers.py", summary["run_dir"], "--epochs", "40", "--split", "train"])
    example["main"].__globals__["BATCH"] = 70
    example["main"]()
    name, *words = capsys.readouterr().out.split()
    found = {key: float(value) for key, value in zip(words[::2], words[1::2], strict=True)}
    assert name == Path(summary["run_dir"]).name
    assert found["readout"] == pytest.approx(summary["train_accuracy"], abs=1e-3)
    assert found["layers"] > 0.3
    assert found.keys() == {"readout", "layers", "vote"}


def test_the_rows_of_a_league_become_a_table_and_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Row("g", "pred", "mlp", "faces", {}, accuracies=(0.5, 0.6), locality="local-labels", step_ratio=0.9,
            memory_ratio=0.5, machine="a CPU"),
        Row("g", "backprop", "mlp", "faces", {}, accuracies=(0.7,), locality="backprop", step_ratio=1.0,
            memory_ratio=1.0, machine="a CPU"),
        Row("h", "fa", "mlp", "faces", {}, reason="every trial diverged"),
    ]  # fmt: skip
    for row in rows:
        write_row(tmp_path, row)
    example = runpy.run_path(str(ROOT / "examples" / "studies" / "draw_league.py"))
    words = ["draw_league.py", "--rows", str(tmp_path / "rows"), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    example["main"]()
    with (tmp_path / "league.csv").open(encoding="utf-8") as file:
        assert [(line["rule"], line["accuracy_mean"]) for line in csv.DictReader(file)] == [
            ("backprop", "0.7000"), ("pred", "0.5500"), ("fa", ""),
        ]  # fmt: skip
    assert [path.name for path in tmp_path.glob("*.png")] == ["league-g.png"]
