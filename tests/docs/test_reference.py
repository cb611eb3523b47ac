"""The reference for authors leaves nothing out. (That it is up to date, test_pages.py sees.)"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from snippets import PAGES, ROOT
from tiny_runs import TINY, metrics, train

import localrules
from localrules import hookspecs
from localrules.core import entries

PAGE = PAGES["docs/guides/hooks.md"].read_text(encoding="utf-8")


def section(name: str) -> str:
    """What the page says under a heading."""
    (found,) = re.findall(rf"^##+ {re.escape(name)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return found


def members(kind: type) -> list[str]:
    """Public names that a class has of its own, but for its ``Config``."""
    return [name for name in {**vars(kind), **inspect.get_annotations(kind)} if not name.startswith("_")]


@pytest.mark.parametrize("hook", [name for name in vars(hookspecs) if name.startswith("localrules_")])
def test_every_hook_is_there_with_its_arguments(hook: str) -> None:
    assert f"`{hook}{inspect.signature(getattr(hookspecs, hook))}`".replace("'", "") in section(hook)


def test_every_kind_of_entry_is_there() -> None:
    kinds = [name for name, kind in vars(entries).items() if isinstance(kind, type) and issubclass(kind, entries.Entry)]
    assert [name for name in kinds if name != "Entry" and not section(name)] == []


@pytest.mark.parametrize(
    "name", ["Objective", "Rule", "LayerView", "Requirements", "Layer", "Network", "Model", "DataSource", "Tracker"]
)
def test_every_member_of_what_authors_fill_in_is_there(name: str) -> None:
    kind, silent = getattr(localrules, name), ("config", "noted", "body", "Config")
    said = section(name)
    assert [member for member in members(kind) if member not in silent and f"`{member}" not in said] == []


def test_the_keys_of_rows_and_summaries_are_those_of_a_run(tmp_path: Path) -> None:
    run = train(tmp_path, "--rule", "local-ce", setting=TINY)
    columns = {re.sub(r"/.*", "/<layer>", column) for column in metrics(run["run_dir"])[0]}
    assert {column for column in columns if f"`{column}`" not in section("Observer")} == set()
    meanings = (ROOT / "docs" / "guides" / "run-folder.md").read_text(encoding="utf-8")
    assert [key for key in run if f"`{key}`" not in section("Summary") or f"`{key}`" not in meanings] == []
