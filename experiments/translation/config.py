"""What a translation run is made of, and the presets. Every field is a flag: --model.hidden-size 256."""

import dataclasses
import math
from typing import Literal

from experiments.training import Folder, Loop
from seqjax.attention import Additive, Attention, Attentive, Dot, General, Local, Location, MultiHead
from seqjax.cells.elman import Elman
from seqjax.cells.gru import GRU
from seqjax.cells.lstm import LSTM
from seqjax.compose import Dropout, Stack
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.data.text.words import LineVocabulary
from seqjax.decode import Search
from seqjax.errors import InputError
from seqjax.layers import Bidirectional, Chain
from seqjax.models.encoders import Symbols
from seqjax.models.seq2seq import Seq2Seq
from seqjax.symbols import TeacherForcing
from seqjax.train.optim import OptimizerConfig

CELLS = {"lstm": LSTM, "gru": GRU, "elman": Elman}


@dataclasses.dataclass(frozen=True)
class Data:
    """Which pairs, in which symbols, in which batches."""

    train: tuple[str, ...] = ()  # two aligned files, or one with tabs; .gz too. None: numbers in words, to French and German
    valid: tuple[str, ...] = ()  # likewise; none: cut from train
    test: tuple[str, ...] = ()  # likewise
    tfds: str | None = None  # pairs of tensorflow-datasets by name, e.g. ted_hrlr_translate/pt_to_en; instead of train
    swap: bool = False  # from the second language to the first
    lowercase: bool = False
    units: Literal["bpe", "unigram", "word", "character"] = "bpe"
    target_units: Literal["bpe", "unigram", "word", "character", "line"] | None = None  # None: as units; line: one symbol a reply
    vocabulary_size: int = 8000  # most symbols of a vocabulary
    min_count: int = 1  # a word or character seen less often in the training pairs is unknown
    joint: bool = True  # one vocabulary for both sides
    max_length: int = 100  # symbols of a side
    over_long: Literal["drop", "cut"] = "drop"  # what becomes of longer training pairs
    batch_size: int = 64  # pairs of a batch, over all devices


@dataclasses.dataclass(frozen=True)
class Network:
    """The encoder, the decoder and what connects them."""

    cell: Literal["lstm", "gru", "elman"] = "gru"
    encoder_layers: int = 1
    decoder_layers: int = 1
    bidirectional: bool = True  # the encoder
    merge: Literal["concat", "sum", "mean"] = "concat"  # of its two directions; attention by dot needs sum or mean
    hidden_size: int = 256  # of the decoder, and of each direction of the encoder
    embedding_size: int = 256
    attention: Literal["none", "additive", "dot", "general", "location"] = "additive"
    heads: int = 1  # above 1: so many scaled dot-product attentions side by side, of attention dot
    places: int = 200  # symbols of the longest source that attention by location knows
    window: int | None = None  # local attention: symbols on either side of a predicted place
    order: Literal["before", "after"] = "after"  # Bahdanau's: look with the old state; or Luong's: with the new one
    input_feeding: bool = True  # what was found goes into the next step
    coverage: bool = False  # additive attention sees what it has looked at before
    coverage_loss: float = 0.0  # weight of looking twice at one place (See et al. 2017)
    bridge: Literal["dense", "final", "none"] = "dense"  # from the encoder's last state to the decoder's first
    reverse_source: bool = False  # Sutskever, Vinyals, Le 2014
    tied: Literal["none", "target", "all"] = "none"  # the projection is the target's embedding; all: the source's too
    dropout: float = 0.0  # on embeddings, between layers and before the projection
    per: Literal["step", "sequence"] = "step"  # one dropout mask for each step, or for each row (variational)
    label_smoothing: float = 0.0


@dataclasses.dataclass(frozen=True)
class ScheduledSampling:
    """How often a training step reads the true symbol rather than one the model draws (Bengio et al. 2015)."""

    decay: Literal["none", "linear", "exponential", "inverse_sigmoid"] = "none"  # none: always the true one
    lowest: float = 0.0  # the probability of the true symbol never falls below
    over: float = 1.0  # the share of the run after which it is `lowest` (linear), or one half (the other two)
    per: Literal["token", "sequence"] = "token"  # one coin for each symbol, or for each row

    def schedule(self, steps: int) -> TeacherForcing | None:
        """The same over a run of so many steps; None: always the true symbol.

        Raises:
            InputError: a share that is not above 0, or a probability outside 0 to 1.
        """
        if self.decay == "none":
            return None
        if not self.over > 0:
            raise InputError(f"scheduled_sampling.over is {self.over}, it must be above 0")
        if not 0 <= self.lowest < 1:
            raise InputError(f"scheduled_sampling.lowest is {self.lowest}, it must be at least 0 and below 1")
        half = max(self.over * steps, 1.0)
        if self.decay == "linear":
            k = half / (1 - self.lowest)
        elif self.decay == "exponential":
            k = 0.5 ** (1 / half)
        else:
            k = half / 2  # k log k = half, by Newton's method
            for _ in range(50):
                k = max((k + half) / (1 + math.log(max(k, 1.0))), 1.0)
        return TeacherForcing(decay=self.decay, k=k, floor=self.lowest)


