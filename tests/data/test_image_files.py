"""Any image file becomes what a network takes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from localrules.data.images import fit_to_shape, read_image
from localrules.errors import DataError, UsageError

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


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("depth", [8, 16])
def test_an_image_is_turned_as_its_exif_data_say(tmp_path: Path, suffix: str, depth: int) -> None:
    if depth == 16 and suffix in ("jpg", "webp"):
        pytest.skip("this format has 8 bits")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees, clockwise
    pixels = np.zeros((40, 60), np.uint8)
    pixels[:, :30] = 255  # the left half is white
    image = Image.fromarray(pixels if depth == 8 else pixels.astype(np.uint16) * 257)
    turned = kept(image, tmp_path / f"turned.{suffix}", exif=exif).convert("L")
    assert turned.size == (40, 60)
    assert turned.getpixel((20, 10)) > 240, "the left has become the top"
    assert turned.getpixel((20, 50)) < 15
    assert np.asarray(turned)[:28].min() > 240, "and nothing is scrambled"


@pytest.mark.parametrize("tag", [0x0100, 0x0128])
def test_a_malformed_entry_of_exif_data_is_passed_over(tmp_path: Path, tag: int) -> None:
    entries = [(tag, 2, b"cm\0\0"), (0x0112, 3, struct.pack("<HH", 6, 0))]  # text in the place of a number
    body = b"".join(struct.pack("<HHI", key, kind, 3 if kind == 2 else 1) + value for key, kind, value in entries)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)
    turned = kept(Image.new("L", (60, 40)), tmp_path / "turned.jpg", exif=exif)
    assert turned.size == (40, 60)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_pillow_turns_it(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8))
    turned = kept(image, tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as file:
        assert np.array_equal(np.asarray(turned), np.asarray(ImageOps.exif_transpose(file)))


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


def big_endian(pixels: np.ndarray) -> Image.Image:
    return Image.frombytes("I;16B", pixels.shape[::-1], pixels.astype(">u2").tobytes())


@pytest.mark.parametrize("factor", [256, 257])
@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep-big-endian.tif", "deep.pgm", "deep.jp2"])
def test_sixteen_bits_become_the_upper_eight(tmp_path: Path, name: str, factor: int) -> None:
    deep = NOISE.astype(np.uint16) * factor
    if name == "deep.pgm":
        (tmp_path / name).write_bytes(b"P5 48 48 65535\n" + deep.astype(">u2").tobytes())
    else:
        (big_endian(deep) if "big-endian" in name else Image.fromarray(deep)).save(tmp_path / name)
    read = read_image(tmp_path / name)
    assert read.mode == "L"
    assert np.array_equal(np.asarray(read), NOISE)


def tiff(pixels: np.ndarray, bits: int, photometric: int) -> bytes:
    """An uncompressed little-endian TIFF, of 12 bits (packed) or 16."""
    if bits == 12:
        even, odd = pixels.reshape(-1, 2).T.astype(np.uint16)
        body = np.stack([even >> 4, (even & 15) << 4 | odd >> 8, odd & 255], 1).astype(np.uint8).tobytes()
    else:
        body = pixels.astype("<u2").tobytes()
    height, width = pixels.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(body)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    ends = struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + ends


@pytest.mark.parametrize(("bits", "photometric"), [(12, 1), (16, 1), (16, 0)])
def test_tiffs_of_other_depths_and_with_white_as_zero(tmp_path: Path, bits: int, photometric: int) -> None:
    deep = NOISE.astype(np.int64) << (bits - 8)
    stored = deep if photometric else (1 << bits) - 1 - deep
    (tmp_path / "a.tif").write_bytes(tiff(stored, bits, photometric))
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.tif")), NOISE)


def test_a_transparent_grey_of_sixteen_bits_is_white(tmp_path: Path) -> None:
    deep = np.full((4, 4), 257 * 80, np.uint16)
    deep[:, 2:] = 0
    read = kept(Image.fromarray(deep), tmp_path / "a.png", transparency=0)
    assert np.asarray(read)[0].tolist() == [80, 80, 255, 255]


@pytest.mark.parametrize("mode", ["1", "CMYK", "YCbCr"])
def test_other_modes_are_read(tmp_path: Path, mode: str) -> None:
    suffix = "png" if mode == "1" else "jpg"
    white = kept(Image.new("RGB", (9, 9), "white").convert(mode), tmp_path / f"white.{suffix}")
    black = kept(Image.new("RGB", (9, 9), "black").convert(mode), tmp_path / f"black.{suffix}")
    assert fit_to_shape(white, GREY).min() > 250
    assert fit_to_shape(black, GREY).max() < 5


def test_a_palette_is_read_as_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 40, 10, 9, 9, 9])
    image.putpixel((1, 0), 1)
    read = kept(image, tmp_path / "a.png")
    assert [read.getpixel((x, 0)) for x in (0, 1)] == [(200, 40, 10), (9, 9, 9)]


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_of_an_animation_the_first_image_is_read(tmp_path: Path, suffix: str) -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    options = {"lossless": True} if suffix == "webp" else {}
    read = kept(first, tmp_path / f"a.{suffix}", save_all=True, append_images=[second], **options)
    assert read.getpixel((4, 4)) == (255, 0, 0)


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


@pytest.mark.parametrize("kind", [RuntimeError, NotImplementedError, SyntaxError, TypeError])
def test_whatever_a_decoder_raises_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(image: Image.Image) -> None:
        raise kind("damaged plane")  # as of AVIF and DDS

    Image.fromarray(NOISE).save(tmp_path / "a.png")
    monkeypatch.setattr(PngImageFile, "load", fail)
    with pytest.raises(DataError, match="this is not an image that can be read") as caught:
        read_image(tmp_path / "a.png")
    assert "damaged plane" in caught.value.why


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_of_32_bits_are_refused_with_the_reason(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(NOISE.astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="this is not an image that can be read") as caught:
        read_image(tmp_path / "a.tif")
    assert "does not say which value is white" in caught.value.why
    assert "8 bits" in caught.value.fix


@pytest.mark.parametrize("missing", [1, 2, 300])
def test_a_jpeg_that_is_cut_short_is_refused(tmp_path: Path, missing: int) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-missing])
    with pytest.raises(DataError, match="truncated") as caught:
        read_image(tmp_path / "a.jpg")
    assert caught.value.where == str(tmp_path / "a.jpg")


def test_a_huge_image_is_refused_before_it_fills_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert refusal(tmp_path / "a.png") == "this is not an image that can be read"
