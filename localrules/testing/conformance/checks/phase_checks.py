"""Checks of phases: parts of a run in which some of the layers do not learn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from localrules.core.layer import Layer
from localrules.engine.step import train_steps
from localrules.testing.conformance.subject import Place, RuleUnderTest, abbreviate

STEPS = 2  # of a phase


def phases_train_their_layers_alone(subject: RuleUnderTest) -> None:
    """In a phase that trains some of the layers, the parameters of all others keep their bits."""
    for network in subject.networks:
        place = Place(network)
        plain = subject.session(place)
        phases: list[dict[str, object]] = [{"name": "last", "train_layers": [plain.network.hidden[-1].name]}]
        if plain.rule.trains(plain.network.readout):
            phases.append({"name": "readout", "train_layers": "readout"})
        session = subject.session(place, steps=STEPS * len(phases), phases=phases)
        layers = session.network.layers
        for phase in session.phases:
            before = _values(layers)
            train_steps(session, STEPS, start=phase.start)
            moved = [
                layer.name
                for layer, old, new in zip(layers, before, _values(layers), strict=True)
                if not phase.is_trainable(layer) and not all(map(torch.equal, old, new))
            ]
            assert not moved, f"on {place}, moved while only {phase.name} was to learn: {abbreviate(moved)}"


def _values(layers: Sequence[Layer]) -> list[list[Tensor]]:
    """A copy of each layer's parameters."""
    return [[parameter.detach().clone() for parameter in layer.parameters()] for layer in layers]
