"""Common settings of all tests: one thread, nothing of the user's touched, nothing sent anywhere."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from helpers.blank_plots import blank_plots

# Before torch is first imported, here and in every process that a test starts: several threads would only fight.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["WANDB_MODE"] = "disabled"

# A shell starts commands in the background with SIGINT ignored, which runs respect, and their tests send it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded data sets go to a folder of the tests', and come from there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCALRULES_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_fsync() -> Iterator[None]:
    """Files are not flushed to the disk, which matters when the power fails and takes longer than writing them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def _blank_plots(request: pytest.FixtureRequest) -> Iterator[None]:
    """Plots are drawn in modules marked ``draws`` alone: elsewhere they would take most of the time of a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("draws") is None:
            blank_plots(patch)
        yield
