"""Image files to arrays: on all cores, into the cache, with every unreadable file named."""

from __future__ import annotations

import os
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from localrules.data.folders import count_of, some_names
from localrules.data.images import decode_image, fit_to_shape, refuse_huge_images
from localrules.errors import DataError
from localrules.utils.progress import progress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from localrules.data.file_tree import FileTree
    from localrules.data.mapped_cache import ArrayStore

DECODER_VERSION = 1
"""Raise it when decoding changes: it belongs to the kind of each cached set of image files."""
GROUP = 32  # images that a thread decodes at a time
WAITING = 2  # groups for each thread that are read and not yet decoded


class Sample(NamedTuple):
    """An image file of a tree, and what its place says of it."""

    name: str
    split: str
    label: int


@dataclass(frozen=True)
class ImageForm:
    """The size and the channels that images should have.

    Attributes:
        size: Height and width; ``None`` where all have one size already, which is then required.
        channels: 1 or 3; ``None`` is 3 if any image has colour, else 1.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None


def decode_splits(
    tree: FileTree, samples: Sequence[Sample], store: ArrayStore, form: ImageForm, *, skip_unreadable: bool = False
) -> list[str]:
    """Decode image files, and store their splits. Samples keep their order within a split.

    Args:
        tree: Holds the files.
        samples: The files to decode.
        store: The new entry of the cache.
        form: Size and channels of the images.
        skip_unreadable: Leave unreadable files out; else they are an error.

    Returns:
        The names of the files that were left out.

    Raises:
        DataError: Files are unreadable, or images differ in size and ``form`` gives none.
    """
    skipped: list[str] = []
    while True:
        attempt = _Attempt(tree, samples, store, form)
        try:
            attempt.run()
        except _ColouredError:  # seldom: the first image was grey, and another is not
            form = ImageForm(form.size, 3)
            continue
        if not attempt.unreadable:
            return skipped
        if not skip_unreadable:
            raise _unreadable(tree, attempt.unreadable)
        skipped += attempt.unreadable
        kept = [sample for sample in samples if sample.name not in attempt.unreadable]
        if lost := {sample.split for sample in samples} - {sample.split for sample in kept}:
            raise _unreadable(tree, attempt.unreadable, lost)
        samples = kept


class _ColouredError(Exception):
    """An image has colour, and all before it were grey."""


@dataclass
class _Attempt:
    """One pass over the files."""

    tree: FileTree
    samples: Sequence[Sample]
    store: ArrayStore
    form: ImageForm
    unreadable: dict[str, str] = field(default_factory=dict)  # with the reason
    _targets: dict[str, NDArray] | None = None  # the images of each split
    _shape: tuple[int, ...] = ()
    _first: str = ""  # the image that decides the shape

    def run(self) -> None:
        places = _places(self.samples)
        text = f"decoding images of {self.tree.path} into the cache"
        with refuse_huge_images(), progress(text, len(self.samples)) as advance, _threads() as (pool, limit):
            waiting: deque[Future[int]] = deque()
            contents = self.tree.contents(places)
            for name, source in contents:
                self._decode_first(name, source, places)
                advance(1)
                if self._targets is not None:
                    break
            while group := list(islice(contents, GROUP)):
                waiting.append(pool.submit(self._decode, group, places))
                if len(waiting) > limit:
                    advance(self._finish(waiting.popleft()))
            while waiting:
                advance(self._finish(waiting.popleft()))
        self.unreadable = dict(sorted(self.unreadable.items()))  # threads have met them in any order

    def _decode_first(self, name: str, source: Path | bytes, places: dict[str, tuple[str, int]]) -> None:
        """Find the shape of the images, and reserve their place."""
        try:
            image = decode_image(source, self.tree.where(name))
        except DataError as error:
            self.unreadable[name] = error.why
            return
        channels = self.form.channels or len(image.getbands())
        self._shape, self._first = (channels, *(self.form.size or (image.height, image.width))), name
        self._targets = {}
        self.store.clear()
        for split, count in Counter(sample.split for sample in self.samples).items():
            self._targets[split], labels = self.store.allocate_split(split, count, self._shape)
            labels[:] = [sample.label for sample in self.samples if sample.split == split]
        self._put(name, image, places[name])

    def _decode(self, group: list[tuple[str, Path | bytes]], places: dict[str, tuple[str, int]]) -> int:
        """Decode some files on a thread, and return how many."""
        for name, source in group:
            try:
                self._put(name, decode_image(source, self.tree.where(name)), places[name])
            except DataError as error:
                self.unreadable[name] = error.why
        return len(group)

    def _put(self, name: str, image: Image.Image, place: tuple[str, int]) -> None:
        assert self._targets is not None
        channels, height, width = self._shape
        if self.form.channels is None and channels == 1 and image.mode != "L":
            raise _ColouredError
        if self.form.size is None and image.size != (width, height):
            raise _OtherSizeError(name, image.size)
        split, index = place
        self._targets[split][index] = fit_to_shape(image, self._shape).numpy()

    def _finish(self, decoded: Future[int]) -> int:
        try:
            return decoded.result()
        except _OtherSizeError as error:
            raise self._other_size(error) from None

    def _other_size(self, error: _OtherSizeError) -> DataError:
        (width, height), (_, other_height, other_width) = error.size, self._shape
        return DataError(
            "the images have different sizes",
            where=self.tree.where(error.name),
            why=f"it is {height} x {width} pixels; {self._first} is {other_height} x {other_width}",
            fix="give the size that all should be resized to, for example --set data.size=64",
        )


class _OtherSizeError(Exception):
    """An image does not have the size of the first."""

    def __init__(self, name: str, size: tuple[int, int]) -> None:
        super().__init__(name)
        self.name = name
        self.size = size


def _places(samples: Sequence[Sample]) -> dict[str, tuple[str, int]]:
    """The split of each file, and its index in it."""
    places: dict[str, tuple[str, int]] = {}
    counts: Counter[str] = Counter()
    for sample in samples:
        places[sample.name] = sample.split, counts[sample.split]
        counts[sample.split] += 1
    return places


@contextmanager
def _threads() -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """Threads that decode, and how many images may wait for them. Pillow decodes without Python's lock."""
    workers = os.cpu_count() or 1
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool, WAITING * workers
    finally:
        pool.shutdown(cancel_futures=True)


def _unreadable(tree: FileTree, reasons: dict[str, str], lost: Collection[str] = ()) -> DataError:
    first, why = next(iter(reasons.items()))
    leave_out = ", or leave them out with --set data.skip_unreadable=true"
    return DataError(
        f"{count_of(reasons, 'image')} cannot be read",
        where=str(tree.path),
        why=f"{some_names(reasons)}; of {first}: {why}"
        + "".join(f"; no image of the {split} split is left" for split in sorted(lost)),
        fix=f"replace or remove them{'' if lost else leave_out}",
    )
