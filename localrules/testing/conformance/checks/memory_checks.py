"""The check that a rule keeps no more and more."""

from __future__ import annotations

import gc

import torch
from torch import Tensor
from torch._subclasses import FakeTensor

from localrules.engine.step import train_steps
from localrules.testing.conformance.subject import RuleUnderTest

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


def _bytes_in_tensors() -> int:
    gc.collect()
    found = {}
    for each in gc.get_objects():
        if not issubclass(type(each), Tensor) or issubclass(type(each), FakeTensor):  # torch.export leaves fake ones
            continue
        if each.layout == torch.strided and not each.is_meta:
            storage = each.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())
