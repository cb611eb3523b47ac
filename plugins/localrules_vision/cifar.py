"""CIFAR-10 and CIFAR-100: 60,000 images of 32 x 32 pixels in colour, with 10 or 100 classes.

Source: Krizhevsky 2009, Learning multiple layers of features from tiny images,
https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf. The images carry no licence: research use is customary,
and we neither ship nor pass them on.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, final

from pydantic import Field

from localrules.data.decoding import ImageForm, decode_splits
from localrules.data.file_tree import FileTree, open_tree
from localrules.data.mapped_cache import ArrayStore, Notes
from localrules.errors import DataError, UsageError
from localrules_vision.cifar_files import SHAPE, Form, find_form, read_form
from localrules_vision.holdout import DESCRIPTION, hold_out_samples, store_splits
from localrules_vision.layout import read_layout
from localrules_vision.reading import file_md5
from localrules_vision.source import PublishedSource

SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
"""The 20 superclasses of CIFAR-100 in the order of their labels, with their classes."""
FINE = tuple(sorted(name for names in SUPERCLASSES.values() for name in names.split()))
COARSE_OF = {name: label for label, names in enumerate(SUPERCLASSES.values()) for name in names.split()}


class CIFAR(PublishedSource):
    """The common part. Both come with train and test; there is no official valid split."""

    md5: ClassVar[dict[str, str]]  # of the archives and of the files of the python form
    other: ClassVar[tuple[str, tuple[Form, ...]]]  # the other data set, to tell it apart

    class Config(PublishedSource.Config):
        """Options of both data sets, as ``--set data.<option>=...``."""

        path: Path | None = Field(
            None,
            description="The python or binary archive or folder, torchvision's root, or a folder or a tar or zip "
            "archive of images as <split>/<class>/<image>. Unset: looked for in the usual places.",
        )
        holdout: int | None = Field(None, ge=0, description=DESCRIPTION)

    config: Config
    missing: ClassVar[dict[str, str]] = {"test": "take the complete data set, or an image folder with test/"}

    def forms(self) -> tuple[Form, ...]:
        """The forms other than image files, the most usual first."""
        raise NotImplementedError

    def known_folders(self) -> dict[str, int]:
        """The labels of class folders by their names in lower case."""
        return {name: label for label, name in enumerate(self.classes)}

    def decode(self, path: Path, store: ArrayStore) -> Notes:
        with open_tree(path) as tree:
            found = find_form(tree, self.forms())
            if found is None:
                self._refuse_other(tree)
                return self._decode_images(tree, store)
            splits, digests = read_form(tree, *found, len(self.classes))
        samples = sum(len(labels) for _, labels in splits.values())
        original = all(self.md5.get(name) == digest for name, digest in digests.items()) or (
            path.is_file() and file_md5(path) in self.md5.values()
        )
        origin = f"the original, {samples:,} samples" if original else f"unrecognised, {samples:,} samples"
        held = store_splits(store, splits, self.config.holdout)
        return self._notes(origin, held)

    def _decode_images(self, tree: FileTree, store: ArrayStore) -> Notes:
        layout = read_layout(tree, self.known_folders(), self.classes)
        samples = layout.samples
        if layout.count("valid") and self.config.holdout:
            raise UsageError(
                f"the {tree.form} has a valid split already",
                where=f"data.holdout={self.config.holdout}",
                why=f"valid has {layout.count('valid'):,} samples",
                fix="leave out data.holdout",
            )
        divided = hold_out_samples(samples, self.config.holdout)
        try:
            decode_splits(tree, divided, store, ImageForm(channels=SHAPE[0]))
        except DataError as error:
            if "--set data." in error.fix:  # the options of image_folder, which this data set has not
                error.fix = "replace or remove such images, or load them with --data image_folder"
            raise
        shape = next(iter(store.arrays.values())).shape[1:]
        if shape != SHAPE:
            raise DataError(
                f"these are not the images of {self.name}",
                where=str(tree.path),
                why=f"they are {shape[1]} x {shape[2]} pixels, not 32 x 32",
                fix="load them with --data image_folder",
            )
        held = sum(before.split != after.split for before, after in zip(samples, divided, strict=True))
        return {
            **self._notes(f"a {tree.form} of {len(samples):,} image files, unrecognised", held),
            "warnings": layout.notes,
        }

    def _notes(self, origin: str, held: int) -> Notes:
        if not held:
            fix = f"{self.name} has no official valid split: leave out data.holdout=0, which holds nothing out of train"
            if self.config.holdout != 0:  # there is no train split
                fix = "take the complete data set, or an image folder with train/"
            return {"origin": origin, "missing": {"valid": fix}}
        return {"origin": f"{origin}; the last {held:,} samples of train, evenly from the classes, held out as valid"}

    def _refuse_other(self, tree: FileTree) -> None:
        name, forms = self.other
        if find_form(tree, forms) is not None:
            raise DataError(
                f"these are the files of {name}, not of {self.name}",
                where=str(tree.path),
                why=f"they have the names of {name}'s files",
                fix=f"choose --data {name}, or name the files of {self.name}",
            )


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_FORMS_10 = (
    Form({"train": _BATCHES, "test": ("test_batch",)}, "labels"),
    Form({"train": tuple(f"{name}.bin" for name in _BATCHES), "test": ("test_batch.bin",)}, 0, head=1),
)


def _forms_100(coarse: bool) -> tuple[Form, ...]:
    label = "coarse_labels" if coarse else "fine_labels"
    return (
        Form({"train": ("train",), "test": ("test",)}, label),
        Form({"train": ("train.bin",), "test": ("test.bin",)}, 0 if coarse else 1, head=2),
    )


@final
class CIFAR10(CIFAR):
    """Ten classes with 6,000 images each, 50,000 train and 10,000 test."""

    name = "cifar10"
    torchvision = "CIFAR10"
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    places = (
        "cifar-10-batches-py",
        "cifar-10-batches-bin",
        "cifar-10-python.tar.gz",
        "cifar-10-binary.tar.gz",
        "cifar10",
    )
    get_it = "download cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html"
    other = ("cifar100", _forms_100(coarse=False))
    md5: ClassVar[dict[str, str]] = {
        "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
        "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    }

    def forms(self) -> tuple[Form, ...]:
        return _FORMS_10

    def known_folders(self) -> dict[str, int]:
        numbers = {str(label): label for label in range(len(self.classes))}
        return {**super().known_folders(), "plane": 0, "car": 1, **numbers}


@final
class CIFAR100(CIFAR):
    """A hundred classes with 600 images each, or their 20 superclasses."""

    name = "cifar100"
    torchvision = "CIFAR100"
    classes = FINE
    places = ("cifar-100-python", "cifar-100-binary", "cifar-100-python.tar.gz", "cifar-100-binary.tar.gz", "cifar100")
    get_it = "download cifar-100-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html"
    other = ("cifar10", _FORMS_10)
    md5: ClassVar[dict[str, str]] = {
        "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
        "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    }

    class Config(CIFAR.Config):
        """Options of CIFAR-100."""

        labels: Literal["fine", "coarse"] = Field(
            "fine", description="fine: the 100 classes; coarse: the 20 superclasses."
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.labels == "coarse":
            self.classes = tuple(SUPERCLASSES)  # type: ignore[misc]

    def forms(self) -> tuple[Form, ...]:
        return _forms_100(self.config.labels == "coarse")

    def known_folders(self) -> dict[str, int]:
        """Folders have the names of the fine classes."""
        if self.config.labels == "coarse":
            return COARSE_OF
        return super().known_folders()
