"""Charts as SVG for a page: positions are computed here, and templates write the elements.

A chart is so narrow that its text stays readable on a telephone; wide pages show several beside each other. Colours are
those of the page, so a chart follows its dark mode.
"""

from __future__ import annotations

import math
from typing import Any

from localrules.reports.charts import Chart, HeatMap, Interval, IntervalChart, ParallelChart, Series, XYChart
from localrules.reports.marks import line_path, mark_path, style_class
from localrules.reports.scales import Scale

WIDTH = 440
_LETTER = 6.3  # the width of a letter of 12 pixels, on average
_POINTS = 240  # of a line: more are not seen
_MARKS = 12  # of a line: more would hide it
_RADIUS, _LARGEST = 4.2, 11.0
BANDS = 6  # more bands than these would hide each other


def geometry(chart: Chart) -> dict[str, Any]:
    """The texts, positions and paths for the chart's template, in pixels."""
    if isinstance(chart, XYChart):
        return _xy(chart)
    if isinstance(chart, IntervalChart):
        return _intervals(chart)
    if isinstance(chart, HeatMap):
        return _heat(chart)
    return _parallel(chart)


def _xy(chart: XYChart) -> dict[str, Any]:
    height, top, bottom = 290, 14, 44
    levels = [level.value for level in chart.levels]
    heights = [value for one in chart.series for value in (*one.y, *(one.low or ()), *(one.high or ()))]
    y = Scale.fit(chart.y, [*heights, *levels], height - bottom, top)
    y_ticks = y.ticks()
    left = 14 + _LETTER * max((len(text) for _, text in y_ticks), default=1)
    x = Scale.fit(chart.x, [value for one in chart.series for value in one.x], left, WIDTH - 16)
    banded = sum(bool(one.low) for one in chart.series) <= BANDS
    return {
        "kind": "xy",
        "title": chart.title,
        "width": WIDTH,
        "height": height,
        "left": left,
        "right": WIDTH - 10,
        "top": top,
        "bottom": height - bottom,
        "x_label": chart.x.label,
        "y_label": chart.y.label,
        "x_ticks": [(x(value), text) for value, text in x.ticks(4)],
        "y_ticks": [(y(value), text) for value, text in y_ticks],
        "levels": [(y(level.value), level.label) for level in chart.levels if y.low <= level.value <= y.high],
        "diagonal": _diagonal(x, y) if chart.diagonal else "",
        "series": [_series(one, x, y, banded=banded) for one in chart.series],
    }


def _diagonal(x: Scale, y: Scale) -> str:
    low, high = max(x.low, y.low), min(x.high, y.high)
    return line_path([(x(low), y(low)), (x(high), y(high))]) if low < high else ""


def _series(one: Series, x: Scale, y: Scale, *, banded: bool) -> dict[str, Any]:
    kept = [index for index in range(len(one.x)) if x.axis.usable(one.x[index]) and y.axis.usable(one.y[index])]
    kept = _thinned(kept, _POINTS) if one.line else kept
    places = [(x(one.x[index]), y(one.y[index])) for index in kept]
    band = ""
    if banded and one.low and one.high:
        above = [(x(one.x[index]), y(one.high[index])) for index in kept]
        below = [(x(one.x[index]), y(one.low[index])) for index in reversed(kept)]
        band = line_path(above + below) + "z" if above else ""
    marked = list(range(len(kept)))
    if one.line:
        marked = _thinned(marked, _MARKS)
    marks = [(mark_path(one.style, *places[place], _radius(one, kept[place])), kept[place]) for place in marked]
    return {
        "label": one.label,
        "classes": style_class(one.style, one.depth),
        "line": line_path(places, steps=one.steps) if one.line else "",
        "band": band,
        # Marks with names are elements of their own, the others one path.
        "marks": "" if one.names or not one.marks else "".join(path for path, _ in marks),
        "named": [(path, one.names[index]) for path, index in marks] if one.names and one.marks else [],
    }


def _radius(one: Series, index: int) -> float:
    if not one.sizes:
        return _RADIUS if one.line else _RADIUS + 0.8
    return max(2.0, _LARGEST * (one.sizes[index] / max(one.sizes)) ** 0.5)


def _thinned(items: list[int], most: int) -> list[int]:
    """At most so many of them at equal distances, the last among them."""
    every = max(1, math.ceil(len(items) / most))
    return items[(len(items) - 1) % every :: every] if items else items


def _intervals(chart: IntervalChart) -> dict[str, Any]:
    pitch, top, left, right = 38, 6, 12, WIDTH - 12
    axis_at = top + pitch * len(chart.rows)
    known = [value for row in chart.rows for value in _values(row)]
    scale = Scale.fit(chart.axis, [*known, *([chart.zero] if chart.zero is not None else [])], left, right)
    return {
        "kind": "intervals",
        "title": chart.title,
        "width": WIDTH,
        "height": axis_at + 40,
        "left": left,
        "right": right,
        "top": top,
        "bottom": axis_at,
        "x_label": chart.axis.label,
        "x_ticks": [(scale(value), text) for value, text in scale.ticks()],
        "zero": None if chart.zero is None else scale(chart.zero),
        "rows": [_interval(row, scale, top + pitch * place) for place, row in enumerate(chart.rows)],
    }


