"""Guesses while a sequence is still coming in: one step at a time through a classifier, a guess printed every so often."""

import math
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from seqjax.errors import InputError
from seqjax.types import Params


def follow(
    model: Any,
    params: Params,
    steps: Iterable[tuple[float, np.ndarray]],
    names: Sequence[str],
    *,
    every: float,
    restart: int | None,
) -> np.ndarray:
    """Prints the likeliest classes every so often as steps come in, and how fast they were read.

    Args:
        model: a classifier without a part that looks ahead.
        params: its parameters.
        steps: (time in seconds, one step of what the model reads), as they come.
        names: of the classes.
        every: seconds from guess to guess.
        restart: begin anew after so many steps; None: never.

    Returns:
        The probabilities after each step, [T, C].

    Raises:
        InputError: the model looks ahead, or there was no step.
    """
    if not every > 0:
        raise InputError(f"--every is {every}, it must be above 0: seconds from guess to guess")
    step, first = jax.jit(model.step), model.start(params, 1)
    state, scores, due, busy = first, [], 0.0, []
    for n, (seconds, values) in enumerate(steps):
        begun = time.perf_counter()
        state, probabilities = step(params, first if restart and n % restart == 0 else state, values[None])
        scores.append(np.asarray(probabilities)[0])
        busy.append(time.perf_counter() - begun)
        if seconds >= due:
            print(guess(seconds, scores[-1], names), flush=True)
            due = (math.floor(seconds / every) + 1) * every
    if not scores:
        raise InputError("the stream held no step: give at least one")
    print(f"end       {guess(seconds, scores[-1], names)}", flush=True)
    if len(busy) > 1:  # the first step compiles
        print(f"{len(busy)} steps; the model reads {1 / np.mean(busy[1:]):,.0f} a second", file=sys.stderr)
    return np.stack(scores)


def guess(seconds: float, scores: np.ndarray, names: Sequence[str], most: int = 3) -> str:
    """A line with the likeliest classes and their probabilities.

    Example:
        >>> guess(2.0, np.array([0.1, 0.7, 0.2]), ("sit", "walk", "run"), most=2)
        '   2.0 s  walk 0.70  run 0.20'
    """
    likeliest = np.argsort(-scores, kind="stable")[:most]
    return f"{seconds:6.1f} s  " + "  ".join(f"{names[label]} {scores[label]:.2f}" for label in likeliest)
