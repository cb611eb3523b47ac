"""The run folder: made in one piece, filled row by row, cut back to a checkpoint."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from localrules.callbacks.base import RunInfo
from localrules.core.phase import Phase
from localrules.errors import LocalRulesError, UsageError
from localrules.tracking.metrics_file import MetricsFile, read_rows
from localrules.tracking.records import read_config, read_summary, write_config, write_summary
from localrules.tracking.run_folder import RunFolder, create_run_folder, lock_run

pytestmark = pytest.mark.slow

COLUMNS = ("step", "loss", "note")


def run_info(directory: Path, **changes: Any) -> RunInfo:
    known: dict[str, Any] = {
        "directory": directory,
        "rule": "hsic",
        "model": "mlp",
        "data": "faces",
        "config": {},
        "layers": [],
        "classes": ("a", "b"),
        "redistributable": True,
        "total_steps": 3,
        "steps_per_epoch": 3,
        "resumed_from_step": 0,
        "columns": COLUMNS,
        "phases": (Phase("joint", 0, 3, frozenset(), 3.0),),
    }
    return RunInfo(**known | changes)


def test_a_new_folder_is_named_by_time_rule_and_model_and_has_its_configuration(tmp_path: Path) -> None:
    folder = create_run_folder(tmp_path / "deep" / "runs", "hsic", "dense_fpn", {"seed": 3})
    assert folder.is_absolute()
    assert folder.parent == tmp_path / "deep" / "runs"
    stamp, rest = folder.name[:15], folder.name[15:]
    time.strptime(stamp, "%Y%m%d-%H%M%S")
    assert rest == "-hsic-dense_fpn"
    assert read_config(folder) == {"seed": 3}


def test_folders_made_in_the_same_second_are_different_and_nothing_else_is_left(tmp_path: Path) -> None:
    folders = [create_run_folder(tmp_path, "hsic", "mlp", {"number": number}) for number in range(4)]
    assert sorted(folders) == sorted(tmp_path.iterdir())
    assert [read_config(folder)["number"] for folder in folders] == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["dist/rule", "a=b,c=d", "../../etc", "with space", "é", ".", "x" * 300])
def test_any_name_of_a_rule_makes_one_folder_inside_the_parent(tmp_path: Path, name: str) -> None:
    folder = create_run_folder(tmp_path, name, "mlp", {})
    assert folder.parent == tmp_path
    assert folder.is_dir()


def test_a_parent_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be made") as caught:
        create_run_folder(tmp_path / "file" / "runs", "hsic", "mlp", {})
    assert "--out" in caught.value.fix


def test_a_configuration_that_cannot_be_written_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        create_run_folder(tmp_path, "hsic", "mlp", {"rule": object()})
    assert list(tmp_path.iterdir()) == []


def test_kill_at_any_moment_never_leaves_a_folder_without_configuration(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from localrules.tracking.run_folder import create_run_folder as create\n"
    )
    code += "print('ready', flush=True)\nwhile True: create(Path(sys.argv[1]), 'hsic', 'mlp', {'a': {'b': 1}})"
    for attempt in range(3):
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.05 + 0.013 * attempt)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    folders = [folder for folder in tmp_path.iterdir() if not folder.name.startswith(".")]
    assert folders
    assert all(read_config(folder) == {"a": {"b": 1}} for folder in folders)


def test_a_configuration_reads_back_as_it_was_without_its_nones(tmp_path: Path) -> None:
    config = {
        "seed": 0,
        "rule": {"name": "hsic", "beta": 1e-300, "sizes": [1, 2], "nested": {"none": None, "text": 'a "b"\n\\c é'}},
        "lr": 0.1 + 0.2,
        "limit": math.inf,
        "flag": False,
        "path": None,
    }
    write_config(tmp_path, config)
    assert read_config(tmp_path) == {
        "seed": 0,
        "rule": {"name": "hsic", "beta": 1e-300, "sizes": [1, 2], "nested": {"text": 'a "b"\n\\c é'}},
        "lr": 0.1 + 0.2,
        "limit": math.inf,
        "flag": False,
    }


def test_a_folder_that_is_not_a_run_folder_and_a_broken_configuration_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run folder") as caught:
        read_config(tmp_path / "nowhere")
    assert "no such folder" in caught.value.why
    with pytest.raises(UsageError, match="not a run folder"):
        read_config(tmp_path)
    (tmp_path / "config.toml").write_text("seed = = 3")
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path)


def test_a_summary_is_strict_json(tmp_path: Path) -> None:
    assert read_summary(tmp_path) is None
    write_summary(tmp_path, {"train_accuracy": 0.5, "loss": math.nan, "parts": [math.inf, 1], "run_dir": tmp_path})
    strict = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert strict == {"train_accuracy": 0.5, "loss": None, "parts": [None, 1], "run_dir": str(tmp_path)}
    assert read_summary(tmp_path) == strict


def test_metrics_have_a_header_at_once_and_each_row_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path, COLUMNS)
    assert path.read_text() == "step,loss,note\n"
    metrics.write({"step": 1, "loss": 0.1 + 0.2})
    metrics.write({"loss": None, "step": 2, "note": 'a, "b"'})
    assert path.read_text() == 'step,loss,note\n1,0.30000000000000004,\n2,,"a, ""b"""\n'
    assert metrics.rows == 2
    metrics.close()


