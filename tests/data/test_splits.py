"""A tenth of the training split held out: to choose by, with copies on one side."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.shown_progress import shown_progress

from localrules.data import duplicates
from localrules.data.dataset import Dataset, Split, fingerprint
from localrules.data.duplicates import near_duplicate_groups
from localrules.data.splits import split_holdout
from localrules.errors import DataError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LOCALRULES_CACHE", str(tmp_path))


def draw_images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 24, 24), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def data_set(images: torch.Tensor, **others: Split) -> Dataset:
    splits = {"train": Split(images, torch.arange(len(images)) % 7), **others}
    return Dataset("some", tuple("abcdefg"), splits, "made up", fingerprint(splits), redistributable=True)


def test_copies_flipped_copies_and_paler_copies_share_a_group_and_others_do_not() -> None:
    distinct = draw_images(5)
    paler = (distinct[2].float() * 0.5 + 60).to(torch.uint8)[None]
    groups = near_duplicate_groups(torch.cat([distinct, distinct[:1], distinct[1:2].flip(-1), paler]))
    assert groups.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]


def test_near_duplicates_of_near_duplicates_share_a_group() -> None:
    first, last = draw_images(2).float()
    between = [((1 - fraction) * first + fraction * last).to(torch.uint8) for fraction in torch.linspace(0, 1, 40)]
    groups = near_duplicate_groups(torch.stack(between))
    assert groups.unique().tolist() == [0]


def test_images_that_share_only_a_colour_are_not_near_duplicates() -> None:
    draws = torch.Generator().manual_seed(0)
    cast = torch.tensor([60.0, 120.0, 220.0]).view(1, 3, 1, 1)
    sky = (cast + 10 * torch.randn(30, 3, 32, 32, generator=draws)).clamp(0, 255).to(torch.uint8)
    assert near_duplicate_groups(torch.cat([sky, sky[:1].flip(-1)])).tolist() == [*range(30), 0]


def test_images_of_one_grey_are_copies_of_each_other() -> None:
    plain = torch.stack([torch.full((1, 24, 24), grey, dtype=torch.uint8) for grey in (0, 90, 255)])
    assert near_duplicate_groups(torch.cat([draw_images(1), plain])).tolist() == [0, 1, 1, 1]


@pytest.mark.slow
def test_many_images_are_not_compared_each_with_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = draw_images(1500)
    images = torch.cat([images, images[:300], images[300:600].flip(-1)])
    every = near_duplicate_groups(images)
    monkeypatch.setenv("LOCALRULES_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr("localrules.data.duplicates.ALL_PAIRS", 1000)
    compared: list[int] = []
    near = duplicates._near
    monkeypatch.setattr(
        "localrules.data.duplicates._near", lambda *a: (compared.append(len(a[2]) * len(a[3])), near(*a))[1]
    )
    assert torch.equal(near_duplicate_groups(images), every)
    assert sum(compared) < len(images) ** 2 / 2


@pytest.mark.parametrize(("all_pairs", "passes"), [(1000, 1), (10, duplicates.DRAWS)])
def test_the_comparison_of_many_images_shows_its_progress(
    all_pairs: int, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localrules.data.duplicates.ALL_PAIRS", all_pairs)
    with shown_progress() as told:
        near_duplicate_groups(draw_images(50))
    work, *done = told
    assert work == ("comparing images to find near duplicates", 50 * passes)
    assert sum(each for each in done if isinstance(each, int)) == 50 * passes


def test_the_parts_of_a_large_split_are_mapped_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_set(draw_images(50))
    copied = split_holdout(data, 0.2)
    monkeypatch.setattr("localrules.data.splits.IN_MEMORY", 1000)
    monkeypatch.setattr("localrules.data.splits.CHUNK_VALUES", 24 * 24 * 3)
    mapped = split_holdout(data, 0.2)
    for name in ("train", "valid"):
        assert torch.equal(mapped.split(name).images, copied.split(name).images)
        assert torch.equal(mapped.split(name).labels, copied.split(name).labels)
    assert mapped.fingerprint == split_holdout(data, 0.2).fingerprint
    assert mapped.fingerprint not in (data.fingerprint, split_holdout(data, 0.3).fingerprint)


def test_a_fraction_of_train_takes_the_place_of_valid_and_no_group_is_on_both_sides() -> None:
    images = draw_images(200)
    images = torch.cat([images, images[:60]])
    old_valid = Split(draw_images(9, seed=1), torch.zeros(9, dtype=torch.int64))
    held = split_holdout(data_set(images, valid=old_valid, test=old_valid), 0.1)
    assert len(held.splits["train"]) + len(held.splits["valid"]) == 260
    assert 26 <= len(held.splits["valid"]) <= 27
    assert held.splits["test"] is old_valid
    train, valid = ({row.numpy().tobytes() for row in held.splits[name].images} for name in ("train", "valid"))
    assert not train & valid


def test_the_division_is_the_same_each_time_and_is_another_data_set_to_a_run() -> None:
    data = data_set(draw_images(50))
    once, again = split_holdout(data, 0.2), split_holdout(data, 0.2)
    assert torch.equal(once.splits["valid"].images, again.splits["valid"].images)
    assert once.fingerprint == again.fingerprint != data.fingerprint


def test_another_seed_draws_another_division() -> None:
    data = data_set(draw_images(50))
    one, other = (split_holdout(data, 0.2, seed) for seed in (0, 1))
    assert len(one.splits["valid"]) == len(other.splits["valid"])
    assert not torch.equal(one.splits["valid"].images, other.splits["valid"].images)
    assert one.fingerprint != other.fingerprint


def test_labels_go_with_their_images() -> None:
    data = data_set(draw_images(70))
    label_of = {row.numpy().tobytes(): label for row, label in zip(*vars(data.splits["train"]).values(), strict=True)}
    for split in split_holdout(data, 0.3).splits.values():
        assert all(
            label_of[row.numpy().tobytes()] == label for row, label in zip(split.images, split.labels, strict=True)
        )


def similar_images(count: int) -> torch.Tensor:
    """Near duplicates of each other."""
    return (draw_images(1).float() + torch.arange(count).view(-1, 1, 1, 1)).clamp(0, 255).to(torch.uint8)


def test_a_group_that_is_larger_than_the_part_to_hold_out_stays_in_train() -> None:
    for seed in range(5):
        held = split_holdout(data_set(torch.cat([similar_images(40), draw_images(60, seed=1)])), 0.1, seed)
        assert (len(held.split("train")), len(held.split("valid"))) == (90, 10)


def test_a_large_group_does_not_become_most_of_the_part() -> None:
    for seed in range(5):
        held = split_holdout(data_set(torch.cat([similar_images(95), draw_images(1905, seed=1)])), 0.1, seed)
        assert len(held.split("valid")) == 200


@pytest.mark.parametrize(
    ("images", "fraction", "message"),
    [
        (draw_images(20), 0.01, "nothing would be held out"),
        (draw_images(20), 0.99, "nothing would be left to train on"),
        (similar_images(20), 0.1, "without dividing near duplicates"),
    ],
)
def test_a_division_that_leaves_a_side_empty_is_refused(images: torch.Tensor, fraction: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_holdout(data_set(images), fraction)


def test_without_a_training_split_nothing_can_be_held_out() -> None:
    data = Dataset("some", ("a",), {}, "made up", "", redistributable=True)
    with pytest.raises(DataError, match="no 'train' split"):
        split_holdout(data, 0.1)
