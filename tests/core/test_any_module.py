"""Modules as their authors write them: state that moves, weights read in odd ways, outputs that are not one tensor."""

from __future__ import annotations

import copy
import pickle
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_sessions import as_model
from torch import Tensor, nn

from localrules import Learner, Network, isolated_forward
from localrules.engine.step import train_steps
from localrules.errors import UsageError
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_supervised.local_ce import LocalCrossEntropy

EXAMPLE = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 3


def refusal(model: nn.Module, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        Network.wrap(model, example=options.pop("example", EXAMPLE), **options)
    return caught.value


class Standardising(nn.Module):
    """Reads buffers, a parameter and a constant of its own, outside of any module."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(1, 6))
        self.scale = nn.Parameter(torch.ones(6, 6))
        self.a, self.fc = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.a((x - self.mean) @ self.scale + torch.tensor([0.5] * 6).to(x))))


class TokenOfTheBatch(nn.Module):
    """Two layers read a learned token, once for each sample: as class attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 8))
        self.a, self.b, self.fc = nn.Linear(6, 8), nn.Linear(16, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        token = self.token.expand(x.shape[0], -1)
        return self.fc(F.relu(self.b(torch.cat([x, token], 1))) + token)


class ConstantOfFiveDimensions(nn.Module):
    """Adds a constant that has no channels-last layout."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.a, self.fc = nn.Linear(9, 4), nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        moved = self.a(images.flatten(1)).view(-1, 1, 1, 1, 4) + torch.ones(1, 1, 1, 1, 4)
        return self.fc(F.relu(moved.flatten(1)))


def test_layers_that_repeat_one_parameter_for_each_sample_are_one_part() -> None:
    model = TokenOfTheBatch()
    assert "one owner" in refusal(model).why
    network = Network.wrap(model, granularity=1, example=EXAMPLE)
    assert [layer.name for layer in network.layers] == ["a..b", "fc"]
    for samples in (6, 2):
        assert torch.equal(network(EXAMPLE[:samples]), model(EXAMPLE[:samples]))


def test_constants_of_any_number_of_dimensions_are_trained_around_channels_last() -> None:
    session = build_session(LocalCrossEntropy, as_model(ConstantOfFiveDimensions), toy_dataset(shape=(1, 3, 3)))
    assert session.config.channels_last
    train_steps(session, 1)


class TestTensorsOfTheModelItself:
    @pytest.mark.parametrize("target", [torch.float64, torch.bfloat16, "meta"])
    def test_they_follow_the_network(self, target: Any) -> None:
        model = Standardising()
        network = Network.wrap(model, example=EXAMPLE).to(target)
        inputs = EXAMPLE.to(target)
        assert network(inputs).dtype == model(inputs).dtype
        assert network(inputs).device == model(inputs).device
        if target != "meta":
            assert torch.equal(network(inputs), model(inputs))

    def test_they_are_the_ones_that_were_loaded(self) -> None:
        model = Standardising()
        network = Network.wrap(model, example=EXAMPLE)
        state = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
        model.load_state_dict(state, assign=True)
        assert torch.equal(network(EXAMPLE), model(EXAMPLE))
        model.mean = torch.full((1, 6), 3.0)
        assert torch.equal(network(EXAMPLE), model(EXAMPLE))

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
    def test_a_copy_of_the_network_has_its_own(self, copied: Any) -> None:
        network = Network.wrap(Standardising(), example=EXAMPLE)
        other = copied(network)
        other.model.mean.fill_(7.0)
        assert torch.equal(other(EXAMPLE), other.model(EXAMPLE))
        assert not torch.equal(other(EXAMPLE), network(EXAMPLE))

    def test_tracing_leaves_nothing_on_the_model(self) -> None:
        model = Standardising()
        before = set(vars(model))
        Network.wrap(model, example=EXAMPLE)
        assert set(vars(model)) == before


class ReadsADataType(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x.to(self.fc.weight.dtype)))
        return self.fc(F.relu(self.b(x.view(-1, self.b.weight.shape[1], 1).view(-1, self.b.weight.size(1)))))


@pytest.mark.parametrize("granularity", ["layer", "block", 2])
def test_a_part_that_reads_the_type_or_size_of_a_parameter_does_not_own_it(granularity: Any) -> None:
    model = ReadsADataType()
    network = Network.wrap(model, granularity=granularity, example=EXAMPLE)
    assert [parameter.shape for parameter in network.readout.parameters()] == [(3, 8), (3,)]
    network.to(torch.float64)
    assert torch.equal(network(EXAMPLE), model(EXAMPLE))
    assert network(EXAMPLE).dtype == torch.float64


class Twice(nn.Module):
    """One module runs twice in its middle."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.a, self.g, self.fc = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.e(x))
        h = h + F.relu(self.a(F.relu(self.a(h))))
        return self.fc(h + F.relu(self.g(h)))


class TestModulesThatRunTwice:
    @pytest.mark.parametrize(("granularity", "layers"), [("block", 4), (1, 2), (3, 4)])
    def test_they_learn_in_a_part_that_holds_both_uses(self, granularity: Any, layers: int) -> None:
        network = Network.wrap(Twice(), granularity=granularity, example=EXAMPLE)
        assert len(network.layers) == layers
        shared = id(network.model.a.weight)
        assert sum(shared in map(id, layer.parameters()) for layer in network.layers) == 1

    def test_they_are_refused_in_two_layers(self) -> None:
        assert "'a.weight' belongs to 2 layers: a, a_2" in refusal(Twice()).what

    @pytest.mark.parametrize("granularity", ["layer", 2, 4])
    def test_they_may_be_frozen(self, granularity: Any) -> None:
        model = Twice()
        model.a.requires_grad_(False)
        network = Network.wrap(model, granularity=granularity, example=EXAMPLE)
        assert torch.equal(network(EXAMPLE), model(EXAMPLE))
        Learner(model, "local-ce", example=EXAMPLE, num_classes=3, granularity=granularity).step(EXAMPLE, LABELS)


class TiedByWayOfAnother(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.scale = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.tensor(2.0))
        self.mid, self.fc = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        w = self.w * self.scale
        return self.fc(F.relu(F.relu(self.mid(F.relu(x @ w))) @ w.t()))


def test_weights_that_are_computed_from_one_parameter_are_tied() -> None:
    assert "'w' belongs to 2 layers" in refusal(TiedByWayOfAnother()).what
    model = TiedByWayOfAnother()
    model.w.requires_grad_(False), model.scale.requires_grad_(False)
    network = Network.wrap(model, example=EXAMPLE)
    assert torch.equal(network(EXAMPLE), model(EXAMPLE))
    assert [layer.in_shape for layer in network.layers] == [(6,)] * 4


class NamedLikeAnOperation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.linear, self.fc = nn.Parameter(torch.randn(6, 6)), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.linear(F.relu(F.linear(x, self.w)))))


