"""Run the snippets of the documentation."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest
from helpers.exhaustive import REPRESENTATIVES, few
from helpers.snippets import DRAWN, LANGUAGES, PAGES, SMALL, run, snippets

from localrules.cli import main
from localrules.config.schema import RunConfig
from localrules.runs import page, plots
from localrules_fer.faces import dataset
from localrules_fer.faces.draw import draw

pytestmark = pytest.mark.slow

LONG = {f"docs/guides/{page}.md" for page in ("audit", "cookbook", "sweep", "testing")}
RULES = {page for page in PAGES if page.startswith("docs/rules/")}
RUN = {*PAGES} - LONG - RULES | {f"docs/rules/{page}.md" for page in ("index", *REPRESENTATIVES)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of its own for the few faces, which the cache of other tests has whole."""
    return tmp_path_factory.mktemp("few-faces")


def is_drawn(config: RunConfig) -> bool:
    return config.rule.label == DRAWN


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, where no data set of the user's is found, and 140 faces are all that is drawn."""
    monkeypatch.setenv("LOCALRULES_CACHE", str(cache))
    monkeypatch.setattr(dataset, "draw", lambda seed, split, samples: draw(seed, split, min(samples, 140)))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LOCALRULES_FER2013", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    drawing, paging = plots.save_plots, page.write_run_page
    monkeypatch.setattr(plots, "save_plots", lambda run, *rest: drawing(run, *rest) if is_drawn(run.config) else [])
    monkeypatch.setattr(page, "write_run_page", lambda run, *rest: paging(run, *rest) if is_drawn(run.config) else None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", few([page for page in PAGES if snippets(page)], RUN))
def test_the_snippets_of_a_page_work_one_after_the_other(page: str, folder: Path) -> None:
    for snippet in snippets(page):
        if not snippet.reason:
            run(snippet, folder)


@pytest.mark.parametrize("page", list(PAGES))
def test_every_snippet_is_of_a_language_that_is_checked(page: str) -> None:
    assert [snippet.place for snippet in snippets(page) if snippet.language not in LANGUAGES] == []
    fences = [line for line in PAGES[page].read_text(encoding="utf-8").splitlines() if line.startswith("```")]
    assert len(fences) == 2 * len(snippets(page)), "a fence that is not closed"


def test_the_package_of_the_guide_for_authors_is_found_once_it_is_installed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = snippets("docs/guides/writing-a-plugin.md")
    for snippet in page:
        if snippet.file.startswith("localrules_spread/"):
            run(snippet, folder)
    (project,) = (tomllib.loads(snippet.code)["project"] for snippet in page if snippet.language == "toml")
    installed = folder / "localrules_spread-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{name} = {module}\n" for name, module in project["entry-points"]["localrules"].items())
    (installed / "entry_points.txt").write_text(f"[localrules]\n{points}")
    monkeypatch.syspath_prepend(folder)
    (folder / "small.toml").write_text(SMALL)
    try:
        assert main(["run", "--rule", "spread", "--config", "small.toml"]) == 0
    finally:
        for name in [name for name in sys.modules if name.startswith("localrules_spread")]:
            del sys.modules[name]
