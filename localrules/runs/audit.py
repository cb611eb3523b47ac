"""The audit of a run: its locality where it stands, with its network, data, batches and precision.

The audit of a rule sees a small network, small images and a few steps, and a rule may behave otherwise elsewhere. Here
the run itself is continued, in a process that trains as a run does and knows nothing of an audit. This process loads no
plugin until it has compared what was learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from localrules.auditing.audit import Audit
from localrules.auditing.branches import Branch, Variation, sample_prediction
from localrules.auditing.circumstances import STEPS as LAB_STEPS
from localrules.auditing.dependence import Dependence, dependence, merge
from localrules.auditing.forks import TIMEOUT, in_fork_if_possible
from localrules.auditing.locality_class import measure_class
from localrules.core.locality import LOCALITY_LEVELS, Locality
from localrules.engine import checkpoint
from localrules.engine.session import Session
from localrules.engine.step import train_steps
from localrules.errors import UsageError
from localrules.runs.load import read_run
from localrules.runs.replay import BRANCH_STEPS, Replay, build_session, last_steps, replay


@dataclass(frozen=True)
class RunAudit:
    """An audit of a run.

    Attributes:
        audit: What was declared and measured; of several steps, the matrices hold what was found at any of them.
        rule, model: Of the run, as a user names them.
        run_dir: The run folder.
        steps: The steps at which a layer's parameters were changed.
        batch_size, precision: Of the run.
    """

    audit: Audit
    rule: str
    model: str
    run_dir: Path
    steps: tuple[int, ...]
    batch_size: int
    precision: str

    def as_dict(self) -> dict[str, Any]:
        """The document that ``localrules audit RUN --json`` prints."""
        return {
            **self.audit.as_dict(self.rule, self.model),
            "run_dir": str(self.run_dir),
            "step": self.steps[-1],
            **({"steps": list(self.steps)} if len(self.steps) > 1 else {}),
            "batch_size": self.batch_size,
            "precision": self.precision,
            "measured": "run",
        }


def audit_run(
    run: Path,
    plugins: Sequence[str] = (),
    *,
    at_steps: Sequence[int] | None = None,
    branch_steps: int = BRANCH_STEPS,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> RunAudit:
    """Continue a run for some steps, again with each layer's parameters changed, and compare.

    Where a layer depends on others that it does not read, the class is measured in this process, as for
    :func:`~localrules.testing.audit`.

    Args:
        run: The run folder, with a checkpoint.
        plugins: Plugin files, as the run was given them.
        at_steps: Train anew from the first step, and change parameters at these steps; by default the run is continued
            from its checkpoint.
        branch_steps: Steps to take after a change.
        seed: Of the noise that changes a layer's parameters.
        progress: Called with a line before each continuation.

    Raises:
        UsageError: The folder is not a run folder, or has no checkpoint yet; or a step that the run does not have.
        LocalRulesError: A continuation failed.
    """
    run = run.expanduser().resolve()
    read_run(run)  # before anything is built
    if at_steps is None:
        checkpoint.last_state(run)
    elif not at_steps or min(at_steps) < 0:
        raise UsageError("--at-steps names no step of the run", where="--at-steps", fix="give steps like 0,100,1000")
    places = None if at_steps is None else tuple(sorted({*at_steps}))
    answers = replay(Replay(run, tuple(plugins), places, branch_steps, seed))
    facts = next(answers)
    names = tuple(facts["names"])
    upstream, allowed = (tuple(tuple(row) for row in facts[name]) for name in ("upstream", "allowed"))
    found: dict[int, list[tuple[Variation, Branch | None]]] = {}
    for answer in answers:
        variation = Variation(**{**answer["variation"], "layers": tuple(answer["variation"]["layers"])})
        branch = None if answer["branch"] is None else Branch.from_dict(answer["branch"])
        found.setdefault(answer["step"], []).append((variation, branch))
        progress(f"step {answer['step']}: {_describe(variation, names)}")
    parts, reads_labels = [], False
    for branches in found.values():
        (_, first), (_, again), *changed = branches
        assert first is not None
        assert again is not None
        layers = [(each.layers, branch) for each, branch in changed if each.layers and branch is not None]
        parts.append(dependence(names, upstream, allowed, first, again, layers))
        others = [branch for each, branch in changed if each.labels is not None and branch is not None]
        reads_labels |= any(first.hidden_layers_differ(other) for other in others)
    whole = merge(parts)
    if whole.leaks:
        classes: list[Locality] = ["broadcast-error"]  # whatever plugins make of the measurement, a signal came down
        for step, part in zip(found, parts, strict=True):
            if part.leaks:
                checkpointed = at_steps is None
                classes.append(_class_at(run, plugins, part, step, branch_steps, seed, from_checkpoint=checkpointed))
        measured = max(classes, key=LOCALITY_LEVELS.index)
    elif whole.uses_windows:
        measured = "window"
    else:
        measured = "local-labels" if reads_labels else "local"
    declared: Locality = facts["declared"]
    audit = Audit(declared, measured, whole, tuple(facts["unowned"]))
    return RunAudit(audit, facts["rule"], facts["model"], run, tuple(found), facts["batch_size"], facts["precision"])


def _describe(variation: Variation, names: Sequence[str]) -> str:
    if variation.labels is not None:
        return f"{variation.labels} labels"
    if not variation.layers:
        return "as it is"
    changed = ", ".join(names[index] for index in variation.layers)
    return f"{changed} changed{' much' if variation.relative else ''}"


def _class_at(
    run: Path,
    plugins: Sequence[str],
    found: Dependence,
    step: int,
    branch_steps: int,
    seed: int,
    *,
    from_checkpoint: bool,
) -> Locality:
    """The class where the run branched, of steps from there."""

    def measure() -> Locality:
        session, here = build_session(run, plugins), 0
        if from_checkpoint:
            kept: Mapping[str, Any] = checkpoint.last_state(run)
            checkpoint.apply_state(session, deepcopy(kept))  # optimizers keep the tensors that they load
            here = last_steps(session, int(kept["progress"]["step"]), branch_steps)[0]
        train_steps(session, step - here, start=here, between=sample_prediction(session))
        state, batches = deepcopy(checkpoint.session_state(session, {})), session.batches

        def build() -> Session:
            checkpoint.apply_state(session, deepcopy(state))
            return replace(session, batches=batches, executor=None)

        taken = min(max(LAB_STEPS, branch_steps), session.total_steps - step)
        return measure_class(build, found, steps=taken, seed=seed, start=step, fork=False)

    return in_fork_if_possible(measure, timeout=TIMEOUT * len(found.layers))
