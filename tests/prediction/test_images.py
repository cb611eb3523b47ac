"""Any image becomes what a network takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from localrules.errors import DataError, UsageError
from localrules.prediction.images import list_images, read_image
from localrules.prediction.preprocess import fit_to_shape

NOISE = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
GREY = (1, 48, 48)


def kept(image: Image.Image, path: Path, **options: object) -> Image.Image:
    image.save(path, **options)  # type: ignore[arg-type]
    return read_image(path)


def test_an_image_that_fits_is_not_changed(tmp_path: Path) -> None:
    image = kept(Image.fromarray(NOISE), tmp_path / "noise.png")
    assert torch.equal(fit_to_shape(image, GREY)[0], torch.from_numpy(NOISE))


def test_colour_becomes_grey_by_its_luma_and_grey_becomes_colour(tmp_path: Path) -> None:
    red = kept(Image.new("RGB", (48, 48), (200, 40, 10)), tmp_path / "red.png")
    assert int(fit_to_shape(red, GREY)[0, 5, 5]) == round(0.299 * 200 + 0.587 * 40 + 0.114 * 10)
    assert fit_to_shape(red, (3, 48, 48))[:, 5, 5].tolist() == [200, 40, 10]
    grey = kept(Image.fromarray(NOISE), tmp_path / "grey.png")
    assert torch.equal(fit_to_shape(grey, (3, 48, 48)), torch.from_numpy(NOISE).expand(3, -1, -1))


@pytest.mark.parametrize(("width", "height"), [(96, 48), (97, 48), (48, 96), (480, 160), (10, 20), (1, 1), (1, 300)])
def test_the_middle_is_cut_out_in_the_right_aspect(tmp_path: Path, width: int, height: int) -> None:
    ground = Image.new("L", (width, height), 255)
    side = min(width, height)
    ground.paste(90, ((width - side) // 2, (height - side) // 2, (width + side) // 2, (height + side) // 2))
    seen = fit_to_shape(kept(ground, tmp_path / "a.png"), GREY)
    assert seen.shape == GREY
    assert (seen == 90).float().mean() > 0.97


def test_shrinking_averages_instead_of_skipping_pixels(tmp_path: Path) -> None:
    """Stripes of one pixel become their mean; leaving out pixels would keep stripes."""
    stripes = np.tile(np.array([[0, 200]], dtype=np.uint8), (480, 240))
    seen = fit_to_shape(kept(Image.fromarray(stripes), tmp_path / "stripes.png"), GREY)
    assert (seen.float() - 100).abs().max() <= 3


def test_a_wide_network_gets_a_wide_part() -> None:
    assert fit_to_shape(Image.new("L", (100, 100)), (1, 20, 40)).shape == (1, 20, 40)


def test_a_network_of_other_channels_takes_no_files() -> None:
    with pytest.raises(UsageError, match="takes no image files"):
        fit_to_shape(Image.new("L", (9, 9)), (2, 9, 9))


def test_an_image_is_turned_as_its_exif_data_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees, clockwise
    image = Image.new("L", (60, 40), 0)
    image.paste(255, (0, 0, 30, 40))  # the left half is white
    turned = kept(image, tmp_path / "turned.jpg", exif=exif, quality=95)
    assert turned.size == (40, 60)
    assert turned.getpixel((20, 10)) > 240, "the left has become the top"
    assert turned.getpixel((20, 50)) < 15


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (48, 48), (0, 0, 0, 0))
    image.paste((80, 80, 80, 255), (0, 0, 24, 48))
    if mode == "P":
        plain = image.convert("RGB").quantize(2)
        seen = kept(plain, tmp_path / "a.png", transparency=plain.getpixel((40, 5)))
    else:
        seen = kept(image.convert(mode), tmp_path / "a.png")
    grey = fit_to_shape(seen, GREY)[0]
    assert (grey[:, :24] == 80).all()
    assert (grey[:, 24:] == 255).all()


def test_half_transparent_pixels_are_mixed_with_white(tmp_path: Path) -> None:
    seen = kept(Image.new("RGBA", (4, 4), (0, 0, 0, 51)), tmp_path / "a.png")
    assert seen.getpixel((1, 1)) == (204, 204, 204)


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    deep = kept(Image.fromarray(NOISE.astype(np.uint16) * 257), tmp_path / "deep.png")
    assert np.array_equal(np.asarray(deep), NOISE)


@pytest.mark.parametrize("mode", ["1", "CMYK", "YCbCr"])
def test_other_modes_are_read(tmp_path: Path, mode: str) -> None:
    suffix = "png" if mode == "1" else "jpg"
    assert (
        fit_to_shape(kept(Image.new("RGB", (9, 9), "white").convert(mode), tmp_path / f"a.{suffix}"), GREY).min() > 250
    )


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert caught.value.where == str(path)
    return caught.value.what


def test_what_is_not_an_image_is_named(tmp_path: Path) -> None:
    words, cut, empty = tmp_path / "words.png", tmp_path / "cut.png", tmp_path / "empty.png"
    words.write_text("hello")
    Image.fromarray(NOISE).save(cut)
    cut.write_bytes(cut.read_bytes()[:900])
    empty.touch()
    assert {refusal(path) for path in (words, cut, empty)} == {"this is not an image that can be read"}


def test_pixels_without_a_known_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(NOISE.astype(np.float32)).save(tmp_path / "a.tif")
    assert refusal(tmp_path / "a.tif") == "this is not an image that can be read"


def test_a_huge_image_is_refused_before_it_fills_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert refusal(tmp_path / "a.png") == "this is not an image that can be read"


def test_a_folder_stands_for_its_images_by_name(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.webp", "notes.txt", ".hidden.png", "._a.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "inside").mkdir()
    images, others = list_images([tmp_path, tmp_path / "notes.txt"])
    assert [path.name for path in images] == ["a.jpg", "b.PNG", "c.webp", "notes.txt"]
    assert [path.name for path in others] == ["notes.txt"]


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list_images([tmp_path])
    assert caught.value.why == "it is empty"
    (tmp_path / "inside").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError) as caught:
        list_images([tmp_path])
    assert caught.value.why == "it holds inside/, notes.txt"
    assert "inside it" in caught.value.fix
