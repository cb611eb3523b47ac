"""Folders and archives read alike, without unpacking."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from helpers.image_trees import write_folder, write_tar, write_zip

from localrules.data import file_tree
from localrules.data.file_tree import open_tree, tree_key
from localrules.errors import DataError

FILES = {"a/1.png": b"one", "a/b/2.png": b"two", "list.txt": b"three"}
HIDDEN = {".git/x.png": b"", "a/._1.png": b"", "__MACOSX/a/1.png": b"", "a/Thumbs.db": b"", "desktop.ini": b""}


def write(path: Path, form: str, files: dict[str, bytes]) -> Path:
    if form == "folder":
        return write_folder(path / "folder", files)
    return (write_zip if form == "zip" else write_tar)(path / f"archive.{form}", files)


def contents(path: Path) -> dict[str, bytes]:
    with open_tree(path) as tree:
        assert sorted(tree.names) == sorted(name for name, _ in tree.contents(tree.names))
        return {name: tree.read(name) for name in tree.names}


@pytest.mark.parametrize("form", ["folder", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_every_form_has_the_same_files(tmp_path: Path, form: str) -> None:
    assert contents(write(tmp_path, form, {**FILES, **HIDDEN})) == FILES


def test_members_that_are_links_or_lead_out_of_the_archive_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    path = write_tar(
        tmp_path / "a.tar", {"../secret": b"", "/etc/x.png": b"", "./a/1.png": b"one", "b/../../c.png": b""}
    )
    with tarfile.open(path, "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo("a/link.png")
            link.type, link.linkname = kind, str(tmp_path / "secret")
            archive.addfile(link)
    assert contents(path) == {"a/1.png": b"one"}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("../secret", b"")
        zipped.writestr("a\\1.png", b"one")  # as some programs for Windows write
        symlink = zipfile.ZipInfo("a/link.png")
        symlink.external_attr = 0o120777 << 16
        zipped.writestr(symlink, str(tmp_path / "secret"))
    assert contents(tmp_path / "a.zip") == {"a/1.png": b"one"}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tar", "a.zip", "secret"]


def test_of_two_members_of_one_name_the_later_one_counts(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a/1.png": b"old"})
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("a/1.png")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"new"))
    assert contents(path) == {"a/1.png": b"new"}


@pytest.mark.parametrize("form", ["tar.gz", "tar.xz", "zip"])
def test_a_damaged_archive_is_an_error(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, form, {f"a/{number}.png": os.urandom(3000) for number in range(4)})
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not an archive " * 50):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            contents(path)
        assert caught.value.exit_code == 2
        assert all(caught.value.as_dict().values())


def test_a_damaged_member_is_an_error(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a/1.png": b"some content"})
    path.write_bytes(path.read_bytes().replace(b"some content", b"other content"[:12]))
    with pytest.raises(DataError, match="damaged, encrypted or cut short"):
        contents(path)


def test_an_encrypted_member_is_an_error(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a/1.png": b"some content"})
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag in the member's head and in the archive's list
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        contents(path)
    assert "encrypted" in caught.value.why


def test_a_member_that_unpacks_to_too_much_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_tree, "LARGEST_FILE", 1000)
    for form in ("zip", "tar.gz"):
        with pytest.raises(DataError, match="too large"):
            contents(write(tmp_path, form, {"a/1.png": bytes(1001)}))


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_the_key_changes_with_names_content_and_options(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, form, FILES)
    first = tree_key(path, "options")
    assert tree_key(path, "options") == first != tree_key(path, "others")
    other = write(tmp_path / "2" if form == "folder" else tmp_path, form, {**FILES, "a/1.png": b"1ne"})
    assert tree_key(other, "options") != first


def test_the_key_of_many_files_is_made_of_their_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localrules.data.io.FEW_FILES", 2)
    path = write(tmp_path, "folder", FILES)
    first = tree_key(path)
    before = (path / "a/1.png").stat()
    (path / "a/1.png").write_bytes(b"1ne")
    os.utime(path / "a/1.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tree_key(path) != first


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    for use in (contents, tree_key):
        with pytest.raises(DataError, match="no such data file"):
            use(tmp_path / "absent.zip")
