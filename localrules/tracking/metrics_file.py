"""``metrics.csv``: a row for each logged step, on disk as soon as it is known."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from localrules.errors import UsageError
from localrules.utils.atomic_io import fsync_path, write_atomic

Value = float | int | str | None


class MetricsFile:
    """A CSV file that grows by whole rows, gains columns when they are needed, and can be cut back to a checkpoint.

    Floats are written in the shortest form that reads back as the same bits, so two runs with equal bits have equal
    files. A row with a new column replaces the file atomically by one with a longer header, whose earlier rows are
    empty there.

    Args:
        path: The file.
        columns: The first columns of the header, in order.
        rows: Rows to keep, from :attr:`rows` at the checkpoint that is resumed; what follows, such as a line that a
            kill cut in two, is dropped. 0 starts afresh.

    Raises:
        UsageError: The file to continue is missing, has fewer rows than the checkpoint says, or other columns.
    """

    def __init__(self, path: Path, columns: Sequence[str], rows: int = 0) -> None:
        self._path = path
        self._columns = list(columns)
        self._rows = rows
        if rows:
            self._columns, length = _kept(path, self._columns, rows)
            os.truncate(path, length)
        # Unbuffered and a row a write: what a kill leaves is whole rows and at most one torn line.
        self._file = path.open("a+b" if rows else "w+b", buffering=0)
        if not rows:
            self._append(_encode([self._columns]))
            fsync_path(path.parent)

    @property
    def rows(self) -> int:
        """The number of rows, the header not counted, to be kept in a checkpoint after :meth:`sync`."""
        return self._rows

    def write(self, row: Mapping[str, Value]) -> None:
        """Append a row; a column that it lacks stays empty, and one that the header lacks is added at its end."""
        self._add_columns(row)
        self._append(_encode([[row.get(column) for column in self._columns]]))
        self._rows += 1

    def replace_last(self, row: Mapping[str, Value]) -> None:
        """Write a row in the place of the last one."""
        self._add_columns(row)
        header, *rows = self._read()
        self._replace([header, *rows[:-1], [row.get(column) for column in header]])

    def sync(self) -> None:
        """Wait until every row is on the disk. A file that was replaced or removed meanwhile is written anew."""
        if not self._is_in_place():
            self._file.seek(0)
            write_atomic(self._path, self._file.readall())
            self._file.close()
            self._file = self._path.open("a+b", buffering=0)
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing is lost if it is never called."""
        self._file.close()

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def _append(self, lines: bytes) -> None:
        """Write all of it, or nothing: a disk that is full takes a part of a line."""
        length = os.fstat(self._file.fileno()).st_size
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError:
            self._file.truncate(length)
            self._file.seek(length)
            raise

    def _add_columns(self, row: Mapping[str, Value]) -> None:
        if new := [column for column in row if column not in self._columns]:
            header, *rows = self._read()
            self._columns = header + new
            self._replace([self._columns, *([*row, *[""] * len(new)] for row in rows)])

    def _read(self) -> list[list[str]]:
        # Of the open file: another may have been put in its place.
        self._file.seek(0)
        return [*csv.reader(io.StringIO(self._file.readall().decode(), newline=""))]

    def _replace(self, lines: Iterable[Sequence[Value]]) -> None:
        self._file.close()
        write_atomic(self._path, _encode(lines))
        self._file = self._path.open("a+b", buffering=0)


def read_rows(path: Path) -> Iterator[dict[str, Value]]:
    """The rows of a run's metrics as they were logged, without empty values."""
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield {column: _read(column, text) for column, text in row.items() if text}


def _read(column: str, text: str) -> Value:
    if column == "step":
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def _encode(rows: Iterable[Sequence[Value]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _kept(path: Path, columns: list[str], rows: int) -> tuple[list[str], int]:
    """The header of the file to continue, and the length in bytes of the rows to keep."""
    content = path.read_bytes() if path.exists() else b""
    # Strict would refuse the torn last line that a kill may leave, and that is dropped anyway.
    header, *found = [*csv.reader(io.StringIO(content.decode(errors="replace"), newline=""))] or [[]]
    kept = _encode([header, *found[:rows]])
    if header[: len(columns)] == columns and len(found) >= rows and content.startswith(kept):
        return header, len(kept)
    raise UsageError(
        "the run's metrics do not fit its checkpoint",
        where=str(path),
        why=f"{len(found)} rows were found where the checkpoint has {rows}, or the columns are others: "
        "the file was changed after the run stopped",
        fix="put the file back as the run left it, or start a new run",
    )
