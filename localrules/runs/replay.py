"""Steps of a run, taken once more from a given state, in a process that does nothing else."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from localrules.engine import checkpoint
from localrules.engine.phases import apply_phase
from localrules.engine.resolve import resolve_config
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.errors import LocalRulesError
from localrules.registry.registry import Registry
from localrules.runs.load import read_run
from localrules.utils.atomic_io import write_atomic

if TYPE_CHECKING:
    from localrules.data.batches import Batches, DataBatch


@dataclass(frozen=True)
class Replay:
    """Which steps to take, from which state.

    Attributes:
        run: The run folder.
        state: A file like ``last.pt``; its progress says nothing here.
        start: The first step, counted from 0 over the whole run.
        steps: Number of steps.
        out: Where the state after them goes.
        plugins: Plugin files, as the run was given them.
        permute_labels: Deal the labels of each batch out anew among its images.
    """

    run: Path
    state: Path
    start: int
    steps: int
    out: Path
    plugins: tuple[str, ...] = ()
    permute_labels: bool = False


def replay_in_new_process(replay: Replay) -> None:
    """Take the steps in a fresh process, which loads the plugins itself.

    Raises:
        LocalRulesError: The process failed.
    """
    if "forkserver" in multiprocessing.get_all_start_methods():
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload([__name__])  # only torch and localrules: plugins are loaded in each process
        process: BaseProcess = server.Process(target=take_replay, args=(replay,))
    else:
        process = multiprocessing.get_context("spawn").Process(target=take_replay, args=(replay,))
    process.start()
    process.join()
    if process.exitcode != 0 or not replay.out.exists():
        raise LocalRulesError(
            "the run's steps could not be taken once more",
            where=str(replay.run),
            why=f"the process that took them ended with exit code {process.exitcode}",
            fix=f"see its message above; localrules run --resume {replay.run} says more",
        )


def take_replay(replay: Replay) -> None:
    """Take the steps in this process."""
    session = build_session(replay.run, replay.plugins)
    checkpoint.apply_state(session, checkpoint.read_state(replay.state))
    if replay.permute_labels:
        session.batches = cast("Batches", PermutedLabels(session.batches))
    stop = replay.start + replay.steps
    for phase in session.phases:
        if max(phase.start, replay.start) < min(phase.stop, stop):
            apply_phase(phase, session.network, session.trainable)
            for step in range(max(phase.start, replay.start), min(phase.stop, stop)):
                train_step(session, phase, step)
    write_atomic(replay.out, lambda path: torch.save(checkpoint.session_state(session, {}), path))


def build_session(run: Path, plugins: Sequence[str] = ()) -> Session:
    """A fresh session with the configuration of a run."""
    config, _ = read_run(run)
    return Session.build(resolve_config(config, Registry.from_plugins(plugins)))


class PermutedLabels:
    """The same images, their labels dealt out anew among them."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def batch(self, step: int) -> DataBatch:
        batch = self._batches.batch(step)
        # Not renamed: to a kernel on labels that would be the same.
        order = torch.randperm(len(batch.labels), generator=torch.Generator().manual_seed(1))
        return replace(batch, labels=batch.labels[order.to(batch.labels.device)])
