"""Annotated images: the image, what the network was shown, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from localrules.data.images import read_image
from localrules.errors import UsageError
from localrules.prediction.predict import Prediction
from localrules.utils.palette import INK, MUTED, TRAIN
from localrules.utils.plotting import bare_axes, new_figure, save_figure

FOLDER = "predictions"
_NAMED = 12  # bars, at most
_SIDE = 480  # pixels that are shown of an image


def plot_predictions(found: Sequence[Prediction], folder: Path) -> list[Path]:
    """Draw each image into a folder, as ``<name>-predicted.png``; a second of that name gets a number.

    Raises:
        UsageError: The folder cannot be written to.
    """
    taken: set[str] = set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [plot_prediction(item, folder / f"{_unique_name(item.image.stem, taken)}.png") for item in found]
    except OSError as error:
        raise UsageError(
            "the annotated images cannot be written",
            where=str(folder),
            why=error.strerror or str(error),
            fix="name a folder that can be written with --out",
        ) from error


def plot_prediction(item: Prediction, out: Path) -> Path:
    """Draw one annotated image.

    Returns:
        ``out``.
    """
    shown_image = read_image(item.image)
    shown_image.thumbnail((_SIDE, _SIDE))
    figure = new_figure(8.4, 3.0)
    whole, shown, bars = figure.subplots(1, 3, width_ratios=[1.2, 1, 1.3])
    whole.imshow(shown_image, cmap="gray", vmin=0, vmax=255)
    bare_axes(whole, item.image.name)
    pixels = item.network_input.permute(1, 2, 0).numpy()
    shown.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=255)
    what = "the face, " if item.face else ""
    bare_axes(shown, f"what the network sees: {what}{pixels.shape[1]} x {pixels.shape[0]}")
    _bars(bars, item.ranked[:_NAMED])
    return save_figure(figure, out)


def _bars(axes: Axes, ranked: Sequence[tuple[str, float]]) -> None:
    names, fractions = zip(*ranked, strict=True)
    drawn = axes.barh(range(len(names)), fractions, color=[TRAIN] + [MUTED] * (len(names) - 1), height=0.7)
    axes.bar_label(drawn, [f"{100 * fraction:.1f} %" for fraction in fractions], padding=4, fontsize=8, color=INK)
    axes.set_yticks(range(len(names)), names, fontsize=9, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2)  # room for the words behind a full bar
    axes.set_xticks([])
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)


def _unique_name(stem: str, taken: set[str]) -> str:
    # Names that differ in case alone are one on some systems.
    name, number = f"{stem}-predicted", 1
    while name.lower() in taken:
        number += 1
        name = f"{stem}-predicted-{number}"
    taken.add(name.lower())
    return name
