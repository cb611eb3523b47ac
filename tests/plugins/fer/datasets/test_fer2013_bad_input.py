"""Whatever is wrong with a file, one message says where, what was found, what was expected and what to do."""

from __future__ import annotations

import gzip
import lzma
import os
from pathlib import Path

import pytest
from helpers.image_trees import write_tar, write_zip

from localrules.errors import DataError
from localrules_fer.datasets.fer2013 import FER2013

GOOD = " ".join(["7"] * 2304)
HEADER = "emotion,pixels,Usage"


def failure(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        FER2013(FER2013.Config(path=path)).load()
    error = caught.value
    assert error.exit_code == 2
    assert all(error.as_dict().values()), "each of the four parts says something"
    assert str(path) in error.where
    assert len(str(error)) < 900, "one message, not the file"
    return error


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("row", "found", "expected"),
    [
        (f"3,{' '.join(['7'] * 2303)},Training", "2303 pixels", "2304"),
        (f"3,{' '.join(['7'] * 2305)},Training", "2305 pixels", "2304"),
        ("3,,Training", "0 pixels", "2304"),
        (f"3,{GOOD[:-1]}256,Training", "pixel 2304 is '256'", "0 to 255"),
        (f"3,{GOOD[:-1]}70000000000000000000,Training", "pixel 2304 is '70000000000000000000'", "0 to 255"),
        (f"3,-1 {GOOD[2:]},Training", "pixel 1 is '-1'", "an integer"),
        (f"3,7.5 {GOOD[2:]},Training", "pixel 1 is '7.5'", "an integer"),
        (f"3,7 x {GOOD[4:]},Training", "pixel 2 is 'x'", "an integer"),
        (f"3,7 1e2 {GOOD[4:]},Training", "pixel 2 is '1e2'", "an integer"),
        (f"7,{GOOD},Training", "label '7'", "0 (angry) to 6 (neutral)"),
        (f"-1,{GOOD},Training", "label '-1'", "0 (angry) to 6 (neutral)"),
        (f"3.0,{GOOD},Training", "label '3.0'", "an integer"),
        (f"happy,{GOOD},Training", "label 'happy'", "an integer"),
        (f",{GOOD},Training", "label ''", "an integer"),
        (f"3,{GOOD},Validation", "usage 'Validation'", "Training, PublicTest or PrivateTest"),
        (f"3,{GOOD},Priv", "usage 'Priv'", "Training, PublicTest or PrivateTest"),
        (f"3,{GOOD}", "2 fields", "3: emotion,pixels,usage"),
        (f"3,{GOOD},Training,", "4 fields", "3: emotion,pixels,usage"),
        ("\0\1\2", "1 fields", "3: emotion,pixels,usage"),
    ],
)
def test_a_wrong_row_is_named_by_its_number_in_the_file(tmp_path: Path, row: str, found: str, expected: str) -> None:
    good = f"3,{GOOD},Training"
    error = failure(write(tmp_path / "fer2013.csv", good, good, "", row, good))
    assert error.where.endswith("row 5")  # the header is row 1, and the blank line counts
    assert found in error.why
    assert expected in error.why


@pytest.mark.parametrize(
    "header",
    [
        "emotion,pixel,Usage",
        "emotion,Usage",
        "pixels,Usage",
        "emotion,pixels,Split",
        "emotion;pixels;Split",
        "id,index,emotion,pixels",
        "a,b",
        "3",
    ],
)
def test_wrong_or_missing_columns(tmp_path: Path, header: str) -> None:
    error = failure(write(tmp_path / "fer2013.csv", f"3,{GOOD},Training", header=header))
    assert error.where.endswith("row 1")
    assert header in error.why
    assert "emotion,pixels,Usage" in error.why


def test_kaggles_test_csv_has_nothing_to_score(tmp_path: Path) -> None:
    error = failure(write(tmp_path / "test.csv", GOOD, header="pixels"))
    assert "no labels" in error.what
    assert "fer2013.csv" in error.fix


def test_missing_file(tmp_path: Path) -> None:
    assert "no such" in failure(tmp_path / "fer2013.csv").what


