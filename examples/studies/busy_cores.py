"""The step time of a run whose threads share their cores with another program, by how its threads wait.

    python examples/studies/busy_cores.py                                   # a quarter of an hour, on an idle machine
    python examples/studies/busy_cores.py --models mlp --rounds 5

A run with as many threads as cores is measured alone, and beside one busy loop, with torch's OpenMP threads waiting at
a barrier as the library does by itself (``default``), asleep (``OMP_WAIT_POLICY=PASSIVE``), or asleep after a short
spin (``GOMP_SPINCOUNT``, of GNU's library only). The settings take turns, each in a process of its own, and the
median of each counts. Printed are the step in milliseconds, and its ratio to that of ``default`` in the same condition.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WAITS: dict[str, dict[str, str]] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "short spin": {"GOMP_SPINCOUNT": "10000"},
}
STEPS = {"mlp": 150, "dense_fpn_small": 12}


def step_time(model: str, rule: str, steps: int, wait: dict[str, str]) -> float:
    """The median step of a run in a process of its own, in seconds."""
    own = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    with tempfile.TemporaryDirectory() as folder:
        words = ["--rule", rule, "--model", model, "--data", "faces", "--steps", str(steps), "--batch-size", "64"]
        small = [word for part in ("train=1024", "valid=64", "test=64") for word in ("--set", f"data.{part}")]
        command = [sys.executable, "-m", "localrules", "run", *words, *small, "--set", "plots=false", "--out", folder]
        subprocess.run(command, env=own | wait, check=True, capture_output=True)
        (summary,) = Path(folder).glob("*/summary.json")
        return float(json.loads(summary.read_text(encoding="utf-8"))["step_seconds"])


def _spin() -> None:
    while True:
        pass


def main() -> int:
    """Print a row for each network, condition and setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mlp,dense_fpn_small", help=f"some of {', '.join(STEPS)}")
    parser.add_argument("--rule", default="hsic")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    options = parser.parse_args()
    for model in options.models.split(","):
        for busy in (False, True):
            other = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
            if busy:
                other.start()
            times: dict[str, list[float]] = {name: [] for name in WAITS}
            for _ in range(options.rounds):
                for name, wait in WAITS.items():
                    times[name].append(step_time(model, options.rule, STEPS[model], wait))
            if busy:
                other.terminate()
            first = statistics.median(times["default"])
            for name, found in times.items():
                step = statistics.median(found)
                beside = "beside a busy loop" if busy else "alone"
                print(f"{model:16} {beside:18} {name:12} {1e3 * step:7.1f} ms  {step / first:.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
