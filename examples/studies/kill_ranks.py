"""Random kills of ranks of runs in several processes: ``--resume`` must end with the bits of unbroken runs.

    python examples/studies/kill_ranks.py                       # 50 kills, some twenty minutes
    python examples/studies/kill_ranks.py --kills 5 --seed 1

Each run is short, of two to four processes that divide its batches, its layers or both. One of them, at random, is
killed (SIGKILL) at a random moment, once to three times: one kill of four at any time from when all processes are
there, the others from when there is a run folder. Then

- all others must have ended within 30 seconds, with no process of the run left,
- the error must name the rank, and the command with which the run continues, if it has a checkpoint by then,
- the run, resumed, must end with the weights and metrics of an unbroken one.

Each fault is printed, and its folders are kept. Needs Linux, whose /proc tells which processes belong to a run.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kill_runs import FACES, MODELS, SHORT, Kill, repeat, run_folder, start

from localrules.registry.registry import Registry

LIMIT = 30.0  # seconds within which the others have to end


LAYERS = ["--parallel", "layers", "--devices"]
WAYS = [["--devices", "2"], [*LAYERS, "2"], [*LAYERS, "3"], [*LAYERS, "4", "--set", "stages=2"]]


class Process(NamedTuple):
    """A process as /proc shows it."""

    number: int
    parent: int


def kinds(draw: random.Random) -> list[str]:
    """The words of a random run; not every rule can train every network, or in several processes."""
    rule = draw.choice([item.entry.name for item in Registry.load(allow=[]).entries("rule")])
    model, smaller = draw.choices(MODELS, (4, 4, 1, 1))[0]  # the last two take long
    words = ["--rule", rule, "--model", model, "--set", smaller, *FACES, *SHORT]
    words += ["--steps", str(draw.randint(16, 48)), "--seed", str(draw.randint(0, 99))]
    words += draw.choices(WAYS, (2, 1, 1, 1))[0]
    for fraction, more in (
        (0.7, ("--checkpoint-every", str(draw.randint(1, 6)))),
        (0.3, ("--set", "phases=two-phase")),
        (0.2, ("--set", "optimizer.name=muon")),
        (0.2, ("--set", "early_stopping.patience=2")),
        (0.2, ("--granularity", "window:2")),
    ):
        words += more if draw.random() < fraction else ()
    return words


def processes_of(session: int) -> list[Process]:
    """The living processes of a session, the eldest first."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, _, own, *more = path.read_text().rpartition(")")[2].split()
        except (OSError, ValueError):  # it has ended
            continue
        if int(own) == session and state != "Z":
            found.append((int(more[15]), Process(int(path.parent.name), int(parent))))  # the 22nd field: its start
    return [process for _, process in sorted(found)]


def ranks_of(session: int) -> list[int]:
    """The processes of a run by rank, those that are there: the first, and what its fork server has made."""
    there = processes_of(session)
    own = {process.number for process in there if process.parent == session}
    return [session, *(process.number for process in there if process.parent in own)]


def kill_rank(line: list[str], place: Path, seconds: float, draw: random.Random) -> Kill:
    """Start a run, and kill one of its processes at a random moment; see :func:`kill_runs.kill_process`."""
    log, out = place / "broken.log", place / "broken"
    log.write_text("")
    count = devices_of(line)
    began, process = time.monotonic(), start(line, log)
    ranks, early, code = [process], draw.random() < 0.25, None
    while len(ranks) < count or not (early or run_folder(out)):
        ranks, code = ranks_of(process), ended(process)
        if code is not None:
            return Kill(run_folder(out), False, f"it ends with {code}" if code else "")
        time.sleep(0.005)
    rank = draw.randrange(count)
    time.sleep(draw.uniform(0, max(0.1, 0.9 * (seconds - (time.monotonic() - began)))))
    with suppress(ProcessLookupError):  # it may have been faster
        os.kill(ranks[rank], signal.SIGKILL)
    since = time.monotonic()
    while code is None or processes_of(process):
        code = ended(process) if code is None else code
        if time.monotonic() - since > LIMIT:
            left = len(processes_of(process))
            os.killpg(process, signal.SIGKILL)
            return Kill(run_folder(out), True, f"{left} processes are there {LIMIT:g} s after rank {rank} was killed")
        time.sleep(0.01)
    folder, said = run_folder(out), " ".join(log.read_text().split())  # which has been wrapped
    if code == 0:  # the run was over
        return Kill(folder, False)
    wanted = [rf"lost rank {rank}\b"]
    if folder is not None and (folder / "checkpoints").exists():  # else there is nothing to continue from
        wanted.append(rf"localrules run --resume {re.escape(str(folder))}\b")
    missing = [words for words in wanted if not re.search(words, said)]
    return Kill(folder, True, f"the error has no {' and '.join(missing)}" if missing else "")


def devices_of(line: list[str]) -> int:
    """The number of processes of a run that is begun, or resumed."""
    if "--resume" not in line:
        return int(line[line.index("--devices") + 1])
    return int(tomllib.loads((Path(line[-1]) / "config.toml").read_text())["devices"])


def ended(process: int) -> int | None:
    """The exit code of a process, once it has ended."""
    done, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


if __name__ == "__main__":
    repeat(__doc__, 50, kinds, kill_rank)
