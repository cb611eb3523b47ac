"""Agreement of a network with FER+, ten people's votes on each image of FER2013.

References:
    Barsoum, Zhang, Canton Ferrer & Zhang 2016, Training Deep Networks for Facial Expression Recognition with
    Crowd-Sourced Label Distribution, https://arxiv.org/abs/1608.01041; the votes: https://github.com/microsoft/FERPlus
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from localrules.data.io import open_maybe_gzip
from localrules.errors import DataError, UsageError
from localrules.evaluation.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from localrules.data.dataset import Dataset
    from localrules.engine.scores import Scores

USAGES = {"train": "Training", "valid": "PublicTest", "test": "PrivateTest"}
NOUNS = {
    "neutral": "neutral",
    "happy": "happiness",
    "surprise": "surprise",
    "sad": "sadness",
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
}
"""FER+'s column for each class of FER2013."""
OTHERS = ("contempt", "unknown", "NF")  # what people may also say, NF: there is no face
SAME_ORDER = 0.4
"""FER2013's labels agree with FER+'s majority on 65 % of its rows, and on 18 % if the rows are shuffled (measured)."""
GET_IT = "take fer2013new.csv from https://github.com/microsoft/FERPlus, and the data set's own file, not a folder"


@dataclass(frozen=True)
class Agreement:
    """A network beside people.

    Attributes:
        majority_rows: Rows on which one of the run's classes has more votes than anything else, no tie.
        majority_agreement: The fraction of them on which the network says the same.
        label_agreement: The fraction of them on which FER2013's label says the same: what a network without a fault by
            its labels would reach.
        voted_rows: Rows with a vote for one of the run's classes. The others' votes (contempt, unknown, no face) are
            left out, and the rest is a row's distribution, which sums to 1.
        vote_share: The mean fraction of the votes that the network's answer has: how often it agrees with one person.
        cross_entropy: Of the network's probabilities under the votes' distribution, mean over rows, in nats.
        vote_entropy: The least that could be: the votes' own entropy.
        kl_divergence: What is above it: from the votes' distribution to the network's.
    """

    majority_rows: int
    majority_agreement: float
    label_agreement: float
    voted_rows: int
    vote_share: float
    cross_entropy: float
    vote_entropy: float
    kl_divergence: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class FERPlus(Metric):
    """FER+'s votes on a split of FER2013; computes :class:`Agreement`."""

    def __init__(self, path: Path, data: Dataset, split: str) -> None:
        self.votes = read_votes(path, data, split)

    def compute(self, scores: Scores) -> dict[str, Any]:
        return agreement(self.votes, scores).as_dict()


def agreement(votes: Tensor, scores: Scores) -> Agreement:
    """Compare a network's answers with votes.

    Args:
        votes: Counts, those of the run's classes first, then those of other answers: float64, shape (samples, answers).
        scores: Of the same rows.
    """
    classes = scores.logits.shape[1]
    most = votes.amax(1)
    settled = ((votes == most[:, None]).sum(1) == 1) & (votes[:, :classes].amax(1) == most)
    majority = votes.argmax(1)
    voted = votes[:, :classes].sum(1) > 0
    fractions = votes[voted, :classes] / votes[voted, :classes].sum(1, keepdim=True)
    logarithms = scores.logits[voted].double().log_softmax(1)
    cross = float(-(fractions * logarithms).sum(1).mean())
    entropy = float(torch.special.entr(fractions).sum(1).mean())
    return Agreement(
        majority_rows=int(settled.sum()),
        majority_agreement=float((scores.predictions == majority)[settled].double().mean()),
        label_agreement=float((scores.labels == majority)[settled].double().mean()),
        voted_rows=int(voted.sum()),
        vote_share=float(fractions.gather(1, scores.predictions[voted, None]).mean()),
        cross_entropy=cross,
        vote_entropy=entropy,
        kl_divergence=cross - entropy,
    )


def read_votes(path: Path, data: Dataset, split: str) -> Tensor:
    """FER+'s votes on the samples of a split: both files have the same order.

    Args:
        path: FER+'s table, plain or gzipped: ``Usage,Image name,neutral,happiness,...``.
        data: FER2013.
        split: The split.

    Returns:
        Counts as :func:`agreement` takes them.

    Raises:
        UsageError: The data set has other classes than FER2013.
        DataError: The file is missing or damaged, or its rows are not those of the split.
    """
    if set(data.classes) != set(NOUNS):
        raise UsageError(
            f"FER+ says nothing of {data.name!r}",
            where="--ferplus",
            why=f"its votes are on {', '.join(NOUNS)}; the labels here are {', '.join(data.classes)}",
            fix="score a run of fer2013, or leave out --ferplus",
        )
    names = [NOUNS[name] for name in data.classes] + list(OTHERS)
    votes = torch.tensor(_rows(path.expanduser(), USAGES[split], names), dtype=torch.float64)
    labels = data.split(split).labels.cpu()
    if len(votes) != len(labels):
        raise _other_rows(path, f"it has {len(votes):,} {USAGES[split]} samples, and the split has {len(labels):,}")
    same = float((votes[:, : len(data.classes)].argmax(1) == labels).double().mean())
    if same < SAME_ORDER:
        raise _other_rows(
            path, f"the labels are the votes' favourite in {100 * same:.0f} % of the rows: not in one order"
        )
    return votes


def _rows(path: Path, usage: str, names: list[str]) -> list[list[int]]:
    try:
        return _read_rows(path, usage, names)
    except csv.Error as error:
        raise _malformed(path, 1, f"it is not a table: {error}") from error


def _read_rows(path: Path, usage: str, names: list[str]) -> list[list[int]]:
    found = []
    with open_maybe_gzip(path) as file:
        reader = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline=""))
        if missing := [name for name in ("Usage", *names) if name not in (reader.fieldnames or ())]:
            raise _malformed(path, 1, f"it has no column {missing[0]!r}")
        for row in reader:
            if row["Usage"] != usage:
                continue
            counts = [row[name] or "" for name in names]
            if wrong := [count for count in counts if not re.fullmatch(r"[0-9]{1,4}", count)]:
                raise _malformed(path, reader.line_num, f"{wrong[0][:40]!r} is not a number of votes")
            found.append([int(count) for count in counts])
    return found


def _malformed(path: Path, row: int, why: str) -> DataError:
    return DataError("this is not a table of FER+'s votes", where=f"{path}, row {row}", why=why, fix=GET_IT)


def _other_rows(path: Path, why: str) -> DataError:
    return DataError("these votes are on other images", where=str(path), why=why, fix=GET_IT)
