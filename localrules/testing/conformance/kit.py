"""The conformance kit: what every rule promises, as named checks."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import localrules
from localrules.errors import LocalRulesError
from localrules.registry.registry import Registry
from localrules.testing.conformance.checks import CHECKS
from localrules.testing.conformance.subject import NotApplicable, RuleClass, RuleUnderTest

if TYPE_CHECKING:
    import pytest

ExpectedFailures = Mapping[str, str]
"""Checks that are expected to fail, each with the reason."""


@dataclass(frozen=True)
class Check:
    """One promise, held against one rule. Calling it checks.

    Attributes:
        rule: The rule's name.
        name: The check's name, e.g. ``learns_digits``.
        promise: What is checked, in a line.
        run: Raises AssertionError where the promise is broken, and :class:`NotApplicable` where it does not apply.
        known: Why it is expected to fail; empty if it is not.
    """

    rule: str
    name: str
    description: str
    run: Callable[[], None]
    xfail_reason: str = ""

    def __call__(self) -> None:
        self.run()


def checks(rule: str | RuleClass, expected_failures: ExpectedFailures | None = None) -> Iterator[Check]:
    """Every check for a rule.

    Args:
        rule: Its class, or the name by which it is installed.
        expected_failures: Checks that it is known to fail, each with the reason, beside those that the class names in
            its own ``expected_failures``.

    Raises:
        UsageError: There is no such rule, or an expected failure names no check.
    """
    kind: RuleClass = _installed().resolve("rule", rule) if isinstance(rule, str) else rule
    name = rule if isinstance(rule, str) else rule.__name__
    known = {**kind.expected_failures, **(expected_failures or {})}
    strangers = [word for word in known if word not in CHECKS]
    if strangers:
        raise LocalRulesError(
            f"there is no check {strangers[0]!r} to fail",
            where=f"the expected failures of rule {name!r}",
            fix=f"the checks are {', '.join(CHECKS)}",
        )
    subject = RuleUnderTest(kind)
    for word, check in CHECKS.items():
        promise = (getdoc(check) or "").partition("\n")[0]
        yield Check(name, word, promise, lambda check=check: check(subject), known.get(word, ""))  # type: ignore[misc]


def run_checks(rule: str | RuleClass, expected_failures: ExpectedFailures | None = None) -> list[dict[str, str]]:
    """Run every check for a rule.

    Args:
        rule, expected_failures: As for :func:`checks`.

    Returns:
        ``check, status, reason`` of each. ``status`` is ``passed``, ``failed``, ``expected-failure`` or ``skipped``. A
        check that is expected to fail and passes has failed: what was said of it is no longer true.
    """
    return [{"check": check.name, **run_check(check)} for check in checks(rule, expected_failures)]


def run_check(check: Check) -> dict[str, str]:
    """``status`` and ``reason`` of one check."""
    try:
        check()
    except NotApplicable as unfit:
        return {"status": "skipped", "reason": str(unfit)}
    except Exception as error:  # a rule may break in any way
        if check.xfail_reason:
            return {"status": "expected-failure", "reason": check.xfail_reason}
        message = " ".join(str(error).split())
        if not isinstance(error, AssertionError):
            message = f"{type(error).__name__}: {message} ({_location(error)})"
        return {"status": "failed", "reason": message or type(error).__name__}
    if check.xfail_reason:
        return {"status": "failed", "reason": f"expected to fail ({check.xfail_reason}), and passes"}
    return {"status": "passed", "reason": ""}


def _location(error: BaseException) -> str:
    """File and line at which an error was raised: the innermost outside of torch and of this package, if any."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = Path(localrules.__file__).parent
    foreign = [
        frame for frame in frames if ours not in Path(frame.filename).parents and "/torch/" not in frame.filename
    ]
    frame = (foreign or frames)[-1]
    return f"{frame.filename}, line {frame.lineno}"


def parametrize_with_checks(
    rules: Sequence[str | RuleClass], expected_failures: Mapping[str, ExpectedFailures] | None = None
) -> pytest.MarkDecorator:
    """A decorator by which pytest runs a test once for each check of each rule::

        @parametrize_with_checks(["my-rule"])
        def test_my_rule_keeps_its_promises(check):
            check()

    Args:
        rules: Rules by name or by class.
        expected_failures: By the rule's name, as for :func:`checks`; such a test is a strict ``xfail``.
    """
    import pytest

    cases = []
    for rule in rules:
        name = rule if isinstance(rule, str) else rule.__name__
        for check in checks(rule, (expected_failures or {}).get(name)):
            marks: Any = [pytest.mark.xfail(reason=check.xfail_reason, strict=True)] if check.xfail_reason else []
            cases.append(pytest.param(check, id=f"{check.rule}-{check.name}", marks=marks))
    return pytest.mark.parametrize("check", cases)


@cache
def _installed() -> Registry:
    return Registry.load()