@pytest.mark.parametrize("granularity", ["layer", 2])
def test_an_operation_that_is_called_like_a_module_has_another_name(granularity: Any) -> None:
    network = Network.wrap(NamedLikeAnOperation(), granularity=granularity, example=EXAMPLE)
    assert [layer.name for layer in network.layers] == ["linear", "linear_2", "fc"]


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running", torch.ones(8))
        self.a, self.fc = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.running.mul_(0.5)
        return self.fc(F.relu(self.a(x)) + self.running)


def test_a_buffer_that_tracing_would_write_to_once_is_refused_and_left_as_it_was() -> None:
    model = Counting()
    assert "writes to the buffer 'running'" in refusal(model).what
    assert torch.equal(model.running, torch.ones(8))
    assert not isinstance(model.running, torch.fx.Proxy)


class WritesAfterItWasRead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(a)
        a.relu_()
        return self.fc(torch.cat([a, b], 1))


def test_writing_in_place_to_what_a_later_layer_has_read_is_refused_by_name() -> None:
    for example in (EXAMPLE, None):
        assert "changes in place what layer 'b' has read" in refusal(WritesAfterItWasRead(), example=example).what


@pytest.mark.parametrize(
    "layers", [(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 3)), (nn.Linear(1, 4), nn.Linear(4, 1), nn.Linear(1, 3))]
)
def test_a_linear_layer_of_one_input_or_output_is_a_layer(layers: tuple[nn.Module, ...]) -> None:
    network = Network.wrap(nn.Sequential(*layers), example=EXAMPLE[:, :1])
    assert len(network.layers) == sum(isinstance(layer, nn.Linear) for layer in layers)


