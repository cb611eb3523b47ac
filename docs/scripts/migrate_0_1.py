"""Migrate committed CSVs and pages to the names of version 0.1.0: columns, files, options.

    python docs/scripts/migrate_0_1.py

Running it again changes nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
COLUMNS = {
    "pictures": "images",
    '"multiply-adds, 10^12"': '"macs, 10^12"',
    "multiply_adds_10^12": "macs_10^12",
    "G multiply-adds a step": "G MACs a step",
}
WORDS = {
    "answers.csv": "predictions.csv",
    "exhibits.json": "artifacts.json",
    "--layers-at-once": "--parallel-layers",
    "layers_at_once": "parallel_layers",
    "hold_out": "holdout_fraction",
    "test_time_flip": "tta_flip",
    "multiply_adds": "macs",
    "conflicting_pictures": "conflicting_images",
}
FILES = {"benchmarks/measured/fer2013-recipe-answers.csv": "benchmarks/measured/fer2013-recipe-predictions.csv"}
KEPT = {"glossary.md"}  # it lists old words on purpose


def _replace(text: str, words: dict[str, str], left: str, right: str) -> str:
    found = re.compile(left + "(" + "|".join(re.escape(word) for word in words) + ")" + right)
    return found.sub(lambda match: words[match[1]], text)


def migrate(docs: Path = DOCS) -> list[Path]:
    """Rename in the head of every CSV and in every page.

    Args:
        docs: The folder.

    Returns:
        The files that changed, under their new names.
    """
    changed = []
    for old, new in FILES.items():
        if (docs / old).exists():
            changed.append((docs / old).rename(docs / new))
    for path in sorted([*docs.rglob("*.csv"), *docs.rglob("*.md")]):
        if path.name in KEPT:
            continue
        before = path.read_bytes().decode()
        if path.suffix == ".csv":
            head, separator, rest = before.partition("\n")
            after = _replace(head, COLUMNS, "(?:(?<=,)|^)", "(?=,|$)") + separator + rest
        else:
            after = _replace(before, WORDS, r"(?<!\w)", r"(?!\w)")
        if after != before:
            path.write_bytes(after.encode())
            changed.append(path)
    return changed


if __name__ == "__main__":
    for path in migrate():
        print(path.relative_to(DOCS))
