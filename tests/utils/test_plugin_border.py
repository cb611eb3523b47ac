"""The border around code of plugins: exceptions, Ctrl-C, global state, and what it costs."""

from __future__ import annotations

import io
import locale
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from localrules import Stop
from localrules.errors import LocalRulesError, PluginCodeError, UsageError
from localrules.utils.global_state import GlobalState
from localrules.utils.memory_errors import size_error
from localrules.utils.plugin_border import plugin_border
from localrules.utils.process_settings import SETTINGS


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
    "signal handler of SIGINT": lambda: signal.signal(signal.SIGINT, lambda *_: None),
    "signal handler of SIGTERM": lambda: signal.signal(signal.SIGTERM, lambda *_: None),
    "umask to 000": lambda: os.umask(0),
    "locale to": lambda: locale.setlocale(locale.LC_ALL, "POSIX.UTF-8" if "UTF" not in locale.setlocale(0) else "C"),
    "warnings filter 'ignore' for Warning": lambda: warnings.simplefilter("ignore"),
    "warnings filter 'error' for FutureWarning": lambda: warnings.simplefilter("error", FutureWarning),
    "replaced warnings.showwarning": lambda: logging.captureWarnings(True),
    "removed warnings filters": warnings.resetwarnings,
    "numpy's handling of errors": lambda: np.seterr(all="raise"),
    "number of threads to 3": lambda: torch.set_num_threads(3),
    "autocast on": lambda: torch.autocast("cpu").__enter__(),
    "detection of anomalies on": lambda: torch.autograd.set_detect_anomaly(True),
    "precision of float32 products to medium": lambda: torch.set_float32_matmul_precision("medium"),
    "settings of cuDNN": lambda: setattr(torch.backends.cudnn, "benchmark", True),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fails", [False, True])
def test_global_state_is_put_back(change: str, fails: bool) -> None:
    streams, before = (sys.stdout, sys.stderr), [setting.read() for setting in SETTINGS]

    def disturb() -> None:
        CHANGES[change]()
        if fails:
            Mine().method(ValueError("other"))

    with pytest.raises(PluginCodeError) as failed, plugin_border(Mine, "method"):
        disturb()
    logging.captureWarnings(False)  # it counts calls of its own
    assert (sys.stdout, sys.stderr) == streams
    now = [(setting, value, setting.read()) for setting, value in zip(SETTINGS, before, strict=True)]
    assert [setting.change(old, new) for setting, old, new in now if old != new and setting.change(old, new)] == []
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


def test_threads_that_read_the_umask_at_once_leave_it_alone() -> None:
    (read,) = [setting.read for setting in SETTINGS if setting.write is os.umask]
    before, interval = read(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: {read() for _ in range(50_000)}, range(4)))
    finally:
        sys.setswitchinterval(interval)
    assert found == [{before}] * 4
    assert read() == before


def test_nothing_changed_is_nothing_undone() -> None:
    assert GlobalState().restore() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda: warnings.filterwarnings("ignore", module="acme"),
        lambda: warnings.filterwarnings("error", message="of acme"),
        lambda: warnings.simplefilter("ignore", DeprecationWarning),
    ],
)
def test_filters_for_warnings_of_their_own_are_left_to_plugins(change: Callable[[], object]) -> None:
    with warnings.catch_warnings():
        state = GlobalState()
        change()
        added = warnings.filters[0]
        assert state.restore() == []
        assert warnings.filters[0] == added


def test_another_thread_leaves_signal_handlers_alone() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: GlobalState().restore()).result() == []


def test_it_costs_little() -> None:
    times = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(200):
            with plugin_border(Mine, "method"):
                pass
        times.append((time.process_time() - began) / 200)
    assert min(times) < 200e-6


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
