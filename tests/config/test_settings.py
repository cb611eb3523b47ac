"""Settings keep the source of each value through every merge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localrules.config.mixture import mixture_parts
from localrules.config.overrides import merge, nest
from localrules.config.schema import RunConfig
from localrules.config.settings import Settings, merge_settings, toml_lines
from localrules.config.unused import unused_settings
from localrules.config.validate import validate_config
from localrules.errors import UsageError

RECIPE = """\
steps = 100
optimizer.lr = 0.1

[rule]
name = "hsic"
beta = 5

[optimizer.lr_scale]
"blocks.0.*" = 0.5

[data]
name = "fer2013"
path = "faces.csv"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    return file


def test_a_value_of_a_file_has_its_line_as_its_source(recipe: Path) -> None:
    settings = Settings.from_file(recipe)
    lines = {
        ("steps",): 1,
        ("optimizer", "lr"): 2,
        ("rule", "beta"): 6,
        ("optimizer", "lr_scale", "blocks.0.*"): 9,
        ("data", "path"): 13,
    }
    for location, line in lines.items():
        assert settings.source_of(*location) == f"{recipe}, line {line}"


def test_arrays_of_tables_inline_tables_and_strings_of_several_lines_have_lines() -> None:
    text = '''model = {name = "mlp", hidden = [3]}
note = """
steps = 3
"""
[[rule.layers]]
layers = "stem"
name = "hsic"
[[rule.layers]]
layers = "*"
name = "local-ce"
'''
    lines = toml_lines(text)
    assert lines["model",] == 1
    assert lines["rule", "layers", 0, "name"] == 7
    assert lines["rule", "layers", 1, "name"] == 10


def test_later_layers_override_earlier_ones_and_bring_their_sources(recipe: Path) -> None:
    flags = Settings.from_flags({"optimizer.lr": 0.2, "seed": None}, {"optimizer.lr": "--lr"})
    merged = merge_settings(
        Settings.from_tree({"seed": 1, "steps": 1, "rule": {"beta": 1, "sigma": 2}}, "preset paper"),
        Settings.from_file(recipe),
        Settings.from_overrides(["rule.beta=7", "optimizer.lr=0.3"]),
        flags,
    )
    assert (merged.get("optimizer", "lr"), merged.source_of("optimizer", "lr")) == (0.2, "--lr 0.2")
    assert (merged.get("rule", "beta"), merged.source_of("rule", "beta")) == (7, "--set rule.beta=7")
    assert (merged.get("steps"), merged.source_of("steps")) == (100, f"{recipe}, line 1")
    assert (merged.get("rule", "sigma"), merged.source_of("rule", "sigma")) == (2, "preset paper")
    assert merged.source_of("seed") == "preset paper"


def test_options_belong_to_the_name_of_their_own_layer(recipe: Path) -> None:
    typed = merge_settings(
        Settings.from_overrides(["data.train=10"]), Settings.from_flags({"data.name": "faces"}, {"data.name": "--data"})
    )
    merged = merge_settings(Settings.from_file(recipe), typed)
    assert merged.get("data") == {"name": "faces", "train": 10}
    assert not any("recipe.toml" in source for location, source in merged.sources.items() if location[0] == "data")


@pytest.mark.parametrize(
    ("below", "above"),
    [
        ({"optimizer": {"name": "adam", "lr": 0.01, "grad_clip_norm": 1.0}}, {"optimizer": {"name": "adamw"}}),
        ({"schedule": {"name": "one-cycle", "end": 0.1}}, {"schedule": {"name": "cosine"}}),
        ({"trackers": {"wandb": {"name": "first", "mode": "offline"}}}, {"trackers": {"wandb": {"name": "second"}}}),
    ],
)
def test_options_that_were_asked_for_stay_where_another_name_is_given(
    below: dict[str, Any], above: dict[str, Any]
) -> None:
    ((table, merged),) = merge(below, above).items()
    lower, upper = (tree[table].get("wandb", tree[table]) for tree in (below, above))
    assert merged.get("wandb", merged) == {**lower, **upper}


def test_each_part_of_a_mixture_has_the_options_of_its_own_name() -> None:
    below = {"rule": {"layers": {"*": {"name": "hsic", "beta": 3}}}}
    assert merge(below, {"rule": {"layers": {"*": {"name": "pred"}}}}) == {"rule": {"layers": {"*": {"name": "pred"}}}}


