"""The figures of a network on a task, its answers as text, and pictures of what it does."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from seqjax.data.labels import Labels
from seqjax.errors import InputError
from seqjax.inspect import draw_automaton, draw_continuation, extract_automaton
from seqjax.models import Classifier, FrameClassifier, Regressor
from seqjax.train import RunFolder, evaluate, make_eval_step
from seqjax.types import Params


def figures_of(model: Any, params: Params, splits: Mapping[str, Iterable[dict]]) -> dict[str, float]:
    """The figures of some splits, among them `exact`: the share of the sequences whose answers are all right.

    Args:
        model: of the run.
        params: its parameters.
        splits: the batches of each, by the name that stands before those of its figures.
    """
    figures, step = {}, make_eval_step(model)
    for split, batches in splits.items():
        means = evaluate(step, model, params, batches)
        if isinstance(model, FrameClassifier):
            means["exact"] = float(np.concatenate([_all_right(model, params, batch) for batch in batches]).mean())
        figures |= {f"{split}_{name}": value for name, value in means.items()}
    return figures


def _answers(model: Any, params: Params, batch: dict) -> np.ndarray:
    """The classes [B, T], flags [B, T, C] or values [B, T, C] that a network gives, or the classes of sequences, [B]."""
    if isinstance(model, Regressor):
        return np.asarray(jax.jit(model.apply)(params, batch)[1].values)
    p = np.asarray(model.probabilities(params, batch))
    return p.argmax(axis=-1) if isinstance(model, Classifier) or model.exclusive else p > 0.5


def _all_right(model: FrameClassifier, params: Params, batch: dict) -> np.ndarray:
    """For each sequence with a target whether all answers are right, bool [N]."""
    right, mask = _answers(model, params, batch) == batch["target"], batch["target_mask"]
    right = right if right.ndim == 2 else right.all(axis=-1)  # [B, T]
    return (right | ~mask).all(axis=1)[mask.any(axis=1)]


def printed(model: Any, params: Params, batch: dict, saved: Labels | tuple[Labels, ...], count: int) -> Iterator[str]:
    """The first sequences of a batch as texts: what is read, what is asked, what the network answers.

    Args:
        model: of the run.
        params: its parameters.
        batch: a batch of the test split.
        saved: the names of the symbols, if there are any, and of the answers.
        count: the number of sequences.
    """
    names, word = (saved[-1] if isinstance(saved, tuple) else saved).names, model.encoder.name
    answers = _answers(model, params, batch)
    for row in range(min(count, len(answers))):
        if isinstance(model, Classifier):
            yield f"target  {names[batch['label'][row]]}\nanswer  {names[answers[row]]}"
            continue
        steps, mask = batch[word][row, : batch[f"{word}_lengths"][row]], batch["target_mask"][row]
        columns = [[saved[0].names[n] if isinstance(saved, tuple) else _shown(n, names) for n in steps]]
        columns += [
            [_shown(each, names) if there else "" for each, there in zip(part[row, : len(steps)], mask, strict=False)]
            for part in (batch["target"], answers)
        ]
        widths = [max(map(len, texts)) for texts in zip(*columns, strict=True)]
        lines = (" ".join(text.ljust(width) for text, width in zip(column, widths, strict=True)) for column in columns)
        yield "\n".join(f"{title:8}{line}".rstrip() for title, line in zip(("read", "target", "answer"), lines, strict=True))


def _shown(value: np.ndarray, names: Sequence[str]) -> str:
    """A class by its name; flags by the names of those that are set, or as digits; numbers as decimals."""
    if value.ndim == 0:
        return names[int(value)]
    if not np.isin(value, (0, 1)).all():
        return ",".join(f"{number:.2f}" for number in value)
    if value.dtype != np.bool_ or len(value) == 1:
        return "".join(str(int(digit)) for digit in value)
    return "".join(name for name, is_set in zip(names, value, strict=True) if is_set)


def draw_machine(folder: RunFolder, model: Any, params: Params, batches: Sequence[dict], saved: Any, clusters: int):
    """Draws automaton.png: a network's states and its steps between them, read off its outputs; prints their number.

    Args:
        folder: the run's.
        model: a FrameClassifier.
        params: its parameters.
        batches: of the test split.
        saved: the names of the symbols, if there are any, and of the answers.
        clusters: see `extract_automaton`.
    """
    word, encode = model.encoder.name, jax.jit(model.encoder.encode)
    labels = (saved[-1] if isinstance(saved, tuple) else saved).names
    numbers: dict[str, int] = {}  # of what is printed
    parts = []  # states, inputs, outputs, mask of each batch
    for batch in batches:
        steps, encoded = batch[word], encode(params["encoder"], batch)
        width = steps.shape[-1]
        if steps.ndim == 3 and (width > 8 or not np.isin(steps, (0, 1)).all()):
            raise InputError("an automaton reads symbols or a few bits, and this task reads numbers: there is none to draw")
        read = steps if steps.ndim == 2 else (steps.astype(np.int64) << np.arange(width)[::-1]).sum(axis=-1)
        answers = _ahead(_answers(model, params, batch), model.offset)
        texts = [[numbers.setdefault(_shown(answer, labels), len(numbers)) for answer in row] for row in answers]
        mask = np.asarray(encoded.mask) & _ahead(batch["target_mask"], model.offset)
        parts.append((np.asarray(encoded.values, np.float32), read, np.array(texts), mask))
    states, inputs, outputs, mask = (np.concatenate(each) for each in zip(*parts, strict=True))
    machine = extract_automaton(states, inputs, outputs, mask=mask, clusters=clusters)
    symbols = saved[0].names if isinstance(saved, tuple) else [format(n, f"0{width}b") for n in range(2**width)]
    path, title = folder.dir / "automaton.png", f"{len(machine.outputs)} states, right in {machine.agreement:.2%} of the steps"
    draw_automaton(path, machine, inputs=symbols, outputs=list(numbers), title=title)
    print(f"\n{title}\n{path}")


def _ahead(values: np.ndarray, steps: int) -> np.ndarray:
    """Values [B, T, ...] of `steps` later; zeros at the end."""
    return np.concatenate([values[:, steps:], np.zeros_like(values[:, :steps])], axis=1)


def draw_series(folder: RunFolder, model: Any, params: Params, batch: dict, steps: int):
    """Draws continuation.png: the first series of a batch, its second half beside what a Regressor makes of the first."""
    word = model.encoder.name
    series = batch[word][0, : batch[f"{word}_lengths"][0]]  # [T, D]
    half = max(len(series) // 2, 1)
    continued = np.asarray(model.generate(params, {word: series[None, :half]}, steps))[0]  # [steps, D]
    path, known = folder.dir / "continuation.png", min(steps, len(series) - half)
    draw_continuation(path, series, continued, begin=half)
    error = np.sqrt(np.mean((continued[:known] - series[half : half + known]) ** 2))
    print(f"\nroot mean squared error over {known} steps of its own: {error:.4g}\n{path}")