@pytest.mark.parametrize("name", ["fer2013.csv", "fer2013.csv.gz"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "empty" in failure(tmp_path / name).what


def test_gzip_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv.gz").write_bytes(gzip.compress(b""))
    assert "empty" in failure(tmp_path / "fer2013.csv.gz").what


def test_header_only(tmp_path: Path) -> None:
    assert "no rows" in failure(write(tmp_path / "fer2013.csv")).what


def test_truncated_gzip(tmp_path: Path) -> None:
    whole = gzip.compress((HEADER + "\n" + f"3,{GOOD},Training\n" * 20).encode())
    (tmp_path / "fer2013.csv.gz").write_bytes(whole[:-20])
    assert "cut short" in failure(tmp_path / "fer2013.csv.gz").what


def test_damaged_gzip(tmp_path: Path) -> None:
    rows = "".join(f"3,{' '.join(str(i % 256) for i in range(k, k + 2304))},Training\n" for k in range(50))
    damaged = bytearray(gzip.compress((HEADER + "\n" + rows).encode()))
    damaged[len(damaged) // 2] ^= 0xFF
    (tmp_path / "fer2013.csv.gz").write_bytes(damaged)
    failure(tmp_path / "fer2013.csv.gz")


def test_not_a_gzip(tmp_path: Path) -> None:
    error = failure(write(tmp_path / "fer2013.csv.gz", f"3,{GOOD},Training"))
    assert "not a gzip" in error.what
    assert "rename" in error.fix


@pytest.mark.parametrize(("start", "name"), [(b"7z\xbc\xaf\x27\x1c", "a 7z archive"), (b"Rar!", "a rar archive")])
def test_other_archives_are_refused_by_name_and_to_be_unpacked(tmp_path: Path, start: bytes, name: str) -> None:
    (tmp_path / "fer2013.csv").write_bytes(start + bytes(1000))
    error = failure(tmp_path / "fer2013.csv")
    assert name in error.what
    assert "unpack" in error.fix


def test_a_compressed_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv.xz").write_bytes(lzma.compress(f"{HEADER}\n3,{GOOD},Training\n".encode()))
    assert "compressed by xz" in failure(tmp_path / "fer2013.csv.xz").what


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_an_error_inside_an_archive_names_the_archive(tmp_path: Path, form: str) -> None:
    write = write_zip if form == "zip" else write_tar
    archive = write(tmp_path / f"a.{form}", {"fer2013/fer2013.csv": f"{HEADER}\n9,{GOOD},Training\n".encode()})
    error = failure(archive)
    assert error.where == f"{archive}/fer2013/fer2013.csv, row 2"
    damaged = archive.read_bytes()
    archive.write_bytes(damaged[: len(damaged) // 2])
    failure(archive)


def test_a_folder_with_nothing_but_an_archive_names_it(tmp_path: Path) -> None:
    (tmp_path / "archive.zip").write_bytes(b"PK\3\4 and so on")
    assert "unpack archive.zip" in failure(tmp_path).fix
    write_zip(tmp_path / "archive.zip", {"readme": b""})
    assert failure(tmp_path).fix == f"name {tmp_path / 'archive.zip'}"


def test_the_votes_of_ferplus_are_not_images(tmp_path: Path) -> None:
    header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    error = failure(write(tmp_path / "fer2013new.csv", "Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0", header=header))
    assert "FER+'s votes" in error.what
    assert "--ferplus" in error.fix


def test_utf_16_that_is_cut_short(tmp_path: Path) -> None:
    text = f"{HEADER}\n3,{GOOD},Training\n".encode("utf-16")
    (tmp_path / "fer2013.csv").write_bytes(text[:-1])
    assert "damaged" in failure(tmp_path / "fer2013.csv").what


def test_binary_garbage(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_bytes(bytes(range(256)) * 400)
    assert "row 1" in failure(tmp_path / "fer2013.csv").where


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = write(tmp_path / "fer2013.csv", f"3,{GOOD},Training")
    path.chmod(0)
    assert "cannot be read" in failure(path).what


def test_a_bad_file_leaves_nothing_in_the_cache(tmp_path: Path, cache: Path) -> None:
    failure(write(tmp_path / "fer2013.csv", f"3,{GOOD},Training", "3,1 2,Training"))
    assert list(cache.iterdir()) == []


def test_directory_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    error = failure(tmp_path)
    assert "neither" in error.what
    assert "notes.txt" in error.why
    assert "train/" in error.why


def test_empty_class_folders(tmp_path: Path) -> None:
    (tmp_path / "train" / "happy").mkdir(parents=True)
    assert "neither" in failure(tmp_path).what
