"""The border around code of plugins: exceptions, Ctrl-C, global state, and what it costs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import torch

from localrules import Stop
from localrules.errors import LocalRulesError, PluginCodeError, UsageError
from localrules.utils.global_state import GlobalState
from localrules.utils.memory_errors import size_error
from localrules.utils.plugin_border import plugin_border


class Mine:
    def method(self, error: BaseException) -> None:
        raise error


@pytest.mark.parametrize(
    "error", [ValueError("a\nb"), SystemExit(0), StopIteration(), BaseException(), RecursionError()]
)
def test_an_exception_names_class_file_line_and_reason(error: BaseException) -> None:
    with pytest.raises(PluginCodeError) as failed, plugin_border(Mine, "method"):
        Mine().method(error)
    line = Mine.method.__code__.co_firstlineno + 1
    assert failed.value.what == "Mine failed"
    assert failed.value.where == f"{__file__}, line {line} (in Mine.method)"
    assert failed.value.why.startswith(type(error).__name__)
    assert failed.value.__cause__ is error
    assert failed.value.exit_code == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UsageError("ours"), Stop("enough")])
def test_what_is_ours_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, plugin_border(Mine, "method", passing=(Stop,)):
        Mine().method(error)
    assert raised.value is error


def test_a_wrong_call_names_the_definition() -> None:
    with pytest.raises(PluginCodeError) as failed, plugin_border(Mine, "method"):
        torch.nn.Identity()(Mine().method())  # type: ignore[call-arg]
    assert "in test_a_wrong_call" in failed.value.where or "Mine.method" in failed.value.where
    assert "missing 1 required positional argument" in failed.value.why


def test_of_several_the_one_whose_file_failed_is_named() -> None:
    from localrules_classics.mlp import MLP

    with pytest.raises(PluginCodeError) as failed, plugin_border([MLP, Mine], "forward"):
        Mine().method(KeyError("x"))
    assert failed.value.what == "Mine failed"


def test_a_class_of_a_distribution_is_named_with_it() -> None:
    from localrules_classics.mlp import MLP

    with pytest.raises(PluginCodeError) as failed, plugin_border(MLP, "forward"):
        eval("1 / 0")
    assert "MLP of localrules" in failed.value.what
    assert "mlp.py, line" in failed.value.where


CHANGES: dict[str, Callable[[], object]] = {
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "default device": lambda: torch.set_default_device("meta"),
    "gradients off": lambda: torch.set_grad_enabled(False),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(
        not torch.are_deterministic_algorithms_enabled()
    ),
    "working directory": lambda: os.chdir("/"),
    "replaced sys.stdout": lambda: setattr(sys, "stdout", io.StringIO()),
    "replaced sys.stderr": lambda: setattr(sys, "stderr", io.StringIO()),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fails", [False, True])
def test_global_state_is_put_back(change: str, fails: bool) -> None:
    def state() -> tuple[object, ...]:
        torch_state = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
        return (*torch_state, torch.are_deterministic_algorithms_enabled(), sys.stdout, sys.stderr, os.getcwd())

    before = state()

    def disturb() -> None:
        CHANGES[change]()
        if fails:
            Mine().method(ValueError("other"))

    with pytest.raises(PluginCodeError) as failed, plugin_border(Mine, "method"):
        disturb()
    assert state() == before
    assert ("other" if fails else change) in failed.value.why


CLOSING = """
import os, sys
from localrules.utils.global_state import GlobalState, keep_streams
with keep_streams():
    state = GlobalState()
    {change}
    undone = state.restore()
    print("out", undone, flush=True)
    print("err", file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize("change", ["sys.stdout.close()", "sys.stderr.close()", "os.close(1)", "os.close(2)"])
def test_a_closed_stream_is_opened_again(change: str) -> None:
    done = subprocess.run([sys.executable, "-c", CLOSING.format(change=change)], capture_output=True, text=True)
    assert done.stdout.startswith("out ['closed")
    assert done.stderr.strip() == "err"
    assert done.returncode == 0


def test_nothing_changed_is_nothing_undone() -> None:
    assert GlobalState().restore() == []


def test_it_costs_little() -> None:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(200):
            with plugin_border(Mine, "method"):
                pass
        times.append((time.perf_counter() - began) / 200)
    assert min(times) < 100e-6


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda: torch.empty(2**50), "4,194,304.0 GiB"),
        (lambda: torch.empty(2**40, 2**40), "overflow"),
        (lambda: torch.empty(2**70), "overflow"),
        (lambda: bytearray(2**60), ""),
    ],
)
def test_sizes_that_cannot_be(ask: Callable[[], object], expected: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        ask()
    found = size_error(raised.value)
    assert isinstance(found, LocalRulesError)
    assert expected.lower() in found.why.lower()


def test_other_errors_are_none_of_sizes() -> None:
    assert size_error(RuntimeError("shapes do not match")) is None
    assert size_error(OverflowError("math range error")) is None


def test_the_descriptors_of_a_command_are_given_back() -> None:
    from localrules.cli import main

    main(["--version"])
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    main(["--version"])
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before
