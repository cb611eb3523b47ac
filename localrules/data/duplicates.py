"""Which images are exact copies of others."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from localrules.data.cache import load_or_build
from localrules.data.dataset import SPLITS, image_chunks
from localrules.utils.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from localrules.data.dataset import Dataset, Split
    from localrules.utils.progress import Advance


def image_keys(split: Split) -> list[bytes]:
    """A key for each sample, equal where, and only where, all pixels are."""
    samples = split.images.cpu().flatten(1).contiguous().numpy()
    return [hashlib.blake2b(sample.data, digest_size=16).digest() for sample in samples]


def duplicate_mask(data: Dataset, split: str) -> Tensor:
    """Which samples of a split have pixels that also occur in an earlier split: train before valid before test.

    A network that was trained on the earlier splits has met these images; an honest measurement leaves them out. Splits
    that the data set lacks cannot be looked into.

    Returns:
        bool, shape (samples,).

    Raises:
        DataError: There is no such split.
    """
    earlier = [data.splits[name] for name in SPLITS[: SPLITS.index(split)] if name in data.splits]
    met = {key for other in earlier for key in image_keys(other)}
    return torch.tensor([key in met for key in image_keys(data.split(split))], dtype=torch.bool)


THUMBNAIL = 16
NEAR_DUPLICATE_THRESHOLD = 0.95
"""Images whose thumbnails correlate above this count as one photograph. Ours: in FER2013 it finds other crops, other
watermarks and other compressions of one photograph; the pairs between 0.95 and 1 that we looked at were all such."""
CHUNK_SIZE = 1024
ALL_PAIRS = 1 << 15  # images, up to which each is compared with each
DRAWS, BUCKET = 24, 64  # draws of planes, and images that share a bucket, about
LAYOUT_VERSION = 2


def thumbnails(images: Tensor, *, flip: bool = False) -> Tensor:
    """Small, centred, of length one, so that their inner products are correlations; 0 for a constant image.

    Each channel is centred by itself: images that share a colour and nothing else are not alike.

    Args:
        images: uint8, shape (samples, channels, height, width).
        flip: Whether of the flipped images.

    Returns:
        float32, shape (samples, values).
    """
    images = images.cpu()
    flat = torch.empty(len(images), images.shape[1] * THUMBNAIL**2)  # in one piece, as scores are
    done = 0
    for chunk in image_chunks(images):
        small = functional.adaptive_avg_pool2d((chunk.flip(-1) if flip else chunk).float(), THUMBNAIL)
        flat[done : done + len(chunk)] = small.flatten(1)
        done += len(chunk)
    channels = flat.view(len(images), -1, THUMBNAIL**2)
    return functional.normalize((channels - channels.mean(2, keepdim=True)).flatten(1), eps=1e-3)


def near_duplicate_groups(images: Tensor) -> Tensor:
    """A group for each image; near duplicates of near duplicates share one.

    The answer is kept in the cache: all pairs of 29,000 images take a quarter of a minute. Of more than 32,768 images
    only those are compared that lie on the same side of all of some random planes, drawn 24 times. The time then grows
    little faster than the number of images. All copies are found, and most pairs whose thumbnails correlate by just
    0.95.

    Args:
        images: uint8, shape (samples, channels, height, width).

    Returns:
        int64, shape (samples,): the number of the group's first image.
    """
    content = hashlib.sha256(f"{tuple(images.shape)}".encode())
    content.update(images.cpu().contiguous().numpy().data)
    found = load_or_build(
        f"near-duplicates-{LAYOUT_VERSION}", content.hexdigest(), lambda: {"groups": _groups(images).numpy()}
    )
    return torch.from_numpy(found["groups"])


def _groups(images: Tensor) -> Tensor:
    straight, flipped = thumbnails(images), thumbnails(images, flip=True)
    constant = straight.square().sum(1) == 0
    straight[constant, 0] = 1  # images without any structure count as copies of each other
    compared, passes = (_all_pairs, 1) if len(images) <= ALL_PAIRS else (_bucketed_pairs, DRAWS)
    with progress("comparing images to find near duplicates", passes * len(images)) as advance:
        first = np.arange(len(images))  # for each image one of its group with a lower number, or itself
        for pairs in compared(straight, flipped, advance):
            _join(first, *pairs.T.numpy())
    return torch.from_numpy(_roots(first, np.arange(len(images))))


def _join(first: NDArray[np.int64], samples: NDArray[np.int64], others: NDArray[np.int64]) -> None:
    """Make one group of the groups of each pair: the root with the larger number points to the other."""
    while len(samples):
        samples, others = _roots(first, samples), _roots(first, others)
        apart = samples != others
        samples, others = samples[apart], others[apart]
        np.minimum.at(first, np.maximum(samples, others), np.minimum(samples, others))


def _roots(first: NDArray[np.int64], images: NDArray[np.int64]) -> NDArray[np.int64]:
    """The image with the lowest number in the group of each."""
    found = first[images]
    while (found != first[found]).any():
        found = first[found]
    return found


def _all_pairs(straight: Tensor, flipped: Tensor, advance: Advance) -> Iterator[Tensor]:
    """The near duplicates among all pairs, each (pairs, 2)."""
    every = torch.arange(len(straight))
    for start in range(0, len(straight), CHUNK_SIZE):
        for way in (straight, flipped):
            yield _near(straight, way, every[start : start + CHUNK_SIZE], every)
        advance(len(every[start : start + CHUNK_SIZE]))


def _bucketed_pairs(straight: Tensor, flipped: Tensor, advance: Advance) -> Iterator[Tensor]:
    """The near duplicates among the pairs that random planes do not part.

    Source: Charikar 2002, Similarity estimation techniques from rounding algorithms,
    https://doi.org/10.1145/509907.509965.
    """
    generator = torch.Generator().manual_seed(0)
    bits = max(8, math.ceil(math.log2(len(straight) / BUCKET)))
    for _ in range(DRAWS):
        planes = torch.randn(straight.shape[1], bits, generator=generator)
        sides = straight @ planes
        middle = sides.median(0).values
        powers = 2 ** torch.arange(bits)
        codes = ((sides > middle) * powers).sum(1)
        others = ((flipped @ planes > middle) * powers).sum(1)
        rows, columns = _by_code(codes), _by_code(others)
        for code, members in rows.items():
            for chunk in members.split(CHUNK_SIZE):
                yield _near(straight, straight, chunk, members)
                if code in columns:
                    yield _near(straight, flipped, chunk, columns[code])
                advance(len(chunk))


def _by_code(codes: Tensor) -> dict[int, Tensor]:
    order = codes.argsort()
    found, counts = codes[order].unique_consecutive(return_counts=True)
    return dict(zip(found.tolist(), order.split(counts.tolist()), strict=True))


def _near(straight: Tensor, way: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pairs of near duplicates among rows and columns, (pairs, 2)."""
    row, column = (straight[rows] @ way[columns].T > NEAR_DUPLICATE_THRESHOLD).nonzero().T
    return torch.stack([rows[row], columns[column]], 1)
