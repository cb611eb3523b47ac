"""Strided 1x1 convolutions of few channels learn without writing past a buffer of oneDNN's, at no cost to others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.exhaustive import few

pytestmark = pytest.mark.slow

ISAS = ["AVX2", "DEFAULT"]
PRELUDE = """
import torch
from torch import nn
from torch.nn import functional
from localrules import Learner
from localrules.core import onednn_guard
from localrules.core.network import Network
LAST = torch.channels_last
"""
LOOP = """
for channels in (1, 3, 5, 7, 9, 15):
    for side in (12, 24, 48, 64):
        convolution = nn.Conv2d(channels, 8, 1, stride=2).to(memory_format=LAST)
        onednn_guard.guard(convolution)
        images = torch.randn(16, channels, side, side).to(memory_format=LAST)
        for _ in range(5):
            convolution(images).square().mean().backward()
"""
TRANSPOSED = """
convolution = nn.ConvTranspose2d(16, 3, 1, stride=2, output_padding=1).to(memory_format=LAST)
onednn_guard.guard(convolution)
images = torch.randn(16, 16, 32, 32).to(memory_format=LAST)
for _ in range(5):
    convolution(images).square().mean().backward()
"""
FUNCTIONAL = """
class Folded(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 3))
    def forward(self, images):
        return functional.conv2d(images, self.weight[:, :, None, None] * 2, stride=2)
model = nn.Sequential(Folded(), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 32 * 32, 4))
learner = Learner(model, "local-ce", example=torch.zeros(2, 3, 64, 64), num_classes=4, layers=["0", "3"])
for _ in range(5):
    learner.step(torch.randn(16, 3, 64, 64).to(memory_format=LAST), torch.randint(4, (16,)))
assert onednn_guard._installed
"""
RESNET = """
from localrules.registry.registry import Registry
kind = Registry.load().resolve("model", "resnet18")
model = kind(kind.Config(width=1), (1, 48, 48), 7).to(memory_format=LAST)
for rule in ("hsic", "backprop"):
    learner = Learner(model, rule, example=torch.zeros(2, 1, 48, 48), num_classes=7)
    for _ in range(3):
        learner.step(torch.randn(16, 1, 48, 48).to(memory_format=LAST), torch.randint(7, (16,)))
"""
EXACT = """
torch.manual_seed(0)
images, weight = torch.randn(4, 3, 8, 8).to(memory_format=LAST), torch.randn(8, 3, 1, 1)
def of(dtype, cut):
    x, w = (tensor.detach().to(dtype).requires_grad_() for tensor in (images, weight))
    out = functional.conv2d(x[:, :, ::2, ::2], w) if cut else functional.conv2d(x, w, stride=2)
    out.square().sum().backward()
    return x.grad, w.grad
for one, exact in zip(of(torch.float32, False), of(torch.float64, True)):
    torch.testing.assert_close(one.double(), exact, rtol=1e-4, atol=1e-3)
"""


def run(command: list[str], isa: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own, where the C library checks for writes past a buffer; a broken heap may hang."""
    checks = {"MALLOC_CHECK_": "3", "ONEDNN_MAX_CPU_ISA": isa, "OMP_NUM_THREADS": "1"}
    checks["LD_PRELOAD"] = "libc_malloc_debug.so.0"  # where there is none, the loader says so and goes on
    environment = {**os.environ, **checks}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("isa", few(ISAS, {"AVX2"}))
def test_the_heap_stays_whole(isa: str, tmp_path: Path) -> None:
    scripts = {"loop": LOOP, "transposed": TRANSPOSED, "functional": FUNCTIONAL, "resnet18": RESNET}
    told = "".join(f"{script}print({name!r}, flush=True)\n" for name, script in scripts.items())
    done = run([sys.executable, "-c", PRELUDE + told], isa, tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, [*scripts]), done.stderr[-2000:]


def test_guarded_gradients_are_right_and_others_keep_their_bits(tmp_path: Path) -> None:
    script = """
def gradients(channels, stride):
    torch.manual_seed(0)
    convolution = nn.Conv2d(channels, 8, 1, stride=stride).to(memory_format=LAST)
    images = torch.randn(4, channels, 8, 8).to(memory_format=LAST).requires_grad_()
    convolution(images).square().sum().backward()
    return images.grad, convolution.weight.grad, convolution.bias.grad
others = [(16, 2), (3, 1), (32, 2)]
before = [gradients(*other) for other in others]
model = nn.Sequential(nn.Conv2d(16, 8, 1, stride=2), nn.Flatten(), nn.Linear(128, 2))
Network.wrap(model, example=torch.zeros(2, 16, 8, 8))
assert not onednn_guard._installed
onednn_guard.guard(nn.Conv2d(3, 8, 1, stride=2))
assert onednn_guard._installed
for other, expected in zip(others, before):
    assert all(map(torch.equal, gradients(*other), expected)), other
"""
    done = run([sys.executable, "-c", PRELUDE + script + EXACT], "AVX2", tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="the kernels are those of x86")
@pytest.mark.parametrize(("limit", "channels"), [("AVX2", 8), ("AVX", 0), ("SSE41", 0)])
def test_it_follows_what_onednn_is_limited_to(limit: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from localrules.core.onednn_guard import channels_at_risk

    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert channels_at_risk() == channels
