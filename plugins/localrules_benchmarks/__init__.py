"""The league table of all rules, and published results on CIFAR-10."""

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
        ExperimentEntry(  # in no suite: the suite `published` is for processors
            name="published-cifar10",
            target="localrules_benchmarks.published_cifar10:published_cifar10",
            summary="Local rules on CIFAR-10 with vgg8b, ResNet-32 and ResNet-110: days on a GPU.",
            reference="Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656, and others by case",
        ),
    ]
