"""The check of every data set at loading, whatever its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_runs import localrules
from torch import Tensor

from localrules.data.dataset import Dataset, DataSource, Split
from localrules.data.validate import check_dataset
from localrules.engine.builder import load_dataset
from localrules.engine.resolved_run import Component
from localrules.errors import DataError

Change = Callable[[Tensor, Tensor], tuple[Any, Any]]


def good(samples: int = 20) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (samples, 1, 16, 16), generator=draw, dtype=torch.uint8)
    return images, torch.arange(samples) % 4


def data_set(**changed: Any) -> Dataset:
    """A data set, with other splits or other fields."""
    splits = {name: changed.pop(name, Split(*good(samples))) for name, samples in (("train", 20), ("valid", 8))}
    whole = Dataset("odd", ("a", "b", "c", "d"), splits, "made up", "odd", redistributable=True)
    return replace(whole, **changed)


def failure(data: object) -> DataError:
    with pytest.raises(DataError, match="the data set is not well formed") as caught:
        check_dataset(data, "their.module.Odd")
    assert caught.value.exit_code == 2
    assert all(caught.value.as_dict().values())
    assert "their.module.Odd" in caught.value.where
    return caught.value


AT_FAULT: dict[str, tuple[Change, str, str]] = {
    "int32 labels": (lambda x, y: (x, y.int()), "labels that are int32 of shape (20,)", "labels.long()"),
    "labels from 1": (lambda x, y: (x, y + 1), "the label 4 at sample 3 (5 labels like that)", "from 0"),
    "negative labels": (lambda x, y: (x, y - 1), "the label -1 at sample 0", "from 0"),
    "float labels": (lambda x, y: (x, y.float()), "float32 of shape (20,)", "labels.long()"),
    "one-hot labels": (lambda x, y: (x, torch.eye(4)[y]), "float32 of shape (20, 4)", "labels.argmax(1)"),
    "labels in a column": (lambda x, y: (x, y[:, None]), "int64 of shape (20, 1)", "labels.flatten()"),
    "labels in a list": (lambda x, y: (x, y.tolist()), "labels of type list", "torch.tensor"),
    "float images": (lambda x, y: (x / 255, y), "float32 of shape (20, 1, 16, 16)", "torch.uint8"),
    "integer images": (lambda x, y: (x.long(), y), "int64 of shape (20, 1, 16, 16)", "torch.uint8"),
    "vectors": (lambda x, y: (x.flatten(1), y), "uint8 of shape (20, 256)", "one row"),
    "no channel": (lambda x, y: (x[:, 0], y), "uint8 of shape (20, 16, 16)", "images.unsqueeze(1)"),
    "volumes": (lambda x, y: (x[:, :, None], y), "uint8 of shape (20, 1, 1, 16, 16)", "(samples, channels"),
    "tokens": (lambda x, y: (x[:, 0, 0, :8].long(), y), "int64 of shape (20, 8)", "tokens"),
    "images in an array": (lambda x, y: (x.numpy(), y), "images of type ndarray", "torch.from_numpy"),
    "fewer labels": (lambda x, y: (x, y[:-1]), "20 images and 19 labels", "one label"),
    "fewer images": (lambda x, y: (x[:-1], y), "19 images and 20 labels", "one label"),
    "no samples": (lambda x, y: (x[:0], y[:0]), "no samples", "leave the split out"),
    "no pixels": (lambda x, y: (x[..., :0], y), "uint8 of shape (20, 1, 16, 0)", "load()"),
    "one class": (lambda x, y: (x, y * 0 + 2), "samples of one class only, c", "other classes"),
}


@pytest.mark.parametrize("fault", AT_FAULT)
def test_a_split_at_fault_is_one_clear_error(fault: str) -> None:
    change, found, fix = AT_FAULT[fault]
    error = failure(data_set(train=Split(*change(*good()))))
    assert error.why.startswith("found ")
    assert "; expected " in error.why
    assert found in error.why
    assert fix in error.fix
    assert "split 'train'" in error.where


def test_every_split_is_checked() -> None:
    images, labels = good(8)
    assert "split 'valid'" in failure(data_set(valid=Split(images, labels + 4))).where


def test_a_split_to_score_on_may_have_one_class_and_one_sample() -> None:
    images, labels = good(1)
    data = data_set(valid=Split(images, labels))
    assert check_dataset(data, "here") is data
    assert check_dataset(replace(data, splits={"test": Split(images, labels)}), "here").shape == (1, 16, 16)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"splits": {}}, "no split"),
        ({"splits": [Split(*good())]}, "splits of type list"),
        ({"splits": {"train": Split(*good()), "dev": Split(*good())}}, "a split named 'dev'"),
        ({"splits": {"train": good()}}, "found tuple"),
        ({"splits": {"train": Split(*good()), "test": Split(good()[0][..., :9], good()[1])}}, "(1, 16, 9) in test"),
        ({"classes": "abcd"}, "classes of type str"),
        ({"classes": (0, 1, 2, 3)}, "classes of type tuple"),
        ({"classes": ("a", "b", "b", "c")}, "4 classes, 3 of them distinct"),
        ({"classes": ("a",)}, "one class, a"),
    ],
)
def test_what_is_around_the_splits_is_checked(fields: dict[str, Any], found: str) -> None:
    assert found in failure(data_set(**fields)).why


@pytest.mark.parametrize(("returned", "found"), [(None, "None"), (good(), "tuple"), ({"train": good()}, "dict")])
def test_other_results_of_load_are_refused(returned: object, found: str) -> None:
    assert f"load() returned {found}" in failure(returned).why


def test_constant_images_are_fine() -> None:
    images, labels = good()
    assert check_dataset(data_set(train=Split(images * 0 + 7, labels)), "here")


class Late(DataSource):
    """Returns labels from 1."""

    def load(self) -> Dataset:
        images, labels = good()
        return data_set(train=Split(images, labels + 1))


def test_every_source_is_checked_at_loading() -> None:
    with pytest.raises(DataError, match="not well formed") as caught:
        load_dataset(Component("late", Late, Late.Config()))
    assert f"{__name__}.Late" in caught.value.where


PLUGIN = """
import torch
from pydantic import BaseModel
from localrules import Dataset, DataSource, Split

