"""Plots that are made up and not drawn: for tests of what stands around them. Drawing would take most of their time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    import pytest


def blank_plots(patch: pytest.MonkeyPatch) -> None:
    """Let every Matplotlib figure be saved as one white pixel."""

    def savefig(figure: Any, path: Path, **_: object) -> None:
        Image.new("RGB", (1, 1), "white").save(path, format="png")

    patch.setattr("matplotlib.figure.Figure.savefig", savefig)
