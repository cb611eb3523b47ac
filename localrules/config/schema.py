"""The configuration of a run: one typed, documented tree, from the command line, a file, presets and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_serializer, model_validator

from localrules.config.mixture import MIXED, mixture_parts
from localrules.config.overrides import Tree
from localrules.core.windows import WINDOW_PATTERN, split_granularity
from localrules.data.augment import AugmentConfig
from localrules.data.normalize import NormalizeConfig
from localrules.data.targets import TargetsConfig
from localrules.errors import UsageError
from localrules.utils.precision import Precision

LARGEST = 2**63
"""Whole numbers are smaller than this."""

MOST_THREADS = 1024
"""Far more make OpenMP end the process."""

Beta = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Base of the configuration's parts."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ComponentConfig(BaseModel):
    """A rule, model or data set by name, with its own options beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(description="As `localrules rules`, `models` or `data` list it.")

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class RuleAssignment(BaseModel):
    """The rule of a run, or a mixture: which rule trains which hidden layers.

    Attributes:
        parts: Patterns of layers' names, and the rule of each; a layer learns by the first that fits, and by the last
            where none does. A rule that is not a mixture is one part with the pattern ``*``.
    """

    model_config = ConfigDict(frozen=True)

    parts: tuple[tuple[str, ComponentConfig], ...] = Field(min_length=1)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> RuleAssignment:
        """Read the table ``rule`` of a run's settings: a name with options, or the parts of a mixture.

        Raises:
            UsageError: A mixture whose parts cannot be read.
        """
        if table["name"] != MIXED:
            return cls(parts=(("*", ComponentConfig(**table)),))
        patterns = [part.pattern for part in mixture_parts(table)]
        rules = [{key: value for key, value in part.items() if key != "layers"} for part in table["layers"]]
        return cls(parts=tuple((pattern, ComponentConfig(**own)) for pattern, own in zip(patterns, rules, strict=True)))

    @model_serializer
    def to_table(self) -> Tree:
        """The table that :meth:`from_table` reads."""
        if not self.is_mixture:
            return self.parts[0][1].model_dump()
        return {"name": MIXED, "layers": [{"layers": pattern, **part.model_dump()} for pattern, part in self.parts]}

    @property
    def is_mixture(self) -> bool:
        """Whether the layers are divided among several rules."""
        return len(self.parts) > 1

    @property
    def name(self) -> str:
        """The rule's name; ``mixed`` for a mixture."""
        return MIXED if self.is_mixture else self.parts[0][1].name

    @property
    def label(self) -> str:
        """The rule as ``--rule`` takes it: its name, or the parts of a mixture with their patterns."""
        if not self.is_mixture:
            return self.name
        return ",".join(f"{pattern}={part.name}" for pattern, part in self.parts)


class OptimizerConfig(Section):
    """The optimizer; every layer has one of its own."""

    name: Literal["adam", "adamw", "sgd", "muon"] = Field(
        "adam",
        description="adam (Han et al.'s), adamw, sgd, or muon: Muon for hidden weights with 2 or more axes, AdamW for "
        "the rest.",
    )
    lr: float = Field(
        3e-3, gt=0, le=1e30, description="Peak learning rate (ours; Han et al.'s 0.005 is in preset `paper`)."
    )
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="Adam's averaging factors (torch's).")
    eps: float = Field(1e-8, gt=0, description="Adam's epsilon (torch's).")
    momentum: float | None = Field(
        None, ge=0, lt=1, description="Of sgd (0.9 if unset, ours) and muon (0.95 if unset, its author's)."
    )
    nesterov: bool = Field(False, description="Of sgd: Nesterov's form of momentum (ours: no).")
    muon_scale: float = Field(
        1.0,
        gt=0,
        le=1e9,
        description="Muon's learning rate as a multiple of lr, at which it steps as far as Adam (ours).",
    )
    weight_decay: float = Field(0.0, ge=0, description="Weight decay (ours: none).")
    grad_clip_norm: float | None = Field(
        None, gt=0, description="Clip each layer's gradient to this norm (ours: no clipping)."
    )
    lr_scale: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="Learning rates of layers as multiples of lr, by pattern, e.g. {readout = 0.1} (ours: none).",
    )
    step_timing: Literal["layer", "pass"] = Field(
        "layer", description="Step each layer as soon as its gradients are complete, or all at the end of the pass."
    )

    @model_validator(mode="after")
    def _check_nesterov(self) -> OptimizerConfig:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov is a form of momentum, and momentum is 0")
        return self


