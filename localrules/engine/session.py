"""All that a run needs, built and in place: data, network, rule, optimizers, phases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from torch import nn

from localrules.config.schema import RunConfig
from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.core.phase import Phase
from localrules.core.rule import Rule
from localrules.data.augment import Augment, AugmentConfig
from localrules.data.batches import Batches
from localrules.data.dataset import Dataset
from localrules.data.preprocess import Preprocessor
from localrules.data.targets import Targets
from localrules.engine.builder import build_network_and_rule, load_run_dataset
from localrules.engine.compilation import compile_parts
from localrules.engine.device import Device, keep_freed_memory, set_deterministic
from localrules.engine.grid import Grid
from localrules.engine.inference import Predictor
from localrules.engine.learning_check import LearningCheck
from localrules.engine.loss_scaling import LossScaling, loss_scaling_of
from localrules.engine.network_cache import NetworkCache
from localrules.engine.optimizers import LayerOptimizers
from localrules.engine.parallel import LayerExecutor
from localrules.engine.phases import build_phases
from localrules.engine.process_checks import check_processes, check_stages
from localrules.engine.ranks import Ranks
from localrules.engine.resolved_run import ResolvedRun
from localrules.engine.split_batch import SplitBatch, running_statistics
from localrules.engine.weight_average import WeightAverage
from localrules.errors import UsageError


@dataclass
class Session:
    """A run's live objects.

    Attributes:
        run: What was asked for.
        data: The data set.
        network, rule: On their device.
        batches: The training batches.
        optimizers: One a layer.
        device: Device and precision.
        predictor: The network as it labels images.
        phases: Which layers learn when.
        trainable: ``id`` of every parameter that may learn.
        learning_check: That every layer which should learn does.
        executor: The threads on which layers learn at the same time, if the run asked for it.
        loss_scaling: The scales of losses, in fp16.
        weight_average: The moving average of the weights, if the run asked for one.
    """

    run: ResolvedRun
    data: Dataset
    network: Network
    rule: Rule
    batches: Batches
    optimizers: LayerOptimizers
    device: Device
    predictor: Predictor
    phases: list[Phase]
    trainable: frozenset[int]
    learning_check: LearningCheck
    executor: LayerExecutor | None = None
    loss_scaling: LossScaling | None = None
    weight_average: WeightAverage | None = None

    @classmethod
    def build(
        cls,
        run: ResolvedRun,
        data: Dataset | None = None,
        *,
        join: bool = False,
        networks: NetworkCache | None = None,
    ) -> Session:
        """Build everything from the configuration; the same configuration gives the same bits.

        Args:
            run: The run.
            data: The data set, if it is in memory already.
            join: Join the other processes of the run. Otherwise this process has whole batches, as if it were alone.
            networks: Networks of other sessions, to begin with a copy of one of them: for building many alike.

        Raises:
            UsageError: The rule cannot train the network, or the settings do not fit the data or the machine.
        """
        config = run.config
        if join:
            check_processes(run)
        device = Device(config, join=join)
        set_deterministic(config.threads, device.device, tf32=config.tf32)
        keep_freed_memory()
        if data is None:
            assert run.data is not None, "a run that is resolved for its network alone needs data in memory"
            data = load_run_dataset(config, run.data)
        classes = len(data.classes)
        network, rule = build_network_and_rule(run, data.shape, classes, device.device, networks)
        if device.grid.replica.count > 1:
            check_stages(config.stage_count, network, rule)
        check_shift(config.augment.shift, data.shape)
        augment = Augment(config.augment, flip_preserves_label=data.flip_preserves_label)
        train = data.split("train")
        preprocess = Preprocessor.from_split(
            train, normalize=config.normalize, channels_last=config.channels_last, device=device.device
        )
        targets = Targets(config.targets, train.labels, classes)
        part = device.grid.ranks
        batches = Batches(
            train, config.batch_size, config.seed, preprocess, augment=augment, targets=targets, part=part
        )
        predictor = Predictor.from_config(config, network, rule, device, preprocess)
        optimizers = LayerOptimizers.from_config(network, rule, config.optimizer)
        phases = build_phases(config.phases, network, rule, config.total_steps(batches.steps_per_epoch))
        trainable = frozenset(id(parameter) for parameter in network.parameters() if parameter.requires_grad)
        executor = LayerExecutor.from_config(config, rule, device.device)
        check = LearningCheck(network, rule)
        compile_parts(config, network, rule)
        scaling = loss_scaling_of(config.precision, device.device, network.layers)
        decay = config.ema_decay
        return cls(
            run=run,
            data=data,
            network=network,
            rule=rule,
            batches=batches,
            optimizers=optimizers,
            device=device,
            predictor=predictor,
            phases=phases,
            trainable=trainable,
            learning_check=check,
            executor=executor,
            loss_scaling=scaling,
            weight_average=None if decay is None else WeightAverage(network.model, rule, decay),
        )

    @property
    def config(self) -> RunConfig:
        """The settings of the run."""
        return self.run.config

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.phases[-1].stop

    @property
    def parameter_count(self) -> int:
        """Number of the network's parameters that are trained in any phase, without auxiliary modules."""
        return sum(weight.numel() for weight in self.network.parameters() if id(weight) in self.trainable)

    def averaged_weights(self) -> AbstractContextManager[None]:
        """A context in which the network has the weights that the run keeps: their averages, where it has such."""
        return nullcontext() if self.weight_average is None else self.weight_average.applied()

    @property
    def grid(self) -> Grid:
        """The processes of the run."""
        return self.device.grid

    @property
    def world(self) -> Ranks:
        """All processes of the run."""
        return self.grid.world

    @property
    def divides_layers(self) -> bool:
        """Whether processes of the run divide the layers."""
        return self.grid.replica.count > 1

    @property
    def ranks(self) -> Ranks:
        """The processes that divide every batch, and train the same layers."""
        return self.grid.ranks

    def average_gradients(self, layer: Layer) -> None:
        """Average a layer's gradients over the processes that train it."""
        self.ranks.average_gradients([*layer.parameters(), *self.rule.parameters_for(layer)])

    @contextmanager
    def divided_step(self) -> Iterator[None]:
        """The context of a step whose batch is divided: what sees several samples sees them all, or is averaged."""
        if self.ranks.count == 1:
            yield
            return
        sync = self.config.sync_batchnorm
        with SplitBatch(self.ranks, self.config.batch_size // self.ranks.count, sync_batchnorm=sync):
            yield
        # What they normalised by differs, what they keep must not; instance norms are never synchronised.
        kind = nn.modules.instancenorm._InstanceNorm if sync else nn.modules.batchnorm._NormBase
        self.ranks.average_(running_statistics(self.network.model, self.rule, kind=kind))


def check_shift(shift: int, shape: tuple[int, ...]) -> None:
    """Refuse an augmentation that moves images out of themselves.

    Args:
        shift: Pixels, as in ``augment.shift``.
        shape: One image's channels, height, width.

    Raises:
        UsageError: It is not smaller than the image.
    """
    if shift > AugmentConfig().shift and shift >= min(shape[-2:]):  # the default does no harm to tiny images
        raise UsageError(
            "images would be shifted out of sight",
            where=f"augment.shift={shift}",
            why=f"the images are {shape[-2]} x {shape[-1]} pixels",
            fix=f"choose less than {min(shape[-2:])}; a few pixels are usual",
        )
