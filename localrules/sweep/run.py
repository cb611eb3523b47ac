"""A sweep: trials are asked for, run, and told, until there are as many as were wanted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.callbacks.base import Callback
from localrules.comparison.execute import RunPool
from localrules.comparison.plan import PlannedRun
from localrules.comparison.run_record import RunRecord
from localrules.comparison.worker import MakeCallbacks
from localrules.config.diff import identity_settings
from localrules.config.overrides import Tree, nest
from localrules.config.settings import Settings, merge_settings
from localrules.engine.builder import load_run_dataset
from localrules.engine.divergence import Diverged
from localrules.engine.environment import providers
from localrules.engine.resolve import resolve_run
from localrules.errors import DataError, MissingDependencyError, UsageError
from localrules.runs.executor import Executor
from localrules.sweep.optimizer import (
    STORAGE,
    Direction,
    Pruner,
    Sampler,
    existing_study,
    grid_points,
    import_optuna,
    make_sampler,
    open_study,
    suggest,
)
from localrules.sweep.ownership import OWNER, VOID, is_gone, is_untouched, me, release
from localrules.sweep.pruning import LOGGED, PRUNED, PruningWatch
from localrules.sweep.space import HELD_OUT, Space, decode, space_document
from localrules.utils.atomic_io import write_atomic

if TYPE_CHECKING:
    import optuna

    from localrules.data.dataset import Dataset
    from localrules.registry.registry import Registry

RUNS, SPACE = "runs", "space.json"
_DUPLICATE, _DIVERGED, _FOLDER = "duplicate", "diverged", "run_dir"
_REFUSED = "refused"
MOST_DUPLICATES = 50
"""Trials in a row that repeat an earlier one, after which the space counts as searched."""


@dataclass(frozen=True)
class SweepTrial:
    """A trial that is over.

    Attributes:
        number: From 0, in the order in which trials were asked for.
        settings: What was tried, by dotted name.
        value: The objective; ``None`` where the run diverged or was refused.
        state: ``done``, ``pruned``, ``diverged`` or ``refused``.
        folder: The run folder; ``None`` where the run diverged or was refused.
        reason: Why it was refused.
    """

    number: int
    settings: dict[str, Any]
    value: float | None
    state: str
    folder: Path | None
    reason: str = ""


@dataclass
class Sweep:
    """A search for the settings of a rule.

    Attributes:
        settings: Of all runs: rule, model, data, length. Without ``holdout_fraction``, a tenth of the training split is
            held out, so that the valid split stays unread.
        space: What varies.
        folder: The study: its file, its runs, its page.
        registry: Where names are looked up.
        objective: A number of the runs' summaries.
        direction: Whether it should grow.
        sampler: How values are chosen.
        pruner: How runs are stopped early.
        seed: Of the sampler.
        callbacks: Makes the callbacks of a run in this process.
        say: Called with a line on what happens next.
        executor: Where runs execute: without one in this process, one after the other. With several workers, the order
            in which trials end decides what is tried next.
    """

    settings: Settings
    space: Space
    folder: Path
    registry: Registry
    objective: str = "valid_accuracy"
    direction: Direction = "maximize"
    sampler: Sampler = "tpe"
    pruner: Pruner = "none"
    seed: int = 0
    callbacks: Callable[[], Sequence[Callback]] = list
    say: Callable[[str], Any] = lambda line: None
    executor: Executor | None = None
    _data: dict[str, Dataset] = field(default_factory=dict, init=False)

    @cached_property
    def study(self) -> optuna.Study:
        """Optuna's study, in the folder; made if there is none."""
        return open_study(self.folder, self.direction, self.pruner)

    def run(self, trials: int) -> list[SweepTrial]:
        """Run until the study has so many trials, those of earlier commands among them.

        Args:
            trials: How many.

        Returns:
            All trials that are over.

        Raises:
            UsageError: A setting of the space does not exist or does not fit, or the folder has another study.
        """
        self.check()
        self._claim_folder()
        wanted = min(trials, len(grid_points(self.space))) if self.sampler == "grid" else trials
        source = self._trials_to_run(wanted)
        at_work: dict[Future[RunRecord], Any] = {}
        with RunPool(self.folder / RUNS, self.registry, self.callbacks, self.say, self.executor) as pool:
            try:
                while True:
                    while len(at_work) < pool.workers and (trial := next(source, None)) is not None:
                        if (started := self._start(trial, wanted, pool)) is not None:
                            at_work[started] = trial
                    if not at_work:
                        break
                    done, _ = wait(at_work, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._tell(at_work[future], future)
                        del at_work[future]
            except BaseException:
                for trial in at_work.values():
                    release(trial)
                raise
        return self.trials()

    def _trials_to_run(self, wanted: int) -> Iterator[Any]:
        """Trials whose process is gone, and new ones until there are as many as are wanted."""
        duplicates = 0
        while True:
            trial = self._abandoned()
            if trial is None:
                if len(self._counted()) >= wanted:
                    break
                if duplicates > MOST_DUPLICATES:
                    self.say("the sampler finds nothing new: the space is searched")
                    break
                trial = self._ask()
                if trial is None:
                    duplicates += 1
                    continue
            duplicates = 0
            yield trial

    def trials(self) -> list[SweepTrial]:
        """The trials of the study that are over, in order."""
        return [self._finished(trial) for trial in self._counted() if trial.state.is_finished()]

    def best(self) -> SweepTrial | None:
        """The best trial that was run to its end; ``None`` if there is none."""
        sign = 1 if self.direction == "maximize" else -1
        done = [trial for trial in self.trials() if trial.state == "done" and trial.value is not None]
        return max(done, key=lambda trial: sign * (trial.value or 0.0), default=None)

    def plan(self, params: dict[str, Any]) -> PlannedRun:
        """The run of a trial."""
        run = resolve_run(self._with(params), self.registry)
        assert run.data is not None
        config = run.config
        key = json.dumps([config.to_dict()["data"], config.holdout_fraction, config.holdout_seed], sort_keys=True)
        if key not in self._data:
            self._data[key] = load_run_dataset(run.config, run.data)
        return PlannedRun(run.config.rule.label, run, providers(run.config, self.registry), self._data[key].fingerprint)

    def _with(self, params: dict[str, Any]) -> Settings:
        tree: Tree = nest(decode(self.space, params))
        held = {"holdout_fraction": HELD_OUT} if self.settings.get("holdout_fraction") is None else {}
        return merge_settings(
            Settings.from_tree(held, "default of a sweep"), self.settings, Settings.from_tree(tree, "the search space")
        )

    def check(self) -> None:
        """Refuse a space that does not fit before anything has run.

        Raises:
            UsageError: It says what does not fit.
        """
        twice = [name for name in self.space if self.settings.get(*name.split(".")) is not None]
        if twice:
            raise UsageError(
                f"{twice[0]} is set and searched",
                where=self.settings.source_of(*twice[0].split(".")) or "the search space",
                fix="leave out one of the two",
            )
        if self.pruner != "none" and self.objective != LOGGED:
            raise UsageError(
                f"a pruner cannot compare trials by {self.objective!r}",
                where="--pruner, --objective",
                why="runs log it at their end alone, and a pruner reads it after each epoch",
                fix=f"choose {LOGGED}, or leave the pruner out",
            )
        for place in (0, -1):
            ends = {name: values.ends[place] for name, values in self.space.items()}
            resolve_run(
                merge_settings(self.settings, Settings.from_tree(nest(ends), "the search space")), self.registry
            )
        if self.sampler == "grid":
            grid_points(self.space)

    def _claim_folder(self) -> None:
        """Begin the folder's study, or refuse one that was begun otherwise."""
        settings = _comparable(self.settings.tree)
        mine = {"space": space_document(self.space), "settings": settings, "objective": self.objective}
        path = self.folder / SPACE
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps(mine, indent=2, default=str) + "\n")
            return
        theirs = json.loads(path.read_text(encoding="utf-8"))
        others = [what for what in mine if theirs[what] != json.loads(json.dumps(mine[what], default=str))]
        known = existing_study(self.folder)
        if known is not None and known.direction.name.lower() != self.direction:
            others.append("direction")
        if others and (known is None or is_untouched(known.get_trials(deepcopy=False))):
            # The first command failed, perhaps for this very setting. What it trained is found again by its settings.
            (self.folder / STORAGE).unlink(missing_ok=True)
            write_atomic(path, json.dumps(mine, indent=2, default=str) + "\n")
        elif others:
            what = others[0].removesuffix("s")
            raise UsageError(
                f"the study was begun with another {what}",
                where=str(self.folder),
                why=f"trials of one study are compared, and its {what} cannot change; {path} has its settings",
                fix="choose another --out, or repeat the first command",
            )

    def _counted(self) -> list[Any]:
        """All trials but those that repeated an earlier one, or were never drawn."""
        return [trial for trial in self._drawn() if not trial.user_attrs.get(_DUPLICATE)]

    def _drawn(self) -> list[Any]:
        """All trials but those whose process died while their values were drawn, or before they were asked for."""
        return [
            trial
            for trial in self.study.get_trials(deepcopy=False)
            if not trial.user_attrs.get(VOID) and trial.state.name != "WAITING"
        ]

    def _ask(self) -> Any:
        """A new trial; ``None`` if the sampler came to one that is there already."""
        # Seeded by the trials before, so that a continued study draws what an unbroken one would.
        several = self.executor is not None and self.executor.workers > 1
        self.study.sampler = make_sampler(self.sampler, self.seed, len(self._drawn()), several=several)
        optuna = import_optuna()
        if self.sampler == "grid" and not self.study.get_trials(states=[optuna.trial.TrialState.WAITING]):
            taken = [trial.params for trial in self._counted()]
            self.study.enqueue_trial(next(point for point in grid_points(self.space) if point not in taken))
        trial = self.study.ask()
        try:
            trial.set_user_attr(OWNER, me())
            params = suggest(trial, self.space)
        except optuna.exceptions.UpdateFinishedTrialError:
            return None  # another process found it before it had an owner, and took its process for dead
        if any(other.params == params for other in self._counted() if other.number != trial.number):
            trial.set_user_attr(_DUPLICATE, True)
            self.study.tell(trial, state=import_optuna().trial.TrialState.FAIL)
            return None
        return trial

    def _abandoned(self) -> Any:
        """A trial whose process is gone, to be continued by this one."""
        optuna = import_optuna()
        for frozen in self._counted():
            if frozen.state != optuna.trial.TrialState.RUNNING or not is_gone(frozen.user_attrs.get(OWNER, "")):
                continue
            trial = optuna.trial.Trial(self.study, frozen._trial_id)
            if set(frozen.params) == set(self.space):
                trial.set_user_attr(OWNER, me())
                return trial
            self._void(frozen)  # its process died while values were drawn
        return None

    def _void(self, frozen: Any) -> None:
        """Leave a trial out for good."""
        optuna = import_optuna()
        optuna.trial.Trial(self.study, frozen._trial_id).set_user_attr(VOID, True)
        self.study.tell(frozen.number, state=optuna.trial.TrialState.FAIL)

    def _start(self, trial: Any, wanted: int, pool: RunPool) -> Future[RunRecord] | None:
        """Have a trial's run executed; without an executor it is done afterwards. ``None`` if its values do not fit."""
        values = decode(self.space, trial.params).items()
        shown = ", ".join(
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values
        )
        which = f"trial {trial.number}, {len(self._counted())} of {wanted}: {shown}"
        watch: MakeCallbacks = list
        if self.pruner != "none":
            watch = PruningWatch(self.folder.absolute(), self.direction, self.pruner, trial._trial_id, self.objective)
        try:
            return pool.submit(self.plan(trial.params), which, watch)
        except BaseException as error:
            if self._refuse(trial, error):
                return None
            release(trial)
            raise

    def _refuse(self, trial: Any, error: BaseException) -> bool:
        """Whether a trial is refused for its values: others ran to their ends, and no data or package is missing."""
        general = not isinstance(error, UsageError) or isinstance(error, DataError | MissingDependencyError)
        if general or self.best() is None:
            return False
        trial.set_user_attr(_REFUSED, str(error))
        self.study.tell(trial.number, state=import_optuna().trial.TrialState.FAIL)
        self.say(f"trial {trial.number} is refused: {error}")
        return True

    def _tell(self, trial: Any, future: Future[RunRecord]) -> None:
        """Keep in the study what has become of a trial."""
        states = import_optuna().trial.TrialState
        try:
            run = future.result()
        except Diverged:
            trial.set_user_attr(_DIVERGED, True)
            self.study.tell(trial.number, state=states.FAIL)
            return
        except UsageError as error:
            if self._refuse(trial, error):
                return
            raise
        trial.set_user_attr(_FOLDER, run.folder.name)
        value = self._value(run)
        if run.summary.get("stop_reason") == PRUNED:
            self.study.tell(trial.number, state=states.PRUNED)  # its value is what it reported last
        else:
            self.study.tell(trial.number, value, state=states.COMPLETE)

    def _value(self, run: RunRecord) -> float:
        value = run.summary.get(self.objective)
        if not isinstance(value, int | float):
            known = [key for key, found in run.summary.items() if isinstance(found, float)]
            raise UsageError(
                f"the runs have no number {self.objective!r}",
                where="--objective",
                why=f"their summaries have {', '.join(known)}",
                fix="choose one of these",
            )
        return float(value)

    def _finished(self, trial: Any) -> SweepTrial:
        reason = trial.user_attrs.get(_REFUSED, "")
        state = PRUNED if trial.state.name == "PRUNED" else "done"
        if reason or trial.user_attrs.get(_DIVERGED):
            state = "refused" if reason else "diverged"
        name = trial.user_attrs.get(_FOLDER)
        folder = self.folder / RUNS / name if name else None
        return SweepTrial(trial.number, decode(self.space, trial.params), trial.value, state, folder, reason)


def _comparable(tree: Tree) -> Tree:
    """Settings without those that change no result or are the machine's, and without the place of the data."""
    known = {**identity_settings(tree), **{key: tree[key] for key in ("seed",) if key in tree}}
    return {key: value for key, value in known.items() if key not in ("threads", "device")}
