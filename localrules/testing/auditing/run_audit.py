"""The audit of a run where it stands: its network, data, batches, precision, phase and step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from localrules.core.layer import Layer
from localrules.engine import checkpoint
from localrules.engine.session import Session
from localrules.runs.replay import Replay, build_session, replay_in_new_process
from localrules.testing.auditing.audit import STEPS as LAB_STEPS
from localrules.testing.auditing.audit import Audit, unowned_parameters
from localrules.testing.auditing.dependence import Dependence, upstream_matrix
from localrules.testing.auditing.locality_class import measure_class
from localrules.testing.auditing.traces import NOISE, differ

State = dict[str, Any]

STEPS = 8  # a rule may behave for some steps of a process


@dataclass(frozen=True)
class RunAudit:
    """An audit of a run.

    Attributes:
        audit: What was declared and measured.
        rule, model: Of the run, as a user names them.
        run_dir: The run folder.
        step: The step from which the run was continued.
        batch_size, precision: Of the run.
    """

    audit: Audit
    rule: str
    model: str
    run_dir: Path
    step: int
    batch_size: int
    precision: str

    def as_dict(self) -> dict[str, Any]:
        """The document that ``localrules audit RUN --json`` prints."""
        return {
            **self.audit.as_dict(self.rule, self.model),
            "run_dir": str(self.run_dir),
            "step": self.step,
            "batch_size": self.batch_size,
            "precision": self.precision,
            "measured": "run",
        }


def audit_run(
    run: Path, plugins: Sequence[str] = (), *, seed: int = 0, progress: Callable[[str], None] = lambda _: None
) -> RunAudit:
    """Continue a run from its checkpoint for some steps, again with each layer's parameters changed, and compare.

    Each continuation is a process of its own that trains as the run does and holds nothing of this package; the
    states that it leaves are compared here. Where a layer depends on others that it does not read, the class is
    measured in this process, as for :func:`~localrules.testing.audit`.

    Args:
        run: The run folder, with a checkpoint.
        plugins: Plugin files, as the run was given them.
        seed: Of the noise that changes a layer's parameters.
        progress: Called with a line before each continuation.

    Raises:
        UsageError: The folder is not a run folder, or has no checkpoint yet.
        LocalRulesError: A continuation failed.
    """
    run = run.expanduser().resolve()
    session = build_session(run, plugins)
    kept = checkpoint.last_state(run)
    step = min(int(kept["progress"]["step"]), max(0, session.total_steps - STEPS))
    layers = session.network.layers
    keys = [_keys(session, layer) for layer in layers]
    with tempfile.TemporaryDirectory(prefix="localrules-audit-") as place:
        folder = Path(place)

        def continued(name: str, change: int | None = None, *, permute_labels: bool = False) -> State:
            progress(f"{name}: {STEPS} steps from step {step}")
            state = kept if change is None else _changed(kept, keys[change], seed + 1 + change)
            torch.save(state, folder / "state.pt")
            out = folder / "out.pt"
            out.unlink(missing_ok=True)
            replay_in_new_process(
                Replay(run, folder / "state.pt", step, STEPS, out, tuple(plugins), permute_labels=permute_labels)
            )
            return checkpoint.read_state(out)

        first, again = continued("as it is"), continued("as it is, once more")
        depends, buffers, loose = [], [], []
        upstream = upstream_matrix(layers)
        shared = _shared_keys(kept, keys)
        for column, layer in enumerate(layers):
            found = continued(f"with {layer.name} changed", column)
            depends.append([_update_differs(first, found, own, row == column) for row, own in enumerate(keys)])
            buffers.append([_differ(first, found, "network", own.buffers) for own in keys])
            if not all(upstream[row][column] for row in range(len(layers)) if row != column):
                loose += [(name, layer.name) for name in shared if _differ(first, found, "rule", [name])]
        dependence = Dependence(
            layers=tuple(layer.name for layer in layers),
            depends=tuple(zip(*depends, strict=True)),
            buffers=tuple(zip(*buffers, strict=True)),
            upstream=upstream,
            deterministic=not any(_update_differs(first, again, own, False) for own in keys),
            learned=tuple(_moved(kept, first, own) for own in keys),
            unowned_state=tuple(loose),
        )
        if dependence.leaks:
            measured = measure_class(lambda: _restored(run, plugins, kept), dependence, steps=LAB_STEPS, seed=seed)
        else:
            other = continued("with other labels", permute_labels=True)
            reads_labels = any(
                _update_differs(first, other, own, False) or _differ(first, other, "network", own.buffers)
                for own in keys[:-1]
            )
            measured = "local-labels" if reads_labels else "local"
    audit = Audit(session.run.locality, measured, dependence, tuple(unowned_parameters(session)))
    config = session.config
    return RunAudit(audit, config.rule.label, config.model.name, run, step, config.batch_size, config.precision)


@dataclass(frozen=True)
class _Keys:
    """Names of a layer's state in a checkpoint: of the network's state, of the rule's, and of its optimizer."""

    layer: str
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    rule: tuple[str, ...]
    rule_parameters: tuple[str, ...]


