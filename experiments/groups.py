"""Groups of flags that several experiments share."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from experiments.calls import make
from experiments.limits import Count, Layers, Natural, Needs, Portion, Positive, Rate, Seed, Size, Weight
from seqjax import decode
from seqjax.attention import Additive, Attention, Attentive, Dot, General, Local, Location, MultiHead, WindowAttention
from seqjax.compose import Dropout, Stack, Standardize
from seqjax.contracts import Cell, Decoder, SequenceLayer
from seqjax.data.series import Distortion, Mirror, Series, feature_moments
from seqjax.data.video import Augment
from seqjax.errors import InputError
from seqjax.layers import Bidirectional, Center, Chain, DilatedConvNet, TemporalConvNet
from seqjax.layers.heads import Head
from seqjax.layers.pooling import LatePooling, LocalPooling, Pooling, SlowPooling, TimeConvolution
from seqjax.layers.score_averaging import ScoreAveraging
from seqjax.models import Features  # registers every cell and layer
from seqjax.noise import key_of
from seqjax.symbols import TeacherForcing
from seqjax.types import Params
from seqjax.vision import frame_encoder


def make_cell(text: str, input_size: int, hidden_size: int, *kinds: type) -> tuple[Any, int]:
    """The cell or layer that `--model.cell` describes, and the number of features of its output.

    Args:
        text: its name, or the call that makes it, as for `make`.
        input_size: the number of features that it reads.
        hidden_size: its size, where the text has none.
        kinds: the contracts of which it must keep one.

    Raises:
        InputError: it is not known, refuses the sizes or its fields, or reads something else.
    """
    cell = make(text, *kinds, flag="--model.cell", input_size=input_size, hidden_size=hidden_size)
    if cell.input_shape not in (None, (input_size,)):
        raise InputError(f"--model.cell {text} reads {cell.input_shape}, it must read vectors of {input_size} features")
    return cell, Features(size=input_size, cell=cell).output_size


@dataclasses.dataclass(frozen=True)
class Recurrent:
    """A recurrent network."""

    cell: str = "lstm"  # a cell and its fields, such as GRU or 'LSTM(forget_bias=0.0)'
    hidden_size: Size = 128
    dropout: Rate = 0.0  # on the embedding, between layers and before the projection
    per: Literal["step", "sequence"] = "step"  # one dropout mask for each step, or for each row (variational)

    def stack(self, input_size: int, layers: int) -> Stack:
        """Layers of the cell, with dropout between them."""
        return Stack(self._layers(input_size, layers, self.hidden_size, lambda cell: cell))

    def both_ways(self, input_size: int, layers: int, merge: Literal["concat", "sum", "mean"] = "concat") -> Chain:
        """Layers that read in both directions, with dropout between them."""
        width = self.hidden_size * (2 if merge == "concat" else 1)
        return Chain(self._layers(input_size, layers, width, lambda cell: Bidirectional(cell, merge=merge)))

    def _layers(self, input_size: int, layers: int, width: int, made_of: Callable[[Cell], Any]) -> tuple:
        """Layers made of the cell, each of which gives `width` features, and the dropout between them."""
        parts: list = []
        for size in (input_size, *[width] * (layers - 1)):
            cell, features = make_cell(self.cell, size, self.hidden_size, Cell)
            if features != self.hidden_size:
                raise InputError(f"--model.cell {self.cell} gives {features} features, model.hidden_size is {self.hidden_size}")
            parts += [Dropout(self.dropout, per=self.per)] if parts and self.dropout else []
            parts.append(made_of(cell))
        return tuple(parts)


@dataclasses.dataclass(frozen=True)
class Reader(Recurrent):
    """A recurrent network that reads a sequence, which may do so in both directions."""

    layers: Layers = 1
    bidirectional: bool = False  # read in both directions; such a network cannot follow a stream

    @property
    def read_size(self) -> int:
        """The number of features of the network's output."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def reader(self, input_size: int) -> Cell | SequenceLayer:
        """The network, for inputs with `input_size` features."""
        return self.both_ways(input_size, self.layers) if self.bidirectional else self.stack(input_size, self.layers)


