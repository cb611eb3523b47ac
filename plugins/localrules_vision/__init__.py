"""The data sets of image classification, from the files in which people have them."""

from localrules import DataEntry, hookimpl

API_VERSION = 1

_CIFAR = "Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf"


@hookimpl
def localrules_data() -> list[DataEntry]:
    return [
        DataEntry(
            name="mnist",
            target="localrules_vision.mnist:MNIST",
            summary="28 x 28 grey handwritten digits, from an .npz or IDX files of yours.",
            reference="LeCun, Bottou, Bengio & Haffner 1998, https://doi.org/10.1109/5.726791",
        ),
        DataEntry(
            name="fashion_mnist",
            target="localrules_vision.mnist:FashionMNIST",
            summary="28 x 28 grey images of clothes, from an .npz or IDX files of yours.",
            reference="Xiao, Rasul & Vollgraf 2017, https://arxiv.org/abs/1708.07747",
        ),
        DataEntry(
            name="cifar10",
            target="localrules_vision.cifar:CIFAR10",
            summary="32 x 32 colour images of ten classes, from an archive or folder of yours.",
            reference=_CIFAR,
        ),
        DataEntry(
            name="cifar100",
            target="localrules_vision.cifar:CIFAR100",
            summary="32 x 32 colour images of 100 classes in 20 superclasses, from an archive or folder of yours.",
            reference=_CIFAR,
        ),
        DataEntry(
            name="svhn",
            target="localrules_vision.svhn:SVHN",
            summary="32 x 32 colour images of digits of house numbers, from .mat files of yours.",
            reference="Netzer et al. 2011, http://ufldl.stanford.edu/housenumbers",
        ),
        DataEntry(
            name="stl10",
            target="localrules_vision.stl10:STL10",
            summary="96 x 96 colour images of ten classes, 500 of each to train on.",
            reference="Coates, Ng & Lee 2011, https://proceedings.mlr.press/v15/coates11a.html",
        ),
        DataEntry(
            name="kmnist",
            target="localrules_vision.idx_sets:KMNIST",
            summary="28 x 28 grey images of ten cursive Japanese characters.",
            reference="Clanuwat et al. 2018, https://arxiv.org/abs/1812.01718",
        ),
        DataEntry(
            name="emnist",
            target="localrules_vision.idx_sets:EMNIST",
            summary="28 x 28 grey handwritten letters and digits, in six divisions.",
            reference="Cohen et al. 2017, https://arxiv.org/abs/1702.05373",
        ),
        DataEntry(
            name="usps",
            target="localrules_vision.usps:USPS",
            summary="16 x 16 grey handwritten digits of postal codes.",
            reference="Hull 1994, https://doi.org/10.1109/34.291440",
        ),
        DataEntry(
            name="tiny_imagenet",
            target="localrules_vision.imagenet:TinyImageNet",
            summary="64 x 64 colour images of 200 classes of ImageNet.",
            reference="Le & Yang 2015, http://cs231n.stanford.edu/reports/2015/pdfs/yle_project.pdf",
        ),
        DataEntry(
            name="imagenet",
            target="localrules_vision.imagenet:ImageNet",
            summary="ILSVRC 2012: colour images of 1,000 classes, resized to data.size.",
            reference="Russakovsky et al. 2015, https://arxiv.org/abs/1409.0575",
        ),
        DataEntry(
            name="torchvision",
            target="localrules_vision.torchvision_sets:TorchvisionSet",
            summary="Any classification data set of torchvision on your disk, as torchvision:NAME.",
            argument="dataset",
        ),
        DataEntry(
            name="image_folder",
            target="localrules_vision.image_folder:ImageFolder",
            summary="Your own images in folders named after their classes, or in a tar or zip archive of such folders.",
        ),
    ]
