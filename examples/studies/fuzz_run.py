"""A fuzzer of ``localrules run``: every flag, and every setting of the run, of every rule and of every model.

    python examples/studies/fuzz_run.py                       # 2,000 lines, some ten minutes
    python examples/studies/fuzz_run.py --lines 200 --seed 1

Each line is a dry run in this process. It must end within ten seconds of computing, or a minute for a large network,
with exit code 0, 1 or 2 and one JSON document, and never with a traceback or an error that localrules did not foresee.
Each line that does not is printed.

Needs hypothesis, which localrules does not: ``pip install hypothesis``.
"""

from __future__ import annotations

import argparse
import io
import json
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple, get_args

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from localrules.cli import main as localrules
from localrules.config.schema import RunConfig
from localrules.registry.registry import Registry

SECONDS, SECONDS_OF_LARGE = 10.0, 60.0  # of computing
HANGS_AFTER = 120.0  # seconds on the clock
FACES = ("--data", "faces", "--set", "data.train=64", "--set", "data.valid=14", "--set", "data.test=14")
SHORT = ("--batch-size", "4", "--steps", "2", "--threads", "1")
# Only with options of theirs, and trained by one rule: all else is tried on small networks.
LARGE_MODELS = (
    *("alexnet", "convnext_tiny", "densenet_bc", "inception_v2", "mlp_mixer", "resnet110", "resnet50", "vgg11b"),
    *("vgg13", "vgg16", "vgg19", "vgg8b", "vit_small", "wide_resnet"),
)
SMALLER = {"mlp": "model.hidden=[8]", "resnet18": "model.width=4", "dense_fpn": "model.growth=4"}
# Values that some option may take, and values that none should; whole numbers that are sizes stay small.
VALUES = (
    *(
        "0",
        "1",
        "2",
        "3",
        "7",
        "0.5",
        "0.01",
        "true",
        "false",
        "[1, 2]",
        "[8]",
        "[0.5, 0.9]",
        "relu",
        "hidden",
        "layer",
    ),
    *("-1", "-0.5", "nan", "inf", "-inf", "1e300", "1e-300", "9" * 400, str(2**31), str(2**63), str(2**64), "-9" * 20),
    *("", "''", "[]", "{}", "[[]]", "[[1]]", "{a = 1}", "['a', 2]", "none", "null", "1979-05-27", "=", "a.b", "*", "["),
    *("\u00fc", "\udcfc", "\x1b[31m", "\n", "\x00", "../..", "a" * 3000, "[" * 200),
)
FLAGS = (
    *("--rule", "--model", "--data", "--data-path", "--epochs", "--steps", "--batch-size", "--lr", "--seed"),
    *("--granularity", "--preset", "--config", "--set", "--device", "--precision", "--threads", "--out", "--resume"),
    *("--diagnose", "--checkpoint-every", "--wandb", "--track", "--plugin", "--no-plugin", "--audit"),
)


_TYPICAL = ((bool, ("true", "false")), (int, ("1", "2", "3")), (float, ("0.1", "0.5", "1.0")))


class Target(NamedTuple):
    """A flag or a setting to give a value to, with the rule and the model that have it, and words that it may take."""

    name: str
    rule: str = ""
    model: str = ""
    words: tuple[str, ...] = ()


def targets() -> list[Target]:
    """Every flag of ``run``, and every setting that ``--set`` takes."""
    registry = Registry.load(allow=[])
    rules, models = ([item.entry.name for item in registry.entries(kind)] for kind in ("rule", "model"))
    named = {"--rule": (*rules, "*=hsic,readout=backprop", "0=sim,*=pred"), "--model": tuple(models)}
    found = [Target(flag, words=named.get(flag, ())) for flag in FLAGS]
    found += [Target(name, words=words) for name, words in _fields(RunConfig)]
    for rule in rules:
        found += [
            Target(f"rule.{name}", rule=rule, words=words)
            for name, words in _fields(registry.resolve("rule", rule).Config)
        ]
    for model in models:
        config = registry.resolve("model", model).Config
        found += [Target(f"model.{name}", model=model, words=words) for name, words in _fields(config)]
    return found


