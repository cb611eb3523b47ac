"""The agreement of a rule's gradients with those of back-propagation, by whatever way they were computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from localrules.auditing.traces import add_noise
from localrules.core.layer import Layer
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import seed_step, train_step

ROUNDING = 1e-4  # of a gradient's largest value: the sign of what is smaller tells nothing


class NoAnswerError(Exception):
    """The network alone gives no logits: it answers with the rule's help."""


def agreement_with_backprop(session: Session, steps: int, seed: int, *, start: int = 0) -> float:
    """The agreement between the gradients of hidden layers and those of back-propagation, at most 1.

    That of a layer is the cosine, or the fraction of values with the same sign if that is larger: a rule may make
    something of the error that it has computed. That of a step is the least of its layers, and the result the largest
    of the steps in which all layers learn that do in any: a momentum, for one, leaves the first step as it is.

    The state is made generic by noise first, so that weights that happen to agree at the start tell nothing. Where some
    layers do not feed the readout directly, these alone are compared: the layer that the readout reads has the gradient
    of back-propagation wherever the error at the readout is sent back through the readout's own weights.

    Args:
        session: A fresh one; it moves on.
        steps: How many to take.
        seed: Of the noise.
        start: The first step.

    Returns:
        The agreement; -1 without gradients.

    Raises:
        NoAnswerError: The network alone gives no logits.
    """
    network, hidden = session.network, session.network.hidden
    add_noise([*network.parameters(), *session.rule.parameters()], seed)
    direct = {name for layer in network.layers if layer.is_readout for name in layer.input_layers}
    chosen = [layer for layer in hidden if layer.name not in direct] or list(hidden)
    learned: dict[str, list[Tensor]] = {}
    hooks = [
        optimizer.register_step_pre_hook(_keep_gradients(layer, learned))
        for layer in chosen
        if (optimizer := session.optimizers.by_layer.get(layer.name)) is not None
    ]
    by_step: list[dict[str, float]] = []
    for phase in session.phases:
        apply_phase(phase, network, session.trainable)
        for step in range(max(start, phase.start), min(phase.stop, start + steps)):
            learned.clear()
            expected = _backprop_gradients(session, chosen, step)
            train_step(session, phase, step)
            by_step.append(
                {
                    name: agreement
                    for name, gradients in learned.items()
                    if (agreement := _agreement(_flat(gradients), _flat(expected[name]))) is not None
                }
            )
    for hook in hooks:
        hook.remove()
    names = set().union(*by_step)  # a signal may take some steps to the lowest of them
    return max((min(found.values()) for found in by_step if found and found.keys() == names), default=-1.0)


def _flat(gradients: list[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def _agreement(own: Tensor, theirs: Tensor) -> float | None:
    """The cosine, or the fraction of equal signs if that is larger; ``None`` where a gradient is zero."""
    if not own.any() or not theirs.any():
        return None
    cosine = torch.dot(own, theirs) / (own.norm() * theirs.norm())
    clear = theirs.abs() > ROUNDING * theirs.abs().max()
    return max(float(cosine), float((own.sign() == theirs.sign())[clear].float().mean()))


def _backprop_gradients(session: Session, layers: list[Layer], step: int) -> dict[str, list[Tensor]]:
    """The gradients of the readout's cross-entropy at the weights as they are, of the batch of that step."""
    model = session.network.model
    batch = session.batches.batch(step)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}  # a batch norm writes to them
    made = {id(parameter): parameter.detach().requires_grad_() for parameter in model.parameters()}
    # A weight that has two names is one value.
    wanted = {name: made[id(parameter)] for name, parameter in model.named_parameters(remove_duplicate=False)}
    seed_step(session.config, step, session.device.device)
    try:
        with torch.enable_grad(), session.device.autocast_unscaled():
            logits = functional_call(model, {**wanted, **buffers}, (batch.images,))
    except (RuntimeError, TypeError, ValueError) as error:
        raise NoAnswerError from error
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    own = {layer.name: [names[id(parameter)] for parameter in _trained(layer)] for layer in layers}
    flat = [wanted[name] for group in own.values() for name in group]
    gradients = torch.autograd.grad(cross_entropy(logits.float(), batch.targets), flat, materialize_grads=True)
    given = iter(gradients)
    return {layer: [next(given).cpu().float() for _ in group] for layer, group in own.items()}


def _keep_gradients(layer: Layer, into: dict[str, list[Tensor]]) -> Callable[..., Any]:
    def keep(*_: object) -> None:
        into[layer.name] = [
            torch.zeros(parameter.shape) if parameter.grad is None else parameter.grad.detach().cpu().float().clone()
            for parameter in _trained(layer)
        ]

    return keep


def _trained(layer: Layer) -> list[nn.Parameter]:
    return [parameter for parameter in layer.parameters() if parameter.requires_grad]
