"""A run whose plugin is not here says what supplied it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tiny_runs import localrules, train

from localrules.errors import UsageError
from localrules.registry.errors import UnknownNameError
from localrules.runs.suppliers import name_suppliers

pytestmark = pytest.mark.slow

SPREAD = """
from localrules import LayerView, Objective

class Spread(Objective):
    \"\"\"Wants outputs to differ.\"\"\"

    def forward(self, view: LayerView):
        return -view.output.flatten(1).std(0).mean()

RULES = {"spread": Spread}
"""


def test_every_command_on_a_run_of_a_plugin_file_names_the_file(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(SPREAD)
    run = train(tmp_path / "runs", "--plugin", str(plugin), "--rule", "spread", "--steps", "2")["run_dir"]
    for words in (["eval", run], ["run", "--resume", run], ["audit", run]):
        said = localrules(*words, "--json")
        assert said.code == 2
        assert said.error["what"] == "there is no rule 'spread'"
        assert "had it from mine.py" in said.error["why"]
        assert said.error["fix"] == "--plugin PATH/TO/mine.py"
        assert localrules(*words, "--plugin", plugin, "--json").code == 0


def test_a_distribution_is_named_with_its_version() -> None:
    supplied = {"rule": "localrules 0.1.0, localrules-mine 2.0", "model": "localrules 0.1.0"}
    with pytest.raises(UsageError) as found, name_suppliers({"environment": {"supplied_by": supplied}}):
        raise missing("rule")
    assert found.value.fix == "pip install localrules-mine==2.0"
    assert "localrules 0.1.0" not in found.value.why


def test_what_localrules_supplied_itself_keeps_its_error() -> None:
    with (
        pytest.raises(UnknownNameError, match="there is no"),
        name_suppliers({"environment": {"supplied_by": {"model": "localrules 0.1.0"}}}),
    ):
        raise missing("model")


def missing(kind: str) -> UnknownNameError:
    error = UnknownNameError("there is no such thing")
    error.kind = kind
    return error
