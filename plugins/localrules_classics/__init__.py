"""The classics that the field's papers report on: a plain network, MNIST and Fashion-MNIST."""

from localrules import DataEntry, ModelEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_models() -> list[ModelEntry]:
    return [
        ModelEntry(
            name="mlp",
            target="localrules_classics.mlp:MLP",
            summary="Fully connected layers, as many and as wide as asked for.",
        ),
    ]


@hookimpl
def localrules_data() -> list[DataEntry]:
    return [
        DataEntry(
            name="mnist",
            target="localrules_classics.mnist:MNIST",
            summary="28 x 28 grey handwritten digits, from an .npz or IDX files of yours.",
            reference="LeCun, Bottou, Bengio & Haffner 1998, https://doi.org/10.1109/5.726791",
        ),
        DataEntry(
            name="fashion_mnist",
            target="localrules_classics.mnist:FashionMNIST",
            summary="28 x 28 grey pictures of clothes, from an .npz or IDX files of yours.",
            reference="Xiao, Rasul & Vollgraf 2017, https://arxiv.org/abs/1708.07747",
        ),
    ]
