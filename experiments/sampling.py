"""Samples of a language model: one as it is drawn, or several at once; after prompts, up to strings that end them."""

import dataclasses
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments.groups import Drawing
from experiments.limits import FilePath, Size
from seqjax.contracts import Decoder
from seqjax.data.text.files import read_text
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.errors import InputError
from seqjax.train.output import is_terminal, visible
from seqjax.types import Params


@dataclasses.dataclass(frozen=True)
class Sampling(Drawing):
    """Options for drawing samples."""

    prompt: str = ""  # empty: sample from the beginning of a document
    stop: tuple[str, ...] = ()  # texts before the first of which a sample ends

    def __post_init__(self):
        if "" in self.stop:
            raise InputError("stop has an empty text: give texts of at least one character")


@dataclasses.dataclass(frozen=True)
class Output:
    """Samples to draw at once, and their place."""

    samples: Size = 1  # number of samples, drawn together
    prompt_file: FilePath | None = None  # a text file in place of the prompt; "-" is standard input
    output: FilePath | None = None  # a new file; with the ending .jsonl one JSON object a sample

    def __post_init__(self):
        if self.output is not None and Path(self.output).expanduser().exists():
            raise InputError(f"--output {self.output} exists: name a new file")
        if self.output is not None and not Path(self.output).expanduser().absolute().parent.is_dir():
            raise InputError(f"--output {self.output} lies in no folder: make its folder first")

    def with_prompt(self, sampling: Sampling) -> Sampling:
        """The options with the prompt that a file holds, without the line's end at its end.

        Raises:
            InputError: there are two prompts, or the file cannot be read.
        """
        if self.prompt_file is None:
            return sampling
        if sampling.prompt:
            raise InputError(f"--prompt {sampling.prompt!a} and --prompt-file {self.prompt_file} are both given: give one")
        if self.prompt_file == "-":
            try:
                text = sys.stdin.buffer.read().decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"standard input is not UTF-8 text: byte 0x{error.object[error.start]:02x}") from None
        else:
            text = read_text(Path(self.prompt_file).expanduser())
        return dataclasses.replace(sampling, prompt=text.removesuffix("\n").removesuffix("\r"))

    def write(self, texts: Sequence[str], prompt: str):
        """Writes samples to the file, or prints them."""
        if self.output is None:
            shown = _together(texts)
            print(visible(shown) if is_terminal(sys.stdout) else shown)
            return
        lines = (json.dumps({"prompt": prompt, "text": text}, ensure_ascii=False) + "\n" for text in texts)
        content = "".join(lines) if self.output.endswith(".jsonl") else _together(texts) + "\n"
        with open(Path(self.output).expanduser(), "x", encoding="utf-8", errors="surrogatepass", newline="") as file:
            file.write(content)
        print(self.output)


def prompt_batch(vocabulary: Vocabulary, ids: np.ndarray) -> dict:
    """The symbols of a prompt, int32 [T], as a batch of one row for the model's `start`, padded so that few lengths are compiled.

    Raises:
        InputError: the prompt is empty although no symbol begins or ends a document.
    """
    if not len(ids) and vocabulary.start is None:
        if vocabulary.end is None:
            raise InputError("the prompt is empty and the vocabulary has no start symbol: give --prompt TEXT")
        ids = np.array([vocabulary.end], np.int32)  # a document begins after the end of the one before
    width = max(8, 1 << (len(ids) - 1).bit_length()) if len(ids) else 0
    return {"tokens": np.pad(ids, (0, max(width - len(ids), 0)))[None], "tokens_lengths": np.array([len(ids)], np.int32)}


def draw(model: Decoder, vocabulary: Vocabulary, params: Params, config: Sampling) -> Iterator[str]:
    """Draws a sample without unknown symbols: an iterator over its text, symbol by symbol, the prompt first.

    Raises:
        InputError: immediately, if the prompt is outside the vocabulary or temperature, top_k, top_p or length is invalid.
    """
    ids = _prompt_ids(vocabulary, config)
    symbols = config.stream(model, params, prompt_batch(vocabulary, ids), _unknown(vocabulary))
    return _text(vocabulary, config, ids.tolist(), (int(symbol[0]) for symbol in symbols))


def draw_several(model: Decoder, vocabulary: Vocabulary, params: Params, config: Sampling, count: int) -> list[str]:
    """Draws several samples without unknown symbols in one batch, after one reading of the prompt.

    Raises:
        InputError: as `draw`.
    """
    ids = _prompt_ids(vocabulary, config)
    drawn = config.several(model, params, prompt_batch(vocabulary, ids), count, _unknown(vocabulary))  # [count, T]
    return ["".join(_text(vocabulary, config, ids.tolist(), row.tolist())) for row in drawn]


def _prompt_ids(vocabulary: Vocabulary, config: Sampling) -> np.ndarray:
    try:
        return vocabulary.encode(config.prompt, strict=True)
    except InputError as error:
        raise InputError(f"prompt is {error}") from None


def _unknown(vocabulary: Vocabulary) -> list[int]:
    return [] if vocabulary.unknown is None else [vocabulary.unknown]


def until(pieces: Iterator[str], stops: Sequence[str]) -> Iterator[str]:
    """A text in pieces, up to the first of some strings that is complete in it.

    Args:
        pieces: the text; it may be endless.
        stops: the strings, which are left out.

    Returns:
        An iterator over the text's pieces, a few characters later than they come.

    Example:
        >>> list(until(iter(["to b", "e or ", "not"]), ["e o", "no"]))
        ['to', ' b']
    """
    held, longest = "", max(map(len, stops), default=1)
    for piece in pieces:
        held += piece
        ends = [(place + len(stop), place) for stop in stops if (place := held.find(stop)) >= 0]
        if ends:
            yield held[: min(ends)[1]]
            return
        free = max(len(held) - longest + 1, 0)
        yield held[:free]
        held = held[free:]
    yield held


def _text(vocabulary: Vocabulary, config: Sampling, ids: list[int], symbols: Iterable[int]) -> Iterator[str]:
    """The text of a prompt's ids, and of the symbols after it up to a stop."""
    pieces = vocabulary.stream(itertools.chain(ids, symbols))
    return itertools.chain(itertools.islice(pieces, len(ids)), until(pieces, config.stop))


def _together(texts: Sequence[str]) -> str:
    if len(texts) == 1:
        return texts[0]
    return "\n".join(f"--- sample {n} ---\n{text}" for n, text in enumerate(texts, 1))
