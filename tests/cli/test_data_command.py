"""``localrules data`` as a user types it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localrules.cli import main


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from the user's cache and files."""
    monkeypatch.setenv("LOCALRULES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LOCALRULES_FER2013", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def table() -> str:
    """Five training samples, of which the second repeats the first and the third does so with another label; one public
    sample that repeats the first, too; one private sample, which is constant."""
    draw = np.random.default_rng(0)
    one, other, third = (" ".join(map(str, draw.integers(0, 256, 2304))) for _ in range(3))
    rows = [(0, one, "Training"), (0, one, "Training"), (4, one, "Training"), (3, other, "Training")]
    rows += [(6, third, "Training"), (0, one, "PublicTest"), (5, " ".join(["9"] * 2304), "PrivateTest")]
    return "emotion,pixels,Usage\n" + "".join(f"{label},{pixels},{usage}\n" for label, pixels, usage in rows)


@pytest.fixture
def csv(tmp_path: Path, table: str) -> Path:
    path = tmp_path / "fer2013.csv"
    path.write_text(table)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, Any]:
    code = main([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_list_names_our_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    code, listed = run(capsys, "data")
    assert code == 0
    assert {"faces", "fer2013", "mnist", "fashion_mnist"} <= {item["name"] for item in listed}
    assert set(listed[0]) == {"name", "summary", "reference", "distribution", "version", "status", "cause"}


def test_show_counts_what_there_is(capsys: pytest.CaptureFixture[str], csv: Path) -> None:
    code, found = run(capsys, "data", "show", "fer2013", "--data-path", csv)
    assert code == 0
    assert found["name"] == "fer2013"
    assert found["origin"] == f"{csv}: unrecognised, 7 samples"
    train, valid, test = (found["splits"][name] for name in ("train", "valid", "test"))
    assert train["by_class"] == {"angry": 2, "disgust": 0, "fear": 0, "happy": 1, "sad": 1, "surprise": 0, "neutral": 1}
    assert [split["rows"] for split in (train, valid, test)] == [5, 1, 1]
    assert [split["repeated"] for split in (train, valid, test)] == [2, 0, 0]
    assert [split["in_earlier_splits"] for split in (train, valid, test)] == [0, 1, 0]
    assert [split["constant"] for split in (train, valid, test)] == [0, 0, 1]
    assert (found["rows"], found["distinct"]) == (7, 4)
    assert (found["conflicting_images"], found["conflicting_rows"]) == (1, 4)


def test_show_draws_its_images_where_it_says(capsys: pytest.CaptureFixture[str], csv: Path, tmp_path: Path) -> None:
    _, found = run(capsys, "data", "show", "fer2013", "--data-path", csv)
    assert found["plots"] == {
        name: str(Path("localrules-data/fer2013").resolve() / f"{name}.png") for name in ("labels", "samples")
    }
    _, found = run(capsys, "data", "show", "fer2013", "--data-path", csv, "--out", tmp_path / "a" / "b")
    for path in found["plots"].values():
        assert Path(path).parent == tmp_path / "a" / "b"
        assert Path(path).read_bytes().startswith(b"\x89PNG")


def test_show_speaks_to_people(capsys: pytest.CaptureFixture[str], csv: Path) -> None:
    assert main(["data", "show", "fer2013", "--data-path", str(csv)]) == 0
    text = capsys.readouterr().out
    assert "copies of earlier splits" in text
    assert "4 distinct images in 7 rows; labels conflict on 1 of them (4 rows)" in text
    assert "samples.png" in text
    assert "may not be passed on" in text


def test_a_bad_file_ends_with_code_2_one_error_and_nothing_written(
    capsys: pytest.CaptureFixture[str], csv: Path, table: str
) -> None:
    csv.write_text(table.replace("PublicTest", "Public"))
    code, document = run(capsys, "data", "show", "fer2013", "--data-path", csv)
    assert code == 2
    assert set(document) == {"error"}
    assert document["error"]["where"] == f"{csv}, row 7"
    assert main(["data", "show", "fer2013", "--data-path", str(csv)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert list(Path().iterdir()) == []
    assert not Path("../cache").exists()


def test_no_file_at_all_says_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, document = run(capsys, "data", "show", "fer2013")
    assert code == 2
    assert "not found" in document["error"]["what"]
    assert "--data-path" in document["error"]["fix"]


def test_export_gives_back_the_file_byte_for_byte(
    capsys: pytest.CaptureFixture[str], csv: Path, table: str, tmp_path: Path
) -> None:
    out = tmp_path / "again.csv"
    code, document = run(capsys, "data", "export", "fer2013", "--data-path", csv, "--out", out)
    assert code == 0
    assert document == {"name": "fer2013", "file": str(out), "rows": 7}
    assert out.read_text() == table


def test_export_packs_where_the_name_says_so(
    capsys: pytest.CaptureFixture[str], csv: Path, table: str, tmp_path: Path
) -> None:
    first, second = tmp_path / "a.csv.gz", tmp_path / "b.csv.gz"
    for out in (first, second):
        assert run(capsys, "data", "export", "fer2013", "--data-path", csv, "--out", out)[0] == 0
    assert gzip.decompress(first.read_bytes()).decode() == table
    assert first.read_bytes() == second.read_bytes()


def test_export_of_other_images_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    images, labels = np.zeros((2, 28, 28), np.uint8), np.arange(2, dtype=np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    out = tmp_path / "out.csv"
    code, document = run(capsys, "data", "export", "mnist", "--data-path", tmp_path / "mnist.npz", "--out", out)
    assert code == 2
    assert "1 x 28 x 28" in document["error"]["why"]
    assert not out.exists()


def test_export_into_a_folder_that_is_not_there(capsys: pytest.CaptureFixture[str], csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "none" / "out.csv"
    code, document = run(capsys, "data", "export", "fer2013", "--data-path", csv, "--out", out)
    assert code == 2
    assert str(out) in document["error"]["where"]


def test_a_data_set_that_is_drawn_takes_no_path(capsys: pytest.CaptureFixture[str], csv: Path) -> None:
    code, document = run(capsys, "data", "show", "faces", "--data-path", csv)
    assert code == 2
    assert "not read from a file" in document["error"]["what"]
