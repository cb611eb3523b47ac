"""The conformance kit: what every rule has to hold to, as named checks."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.errors import LocalRulesError, error_text
from localrules.registry.registry import Registry
from localrules.testing.conformance.checks import CHECKS
from localrules.testing.conformance.subject import Bounds, NotApplicable, RuleClass, RuleUnderTest

if TYPE_CHECKING:
    import pytest

ExpectedFailures = Mapping[str, str]
"""Checks that are expected to fail, each with the reason."""


@dataclass(frozen=True)
class Check:
    """One check of one rule. Call it to run it.

    Attributes:
        rule: The rule's name.
        name: The check's name, e.g. ``learns_digits``.
        description: What is checked, in one line.
        run: Raises AssertionError if the rule fails, and :class:`NotApplicable` if the check does not apply.
        xfail_reason: Why the rule is expected to fail; empty if it is not.
    """

    rule: str
    name: str
    description: str
    run: Callable[[], None]
    xfail_reason: str = ""

    def __call__(self) -> None:
        self.run()


def checks(
    rule: str | RuleClass, *, expected_failures: ExpectedFailures | None = None, bounds: Bounds | None = None
) -> Iterator[Check]:
    """Every check for a rule.

    Args:
        rule: Its class, or the name by which it is installed.
        expected_failures: Checks that it is known to fail, each with the reason.
        bounds: Accuracies that it has to reach; by default those of :class:`Bounds`.

    Raises:
        UsageError: There is no such rule.
        LocalRulesError: An expected failure names no check.
    """
    rule_class: RuleClass = _installed().resolve("rule", rule) if isinstance(rule, str) else rule
    name = rule if isinstance(rule, str) else rule.__name__
    known = expected_failures or {}
    unknown = [check for check in known if check not in CHECKS]
    if unknown:
        raise LocalRulesError(
            f"there is no check {unknown[0]!r} to fail",
            where=f"the expected failures of rule {name!r}",
            fix=f"the checks are {', '.join(CHECKS)}",
        )
    subject = RuleUnderTest(rule_class, bounds or Bounds())
    for check_name, check in CHECKS.items():
        description = (getdoc(check) or "").partition("\n")[0]
        run: Callable[[], None] = partial(check, subject)
        yield Check(name, check_name, description, run, known.get(check_name, ""))


def run_checks(
    rule: str | RuleClass, *, expected_failures: ExpectedFailures | None = None, bounds: Bounds | None = None
) -> list[dict[str, str]]:
    """Run every check for a rule.

    Args:
        rule, expected_failures, bounds: As for :func:`checks`.

    Returns:
        ``check, status, reason`` of each. ``status`` is ``passed``, ``failed``, ``expected-failure`` or ``skipped``. A
        check that is expected to fail and passes has failed: the expectation is out of date.
    """
    found = checks(rule, expected_failures=expected_failures, bounds=bounds)
    return [{"check": check.name, **run_check(check)} for check in found]


def run_check(check: Check) -> dict[str, str]:
    """``status`` and ``reason`` of one check."""
    try:
        check()
    except NotApplicable as reason:
        return {"status": "skipped", "reason": str(reason)}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a rule may break in any way
        if check.xfail_reason:
            return {"status": "expected-failure", "reason": check.xfail_reason}
        message = error_text(error)
        if isinstance(error, LocalRulesError):
            message = f"{error.what}: {error.why} ({error.where})"
        elif not isinstance(error, AssertionError):
            message = f"{type(error).__name__}: {message} ({_location(error)})"
        return {"status": "failed", "reason": message or type(error).__name__}
    if check.xfail_reason:
        return {"status": "failed", "reason": f"expected to fail ({check.xfail_reason}), and passes"}
    return {"status": "passed", "reason": ""}


def _location(error: BaseException) -> str:
    """File and line at which an error was raised: the innermost outside of torch and of this package, if any."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = Path(__file__).parents[2]
    foreign = [
        frame for frame in frames if ours not in Path(frame.filename).parents and "/torch/" not in frame.filename
    ]
    frame = (foreign or frames)[-1]
    return f"{frame.filename}, line {frame.lineno}"


def parametrize_with_checks(
    rules: Sequence[str | RuleClass],
    *,
    expected_failures: Mapping[str, ExpectedFailures] | None = None,
    bounds: Mapping[str, Bounds] | None = None,
) -> pytest.MarkDecorator:
    """A decorator that makes pytest run a test once for each check of each rule::

        @parametrize_with_checks(["my-rule"])
        def test_my_rule_conforms(check):
            check()

    Args:
        rules: Rules by name or by class.
        expected_failures: By the rule's name, as for :func:`checks`; such a test is a strict ``xfail``.
        bounds: By the rule's name, as for :func:`checks`.
    """
    import pytest

    cases = []
    for rule in rules:
        name = rule if isinstance(rule, str) else rule.__name__
        known, reached = (expected_failures or {}).get(name), (bounds or {}).get(name)
        for check in checks(rule, expected_failures=known, bounds=reached):
            marks: Any = [pytest.mark.xfail(reason=check.xfail_reason, strict=True)] if check.xfail_reason else []
            cases.append(pytest.param(check, id=f"{check.rule}-{check.name}", marks=marks))
    return pytest.mark.parametrize("check", cases)


@cache
def _installed() -> Registry:
    return Registry.load()
