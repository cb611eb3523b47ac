"""A run's settings become typed objects in one pass; what is wrong is named with its source."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from pydantic import BaseModel

from localrules import Objective
from localrules.config.schema import RunConfig
from localrules.config.settings import Settings, merge_settings
from localrules.core.base import RuleConfig, RuleInfo
from localrules.engine.builder import build_network_and_rule
from localrules.engine.resolve import resolve_config, resolve_run
from localrules.errors import UsageError
from localrules.registry.registry import Registry

REGISTRY = Registry.load(allow=[])
BASE: dict[str, Any] = {"rule": "hsic", "model": {"name": "mlp", "hidden": [8, 6]}, "data": "faces", "threads": 1}


def refused(*layers: Settings) -> UsageError:
    with pytest.raises(UsageError) as caught:
        resolve_run(merge_settings(Settings.from_tree(BASE), *layers), REGISTRY)
    return caught.value


def test_a_bad_value_in_a_file_is_named_with_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('seed = 3\n\n[rule]\nname = "hsic"\nbeta = "much"\n')
    error = refused(Settings.from_file(file))
    assert error.where == f"{file}, line 5"
    assert error.what == "option 'rule.beta' has a value that does not fit"
    assert "'much'" in error.why


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[optimizer]\nlr = -1\n", 2),
        ("[optimizer]\nmometum = 1\n", 2),
        ('model = "dense_fp"\n', 1),
        ('data = {name = "faces", trian = 3}\n', 1),
        ("batch_size = 1\n", 1),
        ("lerning_rate = 1\n", 1),
        ('preset = "papre"\n', 1),
        ('[rule]\nname = "hsic"\npreset = "papre"\n', 3),
        ("[trackers.wandb]\nmode = 'offline'\nmedai = true\n", 3),
        ('rule.name = "mixed"\n[[rule.layers]]\nlayers = "*"\nname = "hsic"\nbta = 1\n', 5),
        ('rule.name = "mixed"\n[[rule.layers]]\nlayers = "*"\nname = "hsik"\n', 4),
    ],
)
def test_every_kind_of_error_of_a_file_has_its_line(text: str, line: int, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    assert refused(Settings.from_file(file)).where == f"{file}, line {line}"


def test_a_bad_value_of_set_and_of_a_flag_is_named_as_it_was_typed() -> None:
    assert refused(Settings.from_overrides(["rule.beta=much"])).where == "--set rule.beta=much"
    assert refused(Settings.from_overrides(["optimizer.grad_clip_norm=0"])).where == "--set optimizer.grad_clip_norm=0"
    assert refused(Settings.from_flags({"optimizer.lr": -1.0}, {"optimizer.lr": "--lr"})).where == "--lr -1.0"
    assert refused(Settings.from_flags({"batch_size": 1}, {})).where == "--batch-size 1"


class Careless(Objective):
    """A rule whose defaults do not fit."""

    class Config(RuleConfig):
        weight: float = 1.0

    info = RuleInfo(run_defaults={"optimizer": {"lr": -1.0}}, presets={"paper": {"weight": "much"}})


class WithCareless:
    """A registry that also has a rule of a test."""

    def resolve(self, kind: str, name: str) -> Any:
        return Careless if name == "careless" else REGISTRY.resolve(kind, name)


def test_a_bad_default_of_a_rule_is_named_as_one() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_run({**BASE, "rule": "careless"}, WithCareless())  # type: ignore[arg-type]
    assert caught.value.where == "default of rule careless"
    assert caught.value.what.startswith("option 'optimizer.lr' has a value")


def test_a_bad_value_of_a_preset_is_named_as_one() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_run({**BASE, "rule": {"name": "careless", "preset": "paper"}}, WithCareless())  # type: ignore[arg-type]
    assert caught.value.where == "preset paper of rule careless"


def test_precedence_is_default_preset_file_set_flag(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    layers = [Settings()]
    found = [learning_rate(layers)]
    layers.append(Settings.from_tree({"preset": "paper"}))
    found.append(learning_rate(layers))
    file.write_text("optimizer.lr = 0.11\n")
    layers.append(Settings.from_file(file))
    found.append(learning_rate(layers))
    layers.append(Settings.from_overrides(["optimizer.lr=0.12"]))
    found.append(learning_rate(layers))
    layers.append(Settings.from_flags({"optimizer.lr": 0.13}, {"optimizer.lr": "--lr"}))
    found.append(learning_rate(layers))
    softhebb = REGISTRY.resolve("rule", "softhebb").info.run_defaults["optimizer"]["lr"]
    preset = REGISTRY.resolve("preset", "paper")["optimizer"]["lr"]
    assert found == [softhebb, preset, 0.11, 0.12, 0.13]


def learning_rate(layers: list[Settings]) -> float:
    settings = merge_settings(Settings.from_tree({**BASE, "rule": "softhebb"}), *layers)
    return resolve_run(settings, REGISTRY).config.optimizer.lr


def test_options_are_those_of_the_plugins_own_classes() -> None:
    run = resolve_run({**BASE, "rule": {"name": "hsic", "beta": 7}, "trackers": {"tensorboard": {}}}, REGISTRY)
    (part,) = run.rule_parts
    assert (part.pattern, part.name, part.cls) == ("*", "hsic", REGISTRY.resolve("rule", "hsic"))
    assert isinstance(part.config, part.cls.Config)
    assert part.config.beta == 7
    assert run.data is not None
    for component in (run.model, run.data, *run.trackers):
        assert type(component.config) is component.cls.Config


def test_a_rule_is_built_with_the_very_config_that_was_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    made: list[BaseModel] = []
    hsic = REGISTRY.resolve("rule", "hsic")
    real = hsic.Config.__init__

    def counted(self: BaseModel, **options: Any) -> None:
        real(self, **options)
        made.append(self)

    monkeypatch.setattr(hsic.Config, "__init__", counted)
    run = resolve_run({**BASE, "rule": {"name": "hsic", "beta": 7}}, REGISTRY)
    _, rule = build_network_and_rule(run, (1, 48, 48), 7, torch.device("cpu"))
    (config,) = made
    assert run.rule_parts[0].config is config
    assert any(getattr(module, "config", None) is config for module in rule.modules())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"preset": "paper"},
        {"rule": {"name": "hsic", "preset": "paper", "beta": 3}},
        {"rule": "layers.0=softhebb,*=hsic"},
        {"rule": "backprop", "phases": "two-phase", "diagnostics": "all", "optimizer": {"lr_scale": {"readout": 0.1}}},
        {"trackers": {"wandb": {"mode": "offline", "tags": ["a"]}}},
        {"model": "lenet", "epochs": 0.5},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_a_run_reads_back_from_its_toml_as_the_same(settings: dict[str, Any], tmp_path: Path) -> None:
    run = resolve_run({**BASE, **settings}, REGISTRY)
    file = tmp_path / "config.toml"
    file.write_text(tomli_w.dumps(run.config.to_dict()))
    assert resolve_run(Settings.from_file(file), REGISTRY) == run
    config = RunConfig(**tomllib.loads(file.read_text()))
    assert config == run.config
    assert resolve_config(config, REGISTRY) == run


def test_paths_are_stored_so_that_they_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = resolve_run({**BASE, "data": {"name": "fer2013", "path": "here.csv"}}, REGISTRY)
    assert run.config.data.options["path"] == str(tmp_path / "here.csv")
    assert resolve_config(run.config, REGISTRY) == run


def test_a_run_that_is_resolved_for_its_network_needs_no_plugin_of_its_data() -> None:
    tree = {**BASE, "data": {"name": "somebody-elses"}, "trackers": {"somebody-elses": {}}}
    run = resolve_run(tree, REGISTRY, network_only=True)
    assert (run.data, run.trackers, run.config.data.name) == (None, (), "somebody-elses")
    with pytest.raises(UsageError, match="there is no data set 'somebody-elses'"):
        resolve_run(tree, REGISTRY)


@pytest.mark.parametrize("kind", ["rule", "model", "data"])
def test_what_is_not_named_is_asked_for(kind: str) -> None:
    with pytest.raises(UsageError, match=f"no {kind} is named"):
        resolve_run({key: value for key, value in BASE.items() if key != kind}, REGISTRY)


def test_an_option_beside_the_parts_of_a_mixture_is_refused() -> None:
    settings = Settings.from_tree({**BASE, "rule": {"name": "layers.0=softhebb,*=hsic", "beta": 1}})
    with pytest.raises(UsageError, match="of a mixture"):
        resolve_run(settings, REGISTRY)


@pytest.mark.parametrize(("name", "lr"), [("sgd", 0.05), ("adam", 0.003)])
def test_the_learning_rate_that_a_rule_brings_is_not_for_another_optimizer(name: str, lr: float) -> None:
    run = resolve_run(
        {"rule": "softhebb", "model": "mlp", "data": "faces", "optimizer": {"name": name}}, Registry.load(allow=[])
    )
    assert run.config.optimizer.lr == lr
