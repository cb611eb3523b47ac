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


def test_members_that_link_or_lead_out_of_the_archive_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    path = write_tar(tmp_path / "a.tar", {"../secret": b"", "./a/1.png": b"one", "b/../../c.png": b""})
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


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_absolute_names_are_read_as_relative_ones(tmp_path: Path, form: str) -> None:
    assert contents(write(tmp_path, form, {"/a/1.png": b"one"})) == {"a/1.png": b"one"}


def test_a_hard_link_has_the_content_of_the_file_in_the_archive(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a/1.png": b"one"})
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("a/2.png")
        link.type, link.linkname = tarfile.LNKTYPE, "a/1.png"
        archive.addfile(link)
    assert contents(path) == {"a/1.png": b"one", "a/2.png": b"one"}


def test_an_archive_in_an_archive_is_one_of_its_files(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", {"other.png": b"two"}).read_bytes()
    path = write_tar(tmp_path / "a.tar", {"a/1.png": b"one", "z.zip": inner})
    assert contents(path) == {"a/1.png": b"one", "z.zip": inner}


@pytest.mark.parametrize("at", [512, 1536, 2000, 3072, -700])
def test_a_tar_archive_that_is_cut_anywhere_is_an_error(tmp_path: Path, at: int) -> None:
    path = write_tar(tmp_path / "a.tar", {f"a/{number}.png": bytes([number]) * 900 for number in range(3)})
    end = 3 * (512 + 1024) + 1024
    path.write_bytes(path.read_bytes()[:end][:at])
    with pytest.raises(DataError, match="damaged, encrypted or cut short"):
        contents(path)


def test_a_damaged_head_inside_a_tar_archive_is_an_error(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"a/{number}.png": b"some" for number in range(3)})
    content = bytearray(path.read_bytes())
    content[1024 + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged, encrypted or cut short"):
        contents(path)


def test_the_checksum_of_a_gzipped_archive_is_compared(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar.gz", {"a/1.png": os.urandom(3000)})
    content = bytearray(path.read_bytes())
    content[1500] ^= 1  # random bytes are stored as they are, so that the stream stays readable
    for damaged in (content, path.read_bytes()[:-8]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged, encrypted or cut short"):
            contents(path)


def test_a_zip_archive_whose_list_hides_files_is_an_error(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {f"a/{number}.png": b"some" for number in range(4)})
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 32] = content.index(b"PK\x01\x02", entry + 1) - entry  # as if the next were its comment
    path.write_bytes(content)
    with pytest.raises(DataError, match="should have 4"):
        contents(path)


def test_linked_folders_are_read_wherever_they_lead_but_to_one_around_them(tmp_path: Path) -> None:
    write_folder(tmp_path / "elsewhere", {"1.png": b"one"})
    root = write_folder(tmp_path / "root", {"test/a/2.png": b"two"})
    (root / "train").mkdir()
    for name in ("train/a", "train/b", "c"):
        (root / name).symlink_to(tmp_path / "elsewhere")
    (root / "valid").symlink_to(root / "test")
    (root / "test/loop").symlink_to(root)
    assert contents(root) == {
        **{f"{split}/a/2.png": b"two" for split in ("test", "valid")},
        **{f"{place}/1.png": b"one" for place in ("c", "train/a", "train/b")},
    }


def test_run_folders_and_our_plots_of_data_are_left_out(tmp_path: Path) -> None:
    run = dict.fromkeys(("config.toml", "metrics.csv", "curves.png"), b"")
    path = write_folder(
        tmp_path / "folder",
        {
            **FILES,
            "localrules-data/x/labels.png": b"",
            **{f"runs/one/{name}": content for name, content in run.items()},
        },
    )
    assert contents(path) == FILES


def test_pipes_do_not_count_and_links_to_nothing_are_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "folder", FILES)
    os.mkfifo(path / "a/pipe.png")
    (path / "a/absent.png").symlink_to("nowhere.png")
    (path / "a/self.png").symlink_to("self.png")
    assert tree_key(path) == tree_key(path)
    with open_tree(path) as tree:
        assert sorted(set(tree.names) - set(FILES)) == ["a/absent.png", "a/self.png"]
        with pytest.raises(DataError, match="no such data file"):
            tree.read("a/absent.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_must_not_be_read_is_an_error(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "folder", FILES)
    (path / "a").chmod(0)
    try:
        with pytest.raises(DataError, match="cannot be read"):
            contents(path)
    finally:
        (path / "a").chmod(0o755)


def test_a_folder_that_fails_while_it_is_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_folder(tmp_path / "folder", FILES)
    scandir = os.scandir

    def refuse(place):
        if Path(place).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError) as caught:
        contents(path)
    assert caught.value.where == str(path / "a/b")


def test_a_name_that_is_too_long_is_an_error() -> None:
    for use in (contents, tree_key):
        with pytest.raises(DataError, match="cannot be read"):
            use(Path("a" * 300))


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
