"""The part that `make test` runs of tests that repeat a check over all rules, networks, moments or settings.

The other cases are marked ``exhaustive``: `make test-all` and the continuous integration on GitHub run them as well.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

REPRESENTATIVES = frozenset(
    {
        *("backprop", "hsic", "predsim"),  # objectives, one with heads
        *("fa", "predictive-coding"),  # errors from above
        *("forward-forward", "sgr"),  # other passes through the network, and gradients of gradients
    }
)
"""Rules of different mechanisms, of which `make test` checks what `make test-all` checks of every rule."""


def few(cases: Iterable[T], keep: Container[str], ids: Callable[[T], str] = str) -> list[Any]:
    """Cases as parameters of a test; all but a few are exhaustive.

    Args:
        cases: The cases.
        keep: The names of those that `make test` runs.
        ids: The name of a case.
    """
    names = [(case, ids(case)) for case in cases]
    return [pytest.param(case, id=name, marks=[] if name in keep else [pytest.mark.exhaustive]) for case, name in names]


def cases_to_run(request: pytest.FixtureRequest, parameter: str = "case") -> list[Any]:
    """The different values that a parameter takes in those tests of a module that this session runs.

    For fixtures that compute all cases at once.
    """
    here = [test for test in request.session.items if isinstance(test, pytest.Function)]
    here = [test for test in here if test.module is request.module and hasattr(test, "callspec")]
    values = [test.callspec.params[parameter] for test in here if parameter in test.callspec.params]
    return [value for number, value in enumerate(values) if value not in values[:number]]
