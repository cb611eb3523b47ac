"""The simulation of scaling: closed forms, an independent clock, and the tables on the page."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from typing import Any

import pytest
from helpers.snippets import ROOT

STUDIES = ROOT / "examples" / "studies"


@pytest.fixture
def schedules(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(STUDIES)
    import scaling_schedules  # type: ignore[import-not-found]

    return scaling_schedules


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(STUDIES)
    import simulate_scaling  # type: ignore[import-not-found]

    return simulate_scaling


@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize(("stages", "micro"), [(1, 4), (4, 1), (4, 8), (8, 32)])
def test_equal_stages_of_a_pipeline_wait_as_the_closed_form_says(
    schedules: Any, stages: int, micro: int, alternating: bool
) -> None:
    """Huang et al. 2019 (GPipe): a bubble of (stages - 1) / (micro + stages - 1); that of 1F1B is the same."""
    tasks = schedules.pipeline_step(
        [1.0] * stages, [2.0] * stages, [0.0] * (stages - 1), micro, alternating=alternating
    )
    assert schedules.elapsed(schedules.simulate(tasks)) == 3 * (micro + stages - 1)


def test_1f1b_keeps_fewer_micro_batches_than_gpipe(schedules: Any) -> None:
    for alternating, most in ((True, 4), (False, 8)):
        spans = schedules.simulate(schedules.pipeline_step([1.0] * 4, [2.0] * 4, [0.0] * 3, 8, alternating=alternating))
        alive = [
            sum(spans["forward", 0, n].stop <= now < spans["backward", 0, n].stop for n in range(8))
            for now in range(40)
        ]
        assert max(alive) == most


def test_equal_local_stages_have_no_bubble_but_that_of_the_first_steps(schedules: Any) -> None:
    tasks = schedules.local_steps([2.0] * 5, [0.0] * 4, 30)
    assert schedules.elapsed(schedules.simulate(tasks)) == 2 * (30 + 5 - 1)


def test_reductions_that_are_fast_enough_hide_behind_the_backward_pass(schedules: Any) -> None:
    hidden = schedules.data_step(3.0, [(2.0, 1.0), (2.0, 1.0), (2.0, 0.0)], 0.5)
    assert schedules.elapsed(schedules.simulate(hidden)) == 9.5
    late = schedules.data_step(3.0, [(2.0, 5.0), (2.0, 1.0)], 0.5)
    assert schedules.elapsed(schedules.simulate(late)) == 3 + 2 + 5 + 1 + 0.5


def test_tasks_that_wait_for_each_other_are_an_error(schedules: Any) -> None:
    task = schedules.Task
    with pytest.raises(ValueError, match="wait for each other"):
        schedules.simulate([task("a", 0, 1.0, ("b",)), task("b", 1, 1.0, ("a",))])


@pytest.mark.parametrize("seed", range(8))
def test_local_stages_take_as_long_as_by_a_clock(schedules: Any, seed: int) -> None:
    draw = random.Random(seed)
    stages = [draw.randint(1, 6) for _ in range(draw.randint(2, 5))]
    transfers = [draw.randint(0, 7) for _ in stages[1:]]
    steps = draw.randint(1, 12)
    found = schedules.elapsed(schedules.simulate(schedules.local_steps(stages, transfers, steps)))
    assert found == by_a_clock(stages, transfers, steps, schedules.DEPTH)


def by_a_clock(stages: Sequence[int], transfers: Sequence[int], steps: int, depth: int) -> int:
    """The same, tick by tick, as two neighbours see it: the sender's list of messages, and the receiver's."""
    count = len(stages)
    ready_at, taken = [0] * count, [0] * count  # when a stage is free, and how many steps it has begun
    finished = [0] * count
    sent = [0] * (count - 1)  # given to the link
    arrived: list[list[int]] = [[] for _ in transfers]  # ticks at which messages have arrived
    link_free = [0] * (count - 1)
    now = 0
    while True:
        moved = True
        while moved:
            moved = False
            for stage in range(count):
                if taken[stage] > finished[stage] and ready_at[stage] <= now:
                    finished[stage] += 1
                    moved = True
            for link, seconds in enumerate(transfers):
                # A message sets out when it is computed, the link is free and the receiver has made room for it.
                room = sent[link] < taken[link + 1] + depth  # a step reads its message as it begins
                if sent[link] < finished[link] and link_free[link] <= now and room:
                    sent[link] += 1
                    link_free[link] = now + seconds
                    arrived[link].append(now + seconds)
                    moved = True
            for stage in range(count):
                idle = taken[stage] == finished[stage] < steps
                has_input = stage == 0 or sum(tick <= now for tick in arrived[stage - 1]) > taken[stage]
                if stage < count - 1:  # all but the newest messages have gone
                    idle = idle and finished[stage] - sum(tick <= now for tick in arrived[stage]) <= depth
                if idle and has_input:
                    taken[stage] += 1
                    ready_at[stage] = now + stages[stage]
                    moved = True
        if finished[-1] == steps:
            return now
        now += 1


@pytest.mark.parametrize(("model", "gpus", "batch"), [("resnet110", 8, 1024), ("vit_small", 32, 4096)])
def test_tables_on_the_page_are_those_of_the_simulation(page: Any, model: str, gpus: int, batch: int) -> None:
    layers = page.read_layers(page.MEASURED / f"layers-{model}.csv")
    with (page.MEASURED / f"scaling-{model}-{gpus}.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == page.comparison(layers, gpus, batch, page.MACHINES["h100"])


def test_layers_are_measured_as_their_shapes_say(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(STUDIES)
    import measure_layers  # type: ignore[import-not-found]
    from scaling_model import read_layers  # type: ignore[import-not-found]

    out = tmp_path / "layers.csv"
    words = ["--model", "lenet", "--side", "16", "--batch", "2", "--repeats", "1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["measure_layers.py", *words])
    measure_layers.main()
    assert "on one thread" in capsys.readouterr().out
    first, second, *_ = read_layers(out)
    assert second.input_layers == (first.name,)
    for layer in (first, second):
        counts = layer.counts
        assert counts["forward_flops"] > 0 == counts["forward_flops_fixed"]
        inputs = 1 if layer is first else 2  # gradients of the weights, and of what it reads
        assert counts["backward_flops"] == inputs * counts["forward_flops"]
        head = counts["local_flops"] - 2 * counts["forward_flops"]  # a local step has no gradient of what it reads
        assert 0 < head < counts["forward_flops"]
        assert counts["optimizer_bytes_fixed"] >= 16 * layer.parameters
        assert layer.parameters > 0 < layer.auxiliary
