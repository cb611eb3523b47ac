"""Of which class of locality a rule is: measured, by what its layers' updates depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from localrules.core.layer import Locality
from localrules.data.batches import Batches
from localrules.engine.session import Session
from localrules.runs.replay import PermutedLabels
from localrules.testing.auditing.dependence import Dependence
from localrules.testing.auditing.interventions import Recorder, perturb_weights, record_layers, replay_outputs
from localrules.testing.auditing.traces import Trace, differ, train_from_perturbed, update_differs

Build = Callable[[], Session]


def measure_class(build: Build, dependence: Dependence, *, steps: int = 3, seed: int = 0) -> Locality:
    """The class of a rule on a network.

    Where no layer's update depends on layers that it does not read, the labels decide: other labels for the same
    images, and either the hidden layers learn the same or not. Otherwise a signal came down. If layers were given
    each other's graphs, and errors that went back by other weights of the same signs would have taught them something
    else, it is back-propagation. If not, each layer is changed while its readers see the values that it gave before:
    whoever below learns otherwise was fed by a signal through that layer (``feedback``); if nobody does, what reaches
    them is the error at the output alone (``broadcast-error``).

    Args:
        build: Makes a fresh session, each time the same, of ``steps`` steps at least.
        dependence: As :func:`~localrules.testing.auditing.dependence.measure_dependence` found for the same.
        steps: Steps to take.
        seed: Of the noise on all parameters.
    """
    if not dependence.leaks:
        return "local-labels" if _reads_labels(build, steps, seed) else "local"
    plain, recorder = _recorded(build, steps, seed)
    if recorder.crossings and _depends_on_weights(build, plain, steps, seed):
        return "backprop"
    comes_down = _has_feedback(build, plain, recorder, dependence, steps, seed)
    return "feedback" if comes_down else "broadcast-error"


def _reads_labels(build: Build, steps: int, seed: int) -> bool:
    """Whether hidden layers learn otherwise when the labels of each batch are dealt out anew.

    Where none of them was seen to learn, all of the rule's state is asked.
    """
    ends = []
    for relabelled in (False, True):
        session = build()
        if relabelled:
            session.batches = cast(Batches, PermutedLabels(session.batches))
        *traces, _ = train_from_perturbed(session, steps, seed)
        ends.append((traces, [tensor.detach() for tensor in session.rule.state_dict().values()]))
    (ones, state), (others, other_state) = ends
    if not any(trace.learned for trace in ones):
        return differ(state, other_state)
    return any(_updates_differ(pair) for pair in zip(ones, others, strict=True))


def _updates_differ(pair: tuple[Trace, Trace]) -> bool:
    one, other = pair
    return update_differs(one, other) or differ(one.buffers, other.buffers)


def _recorded(build: Build, steps: int, seed: int) -> tuple[list[Trace], Recorder]:
    session = build()
    watch = record_layers(session.network.layers)
    with watch as recorder:
        return train_from_perturbed(session, steps, seed), recorder


def _depends_on_weights(build: Build, plain: list[Trace], steps: int, seed: int) -> bool:
    """Whether some layer's weights decide what those before it learn, though its values stay.

    True, too, for networks without a weight-bearing operation that could be met: nothing speaks against it there.
    """
    met_any = False
    for index in range(len(plain) - 1, 0, -1):
        session = build()
        during = perturb_weights(session.network.layers[index], seed)
        with during as met:
            found = train_from_perturbed(session, steps, seed)
        met_any = met_any or bool(met)
        if _differ_at(plain, found, range(index)):
            return True
    return not met_any


def _has_feedback(
    build: Build, plain: list[Trace], recorder: Recorder, dependence: Dependence, steps: int, seed: int
) -> bool:
    """Whether some hidden layer's parameters decide what layers learn that do not read it, though its values stay."""
    for index in range(1, len(plain) - 1):
        session = build()
        during = replay_outputs(session.network.layers[index], recorder.outputs)
        found = train_from_perturbed(session, steps, seed, change=index, context=during)
        if _differ_at(plain, found, (row for row in range(index) if not dependence.upstream[row][index])):
            return True
    return False


def _differ_at(ones: list[Trace], others: list[Trace], rows: Iterable[int]) -> bool:
    return any(update_differs(ones[row], others[row]) for row in rows)
