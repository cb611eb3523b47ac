"""Progress of long work: a display that fails ends no work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from localrules.utils.progress import progress, show_progress


@pytest.mark.parametrize("moment", ["begin", "advance", "end"])
def test_a_display_that_fails_is_left_out(moment: str) -> None:
    told: list[int] = []

    @contextmanager
    def display(text: str, total: int) -> Iterator[Callable[[int], None]]:
        def advance(done: int) -> None:
            told.append(done)
            if moment == "advance":
                raise OSError("the terminal has gone")

        if moment == "begin":
            raise OSError("the terminal has gone")
        yield advance
        if moment == "end":
            raise OSError("the terminal has gone")

    with show_progress(display), progress("decoding", 3) as work:
        for _ in range(3):
            work(1)
    assert told == {"begin": [], "advance": [1], "end": [1, 1, 1]}[moment]


def test_an_error_of_the_work_itself_is_passed_on() -> None:
    with pytest.raises(ValueError, match="a damaged image"), progress("decoding", 3):
        raise ValueError("a damaged image")
