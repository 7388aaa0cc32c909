"""What is done with trained weights: translate, evaluate, score, and look at the attention."""

import dataclasses
import io
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments import command_line, training
from experiments.translation.config import Data
from experiments.translation.judge import Judge
from experiments.translation.text import Text, changed, origin, read_given, read_text
from seqjax import decode
from seqjax.data.text.buckets import evaluation_pairs
from seqjax.data.text.files import read_text as read_file
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.decode import Search, TextSearch
from seqjax.errors import InputError
from seqjax.inspect import heat_map
from seqjax.metrics import text_signatures
from seqjax.models import Seq2Seq, Symbols
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.mesh import data_mesh
from seqjax.train.runs.folder import Run, RunFolder, load_run
from seqjax.types import Params

PROGRAM = command_line.program_of("translation")
CHUNK = 1024  # lines that are translated before the first of them is printed
Folders = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Weights:
    """Which weights."""

    dir: tyro.conf.Positional[str] = "runs/translation/latest"  # a run folder
    checkpoint: Literal["best", "last"] = "best"
    average: int = 1  # above 1: the mean of the last so many checkpoints, of a run that kept them (train --keep)
    ensemble: Folders = ()  # further run folders, whose predictions are averaged with the first's
    averaging: Literal["probability", "log"] = "probability"  # of an ensemble

    def load(self) -> "Loaded":
        """The model, or an ensemble of several.

        Raises:
            InputError: a folder without a translation run, vocabularies that do not fit the model, others in an ensemble, or too
                few checkpoints.
        """
        runs = [load_run(folder) for folder in (self.dir, *self.ensemble)]
        for run in runs:
            if not isinstance(run.model, Seq2Seq) or not isinstance(run.model.encoder, Symbols):
                raise InputError(f"{run.dir} is no translation run: its model is a {type(run.model).__name__}")
            pair = run.vocabulary if isinstance(run.vocabulary, tuple) else ()
            symbols = [len(side) for side in pair if isinstance(side, Vocabulary)]
            needed = [run.model.encoder.size, run.model.target_size]
            if symbols != needed:
                told = f"its vocabularies have {symbols} symbols, its model {needed}"
                raise InputError(f"{run.dir}: {told}: its config.json was changed, train anew")
            if run.vocabulary != runs[0].vocabulary:
                raise InputError(f"--ensemble {run.dir}: its vocabularies are not those of {self.dir}, its symbols mean others")
        params = tuple(self._params(run) for run in runs)
        data = command_line.from_dict(Data(), runs[0].config["data"])
        if len(runs) == 1:
            return Loaded(runs[0], runs[0].model, params[0], data)
        ensemble = decode.Ensemble(tuple(run.model for run in runs), average=self.averaging)
        return Loaded(runs[0], ensemble, params, data)

    def _params(self, run: Run) -> Params:
        if self.checkpoint == "best" and self.average == 1:
            return run.params
        shapes = jax.eval_shape(run.model.init, jax.random.key(0))
        with Checkpoints(RunFolder(run.dir).checkpoints, read_only=True) as checkpoints:
            return checkpoints.average(shapes, self.average) if self.average != 1 else checkpoints.params(shapes, "last")


class Loaded(NamedTuple):
    """A run, its model (or an ensemble's) with its parameters, and how its text was prepared."""

    run: Run
    model: Any
    params: Any
    data: Data

    def prepare(self, line: str) -> str:
        """A line as the training text was."""
        return line.lower() if self.data.lowercase else line


@dataclasses.dataclass(frozen=True)
class Translate:
    """Translates a file, standard input, or what is typed."""

    weights: tyro.conf.OmitArgPrefixes[Weights] = dataclasses.field(default_factory=Weights)
    search: tyro.conf.OmitArgPrefixes[Search] = dataclasses.field(default_factory=Search)
    input: str | None = None  # a file of sentences, .gz too; None: standard input
    to: str | None = None  # the language that is asked for, of a model that knows several: <...> before every source
    n_best: int = 1  # translations of each; above 1 printed as: line ||| translation ||| score
    stream: bool = False  # print every symbol as soon as it is found; with --beam 1 or --method sample


