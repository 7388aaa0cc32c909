"""Steps that come in one at a time, from a file, a folder that fills or standard input, and a prediction at intervals."""

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from experiments.command_line import renamed
from seqjax.data.array_files import DAMAGES
from seqjax.data.video import TimedFrame, clip_frames, flow_frames, folder_frames, image_frames, number_frames
from seqjax.errors import InputError
from seqjax.types import Params


def read_steps(
    path: str | None,
    word: str,
    shape: tuple[int, ...],
    *,
    rate: float | None = None,
    every: int = 1,
    average: bool = False,
    size: tuple[int, int] | None = None,
    patience: float = 0.0,
) -> Iterator[TimedFrame]:
    """The steps of a source as they come, prepared as a model reads them.

    Args:
        path: a clip, a folder that fills with images, or a table or .npy of features; None: standard input, with images one after
            another, or with features, one step a line.
        word, shape: the input that the model reads, "frames", "flow" or "features", and the shape of a step.
        rate: steps a second of a source that states none.
        every: keep one of so many steps.
        average: make one step of the mean of so many, rather than of the first.
        size: height and width of the frames from which flow is computed.
        patience: seconds after which a folder without a new image has ended.

    Yields:
        TimedFrame: the seconds from the first step, and a step of that shape.

    Raises:
        InputError: the source cannot be read, or no rate is known.
    """
    if rate is None and (word == "features" or path is None):
        raise InputError("no rate is known, so steps have no seconds: give --rate, the steps a second")
    if path is not None and not os.path.exists(path):
        raise InputError(f"{path} does not exist")
    if word != "features":
        grey, size = word == "frames" and shape[2] == 1, size if word == "flow" else (shape[0], shape[1])
        frames = (step for n, step in enumerate(_frames(path, patience, size=size, grey=grey, rate=rate)) if n % every == 0)
        yield from flow_frames(frames, grid=(shape[0], shape[1])) if word == "flow" else frames
        return
    waiting: list[TimedFrame] = []
    for n, step in enumerate(_vectors(path, shape[0], rate or 1.0)):
        if not average:
            yield from [step] * (n % every == 0)
            continue
        waiting.append(step)
        if len(waiting) == every:
            yield TimedFrame(step.seconds, np.mean([each.values for each in waiting], axis=0))
            waiting = []


def _frames(path: str | None, patience: float, **options: Any) -> Iterator[TimedFrame]:
    with renamed(rate="--rate"):
        if path is None:
            yield from image_frames(sys.stdin.buffer, **options)
        elif os.path.isdir(path):
            yield from folder_frames(path, patience=patience, **options)
        else:
            yield from clip_frames(path, **options)


def _vectors(path: str | None, width: int, rate: float) -> Iterator[TimedFrame]:
    if path is None:
        yield from number_frames(sys.stdin, width=width, rate=rate)
    elif path.endswith(".npy"):
        try:
            rows = np.load(path, allow_pickle=False)
        except DAMAGES as error:
            raise InputError(f"{path} cannot be read as an array: {error}") from None
        if rows.ndim != 2 or rows.shape[1] != width or not np.isfinite(rows).all():
            raise InputError(f"{path} holds an array {rows.shape}: it must be [T, {width}], of finite numbers")
        yield from (TimedFrame(n / rate, row.astype(np.float32)) for n, row in enumerate(rows))
    else:
        with open(path, encoding="utf-8", errors="replace") as lines, renamed(line=f"{path}, line"):
            yield from number_frames(lines, width=width, rate=rate)


def follow(
    model: Any, params: Params, steps: Iterable[TimedFrame], names: Sequence[str], *, every: float, restart: int | None = None
) -> np.ndarray:
    """Prints the likeliest classes every so often as steps come in, and how fast they were read.

    Args:
        model: a classifier without a part that looks ahead.
        params: its parameters.
        steps: (seconds, one step of what the model reads), as they come.
        names: of the classes.
        every: seconds from one prediction to the next.
        restart: begin anew after so many steps; None: never.

    Returns:
        The probabilities after each step, [T, C].

    Raises:
        InputError: the model looks ahead, or there was no step.
    """
    step, first = jax.jit(model.step), model.start(params, 1)
    state, scores, due, busy, seconds = first, [], 0.0, [], 0.0
    for n, (seconds, values) in enumerate(steps):
        begun = time.perf_counter()
        state, probabilities = step(params, first if restart and n % restart == 0 else state, values[None])
        scores.append(np.asarray(probabilities)[0])
        busy.append(time.perf_counter() - begun)
        if seconds >= due:
            print(guess(seconds, scores[-1], names), flush=True)
            due = (math.floor(seconds / every) + 1) * every
    if not scores:
        raise InputError("the stream held no whole step: give at least one")
    print(f"end {guess(seconds, scores[-1], names)}", flush=True)
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
