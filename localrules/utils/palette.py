"""Colours and markers of all plots, in image files and on pages."""

from __future__ import annotations

INK = "#1f2a36"
MUTED = "#8a94a0"
TRAIN = "#2f6fb0"
VALID = "#d1602b"
GRID = "#e6e9ed"
RIGHT, WRONG = "#2c7a4b", "#c0392b"
# Okabe and Ito's colours, which stay apart without colour vision; their yellow is too faint on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#333333")
# The same hues on a dark page, lighter where they would sink into it.
DARK_COLOURS = ("#4a9fe0", "#f0803c", "#2fc596", "#e09fc4", "#9ad4f7", "#f2b63c", "#d5dbe1")
# Of different periods, so that colour and marker together tell 63 series apart.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
# Samples of viridis from shallow to deep, which are equally readable without colour vision.
DEPTHS = ("#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#a8d520")
DARK_DEPTHS = (
    "#7d6bc9", "#6f7fd6", "#5f93dc", "#52a5d8", "#46b5cc", "#3ec3b8", "#4dd09c", "#79db7a", "#aee35a", "#e3e84a",
)  # fmt: skip
