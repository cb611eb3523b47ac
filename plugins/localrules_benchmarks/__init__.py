"""The league table of all rules."""

from localrules import ExperimentEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_experiments() -> list[ExperimentEntry]:
    return [
        ExperimentEntry(
            name="league",
            target="localrules_benchmarks.league:league",
            summary="Every rule on CIFAR-10 and Fashion-MNIST: the same search, the same time, one table.",
        ),
    ]
