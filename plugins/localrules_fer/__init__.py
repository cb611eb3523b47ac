"""Facial expressions: the paper's network, FER2013, faces that we draw ourselves, and the paper's settings."""

from localrules import (
    DataEntry,
    ExperimentEntry,
    ExporterEntry,
    MetricColumn,
    MetricEntry,
    ModelEntry,
    PresetEntry,
    hookimpl,
)
from localrules.registry.entries import KitNetwork

API_VERSION = 1

_PAPER = "Han et al. 2023, https://doi.org/10.12677/sea.2023.122019"


@hookimpl
def localrules_models() -> list[ModelEntry]:
    return [
        ModelEntry(
            name="dense_fpn",
            target="localrules_fer.models.dense_fpn:DenseFPN",
            summary="The paper's dense blocks with a feature pyramid and channel attention, about 7 M parameters.",
            reference=_PAPER,
            default_priority=20,
            kit_network=KitNetwork(
                kind="dense maps",
                options={"blocks": 2, "convolutions": 1, "growth": 4, "stem": 8, "lateral": 8},
                digits_options={"blocks": 2, "convolutions": 2, "growth": 16, "stem": 32, "lateral": 48},
                digits_scale=2,
            ),
        ),
        ModelEntry(
            name="dense_fpn_small",
            target="localrules_fer.models.dense_fpn:DenseFPNSmall",
            summary="The same network at about 0.5 M parameters, for a CPU.",
            reference=_PAPER,
            default_priority=10,
            suits_cpu=True,
        ),
    ]


@hookimpl
def localrules_data() -> list[DataEntry]:
    return [
        DataEntry(
            name="fer2013",
            target="localrules_fer.datasets.fer2013:FER2013",
            summary="48 x 48 grey faces with seven expressions, from a file or folder of yours.",
            reference="Goodfellow et al. 2013, https://arxiv.org/abs/1307.0414",
            default_priority=20,
        ),
        DataEntry(
            name="faces",
            target="localrules_fer.faces.dataset:Faces",
            summary="Synthetic 48 x 48 grey faces with the same seven expressions, drawn on the spot.",
            default_priority=10,
        ),
    ]


@hookimpl
def localrules_presets() -> list[PresetEntry]:
    return [
        PresetEntry(
            name="paper",
            target="localrules_fer.presets:PAPER",
            summary="The paper's settings as printed: Adam, learning rate 0.005, batch 128, 10,000 steps.",
            reference=_PAPER,
        ),
    ]


@hookimpl
def localrules_metrics() -> list[MetricEntry]:
    return [
        MetricEntry(
            name="ferplus",
            target="localrules_fer.ferplus:FERPlus",
            summary="Agreement with FER+, ten people's votes on each image of FER2013.",
            reference="Barsoum, Zhang, Canton Ferrer & Zhang 2016, https://arxiv.org/abs/1608.01041",
            help="FER+'s votes (fer2013new.csv): also measure how far people agree with the network.",
            columns=(
                MetricColumn(
                    title="FER+ majority",
                    key="majority_agreement",
                    note="of {majority_rows:,} rows; FER2013's labels: {label_agreement:.1%}",
                ),
                MetricColumn(
                    title="one FER+ tagger",
                    key="vote_share",
                    note="fraction of the votes for the prediction, mean over {voted_rows:,} rows",
                ),
                MetricColumn(
                    title="FER+ distribution, nats",
                    key="kl_divergence",
                    is_fraction=False,
                    note="KL divergence from it; cross-entropy {cross_entropy:.3f}, of which the votes' own "
                    "{vote_entropy:.3f}",
                ),
            ),
        ),
    ]


@hookimpl
def localrules_exporters() -> list[ExporterEntry]:
    return [
        ExporterEntry(
            name="fer2013-csv",
            target="localrules_fer.export:export_csv",
            summary="Kaggle's fer2013.csv: 48 x 48 grey images with seven labels; gzipped where the name ends in .gz.",
        ),
    ]


_EXPERIMENTS = (
    ("figure-1-3", "feature_maps", "Feature maps of shallow, middle and last layers, by HSIC and by backprop."),
    ("figure-6-9", "data", "The data: table, sheets of images, labels, the seven expressions. Trains nothing."),
    ("figure-10-11", "against_backprop", "Accuracy and loss of the same network by HSIC and by backprop."),
    ("figure-12", "blocks", "Two, three and four dense blocks."),
    ("figure-13", "activations", "relu, tanh and elu."),
    ("figure-14", "learning_rates", "Learning rates 0.0005, 0.001 and 0.005."),
    ("table-1", "table_1", "Figure 15 too: AlexNet, Inception v2 and ResNet-50 beside the paper's network."),
    ("beta", "betas", "beta from 10 to 1000."),
    ("two-phase", "phases", "Hidden layers first and then the readout, beside both at once."),
)
_ALSO = {"table-1": ("figure-15",)}  # it plots the table's numbers


@hookimpl
def localrules_experiments() -> list[ExperimentEntry]:
    target = "localrules_fer.paper.cases"
    entries = [
        ExperimentEntry(
            name=name,
            target=f"{target}:{made}",
            summary=summary,
            reference=_PAPER,
            suite="paper",
            aliases=_ALSO.get(name, ()),
        )
        for name, made, summary in _EXPERIMENTS
    ]
    native = ExperimentEntry(
        name="table-1-native",
        target=f"{target}:table_1_native",
        summary="table-1 with the baselines at 224 x 224: for a GPU.",
        reference=_PAPER,
    )
    return [*entries, native]
