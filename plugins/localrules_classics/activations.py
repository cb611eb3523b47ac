"""Activations by name, the same for every model here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import nn

Activation = Literal["relu", "tanh", "elu", "leaky_relu", "selu", "hard_sigmoid"]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "leaky_relu": partial(nn.LeakyReLU, 0.01),  # the slope of Pogodin & Latham 2020 and of Nøkland & Eidnes 2019
    "selu": nn.SELU,
    "hard_sigmoid": partial(nn.Hardtanh, 0.0, 1.0),  # Scellier & Bengio 2017; torch's Hardsigmoid is a sixth as steep
}
