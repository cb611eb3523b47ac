"""The files of a folder, a tar archive or a zip archive, read in the same way."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from localrules.data.folders import is_hidden, visible_files
from localrules.data.io import AGAIN, read_error, source_key
from localrules.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

LARGEST_FILE = 1 << 30  # of an archive; whatever unpacks to more is neither an image nor a list
LARGEST_WHOLE = 1 << 32  # of an archive that is unpacked to the disk
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, RuntimeError, ValueError),
)
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_ZIP_END, _ZIP_END_SIZE, _ZIP_COMMENT = b"PK\x05\x06", 22, 1 << 16
_ZIP64 = 0xFFFF  # entries, where another record has their number
_SAID_TO_BE_UTF8 = 0x800  # a flag of a zip archive's file
_READ_SIZE = 1 << 20


class FileTree(ABC):
    """Files by their names, which are relative and have ``/`` between their parts. Hidden files are left out.

    Attributes:
        path: The folder or archive.
        names: All files, in the order in which they are read fastest.
    """

    form: ClassVar[str]
    """What it is, as a message says it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []

    @abstractmethod
    def contents(self, names: Collection[str]) -> Iterator[tuple[str, Path | bytes]]:
        """The named files, in the order of :attr:`names`, as a file on the disk or as the content itself.

        Raises:
            DataError: The archive is damaged or encrypted.
        """

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            DataError: It cannot be read.
        """
        ((_, content),) = self.contents([name])
        try:
            return content if isinstance(content, bytes) else content.read_bytes()
        except OSError as error:
            assert isinstance(content, Path)
            raise read_error(content, error) from error

    def where(self, name: str) -> str:
        """A file's name, for messages."""
        return f"{self.path}: {name}"


class _Folder(FileTree):
    form = "folder"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.names = [file.relative_to(path).as_posix() for file in visible_files(path)]

    def contents(self, names: Collection[str]) -> Iterator[tuple[str, Path | bytes]]:
        wanted = set(names)
        yield from ((name, self.path / name) for name in self.names if name in wanted)

    def where(self, name: str) -> str:
        return str(self.path / name)


class _Tar(FileTree):
    form = "tar archive"

    def __init__(self, path: Path, archive: tarfile.TarFile) -> None:
        super().__init__(path)
        self._archive = archive
        # Symbolic links are left out: what they name may lie anywhere. A hard link names a file of the archive. Of two
        # files of one name the later one counts, as always.
        self._members: dict[str, tarfile.TarInfo] = {}
        regular: dict[str, tarfile.TarInfo] = {}
        for member in archive:
            file = regular.get(member.linkname) if member.islnk() else member if member.isreg() else None
            if file is None:
                continue
            regular[member.name] = file
            if name := _inner_name(member.name):
                self._members[name] = file
        _check_end(archive)
        self.names = list(self._members)

    def contents(self, names: Collection[str]) -> Iterator[tuple[str, Path | bytes]]:
        wanted = set(names)
        with _damage_told(self.path):
            for name, member in sorted(self._members.items(), key=lambda item: item[1].offset):
                if name in wanted:
                    _refuse_large(self.where(name), member.size)
                    file = self._archive.extractfile(member)
                    assert file is not None  # it is a regular file
                    yield name, file.read()


class _Zip(FileTree):
    form = "zip archive"

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        super().__init__(path)
        self._archive = archive
        self._members = {
            name: file
            for file in archive.infolist()
            if not file.filename.endswith(("/", "\\"))
            and not stat.S_ISLNK(file.external_attr >> 16)
            and (name := _inner_name(_zip_name(file).replace("\\", "/")))
        }
        self.names = list(self._members)

    def contents(self, names: Collection[str]) -> Iterator[tuple[str, Path | bytes]]:
        wanted = set(names)
        with _damage_told(self.path):
            for name, member in self._members.items():
                if name in wanted:
                    _refuse_large(self.where(name), member.file_size)
                    yield name, self._archive.read(member)


def _zip_name(file: zipfile.ZipInfo) -> str:
    """The name of a file of an archive. Some packers, such as that of macOS, write UTF-8 and do not say so."""
    if file.flag_bits & _SAID_TO_BE_UTF8:
        return file.filename
    try:
        return file.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return file.filename


def tree_key(path: Path, also: str = "") -> str:
    """A key of what a folder or an archive holds, see :func:`localrules.data.io.source_key`. Archives are not opened.

    A file of a folder that cannot be read counts as such in the key: whoever needs it says so.

    Raises:
        DataError: The path is missing, or an archive or a folder in it cannot be read.
    """
    if not _is_folder(path):
        return source_key([path], also)
    with open_tree(path) as tree:
        files = [path / name for name in tree.names]
        return source_key(files, "\n".join([also, *tree.names]), may_be_unreadable=True)