@dataclasses.dataclass(frozen=True)
class Config:
    """Pairs of sentences to translate, or of questions and replies."""

    data: Data = Data()
    model: Network = Network()
    scheduled_sampling: ScheduledSampling = ScheduledSampling()
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    loop: Loop = dataclasses.field(default_factory=Loop)
    monitor: Literal["loss", "bleu", "exact_match"] = "bleu"  # of greedy translations of the validation pairs: best, patience
    monitor_pairs: int = 1000  # at most so many of them
    keep: int = 1  # last checkpoints kept, to average
    search: Search = dataclasses.field(default_factory=Search)  # for the final figures
    run: Folder = dataclasses.field(default_factory=Folder)
    seed: int = 0
    resume: str | None = None  # a run folder to continue
    init_from: str | None = None  # a run folder whose weights to start from


def encoded_size(config: Network) -> int:
    """Features of the encoder's output."""
    return config.hidden_size * (2 if config.bidirectional and config.merge == "concat" else 1)


def build_attention(config: Network) -> Attention:
    """The attention of a config that has one.

    Raises:
        InputError: options that do not fit together.
    """
    size, kind, memory = config.hidden_size, config.attention, encoded_size(config)
    if config.coverage and kind != "additive":
        raise InputError(f"model.coverage is for additive attention, model.attention is {kind}")
    if config.heads != 1 and kind != "dot":
        raise InputError(f"model.heads is {config.heads}, heads are for dot attention, model.attention is {kind}")
    if kind == "dot" and config.heads == 1 and memory != size:
        raise InputError(
            f"model.attention dot multiplies the decoder's {size} units with what the encoder gives, {memory} features: "
            "give model.merge sum, or model.attention general"
        )
    if kind == "additive":
        attention: Attention = Additive(query_size=size, memory_size=memory, hidden_size=size, coverage=config.coverage)
    elif kind == "general":
        attention = General(query_size=size, memory_size=memory)
    elif kind == "location":
        attention = Location(query_size=size, memory_size=memory, max_length=config.places)
    elif config.heads != 1:
        attention = MultiHead(query_size=size, memory_size=memory, hidden_size=size, heads=config.heads)
    else:
        attention = Dot(query_size=size, memory_size=memory)
    return attention if config.window is None else Local(attention=attention, window=config.window)


def build_model(config: Network, sampling: str, source: Vocabulary, target: Vocabulary) -> Seq2Seq:
    """The model of a config for two vocabularies; `sampling` is scheduled sampling's coin.

    Raises:
        InputError: sizes or options that do not fit together.
    """
    for name in ("encoder_layers", "decoder_layers"):
        if getattr(config, name) < 1:
            raise InputError(f"model.{name} is {getattr(config, name)}, it must be at least 1")
    if target.start is None:
        raise InputError("the target vocabulary has no start symbol: the decoder must read one first")
    if config.tied == "all" and source != target:
        raise InputError("model.tied all needs one vocabulary for both sides: give --data.joint")
    silent = (target.pad, target.unknown if isinstance(target, LineVocabulary) else None)  # no reply is "another one"
    cell, size = CELLS[config.cell], config.hidden_size

    def between() -> tuple:
        return (Dropout(config.dropout, per=config.per),) if config.dropout else ()

    if config.bidirectional:
        layers: list = [Bidirectional(cell(input_size=config.embedding_size, hidden_size=size), merge=config.merge)]
        for _ in range(config.encoder_layers - 1):
            layers += [*between(), Bidirectional(cell(input_size=encoded_size(config), hidden_size=size), merge=config.merge)]
        reader = Chain(tuple(layers))
    else:
        sizes = (config.embedding_size, *[size] * config.encoder_layers)
        reader = Stack.of(cell, sizes=sizes, dropout=config.dropout, per=config.per)
    sizes = (config.embedding_size, *[size] * config.decoder_layers)
    decoder = Stack.of(cell, sizes=sizes, dropout=config.dropout, per=config.per)
    if config.attention == "none":
        asked = {"coverage": config.coverage, "heads": config.heads != 1, "window": config.window is not None}
        if any(asked.values()):
            names = " and ".join(f"model.{name}" for name, given in asked.items() if given)
            raise InputError(f"{names} is for attention, model.attention is none")
    else:
        output = config.embedding_size if config.tied != "none" else size
        how = {"order": config.order, "input_feeding": config.input_feeding, "output_size": output}
        decoder = Attentive(cell=decoder, attention=build_attention(config), **how)
    dropout = {"dropout": config.dropout, "per": config.per}
    sizes = {"size": len(source), "embedding_size": config.embedding_size}
    return Seq2Seq(
        encoder=Symbols(cell=reader, reverse=config.reverse_source, **sizes, **dropout),
        target_size=len(target),
        embedding_size=config.embedding_size,
        decoder=decoder,
        start_symbol=target.start,
        end_symbol=target.end,
        bridge=config.bridge,
        tied=config.tied,
        **dropout,
        label_smoothing=config.label_smoothing,
        forbidden=tuple(i for i in silent if i is not None),
        sampling=sampling,
        coverage_loss=config.coverage_loss,
    )


