"""Checks of what a trained rule answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from localrules.auditing.traces import differ
from localrules.engine import checkpoint
from localrules.engine.session import Session
from localrules.engine.step import train_steps
from localrules.testing.conformance.checks.reproducibility_checks import state
from localrules.testing.conformance.subject import Place, RuleUnderTest, abbreviate

STEPS = 2
CLOSE = 1e-3


def predictions_have_their_shape(subject: RuleUnderTest) -> None:
    """Predictions are finite logits, (batch, classes), also for a single image."""
    for place in subject.places:
        session = _trained(subject, place).session
        for samples in (1, 5):
            logits, wanted = _answers(session, samples), (samples, len(session.data.classes))
            assert tuple(logits.shape) == wanted, f"on {place}: shape {tuple(logits.shape)}, not {wanted}"
            assert bool(logits.isfinite().all()), f"on {place}: logits that are not finite"


def predictions_depend_on_image_and_state(subject: RuleUnderTest) -> None:
    """Predictions depend only on the image and the saved state, not on labels, other images or earlier calls."""
    for place in subject.distinct_places:
        session, fresh = _trained(subject, place).session, subject.session(place)
        with TemporaryDirectory() as folder:
            checkpoint.save(Path(folder), session, {"step": STEPS})
            checkpoint.restore(Path(folder), fresh)
        mine, theirs = _answers(session), _answers(fresh)
        assert not differ([mine], [theirs]), f"on {place}: a run that was loaded answers otherwise"
        gap = float((_answers(session, backwards=True).flip(0) - mine).abs().max())
        close = CLOSE * (1 + float(mine.abs().max()))
        gap = max(gap, float((_answers(session, samples=3) - mine[:3]).abs().max()))
        assert gap <= close, f"on {place}: predictions depend on the other images of the batch, or on their order"


def prediction_changes_nothing(subject: RuleUnderTest) -> None:
    """Prediction leaves the state of network and rule as it was, and what is learned later, too."""
    for place in subject.places:
        changed = _trained(subject, place).changed
        assert not changed, f"on {place}, changed by prediction: {abbreviate(changed)}"
    ends = []
    for between in (lambda session: None, _answers):
        session = subject.session(subject.places[-1])
        train_steps(session, STEPS)
        between(session)
        train_steps(session, 1, start=STEPS)
        ends.append({name: tensor.detach().clone() for name, tensor in state(session).items()})
    other = [name for name, tensor in ends[0].items() if differ([tensor], [ends[1][name]])]
    assert not other, f"on {subject.places[-1]}, learned otherwise after a prediction: {abbreviate(other)}"


@dataclass(frozen=True)
class _Trained:
    """A session after some steps, and the names of what its first prediction changed."""

    session: Session
    changed: tuple[str, ...]


@lru_cache(maxsize=8)
def _trained(subject: RuleUnderTest, place: Place) -> _Trained:
    """The session that all checks ask for predictions."""
    session = subject.session(place)
    train_steps(session, STEPS)
    before = {name: tensor.detach().clone() for name, tensor in state(session).items()}
    _answers(session)
    return _Trained(session, tuple(name for name, now in state(session).items() if differ([before[name]], [now])))


def _answers(session: Session, samples: int = 8, *, backwards: bool = False) -> Tensor:
    split = session.data.split("valid")
    images = session.batches.preprocess(split.images[:samples])
    images = images.flip(0) if backwards else images
    torch.manual_seed(0)
    with session.predictor.eval_mode():
        logits = session.rule.predict(session.network, images)
    return logits.float()
