"""The examples run, and the rule that the pages show is the one in examples/."""

from __future__ import annotations

import runpy

import pytest
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


@pytest.mark.parametrize("name", ["hsic_readout_gap.py", "step_cost_beside_public_code.py"])
def test_an_example_that_needs_more_than_a_test_has_says_what_it_wants(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(ROOT / "examples" / name))["main"]
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "--threads" in capsys.readouterr().out


def test_rows_of_the_gap_are_those_of_the_suite() -> None:
    """Same widths, batches, epochs and published figures."""
    from localrules_hsic.published import hsic

    rows = runpy.run_path(str(ROOT / "examples" / "hsic_readout_gap.py"))["ROWS"].values()
    suite = [row for row in hsic().rows if "readout" in row.name]
    assert sorted(row.published for row in rows) == sorted(row.published for row in suite)
    for row in suite:
        (same,) = (one for one in rows if one.published == row.published)
        assert list(same.hidden[1:]) == row.settings["model"]["hidden"]
        assert (same.batch, same.width) == (row.settings["batch_size"], row.settings["rule"]["width"])
        assert same.epochs + 5 == row.settings["epochs"]