PRESETS = {
    # Numbers in words, English to French and German: minutes on two cores, nothing to download.
    "tiny": Config(
        data=Data(vocabulary_size=120, joint=False, batch_size=64),
        model=Network(hidden_size=128, embedding_size=64),
        optimizer=OptimizerConfig(learning_rate=3e-3, schedule="cosine", warmup_steps=100, clip_norm=1.0),
        loop=Loop(epochs=4),
        monitor="exact_match",
    ),
    # Multi30k, German to English: 29,000 captions of pictures. Files are given with --data.train, --data.valid, --data.test.
    "multi30k": Config(
        data=Data(vocabulary_size=5000, batch_size=64),
        model=Network(tied="all", dropout=0.4, label_smoothing=0.1),
        optimizer=OptimizerConfig(learning_rate=2e-3, schedule="cosine", warmup_steps=500, clip_norm=1.0),
        loop=Loop(epochs=20),
        keep=5,
    ),
    # The published networks at a size for 30,000 pairs rather than millions; files as above.
    # Sutskever, Vinyals, Le 2014: no attention, the source read from its end, the final state handed over.
    "sutskever": Config(
        data=Data(vocabulary_size=5000, batch_size=64),
        model=Network(
            cell="lstm",
            encoder_layers=2,
            decoder_layers=2,
            bidirectional=False,
            attention="none",
            bridge="final",
            reverse_source=True,
            dropout=0.3,
        ),
        optimizer=OptimizerConfig(learning_rate=2e-3, schedule="cosine", warmup_steps=500, clip_norm=5.0),
        loop=Loop(epochs=20),
    ),
    # Bahdanau, Cho, Bengio 2014: a bidirectional encoder, additive attention with the state before the step.
    "bahdanau": Config(
        data=Data(vocabulary_size=5000, batch_size=64),
        model=Network(attention="additive", order="before", dropout=0.3),
        optimizer=OptimizerConfig(learning_rate=2e-3, schedule="cosine", warmup_steps=500, clip_norm=1.0),
        loop=Loop(epochs=20),
    ),
    # Luong, Pham, Manning 2015: attention with the state after the step, fed to the next one.
    "luong": Config(
        data=Data(vocabulary_size=5000, batch_size=64),
        model=Network(
            cell="lstm",
            encoder_layers=2,
            decoder_layers=2,
            bidirectional=False,
            attention="general",
            bridge="final",
            reverse_source=True,
            dropout=0.2,
        ),
        optimizer=OptimizerConfig(learning_rate=2e-3, schedule="cosine", warmup_steps=500, clip_norm=5.0),
        loop=Loop(epochs=20),
    ),
    # Replies to messages, one file with tabs: the reply is chosen among those of the training pairs.
    "reply_class": Config(
        data=Data(units="word", target_units="line", vocabulary_size=8000, joint=False),
        model=Network(attention="none", bidirectional=True, hidden_size=128, embedding_size=128, dropout=0.3),
        optimizer=OptimizerConfig(learning_rate=2e-3, schedule="cosine", warmup_steps=100, clip_norm=1.0),
        loop=Loop(epochs=10),
        monitor="exact_match",
        search=Search(method="greedy"),
    ),
}
