"""Write constraints.txt: every package that running and checking localrules needs, at pip's newest fitting release."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# The releases with which localrules is developed and checked. Users need not heed them.
# Written by `make constraints`. CUDA's libraries are left out: each PyTorch pins its own.
"""
LEFT_OUT = ("cuda-", "localrules", "nvidia-", "triton")


def resolve() -> list[tuple[str, str]]:
    """(name, version) of everything that pip would install into an empty environment, nothing installed."""
    # Extras that the group does not hold are named: they are pinned, though not installed to check the rest. Left out
    # are mlflow and trackio, whose own bounds exclude the newest releases of other packages.
    options = ["--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    groups = ["--group", "dev", "--group", "docs"]
    line = [sys.executable, "-m", "pip", "install", *options, "--editable", ".[dashboard,faces,ray,slurm]", *groups]
    report = json.loads(subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    found = [(item["metadata"]["name"], item["metadata"]["version"]) for item in report["install"]]
    return sorted((name.lower().replace("_", "-").replace(".", "-"), version) for name, version in found)


if __name__ == "__main__":
    pins = [f"{name}=={version}" for name, version in resolve() if not name.startswith(LEFT_OUT)]
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(pins) + "\n")
