"""Split FER2013 again after copying images, which makes a test accuracy look like a training accuracy.

Reads fer2013.csv and writes another one with the same columns: all rows are shuffled and dealt out to Training,
PublicTest and PrivateTest, eight, one and one of ten. With ``--copies`` each image first gets a copy that is moved by
one pixel, as who augments his data before he splits it does: most test images then have their twin in Training.

    python examples/resplit_fer2013.py fer2013.csv resplit.csv --copies
    localrules run --rule backprop --model mlp --data fer2013 --data-path resplit.csv
    localrules eval RUN --split test --leak-check

The file holds images of FER2013: keep it to yourself, and never report a result that comes of it.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from localrules.data.io import open_maybe_gzip

COLUMNS = ("emotion", "pixels", "Usage")
USAGES = ("Training",) * 8 + ("PublicTest", "PrivateTest")
SIDE = 48


def moved(pixels: str) -> str:
    """An image moved by one pixel to the right; its left edge is repeated."""
    image = np.array(pixels.split(), dtype=np.uint8).reshape(SIDE, SIDE)
    return " ".join(map(str, np.concatenate([image[:, :1], image[:, :-1]], axis=1).ravel()))


def resplit(source: Path, out: Path, *, copies: bool, seed: int = 0) -> int:
    """Deal the rows of a file out again.

    Args:
        source: fer2013.csv, plain or gzipped.
        out: The file to write.
        copies: Give each image a copy first.
        seed: Of the shuffling.

    Returns:
        How many rows were written.
    """
    with open_maybe_gzip(source) as file:
        rows = [(row["emotion"], row["pixels"]) for row in csv.DictReader(line.decode() for line in file)]
    if copies:
        rows += [(emotion, moved(pixels)) for emotion, pixels in rows]
    order = np.random.default_rng(seed).permutation(len(rows))
    with out.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows((*rows[row], USAGES[place % len(USAGES)]) for place, row in enumerate(order))
    return len(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--copies", action="store_true")
    asked = parser.parse_args()
    print(f"{resplit(asked.source, asked.out, copies=asked.copies):,} rows in {asked.out}")
