"""Checks of a learner: arguments, batches and state that do not fit it are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from localrules.config.schema import OptimizerConfig
from localrules.core.network import Network
from localrules.core.rule import Rule
from localrules.errors import UsageError

_STEP = "Learner.step(images, labels)"


def check_task(network: Network, num_classes: int) -> None:
    """Refuse a network with another number of outputs than classes.

    Raises:
        UsageError: It has.
    """
    shape = network.readout.out_shape
    if len(shape) == 1 and shape[0] != num_classes:
        raise UsageError(
            f"the network has {shape[0]} outputs for {num_classes} classes",
            where=f"readout {network.readout.name!r} of {type(network.model).__name__}, num_classes={num_classes}",
            why="cross-entropy needs a logit for each class",
            fix="give the readout as many outputs as there are classes, or the other num_classes",
        )


def check_timing(config: OptimizerConfig) -> None:
    """Refuse to step all layers at the end of the pass.

    Raises:
        UsageError: The settings ask for it.
    """
    if config.step_timing == "pass":
        raise UsageError(
            "a learner steps each layer as soon as its gradients are complete",
            where='Learner(optimizer={"step_timing": "pass"})',
            why="all at the end of the pass is a setting of runs",
            fix="leave it out, or train by localrules.train",
        )


def check_precision(precision: Any) -> None:
    """Refuse what cannot be called, or does not make a context, each time anew.

    Raises:
        UsageError: It is such.
    """
    made = precision() if callable(precision) and not isinstance(precision, torch.autocast) else None
    if hasattr(made, "__enter__"):
        return
    raise UsageError(
        "precision is not a function that makes a context",
        where=f"Learner(precision={type(precision).__name__})",
        why="it is called before each forward pass",
        fix='e.g. precision=lambda: torch.autocast("cpu", torch.bfloat16)',
    )


def check_unused(rule: Rule) -> None:
    """Refuse a rule that a learner or a run has prepared: its modules would be replaced under their hands.

    Raises:
        UsageError: It has been prepared.
    """
    if rule.is_prepared:
        raise UsageError(
            f"this {type(rule).__name__} belongs to another network",
            where="Learner(rule=...)",
            why="a rule has modules for each layer of its network, and would get new ones",
            fix="make another object, or give the class or its name",
        )


def check_batch(images: Any, labels: Any, example: Tensor) -> None:
    """Refuse a batch that is not of tensors, or unlike the example by which the network was read.

    Raises:
        UsageError: It does not fit; images of another size are left to the model, which may take them.
    """
    for name, value in (("images", images), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise UsageError(
                f"the {name} are not a tensor",
                where=_STEP,
                why=f"they are of type {type(value).__name__}",
                fix=f"give {'torch.as_tensor(' + name + ')' if name == 'labels' else 'one tensor, shape (batch, ...)'}",
            )
    if images.dtype != example.dtype or images.dim() != example.dim():
        raise UsageError(
            "the images are not like the example",
            where=_STEP,
            why=f"they are {_described(images)}, and the example was {_described(example)}",
            fix="prepare both in the same way, or make the learner with an example like the images",
        )
    if torch.is_inference_mode_enabled():
        raise UsageError(
            "nothing can be learned in inference mode",
            where=_STEP,
            why="torch keeps no gradients under torch.inference_mode()",
            fix="call step outside of it; predict may stay inside",
        )


def _described(images: Tensor) -> str:
    return f"{str(images.dtype).removeprefix('torch.')} of shape (batch, {', '.join(map(str, images.shape[1:]))})"


class FrozenParameters:
    """Which parameters of a network are frozen, and a check that they remain so.

    Args:
        network: The network, as it is now.
    """

    def __init__(self, network: Network) -> None:
        self._trained = [(parameter, parameter.requires_grad) for parameter in network.model.parameters()]
        self._network = network

    def check(self) -> None:
        """Refuse parameters that were frozen or unfrozen since: their optimizers were made before.

        Raises:
            UsageError: There are such.
        """
        changed = [parameter for parameter, trained in self._trained if parameter.requires_grad != trained]
        if not changed:
            return
        model = self._network.model
        name = next((name for name, parameter in model.named_parameters() if parameter is changed[0]), "")
        raise UsageError(
            f"parameter {name!r} was {'un' * changed[0].requires_grad}frozen after the learner was made",
            where=f"{len(changed)} parameter(s) of {type(model).__name__}",
            why="each layer's optimizer, and which modules run in eval mode, are settled when it is made",
            fix="make a new Learner of the same module, which goes on from its weights",
        )


def check_state_fits(state: Mapping[str, Any], own: Mapping[str, Any], rule: str) -> None:
    """Refuse state of another model, rule or optimizer before any of it is loaded.

    Args:
        state: What is to be loaded.
        own: What the learner has.
        rule: Name of its rule, for messages.

    Raises:
        UsageError: It does not fit.
    """
    why, fix = "", "load what Learner.state_dict returned for the same model, rule and optimizer"
    if set(state) != set(own):
        why = f"it has {', '.join(map(repr, list(state)[:3]))}; a learner's has {', '.join(map(repr, own))}"
        if set(state) == set(own["model"]):
            fix = "load the state of the model alone into the model: learner.network.model.load_state_dict"
    for part in () if why else ("model", "rule"):
        shapes, found = _shapes(own[part]), _shapes(state[part])
        if differing := sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name)):
            name = differing[0]
            why = f"{part} state {name!r} is {found.get(name, 'not there')}; this learner's is "
            why += str(shapes.get(name, "not there"))
            break
    if not why and (options := _optimizer_options(own)) != (saved := _optimizer_options(state)):
        name = next(name for name in {**options, **saved} if options.get(name) != saved.get(name))
        why = f"the optimizer of layer {name!r} is of another kind"
    if why:
        raise UsageError(
            "the state is not this learner's", where=f"Learner.load_state_dict, rule {rule}", why=why, fix=fix
        )


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items() if isinstance(value, Tensor)}


_KINDS = {"betas", "momentum", "muon", "adamw"}  # options, or parts of a group, by which kinds of optimizers differ


def _optimizer_options(state: Mapping[str, Any]) -> dict[str, list[set[str]]]:
    """The names of the options of each layer's optimizer, which tell its kind."""
    return {name: [_KINDS & set(group) for group in each["param_groups"]] for name, each in state["optimizers"].items()}
