"""Tiny comparisons through the command line."""

from __future__ import annotations

from pathlib import Path

from helpers.tiny_runs import FACES, MLP, Said, localrules

RULES = "local-ce,backprop"
SHORT = [*FACES, *MLP, "--batch-size", "32", "--threads", "1", "--steps", "7", "--set", "plots=false"]


def compare(out: Path, *words: str | Path, rules: str = RULES, seeds: int = 2, setting: list[str] = SHORT) -> Said:
    """A tiny comparison of rules."""
    return localrules("compare", "--rules", rules, "--seeds", str(seeds), *setting, "--out", out, "--json", *words)


def run_folders(out: Path) -> list[Path]:
    """The run folders of a comparison."""
    return sorted(out.glob("runs/*"))
