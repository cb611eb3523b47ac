"""The moving average of weights: what it is, where it is read, and that training knows nothing of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_runs import DENSE, FACES, SHORT, localrules, metrics
from helpers.tiny_runs import train as run
from helpers.tiny_sessions import RULES, dense, perceptron, state, train
from safetensors.torch import load_file
from torch import Tensor, nn

import localrules as package
from localrules import Callback, MetricsRow, Rule
from localrules.callbacks.base import Plot
from localrules.callbacks.results import EpochResults
from localrules.core.network import Network
from localrules.engine import checkpoint
from localrules.engine.session import Session
from localrules.engine.weight_average import WeightAverage
from localrules.engine.weights_file import weights_sha256
from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules.runs.load import TrainedRun

DECAY = 0.6
AVERAGED_RUN = [*FACES, *DENSE, *SHORT, "--set", "ema_decay=0.8"]


def averages(session: Session) -> dict[str, Tensor]:
    assert session.weight_average is not None
    found = session.weight_average.state_dict()
    return {f"{part}.{name}": value for part, values in found.items() for name, value in values.items()}


def test_it_is_the_average_that_its_formula_says_of_weights_heads_and_running_statistics() -> None:
    session = dense(RULES["local-ce"], ema_decay=DECAY)
    expected = {name: value.double() for name, value in state(session).items()}
    for step in range(session.total_steps - 1):
        train(session, step, step + 1)
        decay = min(DECAY, (1 + step) / (10 + step))
        for name, value in state(session).items():
            expected[name] = decay * expected[name] + (1 - decay) * value
    found = averages(session)
    assert {f"network.{name}" for name, _ in session.network.model.named_parameters()} < found.keys()
    assert {f"rule.{name}" for name, _ in session.rule.named_parameters()} <= found.keys()
    assert {name for name in expected if name.endswith(("running_mean", "running_var"))} <= found.keys()
    assert not [name for name in found if name.endswith(("num_batches_tracked", "source_of_channel"))]
    for name, value in found.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_within_a_phase_training_gives_the_same_bits_with_it(rule: str) -> None:
    plain, averaged = dense(RULES[rule]), dense(RULES[rule], ema_decay=DECAY)
    for session in (plain, averaged):
        train(session, 0, session.total_steps - 1)
    one, other = state(plain), state(averaged)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_a_phase_leaves_its_averages_as_weights() -> None:
    session = dense(RULES["local-ce"], ema_decay=DECAY, phases="two-phase")
    begins = session.phases[1].start
    train(session, 0, begins - 1)
    before = averages(session)
    train(session, begins - 1, begins)
    left = averages(session)
    assert all(torch.equal(state(session)[name], value) for name, value in left.items())
    assert any(not torch.equal(before[name], value) for name, value in left.items())
    train(session, begins)
    hidden = [name for name in left if not name.startswith("network.readout")]
    assert all(torch.equal(state(session)[name], left[name]) for name in hidden)  # they stood still
    assert all(torch.equal(state(session)[name], value) for name, value in averages(session).items())


def test_a_layer_that_begins_to_learn_late_is_not_averaged_with_its_initial_weights() -> None:
    phases = (
        {"name": "hidden", "train_layers": "hidden", "fraction": 20},
        {"name": "readout", "train_layers": "readout", "fraction": 20},
    )
    session = perceptron(RULES["local-ce"], ema_decay=0.999, phases=phases, steps=40, epochs=None)
    first = state(session)["network.readout.weight"]
    train(session, 0, 39)
    now, average = state(session)["network.readout.weight"], averages(session)["network.readout.weight"]
    assert (now - average).norm() < 0.5 * (now - first).norm()


def test_a_network_has_the_averages_within_the_context_and_its_own_weights_after_it() -> None:
    session = dense(RULES["local-ce"], ema_decay=DECAY)
    train(session, 0, session.total_steps - 1)
    before, expected = state(session), averages(session)
    within: dict[str, Tensor] = {}

    def fail() -> None:
        with session.averaged_weights():
            within.update(state(session))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):  # restored where evaluation fails, too
        fail()
    assert all(torch.equal(within[name], value) for name, value in expected.items())
    assert any(not torch.equal(before[name], value) for name, value in expected.items())
    assert all(torch.equal(state(session)[name], value) for name, value in before.items())


def test_a_resumed_run_has_the_averages_of_an_unbroken_one(tmp_path: Path) -> None:
    unbroken, first, second = (dense(RULES["local-ce"], ema_decay=DECAY) for _ in range(3))
    train(unbroken)
    train(first, 0, 3)
    checkpoint.save(tmp_path, first, {"step": 3})
    checkpoint.restore(tmp_path, second)
    train(second, 3)
    one, other = averages(unbroken), averages(second)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


class Renamed(nn.Module):
    """A module that calls its weight otherwise in its state."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self._register_state_dict_hook(lambda module, state, *_: state.update(other=state.pop("weight")))


def test_averages_have_the_names_of_the_state() -> None:
    average = WeightAverage(Renamed(), nn.Module(), DECAY)
    assert list(average.state_dict()["network"]) == ["other"]


class Hidden(Renamed):
    """A module whose state has a copy of its weight."""

    def __init__(self) -> None:
        super().__init__()
        self._register_state_dict_hook(lambda module, state, *_: state.update(other=state["other"].clone()))


def test_a_parameter_that_a_checkpoint_does_not_hold_is_refused() -> None:
    with pytest.raises(UsageError, match=r"cannot be averaged") as found:
        WeightAverage(Hidden(), nn.Module(), DECAY)
    assert "'weight' of Hidden" in found.value.why


