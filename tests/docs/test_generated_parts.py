"""Parts of pages that are generated are those that the code generates now."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_REPEATED = "measured classes"  # it takes minutes; tests/auditing measures the classes


@pytest.fixture
def generate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "scripts"))
    return importlib.import_module("generate")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_up_to_date(generate: ModuleType, page: Path) -> None:
    for _, what, lines, _ in generate.PART.findall(page.read_text(encoding="utf-8")):
        if what != NOT_REPEATED:
            assert f"\n{generate.part(what, page)}\n" == lines, f"{what}: run python docs/scripts/generate.py"
