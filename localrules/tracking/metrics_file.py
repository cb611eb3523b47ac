"""``metrics.csv``: a row for each logged step, on disk as soon as it is known."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from localrules.errors import UsageError
from localrules.utils.atomic_io import fsync_path


class MetricsFile:
    """A CSV file that grows by whole rows and can be cut back to where a checkpoint was made.

    Floats are written in the shortest form that reads back as the same bits, so two runs with equal bits have equal
    files.

    Args:
        path: The file.
        columns: The header, in order. A row may leave columns out, never add one.
        position: Bytes to keep, from :attr:`position` at the checkpoint that is resumed; what follows, such as a line
            that a kill cut in two, is dropped. 0 starts afresh.

    Raises:
        UsageError: The file to continue is missing, shorter than the checkpoint says, or has other columns.
    """

    def __init__(self, path: Path, columns: Sequence[str], position: int = 0) -> None:
        self._columns = tuple(columns)
        header = self._line(self._columns)
        if position:
            _check(path, header, position)
            os.truncate(path, position)
        # Unbuffered and a row a write: what a kill leaves is whole rows and at most one torn line.
        self._file = path.open("ab" if position else "wb", buffering=0)
        self._position = position
        if not position:
            self._append(header)
            fsync_path(path.parent)

    @property
    def position(self) -> int:
        """Bytes up to the end of the last row, to be kept in a checkpoint after :meth:`sync`."""
        return self._position

    def write(self, row: Mapping[str, float | int | str | None]) -> None:
        """Append a row; a column that it lacks stays empty.

        Raises:
            ValueError: The row has a column that the header has not.
        """
        if unknown := row.keys() - set(self._columns):
            raise ValueError(f"metrics.csv has no column {sorted(unknown)}; it was started with {self._columns}")
        self._append(self._line([row.get(column) for column in self._columns]))

    def sync(self) -> None:
        """Wait until every row is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing is lost if it is never called."""
        self._file.close()

    def _append(self, line: bytes) -> None:
        self._file.write(line)
        self._position += len(line)

    @staticmethod
    def _line(values: Sequence[float | int | str | None]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow(values)
        return text.getvalue().encode()


def _check(path: Path, header: bytes, position: int) -> None:
    try:
        with path.open("rb") as file:
            kept = file.read(position)
    except FileNotFoundError:
        kept = b""
    if len(kept) == position and kept.startswith(header) and kept.endswith(b"\n"):
        return
    raise UsageError(
        "the run's metrics do not fit its checkpoint",
        where=str(path),
        why=f"{len(kept)} bytes were found where the checkpoint knows {position}, or the columns are others: "
        "the file was changed after the run stopped",
        fix="put the file back as the run left it, or start a new run",
    )
