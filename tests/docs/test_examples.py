"""The examples run, and the rule that the pages show is the one in examples/."""

from __future__ import annotations

import runpy

from snippets import ROOT, snippets


def test_a_module_of_ones_own_learns_in_a_loop_of_ones_own() -> None:
    main = runpy.run_path(str(ROOT / "examples" / "wrap_your_module.py"))["main"]
    assert main(steps=40, pictures=980) > 1.5 / 7


def test_the_pages_show_the_example_rule_as_it_is() -> None:
    example = (ROOT / "examples" / "myrule.py").read_text(encoding="utf-8").split("\n", 2)[2]
    for page in ("README.md", "docs/tutorial.md"):
        first = next(snippet for snippet in snippets(page) if snippet.file == "myrule.py")
        assert first.code == example, first.place
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
