"""A training batch depends on split, seed and step alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from localrules.data.augment import Augment, AugmentConfig
from localrules.data.batches import Batches, fits_on, iter_batches
from localrules.data.dataset import Split, image_chunks
from localrules.data.normalize import Normalize, NormalizeConfig
from localrules.data.preprocess import Preprocessor
from localrules.errors import UsageError


@pytest.fixture
def split() -> Split:
    draw = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (103, 2, 12, 10), dtype=torch.uint8, generator=draw)
    return Split(images, torch.arange(103))


def batches(split: Split, seed: int = 7) -> Batches:
    return Batches(split, 10, seed, augment=Augment(AugmentConfig()))


def test_a_batch_is_a_function_of_seed_and_step_alone(split: Split) -> None:
    through = batches(split)
    seen = [through.batch(step) for step in range(25)]
    for step in (24, 3, 10, 9):  # as a resumed run would, in any order, across epochs
        again = batches(split).batch(step)
        assert torch.equal(again.images, seen[step].images)
        assert torch.equal(again.indices, seen[step].indices)
        assert torch.equal(again.labels, seen[step].labels)


def test_another_seed_gives_other_samples_and_other_augmentation(split: Split) -> None:
    assert not torch.equal(batches(split, 7).batch(0).indices, batches(split, 8).batch(0).indices)


def test_the_global_generator_is_neither_read_nor_moved(split: Split) -> None:
    torch.manual_seed(1)
    first = batches(split).batch(5).images
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(2)
    assert torch.equal(batches(split).batch(5).images, first)


def test_an_epoch_shows_each_sample_at_most_once_and_drops_the_incomplete_batch(split: Split) -> None:
    source = batches(split)
    assert source.steps_per_epoch == 10
    epochs = [torch.cat([source.batch(10 * epoch + i).indices for i in range(10)]) for epoch in range(3)]
    for samples in epochs:
        assert len(samples.unique()) == 100
    assert not torch.equal(epochs[0], epochs[1])
    assert len(torch.cat(epochs).unique()) == 103  # the samples left out change


def test_labels_and_images_stay_together(split: Split) -> None:
    plain = Batches(split, 10, 7)
    batch = plain.batch(4)
    assert torch.equal(batch.labels, batch.indices)
    assert torch.equal(batch.images, plain.preprocess(split.images[batch.indices]))


def test_augmenting_changes_images_but_not_which_samples_are_drawn(split: Split) -> None:
    plain, augmented = Batches(split, 10, 7).batch(2), batches(split).batch(2)
    assert torch.equal(plain.indices, augmented.indices)
    assert not torch.equal(plain.images, augmented.images)


def test_standardised_training_pixels_have_mean_zero_and_std_one_in_each_channel(split: Split) -> None:
    standard = Normalize.from_split(split)
    images = standard(split.images).double()
    assert images.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert (images.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-5
    reference = split.images.double() / 255
    assert torch.tensor(standard.mean).allclose(reference.mean(dim=(0, 2, 3)).float())
    assert torch.tensor(standard.std).allclose(reference.std(dim=(0, 2, 3), correction=0).float())


def test_a_constant_training_split_is_standardised_to_zero() -> None:
    split = Split(torch.full((4, 1, 3, 3), 200, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    assert Normalize.from_split(split)(split.images).abs().max() < 1e-4


def test_chosen_constants_take_the_place_of_the_training_images_own(split: Split) -> None:
    reference = split.images.double() / 255
    one = Normalize.from_config(NormalizeConfig(mean=0.5, std=0.5), split)
    assert torch.allclose(one(split.images).double(), 2 * reference - 1, atol=1e-6)
    assert one.black == (-1.0, -1.0)
    each = Normalize.from_config(NormalizeConfig(mean=[0.4, 0.6], std=[0.1, 0.2]), split)(split.images).double()
    assert torch.allclose(each[:, 0], (reference[:, 0] - 0.4) / 0.1, atol=1e-5)
    assert torch.allclose(each[:, 1], (reference[:, 1] - 0.6) / 0.2, atol=1e-5)
    assert Normalize.from_config(None, split) == Normalize.from_split(split)


@pytest.mark.parametrize("constants", [{"mean": 0.5}, {"std": 0.5}, {"mean": 0.5, "std": 0}, {"mean": [], "std": 1}])
def test_constants_are_a_mean_and_a_positive_std(constants: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NormalizeConfig(**constants)


def test_the_number_of_constants_is_one_or_that_of_the_channels(split: Split) -> None:
    with pytest.raises(UsageError) as caught:
        Normalize.from_config(NormalizeConfig(mean=[0.1, 0.2, 0.3], std=1), split)
    assert "normalize.mean" in caught.value.where
    assert "3 numbers, and the images have 2 channels" in caught.value.why
    assert "or 2" in caught.value.fix


def test_a_split_smaller_than_a_batch_is_wrong_use(split: Split) -> None:
    with pytest.raises(UsageError) as caught:
        Batches(split, 104, 0)
    assert "103" in caught.value.why
    assert "--batch-size" in caught.value.fix


def test_evaluation_sees_every_sample_once_in_order_as_it_is(split: Split) -> None:
    preprocess = Preprocessor.from_split(split)
    parts = list(iter_batches(split, 25, preprocess))
    assert [len(part) for part in parts] == [25, 25, 25, 25, 3]
    assert torch.equal(torch.cat([part.indices for part in parts]), torch.arange(103))
    assert torch.equal(torch.cat([part.images for part in parts]), preprocess(split.images))


def test_evaluation_of_chosen_samples(split: Split) -> None:
    samples = torch.tensor([5, 2, 90])
    parts = list(iter_batches(split, 2, Preprocessor.from_split(split), indices=samples))
    assert torch.equal(torch.cat([part.labels for part in parts]), samples)


def test_the_memory_format_changes_strides_and_no_value(split: Split) -> None:
    last = Preprocessor.from_split(split, channels_last=True)
    augment = Augment(AugmentConfig())
    for kwargs in ({}, {"augment": augment}):
        plain = Batches(split, 10, 7, **kwargs).batch(4).images
        found = Batches(split, 10, 7, last, **kwargs).batch(4).images
        assert torch.equal(found, plain)
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert last.to_memory_format(found) is found  # no second copy


def test_large_images_are_converted_a_few_at_a_time() -> None:
    small, large = torch.zeros(2000, 1, 2, 2, dtype=torch.uint8), torch.zeros(10, 3, 1024, 1024, dtype=torch.uint8)
    assert [len(chunk) for chunk in image_chunks(small)] == [1024, 976]
    assert {len(chunk) for chunk in image_chunks(large)} == {1}


def test_images_stay_off_a_gpu_that_they_would_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    gpu = torch.device("cuda")
    assert fits_on(500, gpu)
    assert not fits_on(501, gpu)
    assert fits_on(10**15, torch.device("cpu"))
