"""The data sets of image classification, from the files in which people have them."""

from localrules import DataEntry, hookimpl

API_VERSION = 1

_CIFAR = "Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf"


@hookimpl
def localrules_data() -> list[DataEntry]:
    return [
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
            name="image_folder",
            target="localrules_vision.image_folder:ImageFolder",
            summary="Your own images in folders named after their classes, or in a tar or zip archive of such folders.",
        ),
    ]
