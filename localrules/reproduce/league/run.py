"""Running a league: the search, the runs, and the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.callbacks.base import Callback
from localrules.comparison.execute import RunPool
from localrules.comparison.plan import PlannedRun
from localrules.comparison.run_record import RunRecord
from localrules.config.overrides import Tree, merge
from localrules.config.settings import Settings
from localrules.engine.builder import load_run_dataset
from localrules.engine.environment import providers
from localrules.engine.resolve import resolve_run
from localrules.engine.resolved_run import ResolvedRun
from localrules.errors import DataError, LocalRulesError, MissingDependencyError, UsageError
from localrules.reproduce.league.cost import Cost, cost_of
from localrules.reproduce.league.row import Row, best_first, read_row, run_command, write_row
from localrules.reproduce.league.spec import Candidate, Ground, League, candidates
from localrules.reproduce.plan import find_dataset
from localrules.reproduce.request import ReproductionRequest
from localrules.reproduce.result import evaluation_split, load_or_evaluate, machine_of
from localrules.runs.executor import Executor
from localrules.runs.load import TrainedRun

if TYPE_CHECKING:
    from localrules.data.dataset import Dataset
    from localrules.registry.registry import Registry

FEWEST_STEPS = 10
QUIET: Tree = {"plots": False, "log_every": 100}


@dataclass
class LeagueRunner:
    """A league that is being run.

    Attributes:
        league: Its specification.
        asked: What the user asked for: ``scale`` shortens all runs, ``cases`` is a pattern of rules or of
            ``ground/rule``.
        folder: Rows, measurements and run folders go here. What is in it is not done again.
        registry: Where names are looked up.
        callbacks: Makes the callbacks of a run in this process.
        say: Called with a line on what happens next.
        executor: Where a rule's trials and seeds execute; without one in this process, one after the other. Costs are
            measured in this process, while no run executes.
    """

    league: League
    asked: ReproductionRequest
    folder: Path
    registry: Registry
    callbacks: Callable[[], list[Callback]] = list
    say: Callable[[str], Any] = lambda line: None
    executor: Executor | None = None
    _data: dict[tuple[str, float], Dataset] = field(default_factory=dict, init=False)
    _pool: RunPool = field(init=False)

    def run(self) -> list[Row]:
        """Run every rule that is asked for on every ground, then the best ones with the other seeds.

        Returns:
            All rows of the folder with this budget, those of earlier commands among them.

        Raises:
            UsageError: No rule fits the pattern, or a ground's data set or network is not there.
        """
        self._check_grounds()
        wanted = self.wanted()
        for ground, _ in wanted:
            self._dataset(ground, 0.0)  # what cannot run is known before anything has run
        with RunPool(self.folder / "runs", self.registry, self.callbacks, executor=self.executor) as self._pool:
            for ground, rules in wanted:
                for rule in rules:
                    self._row(ground, rule)
                self._other_seeds(ground, rules)
        return self.rows()

    def _check_grounds(self) -> None:
        """Refuse another model or data set: rows of all commands stand in one table.

        Raises:
            UsageError: It is named.
        """
        grounds = ", ".join(f"{one.name} with {one.settings['model']['name']}" for one in self.league.grounds)
        for name in ("model", "data"):
            self.asked.refuse_component(
                name,
                f"a league has grounds of its own: {grounds}",
                fix="leave it out; other files of a ground's data are named with --data-path",
            )

    def wanted(self) -> list[tuple[Ground, list[str]]]:
        """Each ground with the rules that are asked for on it: controls first, then by name.

        Raises:
            UsageError: A pattern fits nothing.
        """
        known = [item.entry.name for item in self.registry.entries("rule") if item.status == "ok"]
        order = [*(name for name in self.league.controls if name in known), *sorted({*known} - {*self.league.controls})]
        found = []
        for ground in self.league.grounds:
            fitting = [rule for rule in order if self.asked.selects(rule, f"{ground.name}/{rule}")]
            if fitting:
                found.append((ground, fitting))
        by_ground = [f"{ground.name}/{rule}" for ground in self.league.grounds for rule in order]
        if unused := self.asked.unused_patterns([*order, *by_ground]):
            raise UsageError(
                f"no rule fits {' or '.join(map(repr, unused))}",
                where="--cases",
                why=f"there are {len(order)} rules, from {min(order)} to {max(order)}, on the grounds "
                + " and ".join(ground.name for ground in self.league.grounds),
                fix="localrules rules lists them; those of one ground are --cases 'GROUND/PATTERN'",
            )
        return found

    def rows(self) -> list[Row]:
        """The rows that are there, by ground, best first; rules that cannot run come last."""
        everything = [entry.entry.name for entry in self.registry.entries("rule")]
        found: list[Row] = []
        for ground in self.league.grounds:
            rows = [read_row(self.folder, ground.name, rule, self.budget(ground)) for rule in everything]
            found += best_first(row for row in rows if row is not None)
        return found

    def budget(self, ground: Ground) -> Tree:
        """The length of runs and trials in steps of the control, and the settings that the user changed."""
        return {
            "steps": round(ground.steps * self.asked.scale),
            "trial_steps": round(ground.trial_steps * self.asked.scale),
            "trials": self.league.trials,
            "settings": " ".join(self.asked.raw_overrides),
        }

    def _row(self, ground: Ground, rule: str) -> None:
        if read_row(self.folder, ground.name, rule, self.budget(ground)) is not None:
            self.say(f"{ground.name}, {rule}: done before")
            return
        settings = self._settings(ground, {})
        row = Row(ground.name, rule, settings["model"]["name"], settings["data"]["name"], self.budget(ground))
        try:
            row = self._compete(ground, self._resolve(ground, {"rule": {"name": rule}}), row)
        except UsageError as error:
            if rule in self.league.controls or isinstance(error, DataError):
                raise
            self.say(f"{ground.name}, {rule}: {error.what}")
            if isinstance(error, MissingDependencyError):
                return  # with the package the next command runs it
            row = replace(row, reason=f"{error.what}: {error.why}")
        write_row(self.folder, row)

    def _compete(self, ground: Ground, own: ResolvedRun, row: Row) -> Row:
        """Search, then run with the first seed."""
        rule, cls = row.rule, own.rule_parts[-1].cls
        space = candidates(rule, ground.name, own.config.optimizer.lr, cls.info.search_space, self.league.trials)
        trials = self._trials(ground, rule, space, row.budget["trial_steps"])
        row = replace(row, declared=own.locality, trials=tuple(trials))
        found = [-1.0 if trial["accuracy"] is None else trial["accuracy"] for trial in trials]
        best = max(range(len(trials)), key=found.__getitem__)
        if trials[best]["accuracy"] is None:
            return replace(row, reason="every trial diverged")
        cost = self._cost(ground, space[best].settings(rule))
        row = replace(
            row,
            lr=space[best].lr,
            options=space[best].options,
            step_ratio=cost.step_ratio,
            memory_ratio=cost.memory_ratio,
            steps=self._steps(row.budget["steps"], cost),
        )
        return self._with_seeds(ground, row, 1)

    def _trials(self, ground: Ground, rule: str, space: Sequence[Candidate], control_steps: int) -> list[Tree]:
        """Each candidate with the accuracy on held-out data that it comes to; ``None`` where it diverged."""
        planned, trials = [], []
        for candidate in space:
            chosen = candidate.settings(rule)
            steps = self._steps(control_steps, self._cost(ground, chosen))
            held_out = {"steps": steps, "seed": 0, "holdout_fraction": self.league.holdout_fraction}
            planned.append(self._plan(ground, merge(chosen, held_out)))
            trials.append({"lr": candidate.lr, "options": candidate.options, "steps": steps})
        rates = ", ".join(f"{candidate.lr:g}" for candidate in space)
        self.say(f"{ground.name}, {rule}: {len(trials)} trials of {trials[0]['steps']} steps, lr {rates}")
        return [
            {**trial, "accuracy": run.summary["valid_accuracy"] if run else None}
            for trial, (_, run, _) in zip(trials, self._pool.outcomes(planned), strict=True)
        ]

    def _with_seeds(self, ground: Ground, row: Row, seeds: int) -> Row:
        """The row after its runs with seeds from 0; the first one measures the class."""
        assert row.lr is not None
        chosen = Candidate(row.lr, row.options).settings(row.rule) | {"steps": row.steps}
        self.say(f"{ground.name}, {row.rule}: {row.steps} steps with {seeds} seed{'s'[: seeds != 1]}")
        planned = [self._plan(ground, chosen | {"seed": seed, "audit": seed == 0}) for seed in range(seeds)]
        runs, lines = self._pool.run_all(planned)
        if not runs:
            return replace(row, reason=lines[0])
        data = self._dataset(ground, 0.0)
        split = evaluation_split(data)
        scores = [load_or_evaluate(run, split, data, self.registry) for run in runs]
        first = runs[0]
        again = chosen | {"seed": 0, "threads": first.config.threads}
        return replace(
            row,
            split=split,
            accuracies=tuple(score["top1"] for score in scores),
            locality=first.summary.get("locality", {}).get("measured", "") or row.locality,
            parameters=self._parameters(first),
            reason="; ".join(lines),
            machine=machine_of(first),
            command=run_command(merge(self._settings(ground, {}, shown=True), again), self.registry.files),
        )

    def _parameters(self, run: RunRecord) -> int:
        """All that the run trains, in the network and beside it."""
        predictor = TrainedRun.load(run.folder, self.registry).predictor
        weights = [*predictor.network.parameters(), *predictor.rule.parameters()]
        return sum(weight.numel() for weight in weights if weight.requires_grad)

    def _other_seeds(self, ground: Ground, wanted: Sequence[str]) -> None:
        """Run the controls and the best rules of a ground with all seeds."""
        rows = [row for row in self.rows() if row.ground == ground.name and row.accuracies]
        best = [row.rule for row in rows if row.rule not in self.league.controls][: self.league.best]
        seeds = self.asked.seeds or self.league.seeds
        for row in rows:
            tried = len(row.accuracies) >= seeds or row.reason  # which says what seeds diverged
            if row.rule in (*self.league.controls, *best) and row.rule in wanted and not tried:
                write_row(self.folder, self._with_seeds(ground, row, seeds))

    def _steps(self, control_steps: int, cost: Cost) -> int:
        """As many steps of a rule as take the time of the control's."""
        return max(FEWEST_STEPS, round(control_steps / cost.step_ratio))

    def _control(self, ground: Ground) -> ResolvedRun:
        return self._resolve(ground, {"rule": {"name": self.league.controls[0]}})

    def _cost(self, ground: Ground, chosen: Tree) -> Cost:
        control = self._control(ground)
        data = self._dataset(ground, 0.0)
        return cost_of(self._resolve(ground, chosen), control, data, self.folder / "costs")

    def _settings(self, ground: Ground, chosen: Tree, *, shown: bool = False) -> Tree:
        """The settings of a run on a ground: the ground's, the user's and the chosen ones."""
        whole = merge(ground.settings, self.asked.defaults.tree)
        whole = merge(merge(whole, self.asked.overrides.tree), chosen)
        return whole if shown else merge(whole, {**QUIET, **self.asked.incidental})

    def _resolve(self, ground: Ground, chosen: Tree) -> ResolvedRun:
        given = Settings.from_tree(self._settings(ground, {"steps": FEWEST_STEPS} | chosen), f"ground {ground.name}")
        return resolve_run(find_dataset(self.asked.data_path, given, self.registry), self.registry)

    def _plan(self, ground: Ground, chosen: Tree) -> PlannedRun:
        run = self._resolve(ground, chosen)
        data = self._dataset(ground, run.config.holdout_fraction)
        return PlannedRun(run.config.rule.label, run, providers(run.config, self.registry), data.fingerprint)

    def _dataset(self, ground: Ground, held_out: float) -> Dataset:
        key = (ground.name, held_out)
        if key not in self._data:
            control = {"rule": {"name": self.league.controls[0]}, "holdout_fraction": held_out}
            run = self._resolve(ground, control)
            if run.data is None:
                raise LocalRulesError(f"ground {ground.name} has no data set")
            self._data = {known: data for known, data in self._data.items() if known[0] == ground.name}
            self._data[key] = load_run_dataset(run.config, run.data)
        return self._data[key]