def test_a_length_in_steps_replaces_one_in_epochs_and_touches_no_options() -> None:
    assert merge({"epochs": 3}, {"steps": 10}) == {"epochs": None, "steps": 10}
    assert merge({"rule": {"beta": 1}}, {"rule": {"steps": 4}}) == {"rule": {"beta": 1, "steps": 4}}


def test_a_table_keeps_its_sources_under_another_name() -> None:
    settings = Settings.from_overrides(["hsic.beta=1", "steps=3"])
    moved = settings.sub("hsic").under("rule")
    assert moved.tree == {"rule": {"beta": 1}}
    assert moved.source_of("rule", "beta") == "--set hsic.beta=1"
    assert settings.without("hsic").tree == {"steps": 3}


@pytest.mark.parametrize(
    ("words", "where"),
    [(["trackers=3"], "--set trackers=3"), (["rule=stem"], ""), (["rule=stem=hsic,conv"], "--set rule=stem=hsic,conv")],
)
def test_shorthands_are_expanded_and_errors_name_their_source(words: list[str], where: str) -> None:
    if not where:
        assert Settings.from_overrides([*words, "rule.beta=1"]).tree == {"rule": {"name": "stem", "beta": 1}}
        return
    with pytest.raises(UsageError) as caught:
        Settings.from_overrides(words)
    assert caught.value.where == where


def test_a_mixture_has_its_text_as_the_source_of_its_parts() -> None:
    settings = Settings.from_flags({"rule.name": "stem=hsic,*=local-ce"}, {"rule.name": "--rule"})
    parts = mixture_parts(settings.tree["rule"])
    assert [(part.pattern, part.name) for part in parts] == [("stem", "hsic"), ("*", "local-ce")]
    assert settings.source_of(*parts[1].location, "name") == "--rule stem=hsic,*=local-ce"


def test_a_name_cannot_hold_a_value_and_a_table() -> None:
    assert nest({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}
    with pytest.raises(UsageError, match="a value and a table"):
        nest({"a": 1, "a.b": 2})
    with pytest.raises(UsageError, match="a value and a table"):
        nest({"a.b": 2, "a": 1})


def test_an_empty_table_has_its_line_and_leaves_those_below_theirs(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[trackers.one]\n\n[trackers.two]\nmedia = true\n")
    below = Settings.from_file(file)
    assert below.source_of("trackers", "one") == f"{file}, line 1"
    merged = merge_settings(below, Settings.from_tree({"trackers": {"two": {}}}, "--track two"))
    assert merged.tree == {"trackers": {"one": {}, "two": {"media": True}}}
    assert merged.source_of("trackers", "two", "media") == f"{file}, line 4"
    assert merged.source_of("trackers", "two") == "--track two"


def test_settings_that_do_not_go_together_are_named_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('epochs = 2\nsteps = 100\nrule.name = "hsic"\nmodel.name = "mlp"\ndata.name = "faces"\n')
    with pytest.raises(UsageError) as found:
        validate_config(RunConfig, Settings.from_file(file))
    assert found.value.why == "steps and epochs are both given; leave out one of them"
    assert {*found.value.where.split("; ")} == {f"{file}, line 1", f"{file}, line 2"}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (
            {"optimizer.name": "adam", "optimizer.muon_scale": 2.0, "optimizer.momentum": 0.9},
            ["muon_scale", "momentum"],
        ),
        ({"optimizer.name": "sgd", "optimizer.betas": (0.5, 0.9), "optimizer.momentum": 0.5}, ["betas"]),
        ({"optimizer.name": "muon", "optimizer.muon_scale": 2.0, "optimizer.eps": 1e-6}, []),
        ({"schedule.name": "cosine", "schedule.warmup": 0.5, "schedule.end": 0.1}, ["warmup"]),
        ({"schedule.name": "constant", "schedule.end": 0.1, "schedule.factor": 0.5}, ["end", "factor"]),
    ],
)
def test_settings_that_change_nothing_beside_others_are_named(settings: dict[str, object], named: list[str]) -> None:
    whole = nest({**settings, "rule.name": "hsic", "model.name": "mlp", "data.name": "faces"})
    said = unused_settings(validate_config(RunConfig, Settings.from_tree(whole)))
    assert {sentence.split()[0].partition(".")[2] for sentence in said} == set(named)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (
            {
                "parallel": "layers",
                "stages": 2,
                "sync_batchnorm": True,
                "window_weight": 0.5,
                "compile_backend": "eager",
            },
            ["parallel", "stages", "sync_batchnorm", "window_weight", "compile_backend"],
        ),
        ({"devices": 2, "parallel": "layers", "stages": 2, "granularity": "window:2", "window_weight": 0.5}, []),
        ({"compile": True, "compile_backend": "eager"}, []),
        ({"holdout_seed": 3}, ["holdout_seed"]),
        ({"process_timeout": 60}, ["process_timeout"]),
        (
            {"augment": {"shift": 0, "padding": "black", "rand_magnitude": 5}},
            ["augment.padding", "augment.rand_magnitude"],
        ),
        ({"augment": {"padding": "black", "rand_augment": 2, "rand_magnitude": 5}}, []),
        ({"holdout_seed": 3, "holdout_fraction": 0.1}, []),
    ],
)
def test_settings_of_what_a_run_does_not_have_are_named(settings: dict[str, object], named: list[str]) -> None:
    config = RunConfig.model_validate(
        {"rule": {"name": "r"}, "model": {"name": "m"}, "data": {"name": "d"}, **settings}
    )
    assert [sentence.partition(" changes nothing")[0] for sentence in unused_settings(config)] == named


