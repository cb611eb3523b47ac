"""The data sets of image classification, from the files in which people have them."""

from localrules import DataEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_data() -> list[DataEntry]:
    return [
        DataEntry(
            name="image_folder",
            target="localrules_vision.image_folder:ImageFolder",
            summary="Your own images in folders named after their classes, or in a tar or zip archive of such folders.",
        ),
    ]
