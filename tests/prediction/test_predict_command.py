"""``predict``: a run's answers to images of the user's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_runs import FACES, MLP, SHORT, localrules, train
from PIL import Image

from localrules.errors import DataError
from localrules.prediction.images import list_images
from localrules.registry.registry import Registry
from localrules.runs.load import TrainedRun

pytestmark = [pytest.mark.slow, pytest.mark.draws]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    summary = train(tmp_path_factory.mktemp("run"), "--rule", "backprop", setting=[*FACES, *MLP, *SHORT])
    return Path(summary["run_dir"])


@pytest.fixture(scope="module")
def finished(run: Path) -> TrainedRun:
    return TrainedRun.load(run, Registry.load(allow=[]))


@pytest.fixture(scope="module")
def valid(finished: TrainedRun) -> torch.Tensor:
    """Synthetic faces."""
    return finished.data().split("valid").images


@pytest.fixture
def images(tmp_path: Path, valid: torch.Tensor) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(valid[number, 0].numpy()).save(folder / f"{number}.png")
    return folder


def predicted(run: Path, *words: str | Path) -> list[dict[str, Any]]:
    said = localrules("predict", run, *words, "--json")
    assert said.code == 0, said.out
    return said.document  # type: ignore[return-value]


def test_the_document_ranks_the_networks_own_probabilities(
    run: Path, finished: TrainedRun, valid: torch.Tensor, images: Path
) -> None:
    found = predicted(run, images)
    assert [item["image"] for item in found] == [str(images / f"{number}.png") for number in range(3)]
    expected = finished.predictor.probabilities(valid[:3])
    for item, row in zip(found, expected.tolist(), strict=True):
        assert item.keys() == {"image", "ranked"}
        assert {tuple(entry) for entry in item["ranked"]} == {("expression", "probability")}
        probabilities = [entry["probability"] for entry in item["ranked"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1)
        assert {entry["expression"]: entry["probability"] for entry in item["ranked"]} == pytest.approx(
            dict(zip(finished.classes, row, strict=True))
        )


def test_the_answer_is_the_one_that_is_scored(finished: TrainedRun, valid: torch.Tensor) -> None:
    scores = finished.predictor.scores(finished.data().split("valid"))
    assert torch.equal(finished.predictor.probabilities(valid).argmax(1), scores.predictions)


def test_files_and_folders_in_the_order_of_the_line_and_an_annotated_image_of_each(
    run: Path, images: Path, tmp_path: Path
) -> None:
    other = tmp_path / "1.jpg"
    Image.new("RGB", (80, 40), "red").save(other)
    found = predicted(run, images / "1.png", other, images, "--out", tmp_path / "out" / "here")
    assert [Path(item["image"]).name for item in found] == ["1.png", "1.jpg", "0.png", "1.png", "2.png"]
    names = ["0-predicted", "1-predicted", "1-predicted-2", "1-predicted-3", "2-predicted"]
    drawn = sorted((tmp_path / "out" / "here").iterdir())
    assert sorted(path.stem for path in drawn) == names
    with Image.open(drawn[0]) as image:
        assert image.width > image.height > 200
        assert np.asarray(image.convert("L")).min() < 100


def test_people_get_a_ranking_and_are_told_where_the_images_are(run: Path, images: Path) -> None:
    (images / "notes.txt").touch()
    said = localrules("predict", run, images / "0.png")
    assert said.code == 0
    assert said.out.count(" %") == 7
    assert str(run / "predictions") in said.out
    assert (run / "predictions" / "0-predicted.png").exists()
    said = localrules("predict", run, images, "--device", "cpu")
    assert said.out.count(" %") == 9, "the first three of each"
    assert "notes.txt" in said.out


def test_nothing_of_the_run_is_changed(run: Path, images: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    predicted(run, images, "--out", tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_mistakes_are_errors_for_people(run: Path, images: Path, tmp_path: Path) -> None:
    words, empty = tmp_path / "words.png", tmp_path / "empty"
    words.write_text("hello")
    empty.mkdir()
    for line, what in (
        ([run, tmp_path / "none.png"], "there is no such image"),
        ([run, words], "this is not an image that can be read"),
        ([run, empty], "the folder holds no images"),
        ([tmp_path, images], "this is not a run folder"),
        ([run, images, "--out", words], "the annotated images cannot be written"),
        ([run, images, "--device", "abacus"], "device 'abacus' cannot be used here"),
    ):
        said = localrules("predict", *line, "--json")
        assert (said.code, said.error["what"]) == (2, what)
        assert said.error["why"]


def test_a_damaged_image_does_not_lose_the_answers_to_the_others(run: Path, images: Path, tmp_path: Path) -> None:
    (images / "1.png").write_bytes((images / "1.png").read_bytes()[:200])
    said = localrules("predict", run, images, "--json")
    assert said.code == 2
    assert said.error["where"] == str(images / "1.png")
    assert "--skip-unreadable" in said.error["fix"]
    said = localrules("predict", run, images, "--json", "--skip-unreadable")
    assert said.code == 0
    assert [Path(item["image"]).name for item in said.document] == ["0.png", "2.png"]
    assert "left out, cannot be read: 1.png" in said.err
    said = localrules("predict", run, images / "1.png", "--json", "--skip-unreadable")
    assert said.code == 2, "none is left"


def test_a_run_without_a_checkpoint_says_how_to_go_on(run: Path, images: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    started.mkdir()
    (started / "config.toml").write_text((run / "config.toml").read_text())
    said = localrules("predict", started, images, "--json")
    assert (said.code, said.error["what"]) == (2, "the run has no checkpoint yet")
    assert "--resume" in said.error["fix"]


def fake_opencv(boxes: list[tuple[int, int, int, int]], *, empty: bool = False) -> Any:
    """The part of OpenCV that is used, with fixed detections: left, top, width and height of each face."""

    class CascadeClassifier:
        def __init__(self, path: str) -> None:
            assert path.endswith(".xml")

        def empty(self) -> bool:
            return empty

        def detectMultiScale(self, grey: np.ndarray, step: float, neighbours: int, minSize: tuple[int, int]) -> Any:
            assert grey.dtype == np.uint8
            assert grey.ndim == 2
            return np.array(boxes, dtype=np.int32) if boxes else ()

    return SimpleNamespace(CascadeClassifier=CascadeClassifier, data=SimpleNamespace(haarcascades="cascades"))


@pytest.fixture
def scene(tmp_path: Path, valid: torch.Tensor) -> Path:
    """A face at the right of a large image, and something smaller."""
    image = Image.new("L", (400, 200), 30)
    image.paste(Image.fromarray(valid[0, 0].numpy()), (300, 100))
    image.save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


def test_the_largest_face_is_cut_out(run: Path, images: Path, scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", fake_opencv([(5, 5, 30, 30), (300, 100, 48, 48), (60, 9, 24, 24)]))
    (cut,) = predicted(run, scene, "--crop")
    (alone,) = predicted(run, images / "0.png")
    assert cut["ranked"] == alone["ranked"]
    assert predicted(run, scene)[0]["ranked"] != alone["ranked"], "no face is cut out unless one asks"


def test_where_no_face_is_found_the_middle_is_taken_and_it_says_so(
    run: Path, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", fake_opencv([]))
    said = localrules("predict", run, scene, "--crop", "--json")
    assert said.document[0]["ranked"] == predicted(run, scene)[0]["ranked"]  # type: ignore[index]
    assert f"no face was found, so the middle was taken: {scene}" in said.err


def opencv5(**parts: Any) -> Any:
    return SimpleNamespace(__version__="5.0.0", data=SimpleNamespace(haarcascades="cascades"), **parts)


def test_the_classifier_is_found_where_opencv_5_has_it(
    run: Path, images: Path, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", opencv5(xobjdetect=fake_opencv([(300, 100, 48, 48)])))
    assert predicted(run, scene, "--crop")[0]["ranked"] == predicted(run, images / "0.png")[0]["ranked"]


@pytest.mark.parametrize(
    "opencv", [None, fake_opencv([], empty=True), opencv5()], ids=["not installed", "no cascade", "OpenCV 5"]
)
def test_without_a_detector_crop_is_refused(
    run: Path, scene: Path, monkeypatch: pytest.MonkeyPatch, opencv: Any
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", opencv)
    said = localrules("predict", run, scene, "--crop", "--json")
    assert said.code == 2
    assert "faces cannot be cut out" in said.error["what"]
    assert "pip install" in said.error["fix"]
    assert "pip install" in said.error["fix"]


def test_a_path_that_cannot_be_looked_up_is_an_error_of_the_user() -> None:
    with pytest.raises(DataError) as caught:
        list_images([Path("a" * 300)])
    assert caught.value.why == "File name too long"