class ScheduleConfig(Section):
    """The schedule of the learning rate over a phase."""

    name: Literal["one-cycle", "cosine", "steps", "constant"] = Field(
        "one-cycle", description="Linear warm-up then cosine decay; cosine decay; steps; or constant (ours: one-cycle)."
    )
    warmup: float = Field(0.25, ge=0, le=1, description="Fraction of the steps spent warming up (ours).")
    start: float = Field(
        0.04, ge=0, le=1, description="The rate a step before the warm-up's first, as a fraction of the peak (ours)."
    )
    end: float = Field(
        0.0, ge=0, le=1, description="The rate a step after the decay's last, as a fraction of the peak (ours)."
    )
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.5, 0.75, 0.9), description="steps: after which fractions of the phase the rate falls (ours)."
    )
    factor: float = Field(0.25, gt=0, le=1, description="steps: by what it is multiplied then (ours).")


class EarlyStoppingConfig(Section):
    """Early stopping: when a run ends before its last step."""

    metric: str = Field(
        "valid_accuracy", description="The metric, a column of metrics.csv, read at the end of each epoch (ours)."
    )
    patience: int = Field(
        3, gt=0, lt=LARGEST, description="Evaluations in a row without an improvement after which the run stops (ours)."
    )
    mode: Literal["auto", "max", "min"] = Field(
        "auto",
        description="Whether the metric should grow or shrink; auto is max for a name that ends in accuracy, else min.",
    )
    min_delta: float = Field(0.0, ge=0, description="The smallest change that counts as an improvement (ours).")


class PhaseConfig(Section):
    """A stretch of a run in which some layers learn."""

    name: str = Field(description="Shown in progress and metrics.")
    train_layers: Literal["all", "hidden", "readout"] | tuple[str, ...] = Field(
        "all", description="Which layers learn: all, hidden, readout, or a list of names and patterns (blocks.0.*)."
    )
    auxiliary: bool = Field(
        False, description="Whether the auxiliary modules of layers that stand still go on learning (ours: no)."
    )
    fraction: float = Field(
        1.0, gt=0, le=1e9, description="Its fraction of the run's steps, relative to the other phases'."
    )


JOINT = (PhaseConfig(name="joint", train_layers="all"),)
TWO_PHASE = (
    PhaseConfig(name="hidden", train_layers="hidden", fraction=0.75),
    PhaseConfig(name="readout", train_layers="readout", fraction=0.25),
)


NAMED_PHASES = {"joint": JOINT, "two-phase": TWO_PHASE}


Diagnostic = Literal["gradient", "update", "angle", "dead", "hsic-input", "hsic-labels", "cka", "probe", "histograms"]
HISTOGRAMS: Diagnostic = "histograms"
"""A diagnostic that only trackers receive: it is not a number."""
DIAGNOSTICS: tuple[Diagnostic, ...] = tuple(name for name in get_args(Diagnostic) if name != HISTOGRAMS)


