"""Agreement with people's votes, against loops; and files that do not fit. All votes here are made up."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from localrules.data.dataset import Dataset, Split
from localrules.engine.scores import Scores
from localrules.errors import DataError, UsageError
from localrules_fer.datasets.fer2013_csv import CLASSES
from localrules_fer.ferplus import agreement, read_votes

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
COLUMN = dict(zip(CLASSES, (4, 5, 6, 1, 3, 2, 0), strict=True))
"""Where FER+ counts the votes for each of FER2013's classes."""


def data_set(**labels: list[int]) -> Dataset:
    splits = {
        name: Split(torch.zeros(len(found), 1, 48, 48, dtype=torch.uint8), torch.tensor(found))
        for name, found in labels.items()
    }
    return Dataset("fer2013", CLASSES, splits, "made up", "", redistributable=True)


def line(usage: str, label: int, *, others: str = "0,0,0") -> str:
    votes = [0] * 7
    votes[COLUMN[CLASSES[label]]] = 7
    votes[COLUMN[CLASSES[(label + 1) % 7]]] = 3
    return ",".join([usage, "fer.png", *map(str, votes), others])


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def to_file(*lines: str, header: str = HEADER) -> Path:
        path = tmp_path / "votes.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return to_file


def test_votes_are_those_of_the_split_in_its_order_by_the_runs_classes(write: Callable[..., Path]) -> None:
    labels = [3, 0, 6, 5]
    path = write(*[line("Training", 1)] * 3, *[line("PublicTest", label, others="0,2,1") for label in labels])
    votes = read_votes(path, data_set(valid=labels), "valid")
    assert votes.shape == (4, 10)
    assert votes[:, :7].argmax(1).tolist() == labels
    assert votes[0].tolist() == [0, 0, 0, 7, 3, 0, 0, 0, 2, 1]


def test_a_gzipped_table_is_read_too(write: Callable[..., Path], tmp_path: Path) -> None:
    packed = tmp_path / "votes.csv.gz"
    packed.write_bytes(gzip.compress(write(line("Training", 2)).read_bytes()))
    assert read_votes(packed, data_set(train=[2]), "train").shape == (1, 10)


@pytest.fixture
def voted() -> tuple[torch.Tensor, Scores]:
    draws = torch.Generator().manual_seed(1)
    votes = torch.randint(0, 5, (80, 10), generator=draws).double()
    votes[0, :7] = 0  # nobody saw an expression
    votes[1] = 0  # nobody voted
    scores = Scores(2 * torch.randn(80, 7, generator=draws), torch.randint(0, 7, (80,), generator=draws))
    return votes, scores


def test_metrics_against_loops(voted: tuple[torch.Tensor, Scores]) -> None:
    votes, scores = voted
    same, labelled, settled, fraction, cross, entropy, rows = 0, 0, 0, 0.0, 0.0, 0.0, 0
    for row, label, logits in zip(votes.tolist(), scores.labels.tolist(), scores.logits.tolist(), strict=True):
        said = logits.index(max(logits))
        first = row.index(max(row))
        if row.count(max(row)) == 1 and first < 7:
            settled += 1
            same += first == said
            labelled += first == label
        total = sum(row[:7])
        if total == 0:
            continue
        rows += 1
        fraction += row[said] / total
        for place in range(7):
            if p := row[place] / total:
                cross -= p * (logits[place] - math.log(sum(math.exp(value) for value in logits)))
                entropy -= p * math.log(p)
    found = agreement(votes, scores)
    assert (found.majority_rows, found.voted_rows) == (settled, rows)
    assert rows == 78
    assert found.majority_agreement == pytest.approx(same / settled)
    assert found.label_agreement == pytest.approx(labelled / settled)
    assert found.vote_share == pytest.approx(fraction / rows)
    assert found.cross_entropy == pytest.approx(cross / rows)
    assert found.vote_entropy == pytest.approx(entropy / rows)
    assert found.kl_divergence == pytest.approx((cross - entropy) / rows)


def test_who_says_just_what_the_votes_say_is_at_no_distance() -> None:
    votes = torch.tensor([[6.0, 3, 1, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 2, 0, 8, 0, 0, 0]], dtype=torch.float64)
    found = agreement(votes, Scores(votes[:, :7].clamp_min(1e-12).log().float(), torch.tensor([0, 6])))
    assert found.kl_divergence == pytest.approx(0, abs=1e-6)
    assert (found.majority_agreement, found.label_agreement) == (1, 1)
    assert found.vote_share == pytest.approx(0.7)


def refused(path: Path, data: Dataset, kind: type[UsageError] = DataError) -> dict[str, Any]:
    with pytest.raises(kind) as caught:
        read_votes(path, data, "train")
    assert all(caught.value.as_dict().values())
    return caught.value.as_dict()


def test_another_number_of_rows_is_refused(write: Callable[..., Path]) -> None:
    assert "2 Training samples" in refused(write(*[line("Training", 0)] * 2), data_set(train=[0]))["why"]


def test_rows_in_another_order_are_refused(write: Callable[..., Path]) -> None:
    """As in a folder of images, which are sorted by class and name."""
    labels = [0, 1, 2, 3, 4, 5, 6] * 10
    path = write(*[line("Training", label) for label in labels])
    assert read_votes(path, data_set(train=labels), "train").shape == (70, 10)
    assert "not in one order" in refused(path, data_set(train=sorted(labels)))["why"]


def test_a_table_of_something_else_is_refused(write: Callable[..., Path]) -> None:
    assert "'anger'" in refused(write("Training,1,2", header="Usage,a,b"), data_set(train=[0]))["why"]
    assert "'Usage'" in refused(write("1,2", header="a,b"), data_set(train=[0]))["why"]


@pytest.mark.parametrize("votes", ["x,0,0", "-1,0,0", "0,0", "1.5,0,0"])
def test_a_row_that_is_not_votes_is_named(write: Callable[..., Path], votes: str) -> None:
    path = write(line("Training", 0), line("Training", 0, others=votes))
    assert refused(path, data_set(train=[0, 0]))["where"].endswith("row 3")


def test_a_binary_file_is_refused(write: Callable[..., Path]) -> None:
    path = write()
    path.write_bytes(b"Usage," + b"x" * 200_000)
    assert "it is not a table" in refused(path, data_set(train=[0]))["why"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.csv", data_set(train=[0]))["what"] == "there is no such data file"


def test_votes_on_faces_say_nothing_of_digits(write: Callable[..., Path]) -> None:
    digits = Dataset("mnist", tuple("0123456789"), {}, "made up", "", redistributable=True)
    assert "'mnist'" in refused(write(line("Training", 0)), digits, UsageError)["what"]
