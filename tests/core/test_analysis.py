"""Shapes, readers, parameters and MACs, against arithmetic by hand."""

from __future__ import annotations

import torch
from helpers.tiny_sessions import LOCAL_RULES, dense

from localrules import Network
from localrules.engine.layer_summary import layer_table
from localrules_classics.mlp import MLP
from localrules_fer.models.dense_fpn import DenseFPN, DenseFPNSmall


def convolution(side: int, inputs: int, outputs: int, kernel: int) -> int:
    return side * side * inputs * outputs * kernel * kernel


def test_every_row_of_a_tiny_dense_fpn() -> None:
    rows = {row["name"]: row for row in layer_table(dense(LOCAL_RULES["hsic"]))}
    # 16 x 16 images; stem 8; two blocks of two convolutions, growth 4 and 8; laterals 8.
    expected = {
        "stem": ([], [1, 16, 16], [8, 8, 8], 9 * 8 + 1 + 16, convolution(8, 1, 8, 3)),
        "blocks.0.convs.0": (["stem"], [8, 8, 8], [4, 8, 8], 9 * 8 * 4 + 1 + 8, convolution(8, 8, 4, 3)),
        "blocks.0.convs.1": (
            ["stem", "blocks.0.convs.0"], [12, 8, 8], [4, 8, 8], 9 * 12 * 4 + 2 + 8, convolution(8, 12, 4, 3),
        ),
        "laterals.0": (
            ["stem", "blocks.0.convs.0", "blocks.0.convs.1"],
            [16, 8, 8], [8, 8, 8], 16 * 8 + 3 + 16, convolution(8, 16, 8, 1),
        ),
        "downs.0": (
            ["stem", "blocks.0.convs.0", "blocks.0.convs.1"],
            [16, 8, 8], [16, 4, 4], 9 * 16 * 16 + 3 + 32, convolution(4, 16, 16, 3),
        ),
        "blocks.1.convs.0": (["downs.0"], [16, 4, 4], [8, 4, 4], 9 * 16 * 8 + 1 + 16, convolution(4, 16, 8, 3)),
        "blocks.1.convs.1": (
            ["downs.0", "blocks.1.convs.0"], [24, 4, 4], [8, 4, 4], 9 * 24 * 8 + 2 + 16, convolution(4, 24, 8, 3),
        ),
        "laterals.1": (
            ["downs.0", "blocks.1.convs.0", "blocks.1.convs.1"],
            [32, 4, 4], [8, 4, 4], 32 * 8 + 3 + 16, convolution(4, 32, 8, 1),
        ),
        # level weights, scores 16 -> 4 -> 16, classifier
        "readout": (
            ["laterals.0", "laterals.1"], [8, 8, 8], [4],
            2 + 16 * 4 + 4 + 4 * 16 + 16 + 16 * 4 + 4, 16 * 4 + 4 * 16 + 16 * 4,
        ),
    }  # fmt: skip
    assert list(rows) == list(expected)
    for name, (inputs, in_shape, out_shape, parameters, macs) in expected.items():
        row = rows[name]
        assert row["inputs"] == inputs, name
        assert row["in_shape"] == in_shape, name
        assert row["out_shape"] == out_shape, name
        assert row["parameters"] == parameters, name
        assert row["macs"] == macs, name
        assert row["rule"] == ("cross-entropy" if name == "readout" else "HSIC")


def test_an_mlp_by_hand() -> None:
    network = Network.wrap(MLP(MLP.Config(hidden=(12, 10)), (1, 8, 8), 4), example=torch.zeros(2, 1, 8, 8))
    assert [layer.macs for layer in network.layers] == [64 * 12, 12 * 10, 10 * 4]
    assert [layer.parameter_count for layer in network.layers] == [64 * 12 + 36, 12 * 10 + 30, 10 * 4 + 4]
    assert [layer.in_shape for layer in network.layers] == [(64,), (12,), (10,)]
    assert [layer.depth for layer in network.layers] == [1, 2, 3]


def test_the_sizes_that_are_promised() -> None:
    image = torch.zeros(2, 1, 48, 48)
    full = Network.wrap(DenseFPN(DenseFPN.Config(), (1, 48, 48), 7), example=image)
    assert 6.5e6 < sum(layer.parameter_count for layer in full.layers) < 7.5e6
    assert 0.5e9 < sum(layer.macs for layer in full.layers) < 0.7e9
    assert [layer.out_shape[1:] for layer in full.layers if layer.name.startswith("laterals")] == [
        (24, 24),
        (12, 12),
        (6, 6),
    ]
    small = Network.wrap(DenseFPNSmall(DenseFPNSmall.Config(), (1, 48, 48), 7), example=image)
    assert 0.4e6 < sum(layer.parameter_count for layer in small.layers) < 0.6e6


def test_a_table_is_the_same_for_every_batch_size() -> None:
    tables = []
    for samples in (1, 2, 5):
        network = Network.wrap(
            MLP(MLP.Config(hidden=(12,)), (1, 8, 8), 4).eval(), example=torch.zeros(samples, 1, 8, 8)
        )
        tables.append([(layer.in_shape, layer.out_shapes, layer.macs) for layer in network.layers])
    assert tables[0] == tables[1] == tables[2]


def test_a_layer_of_a_dense_block_is_accompanied_by_its_inputs_and_no_other_is() -> None:
    layers = {layer.name: layer.inputs_visible_downstream for layer in dense(LOCAL_RULES["hsic"]).network.layers}
    assert [name for name, inputs_visible_downstream in layers.items() if inputs_visible_downstream] == [
        name for name in layers if ".convs." in name
    ]


def test_no_layer_of_a_chain_is_accompanied() -> None:
    network = Network.wrap(MLP(MLP.Config(hidden=(5, 5)), (1, 8, 8), 3), example=torch.zeros(2, 1, 8, 8))
    assert not any(layer.inputs_visible_downstream for layer in network.layers)
