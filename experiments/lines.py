"""Lines of text to answer: from a file, from a pipe as they come, or typed; and a counter for long work."""

import io
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from seqjax.data.text.files import read_text
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.decode import TextSearch
from seqjax.decode.text import Hypothesis
from seqjax.errors import InputError

CHUNK = 1024  # lines that are answered before the first of them is printed


def are_typed(path: str | None) -> bool:
    """True if the lines are typed at a terminal."""
    return path is None and sys.stdin.isatty()


def read_lines(path: str | None, *, prompt: str) -> Iterator[str]:
    """The lines of a file; or of standard input, as they come, until its end.

    Args:
        path: of the file, .gz too; None: standard input.
        prompt: shown once at a terminal.

    Raises:
        InputError: a file that cannot be read, or a byte that is not UTF-8 text.
    """
    if path is not None:
        for line in io.StringIO(read_text(path).removeprefix("\ufeff"), newline="\n"):
            yield line.rstrip("\r\n")
        return
    typed = are_typed(path)
    if typed:
        print(prompt, file=sys.stderr)
    for n in itertools.count(1):
        if typed:
            print("> ", end="", file=sys.stderr, flush=True)
        content = sys.stdin.buffer.readline()
        try:
            line = content.decode("utf-8")
        except UnicodeDecodeError as error:
            source = "what was typed is not UTF-8 text" if typed else "standard input is not UTF-8 text"
            place = "" if typed else f" in line {n}"
            raise InputError(f"{source}: byte 0x{content[error.start]:02x}{place}") from None
        line = line.removeprefix("\ufeff") if n == 1 else line
        if not line:
            return
        yield line.rstrip("\r\n")


def counter(total: int, what: str) -> Callable[[int], None]:
    """A function that shows on stderr how many of the total are done.

    Args:
        total: their number.
        what: their name, in the plural.
    """

    def show(done: int):
        print(f"\r{done:,} of {total:,} {what}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show


def answer(
    search: TextSearch,
    path: str | None,
    *,
    prompt: str,
    prepare: Callable[[int, list[str]], list[str]],
    n_best: int = 1,
    stream: bool = False,
):
    """Prints the outputs of a search for every line, each as soon as it is there.

    Args:
        search: over a model.
        path: as for `read_lines`.
        prompt: as for `read_lines`.
        prepare: turns the index of the first line and some lines into inputs.
        n_best: outputs of each line; above 1 printed as: line ||| output ||| score.
        stream: print every symbol as soon as it is chosen.

    Raises:
        InputError: a stream of a search that cannot be shown so, or of several outputs.
    """
    if stream:
        search.stream("")  # refuses a search that has no stream
        if n_best > 1:
            raise InputError(f"--stream shows one output of each line, n_best is {n_best}")
    first, lines = 0, read_lines(path, prompt=prompt)
    while chunk := list(itertools.islice(lines, 1 if stream or are_typed(path) else CHUNK)):
        inputs = prepare(first, chunk)
        for line in inputs if stream else ():
            for piece in search.stream(line):
                print(piece, end="", flush=True)
            print(flush=True)
        for n, best in enumerate([] if stream else search(inputs, n_best=n_best), first):
            for hypothesis in best:
                print(n_best_row(n, hypothesis) if n_best > 1 else hypothesis.text, flush=True)
        first += len(chunk)


def n_best_row(n: int, hypothesis: Hypothesis) -> str:
    """An output in an n-best list: the index of its line, its text, its score."""
    return f"{n} ||| {hypothesis.text} ||| {hypothesis.score:.4f}"


def warn(counts: Mapping[str, int]):
    """Warns on stderr of lines unlike those of training, by the kind of difference."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    if kinds:
        print(f"warning: lines unlike those of training: {kinds}", file=sys.stderr, flush=True)


def check_lengths(model: Any, vocabulary: Vocabulary, lines: Iterable[str], first: int = 0):
    """Refuses a line of more symbols than attention by location has places.

    Args:
        model: a Seq2Seq or an Ensemble.
        vocabulary: of the source.
        lines: to read.
        first: index of the first.

    Raises:
        InputError: names the line.
    """
    models = getattr(model, "models", (model,))
    places = min((model.places for model in models if model.places is not None), default=None)
    if places is None:
        return
    for n, line in enumerate(lines, first + 1):
        count = len(vocabulary.encode(line.strip()))
        if count > places:
            raise InputError(f"line {n} has {count} symbols, the model's attention by location knows {places} places")
