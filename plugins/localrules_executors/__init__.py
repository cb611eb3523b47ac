"""Executors: processes of this machine, a Ray cluster, SLURM."""

from localrules import ExecutorEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_executors() -> list[ExecutorEntry]:
    return [
        ExecutorEntry(
            name="local",
            target="localrules_executors.local:LocalExecutor",
            summary="Processes of this machine, each on its own cores.",
            default_priority=0,
        ),
        ExecutorEntry(
            name="ray",
            target="localrules_executors.ray:RayExecutor",
            summary="A Ray cluster, this machine's or another (pip install 'localrules[ray]').",
            reference="Moritz et al. 2018, https://arxiv.org/abs/1712.05889",
        ),
        ExecutorEntry(
            name="slurm",
            target="localrules_executors.slurm:SlurmExecutor",
            summary="Jobs of SLURM, by submitit (pip install 'localrules[slurm]').",
            reference="https://github.com/facebookincubator/submitit",
        ),
    ]
