"""Pictures that lie in the page itself, so that it can be sent as one file."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PNG = b"\x89PNG\r\n\x1a\n"


def to_data_uri(picture: Figure | Path | bytes) -> str:
    """A picture as a ``data:`` address.

    Args:
        picture: A matplotlib figure, which stays sharp at every size; a PNG file; or a PNG's bytes.

    Raises:
        ValueError: The bytes are no PNG.
    """
    if isinstance(picture, Path):
        picture = picture.read_bytes()
    if not isinstance(picture, bytes):
        return _embedded("image/svg+xml", _figure_bytes(picture))
    if not picture.startswith(_PNG):
        raise ValueError("a picture in a page is a PNG or a matplotlib figure")
    return _embedded("image/png", picture)


def _figure_bytes(figure: Figure) -> bytes:
    from matplotlib import rc_context

    drawn = BytesIO()
    # Text as outlines looks alike on every machine; a fixed salt and no date make the same figure the same bytes.
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "localrules"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return drawn.getvalue()


def _embedded(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
