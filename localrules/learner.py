"""Train any module, in any training loop, by any rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from localrules.config.schema import OptimizerConfig
from localrules.config.settings import Settings, as_defaults, merge_settings
from localrules.config.validate import check_config_class, validate_config
from localrules.core.layer import Layer
from localrules.core.network import Granularity, Network
from localrules.core.objective import Objective
from localrules.core.rule import Rule, StepReport
from localrules.core.view import Batch
from localrules.engine.layerwise import ObjectiveSpec
from localrules.engine.learning_check import LearningCheck
from localrules.engine.optimizers import LayerOptimizers
from localrules.engine.patterns import check_patterns_used, first_match
from localrules.engine.rule_border import prepare_rule, rule_border, run_step, training_classes
from localrules.engine.windows import check_windows, layerwise_rule
from localrules.errors import UsageError
from localrules.learner_checks import (
    FrozenParameters,
    check_batch,
    check_precision,
    check_state_fits,
    check_task,
    check_timing,
    check_unused,
)
from localrules.utils.plugin_border import plugin_border

RuleLike = str | type[Objective] | type[Rule] | Rule
"""A rule by its registered name, an ``Objective`` or ``Rule`` class, or a ``Rule``."""


class Learner:
    """A module, its layers, a rule, and one optimizer per layer.

    ::

        learner = Learner(model, "hsic", example=images[:2], num_classes=7, config={"beta": 10})
        for images, labels in batches:
            report = learner.step(images, labels)
        logits = learner.predict(images)

    For a run folder, resume and trackers, put the module into a plugin instead (tutorial, section 7).

    Parameters that are frozen (``requires_grad_(False)``) before the learner is made stay as they are, and modules and
    layers whose parameters are all frozen run in eval mode: their statistics do not move. Whoever freezes or unfreezes
    parameters later makes a new learner.

    Where layers are not named, the module's forward is read once, by :mod:`torch.fx`, and its operations run from then
    on: hooks on modules that hold others, and attributes that forward reads or writes, are those of that moment. With
    ``layers`` the module's own forward runs.

    Args:
        model: Any module whose output is the logits, shape (batch, classes). It is trained in place.
        rule: A name, an ``Objective`` or ``Rule`` class, a ``Rule``; or a mixture: a dict from patterns of layer names
            to objectives, of which the first that matches a layer is used.
        example: Some inputs, shape (batch, ...), to find the layers' shapes.
        num_classes: Number of classes.
        config: The rule's options, ``preset`` among them: a dict, or an instance of its ``Config``. For a mixture, a
            dict with the same patterns.
        layers, readout, granularity: How the module is cut, see :meth:`localrules.Network.wrap`.
        optimizer: A name, or all optimizer settings: ``{"name": "sgd", "lr": 0.1, "momentum": 0.9}``. The rule's
            ``run_defaults`` apply to what is left out.
        lr: Learning rate; overrides that of ``optimizer`` and the rule's.
        precision: Entered around forward passes, e.g. ``lambda: torch.autocast("cpu", torch.bfloat16)``: those of steps
            and of predictions.

    Attributes:
        network: The module with its layers.
        rule: The rule that trains it.
        optimizers: One per layer; ``set_learning_rate`` is for schedules, ``by_layer`` has the torch optimizers.

    Raises:
        UsageError: A module that cannot be cut, an unknown option, or a module that the rule cannot train.
    """

    def __init__(
        self,
        model: nn.Module,
        rule: RuleLike | Mapping[str, str | type[Objective]],
        *,
        example: Tensor,
        num_classes: int,
        config: Mapping[str, Any] | BaseModel | None = None,
        layers: Sequence[str] | None = None,
        readout: str = "",
        granularity: Granularity = "layer",
        optimizer: str | Mapping[str, Any] | OptimizerConfig | None = None,
        lr: float | None = None,
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        check_precision(precision)
        self.network = Network.wrap(model, layers, readout=readout, granularity=granularity, example=example)
        check_task(self.network, num_classes)
        self.rule, defaults = _build(rule, config, self.network)
        for cls in training_classes(self.rule):
            cls.info.requires.check_inputs(cls.__name__, example)
        check_unused(self.rule)
        prepare_rule(self.rule, self.network, num_classes)
        exact = {weight.dtype for weight in self.network.parameters()} == {torch.float64}
        self.rule.to(example.device, torch.float64 if exact else None)
        self.optimizers = LayerOptimizers.from_config(self.network, self.rule, _optimizer(optimizer, lr, defaults))
        self._num_classes, self._example = num_classes, example[:1].detach()
        self._check = LearningCheck(self.network, self.rule)
        frozen = [layer for layer in self.network.layers if _is_frozen(layer.module)]
        self._frozen = [module for module in self.network.modules() if _is_frozen(module)]
        self._frozen_parameters = FrozenParameters(self.network)
        self._frozen += [module for layer in frozen for module in layer.module.modules()]  # norms without weights, too
        names = frozenset(layer.name for layer in frozen)
        self._context = _SimpleContext(self.rule, self.optimizers, self._check, names, precision)
        if not any(self._context.is_objective_trainable(layer) for layer in self.network.layers):
            raise UsageError(
                "there is nothing to train",
                where=f"the parameters of {type(model).__name__}",
                why="all of them are frozen, and the rule has none that predict",
                fix="unfreeze some with requires_grad_(True)",
            )

    def step(self, images: Tensor, labels: Tensor) -> StepReport:
        """Train on one batch: compute every layer's gradients and step its optimizer.

        Args:
            images: Shape (batch, ...).
            labels: int64, shape (batch,); or targets as :func:`torch.nn.functional.cross_entropy` takes them, floating
                point, shape (batch, classes): probabilities, as of label smoothing and mixup, or these times a weight.

        Raises:
            UsageError: Fewer samples than the rule needs, or targets of another shape or that it cannot learn from.
        """
        check_batch(images, labels, self._example)
        self._frozen_parameters.check()
        for cls in training_classes(self.rule):
            cls.info.requires.check(cls.__name__, len(images), "Learner.step(images, labels)")
        batch = self._batch(images, labels)
        # Of a backward pass of the user's, or of a step that was interrupted.
        self.network.zero_grad(set_to_none=True)
        self.rule.zero_grad(set_to_none=True)
        self.network.train()
        for module in self._frozen:
            module.eval()
        self.rule.train()
        with rule_border(self.rule, self.network, "step"):
            report = run_step(self.rule, self.network, batch, self._context)
        self._check.after_step(self._context.is_trainable)
        return report

    def _class_labels(self, images: Tensor, labels: Tensor) -> Tensor:
        """The labels as int64. Their range is checked on a CPU alone: a GPU would have to be waited for."""
        if labels.shape != (len(images),):
            raise UsageError(
                f"the labels have the shape {tuple(labels.shape)}",
                where="Learner.step(images, labels)",
                why=f"there are {len(images)} samples, and each has one label",
                fix=f"give the shape ({len(images)},); class probabilities are floating-point numbers",
            )
        if labels.device.type == "cpu" and len(labels):
            low, high = labels.aminmax()
            if low < 0 or high >= self._num_classes:
                raise UsageError(
                    f"label {int(low if low < 0 else high)} is of no class",
                    where="Learner.step(images, labels)",
                    why=f"there are {self._num_classes} classes, from 0 to {self._num_classes - 1}",
                    fix="give num_classes of the data, or number the labels from 0",
                )
        return labels.long()

    def _batch(self, images: Tensor, labels: Tensor) -> Batch:
        if not labels.is_floating_point():
            return Batch(images, self._class_labels(images, labels), self._num_classes)
        if labels.shape != (len(images), self._num_classes):
            raise UsageError(
                f"the targets have the shape {tuple(labels.shape)}",
                where="Learner.step(images, labels)",
                why="floating-point targets are a weight of each class for each sample",
                fix=f"give the shape {(len(images), self._num_classes)}; or labels, int64, of shape ({len(images)},)",
            )
        for cls in training_classes(self.rule):
            admitted = cls.info.requires.targets
            if admitted == "labels" or (admitted == "probabilities" and not _sum_to_one(labels)):
                raise UsageError(
                    f"{cls.__name__} cannot learn from these targets",
                    where="Learner.step(images, labels)",
                    why="it learns from labels alone" if admitted == "labels" else "it needs probabilities, sum 1",
                    fix="give labels, int64; or use a rule whose Requirements.targets admits more",
                )
        return Batch(images, labels.argmax(1), self._num_classes, labels)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Logits, shape (batch, classes), in eval mode, as the rule predicts."""
        self.network.eval()
        self.rule.eval()
        with self._context.autocast(), rule_border(self.rule, self.network, "predict"):
            return self.rule.predict(self.network, images)

    def state_dict(self) -> dict[str, Any]:
        """The state of module, rule and optimizers, for ``torch.save``."""
        return {
            "model": self.network.model.state_dict(),
            "rule": self.rule.state_dict(),
            "optimizers": self.optimizers.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            UsageError: It is the state of something else; nothing is loaded then.
        """
        check_state_fits(state, self.state_dict(), type(self.rule).__name__)
        self.optimizers.load_state_dict(state["optimizers"])
        self.network.model.load_state_dict(state["model"])
        self.rule.load_state_dict(state["rule"])


def _sum_to_one(targets: Tensor) -> bool:
    sums = targets.sum(1, dtype=torch.float32)
    return torch.allclose(sums, torch.ones_like(sums), atol=1e-2)  # half precision rounds


def _is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters, and none of them is trained."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


class _SimpleContext:
    """Every layer that is not frozen is trained, and stepped as soon as its gradients are complete."""

    def __init__(
        self,
        rule: Rule,
        optimizers: LayerOptimizers,
        check: LearningCheck,
        frozen: frozenset[str],
        precision: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._rule, self._optimizers, self._check = rule, optimizers, check
        self._frozen, self._precision = frozen, precision

    def is_trainable(self, layer: Layer) -> bool:
        return layer.name not in self._frozen

    def is_objective_trainable(self, layer: Layer) -> bool:
        return self.is_trainable(layer) or self._rule.auxiliary_serves_others(layer)

    def backward(self, loss: Tensor, layer: Layer | None = None) -> None:
        """The backward pass; nothing is scaled here."""
        loss.backward()

    def step_layer(self, layer: Layer) -> None:
        if self.is_trainable(layer):
            self._check.before_step(layer)
        if self.is_objective_trainable(layer):
            self._optimizers.step(layer.name)

    def submit(self, layer: Layer, work: Callable[[], None]) -> None:
        work()

    def autocast(self) -> AbstractContextManager[Any]:
        return self._precision()


def _build(rule: Any, config: Any, network: Network) -> tuple[Rule, dict[str, Any]]:
    """The rule, and its defaults for a run."""
    if isinstance(rule, Rule):
        if config is not None:
            raise UsageError(
                f"the options of {type(rule).__name__} are those that it was made with",
                where="Learner(config=...)",
                why="the rule is an object, not a name or a class",
                fix="leave config out, or pass the class",
            )
        _check_trainable(type(rule), network)
        if network.window > 1:
            check_windows(type(rule).__name__, type(rule))
        return rule, rule.info.run_defaults
    if not isinstance(rule, Mapping):
        cls = _class_of(rule)
        _check_trainable(cls, network)
        if network.window > 1:
            check_windows(cls.__name__, cls)
        if issubclass(cls, Rule):
            own = _options(cls, config)
            with plugin_border(cls, "__init__"):
                return cls(own), cls.info.run_defaults
        spec = ObjectiveSpec(cls, _options(cls, config))
        return layerwise_rule({layer.name: spec for layer in network.hidden}, network), cls.info.run_defaults
    options = dict(config) if isinstance(config, Mapping) else {}
    patterns = list(rule)
    unknown = (
        [config]
        if config is not None and not isinstance(config, Mapping)
        else [key for key in options if key not in rule]
    )
    if unknown:
        raise UsageError(
            f"the mixture has no part {unknown[0]!r}",
            where="Learner(config=...)",
            why="the options of a mixture are given for each of its patterns: " + ", ".join(map(repr, patterns)),
            fix=f"e.g. config={{{patterns[-1]!r}: {{...}}}}",
        )
    names = [layer.name for layer in network.hidden]
    check_patterns_used(patterns, names, "Learner(rule={...})")
    specs = {pattern: _mixed_spec(each, options.get(pattern)) for pattern, each in rule.items()}
    chosen = {}
    for name in names:
        at = first_match(patterns, name)
        if at is None:
            raise UsageError(
                f"no pattern matches layer {name!r}", where="Learner(rule={...})", fix="end the mixture with '*'"
            )
        chosen[name] = specs[patterns[at]]
    for spec in chosen.values():
        _check_trainable(spec.cls, network)
    return layerwise_rule(chosen, network), specs[patterns[-1]].cls.info.run_defaults


def _mixed_spec(rule: str | type[Objective], config: Any) -> ObjectiveSpec:
    cls = _class_of(rule)
    if not issubclass(cls, Objective):
        raise UsageError(
            f"{cls.__name__} cannot be mixed with other rules",
            where="Learner(rule={...})",
            why="it trains the whole network in a step of its own",
        )
    return ObjectiveSpec(cls, _options(cls, config))


def _class_of(rule: str | type[Objective] | type[Rule]) -> type[Any]:
    if not isinstance(rule, str):
        return rule
    from localrules.registry.registry import Registry

    cls: type[Any] = Registry.load().resolve("rule", rule)
    return cls


def _options(cls: type[Any], config: Any) -> BaseModel:
    check_config_class(cls)
    if isinstance(config, BaseModel):
        if not isinstance(config, cls.Config):
            raise UsageError(
                f"the options are not those of {cls.__name__}",
                where="Learner(config=...)",
                why=f"they are a {type(config).__qualname__}",
                fix=f"give a {cls.__name__}.Config, or a dict",
            )
        return config
    options = dict(config or {})
    preset = options.pop("preset", None)
    if preset is not None and preset not in cls.info.presets:
        raise UsageError(
            f"{cls.__name__} has no preset {preset!r}",
            where="Learner(config=...)",
            why=f"its presets: {', '.join(cls.info.presets) or 'none'}",
        )
    return validate_config(cls.Config, {**cls.info.presets.get(preset, {}), **options}, "config")


def _check_trainable(cls: type[Any], network: Network) -> None:
    if reason := cls.info.requires.incompatibility(network):
        raise UsageError(f"the rule cannot train {type(network.model).__name__}", where=cls.__name__, why=reason)


def _optimizer(
    settings: str | Mapping[str, Any] | OptimizerConfig | None, lr: float | None, defaults: Mapping[str, Any]
) -> OptimizerConfig:
    if isinstance(settings, OptimizerConfig):
        config = settings if lr is None else settings.model_copy(update={"lr": lr})
    else:
        if not isinstance(settings, str | Mapping | None):
            raise UsageError(
                "the optimizer is given by its name or its settings",
                where=f"Learner(optimizer={type(settings).__name__})",
                why="each layer has one of its own, which the learner makes",
                fix='e.g. optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.9}',
            )
        given: dict[str, Any] = {"name": settings} if isinstance(settings, str) else dict(settings or {})
        if lr is not None:
            given["lr"] = lr
        asked = Settings({"optimizer": given})
        whole = merge_settings(as_defaults(Settings(dict(defaults)), asked), asked)
        config = validate_config(OptimizerConfig, whole.tree["optimizer"], "optimizer")
    check_timing(config)
    return config