class Recurrent(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.first, self.second, self.fc = nn.LSTM(6, 8, **options), nn.LSTM(8, 8, **options), nn.Linear(8, 3)
        self.batch_first = options.get("batch_first", False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.first(x if self.batch_first else x.transpose(0, 1))[0])[0]
        return self.fc(out[:, -1] if self.batch_first else out[-1])


class TestOutputsWithoutTheSamplesInFront:
    @pytest.mark.parametrize("positions", [4, 6, 7])
    @pytest.mark.parametrize("rule", ["hsic", "local-ce", "dfa", "predsim", "sigprop"])
    def test_rules_that_pair_them_with_labels_refuse_them(self, rule: str, positions: int) -> None:
        with pytest.raises(UsageError) as caught:
            Learner(Recurrent(), rule, example=torch.randn(6, positions, 6), num_classes=3)
        assert "'first' returns another" in caught.value.why

    @pytest.mark.parametrize("layers", [None, ["first", "second", "fc"]])
    @pytest.mark.parametrize("rule", ["hsic", "local-ce", "dfa"])
    def test_with_the_samples_in_front_all_is_well_and_states_that_nobody_reads_do_not_count(
        self, rule: str, layers: list[str] | None
    ) -> None:
        inputs = torch.randn(6, 5, 6)
        learner = Learner(Recurrent(batch_first=True), rule, example=inputs, num_classes=3, layers=layers)
        assert [layer.out_shapes for layer in learner.network.hidden] == [((5, 8),), ((5, 8) if layers else (8,),)]
        learner.step(inputs, LABELS)

    def test_their_multiplications_are_counted(self) -> None:
        network = Network.wrap(Recurrent(batch_first=True), example=torch.randn(2, 5, 6))
        assert [layer.macs for layer in network.layers] == [5 * 32 * (6 + 8), 5 * 32 * (8 + 8), 24]

    def test_backprop_trains_them(self) -> None:
        inputs = torch.randn(6, 6, 6)
        Learner(Recurrent(), "backprop", example=inputs, num_classes=3).step(inputs, LABELS)


class Sorting(nn.Module):
    """Keeps the order of values beside the sorted ones."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        values, order = torch.sort(F.relu(self.a(x)), dim=1)
        return self.fc(F.relu(self.b(values)).gather(1, order))


@pytest.mark.parametrize(
    "rule", ["hsic", "local-ce", "dfa", "predictive-coding", "sgr", "synthetic-gradients", "node-perturbation"]
)
def test_nothing_is_learned_from_integers_that_go_between_layers(rule: str) -> None:
    learner = Learner(Sorting(), rule, example=EXAMPLE, num_classes=3)
    assert [len(layer.out_shapes) for layer in learner.network.hidden] == [1, 1]
    learner.step(EXAMPLE, LABELS)


@dataclass
class State:
    h: Tensor


class ReturnsAnObject(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l = nn.Linear(6, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, State]:
        h = self.l(x)
        return h, State(h * 2)


class ReadsAnObject(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l = nn.Linear(8, 8)

    def forward(self, given: tuple[Tensor, State]) -> Tensor:
        return self.l(given[0] + given[1].h)


def test_tensors_in_an_object_that_nobody_would_detach_are_refused() -> None:
    model = nn.Sequential(ReturnsAnObject(), ReadsAnObject(), nn.Linear(8, 3))
    assert refusal(model, layers=["0", "1", "2"]).what == "layer '0' returns a State with tensors in it"


class Ending(nn.Module):
    def __init__(self, end: Any) -> None:
        super().__init__()
        self.a, self.fc, self.end = nn.Linear(6, 8), nn.Linear(8, 3), end

    def forward(self, x: Tensor) -> Any:
        return self.end(self.fc(F.relu(self.a(x))))


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (lambda logits: {"logits": logits}, "a dict"),
        (lambda logits: (logits, logits), "a tuple"),
        (lambda logits: logits[None], "a tensor of shape (1, 6, 3)"),
        (lambda logits: logits.argmax(1), "a tensor of shape (6,)"),
    ],
)
def test_a_network_whose_output_is_not_logits_is_refused(end: Any, found: str) -> None:
    assert found in refusal(Ending(end), layers=["a", "fc"]).why


def test_lazy_modules_get_their_shapes_from_the_example() -> None:
    def lazy() -> nn.Sequential:
        return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))

    assert [layer.in_shape for layer in Network.wrap(lazy(), example=EXAMPLE).layers] == [(6,), (8,)]
    assert "without a shape" in refusal(lazy(), example=None).what


def test_a_layer_without_parameters_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    assert refusal(model, layers=["0", "1", "2"]).what == "layer '1' has no parameters"


class NamedByKeywords(nn.Module):
    """Modules under keys that Python code cannot name."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"in": nn.Linear(6, 8), "class": nn.Linear(8, 3)})

    def forward(self, x: Tensor) -> Tensor:
        return self.parts["class"](F.relu(self.parts["in"](x)))


def test_keywords_as_names_are_refused_where_a_graph_is_traced_and_work_where_layers_are_named() -> None:
    assert refusal(NamedByKeywords()).what == "a module has the name 'in', a keyword of Python"
    network = Network.wrap(NamedByKeywords(), layers=["parts.in", "parts.class"], example=EXAMPLE)
    assert [layer.name for layer in network.layers] == ["parts.in", "parts.class"]


def test_a_model_that_is_not_a_module_is_refused() -> None:
    assert "not a module" in refusal("local-ce").what  # type: ignore[arg-type]


def test_arguments_that_would_do_nothing_are_refused() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    assert "readout is named without layers" in refusal(model, readout="2").what
    assert "not cut once more" in refusal(model, layers=["0", "2"], granularity=2).what
    assert "not a tensor" in refusal(model, example=[EXAMPLE]).what
    assert "torch.jit" in refusal(torch.jit.trace(model, EXAMPLE)).what


def test_isolation_holds_for_all_of_them() -> None:
    for model in (Standardising(), ReadsADataType(), NamedLikeAnOperation()):
        traces = isolated_forward(Network.wrap(model, example=EXAMPLE), EXAMPLE)
        first = list(traces[0].layer.parameters())
        assert not any(torch.autograd.grad(traces[1].output.sum(), first, allow_unused=True, retain_graph=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("draw", [lambda: float(torch.rand(())), random.random, np.random.rand])
def test_a_forward_that_leaves_blocks_out_at_random_is_not_traced(seed: int, draw: Any) -> None:
    class Dropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
            self.readout = nn.Linear(6, 4)

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:
                if self.training and draw() < 0.3:
                    continue
                values = values + block(values).relu()
            logits: torch.Tensor = self.readout(values)
            return logits

    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    with pytest.raises(UsageError, match="cannot be traced") as refused:
        Network.wrap(Dropped(), example=torch.randn(2, 6))
    assert "random numbers" in refused.value.why


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": "0"}, "the layers are one text"),
        ({"layers": ["0", "2"], "readout": "2*"}, "the readout '2\\*' is none of the layers"),
        ({"granularity": True}, "granularity True is not known"),
        ({"example": torch.zeros(0, 6)}, "the example has no samples"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    with pytest.raises(UsageError, match=message):
        Network.wrap(model, **{"example": torch.zeros(2, 6), **settings})


def test_a_compiled_module_is_refused() -> None:
    with pytest.raises(UsageError, match=r"torch\.compile"):
        Network.wrap(torch.compile(nn.Sequential(nn.Linear(6, 4)), backend="eager"), example=torch.zeros(2, 6))


class Tempered(nn.Module):
    """Its forward goes on behind the readout."""

    def __init__(self, behind: Any) -> None:
        super().__init__()
        self.hidden, self.readout, self.behind = nn.Linear(6, 5), nn.Linear(5, 3), behind

    def forward(self, values: Tensor) -> Tensor:
        logits: Tensor = self.behind(self.readout(self.hidden(values).relu()))
        return logits


@pytest.mark.parametrize("behind", [lambda logits: 50 * logits.tanh(), lambda logits: logits + 1])
def test_a_readout_whose_output_is_changed_is_refused_by_rules_that_train_it_by_itself(behind: Any) -> None:
    settings: dict[str, Any] = {"example": EXAMPLE, "num_classes": 3, "layers": ["hidden", "readout"]}
    with pytest.raises(UsageError, match="the readout 'readout' does not give the logits"):
        Learner(Tempered(behind), "local-ce", **settings)
    Learner(Tempered(behind), "backprop", **settings).step(EXAMPLE, LABELS)


def test_a_readout_whose_output_is_reshaped_gives_the_logits() -> None:
    settings: dict[str, Any] = {"example": EXAMPLE, "num_classes": 3, "layers": ["hidden", "readout"]}
    Learner(Tempered(lambda logits: logits.flatten(1)), "local-ce", **settings).step(EXAMPLE, LABELS)
