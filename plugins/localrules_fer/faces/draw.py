"""Draw a whole split, from random streams that no other split reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from localrules.data.dataset import SPLITS
from localrules_fer.faces.canvas import SIDE
from localrules_fer.faces.distractors import draw_nuisance
from localrules_fer.faces.expression import CLASSES, draw_expressions
from localrules_fer.faces.identity import Traits, draw_people
from localrules_fer.faces.render import render

VERSION = 3
"""Raised whenever the same options give other pixels, so that no cache or resumed run mixes the two."""

IMAGES_A_PERSON = 2 * len(CLASSES)
"""Each person shows each expression twice."""


@dataclass(frozen=True)
class Images:
    """One split.

    Attributes:
        images: Grey values, shape (samples, 48, 48).
        labels: Indices of ``CLASSES``, shape (samples,).
        people: Who is shown, numbered within the split, shape (samples,).
        traits: What was drawn: every person's traits, expression and nuisance, each of shape (samples,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    people: NDArray[np.int64]
    traits: Traits


def draw(seed: int, split: str, samples: int, *, chunk: int = 16) -> Images:
    """Draw a split.

    Args:
        seed: Which faces.
        split: ``train``, ``valid`` or ``test``: the same seed gives other people in each.
        samples: How many images; the classes' counts differ by one at most.
        chunk: How many are painted together. It changes the time and nothing else.

    Returns:
        The images, in random order.
    """
    seeds = np.random.SeedSequence([seed, SPLITS.index(split)]).spawn(5)
    order, people, expression, nuisance, grain = (np.random.Generator(np.random.PCG64(s)) for s in seeds)
    place = order.permutation(samples)
    labels, shown = place % len(CLASSES), place // IMAGES_A_PERSON
    traits = {name: values[shown] for name, values in draw_people(people, int(shown.max()) + 1).items()}
    traits |= draw_expressions(expression, labels) | draw_nuisance(nuisance, samples)
    images = np.empty((samples, SIDE, SIDE), np.uint8)
    for first in range(0, samples, chunk):
        some = slice(first, min(first + chunk, samples))
        noise = grain.standard_normal((some.stop - first, SIDE, SIDE), dtype=np.float32)
        images[some] = render({name: values[some] for name, values in traits.items()}, noise)
    return Images(images=images, labels=labels.astype(np.int64), people=shown.astype(np.int64), traits=traits)
