"""The config of a classifier of sequences, and the presets. Every field is a flag: --model.hidden-size 256."""

import dataclasses
from typing import Annotated, ClassVar, Literal

from experiments.command_line import Program
from experiments.groups import Pooled, Reader
from experiments.limits import Count, FilePath, Needs, Rate, Share, Size, Weight
from experiments.session import Training
from seqjax.data.labels import Labels
from seqjax.data.series import Series
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.layers import Convolution
from seqjax.models import Classifier, Features, Symbols
from seqjax.train import LoopConfig, OptimizerConfig


@dataclasses.dataclass(frozen=True)
class Data:
    """The sequences, their classes and their batches."""

    SOURCES = PATHS = ("train", "valid", "test", "strokes", "series")  # files; a flag for one replaces the run's others
    OF_TRAINING: ClassVar = ("min_count", "max_size", "word_dropout", "distort")  # fields that evaluation has no use for

    train: FilePath | None = None  # a table, label<TAB>text or label text; .gz too. None: lines of Python's library, by module
    valid: FilePath | None = None  # likewise; None: split off from train
    test: FilePath | None = None  # likewise
    strokes: FilePath | None = None  # Omniglot's zip of pen strokes; instead of tables
    series: FilePath | None = None  # an .npz of series, or a folder of them by class; instead of tables
    split: tuple[Share, Share, Share] = (0.8, 0.1, 0.1)  # shares of training, validation and test where they are not given
    columns: tuple[str, str] | None = None  # label and text in a table: numbers from 1, or titles; in JSON lines: keys
    header: Literal["refuse", "skip", "keep"] = "refuse"  # a table's first row, if it looks like titles of columns
    names: tuple[str, ...] = ()  # new names for the labels of tables: 0=negative 1=positive
    encoding: str = "utf-8"  # of the tables
    lowercase: bool = True
    normalization: Literal["NFC", "NFKC"] | None = "NFC"  # Unicode's form of every text
    min_count: Count = 1  # words that occur less often in the training text are unknown
    max_size: Count | None = None  # maximum size of the vocabulary
    max_length: Size | None = None  # words; None: long enough for 99 % of the training texts, and at least 200
    word_dropout: Rate = 0.0  # share of the training words that are read as unknown
    distort: Weight = 0.0  # strength of the random distortion of training drawings, such as 1
    batch_size: Size = 50  # sequences of a batch, over all devices

    @property
    def is_text(self) -> bool:
        """True for tables of text, and for the default."""
        return self.strokes is None and self.series is None


@dataclasses.dataclass(frozen=True)
class Network(Reader, Pooled):
    """A recurrent or a convolutional network, and the head that pools its outputs over time."""

    kind: Literal["recurrent", "convolutional"] = "recurrent"
    dropout: Rate = 0.5  # between layers, and before each layer of the head
    embedding_size: Size = 128
    embedding_dropout: Rate = 0.5
    channels: Annotated[Size, Needs("kind", ("convolutional",))] = 100  # filters of each width of a convolutional network
    widths: Annotated[tuple[Size, ...], Needs("kind", ("convolutional",))] = (3, 4, 5)  # of these filters
    label_smoothing: Rate = 0.1


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """A classifier of sequences."""

    data: Data = Data()
    model: Network = Network()
    monitor: Literal["loss", "accuracy"] = "accuracy"


def build_model(config: Network, words: Vocabulary | None, classes: Labels, series: Series) -> Classifier:
    """Builds the model of a config.

    Args:
        config: its sizes.
        words: the vocabulary of texts; None: sequences of feature vectors.
        classes: the classes.
        series: training sequences, which give the number of features.

    Raises:
        InputError: sizes or options do not fit together.
    """
    size = config.embedding_size if words is not None else int(series.shapes["features"][0])
    if config.kind == "convolutional":
        network = Convolution(input_size=size, features=config.channels, widths=config.widths)
        features = config.channels * len(config.widths)
    else:
        network, features = config.reader(size), config.read_size
    if words is None:
        encoder = Features(size=size, cell=network)
    else:
        rates = {"dropout": config.embedding_dropout, "per": config.per}
        encoder = Symbols(size=len(words), embedding_size=size, cell=network, name="tokens", **rates)
    head = config.build_head(features, len(classes), config.dropout)
    return Classifier(encoder=encoder, head=head, label_smoothing=config.label_smoothing)


ADAM = OptimizerConfig(learning_rate=2e-3, schedule="cosine", warmup_steps=50, clip_norm=5.0, weight_decay=1e-4)
BOTH_WAYS = Network(cell="gru", hidden_size=96, bidirectional=True, head="max")
PRESETS = {
    # Lines of 20 modules of Python's library: a minute or two on two cores, nothing to download.
    "tiny": Config(
        data=Data(batch_size=100),
        model=dataclasses.replace(BOTH_WAYS, hidden_size=64, embedding_size=64, embedding_dropout=0.3),
        optimizer=dataclasses.replace(ADAM, learning_rate=4e-3),
        loop=LoopConfig(epochs=5),
    ),
    # TREC's questions (Li, Roth 2002), 6 classes of answers. Files are given with --data.train and --data.test.
    "trec": Config(
        data=Data(
            names=("0=description", "1=entity", "2=abbreviation", "3=person", "4=place", "5=number"),
            split=(0.9, 0.1, 0.0),
            encoding="latin-1",
        ),
        model=BOTH_WAYS,
        optimizer=ADAM,
        loop=LoopConfig(epochs=12),
    ),
    # The Stanford Sentiment Treebank's whole sentences (Socher et al. 2013), two classes.
    "sst2": Config(
        data=Data(names=("0=negative", "1=positive")),
        model=BOTH_WAYS,
        optimizer=ADAM,
        loop=LoopConfig(epochs=6),
    ),
    # Omniglot's characters, as they are drawn (Lake et al. 2015): 5 alphabets, tested on drawers who are not in training.
    "omniglot": Config(
        data=Data(distort=1.0, batch_size=32),
        model=Network(cell="lstm", hidden_size=128, head="scores", gain="linear", average="last", dropout=0.3),
        optimizer=dataclasses.replace(ADAM, learning_rate=0.01),
        loop=LoopConfig(epochs=40),
    ),
}

PROGRAM = Program("sequence_classification", PRESETS)
