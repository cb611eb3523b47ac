"""State that is put back after use, and values that are read from a device."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

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


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision as float32, for sums and small differences; other types as they are."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


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


def active_function_modes() -> list[TorchFunctionMode]:
    """The function modes of this thread: what watches or replaces torch's functions, the outermost first."""
    return list(_get_current_function_mode_stack())


@contextmanager
def function_modes(modes: Iterable[TorchFunctionMode]) -> Iterator[None]:
    """Function modes of a thread in force on this one; those that are already are not entered twice."""
    here = active_function_modes()
    with ExitStack() as stack:
        for mode in modes:
            if not any(mode is known for known in here):
                stack.enter_context(mode)
        yield


class RngSnapshot:
    """The state of torch's generators, so that later draws can be repeated.

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


def upload(values: Tensor, device: torch.device | str) -> Tensor:
    """Values of the host on a device, without waiting for what the device is still computing.

    An ordinary copy to a GPU waits for all that was queued before it; from pinned memory it is queued itself.
    """
    if values.device.type == "cpu" and torch.device(device).type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def is_read_freely(values: Tensor) -> bool:
    """Whether Python may look at values without waiting for a device: on a CPU."""
    return values.device.type == "cpu"


_ENVIRONMENT = ("KINETO_LOG_LEVEL", "PYTORCH_NVML_BASED_CUDA_CHECK")


@contextmanager
def preserve_global_state() -> Iterator[None]:
    """Put the global state of torch, and the random generators of Python and NumPy, back when the context ends.

    Of torch: threads, deterministic algorithms, TF32, the random generators of the CPU and of GPUs, autocast's cache,
    and the environment variables that torch and Fabric read.
    """
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    cache = torch.is_autocast_cache_enabled()
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()
    cuda_generators = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    environment = {name: os.environ.get(name) for name in _ENVIRONMENT}
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(("warn" if warn_only else "error") if deterministic else "default")
        if warn_only != torch.is_deterministic_algorithms_warn_only_enabled():  # it may be set while the rest is off
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.set_autocast_cache_enabled(cache)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
        torch.set_rng_state(generators[0])
        random.setstate(generators[1])
        np.random.set_state(generators[2])
        if cuda_generators:
            torch.cuda.set_rng_state_all(cuda_generators)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def read_scalars(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalar tensors as numbers, in order, with one transfer from each device that they are on.

    Raises:
        ValueError: A tensor has more or fewer than one element.
    """
    names_on: dict[torch.device, list[str]] = {}
    for name, value in values.items():
        if value.numel() != 1:
            raise ValueError(f"{name!r} is not a scalar: it has the shape {tuple(value.shape)}")
        names_on.setdefault(value.device, []).append(name)
    found: dict[str, float] = {}
    for device, names in names_on.items():
        # float64 holds every float32, bfloat16 and count; Apple's GPUs do not have it.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        stacked = torch.stack([values[name].detach().reshape(()).to(dtype) for name in names])
        found |= zip(names, stacked.tolist(), strict=True)
    return {name: found[name] for name in values}
