"""The paths of calls that the architecture page gives are those of the code."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
from helpers.snippets import PAGES, ROOT, SMALL

from localrules.cli import main
from localrules.engine.optimizers import LayerOptimizers

pytestmark = pytest.mark.slow


def calls(section: str) -> list[tuple[str, str]]:
    """The numbered calls of a section of the architecture: qualified name, and file below ``localrules``."""
    page = PAGES["docs/contributing/architecture.md"].read_text(encoding="utf-8")
    body = page.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\d+\. `([\w.]+)` \(`([\w/]+\.py)`\)", body, re.MULTILINE)


def test_a_run_takes_the_path_that_the_architecture_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks: list[list[tuple[str, str]]] = []
    original = LayerOptimizers.step

    def step(self: LayerOptimizers, name: str) -> None:
        frame, stack = sys._getframe().f_back, [("LayerOptimizers.step", "engine/optimizers.py")]
        while frame is not None:
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(ROOT / "localrules"):
                stack.append((frame.f_code.co_qualname, file.relative_to(ROOT / "localrules").as_posix()))
            frame = frame.f_back
        stacks.append(stack[::-1])
        original(self, name)

    monkeypatch.setattr(LayerOptimizers, "step", step)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)
    assert main(["run", "--rule", "hsic", "--config", "small.toml", "--steps", "1"]) == 0
    documented = calls("Path of a run")
    assert 8 < len(documented) <= 12
    assert [call for call in stacks[0] if call in documented] == documented


@pytest.mark.parametrize(("section", "number"), [("Path of a setting", 6), ("Registry", 4)])
def test_the_calls_that_the_architecture_lists_exist(section: str, number: int) -> None:
    documented = calls(section)
    assert len(documented) == number
    for name, file in documented:
        target: object = import_module("localrules." + file.removesuffix(".py").replace("/", "."))
        for attribute in name.split("."):
            target = getattr(target, attribute)
        assert callable(target)
