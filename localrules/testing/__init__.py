"""Tools for testing rules: the conformance kit, and the measurements that it is made of.

Every public name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localrules.auditing.audit import Audit, audit
    from localrules.auditing.dependence import Dependence, measure_dependence
    from localrules.auditing.locality_class import measure_class
    from localrules.testing.conformance.digits import learn_digits
    from localrules.testing.conformance.kit import Check, checks, parametrize_with_checks, run_checks
    from localrules.testing.conformance.sessions import build_session, toy_dataset
    from localrules.testing.conformance.subject import Bounds, NotApplicable
    from localrules.testing.conformance.views import make_view

_HOMES = {
    "make_view": "localrules.testing.conformance.views",
    "Audit": "localrules.auditing.audit",
    "Bounds": "localrules.testing.conformance.subject",
    "Check": "localrules.testing.conformance.kit",
    "Dependence": "localrules.auditing.dependence",
    "NotApplicable": "localrules.testing.conformance.subject",
    "audit": "localrules.auditing.audit",
    "build_session": "localrules.testing.conformance.sessions",
    "checks": "localrules.testing.conformance.kit",
    "learn_digits": "localrules.testing.conformance.digits",
    "measure_class": "localrules.auditing.locality_class",
    "measure_dependence": "localrules.auditing.dependence",
    "parametrize_with_checks": "localrules.testing.conformance.kit",
    "run_checks": "localrules.testing.conformance.kit",
    "toy_dataset": "localrules.testing.conformance.sessions",
}

__all__ = [
    "Audit",
    "Bounds",
    "Check",
    "Dependence",
    "NotApplicable",
    "audit",
    "build_session",
    "checks",
    "learn_digits",
    "make_view",
    "measure_class",
    "measure_dependence",
    "parametrize_with_checks",
    "run_checks",
    "toy_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # the next look-up does not come through here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
