"""Settings that change nothing beside others: of another optimizer or schedule, of processes, windows, compilation."""

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
    """Settings that differ from their defaults and that nothing in the run reads, in sentences."""
    absent = {
        "parallel": (config.devices == 1, "there is one process (devices)"),
        "stages": (config.devices == 1, "there is one process (devices)"),
        "sync_batchnorm": (config.devices == 1, "there is one process (devices)"),
        "window_weight": (not str(config.granularity).startswith("window:"), "granularity has no windows of layers"),
        "compile_backend": (not config.compile, "compile is off"),
        "holdout_seed": (not config.holdout_fraction, "nothing is held out (holdout_fraction)"),
    }
    fields = type(config).model_fields
    return [
        f"{option} changes nothing: {reason}"
        for option, (is_absent, reason) in absent.items()
        if is_absent and getattr(config, option) != fields[option].default
    ] + [
        f"{section}.{option} changes nothing: it is for {', '.join(readers)}, and {section}.name is {chosen.name}"
        for section, chosen, options in (
            ("optimizer", config.optimizer, _OPTIMIZERS),
            ("schedule", config.schedule, _SCHEDULES),
        )
        for option, readers in options.items()
        if chosen.name not in readers and getattr(chosen, option) != type(chosen).model_fields[option].default
    ]
