"""Checks of what a rule claims: its class of locality, and that each layer is its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from localrules.auditing.audit import Audit, audit
from localrules.auditing.circumstances import Circumstances, other_circumstances, why_it_cannot_train
from localrules.auditing.ownership import owners, watch_writes
from localrules.core.locality import is_within
from localrules.engine.session import Session
from localrules.engine.step import train_steps
from localrules.testing.conformance.sessions import toy_dataset
from localrules.testing.conformance.subject import Place, RuleClass, RuleUnderTest, abbreviate, toy_images


@cache
def audit_on(rule: RuleClass, place: Place) -> Audit:
    """The audit of a rule on a small network, made once: it takes some seconds. On its first one under other
    circumstances, too.

    Args:
        rule: Its class.
        place: The network, and how it is cut into layers.
    """
    subject = RuleUnderTest(rule)
    needs = rule.info.requires
    others = other_circumstances(least_batch=needs.min_batch, soft_targets=needs.admits("probabilities"))
    builds = [_under(subject, place, each) for each in others] if place == subject.places[0] else []
    elsewhere = [build for build in builds if not why_it_cannot_train(build)]
    return audit(lambda: subject.session(place), rule.info.locality, elsewhere=elsewhere)


def _under(subject: RuleUnderTest, place: Place, each: Circumstances) -> Callable[[], Session]:
    samples = 2 * each.batch
    shape = (1, each.side, each.side) if each.side else toy_images(samples).shape
    data = toy_dataset(samples, each.classes, shape)
    return partial(subject.session, place, data=data, **each.settings())


def locality_holds(subject: RuleUnderTest) -> None:
    """Layers' updates depend on no more than the declared locality allows, measured by the core of the audit."""
    declared = subject.rule.info.locality
    for place in subject.distinct_places:
        if place.granularity == 1 and not is_within(declared, "local-labels"):
            continue  # of one hidden layer, which the readout's error reaches, all such classes are the same
        found = audit_on(subject.rule, place)
        assert found.holds, f"on {place}: {'; '.join(found.reasons)}"


def every_parameter_has_one_owner(subject: RuleUnderTest) -> None:
    """Each trainable parameter of network and rule sits in exactly one layer's optimizer."""
    for place in subject.places:
        held = owners(subject.session(place))
        wrong = [f"{name} ({', '.join(layers) or 'no layer'})" for name, layers in held.items() if len(layers) != 1]
        assert not wrong, f"on {place}, without exactly one owner: {abbreviate(wrong)}"


def a_layer_step_writes_only_to_its_layer(subject: RuleUnderTest) -> None:
    """While one layer's optimizer steps, no other tensor of network and rule is written to."""
    for place in subject.places:
        session = subject.session(place)
        with watch_writes(session) as trespasses:
            train_steps(session, 2)
        seen = {f"{trespass.tensor} while {trespass.stepping} stepped" for trespass in trespasses}
        assert not seen, f"on {place}, written to: {abbreviate(sorted(seen))}"
