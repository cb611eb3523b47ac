"""Numbers as a person reads them, in plain ASCII."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """``0.4 s``, ``42 s``, ``3 min 05 s``, ``2 h 07 min``, ``3 d 04 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24:02} h"


def step_time(seconds: float) -> str:
    """The time of one step with three digits: ``3.21 s``, ``158 ms``, ``4.20 ms``."""
    if seconds >= 0.9995:
        return f"{_three_digits(seconds)} s"
    return f"{_three_digits(seconds * 1000)} ms"


def memory(mebibytes: float) -> str:
    """``312 MiB``, ``4.2 GiB``."""
    return f"{mebibytes:.0f} MiB" if mebibytes < 2048 else f"{mebibytes / 1024:.1f} GiB"


def percent(fraction: float) -> str:
    """``81.3 %`` of a fraction of 0.813."""
    return f"{100 * fraction:.1f} %"


def format_metric(value: float) -> str:
    """A loss or objective in at most eight characters, so that columns do not jump."""
    size = abs(value)
    if 0 < size < 0.001 or size >= 99_999.95:
        return f"{value:.1e}"
    return f"{value:.4f}" if size < 99.99995 else f"{value:.1f}"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
