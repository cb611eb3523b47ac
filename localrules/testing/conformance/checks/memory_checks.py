"""Checks of what a rule keeps: that it stays bounded, and that what is to learn does."""

from __future__ import annotations

import gc

import torch
from torch import Tensor

from localrules.engine.step import train_steps
from localrules.testing.conformance.subject import RuleUnderTest, abbreviate

POINTS = (48, 56, 64)
"""After so many steps memory is measured: what is filled once, such as a queue of some batches, is full by then."""


def memory_stays_bounded(subject: RuleUnderTest) -> None:
    """After 64 steps no more memory is held in tensors than after 48: none is kept of every step."""
    session = subject.session(steps=POINTS[-1])
    held, done = [], 0
    for point in POINTS:
        train_steps(session, point - done, start=done)
        held.append(_bytes_in_tensors())
        done = point
    first, second, third = held
    more = (third - first) / (POINTS[-1] - POINTS[0])
    assert not first < second < third, (
        f"after {POINTS[0]} steps every step still leaves {more:,.0f} bytes in tensors: "
        "something of each batch is kept, such as in a list (a longer queue: make its length an option, "
        "and test the rule with a short one)"
    )


def auxiliary_parameters_learn(subject: RuleUnderTest) -> None:
    """Every trainable parameter of auxiliary modules moves within a few steps; what is fixed is a buffer."""
    for place in subject.distinct_places:
        # Decay would move parameters that learn nothing.
        session = subject.session(place, optimizer={"weight_decay": 0.0})
        named = {name: each for name, each in session.rule.named_parameters() if each.requires_grad}
        before = {name: each.detach().clone() for name, each in named.items()}
        train_steps(session)
        still = [name for name, each in named.items() if torch.equal(each, before[name])]
        assert not still, (
            f"on {place}, in {session.total_steps} steps these did not move: {abbreviate(still)}; "
            "what is not to learn is a buffer (register_buffer), or has requires_grad=False"
        )


def _bytes_in_tensors() -> int:
    gc.collect()
    found = {}
    for each in gc.get_objects():
        if issubclass(type(each), Tensor) and each.layout == torch.strided and not each.is_meta:
            storage = each.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())
