"""The start of a run: from settings to a trained network in a new run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localrules.callbacks.base import Callback
from localrules.config.overrides import Tree, expand_names, merge
from localrules.config.schema import ComponentConfig, RunConfig
from localrules.engine import mixture as mixing
from localrules.engine.builder import resolve_config, validate_config
from localrules.engine.compatibility import check_compatibility
from localrules.engine.device import default_threads
from localrules.engine.session import Session
from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules.runs.execution import build_trackers, check_early_stopping, execute_run, run_record
from localrules.runs.result import RunResult
from localrules.tracking.run_folder import create_run_folder, lock_run
from localrules.utils.torch_utils import preserve_torch_state


def train(
    rule: str | Mapping[str, Any] | None = None,
    model: str | Mapping[str, Any] | None = None,
    data: str | Mapping[str, Any] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    out: str | Path = "runs",
    callbacks: Sequence[Callback] = (),
    plugins: Registry | Sequence[str | Path] = (),
    **more: Any,
) -> RunResult:
    """Train a network by a learning rule, into a new run folder.

    A network, a data set and a rule are named as on the command line, or given as a mapping with the options of each::

        localrules.train(
            rule={"name": "hsic", "beta": 50.0},
            model="mlp",
            data="faces",
            steps=200,
            optimizer={"lr": 1e-3},
        )

    The run computes on the device and the threads that its settings name. The global state of torch (threads,
    deterministic algorithms, random generators) is put back afterwards.

    Args:
        rule: The learning rule, by name, or a mapping with ``name`` and options.
        model: The network, likewise.
        data: The data set, likewise.
        settings: More settings, nested or by dotted name, e.g. ``{"rule.beta": 50.0}``. What is given by keyword
            wins.
        out: The folder that run folders are made in.
        callbacks: Receive the events of the run; see :class:`localrules.Callback`. An exception of theirs ends the
            run.
        plugins: Python files to load as plugins besides the installed ones, as ``--plugin`` does; or a registry.
        **more: Settings of the run by their names in ``config.toml``: ``steps``, ``epochs``, ``batch_size``, ``seed``,
            ``optimizer={"lr": 0.01}``, ``early_stopping={"patience": 3}``. ``threads`` is all cores if unset.

    Returns:
        The result, with the run folder and the summary.

    Raises:
        UsageError: An unknown name or setting, a value that does not fit, or a network that the rule cannot train.
        LocalRulesError: Training failed, or the user interrupted it; the run can be resumed.
    """
    registry = Registry.from_plugins(plugins)
    named = {key: value for key, value in {"rule": rule, "model": model, "data": data}.items() if value is not None}
    tree = merge(nest_settings(settings or {}), nest_settings({**named, **more}))
    for kind in ("rule", "model", "data"):
        if "name" not in tree.get(kind, {}):
            raise UsageError(f"no {kind} is named", where="localrules.train", fix=f"name one, e.g. {_EXAMPLES[kind]}")
    tree.setdefault("threads", default_threads(tree.get("parallel_layers", 1)))
    return start(configure(tree, registry), registry, Path(out), callbacks)


_EXAMPLES = {"rule": 'rule="hsic"', "model": 'model="dense_fpn_small"', "data": 'data="faces"'}


def start(config: RunConfig, registry: Registry, out: Path, callbacks: Sequence[Callback] = ()) -> RunResult:
    """Start a run that is configured, in a new folder under ``out``.

    Args:
        config: From :func:`configure`.
        registry: Where names are looked up.
        out: The parent of the run folder.
        callbacks: The callbacks, beside the run folder and the configured trackers.

    Raises:
        LocalRulesError: Training failed, or the user interrupted it; the folder can be resumed.
    """
    with preserve_torch_state():
        trackers = build_trackers(config, registry)
        session = Session.build(config, registry)
        check_early_stopping(session)
        record = run_record(config, registry, session)
        folder = create_run_folder(out, config.rule.name, config.model.name, record)
        with lock_run(folder):
            return execute_run(session, registry, folder, record, None, [*callbacks, *trackers])


def nest_settings(settings: Mapping[str, Any]) -> Tree:
    """Settings as a tree: dotted names are taken apart, and ``rule="hsic"`` becomes a table with a name.

    Raises:
        UsageError: A value where a table is expected.
    """
    tree: Tree = {}
    for dotted, value in settings.items():
        *tables, last = dotted.split(".")
        branch: Tree = {last: dict(value) if isinstance(value, Mapping) else value}
        for table in reversed(tables):
            branch = {table: branch}
        tree = merge(expand_names(tree), expand_names(branch))
    return tree


def configure(settings: Tree, registry: Registry) -> RunConfig:
    """A run's whole configuration from the settings that were given; the rule's own defaults lie below them.

    Raises:
        UsageError: An unknown name or option, a value that does not fit, or a network that the rule cannot train.
    """
    settings = mixing.parse_mixture(settings)
    settings = _with_preset(settings, registry, settings["rule"]["name"])
    _, last = mixing.mixture_parts(ComponentConfig(**settings["rule"]))[
        -1
    ]  # of a mixture: by which all other layers learn
    settings = merge(registry.resolve("rule", last.name).info.run_defaults, settings)
    config = validate_config(RunConfig, settings, "")
    assert isinstance(config, RunConfig)
    config = resolve_config(config, registry)
    check_compatibility(config, registry)
    return config


def _with_preset(settings: Tree, registry: Registry, rule: str) -> Tree:
    """The preset that ``--preset`` names, with the other settings laid over it."""
    preset = settings.get("preset")
    if preset is None:
        return settings
    below: Tree = dict(registry.resolve("preset", preset))
    asked = {key: value for key, value in settings.items() if key != "preset"}
    named = below.get("rule", {}).get("preset")
    # The control of a paper's experiment has the same settings, and no form of its own in that paper.
    if named is not None and (rule == mixing.MIXED or named not in registry.resolve("rule", rule).info.presets):
        below["rule"] = {key: value for key, value in below["rule"].items() if key != "preset"}
    return merge(below, asked)


def _merge_onto_run(stored: Tree, settings: Tree, registry: Registry) -> Tree:
    """Settings over a run's own; a rule's preset among them counts as if its options had been spelt out."""
    rule = settings.get("rule", {})
    name = rule.get("name", stored["rule"]["name"])
    presets = {} if name == mixing.MIXED else registry.resolve("rule", name).info.presets
    if rule.get("preset") in presets:
        settings = merge({"rule": presets[rule["preset"]]}, settings)
    return merge(stored, settings)
