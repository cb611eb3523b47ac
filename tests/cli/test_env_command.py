"""``localrules env`` prints what a bug report needs, and nothing that belongs to the user."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest
import torch
from helpers.tiny_runs import localrules


def test_versions_machine_and_plugins_are_printed() -> None:
    said = localrules("env")
    assert said.code == 0
    for word in (torch.__version__, "numpy", "cores", "devices", "cpu", "hsic: localrules"):
        assert word in said.out


def test_the_document_has_everything_by_name() -> None:
    found = localrules("env", "--json").document
    assert found["packages"]["torch"] == torch.__version__
    assert found["cores"] >= 1
    assert {"name": "hsic", "distribution": "localrules", "status": "ok"}.items() <= next(
        item for item in found["plugins"] if item["name"] == "hsic"
    ).items()


def test_secrets_users_and_folders_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret-key")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / f"home-of-{getpass.getuser()}"
    folder.mkdir()
    (folder / "mine.py").write_text("RULES = {}\n")
    text = json.dumps(localrules("env", "--json", "--plugin", folder / "mine.py").document)
    assert "mine.py" in text
    assert '"OMP_NUM_THREADS": "1"' in text
    for private in ("secret-key", str(folder), str(Path.home())):
        assert private not in text
