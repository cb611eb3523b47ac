"""Contexts that put a module's state back, and walks over modules and graphs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)
"""The normalisation modules of torch."""


@contextmanager
def preserve_mode(*modules: nn.Module) -> Iterator[None]:
    """Put every submodule's training flag back when the context ends."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def eval_mode(*modules: nn.Module) -> Iterator[None]:
    """Eval mode for as long as the context lasts; every submodule's own mode is put back afterwards."""
    with preserve_mode(*modules):
        for module in modules:
            for part in module.modules():
                part.training = False
        yield


def autograd_nodes(tensor: Tensor) -> Iterator[Node]:
    """The nodes of the graph that a tensor was computed by, depth first, in the order of operations' inputs."""
    stack, seen = [tensor.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(parent for parent, _ in reversed(node.next_functions))


@contextmanager
def preserve_buffers(buffers: Iterable[Tensor]) -> Iterator[None]:
    """Put buffers (the running statistics of batch norms) back to their present values when the context ends."""
    kept = [(buffer, buffer.detach().clone()) for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)


@contextmanager
def freeze_batchnorm_stats(module: nn.Module) -> Iterator[None]:
    """Batch norms normalise by the batch but do not count it a second time.

    Their statistics may take part in a graph that is still to be run backward, so they are not put back afterwards but
    moved by nothing.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, nn.modules.batchnorm._NormBase)]
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
    seen = [count.clone() for count in counts]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for count, before in zip(counts, seen, strict=True):  # not one less: some may not have run again
            count.copy_(before)


class RngSnapshot:
    """Where torch's generators stand, so that what is drawn from here on can be drawn once more.

    Args:
        device: Where the network runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = [device] if device.type == "cuda" else []
        self._state = torch.get_rng_state()
        self._cuda_state = [torch.cuda.get_rng_state(each) for each in self._cuda]

    @contextmanager
    def replay(self) -> Iterator[None]:
        """Whatever is drawn meanwhile (which units dropout drops) is the same each time; later draws are unmoved."""
        with torch.random.fork_rng(self._cuda):
            torch.set_rng_state(self._state)
            for each, state in zip(self._cuda, self._cuda_state, strict=True):
                torch.cuda.set_rng_state(state, each)
            yield
