"""Augmentation changes an image within its limits, and nothing else."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from pydantic import ValidationError

from localrules.data.augment import Augment, AugmentConfig

NOTHING = {"flip": False, "shift": 0}


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(64, 1, 20, 16, generator=draw(5))


def test_nothing_switched_on_changes_nothing(images: torch.Tensor) -> None:
    assert torch.equal(Augment(AugmentConfig(**NOTHING))(images, draw()), images)


def test_the_same_draw_gives_the_same_images(images: torch.Tensor) -> None:
    augment = Augment(AugmentConfig(rotation=20, scale=0.2, erase_size=0.5))
    assert torch.equal(augment(images.clone(), draw()), augment(images.clone(), draw()))
    assert not torch.equal(augment(images.clone(), draw()), augment(images.clone(), draw(1)))


def test_flip_mirrors_about_half_of_the_images_and_copies_the_rest(images: torch.Tensor) -> None:
    flipped = Augment(AugmentConfig(flip=True, shift=0))(images, draw())
    is_flipped = (flipped == images.flip(3)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert (is_flipped ^ kept).all()
    assert 16 <= is_flipped.sum() <= 48


def test_an_unset_flip_is_what_the_data_set_allows() -> None:
    assert Augment(AugmentConfig(), flip_preserves_label=True).flip
    assert not Augment(AugmentConfig(), flip_preserves_label=False).flip
    assert Augment(AugmentConfig(flip=True), flip_preserves_label=False).flip


def test_each_image_shifts_by_its_own_whole_pixels_in_both_directions(images: torch.Tensor) -> None:
    shifted = Augment(AugmentConfig(flip=False, shift=2))(images, draw())
    found = set()
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    for before, after in zip(padded, shifted, strict=True):
        matches = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(before[:, 2 - down : 22 - down, 2 - right : 18 - right], after)
        ]
        assert len(matches) == 1
        found.update(matches)
    assert len(found) > 15  # of 25
    assert {down for down, _ in found} == {right for _, right in found} == {-2, -1, 0, 1, 2}


def test_resampling_agrees_with_moving_where_both_can(images: torch.Tensor) -> None:
    moved = Augment(AugmentConfig(flip=True, shift=3))(images, draw())
    resampled = Augment(AugmentConfig(flip=True, shift=3, scale=1e-7))(images, draw())
    assert torch.allclose(moved, resampled, atol=1e-4)


def disc(height: int, width: int, radius: float) -> torch.Tensor:
    y = torch.arange(height)[:, None] - (height - 1) / 2
    x = torch.arange(width)[None, :] - (width - 1) / 2
    return (radius - (x**2 + y**2).sqrt()).clamp(0, 1).expand(32, 1, height, width)


def test_turning_leaves_a_centred_disc_as_it_is_whatever_the_sides() -> None:
    image = disc(40, 64, 12.0)
    turned = Augment(AugmentConfig(**NOTHING, rotation=180))(image, draw())
    assert (turned - image).abs().max() < 0.35  # one pixel's worth of interpolation at the rim
    assert (turned.sum(dim=(1, 2, 3)) / image[0].sum() - 1).abs().max() < 0.01


def test_turning_stays_within_its_degrees() -> None:
    bar = torch.zeros(64, 1, 41, 41)
    bar[:, :, 20, :] = 1.0
    turned = Augment(AugmentConfig(**NOTHING, rotation=10))(bar, draw())
    height = turned[:, 0, :, 35].argmax(dim=1) - 20  # 15 pixels right of the centre: 15 tan(10 degrees) = 2.6
    assert height.abs().max() <= 3
    assert height.min() < 0 < height.max()


def test_scaling_stays_within_its_fraction() -> None:
    image = disc(48, 48, 12.0)
    area = Augment(AugmentConfig(**NOTHING, scale=0.25))(image, draw()).sum(dim=(1, 2, 3)) / image[0].sum()
    assert area.min() > 0.75**2 - 0.02
    assert area.max() < 1.25**2 + 0.02
    assert area.max() - area.min() > 0.5


def test_erasing_blanks_one_rectangle_in_about_half_of_the_images() -> None:
    erased = Augment(AugmentConfig(**NOTHING, erase_size=0.5))(torch.ones(64, 3, 20, 16), draw()) == 0
    touched = erased.flatten(1).any(1)
    assert 16 <= touched.sum() <= 48
    for hole in erased[touched]:
        assert torch.equal(hole[0], hole[1])
        rows, columns = hole[0].any(1), hole[0].any(0)
        assert rows.sum() <= 10
        assert columns.sum() <= 8
        assert torch.equal(hole[0], rows[:, None] & columns[None, :])
        for side in (rows, columns):
            where = side.nonzero()
            assert where[-1] - where[0] + 1 == side.sum()


def test_switching_one_augmentation_on_leaves_the_draws_of_the_others() -> None:
    images = torch.randn(64, 1, 20, 16, generator=draw(5))
    plain = Augment(AugmentConfig())(images, draw())
    erased = Augment(AugmentConfig(erase_size=0.3))(images, draw())
    assert torch.equal(erased[erased != 0], plain[erased != 0])


@pytest.mark.parametrize("wrong", [{"shift": -1}, {"scale": 1.0}, {"erase_size": 2}, {"rotation": 181}, {"blur": 1}])
def test_strengths_outside_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        AugmentConfig(**wrong)


def test_black_padding_is_padding_and_cropping(images: torch.Tensor) -> None:
    two = torch.cat([images, 2 * images], dim=1)
    black = (-1.5, -2.5)
    moved = Augment(AugmentConfig(flip=False, shift=4, padding="black"))(two.clone(), draw(), black=black)
    padded = torch.tensor(black)[None, :, None, None].expand(64, 2, 28, 24).clone()
    padded[:, :, 4:24, 4:20] = two
    for before, after in zip(padded, moved, strict=True):
        crops = [before[:, down : down + 20, right : right + 16] for down in range(9) for right in range(9)]
        assert sum(torch.equal(crop, after) for crop in crops) == 1
    repeated = Augment(AugmentConfig(flip=False, shift=4))(two.clone(), draw())
    inside = (moved != torch.tensor(black)[None, :, None, None]).all(1, keepdim=True).expand_as(moved)
    assert torch.equal(moved[inside], repeated[inside])  # the same draws


def test_reflected_padding_is_padding_and_cropping(images: torch.Tensor) -> None:
    moved = Augment(AugmentConfig(flip=False, shift=4, padding="reflect"))(images.clone(), draw())
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4), mode="reflect")
    for before, after in zip(padded, moved, strict=True):
        crops = [before[:, down : down + 20, right : right + 16] for down in range(9) for right in range(9)]
        assert sum(torch.equal(crop, after) for crop in crops) == 1


@pytest.mark.parametrize("padding", ["black", "reflect"])
def test_padding_does_not_go_with_resampling(padding: Literal["black", "reflect"]) -> None:
    with pytest.raises(ValidationError, match="shifts alone"):
        AugmentConfig(padding=padding, rotation=10)


def test_cutout_blanks_one_square_whose_centre_is_inside(images: torch.Tensor) -> None:
    ones = torch.ones(256, 3, 20, 16)
    cut = Augment(AugmentConfig(**NOTHING, cutout=8))(ones, draw()) == 0
    assert torch.equal(cut[:, 0], cut[:, 2])
    rows, columns = cut[:, 0].any(2).sum(1), cut[:, 0].any(1).sum(1)
    assert torch.equal(rows * columns, cut[:, 0].sum((1, 2)))  # a rectangle
    assert rows.max() == columns.max() == 8
    assert rows.min() == columns.min() == 4  # half of it at the border
    others = AugmentConfig(flip=True, shift=2, erase_size=0.3)
    plain = Augment(others)(images.clone(), draw())
    both = Augment(others.model_copy(update={"cutout": 8}))(images.clone(), draw())
    assert torch.equal(both[both != 0], plain[both != 0])


def test_a_crop_is_a_part_of_the_image_enlarged() -> None:
    # The value of each pixel is its place, so an enlarged part is a ramp with a smaller step.
    ramp = torch.arange(32.0).expand(512, 1, 32, 32)
    cropped = Augment(AugmentConfig(**NOTHING, crop_area=0.25))(ramp, draw())[:, 0]
    along = cropped[:, 16, 20] - cropped[:, 16, 12]  # 8 pixels apart: 8 times the part's width
    upright = Augment(AugmentConfig(**NOTHING, crop_area=0.25))(ramp.transpose(2, 3), draw())[:, 0]
    down = upright[:, 20, 16] - upright[:, 12, 16]
    width, height = along / 8, down / 8
    assert cropped.min() >= 0
    assert cropped.max() <= 31
    assert width.max() <= 1.001
    assert 0.24 < (width * height).min() < 0.35
    assert (width * height).max() > 0.9
    inside = (width < 0.99) & (height < 0.99)
    assert ((width / height)[inside] > 0.74).all()
    assert ((width / height)[inside] < 1.34).all()
    starts = cropped[:, 16, 0]
    assert starts.min() < 1
    assert starts.max() > 12


def test_a_crop_has_the_area_that_is_asked_for_or_more() -> None:
    ramp = torch.arange(32.0).expand(512, 1, 32, 32)
    augment = Augment(AugmentConfig(**NOTHING, crop_area=0.95))
    across, down = augment(ramp, draw())[:, 0], augment(ramp.transpose(2, 3), draw())[:, 0]
    width, height = (across[:, 16, 20] - across[:, 16, 12]) / 8, (down[:, 20, 16] - down[:, 12, 16]) / 8
    assert 0.949 < (width * height).min() < 0.955
    assert (width * height).max() <= 1.001
    assert max(width.max(), height.max()) <= 1.001


def test_crops_leave_the_other_draws_as_they_were(images: torch.Tensor) -> None:
    constant = torch.randn(64, 1, 1, 1, generator=draw(3)).expand(64, 1, 20, 16).clone()
    others = AugmentConfig(flip=True, shift=2, erase_size=0.5)
    plain = Augment(others)(constant.clone(), draw())
    assert torch.allclose(Augment(others.model_copy(update={"crop_area": 0.3}))(constant, draw()), plain)
