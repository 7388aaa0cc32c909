"""The verbs that use trained weights: translate, evaluate, score, and draw the attention."""

import dataclasses
from collections import Counter
from dataclasses import field
from typing import Literal

from tyro.conf import OmitArgPrefixes

from experiments import command_line
from experiments.command_line import renamed
from experiments.limits import FilePath, Size
from experiments.lines import answer, are_typed, check_lengths, counter, n_best_row, warn
from experiments.provenance import warn_if_changed
from experiments.translation.config import PROGRAM, Data
from experiments.translation.figures import split_figures
from experiments.translation.text import load_split, prepared
from experiments.weights import Loaded, Weights, latest, parse_verb
from experiments.written import log_probabilities
from seqjax.data.text.limits import OutputLimit
from seqjax.data.text.tags import check_tag
from seqjax.decode import Search, TextSearch
from seqjax.errors import InputError
from seqjax.inspect import heat_map
from seqjax.metrics import text_signatures
from seqjax.models.seq2seq import Seq2Seq


@dataclasses.dataclass(frozen=True)
class Translate:
    """Translates the lines of a file or of standard input."""

    weights: OmitArgPrefixes[Weights] = field(default_factory=latest(PROGRAM))
    search: OmitArgPrefixes[Search] = field(default_factory=Search)
    input: FilePath | None = None  # a file of lines, .gz too; None: standard input
    to: str | None = None  # the language to translate into, for a model of several: puts <...> before every source
    n_best: Size = 1  # translations of each line; above 1 they are printed as: line ||| translation ||| score
    stream: bool = False  # print every symbol as soon as it is chosen; needs --beam 1 or --method greedy or sample


def translate(argv: list[str]):
    """Translates the lines of a file or of standard input: translate DIR [--input FILE] [--beam 5] [--n-best 3]."""
    config = command_line.parse(Translate, argv, program=f"{PROGRAM} translate")
    loaded = config.weights.load(Seq2Seq, vocabularies=2)
    translator = _search(loaded, config.search)
    translator.check(n_best=config.n_best)
    if config.to is not None:
        with renamed(vocabulary=f"model's source vocabulary (--to {config.to})"):
            check_tag(f"<{config.to}>", loaded.run.vocabulary[0])
    differences, data = Counter(), command_line.from_dict(Data(), loaded.run.config["data"])

    def prepare(first: int, lines: list[str]) -> list[str]:
        sources = [f"<{config.to}> {line}" if config.to and line.strip() else line for line in lines]
        sources = [prepared(data, line) for line in sources]
        check_lengths(loaded.model, loaded.run.vocabulary[0], sources, first)
        differences.update(_unlike_training(loaded, sources))
        if are_typed(config.input):
            warn(differences)
            differences.clear()
        return sources

    show = {"prompt": "a line to translate; end with Ctrl-D", "n_best": config.n_best, "stream": config.stream}
    answer(translator, config.input, prepare=prepare, **show)
    warn(differences)


def _search(loaded: Loaded, search: Search) -> TextSearch:
    limit = OutputLimit.from_record(loaded.run.data)
    return TextSearch(loaded.model, loaded.params, loaded.run.vocabulary, search, limit=limit)


def _unlike_training(loaded: Loaded, lines: list[str]) -> Counter[str]:
    """Counts the lines that differ from the training sources, by the kind of difference."""
    source, limit, differences = loaded.run.vocabulary[0], loaded.run.data["max_length"], Counter()
    # The metrics have figures for each tag if every validation source has one.
    figures = {name for line in loaded.run.metrics for name in line if name.startswith("exact_match_")}
    tags = tuple(sorted(f"<{name.removeprefix('exact_match_')}>" for name in figures))
    for line in filter(None, map(str.strip, lines)):
        first = line.split()[0]
        tag = first if first in tags else ""
        ids = source.encode(line.removeprefix(tag))
        text = source.decode(ids[ids != source.unknown])
        differences["of unknown symbols only"] += len(ids) > 0 and not text.strip()
        differences[f"longer than {limit} symbols"] += len(ids) + bool(tag) > limit
        differences[f"without {' or '.join(tags)} at their beginning"] += bool(tags) and not tag
    return differences


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measures weights on a split of their run's pairs, or on other pairs."""

    weights: OmitArgPrefixes[Weights] = field(default_factory=latest(PROGRAM))
    search: OmitArgPrefixes[Search] = field(default_factory=Search)
    data: Data = field(default_factory=Data)
    split: Literal["train", "valid", "test"] = "test"
    name: str | None = None  # name of the files to write; None: the split and the weights
    n_best: Size = 1  # translations of each line in the n-best file


