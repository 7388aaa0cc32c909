"""Lines of text to answer, from a file, a pipe or the keyboard, and the output for them."""

import io
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from experiments.written import warn_of_cut
from seqjax.data.text.files import read_text
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.decode import TextSearch
from seqjax.decode.text import Hypothesis
from seqjax.errors import InputError

CHUNK = 1024  # lines that are answered together


def are_typed(path: str | None) -> bool:
    """True if the lines are typed at a terminal: `path` is None, and standard input is a terminal."""
    return path is None and sys.stdin.isatty()


def read_lines(path: str | None, *, prompt: str) -> Iterator[str]:
    """Reads the lines of a file, or those of standard input as they come.

    Args:
        path: the file, plain or *.gz; None: standard input.
        prompt: a text shown once if the lines are typed.

    Raises:
        InputError: the file cannot be read, or a line is not UTF-8 text.
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
            source = "the typed line is not UTF-8 text" if typed else "standard input is not UTF-8 text"
            place = "" if typed else f" in line {n}"
            raise InputError(f"{source}: byte 0x{content[error.start]:02x}{place}") from None
        line = line.removeprefix("\ufeff") if n == 1 else line
        if not line:
            return
        yield line.rstrip("\r\n")


def counter(total: int, what: str) -> Callable[[int], None]:
    """A function of the number of finished items, which shows it on stderr.

    Args:
        total: the number of all items.
        what: the name of the items, in the plural.
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
    """Prints the outputs of a search for every line, as soon as they are found.

    Args:
        search: the search over a model.
        path: as for `read_lines`.
        prompt: as for `read_lines`.
        prepare: a function of the index of a first line and of some lines that returns their inputs.
        n_best: the number of outputs for each line; above 1 they are printed as: line ||| output ||| score.
        stream: print every symbol as soon as it is chosen.

    Raises:
        InputError: stream is given with a search that cannot stream, or with several outputs.
    """
    if stream:
        search.stream("")  # refuses a search that cannot stream
        if n_best > 1:
            raise InputError(f"--stream shows one output of each line, --n-best is {n_best}")
    first, lines, best = 0, read_lines(path, prompt=prompt), []
    while chunk := list(itertools.islice(lines, 1 if stream or are_typed(path) else CHUNK)):
        inputs = prepare(first, chunk)
        for line in inputs if stream else ():
            for text in search.stream(line):
                print(text, end="", flush=True)
            print(flush=True)
        for n, hypotheses in enumerate([] if stream else search(inputs, n_best=n_best), first):
            best.append(hypotheses[0])
            for hypothesis in hypotheses:
                print(n_best_row(n, hypothesis) if n_best > 1 else hypothesis.text, flush=True)
        first += len(chunk)
    warn_of_cut(best, "--max-length")


def n_best_row(n: int, hypothesis: Hypothesis) -> str:
    """A row of an n-best list: the index of the line, the text and the score of an output.

    The text may hold the separator: the index ends at the first one, and the score begins after the last.

    Example:
        >>> row = n_best_row(7, Hypothesis("a ||| b", -1.5, ()))
        >>> index, rest = row.split(" ||| ", 1)
        >>> index, rest.rsplit(" ||| ", 1)
        ('7', ['a ||| b', '-1.5000'])
    """
    return f"{n} ||| {hypothesis.text} ||| {hypothesis.score:.4f}"


def warn(counts: Mapping[str, int]):
    """Prints a warning of the number of lines unlike those of training, by kind of difference."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    if kinds:
        print(f"warning: lines unlike those of training: {kinds}", file=sys.stderr, flush=True)


def check_lengths(model: Any, vocabulary: Vocabulary, lines: Iterable[str], first: int = 0):
    """Checks that no line has more symbols than attention by location has places.

    Args:
        model: a Seq2Seq or an Ensemble.
        vocabulary: the source vocabulary.
        lines: the lines to encode.
        first: the index of the first line.

    Raises:
        InputError: a line is too long; the message names it.
    """
    models = getattr(model, "models", (model,))
    places = min((model.places for model in models if model.places is not None), default=None)
    if places is None:
        return
    for n, line in enumerate(lines, first + 1):
        count = len(vocabulary.encode(line.strip()))
        if count > places:
            raise InputError(f"line {n} has {count} symbols, the model's attention by location has {places} places")
