"""Cutting a traced network: at every granularity it computes what the plain module computes."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from helpers.plain_networks import PLAIN, NormFirst, Pyramid, Residual, sequential
from torch import Tensor, fx, nn
from torch.nn import functional

from localrules import Learner, Network
from localrules.core.partition import UNEVEN, partition_balanced
from localrules.errors import UsageError
from localrules_fer.models.dense_fpn import DenseFPN

IMAGES = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
TINY = DenseFPN.Config(blocks=2, convolutions=2, growth=4, stem=8, lateral=8)


def make(name: str) -> nn.Module:
    torch.manual_seed(2)
    return DenseFPN(TINY, (1, 16, 16), 4) if name == "dense_fpn" else PLAIN[name]()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "granularity"),
    [*itertools.product([*PLAIN, "dense_fpn"], ["layer", 1, 2, 3]), ("dense_fpn", "block")],
)
def test_a_cut_network_computes_what_the_plain_module_computes(name: str, granularity: str | int) -> None:
    plain = make(name)
    network = Network.wrap(copy.deepcopy(plain), granularity=granularity, example=IMAGES[:2])
    for training in (True, False):  # the training pass moves the statistics that the other one uses
        outputs = []
        for module in (plain.train(training), network.train(training)):
            torch.manual_seed(3)  # of dropout
            logits = module(IMAGES)
            (gradient,) = torch.autograd.grad(logits.square().sum(), next(module.parameters()))
            outputs.append((logits, gradient))
        assert torch.equal(outputs[0][0], outputs[1][0])
        torch.testing.assert_close(outputs[0][1], outputs[1][1])
    assert list(network.model.state_dict()) == list(plain.state_dict())
    for one, other in zip(plain.state_dict().values(), network.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("granularity", ["layer", 2])
@pytest.mark.parametrize("name", PLAIN)
def test_every_parameter_has_one_layer(name: str, granularity: str | int) -> None:
    network = Network.wrap(make(name), granularity=granularity, example=IMAGES[:2])
    owned = [id(parameter) for layer in network.layers for parameter in layer.parameters()]
    assert sorted(owned) == sorted(id(parameter) for parameter in network.model.parameters())
    assert len(owned) == len(list(network.parameters()))  # the parts do not show up as parameters a second time


def test_a_layer_is_a_weight_bearing_operation_with_what_follows_it() -> None:
    network = Network.wrap(sequential(), example=IMAGES[:2])
    assert [layer.name for layer in network.layers] == ["0", "3", "8", "10"]
    assert [layer.out_shape for layer in network.layers] == [(4, 8, 8), (24,), (10,), (4,)]


def test_a_norm_in_front_of_a_convolution_belongs_to_the_layer_before() -> None:
    network = Network.wrap(NormFirst(), example=IMAGES[:2])
    assert [layer.name for layer in network.layers] == ["conv0", "convs.0", "convs.1", "convs.2", "classifier"]
    owned = [{tuple(parameter.shape) for parameter in layer.parameters()} for layer in network.layers]
    assert owned[0] == {(4, 1, 3, 3), (4,)}
    assert owned[3] == {(3, 10, 3, 3), (13,)}
    # What comes in front of the last convolution is the second one's to compute, so that reads the stem, too.
    assert [layer.input_layers for layer in network.layers[1:3]] == [("conv0",), ("convs.0", "conv0")]


def test_a_sum_belongs_to_the_latest_layer_that_it_reads() -> None:
    network = Network.wrap(Residual(), example=IMAGES[:2])
    assert {layer.name: layer.input_layers for layer in network.layers} == {
        "stem.0": (),
        "blocks.0.conv1": ("stem.0",),
        "blocks.0.conv2": ("blocks.0.conv1", "stem.0"),
        "blocks.1.conv1": ("blocks.0.conv2",),
        "blocks.1.conv2": ("blocks.1.conv1",),
        "blocks.1.shortcut": ("blocks.0.conv2", "blocks.1.conv2"),
        "fc": ("blocks.1.shortcut",),
    }


def brute_force(costs: list[int], groups: int) -> int:
    best = sum(costs)
    for borders in itertools.combinations(range(1, len(costs)), groups - 1):
        edges = [0, *borders, len(costs)]
        best = min(best, max(sum(costs[a:b]) for a, b in itertools.pairwise(edges)))
    return best


def test_the_dearest_group_is_as_cheap_as_any_division_makes_it() -> None:
    draws = random.Random(0)
    for _ in range(300):
        costs = [draws.choice([0, 1, 5, draws.randrange(1000)]) for _ in range(draws.randrange(1, 9))]
        groups = draws.randrange(1, len(costs) + 1)
        found = partition_balanced(costs, groups)
        assert found == sorted(found)
        assert set(found) == set(range(groups))
        sums = [sum(cost for cost, group in zip(costs, found, strict=True) if group == g) for g in range(groups)]
        assert max(sums) == brute_force(costs, groups)
    assert partition_balanced([1] * 11, 4) in ([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3], [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_parts_are_balanced_by_macs(parts: int) -> None:
    fine = [layer.macs for layer in Network.wrap(make("dense_fpn"), example=IMAGES[:2]).hidden]
    network = Network.wrap(make("dense_fpn"), granularity=parts, example=IMAGES[:2])
    assert len(network.hidden) == parts
    assert max(layer.macs for layer in network.hidden) <= UNEVEN * brute_force(fine, parts)
    assert sum(layer.macs for layer in network.hidden) == sum(fine)


def test_without_declared_blocks_a_block_ends_where_one_tensor_crosses() -> None:
    network = Network.wrap(Residual(), granularity="block", example=IMAGES[:2])
    assert [layer.name for layer in network.layers] == [
        "stem.0",
        "blocks.0.conv1..blocks.0.conv2",
        "blocks.1.conv1..blocks.1.shortcut",
        "fc",
    ]
    assert [layer.name for layer in Network.wrap(sequential(), granularity="block").layers] == ["0", "3", "8", "10"]


def test_parts_cut_no_residual_block() -> None:
    network = Network.wrap(Residual(), granularity=2, example=IMAGES[:2])
    assert [layer.name for layer in network.hidden] == ["stem.0..blocks.0.conv2", "blocks.1.conv1..blocks.1.shortcut"]


def test_more_parts_than_layers_are_refused_with_the_number() -> None:
    with pytest.raises(UsageError, match="cannot be cut into 7 parts") as found:
        Network.wrap(Residual(), granularity=7, example=IMAGES[:2])
    assert found.value.fix == "choose a number from 1 to 6"


def test_parts_need_an_example() -> None:
    with pytest.raises(UsageError, match="needs an example batch"):
        Network.wrap(Residual(), granularity=2)


def test_a_part_keeps_the_grid_of_each_of_its_ends() -> None:
    # One part holds everything below the readout, whose only readings are the two laterals', averaged to one cell.
    whole = Network.wrap(make("dense_fpn"), granularity=1, example=IMAGES[:2]).layers[0]
    assert whole.out_shapes == ((8, 8, 8), (8, 4, 4))
    assert whole.pool_size == 1
    # Here the middle part ends in a lateral and in a map that convolutions read.
    parts = Network.wrap(make("dense_fpn"), granularity=3, example=IMAGES[:2]).hidden
    mixed = [layer for layer in parts if len(set(layer.output_pool_sizes)) > 1]
    assert len(mixed) == 1
    assert mixed[0].pool_size is None
    assert [mixed[0].select_output(end).pool_size for end in range(2)] == [1, None]
    assert [mixed[0].select_output(end).out_shape for end in range(2)] == list(mixed[0].out_shapes)
    assert parts[-1].pool_size == 1


def test_the_networks_input_is_not_an_end_of_the_part_that_returns_it() -> None:
    network = Network.wrap(Pyramid(), example=IMAGES[:2])  # its last layer reads the input's mean
    assert [len(layer.out_shapes) for layer in network.layers] == [1] * 6
    assert network.layers[0].out_shape == (4, 8, 8)


def test_a_size_that_is_read_far_behind_is_not_an_end_either() -> None:
    class Sizes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.fc = nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Linear(256, 4)

        def forward(self, x: Tensor) -> Tensor:
            one = self.one(x)
            rows, side = one.shape[0], one.size(2)
            return self.fc(self.two(one).reshape(rows, side * side * 4))

    network = Network.wrap(Sizes(), example=IMAGES[:2])
    assert [layer.out_shapes for layer in network.layers] == [((4, 8, 8),), ((256,),), ((4,),)]


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.fc = nn.Linear(256, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x.flatten(1))
        if one.sum() > 0:
            one = one * 2
        return self.fc(one)


def test_what_cannot_be_traced_is_named_with_the_way_round_it() -> None:
    with pytest.raises(UsageError, match="graph of Untraceable cannot be traced") as found:
        Network.wrap(Untraceable())
    assert "test_partition.py, line" in found.value.where
    assert found.value.where.endswith("in forward")
    assert "control flow" in found.value.why
    assert "Network.wrap(model, layers=[" in found.value.fix
    assert len(Network.wrap(Untraceable(), ["one", "fc"], example=IMAGES).layers) == 2


class FunctionalDropout(Untraceable):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(functional.dropout(self.one(x.flatten(1)), 0.5, self.training))


class NoiseInTraining(Untraceable):
    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x.flatten(1))
        if self.training:
            one = one + torch.randn_like(one)
        return self.fc(one)


@pytest.mark.parametrize(("net", "operation"), [(FunctionalDropout, "dropout"), (NoiseInTraining, "randn_like")])
def test_a_forward_that_depends_on_the_training_flag_is_refused(net: type[nn.Module], operation: str) -> None:
    with pytest.raises(UsageError, match=f"'{operation}' reads the training flag") as found:
        Network.wrap(net())
    assert "nn.Dropout" in found.value.fix
    assert net().training


def test_a_module_without_weights_may_ask_for_its_mode() -> None:
    class Noise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.randn_like(x) if self.training else x

    plain = nn.Sequential(nn.Flatten(), nn.Linear(256, 6), Noise(), nn.Linear(6, 4))
    network = Network.wrap(plain, example=IMAGES[:2])
    assert torch.equal(network.eval()(IMAGES), plain(IMAGES))
    assert not torch.equal(network.train()(IMAGES), plain(IMAGES))


class _ReadsTheFlag(nn.Module):
    """An attention block as people write it: tokens, a functional dropout, parameters beside modules."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj, self.scale = nn.Linear(6, 18), nn.Linear(6, 6), nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        x = x + self.scale * self.proj(functional.scaled_dot_product_attention(q, k, v))
        return functional.dropout(x, 0.5, self.training)


