"""The cost of trackers beside training, charts and tables included.

    python examples/studies/tracking_cost.py                                  # dense_fpn_small by hsic
    python examples/studies/tracking_cost.py --trackers wandb tensorboard --model mlp --rounds 3

Runs with and without a tracker alternate, at the default interval of logged rows. Printed are, from the first step to
the last, the fraction of the CPU time that the tracker takes, in calls and in threads of its own, and the fraction of
the time that training waits in it: both must be below 2 %. Beside them is the ratio of the CPU time of whole runs with
its 95 % interval, in which most is noise of the machine. What a tracker does in a process of its own is in none of
them.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import localrules
from localrules.registry.registry import Registry
from localrules.utils.bootstrap import ratio_bootstrap

AT_MOST = 0.02
EVENTS = ("on_log", "on_evaluate", "on_results", "on_checkpoint")
OPTIONS: dict[str, dict[str, Any]] = {"wandb": {"mode": "offline"}, "tensorboard": {}, "trackio": {}, "mlflow": {}}


def main() -> int:
    """Print the cost of each tracker that is installed; exit with 1 where one misses its mark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trackers", nargs="+", default=[name for name in OPTIONS if importlib.util.find_spec(name)])
    parser.add_argument("--rule", default="hsic")
    parser.add_argument("--model", default="dense_fpn_small")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--samples", type=int, default=4000, help="training images of the data set faces")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs")
    options = parser.parse_args()
    registry, missed = Registry.load(), False
    for name in options.trackers:
        calls = _time_events(registry.resolve("tracker", name))
        with_it, without, taken, waited = [], [], [], []
        for _ in range(options.rounds):
            without.append(_train(options, {}))
            calls.clear()
            with_it.append(_train(options, {f"trackers.{name}": OPTIONS[name]}))
            threads = with_it[-1].thread_seconds - without[-1].thread_seconds
            taken.append((sum(call.cpu_seconds for call in calls) + threads) / with_it[-1].cpu_seconds)
            waited.append(sum(call.seconds for call in calls) / with_it[-1].seconds)
        ratio = ratio_bootstrap(*(np.array([run.cpu_seconds for run in runs]) for runs in (with_it, without)))
        missed |= max(np.median(taken), np.median(waited)) > AT_MOST
        print(
            f"{name}: {np.median(taken):.2%} of the CPU time, training waits {np.median(waited):.2%} of the time (at "
            f"most {AT_MOST:.0%}); a run takes {with_it[-1].cpu_seconds:.0f} s of CPU time, {ratio.median:.3f} of one "
            f"without ({ratio.low:.3f} to {ratio.high:.3f})",
            flush=True,
        )
    return int(missed)


class Call(NamedTuple):
    """The time of one call of a tracker: by the clock on the wall, and CPU time of the thread that calls."""

    seconds: float
    cpu_seconds: float


class Clock(localrules.Callback):
    """Seconds from the first step to the end of training.

    Attributes:
        seconds: Of the clock on the wall.
        cpu_seconds: CPU time of this process.
        thread_seconds: CPU time of its other threads.
    """

    seconds = cpu_seconds = thread_seconds = 0.0

    def on_train_start(self, network: localrules.Network, rule: localrules.Rule) -> None:
        self._began = time.perf_counter(), time.process_time(), time.thread_time()

    def on_checkpoint(self) -> None:
        now = time.perf_counter(), time.process_time(), time.thread_time()
        self.seconds, self.cpu_seconds, main = (end - began for end, began in zip(now, self._began, strict=True))
        self.thread_seconds = self.cpu_seconds - main


def _train(options: argparse.Namespace, trackers: dict[str, Any]) -> Clock:
    """The time of training in a fresh run."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        localrules.train(
            rule=options.rule,
            model=options.model,
            data={"name": "faces", "train": options.samples, "valid": 500, "test": 7},
            epochs=options.epochs,
            threads=1,
            plots=False,
            out=Path(folder),
            callbacks=[clock],
            **trackers,
        )
    return clock


def _time_events(tracker: type) -> list[Call]:
    """Let a tracker note what each event of a step or epoch takes."""
    calls: list[Call] = []

    def timed(event: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            began, cpu_began = time.perf_counter(), time.thread_time()
            event(*arguments)
            calls.append(Call(time.perf_counter() - began, time.thread_time() - cpu_began))

        return call

    for name in EVENTS:
        setattr(tracker, name, timed(getattr(tracker, name)))
    return calls


if __name__ == "__main__":
    raise SystemExit(main())