@dataclasses.dataclass(frozen=True)
class PerStep:
    """The preparation of the inputs, and an encoder that reads each step alone."""

    standardize: bool = False  # bring the inputs to mean 0 and scale 1 over the training data
    center: bool = False  # subtract the mean of each clip from its features; such a network cannot follow a stream
    input_dropout: Rate = 0.0  # rate at which whole features are left out of a training clip
    encoder: Literal["conv", "dense", "none"] = "none"  # a convolutional network or a layer reads every step
    channels: Annotated[tuple[Size, ...], Needs("encoder", ("conv",))] = (16, 32, 64)  # of the convolutional network
    encoded_size: Annotated[Size, Needs("encoder", ("conv", "dense"))] = 64  # features that the encoder makes of a step

    def per_step(self, series: Series, word: str) -> tuple[list[Cell | SequenceLayer], int]:
        """The parts that read an input of training data, and the number of features that they make of a step.

        Raises:
            InputError: a frame has no encoder, or is to be centred.
        """
        shape, parts = series.shapes[word], list[Cell | SequenceLayer]()
        if self.standardize:
            parts.append(Standardize(*feature_moments(series, word), input_shape=shape))
        if self.center:
            if len(shape) > 1:
                raise InputError(f"--model.center reads vectors, and {word} have the shape {shape}: give --model.no-center")
            parts.append(Center(input_size=math.prod(shape)))
        if self.input_dropout:
            parts.append(Dropout(self.input_dropout, per="sequence", input_shape=shape))
        if self.encoder == "none":
            if len(shape) > 1:
                raise InputError(f"{word} have the shape {shape}, and networks over time read vectors: give --model.encoder conv")
            return parts, math.prod(shape)
        channels = self.channels if self.encoder == "conv" else ()
        return [*parts, frame_encoder(shape, channels=channels, features=self.encoded_size)], self.encoded_size


OF_CONVOLUTIONS, OF_MULTI_LSTM = Needs("kind", ("ed_tcn", "dilated_tcn")), Needs("kind", ("multi_lstm",))


@dataclasses.dataclass(frozen=True)
class OverTime(Reader):
    """A network over time: recurrent or of convolutions."""

    kind: Literal["recurrent", "multi_lstm", "ed_tcn", "dilated_tcn", "none"] = "recurrent"
    width: Annotated[Size, OF_CONVOLUTIONS] = 9  # steps that a temporal convolution reads
    causal: Annotated[bool, OF_CONVOLUTIONS] = False  # of a temporal convolution: read no later step
    span: Annotated[Size, OF_MULTI_LSTM] = 5  # of a MultiLSTM: steps that each step reads, and that it labels
    offset: Annotated[Natural, OF_MULTI_LSTM] = 0  # of a MultiLSTM: steps from each step to the last that it labels

    def over_time(self, size: int) -> tuple[list[Cell | SequenceLayer], int]:
        """The network for `size` features a step, as a list of at most one part, and the number of features that it makes.

        Raises:
            InputError: sizes do not fit together.
        """
        if self.kind == "none":
            return [], size
        if self.kind == "recurrent":
            return [self.reader(size)], self.read_size
        hidden, layers = self.hidden_size, self.layers
        if self.kind == "multi_lstm":
            return [WindowAttention(cell=self.stack(size, layers), window=self.span, hidden_size=hidden)], hidden
        shape: dict[str, Any] = {"input_size": size, "width": self.width, "causal": self.causal, "dropout": self.dropout}
        if self.kind == "ed_tcn":
            return [TemporalConvNet(filters=(hidden,) * layers, **shape)], hidden
        return [DilatedConvNet(hidden_size=hidden, depth=layers, **shape)], hidden


OF_SCORES, OF_WINDOWS = Needs("head", ("scores",)), Needs("head", ("slow", "convolution"))