def translate(argv: list[str]):
    """Translates lines: translate DIR [--input FILE] [--beam 5] [--n-best 3]; without a file those of standard input."""
    config = command_line.parse(Translate, argv, program=f"{PROGRAM} translate")
    found = config.weights.load()
    translator = TextSearch(found.model, found.params, found.run.vocabulary, config.search)
    translator.check(n_best=config.n_best)
    if config.to is not None:
        _check_tag(f"<{config.to}>", found.run.vocabulary[0])

    if config.stream:
        translator.stream("")  # refuses a search that cannot
        if config.n_best > 1:
            raise InputError(f"--stream shows one translation of each line, n_best is {config.n_best}")

    def show(first: int, asked: list[str]):
        if config.stream:
            for line in asked:
                for piece in translator.stream(line):
                    print(piece, end="", flush=True)
                print(flush=True)
            return
        for n, best in enumerate(translator(asked, n_best=config.n_best)):
            for hypothesis in best:
                told = (str(first + n), hypothesis.text, f"{hypothesis.score:.4f}")
                print(" ||| ".join(told) if config.n_best > 1 else hypothesis.text, flush=True)

    typed = config.input is None and sys.stdin.isatty()
    lines, first, odd = _lines(config.input), 0, Counter()
    while chunk := list(itertools.islice(lines, 1 if typed or config.stream else CHUNK)):
        asked = [f"<{config.to}> {line}" if config.to and line.strip() else line for line in chunk]
        asked = [found.prepare(line) for line in asked]
        _check_lengths(found, asked, first)
        odd += _odd(found, asked)
        if typed:
            _warn(odd)
            odd.clear()
        show(first, asked)
        first += len(chunk)
    _warn(odd)


def _odd(found: Loaded, lines: list[str]) -> Counter[str]:
    """How many lines are unlike the sources that the model was trained with, by what is odd."""
    source, limit, odd = found.run.vocabulary[0], found.data.max_length, Counter()
    # Figures are given tag by tag where every source has one.
    figures = {name for line in found.run.metrics for name in line if name.startswith("exact_match_")}
    tags = tuple(sorted(f"<{name.removeprefix('exact_match_')}>" for name in figures))
    for line in filter(None, map(str.strip, lines)):
        first = line.split()[0]
        tag = first if first in tags else ""
        ids = source.encode(line.removeprefix(tag))
        known = source.decode(ids[ids != source.unknown])
        odd["of unknown symbols only"] += len(ids) > 0 and not known.strip()
        odd[f"longer than {limit} symbols"] += len(ids) + bool(tag) > limit
        odd[f"without {' or '.join(tags)} at their beginning"] += bool(tags) and not tag
    return odd


def _warn(odd: Counter[str]):
    """Says in one line what the model has not learned to translate."""
    told = ", ".join(f"{count:,} {what}" for what, count in odd.items() if count)
    if told:
        print(f"warning: lines unlike those of training: {told}", file=sys.stderr, flush=True)


def _check_tag(tag: str, vocabulary: Vocabulary):
    """Raises unless a language's tag is a symbol that the model was trained with."""
    ids = vocabulary.encode(tag)
    if len(ids) != 1 or ids[0] == vocabulary.unknown:
        known = ", ".join(getattr(vocabulary, "symbols", ()))
        told = f": it has {known}" if known else ""
        raise InputError(f"--to {tag[1:-1]}: the model's source vocabulary has no {tag}{told}")


