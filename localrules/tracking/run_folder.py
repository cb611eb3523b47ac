"""The folder that a run leaves: made in one piece, then filled row by row."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localrules.callbacks.base import Callback, MetricsRow, Plot, RunInfo
from localrules.errors import LocalRulesError, UsageError
from localrules.tracking.metrics_file import MetricsFile
from localrules.tracking.records import CONFIG, SUMMARY, write_config, write_summary
from localrules.utils.atomic_io import fsync_path
from localrules.utils.disk_errors import has_no_room

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

METRICS = "metrics.csv"
_ROWS = "metrics_rows"


def create_run_folder(parent: Path, rule: str, model: str, config: Mapping[str, Any]) -> Path:
    """Make ``<parent>/<YYYYmmdd-HHMMSS>-<rule>-<model>/`` with its ``config.toml``.

    The folder is prepared under a hidden name beside its place and renamed, so a run folder without a configuration
    never exists, whenever the process is killed.

    Args:
        parent: Where runs are kept; made if it is not there.
        rule: The rule's name; characters that a file name should not have become ``_``.
        model: The model's name, likewise.
        config: The resolved configuration.

    Returns:
        The absolute path of the new folder.

    Raises:
        UsageError: The parent cannot be written to.
    """
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{_safe_name(rule)}-{_safe_name(model)}"
    parent = parent.expanduser().resolve()
    prepared = parent / f".{name}-{os.getpid()}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        prepared.mkdir()
        try:
            write_config(prepared, config)
            folder = _rename_into_place(prepared, parent / name)
        except BaseException:
            shutil.rmtree(prepared, ignore_errors=True)
            raise
        fsync_path(parent)
    except OSError as error:
        raise UsageError(
            "the run folder cannot be made", where=str(parent), why=str(error), fix="choose another place with --out"
        ) from error
    return folder


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a run folder meanwhile; a killed process lets go of it, too.

    Raises:
        UsageError: Another process is training in it.
    """
    if fcntl is None:  # Windows has no such locks
        yield
        return
    # On the folder: an editor that saves a file replaces it, and the lock would be on the old one.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                "the run is still going on",
                where=str(folder),
                why="another process is training in this folder",
                fix="wait for it, or stop it first",
            ) from None
        except OSError:  # some network file systems have no locks
            pass
        yield
    finally:
        os.close(descriptor)


class RunFolder(Callback):
    """Writes ``metrics.csv`` while the run goes on and ``summary.json`` when it is over.

    A run that cannot keep its record ends with the error. The number of rows goes into every checkpoint, and a resumed
    run continues after them.
    """

    def __init__(self) -> None:
        self._metrics: MetricsFile | None = None

    def on_run_start(self, run: RunInfo) -> None:
        self._run = run
        self._last: float | int | str | None = None  # the step of the last row
        (run.directory / SUMMARY).unlink(missing_ok=True)  # of a stopped run, which now goes on
        self._metrics = MetricsFile(run.directory / METRICS, run.columns, run.state.get(_ROWS, 0))

    def on_log(self, row: MetricsRow) -> None:
        assert self._metrics is not None
        if row["step"] == self._last:  # once more, since the run was stopped after it and evaluated
            self._metrics.replace_last(row)
        else:
            self._metrics.write(row)
        self._last = row["step"]

    def on_checkpoint(self) -> None:
        assert self._metrics is not None
        self._check_folder()
        # On disk before the checkpoint that counts on it.
        self._metrics.sync()
        self._run.state[_ROWS] = self._metrics.rows

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        assert self._metrics is not None
        self._check_folder()
        self._metrics.sync()
        write_summary(self._run.directory, summary)

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()

    def _check_folder(self) -> None:
        """See that the folder is where it was: rows go into an open file, wherever somebody has moved it.

        Raises:
            LocalRulesError: It is not.
        """
        if not (self._run.directory / CONFIG).is_file():
            raise _folder_gone(self._run)


def record_error(run: RunInfo, error: OSError) -> LocalRulesError | None:
    """The error for people, if one says that a run could not keep its record."""
    if not (run.directory / CONFIG).is_file():
        return _folder_gone(run)
    if not has_no_room(error) and run.directory not in Path(error.filename or "").parents:
        return None
    return LocalRulesError(
        "the run cannot keep its record",
        where=str(error.filename or run.directory),
        why=error.strerror or str(error),
        fix="make room on the disk, or raise the quota or the limit on file sizes, then continue with: "
        + run.command("run --resume"),
    )


def _folder_gone(run: RunInfo) -> LocalRulesError:
    return LocalRulesError(
        "the run folder is gone",
        where=str(run.directory),
        why="it was moved, replaced or removed while the run was going on",
        fix="put it back, or name its new place, and continue after its last checkpoint with: "
        + run.command("run --resume"),
    )


def _rename_into_place(prepared: Path, place: Path) -> Path:
    for number in range(1, 1000):
        folder = place if number == 1 else place.with_name(f"{place.name}-{number}")
        if folder.exists():
            continue
        try:
            return prepared.rename(folder)
        except OSError:
            if not folder.exists():  # not another run that was faster
                raise
    raise FileExistsError(f"{place} and 999 more like it exist")


def _safe_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", name).strip("._")[:60] or "_"
