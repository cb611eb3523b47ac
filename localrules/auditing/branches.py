"""Branches of a training: a few steps from where a session stands, with something changed.

A branch is taken in a forked process, which ends with it. The session stays as it is, with all that a rule keeps
outside of its buffers, and the branch begins with exactly that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from localrules.auditing.forks import in_fork, in_fork_if_possible
from localrules.auditing.relabelling import Relabelling, relabel
from localrules.auditing.traces import NOISE, Trace, TraceDigest, change_layer, digest, shared_state, trace_steps
from localrules.data.dataset import Split
from localrules.engine.inference import subsample
from localrules.engine.session import Session

LARGE = 2.0  # noise that changes what a network answers, in units of a parameter's root mean square
PREDICTED_SAMPLES = 32


@dataclass(frozen=True)
class Variation:
    """The changes of a branch.

    Attributes:
        layers: Indices of layers whose parameters, those of auxiliary modules included, get noise.
        relative: More noise, in units of each parameter's root mean square; by default the noise is small.
        labels: Other labels.
    """

    layers: tuple[int, ...] = ()
    relative: float = 0.0
    labels: Relabelling | None = None


@dataclass(frozen=True)
class Branch:
    """The result of a branch.

    Attributes:
        layers: A digest of each layer's trace, in forward order.
        shared: Digests of the rule's state that belongs to no layer, by name.
    """

    layers: tuple[TraceDigest, ...]
    shared: dict[str, str]

    @classmethod
    def of(cls, session: Session, traces: Iterable[Trace]) -> Branch:
        """The result of steps that were traced, of the session as it stands after them."""
        shared = {name: digest([tensor]) for name, tensor in shared_state(session).items()}
        return cls(tuple(trace.digest() for trace in traces), shared)

    def hidden_layers_differ(self, other: Branch) -> bool:
        """Whether any layer but the readout learned something else in another branch, or has other buffers."""
        pairs = list(zip(self.layers, other.layers, strict=True))[:-1]
        return any(one.update_differs(two) or one.buffers != two.buffers for one, two in pairs)

    def as_dict(self) -> dict[str, Any]:
        """Plain values; :meth:`from_dict` makes it again."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Branch:
        """From what :meth:`as_dict` gave."""
        return cls(tuple(TraceDigest(**layer) for layer in found["layers"]), dict(found["shared"]))


def take_branch(session: Session, start: int, stop: int, variation: Variation, *, seed: int = 0) -> Branch:
    """Change what is to be changed, and take steps ``start`` to ``stop`` in this process. The session moves on.

    The network predicts a few samples after each step, as a run does at the end of an epoch.
    """
    session = replace(session, executor=None)  # the threads of a process that was forked are not in this one
    for index in variation.layers:
        change_layer(session, index, seed, absolute=NOISE, relative=variation.relative)
    if variation.labels is not None:
        relabel(session, variation.labels)
    traces = trace_steps(session, start, stop, between=sample_prediction(session), alone=True)
    return Branch.of(session, traces)


def fork_branch(session: Session, start: int, stop: int, variation: Variation, *, seed: int = 0) -> Branch:
    """As :func:`take_branch`, in a forked process: the session stays as it is."""
    return Branch.from_dict(in_fork(lambda: take_branch(session, start, stop, variation, seed=seed).as_dict()))


def branch_in_fork(work: Callable[[], Branch]) -> Branch:
    """The branch of sessions that the work builds, in a forked process; in this one where none can be forked."""
    return Branch.from_dict(in_fork_if_possible(lambda: work().as_dict()))


def sample_prediction(session: Session) -> Callable[[], object]:
    """A function that predicts a few samples, of the valid split where there is one."""
    split: Split = session.data.splits.get("valid") or session.data.split("train")
    # Not a function of this file: a rule that looks at the stack finds what it finds in a run.
    return partial(session.predictor.scores, split, subsample(split, PREDICTED_SAMPLES))
