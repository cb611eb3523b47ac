"""Settings that nothing in a run reads: of another optimizer or schedule, of processes, windows or compilation."""

from __future__ import annotations

from pydantic import BaseModel

from localrules.config.schema import RunConfig

_OPTIMIZERS = {
    "betas": ("adam", "adamw", "muon"),
    "eps": ("adam", "adamw", "muon"),
    "momentum": ("sgd", "muon"),
    "nesterov": ("sgd",),
    "muon_scale": ("muon",),
}
_SCHEDULES = {
    "warmup": ("one-cycle",),
    "start": ("one-cycle",),
    "end": ("one-cycle", "cosine"),
    "milestones": ("steps",),
    "factor": ("steps",),
}


def unused_settings(config: RunConfig) -> list[str]:
    """Settings that differ from their defaults and that nothing in the run reads, in sentences."""
    absent = {
        "parallel": (config.devices == 1, "there is one process (devices)"),
        "stages": (config.devices == 1, "there is one process (devices)"),
        "process_timeout": (config.devices == 1, "there is one process (devices)"),
        "sync_batchnorm": (config.devices == 1, "there is one process (devices)"),
        "window_weight": (not str(config.granularity).startswith("window:"), "granularity has no windows of layers"),
        "augment.padding": (not config.augment.shift, "images are not shifted (augment.shift)"),
        "augment.rand_magnitude": (not config.augment.rand_augment, "there is no RandAugment (augment.rand_augment)"),
        "compile_backend": (not config.compile, "compile is off"),
        "holdout_seed": (not config.holdout_fraction, "nothing is held out (holdout_fraction)"),
    }
    reasons = {option: reason for option, (is_absent, reason) in absent.items() if is_absent}
    for section, chosen, options in (
        ("optimizer", config.optimizer.name, _OPTIMIZERS),
        ("schedule", config.schedule.name, _SCHEDULES),
    ):
        for option, readers in options.items():
            if chosen not in readers:
                reasons[f"{section}.{option}"] = f"it is for {', '.join(readers)}, and {section}.name is {chosen}"
    return [f"{option} changes nothing: {reason}" for option, reason in reasons.items() if _is_changed(config, option)]


def _is_changed(config: BaseModel, option: str) -> bool:
    """Whether an option differs from its default."""
    *sections, name = option.split(".")
    for section in sections:
        config = getattr(config, section)
    return bool(getattr(config, name) != type(config).model_fields[name].default)