def test_floats_read_back_as_the_same_bits(tmp_path: Path) -> None:
    values = [1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 1e16, 123456789.123456789]
    metrics = MetricsFile(tmp_path / "metrics.csv", ["value"])
    for value in values:
        metrics.write({"value": value})
    metrics.close()
    read = [float(line) for line in (tmp_path / "metrics.csv").read_text().splitlines()[1:]]
    assert [value.hex() for value in read] == [value.hex() for value in values]


def test_a_new_column_is_added_at_the_end_and_empty_in_earlier_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path, COLUMNS)
    metrics.write({"step": 1, "loss": 0.1 + 0.2, "note": 'a, "b"'})
    metrics.write({"step": 2, "accuracy": 0.5, "spread/a.b": 2.0})
    metrics.write({"step": 3, "spread/a.b": 3.0, "late": 1})
    metrics.close()
    assert path.read_text() == (
        'step,loss,note,accuracy,spread/a.b,late\n1,0.30000000000000004,"a, ""b""",,,\n2,,,0.5,2.0,\n3,,,,3.0,1\n'
    )
    assert list(tmp_path.iterdir()) == [path]


def test_a_row_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path, COLUMNS)
    metrics.write({"step": 1, "loss": 0.1 + 0.2, "note": 'a, "b"'})
    metrics.write({"step": 2, "loss": 1 / 3})
    metrics.replace_last({"step": 2, "loss": 1 / 3, "late": 7})
    assert metrics.rows == 2
    metrics.write({"step": 3})
    metrics.close()
    rows = ['1,0.30000000000000004,"a, ""b""",', "2,0.3333333333333333,,7", "3,,,"]
    assert path.read_text().splitlines() == ["step,loss,note,late", *rows]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("change", ["replaced", "removed"])
@pytest.mark.parametrize("row", [{"step": 3, "loss": 3}, {"step": 3, "late": 7}], ids=["last-row", "new-column"])
def test_a_file_that_was_replaced_or_removed_loses_no_row(tmp_path: Path, change: str, row: dict[str, float]) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path, COLUMNS)
    metrics.write({"step": 1, "loss": 1})
    saved = path.read_text()
    metrics.write({"step": 2, "loss": 2})
    metrics.write({"step": 3, "loss": 0})
    path.unlink()
    if change == "replaced":  # by an editor
        path.write_text(saved)
    metrics.replace_last(row)
    metrics.close()
    assert [*read_rows(path)] == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}, row]


