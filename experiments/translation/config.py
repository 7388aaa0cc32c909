"""The config of a translator, and the presets. Every field is a flag: --model.hidden-size 256."""

import dataclasses
from typing import ClassVar, Literal

from experiments.command_line import Program
from experiments.groups import RecurrentDecoder, RecurrentEncoder, ScheduledSampling
from experiments.limits import Count, FilePath, Portion, Rate, Share, Size, Weight
from experiments.session import CHANGEABLE, Training
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.data.text.words import LineVocabulary
from seqjax.decode import Search
from seqjax.errors import InputError
from seqjax.models import Seq2Seq, Symbols
from seqjax.train import LoopConfig, OptimizerConfig


@dataclasses.dataclass(frozen=True)
class Data:
    """The pairs, their symbols and their batches."""

    SOURCES: ClassVar = ("train", "valid", "test", "tfds")  # alternatives: a flag for one replaces the run's others
    PATHS: ClassVar = ("train", "valid", "test", "vocabulary_from")  # fields that name files or folders
    OF_VOCABULARY: ClassVar = ("vocabulary_from", "vocabulary_size", "min_count", "character_coverage", "joint")
    OF_TRAINING: ClassVar = ("units", "target_units", *OF_VOCABULARY)  # fields that evaluation has no use for

    train: tuple[FilePath, ...] = ()  # two aligned files, a table, or .jsonl; .gz too. Empty: numbers in words, in two languages
    valid: tuple[FilePath, ...] = ()  # likewise; empty: split off from train
    test: tuple[FilePath, ...] = ()  # likewise
    tfds: str | None = None  # a parallel data set of tensorflow-datasets, e.g. ted_hrlr_translate/pt_to_en; instead of files
    split: tuple[Share, Share, Share] = (0.8, 0.1, 0.1)  # shares of training, validation and test where they are not given
    columns: tuple[str, str] | None = None  # of a table: numbers from 1, or titles; of JSON lines: keys
    header: Literal["refuse", "skip", "keep"] = "refuse"  # a table's first row, if it looks like titles of columns
    swap: bool = False  # translate from the second language to the first
    lowercase: bool = False
    normalization: Literal["NFC", "NFKC"] | None = "NFC"  # Unicode's form of every text, also of lines to translate
    units: Literal["bpe", "unigram", "word", "character"] = "bpe"
    target_units: Literal["bpe", "unigram", "word", "character", "line"] | None = None  # None: as units; line: whole replies
    vocabulary_from: FilePath | None = None  # a run folder, whose vocabularies are taken instead
    vocabulary_size: Count = 8000  # maximum size of a vocabulary
    min_count: Count = 1  # words and characters that occur less often in the training pairs are unknown
    character_coverage: Portion = 1.0  # share of the characters that sub-words know, such as 0.9995 for Chinese
    joint: bool = True  # one vocabulary for both sides
    max_length: Size | None = None  # symbols of a side; None: long enough for 99 % of the training texts, and at least 100
    over_long: Literal["drop", "cut"] = "drop"  # leave longer training pairs out, or cut them
    batch_size: Size = 64  # pairs of a batch, over all devices
    bleu_tokenize: Literal["13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none"] = "13a"  # sacreBLEU's words


@dataclasses.dataclass(frozen=True)
class Network(RecurrentEncoder, RecurrentDecoder):
    """The encoder, the decoder and the bridge between them."""

    cell: str = "gru"
    hidden_size: Size = 256  # of the decoder, and of each direction of the encoder
    coverage_loss: Weight = 0.0  # weight of the penalty on attending to a position repeatedly (See et al. 2017)
    bridge: Literal["dense", "final", "none"] = "dense"  # from the encoder's last state to the decoder's first
    reverse_source: bool = False  # Sutskever, Vinyals, Le 2014
    label_smoothing: Rate = 0.0


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """Pairs of sentences to translate, or of questions and replies."""

    data: Data = Data()
    model: Network = Network()
    scheduled_sampling: ScheduledSampling = dataclasses.field(default_factory=ScheduledSampling)
    monitor: Literal["auto", "loss", "bleu", "chrf", "exact_match"] = "auto"  # of greedy translations; auto: bleu, or else chrf
    monitor_pairs: Count = dataclasses.field(default=1000, metadata=CHANGEABLE)  # at most so many pairs are translated
    search: Search = dataclasses.field(default_factory=Search, metadata=CHANGEABLE)  # for the final figures


