"""Names: two distributions may supply the same one, and no package breaks ours by existing."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.fake_distributions import Site, good

import localrules
from localrules.errors import LocalRulesError, UsageError
from localrules.registry.registry import Registry

pytestmark = pytest.mark.slow

OBJECTIVE = """
from localrules import Objective

class Theirs(Objective):
    def forward(self, view):
        return view.output.sum()

class NotARule:
    pass
"""


def test_two_distributions_with_one_rule_name_are_both_in_conflict(site: Site) -> None:
    site.install("first-pack", good("shared-name"))
    site.install("second-pack", good("shared-name"))
    lines = [item for item in site.run("rules", "--json").json if item["name"] == "shared-name"]
    assert [(item["distribution"], item["status"]) for item in lines] == [
        ("first-pack", "conflict"),
        ("second-pack", "conflict"),
    ]
    assert lines[0]["cause"] == "second-pack supplies this name, too; first-pack/shared-name means this one"


def test_only_the_command_that_uses_the_bare_name_fails_and_it_names_both(site: Site) -> None:
    site.install("rival", good("hsic"))
    answer = site.run("rules", "show", "hsic", "--json")
    assert answer.code == 2
    assert answer.json["error"]["why"] == f"localrules {localrules.__version__} and rival 1.0 each have one"
    assert answer.json["error"]["fix"] == "say which: localrules/hsic or rival/hsic"
    assert Registry.load().find("rule", "backprop").status == "ok"


def test_what_a_user_reads_of_a_clash_is_what_the_page_on_publishing_shows(site: Site) -> None:
    site.install("localrules-spread", good("spread"))
    site.install("spread-rules", good("spread"), version="2.1")
    page = (Path(__file__).parents[2] / "docs" / "guides" / "publishing.md").read_text(encoding="utf-8")
    shown = page.partition("$ localrules run --rule spread\n")[2].partition("```")[0]
    answer = site.run("run", "--rule", "spread")
    assert answer.code == 2
    lines = [line.rstrip() for line in answer.err.splitlines()]
    assert [line for line in shown.splitlines() if line not in lines] == []
    assert shown.startswith("Error")


def test_distribution_and_name_decide_however_the_distribution_is_spelt(site: Site) -> None:
    site.install("Rival-Pack", good("hsic"))
    registry = Registry.load()
    assert registry.find("rule", "localrules/hsic").entry.target == "localrules_hsic.hsic:HSIC"
    for spelling in ("Rival-Pack/hsic", "rival_pack/hsic", "rival.pack/hsic"):
        assert registry.find("rule", spelling).entry.target == "nowhere:Nothing"


def test_distribution_and_name_work_without_a_conflict_too(site: Site) -> None:
    assert Registry.load().find("rule", "localrules/hsic").entry.name == "hsic"


def test_two_distributions_with_one_entry_point_name_both_load(site: Site) -> None:
    site.install("first-pack", good("first-rule"), points="same = first_pack")
    site.install("second-pack", good("second-rule"), points="same = second_pack")
    registry = Registry.load()
    assert registry.find("rule", "first-rule").distribution == "first-pack"
    assert registry.find("rule", "second-rule").distribution == "second-pack"


def test_one_name_in_two_kinds_is_not_a_conflict(site: Site) -> None:
    site.install("other", good("mlp"))
    assert Registry.load().find("rule", "mlp").status == "ok"
    assert Registry.load().find("model", "mlp").status == "ok"


def test_an_unknown_name_suggests_the_nearest_and_says_how_to_get_more(site: Site) -> None:
    with pytest.raises(UsageError, match="there is no rule 'hsik'") as caught:
        Registry.load().find("rule", "hsik")
    assert "did you mean 'hsic'" in caught.value.fix
    assert "--plugin" in caught.value.fix
    assert "localrules-" in caught.value.fix


def test_an_unknown_distribution_before_a_known_name_is_an_unknown_name(site: Site) -> None:
    with pytest.raises(UsageError, match="there is no rule 'nobody/hsic'"):
        Registry.load().find("rule", "nobody/hsic")


def test_a_rule_of_another_distribution_resolves_to_its_class(site: Site) -> None:
    site.install("theirs", good("their-rule", "theirs_rule:Theirs"), theirs_rule=OBJECTIVE)
    assert Registry.load().resolve("rule", "their-rule").__name__ == "Theirs"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("theirs_absent:Theirs", "No module named 'theirs_absent'"),
        ("theirs_rule:Thiers", "has no attribute 'Thiers'"),
        ("theirs_rule:NotARule", "must be a subclass of localrules.Objective or localrules.Rule"),
        ("theirs_exits:Theirs", "SystemExit: 4"),
    ],
)
def test_a_target_that_cannot_be_used_names_distribution_and_cause(site: Site, target: str, why: str) -> None:
    site.install("theirs", good("their-rule", target), theirs_rule=OBJECTIVE, theirs_exits="import sys; sys.exit(4)")
    registry = Registry.load()
    assert registry.find("rule", "their-rule").status == "ok", "listing does not import targets"
    with pytest.raises(LocalRulesError, match="rule 'their-rule' cannot be used") as caught:
        registry.resolve("rule", "their-rule")
    assert caught.value.where == f"{target}, of theirs 1.0"
    assert why in caught.value.why
    assert caught.value.__cause__ is not None
    assert caught.value.exit_code == 1


def test_a_missing_dependency_of_a_rule_says_what_to_install(site: Site) -> None:
    site.install("theirs", good("their-rule", "theirs_rule:X"), theirs_rule="import not_installed_anywhere")
    with pytest.raises(LocalRulesError) as caught:
        Registry.load().resolve("rule", "their-rule")
    assert caught.value.fix == "install the module 'not_installed_anywhere', which theirs needs"
