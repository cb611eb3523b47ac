"""A plugin made for other hooks is set aside, and says what it needs."""

from __future__ import annotations

import pytest
from helpers.fake_distributions import Site, good

from localrules import API_VERSION
from localrules.errors import LocalRulesError
from localrules.registry.registry import Registry


@pytest.mark.parametrize(
    ("declared", "cause"),
    [
        ("99", "it needs a newer localrules: it was written for hook API 99, this one has 1"),
        ("'1'", "its API_VERSION is '1', and must be a whole number from 1 to 1"),
        ("1.0", "its API_VERSION is 1.0, and must be a whole number"),
        ("True", "its API_VERSION is True, and must be a whole number"),
        ("0", "its API_VERSION is 0, and must be a whole number"),
    ],
)
def test_another_api_version_is_incompatible(site: Site, declared: str, cause: str) -> None:
    site.install("ahead", f"API_VERSION = {declared}\n" + good("ahead-rule"))
    (line,) = [item for item in Registry.load().plugins() if item.distribution == "ahead"]
    assert line.status == "incompatible"
    assert line.cause is not None
    assert line.cause.startswith(cause)


@pytest.mark.parametrize("declaration", [f"API_VERSION = {API_VERSION}\n", ""])
def test_our_api_version_or_none_is_compatible(site: Site, declaration: str) -> None:
    site.install("fine", declaration + good("fine-rule"))
    assert Registry.load().find("rule", "fine-rule").status == "ok"


def test_hooks_of_an_incompatible_plugin_are_not_called(site: Site) -> None:
    site.install("ahead", "API_VERSION = 2\n" + good("ahead-rule").replace("return [", "raise SystemExit  # ["))
    answer = site.run("rules", "--json")
    assert answer.code == 0
    assert answer.named("ahead")["status"] == "incompatible"


def test_using_an_incompatible_plugin_by_name_raises_the_cause(site: Site) -> None:
    site.install("ahead", "API_VERSION = 2\n" + good("ahead-rule"))
    with pytest.raises(LocalRulesError, match="its plugin is incompatible") as caught:
        Registry.load().find("rule", "ahead")
    assert "needs a newer localrules" in caught.value.why
