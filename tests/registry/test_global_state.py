"""A plugin whose import changes the state of the process is broken by name, and the state is put back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from helpers.fake_distributions import Site
from helpers.tiny_runs import localrules

from localrules.registry.registry import Registry

CHANGES = {
    "torch.set_default_dtype(torch.float64)": "default dtype to torch.float64",
    "torch.set_default_device('meta')": "default device to meta",
    "torch.set_grad_enabled(False)": "gradients off",
    "sys.stdout = io.StringIO()": "replaced sys.stdout",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file(change: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"import io, sys, torch\n{change}\n")
    before = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(), sys.stdout
    said = localrules("rules", "--plugin", file, "--json")
    assert (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(), sys.stdout) == before
    assert said.code == 2
    assert str(file) in said.error["where"]
    assert CHANGES[change] in said.error["why"]


def test_an_installed_plugin_is_broken_and_others_are_not(site: Site) -> None:
    site.install("acme-rules", "import torch\ntorch.set_default_dtype(torch.float64)\n")
    found = Registry.load()
    assert torch.get_default_dtype() == torch.float32
    (broken,) = [item for item in found.plugins() if item.status == "broken"]
    assert "default dtype" in (broken.cause or "")
    assert found.find("rule", "hsic").status == "ok"
