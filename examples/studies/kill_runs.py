"""Random kills of runs of every kind, after which ``--resume`` must end with the weights and metrics of unbroken runs.

    python examples/studies/kill_runs.py                        # 200 kills, some fifteen minutes
    python examples/studies/kill_runs.py --kills 20 --seed 1

Each run is short and of a random kind: any rule or a mixture, one phase or two, diagnostics, a tracker, early stopping,
half precision, checkpoints every few steps. It is killed (SIGKILL) at random moments, once to three times, and resumed.
Each difference is printed, and its folders are kept.

Needs a system with fork, such as Linux.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import localrules.runs.train  # imports torch here, once, and not in every process
from localrules.cli import main as localrules
from localrules.registry.registry import Registry

DIFFERS_IN_TIME = ("samples_per_second", "step_seconds", "memory_mib")
FACES = ("--data", "faces", "--set", "data.train=140", "--set", "data.valid=35", "--set", "data.test=7")
SHORT = ("--batch-size", "20", "--threads", "1", "--set", "plots=false", "--set", "log_every=2")
MODELS = (
    ("mlp", "model.hidden=[16, 16]"),
    ("lenet", "model.pooling=max"),
    ("dense_fpn_small", "model.growth=4"),
    ("resnet18", "model.width=4"),
)
MIXTURES = ("0=sim,*=pred", "*0=hsic,*=local-ce", "*1*=softhebb,*=hsic")
LONGEST = 300.0  # seconds of a process, far more than any of these takes


def kinds(draw: random.Random) -> list[str]:
    """The words of a random run; not every rule can train every network."""
    rules = [item.entry.name for item in Registry.load(allow=[]).entries("rule")]
    rule = draw.choice(MIXTURES) if draw.random() < 0.15 else draw.choice(rules)
    model, smaller = draw.choice(MODELS)
    words = ["--rule", rule, "--model", model, "--set", smaller, *FACES, *SHORT]
    words += ["--steps", str(draw.randint(8, 30)), "--seed", str(draw.randint(0, 99))]
    for fraction, more in (
        (0.7, ("--checkpoint-every", str(draw.randint(1, 6)))),
        (0.3, ("--set", "phases=two-phase")),
        (0.3, ("--diagnose", draw.choice(("all", "gradient,update", "cka,probe", "angle")))),
        (0.3, ("--track", "tensorboard")),
        (0.3, ("--set", "early_stopping.patience=2")),
        (0.2, ("--precision", "bf16")),
        (0.2, ("--set", "optimizer.name=muon")),
        (0.2, ("--set", "holdout_fraction=0.2")),
        (0.2, ("--set", "augment.rotation=10")),
    ):
        words += more if draw.random() < fraction else ()
    return words


def start(words: list[str], log: Path) -> int:
    """Run a command in a process of its own; returns its number."""
    process = os.fork()
    if process:
        return process
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os._exit(localrules(words))


def finish(process: int) -> int:
    """Wait for a process, and return its exit code; minus a signal's number, if that ended it."""
    began = time.monotonic()
    while time.monotonic() - began < LONGEST:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return -signal.SIGALRM


def run_folder(out: Path) -> Path | None:
    """The run folder in an ``--out``, once it is there."""
    found = [path for path in out.glob("2*") if (path / "config.toml").exists()]
    return found[0] if found else None


def result(folder: Path) -> tuple[str, list[dict[str, str]]]:
    """The hash of the weights, and the metrics but for time and memory."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{key: row[key] for key in row if key not in DIFFERS_IN_TIME} for row in csv.DictReader(file)]
    return json.loads((folder / "summary.json").read_text())["weights_sha256"], rows


def kill_chain(words: list[str], place: Path, draw: random.Random) -> tuple[int, str]:
    """Run once unbroken and once with kills.

    Returns:
        The number of kills, and what is wrong; -1 if the run is refused, such as a rule that cannot train the network.
    """
    unbroken, broken = place / "unbroken", place / "broken"
    began = time.monotonic()
    code = finish(start(["run", *words, "--out", str(unbroken)], place / "unbroken.log"))
    if code:
        return (-1, "") if code == 2 else (-1, f"the unbroken run ends with {code}")
    seconds, kills = time.monotonic() - began, 0
    line = ["run", *words, "--out", str(broken)]
    for _ in range(draw.randint(1, 3)):
        process = start(line, place / "broken.log")
        while (folder := run_folder(broken)) is None and os.waitpid(process, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.8 * seconds))
        try:
            os.kill(process, signal.SIGKILL)
            kills += os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
        except (ProcessLookupError, ChildProcessError):  # it was faster
            pass
        if folder is None:
            return kills, "no run folder was made"
        line = ["run", "--resume", str(folder)]
    if code := finish(start(line, place / "broken.log")):
        return kills, f"--resume ends with {code}"
    expected = run_folder(unbroken)
    assert expected is not None
    (weights, rows), (others, found) = result(expected), result(folder)
    if weights != others:
        return kills, "the weights differ"
    differing = [number for number, (one, two) in enumerate(zip(rows, found, strict=False)) if one != two]
    if len(rows) != len(found) or differing:
        return kills, f"the metrics differ: {len(rows)} and {len(found)} rows, first at {differing[:1]}"
    return kills, ""


def main() -> None:
    """Kill runs, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="how many kills")
    parser.add_argument("--minutes", type=float, default=60, metavar="N", help="after which no further run is begun")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the runs and the moments")
    asked = parser.parse_args()
    draw, began = random.Random(asked.seed), time.monotonic()
    base = Path(tempfile.mkdtemp(prefix="kill-runs-"))
    kills = chains = refused = 0
    rules: Counter[str] = Counter()
    faults = 0
    while kills < asked.kills and time.monotonic() - began < 60 * asked.minutes:
        words = kinds(draw)
        place = base / f"{chains + refused}"
        place.mkdir()
        killed, fault = kill_chain(words, place, draw)
        if killed < 0 and not fault:
            refused += 1
        else:
            chains, kills = chains + 1, kills + max(0, killed)
            rules[words[1]] += 1
        if fault:
            faults += 1
            print(f"{fault}: {place}\n    {shlex.join(words)}", flush=True)
        else:
            shutil.rmtree(place)
    shown = f"{kills} kills in {chains} runs of {len(rules)} rules and mixtures ({refused} more were refused)"
    print(f"{shown}, in {time.monotonic() - began:.0f} s: {faults} with a difference")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
