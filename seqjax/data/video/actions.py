"""Actions of rendered figures, as paths of poses: pairs of classes that show the same frames in different orders.

A pose is (x, y, angle, log scale): the figure's centre in shares of the frame, degrees, and the logarithm of its scale. A move
takes one coordinate from one value to another, and its opposite takes it back: each is the other in reverse. A cycle leaves
the pose and comes back, once in the slow action of its pair and several times in the fast one; both pass through the same
poses, since d frames at the phases i/d mod 1 are those at the phases f i/d mod 1 where f and d have no common divisor.
"""

import math
from typing import NamedTuple

import numpy as np

LOW = np.array([0.26, 0.26, -75.0, -0.4])
HIGH = np.array([0.74, 0.74, 75.0, 0.3])
IDLE = "idle"


class Action(NamedTuple):
    """A coordinate of the pose, its change (a range), and for a cycle the speed.

    Args:
        coordinate: 0 to 3, of the pose.
        smallest, greatest: the change of the coordinate is drawn from this range.
        sign: of the change.
        cycle: "slow" or "fast"; None: a move.
        tilt: for a cycle to both sides, as of a pendulum: the degrees that the figure tilts for a change of 1. None: to one side.
    """

    coordinate: int
    smallest: float
    greatest: float
    sign: int = 1
    cycle: str | None = None
    tilt: float | None = None


ACTIONS = {  # each beside the other of its pair
    "rotate left": Action(2, 75, 120),
    "rotate right": Action(2, 75, 120, -1),
    "fall": Action(1, 0.28, 0.45),
    "rise": Action(1, 0.28, 0.45, -1),
    "grow": Action(3, 0.42, 0.62),
    "shrink": Action(3, 0.42, 0.62, -1),
    "cross right": Action(0, 0.28, 0.45),
    "cross left": Action(0, 0.28, 0.45, -1),
    "sway": Action(0, 0.13, 0.2, cycle="slow", tilt=200),
    "wave": Action(0, 0.13, 0.2, cycle="fast", tilt=200),
    "hop": Action(1, 0.18, 0.3, -1, cycle="slow"),
    "bounce": Action(1, 0.18, 0.3, -1, cycle="fast"),
}
CLASSES = tuple(ACTIONS)


def pair_of(action: str) -> tuple[str, str]:
    """The two actions that show the same frames.

    Example:
        >>> pair_of("rise")
        ('fall', 'rise')
    """
    first = CLASSES.index(action) // 2 * 2
    return CLASSES[first], CLASSES[first + 1]


def fast_turns(length: int) -> int:
    """The number of turns of a fast cycle: the least from 3 that has no common divisor with the number of frames.

    Example:
        >>> fast_turns(16), fast_turns(24)
        (3, 5)
    """
    return next(turns for turns in range(3, 100) if math.gcd(turns, length) == 1)


def path(action: str, pose: np.ndarray, change: float, ease: float, length: int) -> np.ndarray:
    """The poses of an action.

    Args:
        action: a name in `ACTIONS`, or "idle".
        pose: the first, [4].
        change: the size of the change, positive.
        ease: 0: constant speed, 1: slow at both ends.
        length: the number of frames.

    Returns:
        [length, 4].

    Example:
        >>> path("fall", np.array([0.5, 0.25, 0, 0]), 0.4, 0.0, 5)[:, 1].tolist()
        [0.25, 0.35, 0.45, 0.55, 0.65]
    """
    poses = np.repeat(np.asarray(pose, float)[None], length, 0)
    if action == IDLE:
        return poses
    coordinate, _, _, sign, cycle, tilt = ACTIONS[action]
    if cycle is None:
        phase = np.arange(length) / max(length - 1, 1)
        shift = (1 - ease) * phase + ease * phase**2 * (3 - 2 * phase)
    else:
        turns = fast_turns(length) if cycle == "fast" else 1
        phase = (turns * np.arange(length) % length) / length
        shift = np.sin(np.pi * phase) if tilt is None else np.sin(2 * np.pi * phase)
        poses[:, 2] += (tilt or 0.0) * change * shift
    poses[:, coordinate] += sign * change * shift
    return poses


def draw_start(rng: np.random.Generator) -> np.ndarray:
    """A pose drawn uniformly, [4]."""
    return rng.uniform(LOW, HIGH)


def draw_change(action: str, rng: np.random.Generator) -> float:
    """The size of an action's change, drawn uniformly from its range."""
    return float(rng.uniform(ACTIONS[action].smallest, ACTIONS[action].greatest))


def stays_inside(action: str, pose: np.ndarray, change: float) -> bool:
    """True if the farthest places of an action lie in the range of poses; a tilt need not."""
    coordinate, _, _, sign, _, tilt = ACTIONS[action]
    sides = (sign,) if tilt is None else (1, -1)
    return all(LOW[coordinate] <= pose[coordinate] + side * change <= HIGH[coordinate] for side in sides)


def one_action(action: str, length: int, rng: np.random.Generator) -> np.ndarray:
    """The poses of one action from a random start; for equal draws, both actions of a pair pass through the same poses.

    Args:
        action: a name in `ACTIONS`.
        length: the number of frames.
        rng: of NumPy.

    Returns:
        [length, 4].
    """
    first, _ = pair_of(action)
    while True:
        pose, change = draw_start(rng), draw_change(first, rng)
        if stays_inside(first, pose, change):
            break
    ease = float(rng.uniform())
    if action == first or ACTIONS[action].cycle:
        return path(action, pose, change, ease, length)
    return path(first, pose, change, ease, length)[::-1]


def several_actions(
    count: int, lengths: tuple[int, int], pauses: tuple[int, int] | None, rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    """The poses of several actions, each beginning where the one before ended.

    The pose is a Markov chain that is reversible: a change and its opposite are as likely, those that leave the range of poses
    are drawn again, and the first pose is drawn from the stationary distribution, in proportion to the share of changes that
    stay in the range. So the frames of the two actions of a pair have one distribution.

    Args:
        count: the number of actions.
        lengths: the least and greatest number of frames of an action.
        pauses: likewise of the idle stretches before, between and after them; None: no pauses.
        rng: of NumPy.

    Returns:
        (poses [T, 4], the action of every frame).
    """
    poses, names, pose = [], [], None
    for n in range(count):
        while True:
            start = draw_start(rng) if pose is None else pose
            action = CLASSES[rng.integers(len(CLASSES))]
            change = draw_change(action, rng)
            if stays_inside(action, start, change):
                break
        stretches = [(IDLE, pauses)] * (pauses is not None) + [(action, lengths)]
        stretches += [(IDLE, pauses)] * (pauses is not None and n == count - 1)
        for name, (least, greatest) in stretches:  # type: ignore[misc]
            length = int(rng.integers(least, greatest + 1))
            stretch = path(name, start, change, float(rng.uniform()), length)
            moves = name != IDLE and ACTIONS[name].cycle is None
            start = stretch[-1] if moves else start
            poses.append(stretch)
            names += [name] * length
        pose = start
    return np.concatenate(poses), names
