"""The hooks themselves: documented, traceable, and the only road from the engine to a rule."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest
from helpers.fake_distributions import Site, good

import localrules
from localrules.registry import hookspecs
from localrules.registry.entries import KINDS, RUN_HOOKS
from localrules.registry.registry import Registry

pytestmark = pytest.mark.slow

HOOKS = {name: spec for name, spec in vars(hookspecs).items() if hasattr(spec, "localrules_spec")}

WATCHER = """
from localrules import hookimpl

seen = []

@hookimpl
def localrules_run_step(row):
    seen.append(row["step"])
    row["step"] = -1

@hookimpl
def localrules_run_end(summary, plots):
    {end}
"""


def test_every_hook_belongs_to_a_kind_or_watches_runs() -> None:
    assert set(HOOKS) == {kind.hook for kind in KINDS.values()} | set(RUN_HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented(name: str) -> None:
    text = inspect.getdoc(HOOKS[name]) or ""
    signature = inspect.signature(HOOKS[name])
    assert text.partition("\n")[0].endswith(".")
    assert all(f"{argument}:" in text for argument in signature.parameters)
    assert signature.return_annotation is not inspect.Signature.empty
    assert ("Returns:" in text) == (signature.return_annotation != "None")


@pytest.mark.parametrize("kind", KINDS.values(), ids=str)
def test_registration_hooks_take_no_arguments(kind: object) -> None:
    assert not inspect.signature(HOOKS[kind.hook]).parameters  # type: ignore[attr-defined]


def test_nothing_in_the_engine_imports_a_plugin() -> None:
    for path in Path(localrules.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in modules if name.startswith("localrules_")], path


def test_all_of_ours_come_through_entry_points_and_are_ok() -> None:
    ours = [item for item in Registry.load(allow=[]).plugins() if item.distribution == "localrules"]
    assert {item.entry.name for item in ours} >= {"backprop", "classics", "fer", "hsic", "supervised"}
    assert {item.status for item in ours} == {"ok"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_of_ours_resolves(kind: str) -> None:
    registry = Registry.load(allow=[])
    for item in registry.entries(kind):
        module, _, attribute = item.entry.target.partition(":")
        assert registry.resolve(kind, item.entry.name) is getattr(import_module(module), attribute)


def test_a_plugin_watches_a_run_and_cannot_change_it(site: Site) -> None:
    site.install("watcher", WATCHER.format(end="pass"))
    (callback,) = Registry.load().callbacks()
    row: dict[str, float | int | str | None] = {"step": 10}
    callback.on_log(row)
    callback.on_evaluate(row)
    import watcher

    assert watcher.seen == [10]
    assert row == {"step": 10}


@pytest.mark.parametrize("end", ["raise ValueError('full')", "raise SystemExit"])
def test_a_watching_hook_that_fails_is_named_with_its_distribution(site: Site, end: str) -> None:
    site.install("watcher", WATCHER.format(end=end))
    (callback,) = Registry.load().callbacks()
    with pytest.raises(Exception, match=r"localrules_run_end of watcher 1\.0: (ValueError: full|SystemExit)"):
        callback.on_run_end({}, [])


def test_a_plugin_that_only_watches_says_so_in_the_list(site: Site) -> None:
    site.install("watcher", WATCHER.format(end="pass"))
    assert site.run("plugins", "--json").named("watcher")["summary"] == "watches runs"


def test_hook_calls_can_be_traced(site: Site) -> None:
    site.install("traced", good("traced-rule"))
    answer = site.run("rules", "--json", LOCALRULES_TRACE_PLUGINS="1")
    assert answer.named("traced-rule")["status"] == "ok"
    assert "localrules: traced/traced: localrules_rules()" in answer.err
    assert "localrules: traced/traced: localrules_rules -> [[RuleEntry(name='traced-rule'" in answer.err
    assert site.run("rules", "--json").err == ""
