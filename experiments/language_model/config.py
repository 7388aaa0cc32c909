"""The config of a language model, and the presets. Every field is a flag: --model.hidden-size 256."""

import dataclasses
from typing import ClassVar, Literal

from experiments.command_line import Program
from experiments.groups import Recurrent
from experiments.limits import Count, FilePath, Layers, Natural, Positive, Share, Size
from experiments.sampling import Sampling
from experiments.session import CHANGEABLE, Training
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.models.language_model import LanguageModel
from seqjax.train import LoopConfig, OptimizerConfig


@dataclasses.dataclass(frozen=True)
class Data:
    """The text, its symbols and its batches."""

    SOURCES: ClassVar = ("path", "corpus", "tfds")  # alternatives: a flag for one replaces the run's others
    PATHS: ClassVar = ("path", "vocabulary_from")  # fields that name files or folders
    OF_TRAINING: ClassVar = ("vocabulary", "vocabulary_from", "normalization", "min_count", "max_size")  # no use in evaluation
    OF_FILES: ClassVar = ("include", "encoding", "unreadable")  # that say how files are read

    path: FilePath | None = None  # a text file (.gz, .bz2, .xz, .zip too), or a folder of them; instead of corpus
    corpus: Literal["stdlib", "pydoc"] = "stdlib"  # comes with Python: the source of its library, or its manual
    tfds: str | None = None  # a text data set of tensorflow-datasets, e.g. tiny_shakespeare; instead of corpus
    include: tuple[str, ...] = ()  # patterns such as *.md, of which a file of the folder must match one; empty: all files
    encoding: str = "utf-8"  # of the files, by its name in Python
    unreadable: Literal["refuse", "skip"] = "refuse"  # files of the folder that cannot be read or are not in the encoding
    split: tuple[Share, Share, Share] = (0.8, 0.1, 0.1)  # shares of training, validation, test
    vocabulary: Literal["character", "byte", "word", "word-punct", "bpe", "unigram"] = "character"
    vocabulary_from: FilePath | None = None  # a run folder, whose vocabulary is taken instead
    normalization: Literal["NFC", "NFKC"] | None = "NFC"  # Unicode's form of every text, also of prompts; bytes keep theirs
    min_count: Count = 1  # symbols that occur less often in the training text are unknown
    max_size: Count | None = None  # maximum size of the vocabulary; None: no limit, for sub-words 8,000
    batch_size: Size = 32  # rows of a batch, over all devices
    length: Size = 64  # steps of a batch; the state is carried from batch to batch


@dataclasses.dataclass(frozen=True)
class Network(Recurrent):
    """The recurrent network."""

    layers: Layers = 1
    embedding_size: Size | None = None  # None: one-hot
    tied: bool = False  # the projection is the embedding transposed
    init_scale: Positive | None = None  # draw every parameter from U(-s, s); None: the default of each part


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """A language model of a text."""

    data: Data = Data()
    model: Network = Network()
    loss_scale: Literal["mean", "sum"] = "mean"  # the loss's mean over steps and rows, or its sum over steps, for the gradient
    monitor: Literal["loss"] = "loss"
    sample: Sampling = dataclasses.field(default=Sampling(), metadata=CHANGEABLE)  # of the samples in samples.jsonl
    ngrams: tuple[Layers, ...] = dataclasses.field(default=(), metadata=CHANGEABLE)  # orders of n-gram models to compare with
    ngram_limit: Natural = dataclasses.field(default=20_000_000, metadata=CHANGEABLE)  # no n-gram models of more training symbols


def build_model(config: Network, vocabulary: Vocabulary) -> LanguageModel:
    """Builds the model of a config for a vocabulary.

    Raises:
        InputError: sizes do not fit together.
    """
    first = len(vocabulary) if config.embedding_size is None else config.embedding_size
    return LanguageModel(
        vocabulary_size=len(vocabulary),
        cell=config.stack(first, config.layers),
        embedding_size=config.embedding_size,
        tied=config.tied,
        dropout=config.dropout,
        per=config.per,
        start_symbol=vocabulary.start,
        forbidden=() if vocabulary.pad is None else (vocabulary.pad,),
        init_scale=config.init_scale,
    )


PRESETS = {
    # The demo: minutes on two cores.
    "tiny": Config(
        data=Data(batch_size=32, length=64),
        model=Network(hidden_size=128),
        optimizer=OptimizerConfig(name="adam", learning_rate=0.03, schedule="cosine", warmup_steps=100, clip_norm=5.0),
        loop=LoopConfig(epochs=1.5, eval_every=1000),
        ngrams=(2, 3, 5),
    ),
    # The 112-line min-char-rnn.py (Karpathy 2015). It draws its weights as 0.01 * randn and its biases as 0; here all are
    # uniform with that standard deviation.
    "min_char_rnn": Config(
        data=Data(batch_size=1, length=25),
        model=Network(cell="elman", hidden_size=100, init_scale=0.01 * 3**0.5),
        optimizer=OptimizerConfig(name="adagrad", learning_rate=0.1, clip_value=5.0, eps=1e-8),
        loss_scale="sum",
        loop=LoopConfig(epochs=1.0, log_every=100, eval_every=10000, save_every=10000),
        sample=Sampling(temperature=1.0, length=200),
    ),
    # Karpathy, Johnson, Fei-Fei 2015; they also stopped early, on validation. As in char-rnn's train.lua, the gradient that is
    # clipped is summed over the steps and averaged over the rows (that program prints the mean over the steps, but does not
    # divide the gradient, since RMSProp would undo it).
    "karpathy_lstm": Config(
        data=Data(batch_size=100, length=100),
        model=Network(hidden_size=128, init_scale=0.08),
        optimizer=OptimizerConfig(
            name="rmsprop", learning_rate=2e-3, rms_decay=0.95, schedule="exponential", decay=0.95, decay_after=10, clip_value=5.0
        ),
        loss_scale="sum",
        loop=LoopConfig(epochs=50.0, patience=5),
    ),
    # A better recipe for the same task. The rate was chosen on War and Peace's validation split (H = 128, 3 epochs, one seed):
    # 0.008 gave 1.697 nats, 0.016 1.560, 0.03 1.496, 0.06 1.470. With H = 256 only 0.02 was tried.
    "modern_lstm": Config(
        data=Data(batch_size=50, length=100),
        model=Network(hidden_size=128),
        optimizer=OptimizerConfig(name="adam", learning_rate=0.03, schedule="cosine", warmup_steps=100, clip_norm=5.0),
        loop=LoopConfig(epochs=15.0),
    ),
    # Zaremba, Sutskever, Vinyals 2014, the small model: Penn Treebank words. The gradient is of the loss summed over the
    # steps and averaged over the rows, as in their main.lua: with plain SGD at rate 1 a mean would be 20 times too slow.
    "zaremba_small": Config(
        data=Data(vocabulary="word", batch_size=20, length=20),
        model=Network(layers=2, hidden_size=200, embedding_size=200, init_scale=0.1),
        optimizer=OptimizerConfig(name="sgd", learning_rate=1.0, schedule="exponential", decay=0.5, decay_after=4, clip_norm=5.0),
        loss_scale="sum",
        loop=LoopConfig(epochs=13.0),
        sample=Sampling(temperature=1.0, length=60),
    ),
}

PROGRAM = Program("language_model", PRESETS)
