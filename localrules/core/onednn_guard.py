"""A guard against oneDNN kernels that write past their buffers on x86 CPUs.

The weight gradient of a 1x1 convolution with a stride above 1, no padding, one group and few input channels (of a
transposed one: output channels), in float32 and channels-last, corrupts the heap: the process aborts, or the gradient
is wrong. Few are fewer than 8 where oneDNN takes its kernels for AVX2, and fewer than 16 where it takes those for
AVX-512, which larger maps or several threads bring out. It suffices that the images *or* the weight lie
channels-last. The input gradient, other kernel sizes, several groups, padding, bfloat16 and contiguous tensors are
sound.

The fault is in torch 2.14.1 (oneDNN 3.12.0); for AVX2 it is reported as https://github.com/uxlfoundation/oneDNN/issues/6035.
The lines at fault stand in oneDNN 3.14.0, too, and no release of torch is known to be without them: so every version is
guarded. Once one is fixed, :func:`channels_at_risk` is the place to say so.

Where a network or a rule has such a convolution, torch's convolution backward on CPUs is replaced for the rest of the
process: the calls at risk compute the gradients of weight and bias from contiguous copies, all others go to torch's own
kernel with the arguments they came with. Elsewhere nothing is replaced and no step runs any code of ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, library, nn
from torch._C import DispatchKey
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode

_installed: list[library.Library] = []


def channels_at_risk() -> int:
    """Number of channels that oneDNN's kernels process at once on this CPU; with fewer they are at fault.

    Decided by the CPU and by ``ONEDNN_MAX_CPU_ISA``, as oneDNN does; 0 if it has no such kernel.
    """
    if not torch.backends.mkldnn.is_available() or not torch.cpu._is_avx2_supported():
        return 0
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    if limit in ("SSE41", "AVX"):
        return 0
    return 8 if limit.startswith("AVX2") or not torch.cpu._is_avx512_supported() else 16


def guard(module: nn.Module) -> None:
    """Install the guard if a module holds a convolution at risk, or a bare parameter of its shape."""
    if not _installed and any(map(_holds_one, module.modules())):
        _install()


@contextmanager
def guarding() -> Iterator[None]:
    """Install the guard if a convolution at risk runs in this context, from a module or a function."""
    if _installed or not channels_at_risk():
        yield
        return
    with _Watch() as watch:
        yield
    if watch.found:
        _install()


def _holds_one(module: nn.Module) -> bool:
    if isinstance(module, _ConvNd):
        channels = module.out_channels if module.transposed else module.in_channels
        return module.groups == 1 and _at_risk(channels, module.kernel_size, module.stride)
    # What a module does with a parameter of its own is not known; the example pass may not come by it.
    return any(
        parameter.dim() == 4 and _at_risk(parameter.shape[1], parameter.shape[2:], (2, 2))
        for parameter in module.parameters(recurse=False)
        if not isinstance(parameter, nn.parameter.UninitializedParameter)
    )


def _at_risk(channels: int, kernel: Sequence[int], stride: Sequence[int]) -> bool:
    return all(size == 1 for size in kernel) and any(step != 1 for step in stride) and 0 < channels < channels_at_risk()


class _Watch(TorchDispatchMode):
    """Notes whether a convolution at risk runs; of any size, layout and type, since these may differ in a step."""

    found = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            weight, stride, groups = args[1], args[3], args[8]
            # Dimension 1 is a transposed convolution's output channels, and another's input channels.
            self.found |= groups == 1 and _at_risk(weight.shape[1], weight.shape[2:], stride)
        return func(*args, **(kwargs or {}))


def _install() -> None:
    kernels = library.Library("aten", "IMPL")
    kernels.impl("convolution_backward", _convolution_backward, "CPU")
    _installed.append(kernels)  # a library that nobody holds takes its kernels back


def _convolution_backward(
    grad: Tensor,
    images: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    options = (bias_sizes, stride, padding, dilation, transposed, output_padding, groups)
    # The kernel copies every stride-th position of the larger maps, if these divide evenly.
    larger, smaller = (grad, images) if transposed else (images, grad)
    faulty = (
        (output_mask[1] or output_mask[2])
        and groups == 1
        and weight.dtype == torch.float32
        and _at_risk(weight.shape[1], weight.shape[2:], stride)
        and not any(padding)
        and all(
            size == step * positions
            for size, step, positions in zip(larger.shape[2:], stride, smaller.shape[2:], strict=True)
        )
    )
    if not faulty:
        return _torchs_own(grad, images, weight, *options, output_mask)
    # Not `contiguous()`: with one channel it returns maps that lie channels-last as they are.
    copies = [tensor.clone(memory_format=torch.contiguous_format) for tensor in (grad, images, weight)]
    _, of_weight, of_bias = _torchs_own(*copies, *options, [False, output_mask[1], output_mask[2]])
    of_images = None
    if output_mask[0]:
        of_images, _, _ = _torchs_own(grad, images, weight, *options, [True, False, False])
    return of_images, of_weight, of_bias


def _torchs_own(*args: Any) -> Any:
    return torch.ops.aten.convolution_backward.default._op_dk(DispatchKey.CompositeExplicitAutograd, *args)
