"""Users choose which plugins load; ours are there unless they are left out by name."""

from __future__ import annotations

import pytest
from helpers.fake_distributions import Site, good

from localrules.errors import UsageError
from localrules.registry.registry import Registry


@pytest.fixture
def two(site: Site) -> Site:
    site.install("alpha-pack", good("alpha"), points="alpha-plugin = alpha_pack")
    site.install("beta-pack", good("beta"), points="beta-plugin = beta_pack")
    return site


def names(registry: Registry) -> set[str]:
    return {item.entry.name for item in registry.entries("rule")}


@pytest.mark.parametrize("word", ["alpha-plugin", "alpha-pack", "alpha_pack", "alpha-pack/alpha-plugin"])
def test_a_list_of_allowed_plugins_loads_these_and_ours(two: Site, word: str) -> None:
    found = names(Registry.load(allow=[word]))
    assert "alpha" in found
    assert "beta" not in found
    assert "hsic" in found


def test_the_environment_gives_the_list_to_the_command_line(two: Site) -> None:
    listed = {item["name"] for item in two.run("rules", "--json", LOCALRULES_PLUGINS="beta-plugin, ").json}
    assert "beta" in listed
    assert "alpha" not in listed
    assert "hsic" in listed


def test_an_empty_list_loads_ours_alone(two: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALRULES_PLUGINS", "")
    assert {item.distribution for item in Registry.load().plugins()} == {"localrules"}


def test_an_allowed_plugin_that_is_not_installed_is_listed_as_broken(two: Site) -> None:
    answer = two.run("plugins", "--json", LOCALRULES_PLUGINS="alfa")
    assert answer.code == 0
    assert answer.named("alfa")["status"] == "broken"
    assert "no such plugin is installed" in answer.named("alfa")["cause"]


@pytest.mark.parametrize("word", ["alpha-plugin", "alpha-pack"])
def test_a_plugin_is_left_out_by_its_name_or_its_distribution(two: Site, word: str) -> None:
    found = names(Registry.load(block=[word]))
    assert "alpha" not in found
    assert {"beta", "hsic"} <= found


def test_ours_can_be_left_out_too(two: Site) -> None:
    assert "hsic" not in names(Registry.load(block=["localrules/hsic"]))


def test_leaving_out_an_unknown_plugin_suggests_the_nearest(two: Site) -> None:
    with pytest.raises(UsageError, match="did you mean 'alpha-"):
        Registry.load(block=["alpha-plug"])
    answer = two.run("rules", "--no-plugin", "alpha-plug", "--json")
    assert answer.code == 2
    assert answer.json["error"]["where"] == "--no-plugin alpha-plug"