class RunConfig(Section):
    """A run, whole."""

    rule: RuleAssignment
    model: ComponentConfig
    data: ComponentConfig
    holdout_fraction: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Fraction of the training split that takes the valid split's place, with near duplicates "
        "on one side: to choose settings by (ours: 0).",
    )
    holdout_seed: int = Field(
        0,
        ge=0,
        le=2**31,
        description="Draws which samples are held out; the run's own seed has no part in it (ours: 0).",
    )
    granularity: Literal["layer", "block"] | int | Annotated[str, Field(pattern=WINDOW_PATTERN)] = Field(
        "layer",
        description="layer, block, or a number of parts; window:K or window:K:CUT for overlapping windows of K layers.",
    )
    window_weight: float = Field(
        1.0,
        ge=0,
        description="In windows of layers, weight of the gradients that come from the objectives of the layers above "
        "(ours; the code of HPFF: 0.999).",
    )
    epochs: float | None = Field(
        None,
        gt=0,
        le=1e9,
        description="Passes over the training split, each without its last batch where that is incomplete; a "
        "fraction is allowed. 3 if neither is given (ours).",
    )
    steps: int | None = Field(None, gt=0, lt=LARGEST, description="Steps, instead of epochs.")
    batch_size: int = Field(128, gt=0, lt=LARGEST, description="Samples a step (Han et al.'s).")
    seed: int = Field(0, ge=0, lt=2**63, description="Of weights, order, augmentation and all other draws.")
    threads: int = Field(
        1,
        gt=0,
        le=MOST_THREADS,
        description="CPU threads; equal bits need equal threads. Where a run leaves it out: the cores of the process.",
    )
    parallel_layers: int = Field(
        1,
        gt=0,
        le=MOST_THREADS,
        description="How many layers may learn at the same time, each on `threads` CPU threads: the same bits, in more "
        "memory (ours: 1, one after the other).",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 (one GPU of several) or mps.")
    devices: int = Field(
        1,
        gt=0,
        le=MOST_THREADS,
        description="Processes that do the work, each with a GPU or its own CPU threads (ours: 1).",
    )
    parallel: Literal["data", "layers"] = Field(
        "data",
        description="Several processes: whether they divide each batch, or the layers of the network (ours: data).",
    )
    stages: int | None = Field(
        None,
        gt=0,
        le=MOST_THREADS,
        description="Processes that divide the layers: how many do so; `devices` is a multiple of it, and the others "
        "do the same for other parts of each batch. All if unset.",
    )
    sync_batchnorm: bool = Field(
        False,
        description="Several processes: batch norms normalise by the statistics of the whole batch, not of each "
        "process's part (ours: no).",
    )
    process_timeout: float = Field(
        600.0,
        gt=0,
        le=1e6,
        description="Several processes: seconds for which one waits for the others before the run ends (ours).",
    )
    precision: Precision = Field(
        "fp32", description="fp32, or bf16 or fp16 autocast with fp32 weights; losses are scaled in fp16."
    )
    tf32: bool = Field(
        False,
        description="On a GPU: float32 products and convolutions in TF32, with 10 bits of mantissa in place of 23; "
        "Gram matrices stay exact (ours: no; torch itself has convolutions so).",
    )
    compile: bool = Field(
        False,
        description="Train with each layer's forward pass and each objective compiled by torch (ours: no).",
    )
    compile_backend: Literal["inductor", "aot_eager", "eager"] = Field(
        "inductor", description="inductor needs a C++ compiler, or Triton on a GPU; the others are for finding faults."
    )
    channels_last: bool = Field(True, description="Keep maps channels-last in memory.")
    normalize: NormalizeConfig | None = Field(
        None,
        description="Normalise by a mean and a std of your choice: both are given. By those of the training images if "
        "unset (ours).",
    )
    augment: AugmentConfig = AugmentConfig()
    targets: TargetsConfig = TargetsConfig()
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay a step of an exponential moving average of the weights. If set, evaluations, and the "
        "weights that the run keeps, are of the average (ours: none).",
    )
    tta_flip: bool = Field(
        False,
        description="Test-time augmentation: predict for each image and for its flip, and average the "
        "probabilities (ours: no).",
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    phases: tuple[PhaseConfig, ...] = Field(JOINT, min_length=1, description="joint, two-phase, or a list of phases.")
    early_stopping: EarlyStoppingConfig | None = Field(
        None, description="Stop when a metric no longer improves; any of its options turns it on (ours: no)."
    )
    diagnostics: tuple[Diagnostic, ...] = Field(
        (), description="What to measure of each layer beside its objective (ours: nothing)."
    )
    log_every: int = Field(10, gt=0, lt=LARGEST, description="Steps between rows of metrics.csv.")
    eval_batch_size: int = Field(500, gt=0, lt=LARGEST, description="Samples a batch in evaluation.")
    checkpoint_every: int | None = Field(
        None, gt=0, lt=LARGEST, description="Steps between checkpoints; every epoch and every minute if unset."
    )
    audit: bool = Field(
        False, description="Measure the class of locality at the start, in the middle and at the end (ours: no)."
    )
    plots: bool = Field(True, description="Save plots of what was learned when the run is done.")
    trackers: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Trackers and their options.")

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthands(cls, values: dict[str, Any]) -> dict[str, Any]:
        spelt = dict(values)
        if spelt.get("steps") is None and spelt.get("epochs") is None:
            spelt["epochs"] = 3.0
        if isinstance(spelt.get("diagnostics"), str):
            names = [name.strip() for name in spelt["diagnostics"].split(",")]
            every = [part for name in names for part in (DIAGNOSTICS if name == "all" else (name,))]
            spelt["diagnostics"] = tuple(dict.fromkeys(every))
        if isinstance(spelt.get("phases"), str):
            spelt["phases"] = NAMED_PHASES.get(spelt["phases"], spelt["phases"])
        return spelt

    @field_validator("rule", mode="before")
    @classmethod
    def _read_rule(cls, value: Any) -> Any:
        return RuleAssignment.from_table(value) if isinstance(value, Mapping) and "name" in value else value

    @field_validator("granularity", mode="before")
    @classmethod
    def _check_granularity(cls, value: Any) -> Any:
        if _is_whole_number(value):
            value = int(value)
        try:
            split_granularity(value)
        except UsageError as error:  # the message of a union of types would name one of them
            raise ValueError(error.why) from error
        return value

    @model_validator(mode="after")
    def _check_single_length(self) -> RunConfig:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("steps and epochs are both given; leave out one of them")
        return self

    @property
    def description(self) -> str:
        """The run in a line, for plots: rule, model, data and seed."""
        return f"{self.rule.label} trains {self.model.name} on {self.data.name}, seed {self.seed}"

    @property
    def stage_count(self) -> int:
        """Number of processes that divide the layers among them; 1 where each trains all layers."""
        return self.stages or self.devices if self.devices > 1 and self.parallel == "layers" else 1

    @property
    def replicas(self) -> int:
        """Number of parts that each batch is divided into, for one process or for several that divide the layers."""
        return self.devices // self.stage_count

    def to_dict(self) -> Tree:
        """The settings as ``config.toml`` holds them; TOML has no null, so what is ``None`` is left out."""
        tree: Tree = _without_none(self.model_dump(mode="json"))
        return tree

    @classmethod
    def complete(cls, tree: Mapping[str, Any]) -> Tree:
        """A tree of settings with the defaults of those that it lacks, as one of an older version may.

        One that this version cannot read is given back as it is.
        """
        try:
            return cls(**tree).to_dict()
        except ValidationError:
            return dict(tree)

    def total_steps(self, steps_per_epoch: int) -> int:
        """Steps of the whole run, at least one."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * steps_per_epoch))


def _without_none(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_none(value) for key, value in tree.items() if value is not None}
    return [_without_none(item) for item in tree] if isinstance(tree, list) else tree


def _is_whole_number(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdigit()
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, Integral) and not isinstance(value, bool)
