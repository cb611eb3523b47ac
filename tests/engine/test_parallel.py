"""Layers that learn at the same time do so on several threads, and end with the same bits."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from helpers.tiny_sessions import dense, perceptron, train
from torch import Tensor

from localrules import LayerView, Objective
from localrules.engine.parallel import LayerExecutor
from localrules.engine.profiling import peak_memory
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.engine.weights_file import weights_sha256
from localrules.errors import LocalRulesError, UsageError
from localrules_backprop.backprop import Backprop
from localrules_supervised.local_ce import LocalCrossEntropy

CPU = torch.device("cpu")
SECONDS = 20.0  # after which a test that waits in vain gives up


class Listening(Objective):
    """The mean square, and word of each look at a layer."""

    heard: ClassVar[Callable[[str], None]]

    def forward(self, view: LayerView) -> Tensor:
        type(self).heard(view.layer.name)
        return view.output.float().square().mean()


def listening(hear: Callable[[str], None], **settings: Any) -> Session:
    class Own(Listening):
        """One a test."""

        heard = staticmethod(hear)

    return perceptron(Own, **settings)


class Draws(Objective):
    """Outputs shall be what was drawn for them."""

    threads: ClassVar[set[int]] = set()

    def forward(self, view: LayerView) -> Tensor:
        self.threads.add(threading.get_ident())
        return (view.output.float() - torch.randn(view.output.shape)).square().mean()


@pytest.mark.slow
@pytest.mark.parametrize("rule", [LocalCrossEntropy, Draws])
@pytest.mark.parametrize("setting", [{}, {"precision": "bf16"}, {"optimizer": {"step_timing": "pass"}}], ids=str)
def test_the_bits_are_those_of_one_after_the_other(rule: type, setting: dict[str, Any]) -> None:
    ends = set()
    for size in (1, 2, 4):
        session = dense(rule, steps=6, parallel_layers=size, **setting)
        train(session)
        ends.add(weights_sha256(session.network))
    assert len(ends) == 1


def test_two_layers_are_at_work_at_once() -> None:
    seen: list[str] = []
    both = threading.Barrier(2, timeout=SECONDS)

    def meet(layer: str) -> None:
        if layer in seen and layer != "layers.2":  # the first time each is done on the spot
            both.wait()
        seen.append(layer)

    train(listening(meet, steps=2, parallel_layers=2))
    assert sorted(seen) == ["layers.0", "layers.0", "layers.1", "layers.1", "layers.2", "layers.2"]


def test_a_layer_that_draws_does_so_in_its_turn() -> None:
    Draws.threads.clear()
    train(dense(Draws, steps=4, parallel_layers=3))
    assert Draws.threads == {threading.get_ident()}


def test_what_goes_wrong_on_a_thread_is_raised_and_nothing_goes_on_behind() -> None:
    seen: list[str] = []

    def fail(layer: str) -> None:
        if seen.count(layer) == 1 and layer == "layers.1":
            raise FloatingPointError("as asked")
        seen.append(layer)

    session = listening(fail, steps=3, parallel_layers=2)
    with pytest.raises(LocalRulesError, match="FloatingPointError: as asked"):
        train(session)
    heard = list(seen)
    assert session.executor is not None
    session.executor.finish()  # raises nothing of what was before
    assert seen == heard


def test_no_more_wait_than_there_are_threads() -> None:
    executor, hold, done = LayerExecutor(2, 1), threading.Event(), []
    for layer in "abcdef":
        executor.submit(layer, lambda: None)
    executor.submit("a", lambda: _wait(hold))  # on the other thread
    for layer in "bcd":
        executor.submit(layer, lambda layer=layer: done.append(layer))
    assert done == ["b"]  # c and d wait
    hold.set()
    executor.finish()
    assert sorted(done) == ["b", "c", "d"]


def _wait(event: threading.Event) -> None:
    assert event.wait(SECONDS)


def test_work_that_is_done_is_let_go() -> None:
    class Graph:
        """Stands for what a layer's work keeps alive."""

        def __call__(self) -> None:
            pass

    executor = LayerExecutor(2, 1)
    executor.submit("a", Graph())
    graph = Graph()
    alive = weakref.ref(graph)
    executor.submit("a", graph)
    del graph
    limit = time.monotonic() + SECONDS
    while alive() is not None and time.monotonic() < limit:
        gc.collect()
    assert alive() is None
    executor.finish()


def test_memory_is_that_of_all_layers_that_can_be_alive_and_the_bits_are_the_same() -> None:
    ends, peaks = set(), []
    for size in (1, 2, 3):
        session = dense(LocalCrossEntropy, steps=6, parallel_layers=size, batch_size=32)
        train(session, 0, 2)
        phase = session.phases[0]
        peaks.append(peak_memory(lambda session=session, phase=phase: train_step(session, phase, 2), CPU)[1])
        train(session, 3, 6)
        ends.add(weights_sha256(session.network))
    assert len(ends) == 1
    assert peaks[0] < peaks[1] < peaks[2]


def test_a_rule_that_has_no_layers_objectives_cannot() -> None:
    with pytest.raises(UsageError, match="the layers of rule 'Backprop' cannot learn at the same time"):
        dense(Backprop, parallel_layers=2)


class DrawsLater(Objective):
    """Draws in every second look at a layer."""

    def __init__(self, config: Any, layer: Any, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.looks = 0

    def forward(self, view: LayerView) -> Tensor:
        self.looks += 1
        noise = torch.randn(view.output.shape) if self.looks % 2 == 0 else 0.0
        return (view.output.float() - noise).square().mean()


def test_a_layer_that_draws_later_than_in_its_first_step_is_an_error() -> None:
    with pytest.raises(LocalRulesError, match="draws random numbers in some steps, and did not in its first") as raised:
        train(perceptron(DrawsLater, steps=8, parallel_layers=3))
    assert "randn" in raised.value.where


def test_a_layer_that_drew_once_stays_on_the_thread_of_the_forward_pass() -> None:
    class DrawsFirst(DrawsLater):
        """Draws in its first look, and in every second one."""

        def __init__(self, config: Any, layer: Any, num_classes: int) -> None:
            super().__init__(config, layer, num_classes)
            self.looks = 1

    ends = set()
    for size in (1, 3):
        session = perceptron(DrawsFirst, steps=6, parallel_layers=size)
        train(session)
        ends.add(weights_sha256(session.network))
    assert len(ends) == 1


def test_draws_from_a_generator_of_its_own_may_come_at_any_time() -> None:
    class OwnGenerator(DrawsLater):
        """Draws as before, from a generator that no other layer has."""

        def forward(self, view: LayerView) -> Tensor:
            self.looks += 1
            generator = torch.Generator().manual_seed(self.looks)
            noise = torch.randn(view.output.shape, generator=generator) if self.looks % 2 == 0 else 0.0
            return (view.output.float() - noise).square().mean()

    train(perceptron(OwnGenerator, steps=6, parallel_layers=3))