class Odd(DataSource):
    class Config(BaseModel):
        odd: str = "none"

    def load(self):
        def split(samples):
            images = torch.randint(0, 256, (samples, 1, 16, 16), dtype=torch.uint8)
            labels, odd = torch.arange(samples) % 4, self.config.odd
            if odd == "range":
                labels = labels + 1
            if odd == "floats":
                images = images / 255
            if odd == "constant":
                images = images * 0 + 7
            return Split(images, labels)

        splits = {"train": split(64), "valid": split(16)}
        return Dataset("odd", ("a", "b", "c", "d"), splits, "made up", "odd", redistributable=True)

DATA = {"odd": Odd}
"""


@pytest.mark.parametrize(("odd", "code"), [("none", 0), ("constant", 0), ("range", 2), ("floats", 2)])
def test_a_run_ends_with_code_2_before_anything_is_written(tmp_path: Path, odd: str, code: int) -> None:
    (tmp_path / "odd.py").write_text(PLUGIN)
    model = ["--model", "mlp", "--set", "model.hidden=[8]", "--batch-size", "16", "--steps", "2", "--threads", "1"]
    data = ["--plugin", tmp_path / "odd.py", "--data", "odd", "--set", f"data.odd={odd}", "--set", "plots=false"]
    said = localrules("run", "--rule", "backprop", *model, *data, "--out", tmp_path / "out", "--json")
    assert said.code == code, said.err
    if code:
        assert said.error["what"] == "the data set is not well formed"
        assert not (tmp_path / "out").exists()
    else:
        assert said.document["status"] == "done"