def test_patterns_of_a_later_layer_come_before_those_of_an_earlier_one() -> None:
    recipe = {"optimizer": {"lr_scale": {"*": 0.5}}}
    merged = merge(recipe, nest({"optimizer.lr_scale.readout": 0.1}))
    assert list(merged["optimizer"]["lr_scale"]) == ["readout", "*"]  # the first that fits a layer counts


@pytest.mark.parametrize("key", ["batch-size", "", "0"])
def test_a_name_that_is_none_is_said_as_it_was_typed(key: str) -> None:
    tree = nest({"rule.name": "hsic", "model.name": "mlp", "data.name": "faces"}) | {key: 3}
    with pytest.raises(UsageError, match=f"there is no option '{key}'") as refused:
        validate_config(RunConfig, Settings.from_tree(tree, f"--set {key}=3"))
    assert refused.value.where == f"--set {key}=3"
    assert key != "batch-size" or "did you mean 'batch_size'" in refused.value.fix


def test_an_unknown_name_with_a_hyphen_is_said_inside_its_table() -> None:
    known = {"rule.name": "hsic", "model.name": "mlp", "data.name": "faces"}
    with pytest.raises(UsageError, match=r"there is no option 'optimizer.weight-decay'") as refused:
        validate_config(RunConfig, Settings.from_tree(nest({**known, "optimizer.weight-decay": 1})))
    assert "'weight_decay'" in refused.value.fix
    with pytest.raises(UsageError, match=r"option 'optimizer.lr_scale.blocks-0' has a value that does not fit"):
        validate_config(RunConfig, Settings.from_tree({**nest(known), "optimizer": {"lr_scale": {"blocks-0": -3}}}))


@pytest.mark.parametrize("name", ["seed", "steps", "optimizer.lr", "granularity"])
def test_true_is_not_a_number(name: str) -> None:
    tree = nest({"rule.name": "hsic", "model.name": "mlp", "data.name": "faces", name: True})
    with pytest.raises(UsageError, match="has a value that does not fit") as refused:
        validate_config(RunConfig, Settings.from_tree(tree, f"--set {name}=true"))
    assert refused.value.where == f"--set {name}=true"
    assert "found true" in refused.value.why


@pytest.mark.parametrize("value", ["16", 16.0, np.int64(16)])
def test_a_number_of_parts_may_be_written_in_other_ways(value: Any) -> None:
    tree = nest({"rule.name": "hsic", "model.name": "mlp", "data.name": "faces", "granularity": value})
    assert validate_config(RunConfig, Settings.from_tree(tree)).granularity == 16


def test_a_value_of_several_lines_is_text_and_no_further_setting() -> None:
    assert Settings.from_overrides(["data.path=1\nseed=2"]).tree == {"data": {"path": "1\nseed=2"}}


def test_a_json_file_may_begin_with_a_byte_order_mark_and_names_no_setting_twice(tmp_path: Path) -> None:
    file = tmp_path / "settings.JSON"
    file.write_text('\ufeff{"seed": 1}', encoding="utf-8")
    assert Settings.from_file(file).tree == {"seed": 1}
    file.write_text('{"seed": 1, "seed": 2}')
    with pytest.raises(UsageError, match="cannot be read as JSON") as refused:
        Settings.from_file(file)
    assert "'seed' is given twice" in refused.value.why
