"""Networks of any registered cell or layer, by its name, for sequences with answers of any kind."""

import dataclasses
from typing import Any, Literal

from experiments.groups import joined, make_cell
from experiments.limits import Layers, Natural, Rate, Size
from seqjax.compose import Dense, Dropout, Standardize
from seqjax.contracts import Cell, Model, SequenceLayer
from seqjax.errors import InputError
from seqjax.layers import Pooling
from seqjax.models import Classifier, Features, FrameClassifier, Regressor, Symbols


@dataclasses.dataclass(frozen=True)
class Network:
    """A recurrent network of any registered cell, with fully connected outputs at every step."""

    cell: str = "LSTM"  # a cell or layer and its fields, such as 'LSTM(forget_bias=0.0)' or 'FixedWindow(length=23)'
    hidden_size: Size = 128
    layers: Layers = 1
    dropout: Rate = 0.0  # between layers and before the output
    input_dropout: Rate = 0.0  # of whole features of the input
    encoded_size: Size | None = None  # features of a linear layer (of symbols: an embedding) below the cells; None: there is none
    delay: Natural = 0  # steps from the cell to the output, as if connections took time


@dataclasses.dataclass(frozen=True)
class Shape:
    """A task as a network sees it.

    Args:
        reads: the number of features of a step, or of symbols.
        symbols: whether symbols are read.
        names: of the classes, flags or values.
        answers: a class for each sequence ("labels"), or for each step a class, flags or values.
        moments: mean and scale of each feature, to be brought to 0 and 1; None: they are read as they are.
    """

    reads: int
    symbols: bool
    names: tuple[str, ...]
    answers: Literal["labels", "classes", "flags", "values"]
    moments: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def build_model(config: Network, shape: Shape) -> Model:
    """Builds the model of a config.

    Args:
        config: its cell and sizes.
        shape: what the task reads and asks for.

    Raises:
        InputError: the cell is not known, or it refuses the sizes or its fields.
    """
    if shape.symbols and config.input_dropout:
        raise InputError(f"--model.input-dropout is {config.input_dropout}, and the task reads symbols: leave it out")
    size, parts = shape.reads, list[Cell | SequenceLayer]()
    if shape.moments is not None:
        parts.append(Standardize(*shape.moments, input_shape=(size,)))
    if config.input_dropout:
        parts.append(Dropout(config.input_dropout, per="sequence", input_shape=(size,)))
    if config.encoded_size is not None:
        parts += [] if shape.symbols else [Dense(input_size=size, output_size=config.encoded_size)]
        size = config.encoded_size
    for layer in range(config.layers):
        parts += [Dropout(config.dropout)] if layer and config.dropout else []
        part, size = make_cell(config.cell, size, config.hidden_size, Cell, SequenceLayer)
        parts.append(part)
    network: Any = joined(parts)
    if shape.symbols:
        encoder = Symbols(size=shape.reads, embedding_size=config.encoded_size, cell=network, name="tokens")
    else:
        encoder = Features(size=shape.reads, cell=network)
    return _model(config, shape, encoder)


def _model(config: Network, shape: Shape, encoder: Symbols | Features) -> Model:
    count, dropout = len(shape.names), config.dropout
    if config.delay and shape.answers not in ("classes", "flags"):
        raise InputError(f"--model.delay is {config.delay}, and only outputs that are a class or flags at every step have one")
    if shape.answers == "labels":
        head = Pooling(features=encoder.output_size, classes=count, reduce="last", dropout=dropout)
        return Classifier(encoder=encoder, head=head)
    if shape.answers == "values":
        return Regressor(encoder=encoder, outputs=count, dropout=dropout)
    exclusive = shape.answers == "classes"
    return FrameClassifier(encoder=encoder, classes=count, exclusive=exclusive, dropout=dropout, offset=config.delay)