@contextmanager
def open_tree(path: Path) -> Iterator[FileTree]:
    """The files of a folder, of a tar archive (plain, or compressed by gzip, bzip2 or xz) or of a zip archive.

    Raises:
        DataError: The path is missing, is none of them, or is damaged.
    """
    if _is_folder(path):
        yield _Folder(path)
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise read_error(path, error) from error
    with file:
        if not path.stat().st_size:
            raise DataError("the data file is empty", where=str(path), why="it has 0 bytes", fix=AGAIN)
        if file.read(4) in _ZIP_MAGIC:
            with _damage_told(path):
                archive = zipfile.ZipFile(file)
                _check_count(file, archive)
            with archive:
                yield _Zip(path, archive)
            return
        file.seek(0)
        with _damage_told(path, f"neither a folder nor a tar or zip archive that can be read: {path.name}"):
            opened = tarfile.open(fileobj=file, mode="r:*")  # noqa: SIM115 (closed below)
        with opened:
            with _damage_told(path):
                tree: FileTree = _Tar(path, opened)
            yield tree


def is_archive(path: Path) -> bool:
    """Whether a file is a tar archive (plain, or compressed by gzip, bzip2 or xz) or a zip archive, by its content."""
    try:
        with path.open("rb") as file:
            begins_as_zip = file.read(4) in _ZIP_MAGIC
        return zipfile.is_zipfile(path) if begins_as_zip else tarfile.is_tarfile(path)
    except (OSError, *_DAMAGED):
        return False


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The files of an archive in a temporary folder, for data sets that are small and read as a folder otherwise.

    Errors that name a file there name it in the archive.

    Raises:
        DataError: The archive is damaged, or larger than ``LARGEST_WHOLE``.
    """
    with open_tree(path) as tree, TemporaryDirectory(prefix="localrules-") as place:
        folder = Path(place) / path.name
        size = 0
        for name, content in tree.contents(tree.names):
            assert isinstance(content, bytes)  # of an archive
            size += len(content)
            if size > LARGEST_WHOLE:
                raise DataError(
                    "the archive is too large",
                    where=str(path),
                    why=f"it unpacks to more than {LARGEST_WHOLE:,} bytes",
                    fix="unpack it, and name the folder",
                )
            _write_inside(folder / name, content, path)
        try:
            yield folder
        except DataError as error:
            for part in ("what", "where", "why", "fix"):
                setattr(error, part, getattr(error, part).replace(str(folder), str(path)))
            raise


def _write_inside(file: Path, content: bytes, archive: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise DataError(
            "the archive cannot be unpacked",
            where=f"{archive}, to {file}",
            why=error.strerror or str(error),
            fix="make room there, set TMPDIR to another place, or unpack it yourself and name the folder",
        ) from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:  # such as a name that is too long
        raise read_error(path, error) from error


def _check_end(archive: tarfile.TarFile) -> None:
    """Raise if the archive is cut short or damaged where tarfile takes that for its end."""
    stream = archive.fileobj
    assert stream is not None
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"no end mark at byte {archive.offset:,}")
    while stream.read(_READ_SIZE):  # a compressed stream compares its checksum at its end
        pass


def _check_count(file: BinaryIO, archive: zipfile.ZipFile) -> None:
    """Raise if the list of files is damaged in a way that hides some of them."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _ZIP_COMMENT - _ZIP_END_SIZE))
    end = file.read()
    at = end.rfind(_ZIP_END)
    count = int.from_bytes(end[at + 10 : at + 12], "little")
    if count not in (_ZIP64, len(archive.infolist())):
        raise zipfile.BadZipFile(f"its list has {len(archive.infolist()):,} files, and should have {count:,}")


@contextmanager
def _damage_told(path: Path, what: str = "the archive is damaged, encrypted or cut short") -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise read_error(path, error) from error
        raise DataError(what, where=str(path), why=str(error), fix=AGAIN) from error
    except _DAMAGED as error:
        raise DataError(what, where=str(path), why=str(error) or type(error).__name__, fix=AGAIN) from error


def _inner_name(name: str) -> str:
    """A member's name, relative; empty for one that is hidden or leads out of the archive, which is left out."""
    parts = PurePosixPath(name.lstrip("/")).parts
    return "" if ".." in parts or any(map(is_hidden, parts)) else "/".join(parts)


def _refuse_large(where: str, size: int) -> None:
    if size > LARGEST_FILE:
        raise DataError(
            "a file in the archive is too large",
            where=where,
            why=f"it unpacks to {size:,} bytes; at most {LARGEST_FILE:,} are read",
            fix="take it out of the archive, or unpack the archive and name the folder",
        )
