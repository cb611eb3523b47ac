"""Of which class of locality a rule is: measured, by what its layers' updates depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from localrules.auditing.backprop_gradients import NoAnswerError, agreement_with_backprop
from localrules.auditing.branches import Branch, branch_in_fork
from localrules.auditing.dependence import Dependence
from localrules.auditing.forks import TIMEOUT, in_fork_if_possible
from localrules.auditing.interventions import Recorder, perturb_weights, record_layers, replay_outputs
from localrules.auditing.relabelling import RELABELLINGS, Relabelling, relabel
from localrules.auditing.traces import Trace, digest, train_from_perturbed, update_differs
from localrules.core.locality import Locality
from localrules.engine.session import Session

Build = Callable[[], Session]

BACKPROP_AGREEMENT = 0.999  # with back-propagation's gradients, in all layers: the rest is rounding


def measure_class(
    build: Build,
    dependence: Dependence,
    *,
    steps: int = 3,
    seed: int = 0,
    start: int = 0,
    most: int | None = None,
    fork: bool = True,
) -> Locality:
    """The class of a rule on a network.

    Where no layer's update depends on layers that it does not read, the labels decide: other labels for the same
    images, and either the hidden layers learn the same or not. If it does, and on none beyond the layer's windows, the
    class is ``window``. Otherwise a signal came down. It is back-propagation if
    layers were given each other's graphs, and errors that went back by other weights of the same signs would have
    taught them something else; or if the gradients point where those of back-propagation do in one of the steps, or
    have their signs, by whatever way they were computed. If not, each layer is changed while its readers see the values
    that it gave before, and again while the network gives the values that it gave before: whoever below learns
    otherwise was fed by a signal through that layer or by its activity (``feedback``); if nobody does, what reaches
    them is the error at the output alone (``broadcast-error``).

    Args:
        build: Makes a session, each time in the same state, whose run has ``start + steps`` steps at least.
        dependence: As :func:`~localrules.auditing.dependence.measure_dependence` found for the same.
        steps: Steps to take.
        seed: Of the noise on all parameters.
        start: The first step.
        most: Layers to try in each kind of test, the ones nearest to the readout; all by default.
        fork: Train in forked processes where that is possible.
    """
    trial = _Trial(build, steps, seed, start, most)
    if not dependence.leaks:
        if dependence.uses_windows:
            return "window"
        return "local-labels" if trial.reads_labels() else "local"
    if not fork:
        return trial.class_of_signals(dependence)
    timeout = TIMEOUT * len(dependence.layers)  # it trains a few times for each layer
    return in_fork_if_possible(lambda: trial.class_of_signals(dependence), timeout=timeout)


@dataclass(frozen=True)
class _Trial:
    """Trainings from one state, each with one thing changed; attributes as the arguments of :func:`measure_class`."""

    build: Build
    steps: int
    seed: int
    start: int
    most: int | None

    def class_of_signals(self, dependence: Dependence) -> Locality:
        """The class, where layers depend on others that they do not read."""
        plain, recorder = self.recorded()
        if recorder.crossings and self.depends_on_weights(plain, {layer for layer, _ in recorder.crossings}):
            return "backprop"
        if self.equals_backprop():
            return "backprop"
        return "feedback" if self.has_feedback(plain, recorder, dependence) else "broadcast-error"

    def reads_labels(self) -> bool:
        """Whether hidden layers learn otherwise when the labels are others.

        Where none of them was seen to learn, all of the rule's state is asked.
        """

        def trained(labels: Relabelling | None) -> Branch:
            session = self.build()
            if labels is not None:
                relabel(session, labels)
            traces = train_from_perturbed(session, self.steps, self.seed, start=self.start)
            state = {"state": digest(session.rule.state_dict().values())}
            return Branch(tuple(trace.digest() for trace in traces), state)

        plain, *others = (branch_in_fork(partial(trained, labels)) for labels in (None, *RELABELLINGS))
        if not any(layer.learned for layer in plain.layers[:-1]):
            return any(plain.shared != other.shared for other in others)
        return any(plain.hidden_layers_differ(other) for other in others)

    def recorded(self) -> tuple[list[Trace], Recorder]:
        """The training as it is, and what every layer gave in it."""
        session = self.build()
        watch = record_layers(session.network.layers)
        with watch as recorder:
            return train_from_perturbed(session, self.steps, self.seed, start=self.start), recorder

    def depends_on_weights(self, plain: list[Trace], crossed: set[str]) -> bool:
        """Whether some layer's weights decide what those before it learn, though its values stay.

        True, too, where an error may have come down through a layer without a weight-bearing operation that could be
        met: nothing speaks against it there.

        Args:
            plain: The training as it is.
            crossed: The layers that were given another's graph.
        """
        unmet = False
        for index in range(len(plain) - 1, 0, -1)[: self.most]:
            session = self.build()
            layer = session.network.layers[index]
            during = perturb_weights(layer, self.seed)
            with during as met:
                found = train_from_perturbed(session, self.steps, self.seed, start=self.start)
            unmet = unmet or (not met and layer.name in crossed)
            if _differ_at(plain, found, range(index)):
                return True
        return unmet

    def equals_backprop(self) -> bool:
        """Whether all gradients point where those of back-propagation do, or have their signs."""
        try:
            found = agreement_with_backprop(self.build(), self.steps, self.seed, start=self.start)
        except NoAnswerError:
            return False
        return found > BACKPROP_AGREEMENT

    def has_feedback(self, plain: list[Trace], recorder: Recorder, dependence: Dependence) -> bool:
        """Whether some hidden layer's parameters decide what layers learn that do not read it, though its values, or
        those of the network, stay."""
        last = len(plain) - 1
        for index in range(last - 1, 0, -1)[: self.most]:
            for shown, scale in ((index, 2.0), (last, 1.0)):
                session = self.build()
                during = replay_outputs(session.network.layers[shown], recorder.outputs, scale=scale)
                found = train_from_perturbed(
                    session, self.steps, self.seed, start=self.start, change=index, context=during
                )
                if _differ_at(plain, found, (row for row in range(index) if not dependence.allowed[row][index])):
                    return True
        return False


def _differ_at(ones: list[Trace], others: list[Trace], rows: Iterable[int]) -> bool:
    return any(update_differs(ones[row], others[row]) for row in rows)
