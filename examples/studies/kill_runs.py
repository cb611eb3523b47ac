"""Random kills of runs of every kind, after which ``--resume`` must end with the weights and metrics of unbroken runs.

    python examples/studies/kill_runs.py                        # 200 kills, some fifteen minutes
    python examples/studies/kill_runs.py --kills 20 --seed 1

Each run is short and of a random kind: any rule or a mixture, one phase or two, diagnostics, a tracker, early stopping,
half precision, checkpoints every few steps. It is killed (SIGKILL) at random moments, once to three times, and resumed.
Each fault is printed, and its folders are kept.

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
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import localrules.runs.train  # imports torch here, once, and not in every process
from localrules.cli import main as localrules
from localrules.registry.registry import Registry

DIFFERS_IN_TIME = ("samples_per_second", "step_seconds", "memory_mib", "busy/")  # how their names begin
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
    """Run a command in a process of its own, which begins a session; returns its number."""
    process = os.fork()
    if process:
        return process
    os.setsid()
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
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return -signal.SIGALRM


def run_folder(out: Path) -> Path | None:
    """The run folder in an ``--out``, once it is there."""
    found = [path for path in out.glob("2*") if (path / "config.toml").exists()]
    return found[0] if found else None


def result(folder: Path) -> tuple[str, list[dict[str, str]]]:
    """The hash of the weights, and the metrics but for time and memory."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{key: row[key] for key in row if not key.startswith(DIFFERS_IN_TIME)} for row in csv.DictReader(file)]
    return json.loads((folder / "summary.json").read_text())["weights_sha256"], rows


class Kill(NamedTuple):
    """The outcome of a kill.

    Attributes:
        folder: The run folder, if there is one.
        killed: Whether the run was still going on.
        fault: What is wrong.
    """

    folder: Path | None
    killed: bool
    fault: str = ""


def kill_process(line: list[str], place: Path, seconds: float, draw: random.Random) -> Kill:
    """Start a run, and kill its process at a random moment once its folder is there.

    Args:
        line: The command.
        place: Where its folder and its log are.
        seconds: Of an unbroken run.
        draw: For the moment.
    """
    process = start(line, place / "broken.log")
    while (folder := run_folder(place / "broken")) is None and os.waitpid(process, os.WNOHANG) == (0, 0):
        time.sleep(0.001)
    time.sleep(draw.uniform(0, 0.8 * seconds))
    try:
        os.kill(process, signal.SIGKILL)
        killed = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    except (ProcessLookupError, ChildProcessError):  # it was faster
        killed = False
    return Kill(folder, killed, "" if folder else "no run folder was made")


def kill_chain(words: list[str], place: Path, draw: random.Random, kill: Callable[..., Kill]) -> tuple[int, str]:
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
        folder, killed, fault = kill(line, place, seconds, draw)
        kills += killed
        if fault:
            return kills, fault
        if folder is not None:
            line = ["run", "--resume", str(folder)]
    if code := finish(start(line, place / "broken.log")):
        return kills, f"the last run ends with {code}"
    expected, last = run_folder(unbroken), run_folder(broken)
    assert expected is not None
    assert last is not None
    (weights, rows), (others, found) = result(expected), result(last)
    if weights != others:
        return kills, "the weights differ"
    differing = [number for number, (one, two) in enumerate(zip(rows, found, strict=False)) if one != two]
    if len(rows) != len(found) or differing:
        return kills, f"the metrics differ: {len(rows)} and {len(found)} rows, first at {differing[:1]}"
    return kills, ""


def repeat(described: str, kills: int, kinds: Callable[..., list[str]], kill: Callable[..., Kill]) -> None:
    """The command line of a study: kill runs, print the counts, and end with 1 if there was a fault.

    Args:
        described: What the study does.
        kills: How many kills, unless the user says so.
        kinds: Draws the words of a run.
        kill: Starts a run and kills it.
    """
    parser = argparse.ArgumentParser(description=described, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=kills, metavar="N", help="how many kills")
    parser.add_argument("--minutes", type=float, default=60, metavar="N", help="after which no further run is begun")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the runs and the moments")
    asked = parser.parse_args()
    draw, began = random.Random(asked.seed), time.monotonic()
    base = Path(tempfile.mkdtemp(prefix="kill-runs-"))
    done = chains = refused = faults = 0
    rules: Counter[str] = Counter()
    while done < asked.kills and time.monotonic() - began < 60 * asked.minutes:
        words = kinds(draw)
        place = base / f"{chains + refused}"
        place.mkdir()
        killed, fault = kill_chain(words, place, draw, kill)
        if killed < 0 and not fault:
            refused += 1
        else:
            chains, done = chains + 1, done + max(0, killed)
            rules[words[1]] += 1
        if fault:
            faults += 1
            print(f"{fault}: {place}\n    {shlex.join(words)}", flush=True)
        else:
            shutil.rmtree(place)
    shown = f"{done} kills in {chains} runs of {len(rules)} rules and mixtures ({refused} more were refused)"
    print(f"{shown}, in {time.monotonic() - began:.0f} s: {faults} with a fault")
    sys.exit(bool(faults))


if __name__ == "__main__":
    repeat(__doc__, 200, kinds, kill_process)
