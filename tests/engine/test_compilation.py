"""Compiled layers and objectives train as uncompiled ones do, and what cannot be compiled says why."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from helpers.two_ranks import Case, Chain, session, state

from localrules.engine.compilation import CompiledForward
from localrules.engine.session import Session
from localrules.engine.step import train_steps

COMPILED = (("compile", True), ("compile_backend", "aot_eager"))
STEPS = 2


def compiled(rule: str, model: str = "Chain") -> Session:
    return session(Case(rule, model, settings=COMPILED), devices=1)


def parts(tiny: Session) -> list[CompiledForward]:
    """The compiled layers and objectives of a session."""
    modules = [*(layer.module for layer in tiny.network.layers), *getattr(tiny.rule, "objectives", {}).values()]
    return [part for module in modules if isinstance(part := module.__dict__.get("forward"), CompiledForward)]


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "model", "count"), [("local-ce", "Regularized", 5), ("backprop", "Chain", 3)])
def test_compiled_parts_train_alike(rule: str, model: str, count: int) -> None:
    plain, made = session(Case(rule, model), devices=1), compiled(rule, model)
    assert len(parts(made)) == count
    uncompiled: list[str] = []
    for part in parts(made):
        own = part._own
        part._own = lambda *args, own=own, name=part._name, **kwargs: (uncompiled.append(name), own(*args))[1]
    train_steps(plain, STEPS)
    train_steps(made, STEPS)
    assert [part.reason for part in parts(made)] == [""] * count
    assert not uncompiled
    wanted, found = state(plain), state(made)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.slow
def test_evaluation_and_copies_are_not_compiled() -> None:
    made = compiled("local-ce")
    layer = made.network.layers[0].module
    images = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        wanted = layer(images)
    assert "forward" in layer.__dict__
    copy = deepcopy(layer)
    assert not isinstance(copy.__dict__["forward"], CompiledForward)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    assert torch.equal(copy(images), wanted)  # with weights of its own


@pytest.mark.slow
def test_a_rule_that_replaces_operations_runs_as_it_is() -> None:
    made = compiled("fa")
    with pytest.warns(UserWarning, match="is not compiled, and runs as it is: _OpInterceptor watches") as said:
        train_steps(made, STEPS)
    assert len(said) == 1
    plain = session(Case("fa"), devices=1)
    train_steps(plain, STEPS)
    assert all(torch.equal(value, state(made)[name]) for name, value in state(plain).items())


@pytest.mark.slow
def test_a_module_that_torch_cannot_compile_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    made = compiled("backprop")
    first = parts(made)[0]
    from torch._dynamo.exc import BackendCompilerFailed

    class Failed(BackendCompilerFailed):
        def __init__(self) -> None:
            Exception.__init__(self, "no compiler was found\nand more")

    def fails(*args: object) -> None:
        raise Failed

    monkeypatch.setattr(first, "_compiled", fails)
    with pytest.warns(UserWarning, match="layer 'net.first' is not compiled, and runs as it is: no compiler was found"):
        train_steps(made, 1)
    assert first.reason == "no compiler was found"


def test_a_rule_may_say_that_it_does_not_allow_it() -> None:
    with pytest.warns(UserWarning, match="rule 'sgr' does not allow it, since it differentiates gradients"):
        made = compiled("sgr")
    assert parts(made) == []


def test_nothing_is_compiled_unless_it_is_asked_for() -> None:
    assert parts(session(Case("local-ce"), devices=1)) == []
    assert Chain(3).first.forward.__name__ == "forward"
