"""A sweep that is killed again and again, beside the same sweep that is not: the trials must be the same.

    python examples/studies/kill_sweep.py                       # 40 trials, 10 kills, some three minutes
    python examples/studies/kill_sweep.py --trials 20 --kills 5 --seed 1
    python examples/studies/kill_sweep.py --workers 2           # which trials are tried depends on their order then

Kills (SIGKILL) come at random moments, spread over the trials. With one worker each trial must have the same settings
and the same value as in the unbroken sweep; with several, all must be distinct and none may be lost.

Needs a system with fork, such as Linux, and the extra ``sweep``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import localrules.runs.train  # imports torch here, once, and not in every process
from localrules.cli import main as localrules
from localrules.sweep.optimizer import open_study

WORDS = ("sweep", "--rule", "local-ce", "--model", "mlp", "--data", "faces", "--steps", "30", "--batch-size", "21")
OPTIONS = ("model.hidden=[8]", "data.train=140", "data.valid=14", "data.test=7", "plots=false", "checkpoint_every=1")
SPACE = (
    "--param",
    "optimizer.lr=0.0001..0.1:log",
    "--param",
    "rule.hidden=0..16:int",
    "--param",
    "targets.mixup=0,0.2",
)


def sweep(out: Path, trials: int, workers: int) -> None:
    """Run a sweep, or continue it, in this process."""
    with open(os.devnull, "w", encoding="utf-8") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    options = [word for option in OPTIONS for word in ("--set", option)]
    more = ["--executor", "local", "--workers", str(workers)] if workers > 1 else []
    sys.exit(
        localrules([*WORDS, *options, *SPACE, "--threads", "1", "--trials", str(trials), "--out", str(out), *more])
    )


def started(out: Path, trials: int, workers: int) -> multiprocessing.process.BaseProcess:
    """The same in a process of its own."""
    process = multiprocessing.get_context("fork").Process(target=sweep, args=(out, trials, workers))
    process.start()
    return process


def kill_at(process: multiprocessing.process.BaseProcess, runs: Path, count: int, delay: float) -> bool:
    """Kill a sweep a little after a number of its runs has begun; false if it ended before."""
    while process.is_alive() and len(list(runs.glob("*/config.toml"))) < count:
        time.sleep(0.005)
    time.sleep(delay)
    alive = process.is_alive()
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    return alive


def told(out: Path) -> list[tuple[str, float | None]]:
    """The settings and the value of each trial that counts, in order."""
    trials = open_study(out, "maximize", "none").get_trials(deepcopy=False)
    return [
        (json.dumps(trial.params, sort_keys=True), trial.value)
        for trial in trials
        if not trial.user_attrs.keys() & {"duplicate", "void"}
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="Of the moments.")
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    place = Path(tempfile.mkdtemp(prefix="kill_sweep"))
    unbroken, killed = place / "unbroken", place / "killed"
    process = started(unbroken, asked.trials, asked.workers)
    process.join()
    assert process.exitcode == 0, "the unbroken sweep failed"
    moments = sorted(draw.sample(range(1, asked.trials), asked.kills))
    kills = 0
    for moment in moments:
        process = started(killed, asked.trials, asked.workers)
        kills += kill_at(process, killed / "runs", moment, draw.uniform(0, 0.3))
    process = started(killed, asked.trials, asked.workers)
    process.join()
    assert process.exitcode == 0, "the sweep did not continue"
    wanted, found = told(unbroken), told(killed)
    distinct = len({settings for settings, _ in found})
    folders = len(list((killed / "runs").glob("*/summary.json")))
    best, best_unbroken = (max(value for _, value in each if value is not None) for each in (found, wanted))
    same = found == wanted
    print(f"{kills} kills; {len(found)} trials, {distinct} of them distinct, {folders} run folders")
    print(f"best {best:.6f}, unbroken {best_unbroken:.6f}; the same trials and values: {same}")
    if distinct < asked.trials or folders < asked.trials or (asked.workers == 1 and not same):
        sys.exit(f"they differ; the folders are kept: {place}")


if __name__ == "__main__":
    main()