class _Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(6), nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm(x)) if x.sum() > 0 else x - self.mlp(self.norm(x))


class _Tokens(nn.Module):
    """A small transformer: a class token and positions as bare parameters, a kernel normalised in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 6, 4, 4)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(1, 17, 6))
        self.blocks = nn.ModuleList([_ReadsTheFlag(), _Branching()])
        self.mixing = nn.Parameter(torch.randn(6, 6))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(torch.relu(tokens[:, 0] @ (self.mixing / self.mixing.norm())))


def test_a_part_that_cannot_be_traced_is_a_layer_of_its_own() -> None:
    plain = _Tokens()
    network = Network.wrap(plain, example=IMAGES[:2])
    assert [layer.name for layer in network.layers] == ["patch", "blocks.0", "blocks.1", "matmul", "head"]
    assert [layer.out_shape for layer in network.layers] == [(17, 6), (17, 6), (6,), (6,), (4,)]
    owned = {layer.name: {tuple(one.shape) for one in layer.parameters()} for layer in network.layers}
    assert {(1, 1, 6), (1, 17, 6)} < owned["patch"]
    assert owned["matmul"] == {(6, 6)}
    for training in (False, True):
        results = []
        for module in (plain.train(training), network.train(training)):
            torch.manual_seed(0)
            results.append(module(IMAGES))
        assert torch.equal(*results)


def test_a_layer_that_nothing_reads_is_named() -> None:
    class Unread(Untraceable):
        def forward(self, x: Tensor) -> Tensor:
            self.one(x.flatten(1))
            return self.fc(x.flatten(1)[:, :6] * 1.0)

    with pytest.raises(UsageError, match="nothing reads the output of 'one'"):
        Network.wrap(Unread())


def test_a_network_returns_its_logits_and_nothing_else() -> None:
    class Two(Untraceable):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            one = self.one(x.flatten(1))
            return self.fc(one), one

    with pytest.raises(UsageError, match="not that of its last operation"):
        Network.wrap(Two())


def test_one_weight_bearing_operation_is_too_few() -> None:
    with pytest.raises(UsageError, match="fewer than two weight-bearing operations"):
        Network.wrap(nn.Sequential(nn.Flatten(), nn.Linear(256, 4)))


def test_blocks_may_be_of_several_modules() -> None:
    network = Network.wrap(make("dense_fpn"), granularity="block", example=IMAGES[:2])
    assert [layer.name for layer in network.layers] == ["stem..laterals.0", "downs.0..laterals.1", "readout"]
    assert [layer.input_layers for layer in network.layers] == [
        (),
        ("stem..laterals.0",),
        ("stem..laterals.0", "downs.0..laterals.1"),
    ]
    # Readers see the laterals over the readout's grid; the block itself is read by nothing but what learns with it.
    assert [layer.out_shapes for layer in network.hidden] == [((8, 8, 8),), ((8, 4, 4),)]
    assert [layer.pool_size for layer in network.hidden] == [1, 1]


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ([("stem", "blocks.0"), ("downs.0", "blocks.1")], "'laterals.0' lies in no block"),
        ([("stem", "blocks.*"), "laterals.*", "downs.0"], "do not run one after the other"),
    ],
)
def test_blocks_that_leave_a_layer_out_or_are_interrupted_are_refused(
    blocks: list[str | tuple[str, ...]], said: str
) -> None:
    model = make("dense_fpn")
    assert isinstance(model, DenseFPN)
    model.layer_spec = replace(model.layer_spec, blocks=blocks)
    with pytest.raises(UsageError, match=said):
        Network.wrap(model, granularity="block", example=IMAGES[:2])


class _Scaled(nn.Module):
    """Two convolutions; further parameters of ``forward`` have defaults."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.readout = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

    def features(self, images: Tensor, scale: float | None) -> Tensor:
        hidden = functional.relu(self.first(images if scale is None else scale * images))
        return hidden + functional.relu(self.second(hidden))

    def forward(self, images: Tensor, alpha: float = 0.5, *, scale: float | None = None, mask: Any = None) -> Tensor:
        if mask is not None:
            images = images * mask
        return self.readout(alpha * self.features(images, scale).mean((2, 3)))