def _check_lengths(found: Loaded, lines: Iterable[str], first: int = 0):
    """Raises where a line has more symbols than attention by location knows places."""
    models = getattr(found.model, "models", (found.model,))
    places = min((model.places for model in models if model.places is not None), default=None)
    if places is None:
        return
    for n, line in enumerate(lines, first + 1):
        count = len(found.run.vocabulary[0].encode(line.strip()))
        if count > places:
            raise InputError(f"line {n} has {count} symbols, the model's attention by location knows {places} places")


def _lines(path: str | None) -> Iterator[str]:
    """The lines of a file; or of standard input, as they come, until its end."""
    if path is not None:
        for line in io.StringIO(read_file(path).removeprefix("\ufeff"), newline="\n"):
            yield line.rstrip("\r\n")
        return
    typed = sys.stdin.isatty()
    if typed:
        print("a line to translate; end with Ctrl-D", file=sys.stderr)
    for n in itertools.count(1):
        if typed:
            print("> ", end="", file=sys.stderr, flush=True)
        content = sys.stdin.buffer.readline()
        try:
            line = content.decode("utf-8")
        except UnicodeDecodeError as error:
            told = "what was typed is not UTF-8 text" if typed else "standard input is not UTF-8 text"
            place = "" if typed else f" in line {n}"
            raise InputError(f"{told}: byte 0x{content[error.start]:02x}{place}") from None
        line = line.removeprefix("\ufeff") if n == 1 else line
        if not line:
            return
        yield line.rstrip("\r\n")


@dataclasses.dataclass(frozen=True)
class Other:
    """Other pairs than the run's own."""

    pairs: tuple[str, ...] = ()  # two aligned files, or one with tabs; .gz too


@dataclasses.dataclass(frozen=True)
class Evaluate(Other):
    """Measures weights on a split of their run's pairs, or on other pairs."""

    weights: tyro.conf.OmitArgPrefixes[Weights] = dataclasses.field(default_factory=Weights)
    search: tyro.conf.OmitArgPrefixes[Search] = dataclasses.field(default_factory=Search)
    split: Literal["train", "valid", "test"] = "test"
    name: str | None = None  # of the files that are written; None: the split, or the name of the other pairs
    n_best: int = 1  # translations of each in the n-best file


def evaluate(argv: list[str]):
    """Measures a run: evaluate DIR [--split test | --pairs FILE FILE]; writes eval-<name>.json and its translations."""
    config = command_line.parse(Evaluate, argv, program=f"{PROGRAM} evaluate")
    if config.name is not None and Path(config.name).name != config.name:
        raise InputError(f"--name {config.name} is no plain file name: leave out the folders")
    found = config.weights.load()
    text = _text(found, config.pairs)
    split = "pairs" if config.pairs else config.split
    if split not in text.pairs:
        raise InputError(f"{text.record['source']} has no {split} pairs: it has {', '.join(text.pairs)}")
    if not config.pairs:
        _warn_if_changed(found, text.record, split)
    mesh, pairs = data_mesh(jax.local_devices()[:1]), text.pairs[split]
    translator = TextSearch(found.model, found.params, found.run.vocabulary, config.search)
    _check_lengths(found, (pair.source for pair in pairs))
    best = translator([pair.source for pair in pairs], n_best=config.n_best, progress=_counter(len(pairs)))
    judge = Judge(text, found.model, config.search, mesh=mesh)
    figures = judge.figures(found.params, split, [row[0].text for row in best])
    about = {
        "checkpoint": config.weights.checkpoint,
        "average": config.weights.average,
        "ensemble": list(config.weights.ensemble),
    }
    search = {f"search_{name}": value for name, value in dataclasses.asdict(config.search).items()}
    facts = training.facts(found.run.config["seed"], text.record, mesh)
    name = config.name or (re.sub(r"\W+", "-", Path(config.pairs[0]).name) if config.pairs else config.split)
    folder = RunFolder(config.weights.dir)
    path = folder.write_evaluation(name, figures | text_signatures() | about | search | facts)
    rows = (f"{n} ||| {h.text} ||| {h.score:.4f}\n" for n, row in enumerate(best) for h in row)
    folder.write_text(f"eval-{name}.nbest", "".join(rows))
    folder.write_text(f"eval-{name}.txt", "".join(row[0].text + "\n" for row in best))
    print("\n".join(f"{figure} {value:.4f}" for figure, value in figures.items()))
    print(path)


