"""CIFAR's files, with few samples of noise."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass

import numpy as np

PIXELS = 3 * 32 * 32
BATCHES = [f"data_batch_{number}" for number in range(1, 6)]


@dataclass
class Samples:
    """Some samples: pixels, uint8 of shape (samples, 3072), and labels; of CIFAR-100 coarse ones, too."""

    pixels: np.ndarray
    labels: list[int]
    coarse: list[int]


def samples(count: int, classes: int, seed: int) -> Samples:
    """Samples whose labels run through all classes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, PIXELS), dtype=np.uint8)
    labels = [(seed * count + number) % classes for number in range(count)]
    return Samples(pixels, labels, [label // 5 for label in labels])


def cifar10() -> dict[str, Samples]:
    """Four samples in each of five batches and in the test batch: two of each class in train."""
    return {name: samples(4, 10, seed) for seed, name in enumerate([*BATCHES, "test_batch"])}


def cifar100() -> dict[str, Samples]:
    """Two samples of each class in train, one in test."""
    return {"train": samples(200, 100, 0), "test": samples(100, 100, 1)}


def pickled(content: dict[str, Samples], protocol: int = 2) -> dict[str, bytes]:
    """The files of the python form."""
    fine = "fine_labels" if "train" in content else "labels"
    return {
        name: pickle.dumps({fine: part.labels, "coarse_labels": part.coarse, "data": part.pixels}, protocol)
        for name, part in content.items()
    }


def binary(content: dict[str, Samples]) -> dict[str, bytes]:
    """The files of the binary form."""

    def head(part: Samples, at: int) -> bytes:
        return bytes([part.coarse[at], part.labels[at]] if "train" in content else [part.labels[at]])

    return {
        f"{name}.bin": b"".join(head(part, at) + part.pixels[at].tobytes() for at in range(len(part.labels)))
        for name, part in content.items()
    }


def python2_pickle(part: Samples) -> bytes:
    """One file of CIFAR-10 as Python 2 and its numpy wrote it: strings of bytes, and ``numpy.core``."""
    labels = b"".join(b"K" + bytes([label]) for label in part.labels)
    rows = part.pixels.shape[0]
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + b"(K\x01K" + bytes([rows]) + b"M" + struct.pack("<H", PIXELS) + b"\x86"
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89T" + struct.pack("<I", part.pixels.nbytes) + part.pixels.tobytes() + b"tb"
    )  # fmt: skip
    return b"\x80\x02}(U\x06labels](" + labels + b"eU\x04data" + array + b"u."
