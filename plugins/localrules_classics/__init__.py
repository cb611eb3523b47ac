"""The classic networks that the field's papers report on."""

from localrules import ModelEntry, hookimpl
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
            kit_network=KitNetwork(kind="chain of maps", digits_options={"field": 20}, digits_scale=2),
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
            name="resnet32",
            target="localrules_classics.resnet:ResNet32",
            summary="Fifteen narrow residual blocks for small images, 0.46 M parameters.",
            reference="He, Zhang, Ren & Sun 2016, https://arxiv.org/abs/1512.03385",
        ),
        ModelEntry(
            name="resnet110",
            target="localrules_classics.resnet:ResNet110",
            summary="54 narrow residual blocks for small images, 1.7 M parameters.",
            reference="He, Zhang, Ren & Sun 2016, https://arxiv.org/abs/1512.03385",
        ),
        ModelEntry(
            name="wide_resnet",
            target="localrules_classics.resnet:WideResNet",
            summary="Twelve wide residual blocks for small images, WRN-28-10, 36.5 M parameters.",
            reference="Zagoruyko & Komodakis 2016, https://arxiv.org/abs/1605.07146",
        ),
        ModelEntry(
            name="vgg13",
            target="localrules_classics.vgg:VGG13",
            summary="Ten convolutions and a linear readout, 9.4 M parameters on CIFAR-10.",
            reference="Simonyan & Zisserman 2015, https://arxiv.org/abs/1409.1556",
        ),
        ModelEntry(
            name="vgg16",
            target="localrules_classics.vgg:VGG16",
            summary="Thirteen convolutions and a linear readout, 14.7 M parameters on CIFAR-10.",
            reference="Simonyan & Zisserman 2015, https://arxiv.org/abs/1409.1556",
        ),
        ModelEntry(
            name="vgg19",
            target="localrules_classics.vgg:VGG19",
            summary="Sixteen convolutions and a linear readout, 20.0 M parameters on CIFAR-10.",
            reference="Simonyan & Zisserman 2015, https://arxiv.org/abs/1409.1556",
        ),
        ModelEntry(
            name="vit_tiny",
            target="localrules_classics.vit:ViTTiny",
            summary="A vision transformer of twelve blocks, 5.7 M parameters.",
            reference="Touvron et al. 2021, https://arxiv.org/abs/2012.12877",
        ),
        ModelEntry(
            name="vit_small",
            target="localrules_classics.vit:ViTSmall",
            summary="A vision transformer of twelve blocks, 22.1 M parameters.",
            reference="Touvron et al. 2021, https://arxiv.org/abs/2012.12877",
        ),
        ModelEntry(
            name="mlp_mixer",
            target="localrules_classics.mixer:MLPMixer",
            summary="Mixer-S: eight blocks of linear operations over patches, 18.5 M parameters.",
            reference="Tolstikhin et al. 2021, https://arxiv.org/abs/2105.01601",
        ),
        ModelEntry(
            name="convnext_tiny",
            target="localrules_classics.convnext:ConvNeXtTiny",
            summary="ConvNeXt: 18 blocks of depthwise convolutions and linear operations, 28.6 M parameters.",
            reference="Liu et al. 2022, https://arxiv.org/abs/2201.03545",
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
        ModelEntry(
            name="torchvision",
            target="localrules_classics.packages:TorchvisionModel",
            summary="Any network for classification of torchvision, as torchvision:NAME.",
            reference="https://docs.pytorch.org/vision/stable/models.html",
            argument="network",
        ),
        ModelEntry(
            name="timm",
            target="localrules_classics.packages:TimmModel",
            summary="Any network of timm, as timm:NAME.",
            reference="https://github.com/huggingface/pytorch-image-models",
            argument="network",
        ),
    ]
