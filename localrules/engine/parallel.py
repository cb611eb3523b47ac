"""Threads on which layers learn while the forward pass goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from localrules.config.schema import RunConfig
from localrules.core.rule import Rule
from localrules.engine.layerwise import LayerwiseRule
from localrules.engine.windows import WindowedRule
from localrules.errors import LocalRulesError, UsageError

Work = Callable[[], None]


class LayerExecutor:
    """Does layers' work, several layers at a time, with the bits that one after the other would give.

    Each layer has its own parameters, optimizer and gradients, so the order in which layers learn changes nothing but
    what they draw: torch's generator is one for all threads. So the first work of each layer is done on the spot, to
    see whether it draws; if it does, all its work is. A layer that draws for the first time later is an error.

    Under a profiler, which sees one thread, that thread does all, as late as it may: memory that is measured so is that
    of as many layers' graphs as can ever be alive, without what several objectives need beside each other.

    Args:
        size: Threads in all: that of the forward pass, and ``size - 1`` beside it.
        threads: Cores that each of them may use.
    """

    def __init__(self, size: int, threads: int) -> None:
        self._size = size
        self._pool = ThreadPoolExecutor(size - 1, "layers", torch.set_num_threads, (threads,))
        self._started: list[_Task] = []
        self._pending: list[_Task] = []
        self._deferred: list[Work] = []
        self._uses_rng: dict[str, bool] = {}

    @classmethod
    def from_config(cls, config: RunConfig, rule: Rule, device: torch.device) -> LayerExecutor | None:
        """That of a run; ``None`` where layers learn one after the other.

        Raises:
            UsageError: A rule whose layers cannot learn at the same time, or no CPU.
        """
        if config.parallel_layers == 1:
            return None
        where = f"parallel_layers={config.parallel_layers}"
        if not isinstance(rule, LayerwiseRule):
            raise UsageError(
                f"the layers of rule {config.rule.name!r} cannot learn at the same time",
                where=where,
                why="it takes the step of the whole network into its own hands; rules that are a layer's objective can",
                fix="leave it out, and give --threads all cores",
            )
        if isinstance(rule, WindowedRule) or any(cls.info.window > 1 for cls in rule.objective_classes):
            raise UsageError(
                "the layers of a window cannot learn at the same time",
                where=where,
                why="a layer waits for the gradients of the layers above it, or reads their weights",
                fix="leave it out, and give --threads all cores",
            )
        if device.type != "cpu":
            raise UsageError(
                "layers learn at the same time on a CPU alone", where=f"{where}, device {device}", fix="leave it out"
            )
        return cls(config.parallel_layers, config.threads)

    def submit(self, layer: str, work: Work) -> None:
        """Do a layer's work, here or on another thread.

        No more wait for a thread than there are threads, since each keeps its layer's graph alive: the forward pass
        first does one itself.
        """
        if self._uses_rng.get(layer, True):
            before = torch.default_generator.get_state()
            work()
            drew = not torch.equal(before, torch.default_generator.get_state())
            self._uses_rng[layer] = self._uses_rng.get(layer, False) or drew
        elif torch.autograd._profiler_enabled():
            self._deferred.append(work)
            if len(self._deferred) == 2 * self._size:  # as many as wait, and as many as are at work
                self._deferred.pop(0)()
        else:
            self._enqueue(lambda: _without_draws(layer, work))

    def _enqueue(self, work: Work) -> None:
        self._pending = [task for task in self._pending if not task.future.running() and not task.future.done()]
        if len(self._pending) >= self._size:
            self._run_pending()
        task = _Task(self._pool, work)
        self._started.append(task)
        self._pending.append(task)

    def finish(self) -> None:
        """Wait until all work is done, and do some of it.

        Raises:
            Exception: What one of them raised; :meth:`cancel` then clears up.
        """
        while self._deferred:
            self._deferred.pop(0)()
        while self._pending:
            self._run_pending()
        while self._started:
            self._started.pop(0).future.result()

    def cancel(self) -> None:
        """Forget the work that has not begun, and wait for the rest."""
        for task in self._started:
            task.future.cancel()
        for task in self._started:
            if not task.future.cancelled():
                task.future.exception()
        self._started, self._pending, self._deferred = [], [], []

    def _run_pending(self) -> None:
        """Do the work that has waited longest, if no thread has begun it meanwhile."""
        task = self._pending.pop(0)
        if task.future.cancel():
            self._started.remove(task)
            task.run()


_DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}
_DRAWS = (
    {"bernoulli", "binomial", "multinomial", "normal", "poisson", "rand", "randint", "randn", "randperm"}
    | {"rand_like", "randint_like", "randn_like"}
    | {"bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_"}
    | {"gumbel_softmax", "fractional_max_pool2d", "fractional_max_pool3d", "rrelu", "rrelu_"}
)
"""Names of torch's functions that draw random numbers, beside those that do so in training mode alone."""


class _RefuseDraws(TorchFunctionMode):
    """Random numbers are refused: their order among threads is not defined."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self._layer = layer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        own = kwargs.get("generator") is not None
        if (name in _DRAWS and not own) or (name in _DROPOUTS and _is_training(args, kwargs)):
            raise LocalRulesError(
                f"layer {self._layer!r} draws random numbers in some steps, and did not in its first",
                where=f"{name} in what the layer learns by, parallel_layers > 1",
                why="on several threads the order of the draws, and so the result, is another in each run",
                fix="leave out parallel_layers, or draw in every step",
            )
        return func(*args, **kwargs)


def _is_training(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    training = kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True))
    probability = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
    return bool(training) and probability > 0


def _without_draws(layer: str, work: Work) -> None:
    with _RefuseDraws(layer):
        work()


class _Task:
    """Some work that is done once, by a thread of the pool or by who cancels its future."""

    def __init__(self, pool: ThreadPoolExecutor, work: Work) -> None:
        self._work: Work | None = work
        self.future: Future[None] = pool.submit(self.run)

    def run(self) -> None:
        work, self._work = self._work, None  # which holds the layer's graph
        assert work is not None
        work()
