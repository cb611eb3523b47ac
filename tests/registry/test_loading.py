"""A broken plugin is named, with its distribution and the cause; it takes nothing from anybody else."""

from __future__ import annotations

import shutil

import pytest
from helpers.fake_distributions import Answer, Site, good

from localrules.errors import LocalRulesError, UsageError
from localrules.registry.registry import Registry

HOOK = """
from localrules import ModelEntry, RuleEntry, hookimpl

@hookimpl
def localrules_rules({arguments}):
    {body}
"""


def hook(body: str, arguments: str = "") -> str:
    return HOOK.format(body=body, arguments=arguments)


def entry(**parts: object) -> str:
    fields = {"name": "theirs", "target": "a.b:C", "summary": "One line."} | parts
    return f"return [RuleEntry(**{fields!r})]"


HALF = (
    good("half-rule")
    + """
@hookimpl
def localrules_models():
    raise OSError("disk")
"""
)

FAULTS = {
    "missing-module": ("import not_installed_anywhere", "No module named 'not_installed_anywhere'"),
    "raises-at-import": ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "exits-at-import": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "syntax-error": ("def broken(:", "SyntaxError"),
    "misspelt-hook": (
        "from localrules import hookimpl\n@hookimpl\ndef localrules_rule():\n    return []",
        "'localrules_rule', and there is no such hook: did you mean 'localrules_rules'",
    ),
    "raising-hook": (hook("raise KeyError('hidden')"), "KeyError: 'hidden'"),
    "exiting-hook": (hook("raise SystemExit('bye')"), "SystemExit: bye"),
    "asking-hook": (hook("return []", "config"), "config"),
    "forgotten-return": (hook("[]"), "localrules_rules returned None, and must return a list of RuleEntry"),
    "wrong-type": (hook("return {'theirs': 'a.b:C'}"), "returned an object of type dict"),
    "generator": (
        hook("yield RuleEntry(name='g', target='a.b:C', summary='S.')"),
        "returned an object of type generator",
    ),
    "wrong-entry": (
        hook("return [ModelEntry(name='m', target='a.b:C', summary='S.')]"),
        "listed an object of type ModelEntry, and must return a list of RuleEntry",
    ),
    "wrong-target": (hook(entry(target="a.b.C")), "'a.b.C', and must look like 'package.module:Name'"),
    "wrong-name": (hook(entry(name="two words")), "a rule is named 'two words'"),
    "slash-in-name": (hook(entry(name="a/b")), "a rule is named 'a/b'"),
    "no-summary": (hook(entry(summary="")), "the summary of rule 'theirs' must be one line"),
    "wrong-reference": (hook(entry(reference=None)), "the reference of rule 'theirs' must be text"),
    "twice": (hook(f"{entry()} * 2"), "it supplies the rule 'theirs' twice"),
}


@pytest.fixture(scope="module")
def all_broken(shared_site: Site) -> Site:
    """Every fault at once, beside one good plugin and some damage that is nobody's plugin."""
    for name, (code, _) in FAULTS.items():
        shared_site.install(name, code, version="2.7")
    shared_site.install("good-one", good("good-rule"))
    shared_site.install("points-nowhere", "", points="points-nowhere = not_there_at_all")
    shared_site.install("points-at-function", "def f(): ...", points="points-at-function = points_at_function:f")
    shared_site.install("same-twice", good("doubled"), points="one = same_twice\ntwo = same_twice")
    shared_site.install("damaged-list", "", points="this line is not an entry point")
    (shared_site.folder / "empty-1.0.dist-info").mkdir()
    return shared_site


@pytest.fixture(scope="module")
def plugins(all_broken: Site) -> Answer:
    answer = all_broken.run("plugins", "--json")
    assert answer.code == 0, answer.err
    return answer


@pytest.fixture(scope="module")
def rules(all_broken: Site) -> Answer:
    answer = all_broken.run("rules", "--json")
    assert answer.code == 0, answer.err
    return answer


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_plugin_is_listed_as_broken_with_distribution_version_and_cause(plugins: Answer, name: str) -> None:
    line = plugins.named(name)
    assert (line["status"], line["distribution"], line["version"]) == ("broken", name, "2.7")
    assert FAULTS[name][1] in line["cause"]


