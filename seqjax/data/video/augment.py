"""Augmentation of clips: random crops, flips and frame steps, the same over a clip, its flow and its targets."""

from dataclasses import dataclass

import numpy as np

from seqjax.checks import check_rules
from seqjax.data.series.augment import FEATURES, Mirror
from seqjax.errors import InputError
from seqjax.extras import from_extra

IMAGES = ("frames", "flow")  # [T, H, W, C]; everything else is [T, ...]
FLOW = "flow"


def flip(inputs: dict[str, np.ndarray], mirror: Mirror | None = None) -> dict[str, np.ndarray]:
    """A clip as in a mirror: columns in reverse, and u, flow's component to the right, of the other sign.

    Args:
        inputs: `frames` [T, H, W, C], `flow` [T, h, w, 2], `features` [T, D]; others stay as they are.
        mirror: the mirror image of the features.

    Returns:
        The same names, shapes and dtypes.

    Raises:
        InputError: there are features and no mirror image of them.

    Example:
        >>> flip({"flow": np.array([[[[1.0, 2.0], [3.0, 4.0]]]])})["flow"].tolist()
        [[[[-3.0, 4.0], [-1.0, 2.0]]]]
    """
    flipped = {name: array[:, :, ::-1] if name in IMAGES else array for name, array in inputs.items()}
    if FEATURES in flipped:
        if mirror is None:
            raise InputError("flip turns features too, and their mirror image is not known: set flip to 0, or give a Mirror")
        flipped[FEATURES] = mirror(flipped[FEATURES])
    if FLOW in flipped:
        flipped[FLOW] = flipped[FLOW] * np.array([-1, 1], flipped[FLOW].dtype)
    return flipped


def crop(inputs: dict[str, np.ndarray], top: float, left: float, height: float, width: float) -> dict[str, np.ndarray]:
    """A part of every frame, enlarged to the whole frame's size; flow grows with it.

    Args:
        inputs: `frames` uint8 or float [T, H, W, C], `flow` [T, h, w, 2]; others stay as they are.
        top, left, height, width: of the part, in shares of a frame: 0 <= top, left and top + height, left + width <= 1.

    Returns:
        The same names, shapes and dtypes.

    Raises:
        InputError: a part outside the frame.

    Example:
        >>> frames = np.zeros((1, 4, 4, 1), np.uint8)
        >>> frames[0, :2, :2] = 8
        >>> crop({"frames": frames}, 0, 0, 0.5, 0.5)["frames"][0, 0, :, 0].tolist()
        [8, 8, 8, 6]
    """
    with from_extra("vision"):
        import cv2

    if not (0 <= top <= top + height <= 1 + 1e-9 and 0 <= left <= left + width <= 1 + 1e-9 and min(height, width) > 0):
        raise InputError(f"crop {top:g} {left:g} {height:g} {width:g} does not lie in the frame: give shares from 0 to 1")
    cropped = dict(inputs)
    for name in IMAGES:
        if name not in inputs:
            continue
        array = inputs[name]
        rows, columns = array.shape[1:3]
        # output column x shows input column left * columns + (x + 0.5) * width - 0.5
        matrix = np.array([[width, 0, left * columns + (width - 1) / 2], [0, height, top * rows + (height - 1) / 2]])
        flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
        steps = [np.ascontiguousarray(step) for step in array]
        warped = [cv2.warpAffine(step, matrix, (columns, rows), flags=flags, borderMode=border) for step in steps]
        cropped[name] = np.stack(warped).reshape(array.shape)
    if FLOW in cropped:
        cropped[FLOW] = cropped[FLOW] / np.array([width, height], cropped[FLOW].dtype)
    return cropped


def thin(inputs: dict[str, np.ndarray], begin: int, step: int) -> dict[str, np.ndarray]:
    """The steps begin, begin + step, ... of everything; flow is summed up to the next step that is kept.

        flow'[n] = sum over i < step of flow[begin + n step + i],   0 for the last

    Args:
        inputs: arrays [T, ...].
        begin: the first step, below T.
        step: at least 1.

    Returns:
        The same names and dtypes, [ceil((T - begin) / step), ...].

    Example:
        >>> thin({"target": np.arange(7), "flow": np.ones((7, 1, 1, 2))}, 1, 3)["target"].tolist()
        [1, 4]
    """
    thinned = {name: array[begin::step] for name, array in inputs.items()}
    if FLOW in inputs and step > 1:
        flow = inputs[FLOW][begin:]
        count = len(thinned[FLOW])
        whole = flow[: (count - 1) * step].reshape(count - 1, step, *flow.shape[1:]).sum(1, dtype=flow.dtype)
        thinned[FLOW] = np.concatenate([whole, np.zeros_like(flow[:1])])
    return thinned


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random crops, flips and frame steps of a clip; by default it changes nothing.

    Args:
        crop: the smallest share of a frame's side that is kept; the share is drawn from [crop, 1], then its place. 1: none.
        flip: the probability of a horizontal flip. Leave it at 0 where left and right tell classes apart.
        steps: the greatest frame step; the step is drawn from 1, ..., steps, and the first frame from 0, ..., step - 1. 1: none.
        shortest: a clip is not made shorter than so many frames by its step.
        mirror: the mirror image of the clip's features, where it has some and is flipped.

    Raises:
        InputError: a value outside its range; when it is called, a flip of features without their mirror image.

    Example:
        >>> augment = Augment(flip=1.0)
        >>> clip = {"frames": np.arange(2, dtype=np.uint8).reshape(1, 1, 2, 1)}
        >>> augment(clip, np.random.default_rng(0))["frames"].ravel().tolist()
        [1, 0]
    """

    crop: float = 1.0
    flip: float = 0.0
    steps: int = 1
    shortest: int = 4
    mirror: Mirror | None = None

    def __post_init__(self):
        counts = {name: (1 <= getattr(self, name) < 2**31, f"from 1 to {2**31 - 1}") for name in ("steps", "shortest")}
        shares = {"crop": (0 < self.crop <= 1, "above 0 and at most 1"), "flip": (0 <= self.flip <= 1, "from 0 to 1")}
        check_rules(self, **shares, **counts)

    def __call__(self, inputs: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """One clip, changed at random.

        Args:
            inputs: arrays [T, ...] by batch word, `frames`, `flow`, `target`, ...
            rng: of NumPy.

        Returns:
            The same names, fewer steps if a frame step was drawn.
        """
        length = len(next(iter(inputs.values())))
        step = int(rng.integers(1, self.steps + 1))
        step = max(1, min(step, length // self.shortest))
        begin = int(rng.integers(step))
        share = float(rng.uniform(self.crop, 1))
        top, left = (float(place) for place in rng.uniform(0, 1 - share, 2))
        flips = bool(rng.random() < self.flip)
        if step > 1:
            inputs = thin(inputs, begin, step)
        if share < 1:
            inputs = crop(inputs, top, left, share, share)
        return flip(inputs, self.mirror) if flips else inputs
