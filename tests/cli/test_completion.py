"""A shell completes commands and the names that plugins supply."""

from __future__ import annotations

from pathlib import Path

import pytest

from localrules.cli import main


def completed(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The answer to a shell behind whose last word the cursor stands."""
    monkeypatch.setenv("_LOCALRULES_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    assert main([]) == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("localrules rep", ["reproduce"]),
        ("localrules run --rule backprop-", ["backprop-checkpointed"]),
        ("localrules run --data image_", ["image_folder"]),
        ("localrules audit --model dense_fpn_", ["dense_fpn_small"]),
        ("localrules run --track tensor", ["tensorboard"]),
        ("localrules compare --rules hsic,local-", ["hsic,local-ce"]),
        ("localrules rules show sign", ["sign-symmetry"]),
        ("localrules nonsense --rule hs", []),
    ],
)
def test_names_are_completed(
    line: str, names: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCALRULES_PLUGINS", "")
    assert completed(line, monkeypatch, capsys) == names


def test_a_plugin_file_supplies_names_and_a_broken_one_does_not_break_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        "from localrules import Objective\n"
        "class Mine(Objective):\n"
        "    '''Mine.'''\n"
        "    def forward(self, view):\n"
        "        return view.output.mean()\n"
        "RULES = {'mine-alone': Mine}\n"
    )
    assert completed(f"localrules run --plugin {tmp_path}/mine.py --rule mine", monkeypatch, capsys) == ["mine-alone"]
    assert completed(f"localrules run --plugin {tmp_path}/none.py --rule mine", monkeypatch, capsys) == []
