"""A plugin file with rules, models, data sets and trackers that each do one thing wrong."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional

from localrules import (
    Batch,
    Context,
    Dataset,
    DataSource,
    Layer,
    LayerView,
    Model,
    Network,
    Objective,
    Rule,
    RuleConfig,
    StepReport,
    Tracker,
)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def good_loss(view: LayerView) -> Tensor:
    return view.output.square().mean()


def exit_well() -> None:
    sys.exit(0)


def recurse(depth: int = 0) -> int:
    return recurse(depth + 1) + 1


def fail(error: BaseException) -> Any:
    raise error


def write_inputs(view: LayerView) -> Tensor:
    view.inputs[0].mul_(0.5)
    return good_loss(view)


def write_output(view: LayerView) -> Tensor:
    loss = good_loss(view)
    view.output.detach().zero_()
    return loss


def write_labels(view: LayerView) -> Tensor:
    view.labels.zero_()
    return good_loss(view)


def go_backward(view: LayerView, keep: bool) -> Tensor:
    loss = good_loss(view)
    loss.backward(retain_graph=keep)
    return loss


def after(view: LayerView, change: Callable[[], object]) -> Tensor:
    change()
    return good_loss(view)


def close_stream(name: str) -> None:
    getattr(sys, name).close()


def replace_stdout() -> None:
    sys.stdout = io.StringIO()


LOSSES: dict[str, Callable[[LayerView], Any]] = {
    "float": lambda view: 1.0,
    "int": lambda view: 3,
    "list": lambda view: [good_loss(view)],
    "text": lambda view: "loss",
    "none": lambda view: None,
    "vector": lambda view: view.output.flatten(1).mean(1),
    "empty": lambda view: view.output[:0],
    "complex": lambda view: good_loss(view) * 1j,
    "nan": lambda view: good_loss(view) * float("nan"),
    "infinite": lambda view: good_loss(view) / 0.0,
    "no-gradient": lambda view: good_loss(view).detach(),
    "whole-number": lambda view: torch.tensor(1),
    "empty-dict": lambda view: {},
    "dict-of-floats": lambda view: {"a": 1.0},
    "dict-of-vectors": lambda view: {"a": view.output.flatten()},
    "value-error": lambda view: fail(ValueError("bad value")),
    "stop-iteration": lambda view: fail(StopIteration("no more")),
    "system-exit": lambda view: exit_well(),
    "base-exception": lambda view: fail(BaseException("all")),
    "unprintable": lambda view: fail(Unprintable()),
    "recursion": lambda view: recurse(),
    "wrong-shapes": lambda view: good_loss(view) + (torch.ones(3) @ torch.ones(4)),
    "backward": lambda view: go_backward(view, keep=False),
    "backward-kept": lambda view: go_backward(view, keep=True),
    "writes-inputs": write_inputs,
    "writes-output": write_output,
    "writes-labels": write_labels,
    "no-grad": lambda view: after(view, lambda: torch.set_grad_enabled(False)),
    "default-dtype": lambda view: after(view, lambda: torch.set_default_dtype(torch.float64)),
    "default-device": lambda view: after(view, lambda: torch.set_default_device("meta")),
    "replaces-stdout": lambda view: after(view, replace_stdout),
    "closes-stdout": lambda view: after(view, lambda: close_stream("stdout")),
    "closes-stderr": lambda view: after(view, lambda: close_stream("stderr")),
    "too-large": lambda view: torch.zeros(2**50) + good_loss(view),
}


def _objective(name: str, loss: Callable[[LayerView], Any]) -> type[Objective]:
    def forward(self: Objective, view: LayerView) -> Any:
        """A loss."""
        return loss(view)

    return type("Loss", (Objective,), {"forward": forward, "__module__": __name__, "__doc__": name})


class NoForward(Objective):
    """Lacks forward."""


class NoView(Objective):
    """Takes no view."""

    def forward(self) -> Tensor:  # type: ignore[override]
        return torch.zeros(())


class WrongConstructor(Objective):
    """Takes no arguments."""

    def __init__(self) -> None:
        raise AssertionError("never run")

    def forward(self, view: LayerView) -> Tensor:
        return good_loss(view)


class FailsInConstructor(Objective):
    """Fails when it is made."""

    def __init__(self, config: Any, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.head = nn.Linear(layer.no_such_shape, num_classes)  # type: ignore[attr-defined]

    def forward(self, view: LayerView) -> Tensor:
        return good_loss(view)


class DictConfig(Objective):
    """Has a dict for its options."""

    Config = dict(beta=1.0)  # type: ignore[assignment]  # noqa: C408, RUF012

    def forward(self, view: LayerView) -> Tensor:
        return good_loss(view)


class PlainConfig(DictConfig):
    """Has a plain class for its options."""

    class Config:  # type: ignore[assignment]
        beta = 1.0


class TensorConfig(DictConfig):
    """Has a tensor among its options."""

    class Config(RuleConfig):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        weights: Tensor = torch.ones(3)


class HiddenTensorConfig(DictConfig):
    """Has a tensor among its options, where anything may stand."""

    class Config(RuleConfig):
        weights: Any = torch.ones(3)


class UndefinedConfig(DictConfig):
    """Has an option of a type that is not imported."""

    class Config(RuleConfig):
        beta: Undefined = 1.0  # type: ignore[name-defined]  # noqa: F821


class RaisingConfig(DictConfig):
    """Has options that fail when they are filled."""

    class Config(RuleConfig):
        beta: float = 1.0

        def model_post_init(self, _: Any) -> None:
            raise KeyError("beta")


class StepRule(Rule):
    """Takes a step that is right."""

    def step(self, network: Network, batch: Batch, context: Context) -> Any:
        logits = network(batch.images)
        loss = functional.cross_entropy(logits, batch.labels)
        loss.backward()
        for layer in network.layers:
            context.step_layer(layer)
        return self.report(logits.detach(), loss.detach(), batch)

    def report(self, logits: Tensor, loss: Tensor, batch: Batch) -> Any:
        return StepReport(logits=logits, loss=loss)


class ReportsNothing(StepRule):
    """Reports None."""

    def report(self, logits: Tensor, loss: Tensor, batch: Batch) -> Any:
        return None


class ReportsFloat(StepRule):
    """Reports a number of Python."""

    def report(self, logits: Tensor, loss: Tensor, batch: Batch) -> Any:
        return StepReport(logits=logits, loss=1.0)  # type: ignore[arg-type]


class ReportsVector(StepRule):
    """Reports a vector as a metric."""

    def report(self, logits: Tensor, loss: Tensor, batch: Batch) -> Any:
        return StepReport(logits=logits, loss=loss, metrics={"a/b": logits})


class StepExits(StepRule):
    """Ends the process."""

    def report(self, logits: Tensor, loss: Tensor, batch: Batch) -> Any:
        exit_well()


class StepWritesLabels(StepRule):
    """Changes the labels."""

    def report(self, logits: Tensor, loss: Tensor, batch: Batch) -> Any:
        batch.labels.add_(1)
        return StepReport(logits=logits, loss=loss)


class NoStep(Rule):
    """Lacks step."""


class StepTakesNothing(Rule):
    """Takes no arguments."""

    def step(self) -> StepReport:  # type: ignore[override]
        return StepReport()


_CLASSES: dict[str, type] = {
    "no-forward": NoForward,
    "no-view": NoView,
    "wrong-constructor": WrongConstructor,
    "fails-in-constructor": FailsInConstructor,
    "dict-config": DictConfig,
    "plain-config": PlainConfig,
    "tensor-config": TensorConfig,
    "hidden-tensor-config": HiddenTensorConfig,
    "undefined-config": UndefinedConfig,
    "raising-config": RaisingConfig,
    "reports-nothing": ReportsNothing,
    "reports-float": ReportsFloat,
    "reports-vector": ReportsVector,
    "step-exits": StepExits,
    "step-writes-labels": StepWritesLabels,
    "no-step": NoStep,
    "step-takes-nothing": StepTakesNothing,
}

for _name, _loss in LOSSES.items():
    _made = _objective(_name, _loss)
    _made.__qualname__ = _made.__name__ = "Loss_" + _name.replace("-", "_")
    globals()[_made.__name__] = _CLASSES[_name] = _made

RULES = _CLASSES


class Exits(DataSource):
    """Ends the process when it is loaded."""

    def load(self) -> Dataset:
        sys.exit(0)


class NoLoad(DataSource):
    """Lacks load."""


class LoadsList(DataSource):
    """Loads a list."""

    def load(self) -> Dataset:
        return [1, 2, 3]  # type: ignore[return-value]


class LoadFails(DataSource):
    """Fails when it is loaded."""

    def load(self) -> Dataset:
        return fail(StopIteration("no more"))


class MadeWrongly(LoadFails):
    """Fails when it is made."""

    def __init__(self, config: BaseModel) -> None:
        raise KeyError("data")


DATA = {
    "exits": Exits,
    "no-load": NoLoad,
    "loads-list": LoadsList,
    "load-fails": LoadFails,
    "made-wrongly": MadeWrongly,
}


class InitFails(Model):
    """Fails when it is made."""

    def __init__(self, config: BaseModel, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        self.body = nn.Linear(shape, 3)  # type: ignore[arg-type]


class InitExits(Model):
    """Ends the process when it is made."""

    def __init__(self, config: BaseModel, shape: tuple[int, ...], num_classes: int) -> None:
        sys.exit(0)


class Net(Model):
    """A small network."""

    def __init__(self, config: BaseModel, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(int(torch.Size(shape).numel()), 8), nn.ReLU())
        self.readout = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.readout(self.hidden(images))


class NoSignature(Net):
    """A forward without images."""

    def forward(self) -> Tensor:  # type: ignore[override]
        return torch.zeros(())


class ForwardFails(Net):
    """Fails in the forward pass."""

    def forward(self, images: Tensor) -> Tensor:
        return self.readout(self.hidden(images).t())


class ModelWithoutArguments(Net):
    """Takes no arguments."""

    def __init__(self) -> None:
        raise AssertionError("never run")


MODELS = {
    "init-fails": InitFails,
    "init-exits": InitExits,
    "no-signature": NoSignature,
    "forward-fails": ForwardFails,
    "no-arguments": ModelWithoutArguments,
}


def _tracker(method: str, error: BaseException) -> type[Tracker]:
    def broken(self: Tracker, *_: Any) -> None:
        raise error

    return type(f"Fails_in_{method}", (Tracker,), {method: broken, "__module__": __name__, "__doc__": method})


EVENTS = ("__init__", "on_run_start", "on_train_start", "on_log", "on_evaluate", "on_checkpoint", "on_run_end", "close")
TRACKERS = {}
for _event in EVENTS:
    for _word, _error in {"exits": SystemExit(0), "fails": RuntimeError("tracker")}.items():
        _cls = _tracker(_event, _error)
        _cls.__name__ = _cls.__qualname__ = f"{_word}_{_event}"
        globals()[_cls.__name__] = _cls
        TRACKERS[f"{_word}-{_event}".replace("__", "").replace("_", "-")] = _cls
