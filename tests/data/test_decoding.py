"""Image files become arrays: at their place, in one form, and every unreadable one is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.image_trees import png, write_folder, write_tar
from helpers.shown_progress import shown_progress

from localrules.data.decoding import ImageForm, Sample, decode_splits
from localrules.data.file_tree import open_tree
from localrules.data.images import fit_to_shape, read_image
from localrules.data.mapped_cache import ArrayStore
from localrules.errors import DataError

Files = dict[str, bytes]
SAMPLES = [
    Sample("b/2.png", "train", 1),
    Sample("a/1.png", "train", 0),
    Sample("c/3.png", "valid", 0),
    Sample("a/4.png", "train", 0),
]


def decode(
    path: Path, form: ImageForm = ImageForm(), samples: list[Sample] = SAMPLES, **options: bool
) -> tuple[dict[str, np.ndarray], list[str]]:
    store = ArrayStore(None)
    with open_tree(path) as tree:
        skipped = decode_splits(tree, samples, store, form, **options)
    return store.arrays, skipped


@pytest.fixture
def files() -> Files:
    return {sample.name: png(number) for number, sample in enumerate(SAMPLES)}


@pytest.mark.parametrize("archive", [False, True])
def test_each_image_lands_at_its_place(tmp_path: Path, files: Files, archive: bool) -> None:
    folder = write_folder(tmp_path / "folder", files)
    # An archive is read in its own order, whatever the order of the samples.
    source = write_tar(tmp_path / "a.tar.gz", dict(reversed(files.items()))) if archive else folder
    arrays, skipped = decode(source)
    assert skipped == []
    for split, names in (("train", ["b/2.png", "a/1.png", "a/4.png"]), ("valid", ["c/3.png"])):
        expected = [fit_to_shape(read_image(folder / name), (3, 8, 8)).numpy() for name in names]
        assert (arrays[f"{split}-images"] == np.stack(expected)).all()
    assert arrays["train-labels"].tolist() == [1, 0, 0]
    assert arrays["valid-labels"].tolist() == [0]


def test_grey_images_have_one_channel_unless_one_has_colour(tmp_path: Path, files: Files) -> None:
    grey = {name: png(number, mode="L") for number, name in enumerate(files)}
    assert decode(write_folder(tmp_path / "grey", grey))[0]["train-images"].shape == (3, 1, 8, 8)
    mixed = write_folder(tmp_path / "mixed", {**grey, "c/3.png": png(7)})
    arrays, _ = decode(mixed)
    assert arrays["train-images"].shape == (3, 3, 8, 8)
    assert (arrays["train-images"][:, 0] == arrays["train-images"][:, 2]).all()
    assert decode(mixed, ImageForm(channels=1))[0]["valid-images"].shape == (1, 1, 8, 8)
    assert decode(tmp_path / "grey", ImageForm(channels=3))[0]["valid-images"].shape == (1, 3, 8, 8)


def test_other_sizes_need_a_size(tmp_path: Path, files: Files) -> None:
    folder = write_folder(tmp_path, {**files, "a/4.png": png(3, size=(20, 12))})
    with pytest.raises(DataError) as caught:
        decode(folder)
    assert "12 x 20" in caught.value.why
    assert "8 x 8" in caught.value.why
    assert "data.size" in caught.value.fix
    arrays, _ = decode(folder, ImageForm((16, 16)))
    assert arrays["train-images"].shape == (3, 3, 16, 16)


def test_unreadable_images_are_named_or_left_out(tmp_path: Path, files: Files) -> None:
    broken = {"b/2.png": files["b/2.png"][:60], "c/3.png": b"text"}  # the first one of either split
    folder = write_folder(tmp_path, {**files, **broken, "c/5.png": png(5)})
    samples = [*SAMPLES, Sample("c/5.png", "valid", 0)]
    with pytest.raises(DataError) as caught:
        decode(folder, samples=samples)
    assert caught.value.what == "2 images cannot be read"
    assert "b/2.png, c/3.png" in caught.value.why
    assert "data.skip_unreadable=true" in caught.value.fix
    arrays, skipped = decode(folder, samples=samples, skip_unreadable=True)
    assert sorted(skipped) == ["b/2.png", "c/3.png"]
    assert arrays["train-labels"].tolist() == [0, 0]
    expected = [fit_to_shape(read_image(folder / name), (3, 8, 8)).numpy() for name in ("a/1.png", "a/4.png")]
    assert (arrays["train-images"] == np.stack(expected)).all()
    assert len(arrays["valid-images"]) == 1


def test_a_split_without_a_readable_image_is_an_error_even_if_they_are_skipped(tmp_path: Path, files: Files) -> None:
    with pytest.raises(DataError, match="1 image cannot be read") as caught:
        decode(write_folder(tmp_path, {**files, "c/3.png": b"text"}), skip_unreadable=True)
    assert "no image of the valid split is left" in caught.value.why
    assert caught.value.fix == "replace or remove them"


def test_nothing_readable_is_an_error_even_if_unreadable_images_are_skipped(tmp_path: Path, files: Files) -> None:
    with pytest.raises(DataError, match="4 images cannot be read"):
        decode(write_folder(tmp_path, dict.fromkeys(files, b"text")), skip_unreadable=True)


def test_progress_counts_all_images(tmp_path: Path, files: Files) -> None:
    with shown_progress() as done:
        decode(write_folder(tmp_path, files))
    assert done == [(f"decoding images of {tmp_path} into the cache", 4), 1, 3]