class _ScaledFirst(_Scaled):
    def forward(self, images: Tensor, scale: float = 2.0, *more: Tensor, **options: Tensor) -> Tensor:
        return super().forward(images, scale=scale)


@pytest.mark.parametrize("kind", [_Scaled, _ScaledFirst])
@pytest.mark.parametrize("granularity", ["layer", 1, 2])
def test_parameters_of_forward_with_a_default_keep_it(kind: type[nn.Module], granularity: Any) -> None:
    torch.manual_seed(0)
    model, images = kind(), torch.randn(2, 1, 8, 8)
    network = Network.wrap(model, granularity=granularity, example=images)
    assert torch.equal(network(images), model(images))


class _Masked(_Scaled):
    def forward(self, images: Tensor, lengths: Tensor, alpha: float = 1.0) -> Tensor:
        return super().forward(images, alpha)


def test_a_second_required_input_is_refused_by_name() -> None:
    with pytest.raises(UsageError) as refused:
        Network.wrap(_Masked())
    assert "lengths" in refused.value.where
    assert "alpha" not in refused.value.where


class _Disguised(_Scaled):
    """A network that computes something else while it is traced."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images, 1.0 if isinstance(images, Tensor) else 0.5)


def test_a_traced_graph_that_computes_something_else_is_refused() -> None:
    with pytest.raises(UsageError, match="computes something else"):
        Network.wrap(_Disguised(), example=torch.randn(2, 1, 8, 8))


class UnderContext(nn.Module):
    """A backbone in a context of torch, below a head."""

    def __init__(self, context: Callable[[], AbstractContextManager[None]], *, frozen: bool = False) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.neck, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        self.context = context
        self.features: Tensor | None = None
        self.backbone.requires_grad_(not frozen)

    def forward(self, inputs: Tensor) -> Tensor:
        with self.context():
            self.features = self.backbone(inputs)
        return self.head(self.neck(self.features).relu())


NO_AUTOCAST = partial(torch.autocast, "cpu", enabled=False)
VECTORS = torch.randn(8, 8)


@pytest.mark.parametrize("layers", [None, ["backbone.0", "neck", "head"]])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_layers_that_forward_runs_without_gradients_must_be_frozen(context: Any, layers: list[str] | None) -> None:
    with pytest.raises(UsageError, match=r"under torch.no_grad\(\)") as refused:
        Network.wrap(UnderContext(context), layers, example=VECTORS)
    assert "requires_grad_(False)" in refused.value.fix


def test_a_frozen_backbone_may_run_without_gradients() -> None:
    model = UnderContext(torch.no_grad, frozen=True)
    before = deepcopy(model.state_dict())
    Learner(model, "local-ce", example=VECTORS, num_classes=4).step(VECTORS, torch.arange(8) % 4)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed >= {"head.weight", "head.bias"}
    assert not any(name.startswith("backbone") for name in changed)


def test_a_forward_that_turns_autocast_off_is_not_cut_there() -> None:
    with pytest.raises(UsageError, match=r"under torch.autocast\(enabled=False\)"):
        Network.wrap(UnderContext(NO_AUTOCAST), example=VECTORS)
    inside = nn.Sequential(UnderContext(NO_AUTOCAST), nn.Linear(4, 4))
    assert [layer.name for layer in Network.wrap(inside, example=VECTORS).layers] == ["0", "1"]


def test_tracing_leaves_no_placeholder_in_the_model() -> None:
    model = nn.Sequential(UnderContext(nullcontext), nn.Linear(4, 4))
    network = Network.wrap(model, example=VECTORS)
    assert not isinstance(model[0].features, fx.Proxy)
    torch.testing.assert_close(network(VECTORS), model(VECTORS))
