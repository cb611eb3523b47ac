"""Runs of every kind one after the other in one process, for half an hour: memory, descriptors and threads stay flat.

    python examples/studies/soak.py                             # 30 minutes
    nice -n 10 python examples/studies/soak.py --minutes 5

Each run trains, logs diagnostics, writes checkpoints, evaluates and draws its plots, as ``localrules run`` does; then
it is evaluated and removed. After each the process's resident memory, open files and threads are read from ``/proc``.
They count as flat if the medians of the middle and of the last third of the runs agree: descriptors and threads
exactly, memory within 2 %. The first third is left out, in which each kind of run is met for the first time.

Needs ``/proc``, so Linux.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import localrules

DATA = {"name": "faces", "train": 560, "valid": 140, "test": 7}
KINDS = (
    ("hsic", {"name": "dense_fpn_small", "blocks": 2, "convolutions": 1}, {"diagnostics": "all"}),
    ("local-ce", {"name": "mlp", "hidden": [64, 32]}, {"diagnostics": "gradient,update,cka", "parallel_layers": 2}),
    ("softhebb", {"name": "lenet"}, {"augment": {"cutout": 8}}),
    ("forward-forward", {"name": "mlp", "hidden": [64, 32]}, {}),
    ("predsim", {"name": "dense_fpn_small", "blocks": 1}, {"granularity": "block", "precision": "bf16"}),
    ("backprop", {"name": "resnet20"}, {"early_stopping": {"patience": 1}}),
    ("hsic-projected", {"name": "mlp", "hidden": [64, 32]}, {"phases": "two-phase", "audit": True}),
)
SLACK = 0.02  # of memory


def train_and_evaluate(index: int, out: Path) -> None:
    """One run, of the kind whose turn it is."""
    rule, model, more = KINDS[index % len(KINDS)]
    run = localrules.train(
        rule,
        model,
        DATA,
        out=out,
        steps=40,
        batch_size=28,
        threads=1,
        seed=index,
        checkpoint_every=10,
        log_every=5,
        trackers={"tensorboard": {}} if index % 2 else {},
        **more,
    )
    localrules.evaluate(run, "valid")


def measure() -> tuple[float, int, int]:
    """Resident memory in MiB, open descriptors, threads."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files, threads = (len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task"))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, files, threads


def verdict(samples: list[tuple[float, int, int]]) -> bool:
    """Print the medians of the middle and the last third, and whether they agree."""
    third = len(samples) // 3
    flat = True
    for name, values in zip(("memory in MiB", "descriptors", "threads"), zip(*samples, strict=True), strict=True):
        middle, last = median(values[third : 2 * third]), median(values[-third:])
        same = last <= middle * (1 + SLACK) if name.startswith("memory") else last == middle
        flat &= same
        print(f"{name}: first {values[0]:.1f}, middle third {middle:.1f}, last third {last:.1f}: {_word(same)}")
    return flat


def _word(same: bool) -> str:
    return "flat" if same else "NOT FLAT"


def main() -> int:
    """The runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, metavar="N", help="after which no further run is begun")
    asked = parser.parse_args()
    samples: list[tuple[float, int, int]] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        while time.monotonic() - began < 60 * asked.minutes or len(samples) < 3:
            folder = Path(place) / str(len(samples))
            train_and_evaluate(len(samples), folder)
            shutil.rmtree(folder)
            gc.collect()
            samples.append(measure())
            memory, files, threads = samples[-1]
            minutes = (time.monotonic() - began) / 60
            print(f"{minutes:5.1f} min, run {len(samples)}: {memory:.1f} MiB, {files} descriptors, {threads} threads")
            sys.stdout.flush()
    print(f"{len(samples)} runs in {(time.monotonic() - began) / 60:.1f} minutes")
    return 0 if verdict(samples) else 1


if __name__ == "__main__":
    raise SystemExit(main())