def _keys(session: Session, layer: Layer) -> _Keys:
    parameters = {id(tensor) for tensor in layer.parameters()}
    buffers = {id(tensor) for tensor in layer.module.buffers()}
    own = {id(tensor) for tensor in (*session.rule.parameters_for(layer), *session.rule.buffers_for(layer))}
    model, rule = session.network.model, session.rule
    return _Keys(
        layer.name,
        tuple(name for name, tensor in model.named_parameters() if id(tensor) in parameters),
        tuple(name for name, tensor in model.named_buffers() if id(tensor) in buffers),
        tuple(name for name, tensor in [*rule.named_parameters(), *rule.named_buffers()] if id(tensor) in own),
        tuple(name for name, tensor in rule.named_parameters() if id(tensor) in own),
    )


def _changed(state: State, keys: _Keys, seed: int) -> State:
    """A copy of the state with noise on the layer's parameters, those of its auxiliary modules included."""
    draws = torch.Generator().manual_seed(seed)
    found = {**state, "network": dict(state["network"]), "rule": dict(state["rule"])}
    for part, names in (("network", keys.parameters), ("rule", keys.rule_parameters)):
        for name in names:
            tensor = found[part][name]
            found[part][name] = tensor + NOISE * torch.randn(tensor.shape, generator=draws).to(tensor)
    return found


def _update_differs(one: State, other: State, keys: _Keys, own: bool) -> bool:
    """Whether what the layer learned differs by any bit: its optimizer, and, unless changed, parameters and state."""
    if not own and (_differ(one, other, "network", keys.parameters) or _differ(one, other, "rule", keys.rule)):
        return True
    return differ(_optimizer_tensors(one, keys.layer), _optimizer_tensors(other, keys.layer))


def _differ(one: State, other: State, part: str, names: Sequence[str]) -> bool:
    return differ([one[part].get(name) for name in names], [other[part].get(name) for name in names])


def _moved(before: State, after: State, keys: _Keys) -> bool:
    return _differ(before, after, "network", keys.parameters) or _differ(before, after, "rule", keys.rule)


def _optimizer_tensors(state: State, layer: str) -> list[Tensor | None]:
    found = state["optimizers"].get(layer, {}).get("state", {})
    return [value for values in found.values() for value in values.values() if isinstance(value, Tensor)]


def _shared_keys(state: State, keys: Sequence[_Keys]) -> list[str]:
    owned = {name for own in keys for name in own.rule}
    return [name for name in state["rule"] if name not in owned]


def _restored(run: Path, plugins: Sequence[str], state: Mapping[str, Any]) -> Session:
    session = build_session(run, plugins)
    checkpoint.apply_state(session, deepcopy(state))  # optimizers keep the tensors that they load
    return session
