"""Progress as lines, for logs and for terminals that cannot be drawn on. ASCII only."""

from __future__ import annotations

from localrules.tracking.progress import Progress
from localrules.utils.formatting import duration, format_metric, memory, percent, step_time


def first_line(progress: Progress) -> str:
    """The run that starts, and from where."""
    run = progress.run
    line = f"{run.rule} trains {run.model} on {run.data}: {run.total_steps} steps, {progress.total_epochs:.3g} epochs"
    return line + (f", continued after step {run.resumed_from_step}" if run.resumed_from_step else "")


def pace_line(progress: Progress) -> str:
    """Time per step and time left, said once when both are known."""
    seconds, left = progress.number("step_seconds"), progress.eta
    parts = [step_time(seconds) + " a step" if seconds else "", f"about {duration(left)} left" if left else ""]
    return f"after step {progress.step}: " + ", ".join(part for part in parts if part)


def progress_line(progress: Progress) -> str:
    """The newest row in one line."""
    number = progress.number
    total = progress.run.total_steps
    parts = [f"step {progress.step:>{len(str(total))}}/{total}", f"epoch {progress.epochs:.2f}"]
    if progress.phase not in ("", "joint"):
        parts.append(f"phase {progress.phase}")
    for name, column in (("loss", "loss"), ("acc", "accuracy"), ("valid acc", "valid_accuracy")):
        if (value := number(column)) is not None:
            parts.append(f"{name} {value:.3f}")
    if objectives := _objectives(progress):
        parts.append(objectives)
    if (speed := number("samples_per_second")) is not None:
        parts.append(f"{speed:.0f} samples/s")
    if busy := progress.busy:
        parts.append(f"stages busy {' '.join(map(percent, busy))}")
    if (mebibytes := number("memory_mib")) is not None:
        parts.append(memory(mebibytes))
    if left := progress.eta:
        parts.append(f"{duration(left)} left")
    return "  ".join(parts)


def epoch_line(progress: Progress) -> str:
    """An evaluation in a line that fits any terminal, to stay above the live display."""
    parts = [f"epoch {progress.epochs:.2f}"]
    if (loss := progress.number("valid_loss")) is not None:
        parts.append(f"valid loss {loss:.3f}")
    if (accuracy := progress.number("valid_accuracy")) is not None:
        parts.append(f"valid accuracy {accuracy:.3f}")
    return "  ".join([*parts, duration(progress.elapsed)])


def objectives_line(progress: Progress) -> str:
    """The objective of every layer, for the row that closes an epoch."""
    known = [
        f"{layer} {format_metric(trend.last)}" for layer, trend in progress.objectives.items() if trend.last is not None
    ]
    return "  objectives: " + "  ".join(known) if known else ""


def _objectives(progress: Progress) -> str:
    values = [trend.last for layer, trend in progress.objectives.items() if layer in progress.learning]
    known = [value for value in values if value is not None]
    return f"objective {format_metric(sum(known) / len(known))} (mean of {len(known)})" if known else ""
