"""A run whose plugin is not here says what supplied it."""

from __future__ import annotations

import hashlib
import tomllib
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


def test_a_record_and_an_export_have_the_name_and_the_hash_of_a_plugin_file_and_not_its_folder(tmp_path: Path) -> None:
    plugin = tmp_path / "somebody" / "mine.py"
    plugin.parent.mkdir()
    plugin.write_text(SPREAD)
    words = ["--plugin", str(plugin)]
    run = Path(train(tmp_path / "runs", *words, "--rule", "spread", "--steps", "2")["run_dir"])
    said = localrules("export", run, *words, "--format", "hub", "--out", tmp_path / "hub")
    assert said.code == 0, said.err
    known = f"mine.py {hashlib.sha256(plugin.read_bytes()).hexdigest()[:16]}"
    for folder in (run, tmp_path / "hub"):
        record = tomllib.loads((folder / "config.toml").read_text())
        assert known in record["environment"]["plugins"]
        record["environment"].pop("command", None)  # as it was typed; an export leaves it out
        assert "somebody" not in str(record)


def test_a_plugin_that_is_asked_for_and_not_there_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALRULES_PLUGINS", "absent")
    run = Path(train(tmp_path / "runs", "--rule", "hsic", "--steps", "2")["run_dir"])
    assert "absent" in tomllib.loads((run / "config.toml").read_text())["environment"]["plugins"]


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
