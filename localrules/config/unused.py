"""Settings that change nothing beside others: of another optimizer, or of another schedule."""

from __future__ import annotations

from localrules.config.schema import RunConfig

_OPTIMIZERS = {
    "betas": ("adam", "adamw", "muon"),
    "eps": ("adam", "adamw", "muon"),
    "momentum": ("sgd", "muon"),
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
    """Settings that differ from their defaults and that the optimizer or the schedule does not read, in sentences."""
    return [
        f"{section}.{option} changes nothing: it is for {', '.join(readers)}, and {section}.name is {chosen.name}"
        for section, chosen, options in (
            ("optimizer", config.optimizer, _OPTIMIZERS),
            ("schedule", config.schedule, _SCHEDULES),
        )
        for option, readers in options.items()
        if chosen.name not in readers and getattr(chosen, option) != type(chosen).model_fields[option].default
    ]
