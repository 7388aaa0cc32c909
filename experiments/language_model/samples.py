"""Samples: drawn from weights, and on the way through a run."""

import math
import re
from collections.abc import Iterator

import jax
import numpy as np

from experiments.language_model.config import Sampling
from seqjax import decode
from seqjax.contracts import Model
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.errors import InputError
from seqjax.noise import key_of
from seqjax.train.runs.folder import RunFolder
from seqjax.types import Params

SHARES = (0.1, 1 / 3, 1.0)  # of a run: where it shows a sample, and before it


def prompt_batch(vocabulary: Vocabulary, prompt: str) -> dict:
    """A prompt as what the model's `start` reads.

    Raises:
        InputError: symbols outside the vocabulary; an empty prompt where no symbol begins or ends a document.
    """
    ids = vocabulary.encode(prompt, strict=True)
    if not len(ids) and vocabulary.start is None:
        if vocabulary.end is None:
            raise InputError("the prompt is empty and the vocabulary has no start symbol: give --prompt TEXT")
        ids = np.array([vocabulary.end], np.int32)  # what follows an end begins something
    return {"tokens": ids[None], "tokens_lengths": np.array([len(ids)], np.int32)}


def draw(model: Model, vocabulary: Vocabulary, params: Params, config: Sampling) -> Iterator[str]:
    """A sample, piece by piece as it is drawn; the prompt comes first.

    Raises:
        InputError: at the call: a prompt outside the vocabulary, or a wrong temperature, top_k, top_p or length.
    """
    symbols = decode.stream(
        model,
        params,
        prompt_batch(vocabulary, config.prompt),
        max_length=config.length,
        key=key_of(config.seed),
        temperature=0.0 if config.argmax else config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
    )
    ids = vocabulary.encode(config.prompt).tolist()

    def every_id():
        yield from ids
        yield from (int(symbol[0]) for symbol in symbols)

    return vocabulary.stream(every_id())


class Milestones:
    """The same prompt and key before training, at a tenth, at a third and at the end; kept in samples.txt.

    Args:
        model, vocabulary, config: of the run.
        run: its folder; a resumed one has its earlier samples.
        steps: the run's budget.
        done: steps done already.

    Raises:
        InputError: a prompt outside the vocabulary, or a wrong temperature, top_k, top_p or length.
    """

    def __init__(self, model: Model, vocabulary: Vocabulary, config: Sampling, run: RunFolder, *, steps: int, done: int):
        self._sample = lambda params: "".join(draw(model, vocabulary, params, config))
        self._run, self._steps = run, steps
        milestones = [0, *(math.ceil(share * steps) for share in SHARES)]
        self._due = [step for step in milestones if step > done or not done]
        path = run.dir / "samples.txt"
        parts = re.split(r"(?m)^(?=--- after \d+ of)", path.read_text() if path.exists() else "")
        self._text = "".join(part for part in parts if part and int(part.split()[2]) <= done)

    def pass_by(self, step: int, params: Params):
        """Draws and shows a sample, if one is due."""
        ahead = [due for due in self._due if due > step]
        if len(ahead) < len(self._due):
            self._due = ahead
            text = f"--- after {step} of {self._steps} steps ---\n{self._sample(jax.device_get(params))}\n"
            print(text)
            self._text += text + "\n"
            self._run.write_samples(self._text)
