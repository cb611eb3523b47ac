"""Difficulty of the built-in faces: too hard for a linear classifier on pixels, easy for a small network.

    python examples/faces_difficulty.py               # both measurements, some ten minutes
    python examples/faces_difficulty.py --rows 3000   # the linear classifier on fewer rows, for a first look

The first number must stay under 0.60: then a network that scores more has learned shapes, not places. The second must
pass 0.90: then a rule that scores less has itself to blame, and not the data.

Needs scikit-learn, which localrules does not: ``pip install scikit-learn``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time

from sklearn.linear_model import LogisticRegression

from localrules.data.dataset import Split
from localrules_fer.faces.dataset import Faces

LINEAR_AT_MOST, NETWORK_AT_LEAST = 0.60, 0.90


def linear_accuracy(train: Split, test: Split, strength: float) -> tuple[float, int]:
    """Multinomial logistic regression on standardised pixels, fitted to convergence.

    Args:
        train: What it is fitted to.
        test: What it is scored on.
        strength: The inverse of the L2 penalty, scikit-learn's ``C``.

    Returns:
        The accuracy on ``test``, and how many iterations L-BFGS took.
    """
    pixels, unseen = (split.images.flatten(1).float().numpy() for split in (train, test))
    mean, spread = pixels.mean(axis=0), pixels.std(axis=0) + 1e-6
    model = LogisticRegression(C=strength, max_iter=10_000).fit((pixels - mean) / spread, train.labels.numpy())
    return model.score((unseen - mean) / spread, test.labels.numpy()), int(model.n_iter_[0])


def network_accuracy(epochs: int) -> float:
    """``dense_fpn_small`` trained by ``backprop``: its accuracy on the valid split."""
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "localrules", "run", "--rule", "backprop", "--model", "dense_fpn_small"]
        command += ["--data", "faces", "--epochs", str(epochs), "--out", runs, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return float(json.loads(done.stdout)["valid_accuracy"])


def main() -> int:
    """Print both numbers; exit with 1 where one misses its mark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="fit the linear classifier to the first so many rows only")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of the network (0: leave it out)")
    options = parser.parse_args()

    started = time.perf_counter()
    data = Faces(Faces.Config()).load()
    print(f"{data.origin}: {time.perf_counter() - started:.1f} s to draw or to load", flush=True)

    train, kept = data.split("train"), []
    train = Split(train.images[: options.rows], train.labels[: options.rows])
    for strength in (1e-4, 1e-3, 1.0):
        started = time.perf_counter()
        accuracy, iterations = linear_accuracy(train, data.split("test"), strength)
        effort = f"{len(train)} rows, {iterations} iterations, {time.perf_counter() - started:.0f} s"
        print(f"logistic regression on pixels, C = {strength:g}: {accuracy:.3f} ({effort})", flush=True)
        kept.append(accuracy < LINEAR_AT_MOST)
    if options.epochs:
        accuracy = network_accuracy(options.epochs)
        print(f"dense_fpn_small, backprop, {options.epochs} epochs: {accuracy:.3f}", flush=True)
        kept.append(accuracy > NETWORK_AT_LEAST)
    print("as promised" if all(kept) else f"not under {LINEAR_AT_MOST} and over {NETWORK_AT_LEAST}", flush=True)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
