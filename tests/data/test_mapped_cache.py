"""Decoded splits come from the cache as memory maps; an entry is sound, or made anew."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from localrules.data import mapped_cache
from localrules.data.dataset import Split, fingerprint
from localrules.data.mapped_cache import ArrayStore, CachedSplits, Notes, load_splits

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)
LABELS = np.array([0, 1, 0, 1, 1, 0])


class Decoder:
    """Stores two splits, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, store: ArrayStore) -> Notes:
        self.calls += 1
        images, labels = store.allocate_split("train", 4, (3, 4, 5))
        images[...], labels[...] = IMAGES[:4], LABELS[:4]
        store.save_split("test", IMAGES[4:], LABELS[4:])
        return {"classes": ["a", "b"]}


def check(found: CachedSplits) -> None:
    assert list(found.splits) == ["train", "test"]
    assert torch.equal(found.splits["train"].images, torch.from_numpy(IMAGES[:4]))
    assert torch.equal(found.splits["test"].images, torch.from_numpy(IMAGES[4:]))
    assert found.splits["test"].labels.tolist() == LABELS[4:].tolist()
    assert found.notes == {"classes": ["a", "b"]}
    plain = {name: Split(split.images.clone(), split.labels) for name, split in found.splits.items()}
    assert found.fingerprint == fingerprint(plain)


def test_splits_are_decoded_once(cache: Path) -> None:
    decoder = Decoder()
    check(load_splits("kind", "key", decoder))
    check(load_splits("kind", "key", decoder))
    assert decoder.calls == 1
    assert [entry.name for entry in cache.iterdir()] == ["kind-key"]  # and no temporary folder


def test_images_are_mapped_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    load_splits("kind", "key", Decoder())
    mapped: list[np.ndarray] = []
    real = mapped_cache._map
    monkeypatch.setattr(mapped_cache, "_map", lambda path: (mapped.append(real(path)), mapped[-1])[1])
    splits = load_splits("kind", "key", Decoder()).splits
    assert all(isinstance(array, np.memmap) for array in mapped)
    places = {array.ctypes.data for array in mapped}
    assert {split.images.data_ptr() for split in splits.values()} <= places  # the tensors are these maps


def test_writing_to_a_tensor_leaves_the_entry_as_it_is() -> None:
    decoder = Decoder()
    load_splits("kind", "key", decoder)
    load_splits("kind", "key", decoder).splits["train"].images.zero_()
    check(load_splits("kind", "key", decoder))
    assert decoder.calls == 1


def test_maps_are_read_only_where_the_system_promises_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    real = np.load

    def load(path: Path, mmap_mode: str, allow_pickle: bool) -> np.ndarray:
        if mmap_mode == "c":
            raise OSError(12, "Cannot allocate memory")
        return real(path, mmap_mode=mmap_mode, allow_pickle=allow_pickle)

    monkeypatch.setattr(np, "load", load)
    check(load_splits("kind", "key", Decoder()))


@pytest.mark.parametrize(
    "damage", ["truncated", "flipped", "empty", "no index", "no array", "bad index", "other notes", "no files"]
)
def test_a_damaged_entry_is_made_anew(cache: Path, damage: str) -> None:
    decoder = Decoder()
    load_splits("kind", "key", decoder)
    file, index = cache / "kind-key" / "train-images.npy", cache / "kind-key" / "entry.json"
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[-3] ^= 0xFF
    file.write_bytes({"truncated": content[:-5], "empty": b""}.get(damage, bytes(content)))
    if damage == "no index":
        index.unlink()
    if damage == "no array":
        file.unlink()
    if damage == "bad index":
        index.write_text("{")
    if damage == "other notes":
        index.write_text(index.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    if damage == "no files":
        index.write_text('{"files": [], "notes": {}, "crc32": 0}')
    check(load_splits("kind", "key", decoder))
    assert decoder.calls == 2
    check(load_splits("kind", "key", decoder))
    assert decoder.calls == 2


def test_large_entries_are_compared_by_size_alone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_cache, "VERIFIED_SIZE", 100)
    decoder = Decoder()
    load_splits("kind", "key", decoder)
    monkeypatch.setattr(mapped_cache, "_checksum", lambda _: pytest.fail("read"))
    check(load_splits("kind", "key", decoder))


def test_an_error_of_the_decoder_leaves_nothing(cache: Path) -> None:
    def fail(store: ArrayStore) -> Notes:
        store.allocate("a", (3,), np.uint8)
        raise ValueError("no good")

    with pytest.raises(ValueError, match="no good"):
        load_splits("kind", "key", fail)
    assert list(cache.iterdir()) == []


def test_what_a_killed_process_left_is_removed_a_day_later(cache: Path) -> None:
    names = (".localrules-kind-key-old", ".localrules-kind-key-new", ".localrules-other-key-active")
    old, new, active = (cache / name for name in names)
    for folder in (old, new, active):
        folder.mkdir()
    (active / "images.npy").touch()  # is still being written
    for folder in (old, active):
        os.utime(folder, (time.time() - 1e5,) * 2)
    load_splits("another", "key", Decoder())
    assert [folder.exists() for folder in (old, new, active)] == [False, True, True]


@pytest.mark.parametrize("name", [".vscode-server", ".localrules-notes-of-mine"])
def test_folders_of_others_in_the_same_place_stay(cache: Path, name: str) -> None:
    theirs = cache / name / "inside"
    theirs.mkdir(parents=True)
    (theirs / "thesis.txt").write_text("years of work")
    for path in (cache / name, theirs):
        os.utime(path, (time.time() - 1e6,) * 2)
    load_splits("another", "key", Decoder())
    assert (theirs / "thesis.txt").exists()


@pytest.mark.parametrize("place", ["no folder", "full disk"])
def test_a_cache_that_cannot_be_written_only_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    if place == "no folder":
        (tmp_path / "taken").write_text("a file where the folder should be")
        monkeypatch.setenv("LOCALRULES_CACHE", str(tmp_path / "taken"))
    else:

        def no_space(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", no_space)
    with pytest.warns(UserWarning, match="could not be kept.*LOCALRULES_CACHE"):
        check(load_splits("kind", "key", Decoder()))


def test_the_index_names_sizes_and_checksums(cache: Path) -> None:
    load_splits("kind", "key", Decoder())
    index = json.loads((cache / "kind-key" / "entry.json").read_text())
    assert set(index["files"]) == {f"{split}-{what}" for split in ("train", "test") for what in ("images", "labels")}
    assert all(set(file) == {"size", "crc32"} for file in index["files"].values())
