"""Metrics, against loops over images."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.shown_progress import shown_progress
from helpers.tiny_sessions import RULES, perceptron

from localrules.data.dataset import Split
from localrules.engine.inference import subsample
from localrules.engine.scores import Scores
from localrules.errors import LocalRulesError

CLASSES = 5


@pytest.fixture
def scores() -> Scores:
    draws = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES - 1, (60,), generator=draws)  # the last class does not occur
    logits = torch.randn(60, CLASSES, generator=draws)
    logits[torch.arange(60), labels] += 0.8
    logits[0] = 1.0  # a tie: the first class wins
    return Scores(logits, labels)


def guess(sample: list[float]) -> int:
    return sample.index(max(sample))


def test_against_loops(scores: Scores) -> None:
    samples, labels = scores.logits.tolist(), scores.labels.tolist()
    confusion = [[0] * CLASSES for _ in range(CLASSES)]
    loss, right = 0.0, 0
    for sample, label in zip(samples, labels, strict=True):
        confusion[label][guess(sample)] += 1
        right += guess(sample) == label
        loss -= sample[label] - math.log(sum(math.exp(value) for value in sample))
    assert scores.confusion.tolist() == confusion
    assert scores.top1 == pytest.approx(right / 60)
    assert scores.loss == pytest.approx(loss / 60, rel=1e-5)

    recalls = []
    one_vs_rest = []
    for c in range(CLASSES):
        mine = [guess(sample) == c for sample, label in zip(samples, labels, strict=True) if label == c]
        recalls += [sum(mine) / len(mine)] if mine else []
        agree = [(guess(sample) == c) == (label == c) for sample, label in zip(samples, labels, strict=True)]
        one_vs_rest.append(sum(agree) / 60)
    assert scores.balanced_accuracy == pytest.approx(sum(recalls) / len(recalls))
    assert scores.one_vs_rest_accuracy == pytest.approx(sum(one_vs_rest) / CLASSES)
    assert scores.per_class_recall.isnan().tolist() == [False] * (CLASSES - 1) + [True]


def test_only_some_samples(scores: Scores) -> None:
    half = scores.subset(torch.arange(60) < 30)
    assert len(half.labels) == 30
    assert torch.equal(half.predictions, scores.predictions[:30])


def test_a_session_scores_a_split_in_order_and_in_eval_mode() -> None:
    session = perceptron(RULES["local-ce"], eval_batch_size=5)
    split = session.data.split("valid")
    session.network.train()
    modes = [module.training for module in session.network.modules()]
    buffers = {name: buffer.clone() for name, buffer in session.network.named_buffers()}
    whole = session.predictor.scores(split)
    assert torch.equal(whole.labels, split.labels)
    some = session.predictor.scores(split, torch.tensor([3, 1]))
    torch.testing.assert_close(some.logits, whole.logits[[3, 1]])
    assert [module.training for module in session.network.modules()] == modes
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in session.network.named_buffers())
    relabelled = session.predictor.scores(Split(split.images, 3 - split.labels))
    assert torch.equal(relabelled.logits, whole.logits)


@pytest.mark.parametrize("shape", [(5, 9), (4, 4), (5,)])
def test_a_rule_that_answers_with_other_shapes_is_named(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = perceptron(RULES["local-ce"], eval_batch_size=5)
    classes = len(session.data.classes)
    monkeypatch.setattr(session.rule, "predict", lambda network, images: torch.zeros(shape))
    with pytest.raises(LocalRulesError, match="predict") as caught:
        session.predictor.scores(session.data.split("valid"))
    assert f"(5, {classes})" in str(caught.value)


def test_scoring_reports_its_progress() -> None:
    session = perceptron(RULES["local-ce"], eval_batch_size=5)
    with shown_progress() as seen:
        session.predictor.scores(session.data.split("valid"), torch.arange(7))
    assert seen == [("predicting images", 7), 5, 2]


def test_the_samples_scored_at_the_end_are_spread_over_the_split() -> None:
    split = Split(torch.zeros(11, 1, 2, 2, dtype=torch.uint8), torch.zeros(11, dtype=torch.int64))
    assert subsample(split, 11) is None
    chosen = subsample(split, 4)
    assert chosen is not None
    assert [int(sample) * 4 // 11 for sample in chosen] == [0, 1, 2, 3]  # one of each quarter
    everything = Split(torch.zeros(40, 1, 1, 1, dtype=torch.uint8), torch.zeros(40, dtype=torch.int64))
    for count in range(1, 40):
        chosen = subsample(everything, count)
        assert chosen is not None
        assert len(chosen.unique()) == count, count


GROWTH = """
import torch
from helpers.tiny_sessions import RULES, as_model
from localrules.data.dataset import Split
from localrules.testing.conformance.sessions import build_session, toy_dataset

class Small(torch.nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first, self.readout = torch.nn.Conv2d(3, 2, 5, stride=5), torch.nn.Linear(2 * 19 * 19, num_classes)
    def forward(self, images):
        return self.readout(torch.relu(self.first(images)).flatten(1))

def anonymous():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024

session = build_session(RULES["backprop"], as_model(Small), toy_dataset(shape=(3, 96, 96)), eval_batch_size=40)
images = torch.zeros(1, 3, 96, 96, dtype=torch.uint8).expand(2000, -1, -1, -1)
many = Split(images, torch.zeros(len(images), dtype=torch.int64))
session.predictor.scores(many, torch.arange(80))
before = anonymous()
session.predictor.scores(many)
print(anonymous() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_the_number_of_images_that_are_scored() -> None:
    # In float32 the images take 211 MiB, a batch 4 MiB.
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    said = subprocess.run(
        [sys.executable, "-c", GROWTH], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    assert float(said.stdout) < 40
