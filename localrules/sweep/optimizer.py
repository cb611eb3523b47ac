"""Optuna behind a sweep: the study's file, samplers and pruners by name, and the values of a trial."""

from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from localrules.core.search_space import SearchChoice
from localrules.errors import MissingDependencyError, UsageError
from localrules.sweep.space import Space, encode

if TYPE_CHECKING:
    import optuna

Sampler = Literal["tpe", "random", "grid", "cmaes"]
Pruner = Literal["none", "median", "hyperband"]
Direction = Literal["maximize", "minimize"]

STORAGE = "study.db"
_NAME = "localrules"


def import_optuna() -> Any:
    """The package.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingDependencyError(
            "a sweep needs the package optuna", where="localrules sweep", fix="pip install 'localrules[sweep]'"
        ) from None
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


def open_study(folder: Path, direction: Direction, pruner: Pruner) -> optuna.Study:
    """The study of a folder, made if there is none.

    Raises:
        UsageError: The folder's study has another direction, or its name cannot be a part of a database's address.
    """
    optuna = import_optuna()
    if strange := [character for character in "?{}" if character in str(folder.resolve())]:
        raise UsageError(
            f"a study cannot be in a folder with {strange[0]!r} in its name",
            where=str(folder),
            why="the character has a meaning in the address of the study's database",
            fix="choose another --out",
        )
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=_NAME,
        storage=_address(folder),
        direction=direction,
        load_if_exists=True,
        pruner=_pruners()[pruner](),
    )
    if study.direction.name.lower() != direction:
        raise UsageError(
            f"the study is to {study.direction.name.lower()} its objective",
            where=str(folder),
            why=f"this command would {direction} it",
            fix="choose another --out",
        )
    return study


def existing_study(folder: Path) -> optuna.Study | None:
    """The study of a folder, whatever its direction; ``None`` if there is none."""
    if not (folder / STORAGE).exists():
        return None
    study: optuna.Study = import_optuna().load_study(study_name=_NAME, storage=_address(folder))
    return study


def _address(folder: Path) -> str:
    return f"sqlite:///{folder.resolve() / STORAGE}"


def make_sampler(name: Sampler, seed: int, drawn: int, *, several: bool = False) -> Any:
    """A sampler. One is made for each trial, so that a continued study draws what an unbroken one would.

    Args:
        name: Its name; of a grid, whose points are given, any will do.
        seed: Of the search.
        drawn: Trials that were drawn before. Both numbers are mixed, so that searches with other seeds share nothing.
        several: Whether trials are at work while others are drawn: TPE then keeps away from these (its constant liar).

    Raises:
        MissingDependencyError: CMA-ES without its package.
    """
    samplers = import_optuna().samplers
    seed = int(np.random.SeedSequence([seed, drawn]).generate_state(1)[0])
    if name == "cmaes":
        try:
            import cmaes  # noqa: F401
        except ImportError:
            raise MissingDependencyError(
                "the sampler cmaes needs the package cmaes",
                where="--sampler cmaes",
                fix="pip install 'localrules[sweep]'",
            ) from None
        return samplers.CmaEsSampler(seed=seed)
    if name != "tpe":
        return samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the option is called experimental
        return samplers.TPESampler(seed=seed, constant_liar=several)


def grid_points(space: Space) -> list[dict[str, Any]]:
    """All points of a grid, as the study keeps them.

    Raises:
        UsageError: The space has a range of real numbers.
    """
    values = [_grid(name, found) for name, found in space.items()]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """The values of a trial, as the study keeps them."""
    found: dict[str, Any] = {}
    for name, values in space.items():
        if isinstance(values, SearchChoice):
            found[name] = trial.suggest_categorical(name, [encode(value) for value in values.values])
        elif values.integer:
            found[name] = trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
        else:
            found[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
    return found


def _grid(name: str, values: Any) -> list[Any]:
    if isinstance(values, SearchChoice):
        return [encode(value) for value in values.values]
    if not values.integer:
        raise UsageError(
            f"a grid needs the values of {name}",
            where="--sampler grid",
            why="a range of real numbers has no end of them",
            fix=f"list them: --param {name}={values.low:g},{values.high:g}",
        )
    return list(range(int(values.low), int(values.high) + 1))


def _pruners() -> dict[Pruner, Callable[[], Any]]:
    pruners = import_optuna().pruners
    made = (pruners.NopPruner, pruners.MedianPruner, pruners.HyperbandPruner)
    return dict(zip(get_args(Pruner), made, strict=True))
