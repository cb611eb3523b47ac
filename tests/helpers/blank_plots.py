"""Plots that are made up and not drawn: for tests of what stands around them. Drawing would take most of their time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import pytest


def blank_plots(patch: pytest.MonkeyPatch) -> None:
    """Let Matplotlib save one white pixel, whatever was drawn."""
    from matplotlib.figure import Figure
    from PIL import Image

    def savefig(self: Any, path: Path | BinaryIO, **_: object) -> None:
        Image.new("RGB", (1, 1), "white").save(path, format="png")

    patch.setattr(Figure, "savefig", savefig)
