"""The figures that rendered clips show: scikit-learn's handwritten digits, and drawn stick people; apart in every split."""

import functools
from typing import Any

import numpy as np

from seqjax.data.splits import SPLITS
from seqjax.extras import from_extra

CANVAS = 24  # the side of a figure's image, in pixels
PEOPLE = 600  # stick people in all
SHARES = (0.7, 0.15, 0.15)


@functools.cache
def figures_of(split: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The figures of a split: no figure is in two.

    Args:
        split: "train", "valid" or "test".

    Returns:
        (names, images): names such as "digit-17" and "person-3", images uint8 [N, 24, 24], white on black.

    Raises:
        InputError: scikit-learn or OpenCV is not installed.
    """
    with from_extra("vision"):
        import cv2
        from sklearn.datasets import load_digits

    names, images = [], []
    digits: Any = load_digits()
    for n in _members(len(digits.images), split):
        image = cv2.resize(digits.images[n] * (255 / 16), (CANVAS - 4, CANVAS - 4), interpolation=cv2.INTER_CUBIC)
        images.append(np.pad(np.clip(image, 0, 255), 2))
        names.append(f"digit-{n}")
    for n in _members(PEOPLE, split):
        images.append(_person(np.random.default_rng((1, n))))
        names.append(f"person-{n}")
    return tuple(names), np.stack(images).astype(np.uint8)


def _members(count: int, split: str) -> np.ndarray:
    order = np.random.default_rng(0).permutation(count)
    ends = np.cumsum([0, *SHARES]) * count
    place = SPLITS.index(split)
    return np.sort(order[round(ends[place]) : round(ends[place + 1])])


def _person(rng: np.random.Generator) -> np.ndarray:
    """A stick person with limbs of random angles, drawn four times as large and averaged."""
    with from_extra("vision"):
        import cv2

    scale = 4
    side = CANVAS * scale
    image = np.zeros((side, side), np.uint8)
    width = int(rng.integers(6, 11))

    def limb(begin, angle: float, length: float):
        end = begin + side * length * np.array([np.sin(angle), np.cos(angle)])  # angle 0: down
        corners = [tuple(int(value) for value in np.rint(point)) for point in (begin, end)]
        cv2.line(image, corners[0], corners[1], 255, width, cv2.LINE_AA)
        return end

    neck = side * np.array([0.5, 0.3])
    hip = limb(neck, rng.uniform(-0.15, 0.15), 0.28)
    radius = round(side * float(rng.uniform(0.08, 0.12)))
    cv2.circle(image, (round(neck[0]), round(neck[1]) - radius), radius, 255, -1, cv2.LINE_AA)
    for outward in (-1, 1):
        foot = limb(hip, outward * rng.uniform(0.15, 0.8), 0.18)
        limb(foot, outward * rng.uniform(-0.1, 0.5), 0.17)
        shoulder = neck + side * np.array([0, 0.04])
        elbow = limb(shoulder, outward * rng.uniform(0.4, 2.2), 0.16)
        limb(elbow, outward * rng.uniform(0.4, 2.7), 0.14)
    return cv2.resize(image, (CANVAS, CANVAS), interpolation=cv2.INTER_AREA)
