"""The pages say what is there."""

from __future__ import annotations

import csv
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from helpers.snippets import PAGES, ROOT

from localrules import Requirements
from localrules.registry.registry import Registry
from localrules.reproduce.registry import select_experiments

pytestmark = pytest.mark.slow

CODE = (ROOT / "localrules", ROOT / "plugins")
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#]*)(?:#([^)]*))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_SECTION = re.compile(r"^(?:# [\w-]+|## .+|<!-- generated: .+ -->)$", re.MULTILINE)
LINKED = sorted(
    {
        *PAGES.values(),
        *ROOT.glob("*.md"),
        *(path for folder in (".github", "examples") for path in (ROOT / folder).rglob("*.md")),
    }
)
RULES = [page for page in PAGES if page.startswith("docs/rules/") and page != "docs/rules/index.md"]


def text(page: str) -> str:
    return PAGES[page].read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The names by which GitHub links to a page's headings."""
    headings = _HEADING.findall(re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_command_and_every_rule_has_its_place() -> None:
    listed = [item.entry.name for item in Registry.load(allow=[]).entries("rule")]
    for rule in listed:
        assert f"`{rule}`" in text("README.md")
        for part in (f"options rule {rule}", f"published of {rule}", f"run of {rule}"):
            assert f"<!-- generated: {part} -->" in text(f"docs/rules/{rule}.md")
    assert sorted(f"docs/rules/{rule}.md" for rule in listed) == sorted(RULES)
    assert [rule for rule in listed if f"({rule}.md)" not in text("docs/rules/index.md").replace("./", "")] == []


@pytest.mark.parametrize("page", RULES)
def test_the_page_of_a_rule_has_the_sections_and_generated_parts_of_the_template(page: str) -> None:
    template = (ROOT / "docs" / "scripts" / "rule.md.txt").read_text(encoding="utf-8")
    expected = _SECTION.findall(template.replace("NAME", Path(page).stem))
    assert expected
    assert [
        part for part in _SECTION.findall(text(page)) if not part.startswith("<!-- generated: models of")
    ] == expected


def test_every_measured_row_of_the_literature_stands_on_the_page_of_the_rule_it_was_run_with() -> None:
    registry = Registry.load(allow=[])
    rules = {
        f"{name.removeprefix('published-')}: {row.name}": row.settings["rule"]["name"]
        for name, experiment in select_experiments("published", registry).items()
        for row in experiment.cases
    }
    with (ROOT / "docs" / "benchmarks" / "measured" / "published.csv").open(encoding="utf-8", newline="") as lines:
        names = [row["row"] for row in csv.DictReader(lines)]
    assert names
    for name in names:
        pages = [page for page in RULES if f"| {name} |" in text(page)]
        assert pages == [f"docs/rules/{rules[name]}.md"]


def test_the_authors_of_a_rules_entry_are_those_of_its_page() -> None:
    for item in Registry.load(allow=[]).entries("rule"):
        references = text(f"docs/rules/{item.entry.name}.md").partition("## References")[2]
        *names, _ = re.split(r"https?://\S+", item.entry.reference + " https://end")
        authors = re.findall(r"[^\W\d_a-z][\w']+", " ".join(names))
        assert authors
        assert [name for name in authors if name not in references] == [], item.entry.name


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(f"{target}#{anchor}" if anchor else target)
    assert broken == []


def test_the_guide_to_plugins_lists_every_requirement() -> None:
    guide = text("docs/guides/writing-a-plugin.md")
    assert [field.name for field in fields(Requirements) if f"| `{field.name}` | " not in guide] == []


def test_links_of_the_readme_into_the_repository_are_absolute_for_pypi_and_lead_somewhere() -> None:
    base = re.escape(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"])
    raw = base.replace(re.escape("github.com"), re.escape("raw.githubusercontent.com"))
    page = text("README.md")
    targets = re.findall(rf"\]\((?:{base}/(?:blob|tree)/main|{raw}/main)/([^)#]+)(?:#([^)]*))?\)", page)
    assert len(targets) > 20
    assert _LINK.findall(page) == []
    for target, anchor in targets:
        assert (ROOT / target).exists(), target
        assert not anchor or anchor in anchors(ROOT / target), f"{target}#{anchor}"


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].read_bytes()) <= 9_000


def test_the_architecture_names_no_file_that_is_not_there() -> None:
    named = re.findall(r"`([\w/.*]+\.py|[\w/]+/)`", text("docs/contributing/architecture.md"))
    assert len(named) > 50
    absent = [
        name
        for name in named
        if not any(list(base.glob(name)) for base in (ROOT, ROOT / "localrules", ROOT / "plugins"))
    ]
    assert absent == []


def test_the_architecture_leaves_out_no_package() -> None:
    page = text("docs/contributing/architecture.md")
    packages = [path.parent.relative_to(ROOT) for base in CODE for path in base.glob("*/__init__.py")]
    assert len(packages) > 25
    assert [str(package) for package in packages if f"`{package}/`" not in page] == []


def test_the_architecture_says_which_plugin_supplies_what() -> None:
    page = text("docs/contributing/architecture.md")
    for kind in ("rule", "model", "data"):
        for item in Registry.load(allow=[]).entries(kind):
            package = item.entry.target.split(":")[0].split(".")[0]
            (row,) = re.findall(rf"^\| .*`plugins/{package}/`.* \|$", page, re.MULTILINE)
            assert f"`{item.entry.name}`" in row


def test_images_in_the_pages_are_small_and_all_shown() -> None:
    images = list((ROOT / "docs" / "images").iterdir())
    assert [image.name for image in images if image.stat().st_size > 200_000] == []
    shown = "".join(map(text, PAGES))
    assert [image.name for image in images if f"images/{image.name}" not in shown] == []