def test_an_entry_point_that_leads_nowhere_is_broken(plugins: Answer) -> None:
    assert "not_there_at_all" in plugins.named("points-nowhere")["cause"]
    assert "must name a module" in plugins.named("points-at-function")["cause"]


def test_a_distribution_that_supplies_one_name_through_two_plugins_is_broken_in_the_second(plugins: Answer) -> None:
    assert plugins.named("one")["status"] == "ok"
    assert plugins.named("two")["status"] == "broken"
    assert "'doubled', as its own plugin 'one' does" in plugins.named("two")["cause"]


def test_everything_else_goes_on_working(rules: Answer) -> None:
    for name in ("backprop", "backprop-checkpointed", "hsic", "hsic-normalized", "local-ce", "good-rule"):
        line = rules.named(name)
        assert (line["status"], line["cause"]) == ("ok", None)


def test_lists_of_rules_show_the_plugins_that_could_have_supplied_one(rules: Answer) -> None:
    assert rules.named("raises-at-import")["status"] == "broken"


def test_the_table_for_people_names_plugin_and_cause(all_broken: Site) -> None:
    answer = all_broken.run("rules")
    assert answer.code == 0
    assert "broken raises-at-import: RuntimeError: no luck" in answer.out
    assert "Traceback" not in answer.out + answer.err


def test_what_a_plugin_named_before_it_broke_is_listed_as_broken(site: Site) -> None:
    site.install("half", HALF)
    (line,) = [item for item in Registry.load().entries("rule") if item.entry.name == "half-rule"]
    assert (line.status, line.cause) == ("broken", "OSError: disk")
    (line,) = [item for item in Registry.load().entries("model") if item.status != "ok"]
    assert (line.entry.name, line.cause) == ("half", "OSError: disk")


def test_using_a_name_of_a_broken_plugin_raises_its_cause(site: Site) -> None:
    site.install("half", HALF)
    with pytest.raises(LocalRulesError, match=r"half 1\.0[\s\S]*OSError: disk") as caught:
        Registry.load().resolve("rule", "half-rule")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.exit_code == 1


def test_using_the_name_of_a_plugin_that_cannot_be_imported_raises_its_cause(all_broken: Site) -> None:
    answer = all_broken.run("rules", "show", "raises-at-import", "--json")
    assert answer.code == 1
    error = answer.json["error"]
    assert error["where"] == "raises-at-import 2.7"
    assert "RuntimeError: no luck" in error["why"]
    assert "raises-at-import" in error["fix"]


def test_an_unknown_name_points_at_the_broken_plugins_that_may_have_had_it(site: Site) -> None:
    site.install("sad", "raise RuntimeError('no luck')")
    with pytest.raises(UsageError, match=r"sad 1\.0 is broken: RuntimeError: no luck") as caught:
        Registry.load().resolve("rule", "sad-rule")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_broken_plugin_can_be_left_out(all_broken: Site) -> None:
    answer = all_broken.run("rules", "--no-plugin", "raises-at-import", "--json")
    assert "raises-at-import" not in [item["name"] for item in answer.json]


def test_a_broken_plugin_conflicts_with_nobody(site: Site) -> None:
    site.install("half", HALF.replace("half-rule", "hsic"))
    assert Registry.load().find("rule", "hsic").distribution == "localrules"


def test_what_a_plugin_prints_at_import_does_not_spoil_json(site: Site) -> None:
    site.install("loud", "print('hello from a plugin')\n" + good("loud-rule"))
    answer = site.run("rules", "--json")
    assert answer.named("loud-rule")["status"] == "ok"
    assert "hello from a plugin" in answer.err


def test_what_is_installed_and_removed_meanwhile_is_there_and_gone_for_the_next_registry(site: Site) -> None:
    site.install("first", good("first-rule"))
    assert Registry.load().entries_of("first", "rule")
    site.install("second", good("second-rule"))
    assert Registry.load().entries_of("second", "rule")
    shutil.rmtree(site.folder / "second-1.0.dist-info")
    assert "second" not in {entry.distribution for entry in Registry.load().entries("rule")}


def test_other_things_in_a_plugins_module_are_let_alone(site: Site) -> None:
    odd = "class Odd:\n    def __getattr__(self, name):\n        raise AttributeError(name)\n\nodd = Odd()\n"
    site.install("odd", odd + good("odd-rule"))
    assert [entry.status for entry in Registry.load().entries_of("odd", "rule")] == ["ok"]
