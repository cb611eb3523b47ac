"""Files say what they are, and hold nothing that is private to a machine or not ours to give."""

from __future__ import annotations

import ast
import re
from pathlib import Path

# A path into somebody's home or a machine's own corners; "~" and made-up paths below a test's folder are fine.
ROOT = Path(__file__).resolve().parents[2]
PRIVATE_PATH = re.compile(r"(?<![\w.~/$}])/(?:home|root|Users|mnt|opt|srv|work)/\w")
# PyTorch's own index is public, and needed for its wheels without CUDA.
PACKAGE_INDEX = re.compile(
    r"--(?:extra-)?index-url(?! https://download\.pytorch\.org/| \$\{TORCH_INDEX\})|--find-links|--trusted-host"
)
IMAGE_IN_TEXT = re.compile(r"(?:\d{1,3}[ ,]+){2303}\d")
WEIGHTS = ROOT / "examples" / "recipes" / "weights"  # in half precision, of four networks


def test_every_module_says_in_its_first_line_what_it_is(sources: dict[str, str]) -> None:
    silent = [path for path, text in sources.items() if text and not ast.get_docstring(ast.parse(text))]
    assert silent == []


def texts(tracked: list[Path]) -> dict[str, str]:
    found = {}
    for path in tracked:
        data = path.read_bytes()
        if b"\0" not in data:
            found[str(path)] = data.decode()
    return found


def test_no_tracked_file_tells_of_a_machine(tracked: list[Path]) -> None:
    private = re.compile(f"{PRIVATE_PATH.pattern}|{PACKAGE_INDEX.pattern}")
    here = str(Path(__file__))
    told = {path: private.findall(text) for path, text in texts(tracked).items() if path != here}
    assert {path: found for path, found in told.items() if found} == {}


def test_no_tracked_file_holds_an_image_as_numbers_or_a_data_set(tracked: list[Path]) -> None:
    assert [path for path, text in texts(tracked).items() if IMAGE_IN_TEXT.search(text)] == []
    data = {".csv", ".gz", ".npz", ".npy", ".pt", ".pkl", ".safetensors", ".zip"}
    docs = ROOT / "docs"
    metrics = (docs / "benchmarks" / "measured", docs / "paper", docs / "research" / "second_search")  # small tables
    allowed = (*metrics, WEIGHTS)
    found = [path for path in tracked if path.suffix in data and not any(path.is_relative_to(home) for home in allowed)]
    assert [str(path) for path in found] == []
    assert [
        str(path)
        for home in metrics
        for path in home.rglob("*.*")
        if path.suffix in data and path.stat().st_size > 100_000
    ] == []


def test_tracked_files_are_small(tracked: list[Path]) -> None:
    large = [
        path for path in tracked if path.stat().st_size > (5_000_000 if path.is_relative_to(WEIGHTS) else 1_000_000)
    ]
    assert [str(path) for path in large] == []
