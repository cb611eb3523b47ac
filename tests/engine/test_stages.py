"""Processes that divide the layers train to the bits of one process."""

from __future__ import annotations

import sys

import pytest
import torch
from helpers.exhaustive import cases_to_run, few
from helpers.stages import MODELS, Case, Found, compare_stages
from torch import Tensor

from localrules.core.layer import Layer
from localrules.engine.pipeline.absent import absent, is_absent
from localrules.engine.pipeline.messages import Header, MessageFormat, layout_of
from localrules.engine.pipeline.stages import Stage, cut_into_stages
from localrules.errors import LocalRulesError

pytestmark = pytest.mark.slow

PROCESSES = 3
MIXTURE = {"name": "mixed", "layers": [{"layers": "stages.0.*", "name": "softhebb"}, {"layers": "*", "name": "hsic"}]}
CLIPPED = {"name": "muon", "grad_clip_norm": 0.1, "step_timing": "pass"}
CASES = [
    Case("local-ce", "DrawsBetween"),
    *(Case(rule, model) for model in MODELS for rule in ("hsic", "local-ce", "sgr")),
    *(Case(rule, "dense_fpn_small") for rule in ("hsic-projected", "predsim", "softhebb")),
    Case("predsim", "vgg8b", (("phases", "two-phase"), ("steps", 10), ("optimizer", CLIPPED))),
    Case("softhebb", "resnet20", (("checkpoint_every", 5),)),
    Case("sgr", "resnet20", (("phases", "two-phase"), ("steps", 10))),
    Case("hsic-projected", "resnet20", (("targets", {"label_smoothing": 0.1}), ("precision", "bf16"))),
    Case("local-ce", "vgg8b", (("ema_decay", 0.5), ("phases", "two-phase"), ("steps", 10))),
    Case(MIXTURE, "vgg8b"),
    Case("local-ce", "dense_fpn_small", (("granularity", "window:2"),)),
    Case("predsim", "resnet20", (("granularity", "window:3"), ("phases", "two-phase"), ("steps", 10))),
    Case("local-ce", "DrawsBetween", (("granularity", "window:2"),)),
    Case("hsic", "dense_fpn_small", (("granularity", "window:5"),)),
    Case("local-ce", "vgg8b", (("granularity", "window:2"), ("optimizer", CLIPPED))),
    Case("softhebb", "vgg8b"),
    Case("hsic-projected", "vgg8b"),
    Case("predsim", "resnet20"),
    Case("forward-forward", "vgg8b"),
]
RUN = {*map(str, CASES[:5] + CASES[10:-6])}
"""The others are rules and networks of these, in other pairs."""


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest) -> dict[str, Found]:
    """All cases, in one group of processes."""
    return compare_stages(cases_to_run(request), PROCESSES)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server")
@pytest.mark.parametrize("case", few(CASES, RUN))
def test_the_whole_state_has_the_bits_of_one_process(case: Case, found: dict[str, Found]) -> None:
    assert found[str(case)].equal
    stages = found[str(case)].stages
    assert stages is not None
    assert len(stages) == PROCESSES
    assert min(stages) > 0


def layers(**reads: str) -> list[Layer]:
    """Layers by name, and the names of the layers that each reads."""
    module = torch.nn.Identity()
    return [Layer(name, module, input_layers=tuple(sources.split())) for name, sources in reads.items()]


def test_the_slowest_stage_is_as_fast_as_it_can_be_and_what_crosses_a_border_travels() -> None:
    dense = layers(a="", b="a", c="a b", d="c", e="b d")
    seconds = {"a": 0.3, "b": 0.1, "c": 0.1, "d": 0.1, "e": 0.2}
    assert cut_into_stages(seconds, dense, 3) == [
        Stage(0, 0, (), ("a",)),
        Stage(1, 2, ("a",), ("b", "c")),
        Stage(3, 4, ("b", "c"), ()),
    ]


MAPS = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).view(2, 3, 4, 4)


@pytest.mark.parametrize(
    "tensor",
    [
        MAPS,
        MAPS.contiguous(memory_format=torch.channels_last),
        MAPS[:, 1:, ::2],
        MAPS[:, :1, :1, :1].expand(2, 3, 4, 4),
        MAPS.bfloat16(),
        torch.tensor([True, False, True]),
        torch.tensor(3.0),
        torch.empty(0, 2),
    ],
)
def test_tensors_arrive_with_their_layout_in_memory(tensor: Tensor) -> None:
    form = MessageFormat(layout_of([tensor, MAPS]))
    header, (arrived, beside) = form.unpack(form.pack(Header(7, True), [tensor, MAPS]))
    assert header == Header(7, True)
    assert torch.equal(arrived, tensor)
    assert (arrived.stride(), arrived.dtype) == (tensor.stride(), tensor.dtype)
    assert torch.equal(beside, MAPS)
    assert not arrived.numel() or arrived.data_ptr() % 64 == 0


def test_another_layout_than_that_of_the_first_steps_is_an_error() -> None:
    form = MessageFormat([MAPS])
    with pytest.raises(LocalRulesError, match="another size or memory layout"):
        form.pack(Header(0, False), [MAPS.contiguous(memory_format=torch.channels_last)])


def test_what_is_computed_from_absent_values_is_absent() -> None:
    missing = absent(MAPS)
    for value in (
        missing + MAPS,
        torch.cat([MAPS, torch.nn.functional.interpolate(missing, scale_factor=2)[:, :, :4, :4]], 1),
        torch.nn.MaxPool2d(2)(missing),
    ):
        assert is_absent(value)
    assert not is_absent(MAPS + 1)
    assert missing.mean((2, 3)).shape == (2, 3)
