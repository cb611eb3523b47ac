"""The branches of a run that ``localrules audit RUN`` compares, taken in a process that trains as the run does."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from localrules.auditing.branches import LARGE, Variation, fork_branch, sample_prediction, take_branch
from localrules.auditing.dependence import allowed_matrix, upstream_matrix
from localrules.auditing.forks import can_fork
from localrules.auditing.ownership import unowned_parameters
from localrules.auditing.relabelling import RELABELLINGS
from localrules.auditing.traces import on_own_stack
from localrules.engine import checkpoint
from localrules.engine.resolve import resolve_config
from localrules.engine.session import Session
from localrules.engine.step import train_steps
from localrules.errors import LocalRulesError, error_message, error_of
from localrules.registry.registry import Registry
from localrules.runs.load import read_run
from localrules.runs.suppliers import name_suppliers
from localrules.utils.child_process import fork_server

BRANCH_STEPS = 4  # what a rule keeps from one step shows in the next ones
APPROACH = 24  # steps of the process before it branches: a rule may behave for some steps


@dataclass(frozen=True)
class Replay:
    """A request to branch a run.

    Attributes:
        run: The run folder.
        plugins: Plugin files, as the run was given them.
        at_steps: Steps to branch at, of a training that begins anew; ``None`` to begin at the last checkpoint.
        branch_steps: Steps of a branch, as far as the run has them.
        seed: Of the noise that changes a layer's parameters.
        only: Where the process cannot be forked, the one branch to take: which of ``at_steps``, and which variation.
    """

    run: Path
    plugins: tuple[str, ...] = ()
    at_steps: tuple[int, ...] | None = None
    branch_steps: int = BRANCH_STEPS
    seed: int = 0
    only: tuple[int, int] | None = None


def variations(layers: int) -> list[Variation]:
    """Nothing changed, twice; each layer changed a little; each layer changed much; other labels."""
    each = range(layers)
    return [
        *(Variation(), Variation()),
        *(Variation((index,)) for index in each),
        *(Variation((index,), relative=LARGE) for index in each),
        *(Variation(labels=how) for how in RELABELLINGS),
    ]


def replay(request: Replay) -> Iterator[dict[str, Any]]:
    """Train as the run does, in a new process, and branch.

    Yields:
        First ``{"names", "upstream", "declared", ...}``, what is to be known of the run; then, for each step and each
        of its :func:`variations` in order, ``{"step", "variation", "branch"}``; ``branch`` is ``None`` where a large
        change made the rule fail.

    Raises:
        UsageError: The run cannot be continued.
        LocalRulesError: A branch failed.
    """
    if can_fork():
        yield from _run_process(request)
        return
    facts, *_ = _run_process(replace(request, only=(0, -1)))
    yield facts
    for place in range(len(request.at_steps or (0,))):
        for index in range(len(variations(len(facts["names"])))):
            _, found = _run_process(replace(request, only=(place, index)))
            yield found


def build_session(run: Path, plugins: Sequence[str] = ()) -> Session:
    """A fresh session with the configuration of a run."""
    config, record = read_run(run)
    with name_suppliers(record):
        resolved = resolve_config(config, Registry.from_plugins(plugins))
    return Session.build(resolved)


def last_steps(session: Session, step: int, branch_steps: int) -> tuple[int, int]:
    """Where to continue from a checkpoint that was made at ``step``, and where to branch: within the run's steps."""
    branch = max(0, min(step + APPROACH, session.total_steps - branch_steps))
    return max(0, min(step, branch - APPROACH)), branch


def _run_process(request: Replay) -> Iterator[dict[str, Any]]:
    """The messages of the process, which loads the plugins. This one does not: they cannot change how it compares."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    # The server imports torch and localrules alone: plugins are loaded in each process.
    process: BaseProcess = fork_server([__name__]).Process(target=_serve, args=(request, sender))
    process.start()
    sender.close()
    try:
        while True:
            try:
                found: dict[str, Any] = json.loads(receiver.recv_bytes())
            except EOFError:
                break
            if "error" in found:
                raise error_of(found["error"])
            yield found
    finally:
        receiver.close()
        process.terminate()
        process.join()


def _serve(request: Replay, sender: Connection) -> None:
    """In the process: train, and send what was found."""
    sys.argv = ["localrules", "run", "--resume", str(request.run)]
    try:
        for found in _take(request):
            sender.send_bytes(json.dumps(found).encode())
    except BrokenPipeError:
        return  # nobody listens any more
    except BaseException as error:
        message = error_message(error, "the run could not be continued", str(request.run))
        sender.send_bytes(json.dumps({"error": message}).encode())


def _take(request: Replay) -> Iterator[dict[str, Any]]:
    session = build_session(request.run, request.plugins)
    torch.set_num_threads(1)  # a process with more threads cannot be forked
    config, layers = session.config, session.network.layers
    yield {
        "names": [layer.name for layer in layers],
        "upstream": upstream_matrix(layers),
        "allowed": allowed_matrix(layers, session.run.window),
        "declared": session.run.locality,
        "unowned": unowned_parameters(session),
        "rule": config.rule.label,
        "model": config.model.name,
        "batch_size": config.batch_size,
        "precision": config.precision,
    }
    if request.only is not None and request.only[1] < 0:
        return
    here = 0
    if request.at_steps is None:
        kept = checkpoint.last_state(request.run)
        checkpoint.apply_state(session, kept)
        here, branch = last_steps(session, int(kept["progress"]["step"]), request.branch_steps)
        places = [branch]
    else:
        places = [max(0, min(step, session.total_steps - request.branch_steps)) for step in request.at_steps]
    for place, step in enumerate(places):
        on_own_stack(partial(train_steps, session, step - here, start=here, between=sample_prediction(session)))
        here = step
        for index, variation in enumerate(variations(len(layers))):
            if request.only is None or request.only == (place, index):
                yield {
                    "step": step,
                    "variation": asdict(variation),
                    "branch": _branch(session, step, variation, request),
                }
                if request.only is not None:
                    return


def _branch(session: Session, step: int, variation: Variation, request: Replay) -> dict[str, Any] | None:
    take = fork_branch if request.only is None else take_branch
    try:
        stop = min(step + request.branch_steps, session.total_steps)
        return take(session, step, stop, variation, seed=request.seed).as_dict()
    except LocalRulesError:
        if variation.relative:  # a change this large may leave nothing to compute with
            return None
        raise
