"""Progress on the screen: live on a terminal, lines elsewhere, and a closing summary."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from helpers.clock import Clock
from rich.console import Console

from localrules.callbacks.base import MetricsRow, Plot, RunInfo
from localrules.core.phase import Phase
from localrules.tracking.console import ConsoleProgress
from localrules.tracking.sparkline import Sparkline
from localrules.utils.formatting import duration, format_metric, memory, step_time
from localrules.utils.progress import progress as work

LAYERS = [f"block{block}.conv{conv}" for block in range(5) for conv in range(5)]


def run_info(**changes: Any) -> RunInfo:
    known: dict[str, Any] = {
        "directory": Path("runs/20260101-120000-hsic-mlp").absolute(),
        "rule": "hsic",
        "model": "mlp",
        "data": "faces",
        "config": {},
        "layers": [{}] * len(LAYERS),
        "classes": tuple("abcde"),
        "redistributable": True,
        "total_steps": 100,
        "steps_per_epoch": 50,
        "resumed_from_step": 0,
        "columns": ("step", "phase", *(f"objective/{layer}" for layer in LAYERS), "loss"),
        "phases": (Phase("joint", 0, 100, frozenset(), 3.0),),
    }
    return RunInfo(**known | changes)


def row(step: int, **changes: Any) -> MetricsRow:
    objectives = {f"objective/{layer}": -float(index) for index, layer in enumerate(LAYERS)}
    metrics = {"loss": 1.25, "accuracy": 0.5, "samples_per_second": 640.0, "step_seconds": 0.2, "memory_mib": 512.0}
    return {"step": step, "epoch": step / 50, "phase": "joint", **objectives, **metrics, **changes}


def plain() -> tuple[ConsoleProgress, io.StringIO, Clock]:
    screen, clock = io.StringIO(), Clock()
    return ConsoleProgress(Console(file=screen, width=80), clock), screen, clock


def live(width: int, height: int = 40) -> tuple[ConsoleProgress, io.StringIO, Clock]:
    screen, clock = _Utf8(), Clock()
    console = Console(file=screen, width=width, height=height, force_terminal=True, color_system=None, _environ={})
    return ConsoleProgress(console, clock), screen, clock


class _Utf8(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]


def test_without_a_terminal_the_pace_is_said_once_after_ten_steps() -> None:
    progress, screen, clock = plain()
    progress.on_run_start(run_info())
    for step in range(1, 31):
        clock.now += 0.2
        progress.on_log(row(step))
    paces = [line for line in screen.getvalue().splitlines() if line.startswith("after step")]
    assert paces == ["after step 10: 200 ms a step, about 18 s left"]


def test_a_cheap_phase_to_come_is_counted_as_cheap() -> None:
    """Sixty steps of three forward passes each, then forty of one: after ten there are 190 passes left."""
    progress, screen, clock = plain()
    phases = (Phase("together", 0, 60, frozenset(), 3.0), Phase("readout", 60, 100, frozenset(), 1.0))
    progress.on_run_start(run_info(phases=phases))
    for step in range(1, 11):
        clock.now += 0.3
        progress.on_log(row(step, step_seconds=0.3))
    assert "after step 10: 300 ms a step, about 19 s left" in screen.getvalue().splitlines()


def test_without_a_terminal_lines_are_seconds_apart_ascii_and_not_drawn() -> None:
    progress, screen, clock = plain()
    progress.on_run_start(run_info())
    for step in range(1, 101):
        clock.now += 0.2
        progress.on_log(row(step))
    lines = [line for line in screen.getvalue().splitlines() if line.startswith("step")]
    assert 3 <= len(lines) <= 5
    assert "\x1b" not in screen.getvalue()
    assert screen.getvalue().isascii()
    assert "loss 1.250" in lines[0]
    assert "640 samples/s" in lines[0]


def test_an_epoch_says_every_layers_objective_and_the_valid_accuracy() -> None:
    progress, screen, _ = plain()
    progress.on_run_start(run_info())
    closing = row(50, valid_accuracy=0.61)
    progress.on_log(closing)
    progress.on_evaluate(closing)
    assert "valid acc 0.610" in screen.getvalue()
    assert all(f"{layer} {format_metric(-float(index))}" in screen.getvalue() for index, layer in enumerate(LAYERS))


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_every_layer_is_shown_within_the_width(width: int) -> None:
    progress, screen, clock = live(width)
    progress.on_run_start(run_info())
    screen.truncate(0)
    clock.now += 10
    progress.on_log(row(30))
    progress.close()
    drawn = [line for line in screen.getvalue().splitlines() if "│" in line]
    assert all(any(layer in line for line in drawn) for layer in LAYERS)
    assert max(len(line.split("\x1b")[0]) for line in drawn) <= width - len("^C^C")  # an echo of Ctrl-C must not wrap
    assert "30 of 100 steps" in screen.getvalue()


def test_on_a_terminal_a_rule_without_objectives_of_layers_shows_none() -> None:
    progress, screen, clock = live(80)
    progress.on_run_start(run_info(rule="backprop"))
    screen.truncate(0)
    clock.now += 10
    progress.on_log({key: value for key, value in row(30).items() if not key.startswith("objective/")})
    progress.close()
    assert "30 of 100 steps" in screen.getvalue()
    assert LAYERS[0] not in screen.getvalue()


def test_a_long_evaluation_says_how_far_it_is() -> None:
    """The untrained network is evaluated before the first step, which takes minutes for a large one on a CPU."""
    shown, screen, clock = plain()
    shown.on_run_start(run_info())
    with work("predicting images", 1000) as advance:
        for _ in range(4):
            clock.now += 3
            advance(250)
    shown.close()
    lines = [line for line in screen.getvalue().splitlines() if line.startswith("predicting")]
    assert lines == ["predicting images: 500 of 1,000, about 6.0 s left"]


def test_on_a_terminal_an_evaluation_is_shown_below_the_metrics_while_it_lasts() -> None:
    shown, screen, clock = live(80)
    shown.on_run_start(run_info())
    with work("predicting images", 1000) as advance:
        clock.now += 3
        advance(250)
    assert "predicting images: 250 of 1,000, about 9.0 s left" in screen.getvalue()
    screen.truncate(0)
    clock.now += 1
    shown.on_log(row(1))
    shown.close()
    assert "predicting" not in screen.getvalue()


def test_a_run_that_is_closed_shows_no_more_work() -> None:
    shown, screen, clock = plain()
    shown.on_run_start(run_info())
    shown.close()
    with work("predicting images", 1000) as advance:
        clock.now += 10
        advance(500)
    assert "predicting" not in screen.getvalue()


def test_on_a_low_terminal_objectives_that_do_not_fit_are_counted() -> None:
    progress, screen, _ = live(80, height=14)
    progress.on_run_start(run_info())
    progress.close()
    assert "more in metrics.csv" in screen.getvalue()


def test_closing_gives_the_cursor_back_when_an_error_ended_the_run() -> None:
    progress, screen, _ = live(80)
    progress.on_run_start(run_info())
    progress.close()
    assert screen.getvalue().rstrip().endswith("\x1b[2K") or "\x1b[?25h" in screen.getvalue()
    progress.close()


def end(summary: dict[str, Any], **changes: Any) -> str:
    progress, screen, _ = plain()
    progress.on_run_start(run_info(**changes))
    image = Plot("curves", Path("curves.png"), shows_data=False)
    progress.on_run_end({"status": "done", "steps": 100, "epochs": 2.0, "seconds": 185.0} | summary, [image])
    return screen.getvalue()


def test_the_closing_summary_puts_the_accuracy_beside_guessing_and_says_what_to_do_next() -> None:
    text = end({"valid_accuracy": 0.813, "train_accuracy": 0.9, "majority_share": 0.25})
    assert "81.3 %" in text
    assert "guessing 20.0 %, always the majority class 25.0 %" in text
    assert "not learned" not in text
    assert "100 steps in 3 min 05 s" in text
    assert "curves.png" in text
    assert "localrules eval runs/20260101-120000-hsic-mlp --split valid\n" in text
    assert "localrules run --config runs/20260101-120000-hsic-mlp/config.toml --rule backprop\n" in text


def test_an_accuracy_no_better_than_the_majority_class_is_called_by_its_name() -> None:
    assert "has not learned" in end({"valid_accuracy": 0.251, "majority_share": 0.25})


def test_a_stopped_run_says_how_to_go_on() -> None:
    text = end({"status": "stopped", "steps": 40})
    assert "stopped after step 40 of 100" in text
    assert "localrules run --resume runs/20260101-120000-hsic-mlp\n" in text


def test_a_summary_without_a_valid_split_or_metrics_still_closes() -> None:
    text = end({"valid_accuracy": None, "train_accuracy": 0.5}, plugin_files=("my data.py",))
    assert "none: faces has no valid split" in text
    assert "train accuracy" in text
    assert "config.toml --plugin 'my data.py' --rule backprop" in " ".join(text.split())
    assert "hsic trained mlp on faces" in end({"seconds": None})


def test_numbers_are_readable() -> None:
    assert [duration(s) for s in (0.44, 42, 185, 7620, 90000)] == [
        "0.4 s",
        "42 s",
        "3 min 05 s",
        "2 h 07 min",
        "1 d 01 h",
    ]
    assert [step_time(s) for s in (3.214, 0.158, 0.0042)] == ["3.21 s", "158 ms", "4.20 ms"]
    assert [memory(m) for m in (312, 4300)] == ["312 MiB", "4.2 GiB"]
    values = [0.0, -4.14321, 1e-6, -99.9999, -12345.6, -123456.0, float("nan")]
    assert [format_metric(v) for v in values] == [
        "0.0000",
        "-4.1432",
        "1.0e-06",
        "-99.9999",
        "-12345.6",
        "-1.2e+05",
        "nan",
    ]


def test_a_trend_of_any_length_keeps_its_width_and_its_shape() -> None:
    falling = Sparkline(8)
    for value in range(1000, 0, -1):
        falling.add(float(value))
    bars = falling.bars()
    assert 4 <= len(bars) <= 8
    assert list(bars) == sorted(bars, reverse=True)
    assert falling.last == 1.0


def test_a_trend_draws_flat_lines_nothing_and_survives_nan() -> None:
    trend = Sparkline(8)
    assert trend.bars() == ""
    trend.add(float("nan"))
    assert trend.bars() == ""
    trend.add(2.0)
    trend.add(2.0)
    assert set(trend.bars()) == {"▄"}