def _warn_if_changed(found: Loaded, record: dict, split: str):
    """Says on stderr that a split no longer holds the pairs that it held in training."""
    before = RunFolder(found.run.dir).read_config().get("data", {})
    if split in changed(before, record):
        what = origin(found.data, record, (split,))
        print(f"warning: {what} has changed since {found.run.dir} was trained: the figures are of other pairs", file=sys.stderr)


def _counter(total: int):
    """Says on stderr how far a long search is."""

    def tell(done: int):
        print(f"\r{done:,} of {total:,} sentences", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return tell


def _text(found: Loaded, pairs: tuple[str, ...]) -> Text:
    """The run's pairs split as they were, or others, prepared alike, of no split."""
    vocabularies = found.run.vocabulary
    return read_given(pairs, found.data, vocabularies) if pairs else read_text(found.data, vocabularies)


@dataclasses.dataclass(frozen=True)
class Score(Other):
    """Log-probabilities of given translations."""

    weights: tyro.conf.OmitArgPrefixes[Weights] = dataclasses.field(default_factory=Weights)


def score(argv: list[str]):
    """Prints the log-probability, in nats, of each given translation: score DIR --pairs FILE [FILE]."""
    config = command_line.parse(Score, argv, program=f"{PROGRAM} score")
    if not config.pairs:
        raise InputError("nothing to score: give --pairs with two aligned files, or one with tabs")
    found = config.weights.load()
    text = _text(found, config.pairs)
    _check_lengths(found, (pair.source for pair in text.pairs["pairs"]))
    source, target, _ = text.encoded["pairs"]
    nats = np.zeros(len(source))
    for batch in evaluation_pairs(source, target, batch_size=64):
        given = {name: batch[name] for name in ("source", "source_lengths")}
        rows = batch["index"] >= 0
        tokens, lengths = jnp.asarray(batch["target"]), jnp.asarray(batch["target_lengths"])
        scored = decode.score(found.model, found.params, given, tokens, lengths)
        nats[batch["index"][rows]] = np.asarray(scored.scores)[rows]
    for value, length in zip(nats, map(len, target), strict=True):
        print(f"{value:.4f}\t{length}")


@dataclasses.dataclass(frozen=True)
class Attention:
    """A picture of where the model looks."""

    source: str  # a sentence
    target: str | None = None  # its translation; None: the model's own
    out: str = "attention.png"
    weights: tyro.conf.OmitArgPrefixes[Weights] = dataclasses.field(default_factory=Weights)
    search: tyro.conf.OmitArgPrefixes[Search] = dataclasses.field(default_factory=Search)


def attention(argv: list[str]):
    """Draws a pair's attention weights: attention DIR --source "<de> ninety-seven" [--target TEXT] [--out attention.png]."""
    config = command_line.parse(Attention, argv, program=f"{PROGRAM} attention")
    found = config.weights.load()
    if not found.model.attends:
        raise InputError(f"{config.weights.dir}: this model has no attention, there is nothing to draw")
    translator = TextSearch(found.model, found.params, found.run.vocabulary, config.search)
    source = found.prepare(config.source)
    if config.target is None:
        [[best, *_]] = translator([source])
        tokens, text = best.tokens, best.text
    else:
        text = found.prepare(config.target)
        tokens = found.run.vocabulary[1].encode(text).tolist()
    weights, read, written = translator.attention(source, tokens)
    heat_map(weights, read, written, config.out, title=text if len(text) < 60 else "")
    print(text)
    print(config.out)


VERBS = {"translate": translate, "evaluate": evaluate, "score": score, "attention": attention}