def test_weights_of_half_the_precision_have_averages_of_the_whole() -> None:
    network = nn.Linear(1, 1, bias=False).bfloat16()
    average = WeightAverage(network, nn.Module(), 0.999)
    with torch.no_grad():
        network.weight.fill_(0.0)
    average.load_state_dict({"network": {"weight": torch.ones(1, 1)}})
    for _ in range(1000):
        average.update(10**6)
    (found,) = average.state_dict()["network"].values()
    assert float(found) == pytest.approx(0.999**1000, rel=1e-3)
    average.copy_to_weights()
    assert network.weight.dtype == torch.bfloat16
    assert float(network.weight.detach()) == pytest.approx(0.999**1000, rel=0.01)


def test_a_weight_under_two_names_is_averaged_under_both() -> None:
    network = nn.ModuleDict({"one": nn.Linear(2, 2)})
    network["other"] = network["one"]
    average = WeightAverage(network, nn.Module(), DECAY)
    with torch.no_grad():
        network["one"].weight.add_(1.0)
    average.update(100)
    found = average.state_dict()["network"]
    assert sorted(found) == sorted(network.state_dict())
    assert torch.equal(found["one.weight"], found["other.weight"])


def test_a_checkpoint_gives_readers_the_averages_of_network_and_rule(tmp_path: Path) -> None:
    session, reader = (dense(RULES["local-ce"], ema_decay=DECAY) for _ in range(2))
    train(session, 0, session.total_steps - 1)
    checkpoint.save(tmp_path / "checkpoints", session, {"step": session.total_steps - 1})
    checkpoint.load_weights(tmp_path, reader.network, reader.rule)
    assert all(torch.equal(state(reader)[name], value) for name, value in averages(session).items())


def test_weights_of_another_step_than_the_whole_state_are_replaced_by_its_averages(tmp_path: Path) -> None:
    session, reader = (dense(RULES["local-ce"], ema_decay=DECAY) for _ in range(2))
    folder = tmp_path / "checkpoints"
    train(session, 0, 1)
    checkpoint.save(folder, session, {"step": 1})
    old = (folder / checkpoint.WEIGHTS).read_bytes()
    train(session, 1, 3)
    checkpoint.save(folder, session, {"step": 3})
    (folder / checkpoint.WEIGHTS).write_bytes(old)  # as after a kill between the two files
    checkpoint.load_weights(tmp_path, reader.network, reader.rule)
    assert all(torch.equal(state(reader)[name], value) for name, value in averages(session).items())


@pytest.mark.slow
def test_a_run_evaluates_and_keeps_its_averages(tmp_path: Path) -> None:
    done = run(tmp_path / "averaged", "--rule", "local-ce", setting=AVERAGED_RUN)
    folder = Path(done["run_dir"])
    kept = checkpoint.last_state(folder)
    weights = load_file(folder / "checkpoints" / checkpoint.WEIGHTS)
    for name, value in kept["weight_average"]["network"].items():
        assert torch.equal(weights[name], value)
        assert torch.equal(kept["network"][name], value)  # the last phase left its averages
    found = TrainedRun.load(folder, Registry.load(allow=[]))
    assert weights_sha256(found.predictor.network) == done["weights_sha256"]
    scores = found.predictor.scores(found.data().split("valid"))
    assert float(metrics(folder)[-1]["valid_loss"]) == pytest.approx(scores.loss, rel=1e-5)
    plain = run(tmp_path / "plain", "--rule", "local-ce", setting=[*FACES, *DENSE, *SHORT])
    assert float(metrics(plain["run_dir"])[-1]["valid_loss"]) != pytest.approx(scores.loss, rel=1e-5)
    assert json.loads((folder / "summary.json").read_text())["valid_accuracy"] == pytest.approx(scores.top1)


class Reader(Callback):
    """Reads the network at the end of epochs and of the run, and the whole state of the last checkpoint."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def on_train_start(self, network: Network, rule: Rule) -> None:
        self.network = network

    def on_evaluate(self, row: MetricsRow) -> None:
        self.read()

    def on_results(self, results: EpochResults) -> None:
        self.read()

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        self.read()

    def read(self) -> None:
        self.seen.append({name: value.clone() for name, value in self.network.model.state_dict().items()})


@pytest.mark.slow
def test_callbacks_find_the_averages_at_the_end_of_an_epoch_and_of_the_run(tmp_path: Path) -> None:
    reader = Reader()
    settings = {"model": {"name": "mlp", "hidden": [8]}, "data": {"name": "faces", "train": 140, "valid": 70}}
    more = {"ema_decay": 0.8, "steps": 2, "plots": False, "batch_size": 70}
    done = package.train(settings={"rule": {"name": "local-ce"}, **settings, **more}, out=tmp_path, callbacks=[reader])
    expected = checkpoint.last_state(done.directory)["weight_average"]["network"]
    assert len(reader.seen) == 3
    for seen in reader.seen:
        assert all(torch.equal(seen[name], value) for name, value in expected.items())


@pytest.mark.parametrize("decay", ["0", "1", "-0.5"])
def test_a_decay_that_averages_nothing_is_refused(decay: str, tmp_path: Path) -> None:
    said = localrules("run", "--rule", "hsic", *AVERAGED_RUN, "--set", f"ema_decay={decay}", "--out", tmp_path)
    assert said.code == 2
    assert "ema_decay" in said.err


def test_no_average_is_made_unless_asked_for() -> None:
    session = perceptron(RULES["hsic"])
    assert session.weight_average is None
    assert "weight_average" not in checkpoint.session_state(session, {})
