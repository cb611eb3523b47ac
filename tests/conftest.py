"""Common settings of all tests: one thread, nothing of the user's touched, nothing sent anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Before torch is first imported, here and in every process that a test starts: several threads would only fight.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["WANDB_MODE"] = "disabled"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded data sets go to a folder of the tests', and come from there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCALRULES_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