def _values(row: Interval) -> list[float]:
    return [value for value in (row.value, row.low, row.high, row.target, *row.points) if value is not None]


def _interval(row: Interval, scale: Scale, top: float) -> dict[str, Any]:
    y = top + 26
    known = row.value is not None and scale.axis.usable(row.value)
    room = int((WIDTH - 40 - _LETTER * len(row.text)) / _LETTER)
    return {
        "label": shortened(row.label, room),
        "name": row.label,
        "text": row.text,
        "strong": row.strong,
        "classes": style_class(row.style),
        "text_at": top + 15,
        "y": y,
        "whisker": None if row.low is None or row.high is None else (scale(row.low), scale(row.high)),
        "points": [scale(value) for value in row.points],
        "target": None if row.target is None else scale(row.target),
        "mark": mark_path(row.style, scale(row.value), y, _RADIUS + 1) if known and row.value is not None else "",
    }


_LEVELS = 20  # of strength


def _heat(chart: HeatMap) -> dict[str, Any]:
    top, room = 4, 150
    texts = [shortened(name, int(room / _LETTER)) for name in chart.rows]
    left = 10 + _LETTER * max((len(text) for text in texts), default=0)
    right = WIDTH - 8 - _LETTER * max((len(text) for text in chart.ends), default=0)
    width = (right - left) / max(1, len(chart.columns))
    rows = len(chart.rows)
    high = min(34.0, max(width, 17.0)) if rows <= 12 else 17.0 if rows <= 40 else max(4.0, min(17.0, width))
    bottom = top + high * len(chart.rows)
    strength = _strength(chart)
    fields: dict[int, list[str]] = {}
    written = []
    fits = bool(chart.texts) and max(len(text) for row in chart.texts for text in row) * _LETTER * 0.9 < width
    for row, values in enumerate(chart.values):
        for column, value in enumerate(values):
            if value is None or not chart.axis.usable(value):
                continue
            level = int(value) if chart.categories else round(strength(value) * _LEVELS)
            x, y = left + width * column, top + high * row
            if level > 0:
                size = f"h{width - _gap(width):.1f}v{high - _gap(high):.1f}h-{width - _gap(width):.1f}z"
                fields.setdefault(level, []).append(f"M{x:.1f} {y:.1f}{size}")
            if fits:
                strong = not chart.categories and level > 0.55 * _LEVELS
                written.append((x + width / 2, y + high / 2 + 4, chart.texts[row][column], strong))
    middles = [top + high * (place + 0.5) + 4 for place in range(len(chart.rows))]
    named = [shortened(name, 12) for name in chart.columns]
    longest = _LETTER * max((len(name) for name in named), default=1)
    slanted = longest + 6 > width and not all(name.replace(",", "").isdigit() for name in named)
    every = max(1, math.ceil((13 if slanted else longest + 8) / width))
    below = 12 + 0.72 * longest if slanted else 18
    described = bool(chart.x) + (not chart.categories)
    return {
        "kind": "heat",
        "title": chart.title,
        "width": WIDTH,
        "height": bottom + below + 18 * described + 4,
        "x_at": bottom + below + 14,
        "left": left,
        "right": right,
        "top": top,
        "bottom": bottom,
        "rows": list(zip(middles, texts, chart.rows, strict=True)),
        "thin": high < 11,
        "columns": [(left + width * (place + 0.5), name) for place, name in enumerate(named) if place % every == 0],
        "slanted": slanted,
        "fields": [(level / _LEVELS, level, "".join(paths)) for level, paths in sorted(fields.items())],
        "texts": written,
        "ends": list(zip(middles, chart.ends, strict=False)),
        "x_label": chart.x,
        "categories": chart.categories,
        "legend": None if chart.categories else [strength.axis.format(end) for end in (strength.low, strength.high)],
        "axis_label": chart.axis.label,
    }


def _strength(chart: HeatMap) -> Scale:
    """The scale of the fields, from the least value to the largest unless the axis says otherwise."""
    known = [value for row in chart.values for value in row if value is not None and chart.axis.usable(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    low, high = (end if given is None else given for end, given in ((low, chart.axis.low), (high, chart.axis.high)))
    return Scale(chart.axis, low, high if high > low else low + (abs(low) or 1.0), 0.0, 1.0)


def _gap(size: float) -> float:
    return 1.0 if size > 5 else 0.0


def _parallel(chart: ParallelChart) -> dict[str, Any]:
    pitch, top, left, right = 66, 34, 16, WIDTH - 16
    heights = [top + pitch * place for place in range(len(chart.coordinates))]
    order = sorted(range(len(chart.quality)), key=lambda index: chart.quality[index])
    lines = []
    for index in order:
        places = [left + one.places[index] * (right - left) for one in chart.coordinates]
        level = round(4 * chart.quality[index] ** 2)
        lines.append((line_path(list(zip(places, heights, strict=True))), level, chart.names[index]))
    return {
        "kind": "parallel",
        "title": chart.title,
        "width": WIDTH,
        "height": heights[-1] + 26,
        "left": left,
        "right": right,
        "axes": [(y, one.name, one.ends) for y, one in zip(heights, chart.coordinates, strict=True)],
        "lines": lines,
    }


def shortened(text: str, most: int) -> str:
    """A text of at most so many letters; what is left out is an ellipsis in its middle."""
    if len(text) <= most or most < 3:
        return text
    kept = most - 1
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