def build_model(config: Network, sampling: str, source: Vocabulary, target: Vocabulary) -> Seq2Seq:
    """Builds the model of a config; `sampling` is "token" or "sequence": one draw of scheduled sampling for each.

    Raises:
        InputError: sizes or options do not fit together.
    """
    if target.start is None:
        raise InputError("the target vocabulary has no start symbol: the decoder must read one at its first step")
    if config.tied == "all" and source != target:
        raise InputError("model.tied all needs one vocabulary for both sides: give --data.joint")
    forbidden = (target.pad, target.unknown if isinstance(target, LineVocabulary) else None)  # an unknown reply is no answer
    copied = ("embedding_size", "bridge", "tied", "dropout", "per", "label_smoothing", "coverage_loss")
    dropout = {"dropout": config.dropout, "per": config.per}
    sizes = {"size": len(source), "embedding_size": config.embedding_size}
    return Seq2Seq(
        encoder=Symbols(cell=config.encoder(config.embedding_size), reverse=config.reverse_source, **sizes, **dropout),
        target_size=len(target),
        decoder=config.decoder(config.encoded_size),
        start_symbol=target.start,
        end_symbol=target.end,
        forbidden=tuple(i for i in forbidden if i is not None),
        sampling=sampling,
        **{name: getattr(config, name) for name in copied},
    )


SMALL = Data(vocabulary_size=5000, batch_size=64)
ADAM = OptimizerConfig(learning_rate=2e-3, schedule="cosine", warmup_steps=500, clip_norm=1.0)
DEEP = Network(cell="lstm", encoder_layers=2, decoder_layers=2, bidirectional=False, bridge="final", reverse_source=True)
PRESETS = {
    # Numbers in words, English to French and German: minutes on two cores, nothing to download.
    "tiny": Config(
        data=Data(vocabulary_size=120, joint=False, batch_size=64),
        model=Network(hidden_size=128, embedding_size=64),
        optimizer=OptimizerConfig(learning_rate=3e-3, schedule="cosine", warmup_steps=100, clip_norm=1.0),
        loop=LoopConfig(epochs=4),
        monitor="exact_match",
    ),
    # Multi30k, German to English: 29,000 captions of pictures. Files are given with --data.train, --data.valid, --data.test.
    "multi30k": Config(
        data=SMALL,
        model=Network(tied="all", dropout=0.4, label_smoothing=0.1),
        optimizer=ADAM,
        loop=LoopConfig(epochs=20),
        keep=5,
    ),
    # The published networks, sized for 30,000 pairs rather than millions; files are given as above.
    # Sutskever, Vinyals, Le 2014: no attention, the source read in reverse, the final state passed to the decoder.
    "sutskever": Config(
        data=SMALL,
        model=dataclasses.replace(DEEP, attention="none", dropout=0.3),
        optimizer=dataclasses.replace(ADAM, clip_norm=5.0),
        loop=LoopConfig(epochs=20),
    ),
    # Bahdanau, Cho, Bengio 2014: a bidirectional encoder, additive attention with the state before the step.
    "bahdanau": Config(
        data=SMALL,
        model=Network(attention="additive", order="before", dropout=0.3),
        optimizer=ADAM,
        loop=LoopConfig(epochs=20),
    ),
    # Luong, Pham, Manning 2015: attention with the state after the step, fed to the next one.
    "luong": Config(
        data=SMALL,
        model=dataclasses.replace(DEEP, attention="general", dropout=0.2),
        optimizer=dataclasses.replace(ADAM, clip_norm=5.0),
        loop=LoopConfig(epochs=20),
    ),
    # Replies to messages, from one table with tabs: the reply is one of those in the training pairs.
    "reply_class": Config(
        data=Data(units="word", target_units="line", vocabulary_size=8000, joint=False),
        model=Network(attention="none", bidirectional=True, hidden_size=128, embedding_size=128, dropout=0.3),
        optimizer=OptimizerConfig(learning_rate=2e-3, schedule="cosine", warmup_steps=100, clip_norm=1.0),
        loop=LoopConfig(epochs=10),
        monitor="exact_match",
        search=Search(beam=1),
    ),
}

PROGRAM = Program("translation", PRESETS)
