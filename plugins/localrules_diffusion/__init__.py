"""Rules that train each layer as a step of denoising the label."""

from localrules import RuleEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            name="noprop",
            target="localrules_diffusion.noprop:NoProp",
            summary="Each layer learns one step of denoising the label.",
            reference="Li, Teh & Pascanu 2025, https://arxiv.org/abs/2503.24322",
            locality="local-labels",
        ),
    ]
