"""Charts of pages: what is drawn, as plain values. :mod:`localrules.reports.drawing` makes SVG of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from localrules.reports.scales import Axis

Values = Sequence[float]


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes:
        label: Its name in the legend.
        x, y: The points.
        style: Index of its colour and marker.
        low, high: A band around ``y``; empty for none.
        line: Whether the points are joined.
        marks: Whether points are marked; of a line with many points, some.
        sizes: Areas of the marks, as fractions of the largest; empty for equal ones.
        names: A name for each point, shown beside the pointer; empty for none.
        depth: Its place from 0 (shallow) to 1 (deep), which then decides its colour.
        steps: Whether the line holds each value up to the next point.
        note: What the legend says behind the name.
    """

    label: str
    x: Values
    y: Values
    style: int = 0
    low: Values = ()
    high: Values = ()
    line: bool = True
    marks: bool = True
    sizes: Values = ()
    names: Sequence[str] = ()
    depth: float | None = None
    steps: bool = False
    note: str = ""


@dataclass(frozen=True)
class Level:
    """A horizontal line across a chart.

    Attributes:
        value: Its height.
        label: What it is.
    """

    value: float
    label: str


@dataclass(frozen=True)
class XYChart:
    """Lines or points over two axes.

    Attributes:
        title: Its heading.
        x, y: The axes.
        series: What is drawn.
        levels: Horizontal lines for reference.
        diagonal: Whether a line marks equal ``x`` and ``y``.
    """

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    levels: Sequence[Level] = ()
    diagonal: bool = False
    kind: Literal["xy"] = "xy"


@dataclass(frozen=True)
class Interval:
    """A row of an :class:`IntervalChart`.

    Attributes:
        label: Its name.
        value: Where the mark is; ``None`` for none.
        low, high: The interval around it.
        text: The value as it is written.
        points: Single values, such as those of seeds.
        target: A value that it is held against.
        style: Index of its colour and marker.
        strong: Whether it is marked as the best.
    """

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    text: str = ""
    points: Values = ()
    target: float | None = None
    style: int = 0
    strong: bool = False


@dataclass(frozen=True)
class IntervalChart:
    """A value with its interval for each of several names, below each other.

    Attributes:
        title: Its heading.
        axis: The axis.
        rows: From top to bottom.
        zero: A value with a vertical line; ``None`` for none.
    """

    title: str
    axis: Axis
    rows: Sequence[Interval]
    zero: float | None = None
    kind: Literal["intervals"] = "intervals"


@dataclass(frozen=True)
class HeatMap:
    """A table of values, each a field that is the stronger the larger it is.

    Attributes:
        title: Its heading.
        rows, columns: Their names.
        values: A row of values for each of ``rows``; ``None`` leaves a field empty.
        axis: The scale of the values.
        x, y: What columns and rows are.
        texts: What is written into the fields, where there is room; empty for nothing.
        ends: What is written behind each row; empty for nothing.
        categories: The meanings of the values 1, 2, ..., if they are not measured.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    axis: Axis = Axis()
    x: str = ""
    y: str = ""
    texts: Sequence[Sequence[str]] = ()
    ends: Sequence[str] = ()
    categories: Sequence[str] = ()
    kind: Literal["heat"] = "heat"


@dataclass(frozen=True)
class Coordinate:
    """One axis of a :class:`ParallelChart`.

    Attributes:
        name: What it measures.
        ends: The texts at its ends.
        places: The place of each line, from 0 to 1.
    """

    name: str
    ends: tuple[str, str]
    places: Values


@dataclass(frozen=True)
class ParallelChart:
    """Parallel coordinates: an axis below the other, and a line through all of them for each sample.

    Attributes:
        title: Its heading.
        coordinates: From top to bottom.
        quality: How good each line is, from 0 to 1: good ones are stronger.
        names: Of the lines, shown beside the pointer.
    """

    title: str
    coordinates: Sequence[Coordinate]
    quality: Values
    names: Sequence[str]
    kind: Literal["parallel"] = "parallel"


Chart = Annotated[XYChart | IntervalChart | HeatMap | ParallelChart, Field(discriminator="kind")]

_CHARTS: TypeAdapter[list[Chart]] = TypeAdapter(list[Chart])


def charts_to_json(charts: Sequence[Chart]) -> str:
    """Charts as text, for a file."""
    return _CHARTS.dump_json([*charts]).decode()


def charts_from_json(text: str) -> list[Chart]:
    """The charts of :func:`charts_to_json`.

    Raises:
        ValueError: The text holds something else.
    """
    return _CHARTS.validate_json(text)
