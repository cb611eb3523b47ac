"""Tiny runs through the command line: in this process, and in processes that are killed."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from localrules.utils.child_process import fork_server

FACES = ["--data", "faces", "--set", "data.train=140", "--set", "data.valid=70", "--set", "data.test=70"]
MLP = ["--model", "mlp", "--set", "model.hidden=[12, 8]"]
DENSE = ["--model", "dense_fpn_small"] + [
    word for option in ("blocks", "convolutions") for word in ("--set", f"model.{option}=1")
] + ["--set", "model.growth=4", "--set", "model.stem=4", "--set", "model.lateral=8"]  # fmt: skip
STEPS, PER_EPOCH = 12, 4
SHORT = ["--batch-size", "32", "--threads", "1", "--steps", str(STEPS), "--set", "log_every=2", "--set", "plots=false"]
TINY = [*FACES, *MLP, *SHORT]
DIFFERS_IN_TIME = ("samples_per_second", "step_seconds", "memory_mib")


@dataclass(frozen=True)
class Said:
    """The result of a command: exit code and output."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output, which must be one JSON document."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        """The error document, whole."""
        assert set(self.document) == {"error"}
        assert set(self.document["error"]) == {"what", "where", "why", "fix"}
        return self.document["error"]


def localrules(*words: str | Path) -> Said:
    """Run a command in this process."""
    from localrules.cli import main

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in words])
    return Said(code, out.getvalue(), err.getvalue())


def train(out: Path, *words: str | Path, setting: list[str] = TINY) -> dict[str, Any]:
    """A tiny run that succeeds, to its summary."""
    said = localrules("run", *setting, "--out", out, "--json", *words)
    assert said.code == 0, said.err
    return said.document


def resume(folder: Path, *words: str | Path) -> dict[str, Any]:
    """Continue a run, to its summary."""
    said = localrules("run", "--resume", folder, "--json", *words)
    assert said.code == 0, said.out
    return said.document


def metrics(folder: Path | str) -> list[dict[str, str]]:
    """The samples of ``metrics.csv``, but for time and memory."""
    with (Path(folder) / "metrics.csv").open(newline="") as file:
        return [
            {k: v for k, v in row.items() if k not in DIFFERS_IN_TIME and not k.startswith("busy/")}
            for row in csv.DictReader(file)
        ]


def tiny_csv(path: Path, **samples: int) -> Path:
    """Tiny synthetic faces as a file like Kaggle's; splits that are not named in ``samples`` are left out."""
    from localrules_fer.export import export_csv
    from localrules_fer.faces.dataset import Faces

    samples = samples or {"train": 140, "valid": 70, "test": 70}
    data = Faces(Faces.Config(**{name: samples.get(name, 7) for name in ("train", "valid", "test")})).load()
    export_csv(replace(data, splits={name: data.splits[name] for name in samples}), path)
    return path


def only_run(out: Path) -> Path:
    """The one run folder in a place."""
    (folder,) = [path for path in out.iterdir() if not path.name.startswith(".")]
    return folder


def start_process(work: Callable[..., None], *args: Any) -> multiprocessing.process.BaseProcess:
    """A process that has torch imported already, so that tests can afford many of them."""
    context = fork_server(["localrules.runs.train", "localrules.cli.run", "helpers.tiny_runs"])
    process = context.Process(target=work, args=args, daemon=True)
    process.start()
    return process


def command(words: list[str], errors: Path) -> NoReturn:
    """The work of a process: a command, with standard error in a file, and standard output in ``<file>.out``."""
    out = errors.with_suffix(".out")
    with errors.open("w") as err_file, out.open("w") as out_file, redirect_stderr(err_file), redirect_stdout(out_file):
        sys.exit(localrules_code(words))


def localrules_code(words: list[str]) -> int:
    """A command's exit code."""
    from localrules.cli import main

    return main(words)


def die() -> NoReturn:
    """End this process as ``kill -9`` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")
