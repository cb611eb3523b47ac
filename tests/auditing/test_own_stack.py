"""Work in a thread of its own, before a process is forked."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import get_native_id

import pytest

from localrules.auditing.traces import on_own_stack


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the threads of a process as files")
def test_the_thread_is_gone_for_the_system_too_when_its_work_is_done() -> None:
    """Else a process that is forked then may wait forever for a lock that the thread held."""
    left = []

    def work() -> None:
        threads.append(get_native_id())

    for _ in range(300):
        threads: list[int] = []
        on_own_stack(work)
        left += [thread for thread in threads if Path(f"/proc/self/task/{thread}").exists()]
    assert left == []


def test_an_error_of_the_work_is_raised() -> None:
    def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        on_own_stack(work)