@dataclasses.dataclass(frozen=True)
class Pooled:
    """The head of a classifier of whole sequences."""

    head: Literal["scores", "max", "mean", "last", "late", "slow", "local", "convolution"] = "scores"  # see seqjax.layers
    average: Annotated[Literal["uniform", "linear", "last", "max"], OF_SCORES] = "uniform"  # of the steps' probabilities
    gain: Annotated[Literal["uniform", "linear", "last"], OF_SCORES] = "uniform"  # of the steps' losses; needs head scores
    head_layers: tuple[Size, ...] = ()  # sizes of the head's layers before its last
    pool_size: Annotated[Size, OF_WINDOWS] = 10  # steps of a window; needs head slow or convolution
    pool_stride: Annotated[Size, OF_WINDOWS] = 5  # steps from window to window
    pool_windows: Annotated[Size, Needs("head", ("local",))] = 4  # windows of a sequence; needs head local
    filters: Annotated[Size, Needs("head", ("convolution",))] = 64  # of the convolution

    def build_head(self, features: int, classes: int, dropout: float) -> Head:
        """The head for outputs of `features` features.

        Raises:
            InputError: sizes do not fit together.
        """
        sizes = {"features": features, "classes": classes, "hidden": self.head_layers, "dropout": dropout}
        windows = {"size": self.pool_size, "stride": self.pool_stride}
        if self.head == "scores":
            return ScoreAveraging(average=self.average, gain=self.gain, **sizes)
        if self.head == "late":
            return LatePooling(**sizes)
        if self.head == "slow":
            return SlowPooling(**windows, **sizes)
        if self.head == "local":
            return LocalPooling(windows=self.pool_windows, **sizes)
        if self.head == "convolution":
            return TimeConvolution(filters=self.filters, **windows, **sizes)
        return Pooling(reduce=self.head, **sizes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation(Augment):
    """Random changes of training clips: of frames and flow as in Augment, of features as in Distortion."""

    rotation: float = 0.0  # of features, three by three: the deviation of the angle, in degrees
    scale: float = 0.0  # of features: the deviation of a factor
    noise: float = 0.0  # of features: the deviation of what is added to each
    speed: float = 0.0  # the speed is drawn from [1 - speed, 1 + speed]
    mirror: tyro.conf.Suppress[Mirror | None] = None  # known from the data

    def __post_init__(self):
        super().__post_init__()
        self._distortion()

    def _distortion(self) -> Distortion:
        return Distortion(rotation=self.rotation, scale=self.scale, noise=self.noise, speed=self.speed)

    def __call__(self, inputs: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """One clip, changed at random."""
        return self._distortion()(super().__call__(inputs, rng), rng)


@dataclasses.dataclass(frozen=True)
class RecurrentEncoder(Recurrent):
    """A recurrent encoder, which may read in both directions."""

    encoder_layers: Layers = 1
    bidirectional: bool = True  # read in both directions
    merge: Literal["concat", "sum", "mean"] = "concat"  # of the two directions; dot attention needs sum or mean

    @property
    def encoded_size(self) -> int:
        """The number of features of the encoder's output."""
        return self.hidden_size * (2 if self.bidirectional and self.merge == "concat" else 1)

    def encoder(self, input_size: int) -> Cell | SequenceLayer:
        """The encoder of inputs with `input_size` features."""
        if not self.bidirectional:
            return self.stack(input_size, self.encoder_layers)
        return self.both_ways(input_size, self.encoder_layers, self.merge)


@dataclasses.dataclass(frozen=True)
class RecurrentDecoder(Recurrent):
    """A recurrent decoder of symbols, which may attend to an encoder's output."""

    decoder_layers: Layers = 1
    embedding_size: Size = 256
    attention: Literal["none", "additive", "dot", "general", "location"] = "additive"
    heads: Layers = 1  # above 1: multi-head attention with this many heads; needs attention dot
    places: Annotated[Size, Needs("attention", ("location",))] = 200  # the maximum number of symbols of a source
    window: Size | None = None  # for local attention: symbols on either side of the predicted position
    order: Literal["before", "after"] = "after"  # attend before the step, with the old state (Bahdanau), or after it (Luong)
    input_feeding: bool = True  # append the attention's output to the next step's input
    coverage: bool = False  # give additive attention the sum of its earlier weights
    tied: Literal["none", "target", "all"] = "none"  # target: the projection is the target's embedding; all: and the source's too

    def decoder(self, memory_size: int) -> Cell:
        """The decoder's cell.

        Args:
            memory_size: the number of features of the encoder's output.

        Raises:
            InputError: options that do not fit together.
        """
        cell = self.stack(self.embedding_size, self.decoder_layers)
        if self.attention == "none":
            options = {"coverage": self.coverage, "heads": self.heads != 1, "window": self.window is not None}
            if any(options.values()):
                names = " and ".join(f"model.{name}" for name, is_set in options.items() if is_set)
                raise InputError(f"{names} needs attention, model.attention is none")
            return cell
        output = self.embedding_size if self.tied != "none" else self.hidden_size
        how = {"order": self.order, "input_feeding": self.input_feeding, "output_size": output}
        return Attentive(cell=cell, attention=self.build_attention(memory_size), **how)

    def build_attention(self, memory_size: int) -> Attention:
        """The attention over an encoder's output of `memory_size` features.

        Raises:
            InputError: options that do not fit together.
        """
        size, kind = self.hidden_size, self.attention
        if self.coverage and kind != "additive":
            raise InputError(f"model.coverage needs additive attention, model.attention is {kind}")
        if self.heads != 1 and kind != "dot":
            raise InputError(f"model.heads is {self.heads}, several heads need dot attention, model.attention is {kind}")
        if kind == "dot" and self.heads == 1 and memory_size != size:
            raise InputError(
                f"model.attention dot multiplies the decoder's {size} units by the encoder's {memory_size} features: "
                "give model.merge sum, or model.attention general"
            )
        if kind == "additive":
            attention: Attention = Additive(query_size=size, memory_size=memory_size, hidden_size=size, coverage=self.coverage)
        elif kind == "general":
            attention = General(query_size=size, memory_size=memory_size)
        elif kind == "location":
            attention = Location(query_size=size, memory_size=memory_size, max_length=self.places)
        elif self.heads != 1:
            attention = MultiHead(query_size=size, memory_size=memory_size, hidden_size=size, heads=self.heads)
        else:
            attention = Dot(query_size=size, memory_size=memory_size)
        return attention if self.window is None else Local(attention=attention, window=self.window)


OF_DECAY = Needs("decay", ("linear", "exponential", "inverse_sigmoid"))


@dataclasses.dataclass(frozen=True)
class ScheduledSampling:
    """Scheduled sampling: the probability that a training step reads the true symbol (Bengio et al. 2015)."""

    decay: Literal["none", "linear", "exponential", "inverse_sigmoid"] = "none"  # none: always read the true symbol
    lowest: Annotated[Rate, OF_DECAY] = 0.0  # the lowest probability of the true symbol
    over: Annotated[Positive, OF_DECAY] = 1.0  # share of the run until it is `lowest` (linear), or one half (the other two)
    per: Literal["token", "sequence"] = "token"  # one draw for each symbol, or for each row

    def schedule(self, steps: int) -> TeacherForcing | None:
        """The schedule over a run of `steps` steps; None if every step reads the true symbol."""
        if self.decay == "none":
            return None
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
class Drawing:
    """Options for sampling symbols one after another."""

    temperature: Weight = 0.7
    top_k: Count | None = None
    top_p: Portion | None = None
    length: Count = 400  # number of symbols
    seed: Seed = 0
    argmax: bool = False  # take the likeliest symbol at every step

    def stream(self, model: Decoder, params: Params, batch: dict, banned: Sequence[int]) -> Iterator[np.ndarray]:
        """The symbols of each row, int32 [B], each as soon as it is drawn; none of `banned` is.

        Raises:
            InputError: immediately, if temperature, top_k, top_p or length is invalid.
        """
        return decode.stream(model, params, batch, key=key_of(self.seed), **self._options(banned))

    def several(self, model: Decoder, params: Params, batch: dict, count: int, banned: Sequence[int]) -> np.ndarray:
        """The symbols of several draws for a batch of one row, drawn together, int32 [count, length]; none of `banned` is.

        Raises:
            InputError: temperature, top_k, top_p or length is invalid.
        """
        drawn = decode.sample(model, params, batch, key=key_of(self.seed), samples=count, **self._options(banned))
        return np.asarray(drawn.tokens)[0]

    def _options(self, banned: Sequence[int]) -> dict[str, Any]:
        return {
            "max_length": self.length,
            "temperature": 0.0 if self.argmax else self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "banned": banned,
        }


def joined(parts: list) -> Cell | SequenceLayer | None:
    """Parts one after another: a Stack of cells, or a Chain if one of them sees a whole sequence."""
    if len(parts) < 2:
        return parts[0] if parts else None
    return Stack(tuple(parts)) if all(isinstance(part, Cell) for part in parts) else Chain(tuple(parts))
