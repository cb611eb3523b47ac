"""ImageNet and Tiny ImageNet in the layouts in which people have them, with images of noise."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.image_trees import images, png, write_folder, write_zip

from localrules.data.dataset import Dataset
from localrules.errors import LocalRulesError
from localrules_vision.imagenet import ImageNet, TinyImageNet

CAT, DOG = "n00000002", "n00000001"
TRAIN = images(f"train/{CAT}/images", f"train/{DOG}/images")
FLAT = {f"val/images/val_{number}.JPEG": png(number + 50) for number in range(3)}
ROWS = "".join(f"val_{number}.JPEG\t{wnid}\t0\t0\n" for number, wnid in enumerate((CAT, DOG, CAT)))
LIST = {"val/val_annotations.txt": ROWS.encode()}
TEST = {"test/images/test_0.JPEG": png(90)}
WORDS = {"words.txt": f"{DOG}\tdog, hound\n{CAT}\tcat\nn99999999\tcow\n".encode()}
TINY = {f"tiny-imagenet-200/{name}": content for name, content in {**TRAIN, **FLAT, **LIST, **TEST, **WORDS}.items()}


def load(path: Path, source: type = TinyImageNet, **options: object) -> Dataset:
    return source(source.Config(path=path, **options)).load()


def failure(path: Path, source: type = TinyImageNet) -> LocalRulesError:
    with pytest.raises(LocalRulesError) as caught:
        load(path, source)
    assert caught.value.exit_code == 2
    assert all(caught.value.as_dict().values())
    return caught.value


@pytest.mark.parametrize("archive", [False, True])
def test_tiny_imagenet(tmp_path: Path, archive: bool) -> None:
    path = write_zip(tmp_path / "t.zip", TINY) if archive else write_folder(tmp_path, TINY)
    data = load(path)
    assert data.classes == ("dog", "cat")  # in the order of WordNet's numbers
    assert data.shape == (3, 64, 64)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 4, "valid": 3}
    assert data.splits["train"].labels.tolist() == [0, 0, 1, 1]
    assert data.splits["valid"].labels.tolist() == [0, 1, 1]
    assert "not published" in data.missing["test"]


def test_imagenet_in_folders_of_classes(tmp_path: Path) -> None:
    files = {**images(f"ILSVRC/train/{CAT}", f"ILSVRC/train/{DOG}", f"ILSVRC/val/{DOG}", size=(40, 30)), **TEST}
    data = load(write_folder(tmp_path, files), ImageNet, size=16)
    assert data.shape == (3, 16, 16)
    assert data.classes == (DOG, CAT)
    assert data.splits["valid"].labels.tolist() == [0, 0]


def test_imagenet_as_kaggle_has_it(tmp_path: Path) -> None:
    files = {f"ILSVRC/Data/CLS-LOC/{name.replace('/images', '')}": file for name, file in {**TRAIN, **FLAT}.items()}
    rows = f"ImageId,PredictionString\nval_0,{CAT} 1 2 3 4 {CAT} 5 6 7 8\nval_1,{DOG} 1 2 3 4\nval_2,{DOG} 1 2 3 4\n"
    words = f"{DOG} dog\n{CAT} dog\n"
    lists = {"LOC_val_solution.csv": rows.encode(), "LOC_synset_mapping.txt": words.encode()}
    data = load(write_folder(tmp_path, {**files, **lists}), ImageNet)
    assert data.splits["valid"].labels.tolist() == [0, 0, 1]
    assert data.classes == (DOG, CAT)  # the words of both are the same


@pytest.mark.parametrize(
    ("files", "what"),
    [
        (images("train/cat", "val/cat"), "is not laid out as tiny_imagenet is"),
        ({**TRAIN, **FLAT}, "have no labels"),
        ({**TRAIN, **FLAT, "val/images/val_9.JPEG": png(), **LIST}, "not in the list of labels"),
        ({**TRAIN, **FLAT, "val/val_annotations.txt": b"val_0.JPEG cat\n"}, "list of labels cannot be read"),
        ({**TRAIN, **images("val/n00000003")}, "val has classes that train has not"),
    ],
)
def test_layouts_that_cannot_be_read(tmp_path: Path, cache: Path, files: dict[str, bytes], what: str) -> None:
    assert what in failure(write_folder(tmp_path, files)).what
    assert list(cache.iterdir()) == []


def test_images_in_no_folder_of_a_class_are_left_out_and_counted(tmp_path: Path) -> None:
    others = {**images("train/cat"), "train/cover.png": png(70), "val/other/x.png": png(71)}
    path = write_folder(tmp_path, {**TRAIN, **FLAT, **LIST, **TEST, **others})
    with pytest.warns(UserWarning, match="4 images left out, .* 1 in train/, 2 in train/cat/, 1 in val/other/"):
        data = load(path)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 4, "valid": 3}


def test_names_of_the_list_without_an_image_are_counted(tmp_path: Path) -> None:
    files = {**TRAIN, **FLAT, **LIST}
    del files["val/images/val_1.JPEG"]
    with pytest.warns(UserWarning, match="1 image of the list of labels not there: val_1"):
        assert len(load(write_folder(tmp_path, files)).splits["valid"]) == 2


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"val/val_annotations.txt": f"{ROWS}val_0.JPEG\t{DOG}\n".encode()}, "gives an image two classes"),
        ({**LIST, f"val/{CAT}/val_0.JPEG": png(50)}, "lie both in val/ itself and in a folder of a class"),
        ({**LIST, "old/val_annotations.txt": ROWS.encode()}, "several lists of labels"),
        ({"val/val_annotations.txt": b"v" * 140_000}, "list of labels cannot be read"),  # csv has a limit
    ],
)
def test_labels_that_contradict_one_another(tmp_path: Path, cache: Path, files: dict[str, bytes], what: str) -> None:
    assert what in failure(write_folder(tmp_path, {**TRAIN, **FLAT, **files})).what
    assert list(cache.iterdir()) == []


def test_an_image_may_be_listed_twice_with_one_class(tmp_path: Path) -> None:
    files = {**TRAIN, **FLAT, "val/val_annotations.txt": f"{ROWS}val_0.JPEG\t{CAT}\n".encode()}
    assert len(load(write_folder(tmp_path, files)).splits["valid"]) == 3


def test_it_is_not_downloaded() -> None:
    with pytest.raises(LocalRulesError, match="cannot be downloaded"):
        ImageNet(ImageNet.Config(download=True)).load()
