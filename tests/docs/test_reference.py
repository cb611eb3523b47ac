"""The API pages leave nothing out, and the keys that docstrings and pages list are those of a run."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import get_origin

import pytest
from helpers.snippets import PAGES
from helpers.tiny_runs import TINY, metrics, train

import localrules
import localrules.testing
from localrules.callbacks.base import Callback
from localrules.registry import hookspecs

API = {page: path.read_text(encoding="utf-8") for page, path in PAGES.items() if page.startswith("docs/api/")}
NAMED = re.findall(r"^::: ([\w.]+)$", "\n".join(API.values()), re.MULTILINE)
PUBLIC = [
    *(f"localrules.{name}" for name in localrules.__all__ if name != "__version__"),
    *(f"localrules.testing.{name}" for name in localrules.testing.__all__),
]


def find(name: str) -> object:
    """The object that a dotted name of an API page stands for."""
    module, _, last = name.rpartition(".")
    parent = import_module(module)
    return getattr(parent, last) if hasattr(parent, last) else import_module(name)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_its_place_on_one_api_page(name: str) -> None:
    in_hooks = getattr(hookspecs, name.rpartition(".")[2], None) is getattr(localrules, name.rpartition(".")[2], "")
    assert NAMED.count("localrules.registry.hookspecs" if in_hooks else name) == 1


@pytest.mark.parametrize("name", [name for name in NAMED if get_origin(find(name)) is None])
def test_what_an_api_page_names_is_there_and_documented(name: str) -> None:
    assert inspect.getdoc(find(name))


@pytest.mark.parametrize("hook", [name for name in vars(hookspecs) if name.startswith("localrules_")])
def test_every_hook_is_documented(hook: str) -> None:
    assert inspect.getdoc(getattr(hookspecs, hook))


def test_the_keys_of_rows_and_summaries_are_those_of_a_run(tmp_path: Path) -> None:
    run = train(tmp_path, "--rule", "local-ce", setting=TINY)
    columns = {re.sub(r"/.*", "/<layer>", column) for column in metrics(run["run_dir"])[0]}
    assert {column for column in columns if f"``{column}``" not in (Callback.on_log.__doc__ or "")} == set()
    meanings = PAGES["docs/guides/run-folder.md"].read_text(encoding="utf-8")
    listed = API["docs/api/callbacks.md"]
    assert [key for key in run if f"`{key}`" not in listed or f"`{key}`" not in meanings] == []
