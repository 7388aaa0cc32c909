"""Augmentation of features: mirror images; of sensor signals, random rotations, scales, noise and speeds of a whole item."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqjax.checks import check_rules
from seqjax.errors import InputError

FEATURES = "features"  # [T, D]; everything else is [T, ...] and follows the speed alone


def rotation_matrix(axis: np.ndarray, angle: float) -> np.ndarray:
    """The matrix R of a rotation of column vectors, by Rodrigues' formula.

        R = I + sin(angle) K + (1 - cos(angle)) K^2,   K v = axis x v

    Args:
        axis: [3], of length 1.
        angle: in radians.

    Returns:
        Float64, [3, 3].

    Example:
        >>> rotation_matrix(np.array([0, 0, 1]), np.pi / 2).round(6) @ [1, 0, 0]
        array([0., 1., 0.])
    """
    cross = np.cross(np.asarray(axis, np.float64), np.eye(3)).T  # [3, 3]
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def stretch(inputs: dict[str, np.ndarray], begin: float, speed: float) -> dict[str, np.ndarray]:
    """An item read from a step on at another speed, up to its end or to as many steps as it had.

        x'[n] = x[begin + n speed]

    Features between two steps are interpolated linearly; of everything else the nearest step is taken.

    Args:
        inputs: arrays [T, ...].
        begin: the first step, from 0 to T - 1.
        speed: steps that one step of the result advances, above 0.

    Returns:
        The same names and dtypes, at most T steps.

    Example:
        >>> slow = stretch({"features": np.array([[0.0], [1.0], [2.0]])}, 0.5, 0.5)
        >>> slow["features"].ravel().tolist()
        [0.5, 1.0, 1.5]
    """
    length = len(next(iter(inputs.values())))
    places = begin + np.arange(length) * speed
    places = places[places <= length - 1 + 1e-9]  # [T']
    nearest = np.rint(places).astype(int)
    stretched = {name: array[nearest] for name, array in inputs.items()}
    if FEATURES in inputs:
        array = inputs[FEATURES]
        below = np.minimum(places.astype(int), max(length - 2, 0))
        share = np.minimum(places - below, 1)[:, None]
        mixed = array[below] * (1 - share) + array[np.minimum(below + 1, length - 1)] * share
        stretched[FEATURES] = mixed.astype(array.dtype)
    return stretched


@dataclass(frozen=True)
class Mirror:
    """Features of the mirror image of a recording, left for right, where each is one of the recording's own or its negative.

        x'[t, d] = signs[d] x[t, order[d]]

    Args:
        order: the places of the features in the recording, [D].
        signs: 1 or -1, [D].

    Raises:
        InputError: order is no permutation of 0 ... D - 1, or there are other signs.

    Example:
        >>> mirror = Mirror(order=(1, 0, 2), signs=(1, 1, -1))  # left, right, velocity to the right
        >>> mirror(np.array([[3.0, 4.0, 5.0]])).tolist()
        [[4.0, 3.0, -5.0]]
    """

    order: tuple[int, ...]
    signs: tuple[int, ...]

    def __post_init__(self):
        if sorted(self.order) != list(range(len(self.signs))) or not set(self.signs) <= {1, -1}:
            raise InputError(
                f"order {self.order} and signs {self.signs}: order must be a permutation, with a sign 1 or -1 for each"
            )

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """The mirrored features, [T, D], in the same dtype.

        Raises:
            InputError: another number of features.
        """
        if features.ndim != 2 or features.shape[1] != len(self.order):
            raise InputError(f"features have shape {features.shape}, this mirror image is one of [T, {len(self.order)}]")
        return features[:, self.order] * np.array(self.signs, features.dtype)

    @classmethod
    def joined(cls, mirrors: Sequence["Mirror"]) -> "Mirror":
        """The mirror image of features side by side.

        Example:
            >>> Mirror.joined([Mirror((1, 0), (1, 1)), Mirror((0,), (-1,))])
            Mirror(order=(1, 0, 2), signs=(1, 1, -1))
        """
        begins = np.cumsum([0, *(len(mirror.order) for mirror in mirrors)])
        order = [int(begin) + place for begin, mirror in zip(begins, mirrors, strict=False) for place in mirror.order]
        return cls(tuple(order), tuple(sign for mirror in mirrors for sign in mirror.signs))


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """Random changes of an item's features as if the sensor sat otherwise or the person moved otherwise; by default none.

    Every draw is for a whole item: all steps and all sensors are changed alike, but for the noise.

    Args:
        rotation: the standard deviation of the angle of a rotation, in degrees, about an axis drawn from all directions; it turns
            every three features that follow each other, such as the axes of an accelerometer and those of a gyroscope. 0: none.
        scale: the standard deviation of a factor of mean 1. 0: none.
        noise: the standard deviation of what is added to each number. 0: none.
        speed: the speed is drawn from [1 - speed, 1 + speed]; a faster item gets shorter, a slower one loses an end.

    Raises:
        InputError: a value outside its range; when it is called, a rotation of features that are no vectors of three.

    Example:
        >>> turned = Distortion(rotation=10.0)({"features": np.array([[3.0, 4.0, 0.0]])}, np.random.default_rng(0))
        >>> float(np.linalg.norm(turned["features"]).round(6))
        5.0

    Um et al. 2017, arXiv:1706.00527.
    """

    rotation: float = 0.0
    scale: float = 0.0
    noise: float = 0.0
    speed: float = 0.0

    def __post_init__(self):
        shares = {name: (0 <= getattr(self, name) < 1, "at least 0 and below 1") for name in ("scale", "speed")}
        noise = 0 <= self.noise < np.inf, "at least 0 and finite"
        check_rules(self, rotation=(0 <= self.rotation <= 180, "from 0 to 180"), noise=noise, **shares)

    def __call__(self, inputs: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """One item, changed at random.

        Args:
            inputs: arrays [T, ...] by batch word, `features` floating [T, D], `target`, ...
            rng: of NumPy.

        Returns:
            The same names and dtypes, fewer steps if a higher speed was drawn.

        Raises:
            InputError: a rotation of a number of features that is no multiple of three.
        """
        if self.speed:
            speed = rng.uniform(1 - self.speed, 1 + self.speed)
            rest = (len(next(iter(inputs.values()))) - 1) * max(1 - speed, 0.0)
            inputs = stretch(inputs, rng.uniform(0, rest), speed)
        if FEATURES not in inputs or not (self.rotation or self.scale or self.noise):
            return inputs
        array = inputs[FEATURES]
        changed = array.astype(np.float64)
        if self.rotation:
            if array.ndim != 2 or array.shape[1] % 3:
                raise InputError(f"a step's features are {list(array.shape[1:])}, a rotation turns vectors of three: give none")
            axis = rng.normal(size=3)
            matrix = rotation_matrix(axis / np.linalg.norm(axis), np.radians(rng.normal(0, self.rotation)))
            changed = (changed.reshape(len(array), -1, 3) @ matrix.T).reshape(array.shape)
        if self.scale:
            changed = changed * rng.normal(1, self.scale)
        if self.noise:
            changed = changed + rng.normal(0, self.noise, array.shape)
        return inputs | {FEATURES: changed.astype(array.dtype)}
