"""The classics that the field's papers report on: networks, MNIST and Fashion-MNIST."""

from localrules import DataEntry, ModelEntry, hookimpl
from localrules.registry.entries import KitNetwork

API_VERSION = 1


@hookimpl
def localrules_models() -> list[ModelEntry]:
    return [
        ModelEntry(
            name="mlp",
            target="localrules_classics.mlp:MLP",
            summary="Fully connected layers, as many and as wide as asked for.",
            reference="Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656",
            kit_network=KitNetwork(
                kind="perceptron", options={"hidden": (12, 10, 8)}, digits_options={"hidden": (128, 128)}
            ),
        ),
        ModelEntry(
            name="lenet",
            target="localrules_classics.lenet:LeNet",
            summary="LeNet-5: two convolutions, two fully connected layers, 0.06 M parameters.",
            reference="LeCun, Bottou, Bengio & Haffner 1998, https://doi.org/10.1109/5.726791",
            kit_network=KitNetwork(kind="chain of maps", digits_scale=4),  # its input has four times a digit's side
        ),
        ModelEntry(
            name="vgg8b",
            target="localrules_classics.vgg:VGG8b",
            summary="Six wide convolutions and a fully connected layer, 7.3 M parameters on MNIST.",
            reference="Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656",
        ),
        ModelEntry(
            name="vgg11b",
            target="localrules_classics.vgg:VGG11b",
            summary="Nine wide convolutions and a fully connected layer, 11.6 M parameters on CIFAR-10.",
            reference="Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656",
        ),
        ModelEntry(
            name="resnet20",
            target="localrules_classics.resnet:ResNet20",
            summary="Nine narrow residual blocks for small images, 0.27 M parameters.",
            reference="He, Zhang, Ren & Sun 2016, https://arxiv.org/abs/1512.03385",
        ),
        ModelEntry(
            name="resnet18",
            target="localrules_classics.resnet:ResNet18",
            summary="Eight wide residual blocks, torchvision's network on large images, 11.2 M parameters.",
            reference="He, Zhang, Ren & Sun 2016, https://arxiv.org/abs/1512.03385",
        ),
        ModelEntry(
            name="densenet_bc",
            target="localrules_classics.densenet:DenseNetBC",
            summary="DenseNet-BC-100-12: three densely connected blocks with bottlenecks, 0.8 M parameters.",
            reference="Huang, Liu, van der Maaten & Weinberger 2017, https://arxiv.org/abs/1608.06993",
        ),
        ModelEntry(
            name="alexnet",
            target="localrules_classics.torchvision_models:AlexNet",
            summary="torchvision's AlexNet: five convolutions, three matrices, 57 M parameters.",
            reference="Krizhevsky 2014, https://arxiv.org/abs/1404.5997",
        ),
        ModelEntry(
            name="resnet50",
            target="localrules_classics.torchvision_models:ResNet50",
            summary="torchvision's ResNet-50: sixteen bottleneck blocks, 23.5 M parameters.",
            reference="He, Zhang, Ren & Sun 2016, https://arxiv.org/abs/1512.03385",
        ),
        ModelEntry(
            name="inception_v2",
            target="localrules_classics.inception:InceptionV2",
            summary="BN-Inception: ten modules of four branches, 10.3 M parameters.",
            reference="Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167",
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
            summary="28 x 28 grey images of clothes, from an .npz or IDX files of yours.",
            reference="Xiao, Rasul & Vollgraf 2017, https://arxiv.org/abs/1708.07747",
        ),
    ]
