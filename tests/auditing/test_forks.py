"""Work in a forked process: its result, its errors, and what it leaves behind."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch

from localrules.auditing.forks import can_fork, in_fork
from localrules.errors import LocalRulesError, UsageError

pytestmark = pytest.mark.skipif(not can_fork(), reason="processes cannot be forked here")


def test_its_result_comes_back_and_nothing_else() -> None:
    kept: list[int] = []

    def keep() -> list[int]:
        kept.append(1)
        return kept

    assert in_fork(keep) == [1]
    assert kept == []


def test_it_has_one_thread_whoever_asks_for_more() -> None:
    """A session that is built there asks for the threads of its run, and would wait for them forever."""

    def threads() -> int:
        torch.set_num_threads(2)
        return torch.get_num_threads()

    assert in_fork(threads) == 1


def test_an_error_for_people_keeps_its_kind_and_its_parts() -> None:
    def fail() -> None:
        raise UsageError("what", where="where", why="why", fix="fix")

    with pytest.raises(UsageError) as found:
        in_fork(fail)
    assert found.value.as_dict() == {"what": "what", "where": "where", "why": "why", "fix": "fix"}


def test_another_exception_is_named() -> None:
    with pytest.raises(LocalRulesError) as found:
        in_fork(lambda: 1 / 0)
    assert found.value.why == "ZeroDivisionError: division by zero"


def test_a_process_that_a_library_ends_is_forked_again(tmp_path: Path) -> None:
    def end_twice() -> int:
        if len(list(tmp_path.iterdir())) < 2:
            (tmp_path / str(os.getpid())).touch()
            os._exit(1)
        return 1

    assert in_fork(end_twice) == 1


def test_a_process_that_always_ends_is_an_error() -> None:
    with pytest.raises(LocalRulesError) as found:
        in_fork(lambda: os._exit(1))
    assert found.value.why == "its process ended without an answer"


def test_its_warnings_are_not_shown() -> None:
    assert in_fork(lambda: warnings.warn("once more", stacklevel=1)) is None


def test_work_that_does_not_end_is_ended() -> None:
    with pytest.raises(LocalRulesError) as found:
        in_fork(lambda: torch.multiprocessing.Event().wait() and None, timeout=0.5)
    assert "no answer within" in found.value.why
