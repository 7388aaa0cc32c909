"""Encoders: the source of an encoder-decoder, read into places (positions) to attend to and a summary.

An encoder and its model split one key in six: the encoder uses the splits 0 and 2 in `init`, 0 and 3 in `encode`; the model
uses the others.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import masks
from seqjax.checks import as_array, check_array, check_choice, check_rate, check_size, check_sizes
from seqjax.contracts import Cell, SequenceLayer
from seqjax.errors import InputError
from seqjax.initializers import embedding_table
from seqjax.layers.chain import Chain
from seqjax.parameters import model_method
from seqjax.recurrence.engine import unroll
from seqjax.serial import register
from seqjax.symbols.checks import check_sequences
from seqjax.symbols.embedding import read_symbols
from seqjax.tree import zero_where_not
from seqjax.types import Array, Key, Params, Shape, State, at_least_float32
from seqjax.values import Value


@register
class Encoded(NamedTuple):
    """An encoded source.

    Args:
        values: floating, [B, S, M]: features of every place.
        mask: bool, [B, S], True at real places.
        summary: a pytree, leaves [B, ...], from which a bridge makes the decoder's first state.
    """

    values: Array
    mask: Array
    summary: State


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder(Value):
    """A part that reads a sequence for another: symbols, feature vectors, frames, an image.

        values [B, S, M], mask [B, S], summary = encode(params, batch)

    An encoder whose cell sees no later step can read online, piece by piece: the summary of a piece is the state for the next.

    Args:
        fields: each encoder declares its own, keyword-only.

    Returns:
        A value to pass to a Seq2Seq or a Classifier.

    Example:
        >>> batch = {"features": jnp.ones((2, 3, 3, 8))}  # two images, a grid of 3 x 3 places
        >>> encoded = Features(size=8).encode({}, batch)
        >>> encoded.values.shape, encoded.mask.shape, encoded.summary.shape
        ((2, 9, 8), (2, 9), (2, 8))
    """

    @property
    def vocabulary_sizes(self) -> tuple[int, ...]:
        """The sizes of the vocabularies whose symbols it reads; () for other sources."""
        return ()

    @functools.cached_property
    def output_size(self) -> int:
        """M, the features of a place."""
        encoded = jax.eval_shape(lambda key: self.encode(self.init(key), self.blank()), jax.random.key(0))
        if not hasattr(encoded.values, "shape"):
            raise InputError(f"the encoder's values are a {type(encoded.values).__name__}, they must be an array [B, S, M]")
        return encoded.values.shape[-1]

    def init(self, key: Key) -> Params:
        """Parameters, a nested plain dict of arrays."""
        raise NotImplementedError

    def blank(self) -> dict:
        """A batch of one row and one place, from which shapes are inferred."""
        raise NotImplementedError

    def initial_state(self, params: Params, rows: int) -> State:
        """The state before the first piece, for reading online.

        Args:
            params: from `init`.
            rows: B.

        Returns:
            A pytree of the structure, shapes and dtypes of a summary.

        Raises:
            InputError: the encoder cannot read online, because a part of it reads whole sequences.
        """
        raise NotImplementedError

    def piece(self, x: Array) -> dict:
        """A batch of one step: x [B, ...] under the key that the encoder reads."""
        raise NotImplementedError

    def inputs(self, batch: dict) -> tuple[dict, Any]:
        """The inputs of `encode`, checked.

        Args:
            batch: a dict of arrays with B rows.

        Returns:
            (the arrays that `encode` reads, the number of real places of each row [B]).

        Raises:
            InputError: a batch that cannot be read.
        """
        raise NotImplementedError

    def encode(self, params: Params, batch: dict, key: Key | None = None, state: State = None) -> Encoded:
        """Read a batch.

        Args:
            params: from `init`.
            batch: a dict of arrays with B rows.
            key: feeds dropout; None: deterministic.
            state: the summary of the piece before, or `initial_state`; None: the batch holds whole sequences.

        Returns:
            Encoded: values, mask and summary.

        Raises:
            InputError: a state, for an encoder that cannot read online.
        """
        raise NotImplementedError


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Symbols(Encoder):
    """An encoder of symbols: an embedding or one-hot, and a cell or layer over it.

        values, summary = outputs and final state of the cell over E x

    A batch holds name, integer [B, S], and name_lengths, integer [B], 0 for a padding row.

    Args:
        size: V, symbols of the vocabulary.
        embedding_size: E; None: the cell reads V features, one-hot symbols.
        cell: a cell or a layer.
        reverse: whether the cell reads the source from its end (Sutskever).
        dropout: rate on the embedding.
        per: one dropout mask for each "step", or one for the "sequence" (variational).
        name: the key in the batch: "source", or "tokens" where a text is classified.

    Raises:
        InputError: parts that do not fit together.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> encoder = Symbols(size=7, embedding_size=3, cell=GRU(input_size=3, hidden_size=4))
        >>> batch = {"source": jnp.array([[3, 4, 0]]), "source_lengths": jnp.array([2])}
        >>> encoder.encode(encoder.init(jax.random.key(0)), batch).values.shape
        (1, 3, 4)

    Sutskever, Vinyals, Le 2014; Cho et al. 2014.
    """

    vocabulary_sizes = property(lambda self: (self.size,))

    size: int
    embedding_size: int | None
    cell: Cell | SequenceLayer
    reverse: bool = False
    dropout: float = 0.0
    per: str = "step"
    name: str = "source"

    def __post_init__(self):
        check_size(self, size=self.size)
        check_rate(self, dropout=self.dropout)
        check_choice(self, ("step", "sequence"), per=self.per)
        if self.embedding_size is not None:
            check_size(self, embedding_size=self.embedding_size)
            _check_cell(self.cell, (self.embedding_size,), f"embedding_size is {self.embedding_size}")
        else:
            _check_cell(self.cell, (self.size,), f"one-hot symbols have size={self.size} features")
            if self.dropout:
                raise InputError(f"Symbols has dropout={self.dropout}, which is on the embedding: give embedding_size too")

    def init(self, key: Key) -> Params:
        """`embedding` [V, E], if there is one; `cell`."""
        k_embedding, _, k_cell, *_ = jax.random.split(key, 6)
        params = {"cell": self.cell.init(k_cell)}
        if self.embedding_size is None:
            return params
        return {"embedding": embedding_table(k_embedding, (self.size, self.embedding_size))} | params

    def blank(self) -> dict:
        return self.piece(jnp.zeros(1, jnp.int32))

    @model_method
    def initial_state(self, params: Params, rows: int) -> State:
        _check_online(self.cell, self.reverse)
        return self.cell.initial_state(params["cell"], (rows,))

    def piece(self, x: Array) -> dict:
        x = jnp.asarray(check_array("x", x, "integer", "B"))
        return {self.name: x[:, None], f"{self.name}_lengths": jnp.ones(x.shape[0], jnp.int32)}

    def inputs(self, batch: dict) -> tuple[dict, Any]:
        lengths = f"{self.name}_lengths"
        symbols, counts = check_sequences(batch, self.name, self.size, called=self._called)
        return {self.name: symbols, lengths: counts}, batch[lengths]

    @property
    def _called(self) -> str:
        return "sources" if self.name == "source" else self.name

    @model_method
    def encode(self, params: Params, batch: dict, key: Key | None = None, state: State = None) -> Encoded:
        if state is not None:
            _check_online(self.cell, self.reverse)
        k_embedding, _, _, k_cell, *_ = [None] * 6 if key is None else jax.random.split(key, 6)
        symbols, lengths = check_sequences(batch, self.name, self.size, called=self._called)
        dropout = {"dropout": self.dropout, "per": self.per, "key": k_embedding}
        cell_params, xs = params["cell"], symbols
        if self.embedding_size is not None:
            cell_params, xs = read_symbols(self.cell, cell_params, params["embedding"], symbols, **dropout)
        final, values = unroll(self.cell, cell_params, xs, state, lengths=lengths, reverse=self.reverse, key=k_cell)
        return Encoded(values, masks.from_lengths(lengths, symbols.shape[1]), final)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Features(Encoder):
    """An encoder of features: sensor values, poses, frames of a video or of speech, or the grid of an image, row by row.

        with a cell: values, summary = outputs and final state of the cell over x;    without: values = x, summary = mean of x

    A batch holds name, floating [B, S, D] or [B, H, W, D] with S = H W places, or [B, S, *size] of any dtype where size is a
    shape; and name_lengths, integer [B], the number of real places; without it, all are real. Pictures are read by a cell such
    as Stack((Feedforward(...), LSTM(...))).

    Args:
        size: D; or the shape of a place, such as (H, W, C) of a video's frames.
        cell: a cell or a layer that reads the places in order; None: the values are the features themselves.
        name: the key in the batch, such as "features", "frames" or "flow".
        reverse: whether the cell reads from the end.

    Raises:
        InputError: a cell that does not read features of that shape, or a shape of several axes and no cell.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> encoder = Features(size=8, cell=GRU(input_size=8, hidden_size=4))
        >>> encoded = encoder.encode(encoder.init(jax.random.key(0)), {"features": jnp.ones((2, 5, 8))})
        >>> encoded.values.shape, encoded.summary.h.shape
        ((2, 5, 4), (2, 4))

    Xu et al. 2015, arXiv:1502.03044 (an image's grid); Venugopalan et al. 2015, arXiv:1505.00487 (frames).
    """

    size: int | Shape
    cell: Cell | SequenceLayer | None = None
    name: str = "features"
    reverse: bool = False

    def __post_init__(self):
        if not isinstance(self.size, tuple | list):
            check_size(self, size=self.size)
        elif not self.size:
            raise InputError("Features has size=(), it must be a number of features or a shape of at least one axis")
        else:
            check_sizes(self, size=self.size)
        if self.cell is not None:
            _check_cell(self.cell, self.shape, f"size is {self.size}")
        elif len(self.shape) > 1:
            raise InputError(f"Features of shape {self.shape} need a cell that makes vectors of them: give a cell")

    @property
    def shape(self) -> Shape:
        """The shape of a place."""
        return (self.size,) if isinstance(self.size, int) else self.size

    def init(self, key: Key) -> Params:
        """The parameters of the cell; {} without a cell."""
        return {} if self.cell is None else self.cell.init(jax.random.split(key, 6)[2])

    def blank(self) -> dict:
        return {self.name: jnp.zeros((1, 1, *self.shape)), f"{self.name}_lengths": jnp.ones(1, jnp.int32)}

    @model_method
    def initial_state(self, params: Params, rows: int) -> State:
        """The initial state of the cell; zeros [B, D], which nothing reads, without a cell."""
        if self.cell is None:
            return jnp.zeros((rows, *self.shape))
        _check_online(self.cell, self.reverse)
        return self.cell.initial_state(params, (rows,))

    def piece(self, x: Array) -> dict:
        x = as_array("x", x)
        if x.ndim != 1 + len(self.shape):
            raise InputError(
                f"x has shape {x.shape}, a step reads {', '.join(['[B', *map(str, self.shape)])}]: one place of each row"
            )
        return {self.name: x[:, None]}

    def inputs(self, batch: dict) -> tuple[dict, Any]:
        values, lengths = self._read(batch)
        if lengths is None:
            rows, places = values.shape[0], math.prod(values.shape[1 : values.ndim - len(self.shape)])
            lengths = (np.full if isinstance(rows * places, int) else jnp.full)(rows, places, np.int32)
        return {self.name: values, f"{self.name}_lengths": jnp.asarray(lengths)}, lengths

    def _read(self, batch: dict) -> tuple[Array, Any]:
        """The values and their lengths, or None, of a batch."""
        shapes = f"[B, S, {', '.join(map(str, self.shape))}]"
        shapes += f" or [B, H, W, {self.size}]" if len(self.shape) == 1 else ""
        if self.name not in batch:
            raise InputError(f'the batch has no "{self.name}": give a dict with "{self.name}" {shapes}')
        values = jnp.asarray(as_array(self.name, batch[self.name]))
        axes, rank = values.ndim - len(self.shape), len(self.shape)
        fits = values.shape[axes:] == self.shape and (axes >= 2 if rank == 1 else axes == 2)
        if not fits or not (rank > 1 or jnp.issubdtype(values.dtype, jnp.floating)):
            must = "it must be " + "floating, " * (rank == 1) + shapes
            raise InputError(f'"{self.name}" has shape {values.shape} and dtype {values.dtype}, {must}')
        places = math.prod(values.shape[1:axes])
        return values, masks.check(batch.get(f"{self.name}_lengths"), None, (values.shape[0], places))[0]

    @model_method
    def encode(self, params: Params, batch: dict, key: Key | None = None, state: State = None) -> Encoded:
        values, lengths = self._read(batch)
        values = jax.lax.collapse(values, 1, values.ndim - len(self.shape))  # [B, S, *shape]
        rows, places = values.shape[:2]
        real = None if lengths is None else masks.from_lengths(jnp.asarray(lengths), places)
        mask = jnp.ones((rows, places), jnp.bool_) if real is None else real  # [B, S]
        if self.cell is None:
            values = zero_where_not(mask, values)
            count = jnp.maximum(mask.sum(axis=1, keepdims=True), 1).astype(at_least_float32(values.dtype))  # [B, 1]
            return Encoded(values, mask, values.sum(axis=1, dtype=count.dtype) / count)
        if state is not None:
            _check_online(self.cell, self.reverse)
        k_cell = None if key is None else jax.random.split(key, 6)[3]
        final, values = unroll(self.cell, params, values, state, mask=real, reverse=self.reverse, key=k_cell)
        return Encoded(values, mask, final)


def check_encoder(encoder):
    """Raise InputError unless a model's encoder is one."""
    if not isinstance(encoder, Encoder):
        raise InputError(f"the encoder is a {type(encoder).__name__}, it must be an Encoder such as Symbols or Features")


def target_mask(batch: dict, real: Array) -> Array:
    """The real steps that have a target, bool [B, T]: all real steps, unless the batch has a "target_mask"."""
    if batch.get("target_mask") is None:
        return real
    return real & jnp.asarray(check_array("target_mask", batch["target_mask"], "bool", *real.shape))


def class_probabilities(model, params: Params, batch: dict) -> Array:
    """The probabilities that a model with an encoder gives to classes, [B, C] or [B, T, C]; refuses what it cannot read."""
    return _class_probabilities(model, params, model.encoder.inputs(batch)[0])


@functools.partial(jax.jit, static_argnums=0)
def _class_probabilities(model, params: Params, batch: dict) -> Array:
    return model.apply(params, batch)[1].probabilities


def _check_cell(cell, shape: Shape, field: str):
    if not isinstance(cell, Cell | SequenceLayer):
        raise InputError(f"the encoder's cell is a {type(cell).__name__}, it must be a cell or a layer")
    if cell.input_shape not in (None, shape):
        raise InputError(f"the encoder's cell reads {cell.input_shape}, {field}: they must be equal")


def _check_online(part, reverse: bool):
    """Raise InputError unless a part can read a sequence piece by piece, carrying its state."""
    if reverse:
        raise InputError(f"{type(part).__name__} reads from the end (reverse=True), so it cannot read online")
    if isinstance(part, Chain):
        for inner in part.parts:
            _check_online(inner, reverse)
    elif not isinstance(part, Cell):
        raise InputError(f"{type(part).__name__} reads whole sequences, so it cannot read online: take cells, such as a Stack")
