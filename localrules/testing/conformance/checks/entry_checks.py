"""Checks of entries of a plugin besides rules: what each promises by its kind.

Each takes the target of the entry and raises AssertionError if a promise is broken, or
:class:`~localrules.testing.conformance.subject.NotApplicable`. The first line of its docstring is the promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from torch import nn
from torch.nn import functional

from localrules.callbacks.base import MetricsRow, RunInfo, Tracker
from localrules.callbacks.callback_list import check_measured
from localrules.callbacks.results import EpochResults
from localrules.config.settings import Settings, merge_settings
from localrules.core.model import Model
from localrules.core.network import Network
from localrules.core.objective import Objective
from localrules.core.view import LayerView
from localrules.data.dataset import Dataset, DataSource
from localrules.data.validate import check_dataset
from localrules.engine.layerwise import LayerwiseRule, ObjectiveSpec
from localrules.engine.resolve import resolve_run
from localrules.errors import DataError, LocalRulesError, UsageError, describe_exception
from localrules.evaluation.metric import Metric
from localrules.learner import Learner
from localrules.registry.registry import Registry
from localrules.runs.executor import Executor, Resources, WorkerLost
from localrules.testing.conformance.sessions import toy_dataset
from localrules.testing.conformance.subject import NotApplicable

SHAPES = ((1, 28, 28), (1, 48, 48), (3, 32, 32), (3, 224, 224))
CLASSES = 5


class _PooledClassifier(Objective):
    """Cross-entropy of a linear classifier on global averages."""

    def __init__(self, config: BaseModel, layer: Any, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.head = nn.Linear(layer.pooled_features(1), num_classes)

    def forward(self, view: LayerView) -> torch.Tensor:
        return functional.cross_entropy(self.head(view.pooled(1)), view.labels)


def options_are_documented(target: Any) -> None:
    """Every option has a description, and the class a docstring."""
    silent = [name for name, field in target.Config.model_fields.items() if not field.description]
    assert not silent, f"options without a description: {', '.join(silent)}"
    assert target.__doc__, f"{target.__name__} has no docstring"


def unknown_options_are_refused(target: Any) -> None:
    """A misspelt option is an error."""
    assert target.Config.model_config.get("extra") == "forbid", "derive Config from RuleConfig"


def logits_have_their_shape(model: type[Model]) -> None:
    """The output is finite logits, (batch, classes), for a batch of two and of five."""
    built, shape = _built(model)
    for samples in (2, 5):
        logits = built(torch.randn(samples, *shape))
        assert tuple(logits.shape) == (samples, CLASSES), f"logits of shape {tuple(logits.shape)}"
        assert bool(logits.isfinite().all()), "logits are not finite"


def layers_are_found_at_every_granularity(model: type[Model]) -> None:
    """The network can be cut by layer, by block, and into two parts; each parameter has one owner."""
    built, shape = _built(model)
    example = torch.randn(2, *shape)
    built.eval()
    expected = built(example)
    for granularity in ("layer", "block", 2):
        network = Network.wrap(built, granularity=granularity, example=example)
        assert network.hidden, f"no hidden layer at granularity {granularity!r}"
        built.eval()
        found = network(example)
        assert torch.allclose(found, expected, atol=1e-5), f"another output at granularity {granularity!r}"


def every_layer_can_learn(model: type[Model]) -> None:
    """One local step changes every layer, and the readout."""
    torch.manual_seed(0)
    built, shape = _built(model)
    images, labels = torch.randn(8, *shape), torch.arange(8) % CLASSES
    network = Network.wrap(built, example=images[:2])
    learner = Learner(built, _local_rule(network), example=images[:2], num_classes=CLASSES)
    before = {
        layer.name: [weight.detach().clone() for weight in layer.parameters()] for layer in learner.network.layers
    }
    for _ in range(2):  # a head that starts at zero passes nothing on in the first step
        learner.step(images, labels)
    still = [
        layer.name
        for layer in learner.network.layers
        if all(map(torch.equal, before[layer.name], layer.parameters())) and any(True for _ in layer.parameters())
    ]
    assert not still, f"unchanged after two steps: {', '.join(still)}"


def splits_are_well_formed(source: type[DataSource]) -> None:
    """Images are uint8, (samples, channels, height, width); labels int64 within the classes, one for each image."""
    try:
        check_dataset(_loaded(source), source.__qualname__)
    except DataError as error:
        raise AssertionError(f"{error.why}, in {error.where}") from error


def loading_twice_gives_the_same_data(source: type[DataSource]) -> None:
    """The same options give the same images, labels and fingerprint."""
    one, other = _loaded(source), _loaded(source)
    assert one.fingerprint == other.fingerprint, "two fingerprints"
    for name, split in one.splits.items():
        assert torch.equal(split.images, other.splits[name].images), f"{name}: other images"
        assert torch.equal(split.labels, other.splits[name].labels), f"{name}: other labels"


def every_class_occurs(source: type[DataSource]) -> None:
    """Each class has a sample in the train split."""
    data = _loaded(source)
    counts = data.split("train").labels.bincount(minlength=len(data.classes))
    absent = [name for name, count in zip(data.classes, counts.tolist(), strict=True) if not count]
    assert not absent, f"classes without a sample: {', '.join(absent)}"


def events_are_accepted(tracker: type[Tracker]) -> None:
    """It takes every event of a run, in a folder of its own, and can be closed twice."""
    try:
        made = tracker(tracker.Config())
    except ValidationError as error:
        raise NotApplicable(f"it has options without a default: {error.errors()[0]['loc']}") from None
    except UsageError as error:
        raise NotApplicable(error.what) from None
    with TemporaryDirectory() as folder:
        run = _run_info(Path(folder))
        try:
            made.on_run_start(run)
            made.on_train_start(*_small_network())
            row: MetricsRow = {"step": 1, "epoch": 0.5, "phase": "joint", "loss": 1.0, "objective/layer": math.nan}
            made.on_log(dict(row))
            row |= {"step": 2, "epoch": 1.0, "valid_accuracy": 0.5, "valid_loss": 1.0}
            row |= check_measured(made, made.on_measure(dict(row)), {*run.columns, *row})
            made.on_log(dict(row))
            made.on_evaluate(dict(row))
            made.on_results(
                EpochResults(2, 1.0, logits=torch.eye(2), labels=torch.tensor([0, 1]), rows=torch.tensor([1]))
            )
            made.on_checkpoint()
            made.on_run_end({"status": "done", "valid_accuracy": 0.5, "run_dir": folder}, [])
        except ImportError as error:
            raise NotApplicable(str(error)) from None
        finally:
            made.close()
            made.close()


def cases_are_complete(function: Callable[[], Any]) -> None:
    """Cases have names of their own, a source, and one published length."""
    experiment = function()
    names = [case.name for case in experiment.cases]
    assert len(set(names)) == len(names), "two cases of one name"
    for case in experiment.cases:
        assert case.source, f"{case.name!r} names no source"
        lengths = [unit for unit in ("epochs", "steps") if case.settings.get(unit) is not None]
        assert len(lengths) == 1, f"{case.name!r} gives {' and '.join(lengths) or 'neither epochs nor steps'}"
        assert case.published is None or 0 < case.published <= 100, f"{case.name!r}: an accuracy in percent is expected"


def work_returns_its_result(target: type[Executor]) -> None:
    """Pieces of work that are executed at the same time return their results, and none is executed after the end."""
    with TemporaryDirectory() as folder:
        try:
            executor = target(target.Config(), 2, Path(folder))
        except UsageError as error:
            raise NotApplicable(f"it cannot work with default options here: {error.what}") from None
        try:
            with ThreadPoolExecutor(2) as threads:
                found = list(
                    threads.map(lambda number: executor.execute(partial(divmod, number, 3), Resources()), (7, 8))
                )
        finally:
            executor.close()
        assert found == [(2, 1), (2, 2)], f"divmod(7, 3) and divmod(8, 3) gave {found}"
        try:
            executor.execute(partial(divmod, 7, 3), Resources())
        except WorkerLost:
            return
        raise AssertionError("it executes work after close(), where WorkerLost is expected")


def a_rule_runs_with_it(preset: dict[str, Any], registry: Registry) -> None:
    """Its settings are settings of a run, valid for at least one installed rule."""
    defaults = {kind: registry.defaults(kind) for kind in ("model", "data")}
    if not all(defaults.values()):
        raise NotApplicable("no installed plugin declares a default network and data set")
    given = {kind: {"name": ranked[0].name} for kind, ranked in defaults.items()}
    own = Settings.from_tree(preset, "preset")
    rules = [item.full_name for item in registry.entries("rule") if item.status == "ok"]
    errors = {}
    for rule in [own.get("rule", "name")] if own.get("rule", "name") else rules:
        try:
            resolve_run(merge_settings(Settings.from_tree({**given, "rule": {"name": rule}}), own), registry)
            return
        except LocalRulesError as error:
            errors[rule] = f"{error.what}: {error.why}"
    shown = [f"with rule {rule!r}: {error}" for rule, error in errors.items()] or ["none is installed"]
    raise AssertionError(f"no rule runs with it; {shown[0]}")


def files_that_do_not_fit_are_refused(metric: type[Metric]) -> None:
    """A file that is missing, and one that holds noise, are reported by a DataError or a UsageError."""
    with TemporaryDirectory() as folder:
        missing, noise = Path(folder) / "missing", Path(folder) / "noise"
        noise.write_bytes(bytes(range(255, 0, -1)))
        for called, path in (("a missing file", missing), ("a file of noise", noise)):
            try:
                metric(path, toy_dataset(), "valid")
            except (DataError, UsageError):
                continue
            except ImportError as error:
                raise NotApplicable(str(error)) from None
            except Exception as error:
                raise AssertionError(f"{called} raised {describe_exception(error)}") from error
            raise AssertionError(f"{called} was accepted")


def data_sets_are_written(export: Callable[[Dataset, Path], int]) -> None:
    """It writes a file, and returns how many samples of all splits it wrote."""
    why = ""
    for shape, classes in product(SHAPES[:3], (5, 7, 10)):
        data = toy_dataset(classes * 2, classes, shape)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "exported"
            try:
                written = export(data, path)
            except UsageError as error:
                why = error.what
                continue
            except ImportError as error:
                raise NotApplicable(str(error)) from None
            samples = sum(len(split) for split in data.splits.values())
            assert path.exists(), "there is no file"
            assert written == samples, f"it returned {written!r} for {samples} samples"
            return
    raise NotApplicable(f"it accepts none of the data sets that are tried: {why}")


CHECKS: dict[str, dict[str, Callable[..., None]]] = {
    kind: {check.__name__: check for check in checks}
    for kind, checks in {
        "model": (
            options_are_documented,
            unknown_options_are_refused,
            logits_have_their_shape,
            layers_are_found_at_every_granularity,
            every_layer_can_learn,
        ),
        "data": (
            options_are_documented,
            unknown_options_are_refused,
            splits_are_well_formed,
            loading_twice_gives_the_same_data,
            every_class_occurs,
        ),
        "executor": (options_are_documented, unknown_options_are_refused, work_returns_its_result),
        "tracker": (options_are_documented, unknown_options_are_refused, events_are_accepted),
        "preset": (a_rule_runs_with_it,),
        "metric": (files_that_do_not_fit_are_refused,),
        "exporter": (data_sets_are_written,),
        "experiment": (cases_are_complete,),
    }.items()
}


def _built(model: type[Model]) -> tuple[Model, tuple[int, ...]]:
    """The network with its default options, for the first input shape that it accepts."""
    why = ""
    for shape in SHAPES:
        try:
            torch.manual_seed(0)
            return model(model.Config(), shape, CLASSES), shape
        except UsageError as error:
            why = error.what
        except ImportError as error:
            raise NotApplicable(str(error)) from None
    raise NotApplicable(f"it accepts none of the input shapes that are tried: {why}")


def _loaded(source: type[DataSource]) -> Dataset:
    try:
        return source(source.Config()).load()
    except (DataError, UsageError, ValidationError) as error:
        text = getattr(error, "what", None) or str(error).splitlines()[0]
        raise NotApplicable(f"it cannot be loaded with default options here: {text}") from None


def _small_network() -> tuple[Network, LayerwiseRule]:
    """A network with one hidden layer, and a rule for it."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    network = Network.wrap(model, example=torch.randn(2, 1, 2, 2))
    return network, _local_rule(network)


def _local_rule(network: Network) -> LayerwiseRule:
    """The same objective for each hidden layer."""
    spec = ObjectiveSpec(_PooledClassifier, _PooledClassifier.Config())
    return LayerwiseRule({layer.name: spec for layer in network.hidden})


def _run_info(folder: Path) -> RunInfo:
    return RunInfo(
        directory=folder,
        rule="rule",
        model="model",
        data="data",
        config={"rule": {"name": "rule"}, "seed": 0},
        layers=[],
        classes=("a", "b"),
        redistributable=True,
        total_steps=2,
        steps_per_epoch=2,
        resumed_from_step=0,
        columns=("step", "epoch", "phase", "loss", "objective/layer"),
        phases=(),
    )