@pytest.mark.parametrize("killed", ["before the column", "after the column"])
def test_a_continued_file_with_a_new_column_equals_one_that_was_never_cut(tmp_path: Path, killed: str) -> None:
    rows: list[dict[str, float]] = [{"step": 1, "loss": 1.0}, {"step": 2}, {"step": 3, "late": 7}, {"step": 4}]
    whole, path = tmp_path / "whole.csv", tmp_path / "metrics.csv"
    unbroken = MetricsFile(whole, COLUMNS)
    for row in rows:
        unbroken.write(row)
    unbroken.close()
    first = MetricsFile(path, COLUMNS)
    for row in rows[: 2 if killed == "before the column" else 4]:
        first.write(row)
    first.close()
    second = MetricsFile(path, COLUMNS, rows=1)
    assert second.rows == 1
    for row in rows[1:]:
        second.write(row)
    second.close()
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("torn", ["", "2,0.", "2,0.5,\n3,0.25,\n4,"])
def test_a_continued_file_equals_one_that_was_never_cut(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "metrics.csv"
    first = MetricsFile(path, COLUMNS)
    first.write({"step": 1, "loss": 1.0})
    rows = first.rows
    first.close()
    with path.open("a") as file:
        file.write(torn)
    second = MetricsFile(path, COLUMNS, rows)
    second.write({"step": 2, "loss": 0.5})
    second.close()
    assert path.read_text() == "step,loss,note\n1,1.0,\n2,0.5,\n"


def test_continuing_from_nothing_starts_afresh_over_whatever_a_kill_left(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,lo")
    MetricsFile(path, COLUMNS).close()
    assert path.read_text() == "step,loss,note\n"


@pytest.mark.parametrize(
    "content", [None, "step,loss,note\n", "step,other,n\n1,1.0,\n", "step,loss,note\n1,1.00", "step,loss,note\n1,1.0,"]
)
def test_continuing_a_file_that_somebody_changed_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match="do not fit"):
        MetricsFile(path, COLUMNS, 1)
    assert content is None or path.read_text() == content


def test_the_callback_keeps_its_place_in_the_state_that_checkpoints_save(tmp_path: Path) -> None:
    write_config(tmp_path, {})
    first = RunFolder()
    run = run_info(tmp_path)
    first.on_run_start(run)
    first.on_log({"step": 1, "loss": 1.0})
    first.on_checkpoint()
    saved = dict(run.state)
    first.on_log({"step": 2, "loss": 0.5})
    first.close()

    second = RunFolder()
    second.on_run_start(run_info(tmp_path, state=saved, resumed_from_step=1))
    second.on_log({"step": 2, "loss": 0.5})
    second.on_log({"step": 3, "loss": 0.25})
    second.on_run_end({"status": "interrupted"}, [])
    second.close()
    assert (tmp_path / "metrics.csv").read_text() == "step,loss,note\n1,1.0,\n2,0.5,\n3,0.25,\n"
    assert read_summary(tmp_path) == {"status": "interrupted"}


@pytest.mark.parametrize("damage", ["moved", "removed", "replaced", "replaced by a file"])
def test_a_folder_that_is_gone_ends_the_run_at_its_next_checkpoint(tmp_path: Path, damage: str) -> None:
    folder = create_run_folder(tmp_path / "runs", "hsic", "mlp", {})
    callback = RunFolder()
    callback.on_run_start(run_info(folder))
    callback.on_log({"step": 1, "loss": 1.0})
    callback.on_checkpoint()
    folder.rename(tmp_path / "elsewhere")
    if damage == "removed":
        (tmp_path / "runs").rmdir()
    elif damage == "replaced":
        folder.mkdir()
    elif damage == "replaced by a file":
        folder.touch()
    callback.on_log({"step": 2, "loss": 1.0})
    with pytest.raises(LocalRulesError, match="the run folder is gone") as failed:
        callback.on_checkpoint()
    callback.close()
    assert failed.value.exit_code == 1
    assert f"run --resume {folder}" in failed.value.fix


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced by an editor"])
def test_metrics_that_somebody_removed_or_replaced_are_written_anew(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path, COLUMNS)
    file.write({"step": 1, "loss": 1.0})
    path.unlink()
    if replaced:
        path.write_text("something else")
    file.write({"step": 2, "loss": 0.5})
    file.sync()
    file.write({"step": 3, "loss": 0.25})
    file.close()
    assert path.read_text() == "step,loss,note\n1,1.0,\n2,0.5,\n3,0.25,\n"


def test_a_lock_holds_while_an_editor_replaces_files(tmp_path: Path) -> None:
    folder = create_run_folder(tmp_path, "hsic", "mlp", {})
    with lock_run(folder):
        write_config(folder, {"seed": 1})  # replaces the file, as editors do
        with pytest.raises(UsageError, match="still going on"), lock_run(folder):
            pass


def test_closing_before_the_start_is_harmless() -> None:
    RunFolder().close()


FULL = """
import resource, signal, sys
from pathlib import Path
from localrules.tracking.metrics_file import MetricsFile

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
file = MetricsFile(path, ["step", "loss"])
file.write({"step": 1, "loss": 0.5})
whole = path.read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 3, resource.RLIM_INFINITY))
try:
    file.write({"step": 2, "loss": 0.123456789})
except OSError as error:
    print(type(error).__name__)
assert path.read_bytes() == whole, path.read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.write({"step": 3, "loss": 0.25})
print(path.read_text())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_a_row_that_the_disk_has_no_room_for_leaves_no_part_of_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "metrics.csv")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["OSError", "step,loss", "1,0.5", "3,0.25"]
