"""Downloads go through torchvision, are whole or not there, and are refused with a reason."""

from __future__ import annotations

import types
from pathlib import Path
from urllib.error import URLError

import pytest
from helpers.cifar_files import cifar10, pickled
from helpers.image_trees import write_folder
from helpers.tiny_runs import localrules

from localrules.errors import DataError, UsageError
from localrules_vision import download as module
from localrules_vision.cifar import CIFAR10

SHORT = ["--batch-size", "5", "--steps", "1", "--threads", "1", "--set", "plots=false", "--json"]
RUN = ["run", "--rule", "backprop", "--model", "mlp", "--set", "model.hidden=[4]", *SHORT]


def offline(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> list[dict[str, object]]:
    """torchvision without a network: its class writes a file, and then raises an error or writes the rest."""
    calls: list[dict[str, object]] = []

    def fake(root: str, **arguments: object) -> None:
        calls.append(arguments)
        write_folder(Path(root) / "cifar-10-batches-py", {"data_batch_1": b"half"})
        if error is not None:
            raise error
        write_folder(Path(root) / "cifar-10-batches-py", pickled(cifar10()))

    monkeypatch.setattr(module, "torchvision_datasets", lambda where: types.SimpleNamespace(CIFAR10=fake))
    return calls


def test_a_download_lands_where_it_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = offline(monkeypatch)
    assert CIFAR10.find() is None
    for _ in range(2):
        said = localrules(*RUN, "--data", "cifar10", "--download", "--out", tmp_path / "runs")
        assert said.code == 0, said.err
    assert calls == [{"download": True}]
    found = CIFAR10.find()
    assert found is not None
    assert [path.name for path in found.parent.iterdir()] == ["cifar10"]


def test_a_path_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch)
    CIFAR10(CIFAR10.Config(path=tmp_path / "here", download=True)).load()
    assert (tmp_path / "here" / "cifar-10-batches-py" / "test_batch").exists()


@pytest.mark.parametrize("error", [URLError("no route to host"), RuntimeError("File not found or corrupted.")])
def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    offline(monkeypatch, error)
    words = ("--data", "cifar10", "--data-path", tmp_path / "here", "--download", "--out", tmp_path / "runs")
    said = localrules(*RUN, *words)
    assert said.code == 2
    assert said.error["what"] == "CIFAR10 cannot be downloaded"
    assert str(error) in said.error["why"]
    assert "--data-path" in said.error["fix"]
    assert list(tmp_path.iterdir()) == []


def test_a_file_cannot_be_downloaded_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a folder"):
        CIFAR10(CIFAR10.Config(path=tmp_path / "cifar.tar.gz", download=True)).load()


def test_without_torchvision_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchvision.datasets", None)
    with pytest.raises(UsageError) as caught:
        CIFAR10(CIFAR10.Config(path=tmp_path / "here", download=True)).load()
    assert "localrules[baselines]" in caught.value.fix


def test_nothing_is_downloaded_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = offline(monkeypatch)
    with pytest.raises(DataError, match="was not found") as caught:
        CIFAR10(CIFAR10.Config()).load()
    assert "--download" in caught.value.fix
    assert calls == []


def test_a_data_set_that_is_not_downloaded_refuses(tmp_path: Path) -> None:
    said = localrules(*RUN, "--data", "faces", "--download", "--out", tmp_path / "runs")
    assert said.code == 2
    assert said.error["what"] == "faces cannot be downloaded"


@pytest.mark.parametrize("name", ["here", "here.d"])
def test_an_empty_folder_is_downloaded_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    calls = offline(monkeypatch)
    (tmp_path / name).mkdir()
    CIFAR10(CIFAR10.Config(path=tmp_path / name, download=True)).load()
    assert len(calls) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failure_leaves_no_new_folders_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch, URLError("no route to host"))
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="cannot be downloaded"):
        CIFAR10(CIFAR10.Config(path=tmp_path / "mine" / "a" / "b" / "here", download=True)).load()
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]
    assert list((tmp_path / "mine").iterdir()) == []