def evaluate(argv: list[str]):
    """Measures a run: evaluate DIR [--split test] [--data.test FILE FILE]; writes eval-<name>-<hash>.json and translations."""
    config, is_other = parse_verb(Evaluate, argv, program=f"{PROGRAM} evaluate", data=Data())
    loaded, split = config.weights.load(Seq2Seq, vocabularies=2), config.split
    text = load_split(config.data, split, loaded.run.vocabulary, alone=is_other)
    if not is_other:
        warn_if_changed(loaded.run, config.data, text.record, split)
    sources = [pair.source for pair in text.pairs[split]]
    check_lengths(loaded.model, loaded.run.vocabulary[0], sources)
    search, tokenize = _search(loaded, config.search), config.data.bleu_tokenize
    n_best = search(sources, n_best=config.n_best, progress=counter(len(sources), "sentences"))
    outputs = [hypotheses[0] for hypotheses in n_best]
    figures = split_figures(loaded.model, loaded.params, text, split, outputs, tokenize, "--max-length", batch_size=64)
    options = {f"search_{name}": value for name, value in dataclasses.asdict(config.search).items()}
    name = loaded.name(split, config.name, text.record)
    rows = [n_best_row(n, hypothesis) for n, hypotheses in enumerate(n_best) for hypothesis in hypotheses]
    lines = {"nbest": rows, "txt": [output.text for output in outputs]}
    loaded.write(name, figures, text_signatures(tokenize=tokenize) | options, text.record, lines)


@dataclasses.dataclass(frozen=True)
class Score:
    """Prints the log-probabilities of the targets in a split of the run's pairs, or in other pairs."""

    weights: OmitArgPrefixes[Weights] = field(default_factory=latest(PROGRAM))
    data: Data = field(default_factory=Data)
    split: Literal["train", "valid", "test"] = "test"


def score(argv: list[str]):
    """Prints the log-probability of each target, in nats, and its length: score DIR [--data.test FILE FILE]."""
    config, is_other = parse_verb(Score, argv, program=f"{PROGRAM} score", data=Data())
    loaded = config.weights.load(Seq2Seq, vocabularies=2)
    text = load_split(config.data, config.split, loaded.run.vocabulary, alone=is_other)
    check_lengths(loaded.model, loaded.run.vocabulary[0], (pair.source for pair in text.pairs[config.split]))
    nats = log_probabilities(loaded.model, loaded.params, text.batches(config.split, batch_size=64))
    for value, target in zip(nats, text.encoded[config.split].target, strict=True):
        print(f"{value:.4f}\t{len(target)}")


@dataclasses.dataclass(frozen=True)
class Attention:
    """Draws the attention weights of one translation."""

    source: str  # the sentence to translate
    target: str | None = None  # its translation; None: found by the search
    out: FilePath = "attention.png"
    weights: OmitArgPrefixes[Weights] = field(default_factory=latest(PROGRAM))
    search: OmitArgPrefixes[Search] = field(default_factory=Search)


def attention(argv: list[str]):
    """Draws the attention weights of a pair: attention DIR --source "<de> ninety-seven" [--target TEXT] [--out attention.png]."""
    config = command_line.parse(Attention, argv, program=f"{PROGRAM} attention")
    loaded = config.weights.load(Seq2Seq, vocabularies=2)
    if not loaded.model.attends:
        raise InputError(f"{config.weights.dir}: this model has no attention, there is nothing to draw")
    translator = _search(loaded, config.search)
    data = command_line.from_dict(Data(), loaded.run.config["data"])
    source = prepared(data, config.source)
    if config.target is None:
        [[best, *_]] = translator([source])
        tokens, text = best.tokens, best.text
    else:
        text = prepared(data, config.target)
        tokens = loaded.run.vocabulary[1].encode(text).tolist()
    weights, read, written = translator.attention(source, tokens)
    heat_map(weights, read, written, config.out, title=text if len(text) < 60 else "")
    print(text)
    print(config.out)


VERBS = {"translate": translate, "evaluate": evaluate, "score": score, "attention": attention}
