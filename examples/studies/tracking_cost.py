"""The cost of trackers beside training, charts and tables included.

    python examples/studies/tracking_cost.py                                  # dense_fpn_small by hsic
    python examples/studies/tracking_cost.py --trackers wandb tensorboard --model mlp --rounds 3

Runs with and without a tracker alternate, at the default interval of logged rows. Printed are the median ratio of the
CPU time that their process takes for training, with its 95 % interval, which holds the tracker's threads as well, and
the fraction of the time that training waits in the tracker. CPU time, since other work on the machine changes it
least; what W&B does in a process of its own is not in it. Both must be below 2 %.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        waited = _time_events(registry.resolve("tracker", name))
        with_it, without, fractions = [], [], []
        for _ in range(options.rounds):
            without.append(_train(options, {}))
            waited.clear()
            with_it.append(_train(options, {f"trackers.{name}": OPTIONS[name]}))
            fractions.append(sum(waited) / with_it[-1].seconds)
        ratio = ratio_bootstrap(*(np.array([run.cpu_seconds for run in runs]) for runs in (with_it, without)))
        fraction = float(np.median(fractions))
        missed |= fraction > AT_MOST or ratio.median > 1 + AT_MOST
        print(
            f"{name}: {ratio.median:.3f} of the CPU time without ({ratio.low:.3f} to {ratio.high:.3f}); training waits "
            f"{fraction:.2%} of the time (at most {AT_MOST:.0%})",
            flush=True,
        )
    return int(missed)


class Clock(localrules.Callback):
    """Seconds from the first step to the end of training: of the clock on the wall, and of this process's CPU time."""

    seconds = cpu_seconds = 0.0

    def on_train_start(self, network: localrules.Network, rule: localrules.Rule) -> None:
        self._began = time.perf_counter(), time.process_time()

    def on_checkpoint(self) -> None:
        self.seconds, self.cpu_seconds = time.perf_counter() - self._began[0], time.process_time() - self._began[1]


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


def _time_events(tracker: type) -> list[float]:
    """Let a tracker note the seconds that each event of a step or epoch takes."""
    waited: list[float] = []

    def timed(event: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            began = time.perf_counter()
            event(*arguments)
            waited.append(time.perf_counter() - began)

        return call

    for name in EVENTS:
        setattr(tracker, name, timed(getattr(tracker, name)))
    return waited


if __name__ == "__main__":
    raise SystemExit(main())