def _fields(config: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """The dotted names of all options, and the words that the type of each names."""
    for name, field in config.model_fields.items():
        yield prefix + name, tuple(_words(field.annotation))
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _fields(kind, f"{prefix}{name}.")


def _words(annotation: Any) -> Iterator[str]:
    yield from next((words for kind, words in _TYPICAL if annotation is kind), ())
    for item in get_args(annotation):
        if isinstance(item, str):
            yield item
        yield from _words(item)


def lines(known: list[Target]) -> st.SearchStrategy[list[str]]:
    """Command lines: a short run of any rule on a small network, with values for one to three flags or settings."""
    rules = st.sampled_from(sorted({target.rule for target in known} - {""}))
    models = st.sampled_from(sorted({target.model for target in known} - {"", *LARGE_MODELS}))

    @st.composite
    def line(draw: st.DrawFn) -> list[str]:
        aimed = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
        rule = next((target.rule for target in aimed if target.rule), None) or draw(rules)
        model = next((target.model for target in aimed if target.model), None) or draw(models)
        rule = "backprop" if model in LARGE_MODELS else rule
        words = ["run", "--rule", rule, "--model", model, *FACES, *SHORT]
        words += ["--set", SMALLER[model]] if model in SMALLER else []
        for target in aimed:
            value = draw(st.one_of(st.sampled_from(target.words or VALUES), st.sampled_from(VALUES)))
            words += [target.name, value] if target.name.startswith("-") else ["--set", f"{target.name}={value}"]
        return [*words, "--dry-run", "--json"]

    return line()


class Outcome(NamedTuple):
    """The end of a line: its exit code, its seconds of computing, and what is wrong with it, if anything."""

    code: int
    seconds: float
    fault: str


def attempt(words: list[str]) -> Outcome:
    """Run a line in this process."""
    out, err = io.StringIO(), io.StringIO()
    hung: list[bool] = []

    def interrupt(number: int, frame: object) -> None:
        hung.append(True)
        raise TimeoutError("the line takes too long")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, HANGS_AFTER)
    began = time.process_time()
    code = -1
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = localrules(words)
        fault = _fault(code, out.getvalue(), err.getvalue())
    except BaseException as error:
        fault = f"{type(error).__name__} came out: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    seconds = time.process_time() - began
    slow = seconds > (SECONDS if {*LARGE_MODELS}.isdisjoint(words) else SECONDS_OF_LARGE)
    return Outcome(code, seconds, "it takes too long" if hung or slow else fault)


def _fault(code: int, out: str, err: str) -> str:
    if "Traceback" in err:
        return "a traceback: " + err[-300:]
    try:
        document = json.loads(out)
    except ValueError:
        return f"no JSON: {out[:200]!r}"
    error = document.get("error")
    if (code == 0) != (error is None) or code not in (0, 1, 2):
        return f"exit code {code} with {str(document)[:200]}"
    if error and "did not foresee" in error["what"]:
        return f"{error['why']} ({error['where']})"
    return f"an error of {len(out):,} characters" if len(out) > 5000 and error else ""


def fuzz(count: int, number: int, known: list[Target]) -> tuple[Counter[int], list[tuple[str, str]], float]:
    """Try lines.

    Args:
        count: How many.
        number: The seed.
        known: What to give values to.

    Returns:
        How many ended with each exit code; the lines with a fault, with it; and the seconds of the slowest line.
    """
    codes: Counter[int] = Counter()
    faults: list[tuple[str, str]] = []
    slowest = [0.0]

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(lines(known))
    def one(words: list[str]) -> None:
        outcome = attempt(words)
        codes[outcome.code] += 1
        slowest[0] = max(slowest[0], outcome.seconds)
        if sum(codes.values()) % 50 == 0:
            print(f"{sum(codes.values()):,} lines", file=sys.stderr, flush=True)
        if outcome.fault:
            faults.append((shlex.join(words), outcome.fault))
            print(f"{faults[-1][1]}\n    {faults[-1][0]!a}", flush=True)

    one()
    return codes, faults, slowest[0]


def main() -> None:
    """Fuzz, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=2000, metavar="N", help="how many lines to try")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the lines")
    asked = parser.parse_args()
    began = time.perf_counter()
    codes, faults, slowest = fuzz(asked.lines, asked.seed, targets())
    shown = ", ".join(f"{count:,} with exit code {code}" for code, count in sorted(codes.items()))
    print(f"{sum(codes.values()):,} lines in {time.perf_counter() - began:.0f} s: {shown}; slowest {slowest:.1f} s")
    print(f"{len(faults)} with a fault")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
