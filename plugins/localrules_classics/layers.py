"""A layer as every model here builds it: linear operation or convolution, norm, activation, pooling."""

from __future__ import annotations

from collections import OrderedDict

from pydantic import Field
from torch import nn

from localrules.core.objective import RuleConfig
from localrules.errors import UsageError
from localrules_classics.activations import ACTIVATIONS, Activation


class LayerOptions(RuleConfig):
    """Options that every model here has."""

    activation: Activation = Field(
        "relu",
        description="What follows matrix and norm; relu is the paper's. leaky_relu has slope 0.01, hard_sigmoid clamps "
        "to 0..1.",
    )
    norm: bool = Field(True, description="Batch norm between convolution and activation (the paper's).")


DROPOUT = (
    "Fraction of its inputs that a layer drops in training, none of the network's input (ours: none). A layer's own "
    "objective sees all of its output, as in Nøkland & Eidnes 2019 and Pogodin & Latham 2020."
)


def dense_layer(
    inputs: int, units: int, *, activation: Activation, norm: bool, dropout: float = 0, bias: bool = True
) -> nn.Sequential:
    """Dropout of what it reads, matrix, norm, activation."""
    dropped: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
    normed: list[nn.Module] = [nn.BatchNorm1d(units)] if norm else []
    return nn.Sequential(*dropped, nn.Linear(inputs, units, bias), *normed, ACTIVATIONS[activation]())


def dense_readout(inputs: int, classes: int, dropout: float) -> nn.Module:
    """The classifier on top, which drops like any reader."""
    linear = nn.Linear(inputs, classes)
    return nn.Sequential(nn.Dropout(dropout), linear) if dropout else linear


def conv_layer(
    inputs: int,
    channels: int,
    kernel: int,
    *,
    activation: Activation,
    norm: bool,
    stride: int = 1,
    padding: tuple[int, int] | None = None,
    pool: nn.Module | None = None,
    dropout: float = 0,
) -> nn.Sequential:
    """Dropout of whole maps that it reads, convolution, norm, activation, pooling.

    Args:
        inputs: Channels that it reads.
        channels: Channels that it gives.
        kernel: Side of the kernel.
        activation: By name.
        norm: Batch norm; the convolution then has no bias, which the norm would take away again.
        stride: Of the convolution.
        padding: Rows and columns of zeros on each side; by default as many as keep the size at stride 1.
        pool: What follows the activation.
        dropout: Fraction of the maps.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if dropout:
        parts["dropout"] = nn.Dropout2d(dropout)
    parts["conv"] = nn.Conv2d(inputs, channels, kernel, stride, padding or kernel // 2, bias=not norm)
    if norm:
        parts["norm"] = nn.BatchNorm2d(channels)
    parts["activation"] = ACTIVATIONS[activation]()
    if pool is not None:
        parts["pool"] = pool
    return nn.Sequential(parts)


def scaled(channels: int, factor: float) -> int:
    """A number of channels multiplied by a factor, rounded down; at least 1."""
    return max(1, int(channels * factor))


def global_readout(channels: int, classes: int) -> nn.Sequential:
    """The mean of each map, and a linear classifier on the means."""
    return nn.Sequential(
        OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), classifier=nn.Linear(channels, classes))
    )


def initialise_as_he(model: nn.Module) -> None:
    """Kernels drawn as in He et al. 2015 (https://arxiv.org/abs/1502.01852), for the readers: variance 2 / fan out."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def require_side(model: str, shape: tuple[int, ...], least: int) -> None:
    """Raises UsageError when an image would be halved away before the last layer."""
    if min(shape[1:]) < least:
        raise UsageError(
            f"the images are too small for {model}",
            where=f"images of {' x '.join(map(str, shape[1:]))} pixels",
            why=f"it halves them again and again, and needs {least} x {least} at least",
            fix="choose a model that takes images of any size: resnet20, lenet or mlp",
        )
