"""The built-in data set: what it promises to whoever trains on it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import localrules_fer.faces.dataset as faces_module
from localrules_fer.faces.dataset import Faces
from localrules_fer.faces.draw import IMAGES_A_PERSON, VERSION, draw
from localrules_fer.faces.expression import CLASSES

SMALL = {"train": 140, "valid": 42, "test": 42}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALRULES_CACHE", str(tmp_path))


def test_it_is_48_by_48_grey_bytes_with_fer2013s_classes():
    data = Faces(Faces.Config(**SMALL)).load()

    assert data.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert data.shape == (1, 48, 48)
    assert set(data.splits) == {"train", "valid", "test"}
    for split in data.splits.values():
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
    assert data.redistributable
    assert data.origin == "drawn by localrules, seed 0"


def test_its_splits_have_the_asked_number_of_each_class():
    data = Faces(Faces.Config(**SMALL)).load()

    for name, samples in SMALL.items():
        assert len(data.split(name)) == samples
        assert data.split(name).labels.bincount().tolist() == [samples // 7] * 7


def test_it_has_14000_and_twice_2100_images_by_default():
    config = Faces.Config()

    assert (config.train, config.valid, config.test) == (14_000, 2_100, 2_100)


def test_counts_that_do_not_divide_by_seven_differ_by_one_at_most():
    counts = np.bincount(draw(0, "test", 24).labels, minlength=7)

    assert counts.sum() == 24
    assert counts.max() - counts.min() == 1


def test_the_samples_are_shuffled():
    labels = draw(0, "train", 140).labels

    assert labels[:20].tolist() != sorted(labels[:20].tolist())
    assert len(set(labels[:28].tolist())) == 7


def test_each_person_shows_every_expression_twice():
    images = draw(0, "train", 10 * IMAGES_A_PERSON)

    for person in range(10):
        shown = np.bincount(images.labels[images.people == person], minlength=7)
        assert shown.tolist() == [2] * 7


def test_a_person_of_one_split_is_in_no_other():
    people = {}
    for split in ("train", "valid", "test"):
        traits = draw(0, split, 140).traits
        people[split] = set(zip(traits["eye_x"].tolist(), traits["skin"].tolist(), strict=True))
        assert len(people[split]) == 10

    assert not people["train"] & people["valid"]
    assert not people["train"] & people["test"]
    assert not people["valid"] & people["test"]


def test_no_image_occurs_twice():
    data = Faces(Faces.Config(**SMALL)).load()
    pixels = [image.numpy().tobytes() for split in data.splits.values() for image in split.images]

    assert len(set(pixels)) == sum(SMALL.values())


def test_the_size_of_one_split_leaves_the_others_alone():
    small, large = Faces(Faces.Config(**SMALL)).load(), Faces(Faces.Config(**SMALL | {"train": 210})).load()

    assert torch.equal(small.split("valid").images, large.split("valid").images)
    assert small.fingerprint != large.fingerprint


def test_another_seed_gives_other_faces_and_another_fingerprint():
    first, second = Faces(Faces.Config(**SMALL)).load(), Faces(Faces.Config(seed=1, **SMALL)).load()

    assert not torch.equal(first.split("valid").images, second.split("valid").images)
    assert first.fingerprint != second.fingerprint


def test_what_is_painted_together_changes_no_pixel():
    whole = draw(0, "valid", 49).images

    for chunk in (1, 5, 16, 64):
        assert np.array_equal(draw(0, "valid", 49, chunk=chunk).images, whole)


def test_threads_change_no_pixel():
    whole, before = draw(0, "valid", 42).images, torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert np.array_equal(draw(0, "valid", 42).images, whole)
    finally:
        torch.set_num_threads(before)


def test_these_are_the_pixels_of_this_version():
    """If this fails, the faces were changed: raise ``VERSION``, and write the new hash here."""
    digest = hashlib.sha256(draw(0, "train", 70).images.tobytes()).hexdigest()

    assert (VERSION, digest[:16]) == (3, "2a282a06ec154815")


def test_the_faces_from_the_cache_are_the_faces_that_were_drawn(monkeypatch):
    fresh = Faces(Faces.Config(**SMALL)).load()
    monkeypatch.setattr(faces_module, "draw", lambda *_: pytest.fail("drawn although the cache has them"))
    kept = Faces(Faces.Config(**SMALL)).load()

    assert kept.fingerprint == fresh.fingerprint
    for name in SMALL:
        assert torch.equal(kept.split(name).images, fresh.split(name).images)
        assert torch.equal(kept.split(name).labels, fresh.split(name).labels)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"train": 6}, {"valid": 0}, {"images": 7}])
def test_an_option_that_makes_no_sense_is_refused_by_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Faces.Config(**wrong)


def test_no_two_expressions_look_alike_on_the_average():
    """Pixel by pixel, the mean faces of two expressions are never the same."""
    image_batch = draw(0, "train", 700)
    means = [image_batch.images[image_batch.labels == label].mean(axis=0) for label in range(len(CLASSES))]

    for first in range(len(CLASSES)):
        for second in range(first):
            assert np.abs(means[first] - means[second]).max() > 5
