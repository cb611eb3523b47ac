"""The functions that the command line is made of, called from Python."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_runs import STEPS, localrules, metrics, only_run, train
from test_stopping import TINY_RUN, StopIn

import localrules as api
from localrules.errors import LocalRulesError, UsageError
from localrules.utils.torch_utils import preserve_global_state, read_scalars

pytestmark = pytest.mark.slow

OWN_RULE = '''
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, RuleConfig


class Own(Objective):
    """Cross-entropy of a linear head."""

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.head = nn.Linear(layer.pooled_features(1), num_classes)

    def forward(self, view: LayerView) -> Tensor:
        return functional.cross_entropy(self.head(view.pooled(1)), view.labels)


RULES = {"own": Own}
'''


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> api.RunResult:
    return api.train(rule="hsic", **TINY_RUN, out=tmp_path_factory.mktemp("api"))


def test_a_run_from_python_has_the_bits_of_one_from_the_command_line(result: api.RunResult, tmp_path: Path) -> None:
    summary = train(tmp_path, "--rule", "hsic")
    assert result.summary["weights_sha256"] == summary["weights_sha256"]
    assert metrics(result.directory) == metrics(summary["run_dir"])
    assert list(result.summary) == list(summary)


def test_a_result_has_metrics_config_and_network(result: api.RunResult) -> None:
    table = result.metrics()
    assert list(table["step"]) == list(range(0, STEPS + 1, 2))
    assert table["valid_accuracy"].iloc[-1] == result.valid_accuracy
    assert result.config["rule"]["name"] == "hsic"
    weights = result.load().model.state_dict()
    loaded = api.load_run(result.directory).model.state_dict()
    assert all(torch.equal(weights[name], loaded[name]) for name in weights)


@pytest.mark.parametrize(
    "given",
    [
        {"rule": {"name": "hsic", "beta": 7.0}},
        {"rule": "hsic", "settings": {"rule.beta": 7.0}},
        {"settings": {"rule": {"name": "hsic", "beta": 7.0}}},
        {"rule": {"name": "hsic", "beta": 7.0}, "settings": {"rule.beta": 5.0}},
    ],
    ids=["mapping", "dotted", "nested", "a keyword wins"],
)
def test_settings_may_be_mappings_or_dotted_names(given: dict[str, Any], tmp_path: Path) -> None:
    found = api.train(**given, **TINY_RUN | {"steps": 1}, out=tmp_path)
    assert found.config["rule"]["beta"] == 7.0
    assert found.config["steps"] == 1


@pytest.mark.parametrize("missing", ["rule", "model", "data"])
def test_what_is_not_named_is_asked_for(missing: str, tmp_path: Path) -> None:
    given = {"rule": "hsic", **TINY_RUN}
    del given[missing]
    with pytest.raises(UsageError, match=f"no {missing} is named"):
        api.train(**given, out=tmp_path)


def test_evaluation_is_that_of_the_command_line_for_a_folder_a_result_and_a_loaded_run(result: api.RunResult) -> None:
    said = localrules("eval", result.directory, "--split", "test", "--json")
    assert said.code == 0
    for run in (result, result.directory, str(result.directory), result.load()):
        assert api.evaluate(run, "test") == said.document
    assert api.evaluate(result, "valid")["top1"] == result.valid_accuracy


def test_another_place_of_the_same_data_keeps_its_options(result: api.RunResult) -> None:
    fewer = api.evaluate(result, "test", data={"test": 35})
    assert (fewer["n"], fewer["data"]) == (35, "faces")


def test_a_result_that_is_done_is_resumed_as_it_is(result: api.RunResult) -> None:
    assert api.resume(result).summary == result.summary


@pytest.mark.parametrize(
    ("given", "where"), [({"batch_sise": 3}, "batch_sise"), ({"rule": {"name": "hsic", "bta": 3.0}}, "rule.bta")]
)
def test_an_error_names_the_setting_as_it_is_given_in_python(given: dict[str, Any], where: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        api.train(**{"rule": "hsic", **TINY_RUN, **given}, out=tmp_path)
    assert caught.value.where == f"the setting {where}"


def test_one_plugin_file_in_the_place_of_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a list") as caught:
        api.train(rule="hsic", **TINY_RUN, out=tmp_path, plugins="rule.py")
    assert caught.value.fix == "put the file into a list: plugins=['rule.py']"


class Norms(api.Callback):
    """Measures weights in eval mode, and leaves it on."""

    def on_train_start(self, network: Any, rule: Any) -> None:
        self.network = network

    def on_measure(self, row: api.MetricsRow) -> dict[str, float]:
        self.network.eval()
        squares = {f"norm/{layer.name}": layer.parameters() for layer in self.network.layers}
        return {name: sum(float(w.detach().square().sum()) for w in weights) for name, weights in squares.items()}


def test_a_callback_adds_metrics_at_the_end_of_each_epoch_and_changes_no_bit_of_training(
    result: api.RunResult, tmp_path: Path
) -> None:
    stopping: dict[str, Any] = {"metric": "norm/readout", "mode": "max", "patience": 50}
    measured = api.train(rule="hsic", **TINY_RUN, out=tmp_path, callbacks=[Norms()], early_stopping=stopping)
    assert measured.summary["weights_sha256"] == result.summary["weights_sha256"]
    rows = measured.metrics()
    ends = rows["valid_accuracy"].notna()
    assert ends.sum() >= 2
    for layer in ("layers.0", "layers.1", "readout"):
        assert (rows[f"norm/{layer}"].notna() == ends).all()
    last = sum(float(w.detach().square().sum()) for w in measured.load().predictor.network.readout.parameters())
    assert rows["norm/readout"].iloc[-1] == pytest.approx(last)


class Gap(api.Callback):
    """Measures a metric, under a name that may be taken, and may interrupt the run."""

    def __init__(self, name: str = "gap", interrupt: bool = False) -> None:
        self.name, self.interrupt = name, interrupt

    def on_measure(self, row: api.MetricsRow) -> dict[str, float]:
        return {self.name: 0.5}

    def on_evaluate(self, row: api.MetricsRow) -> None:
        if self.interrupt:
            signal.raise_signal(signal.SIGINT)


def test_a_name_that_a_later_row_has_is_taken_from_the_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Gap measured") as caught:
        api.train(rule="hsic", **TINY_RUN, out=tmp_path, callbacks=[Gap("accuracy")])
    assert caught.value.why == "the name 'accuracy' is taken"
    assert len((only_run(tmp_path) / "metrics.csv").read_text().splitlines()) == 1


def test_a_run_that_stops_by_a_callbacks_metric_is_not_resumed_without_the_callback(tmp_path: Path) -> None:
    stopping: dict[str, Any] = {"metric": "gap", "patience": 50}
    with pytest.raises(LocalRulesError, match="stopped at step"):
        api.train(rule="hsic", **TINY_RUN, out=tmp_path, early_stopping=stopping, callbacks=[Gap(interrupt=True)])
    folder = only_run(tmp_path)
    with pytest.raises(UsageError, match="the metric 'gap'"):
        api.resume(folder)
    assert api.resume(folder, callbacks=[Gap()]).summary["steps"] == TINY_RUN["steps"]


def test_results_are_compared(result: api.RunResult, tmp_path: Path) -> None:
    other = api.train(rule="backprop", **TINY_RUN, out=tmp_path)
    loaded = api.load_run(api.train(rule="pred", **TINY_RUN, out=tmp_path))
    found = api.compare([result, other.directory, loaded], out=tmp_path / "comparison")
    assert [row["rule"] for row in found.rows()] == ["hsic", "backprop", "pred"]
    assert (tmp_path / "comparison" / "index.html").exists()


@pytest.mark.parametrize("more", [{"seeds": 9}, {"workers": 2}, {"executor": "pool"}, {"steps": 4}])
def test_what_is_for_runs_to_be_made_is_refused_with_runs_that_are_done(
    more: dict[str, Any], result: api.RunResult, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is for runs that are yet to be made"):
        api.compare([result, result], out=tmp_path, **more)


@pytest.fixture(scope="module")
def of_a_plugin(tmp_path_factory: pytest.TempPathFactory) -> api.RunResult:
    place = tmp_path_factory.mktemp("plugin")
    file = place / "own_rule.py"
    file.write_text(OWN_RULE, encoding="utf-8")
    return api.train(rule="own", **TINY_RUN | {"steps": 1}, out=place, plugins=[file])


def test_results_are_compared_with_the_plugins_that_each_was_made_with(
    result: api.RunResult, of_a_plugin: api.RunResult, tmp_path: Path
) -> None:
    rows = api.compare([of_a_plugin, result], out=tmp_path).rows()
    assert [(row["rule"], row["class"]) for row in rows] == [("own", "local-labels"), ("hsic", "local-labels")]


@pytest.mark.parametrize(
    "use",
    [
        lambda run, given: api.resume(run, plugins=given),
        lambda run, given: api.load_run(run, plugins=given),
        lambda run, given: api.evaluate(run.load(), plugins=given),
        lambda run, given: api.export(run, "torch", run.directory / "never", plugins=given),
    ],
    ids=["resume", "load_run", "evaluate", "export"],
)
def test_plugins_beside_a_run_that_has_its_own_are_refused_and_not_ignored(
    use: Callable[[api.RunResult, Any], Any], result: api.RunResult, of_a_plugin: api.RunResult
) -> None:
    with pytest.raises(UsageError, match="plugins are given with a run that has its own"):
        use(result, [of_a_plugin.directory / "rule.py"])
    with pytest.raises(UsageError, match="plugins are given with a run that has its own"):
        use(result, of_a_plugin.registry)
    assert not (result.directory / "never").exists()


def test_a_device_for_a_run_that_is_on_one_is_refused_and_not_ignored(result: api.RunResult) -> None:
    with pytest.raises(UsageError, match="a device is given with a loaded run") as caught:
        api.evaluate(result.load(), device="cpu")
    assert "give the device to load_run" in str(caught.value.fix)


def test_rules_are_compared_and_a_repetition_trains_nothing(tmp_path: Path) -> None:
    shared = {key: value for key, value in TINY_RUN.items() if key != "steps"}
    lines: list[str] = []
    for _ in range(2):
        found = api.compare(
            rules=["hsic", "backprop"], steps=2, seeds=1, out=tmp_path / "comparison", log=lines.append, **shared
        )
    assert [row["rule"] for row in found.rows()] == ["hsic", "backprop"]
    assert [line.endswith("done before") for line in lines] == [False, False, True, True]


@pytest.mark.parametrize("given", [{}, {"runs": ["a"], "rules": ["hsic", "backprop"]}, {"rules": ["hsic"]}])
def test_a_comparison_of_nothing_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        api.compare(**given, out=tmp_path / "comparison", model="mlp", data="faces")
    assert not (tmp_path / "comparison").exists()


def torch_state() -> tuple[Any, ...]:
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.is_autocast_cache_enabled(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_rng_state().tolist(),
        {name: value for name, value in os.environ.items() if name.startswith(("TORCH", "PYTORCH", "KINETO", "CUDA"))},
    )


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_run_leaves_no_global_state_of_torch_changed(deterministic: bool, tmp_path: Path) -> None:
    with preserve_global_state():
        torch.set_num_threads(2)
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        torch.manual_seed(5)
        before = torch_state()
        found = api.train(rule="hsic", **TINY_RUN, precision="bf16", out=tmp_path)
        assert torch_state() == before
        api.evaluate(found)
        assert torch_state() == before
        found.load()
        assert torch_state() == before

        class Broken(StopIn):
            def on_log(self, row: Any) -> None:
                raise RuntimeError("a bug of mine")

        with pytest.raises(RuntimeError, match="a bug"):
            api.train(rule="hsic", **TINY_RUN, out=tmp_path, callbacks=[Broken()])
        assert torch_state() == before


def test_scalars_are_read_in_order_with_all_their_bits() -> None:
    third = torch.tensor(1 / 3)
    values = {
        "double": torch.tensor(1 / 3, dtype=torch.float64),
        "single": third,
        "half": third.bfloat16(),
        "count": torch.tensor([2**40 + 1]),
        "flag": torch.tensor(True),
    }
    assert read_scalars(values) == {name: float(value) for name, value in values.items()}
    assert list(read_scalars(values)) == list(values)
    assert read_scalars({}) == {}
    with pytest.raises(ValueError, match="'spread' is not a scalar"):
        read_scalars({"spread": torch.zeros(2)})


def test_two_lengths_are_refused() -> None:
    with pytest.raises(UsageError, match="steps and epochs are both given"):
        api.train(rule="hsic", model="mlp", data="faces", steps=4, epochs=1)
