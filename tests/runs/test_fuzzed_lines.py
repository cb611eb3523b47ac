"""A few lines of the fuzzer in examples/studies/fuzz_run.py, which tries thousands."""

from __future__ import annotations

import runpy
import sys

import pytest
from helpers.snippets import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="it needs a timer that Windows lacks"),
    pytest.mark.filterwarnings("ignore"),  # of settings that do not go together
]

FUZZER = runpy.run_path(str(ROOT / "examples" / "studies" / "fuzz_run.py"))
# Of rules that train an mlp: what else would fit takes seconds to list.
RULES = ("", "backprop", "hsic", "hsic-normalized", "local-ce", "dfa", "noprop", "forward-forward", "predictive-coding")


def test_lines_of_any_values_are_answered() -> None:
    known = [target for target in FUZZER["targets"]() if target.model in ("", "mlp") and target.rule in RULES]
    known = [target for target in known if target.name != "--model"]
    assert len(known) > 120
    codes, faults, _ = FUZZER["fuzz"](60, 0, known)
    assert faults == []
    assert set(codes) <= {0, 1, 2}
    assert codes[0] >= 5
    assert codes[2] >= 5


@pytest.mark.parametrize(
    ("code", "out", "err", "fault"),
    [
        (0, "{}", "", ""),
        (2, '{"error": {"what": "a", "why": "", "where": ""}}', "", ""),
        (0, '{"error": {"what": "a", "why": "", "where": ""}}', "", "exit code 0"),
        (1, "{}", "", "exit code 1"),
        (3, '{"error": {"what": "a", "why": "", "where": ""}}', "", "exit code 3"),
        (1, '{"error": {"what": "that localrules did not foresee", "why": "KeyError", "where": "x"}}', "", "KeyError"),
        (1, "", "Traceback (most recent call last)", "a traceback"),
        (0, "text", "", "no JSON"),
    ],
)
def test_the_fuzzer_finds_each_kind_of_fault(code: int, out: str, err: str, fault: str) -> None:
    found = FUZZER["_fault"](code, out, err)
    assert fault in found
    assert bool(found) == bool(fault)
