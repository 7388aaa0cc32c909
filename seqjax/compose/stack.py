"""Cells made of cells, and the stateless parts that stand between them."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax.numpy as jnp

from seqjax import masks, noise
from seqjax.checks import check_choice, check_rate, check_size
from seqjax.contracts import Cell, CompositeCell, SequenceLayer, check_cell_field
from seqjax.errors import InputError
from seqjax.initializers import glorot
from seqjax.noise import Noise
from seqjax.parts import embed_part, init_parts, initial_states, shape_of_first
from seqjax.products import product
from seqjax.recurrence.engine import run
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, State, at_least_float32, is_tokens, output_dtype


@register
@dataclasses.dataclass(frozen=True)
class Stack(CompositeCell):
    """Cells one above another: a deep recurrent network, itself a cell.

        y_1 = cell_1(x),  y_2 = cell_2(y_1),  ...

    Its state is the tuple of its cells' states, its parameters `{"0": ..., "1": ...}`. Noisy where a part is.

    Args:
        cells: the cells, the one that reads the input first. Dropout before, between or after them is a part like any other.

    Raises:
        InputError: no cells, or something that cannot step: layers go into a Chain.

    Example:
        >>> from seqjax.cells.lstm import LSTM
        >>> stack = Stack((LSTM(input_size=3, hidden_size=4), Dropout(0.5), LSTM(input_size=4, hidden_size=5)))
        >>> sorted(stack.init(jax.random.key(0)))
        ['0', '2']

    Schmidhuber 1992; El Hihi, Bengio 1995; Graves, Mohamed, Hinton 2013.
    """

    cells: tuple[Cell, ...]

    def __post_init__(self):
        object.__setattr__(self, "cells", tuple(self.cells))
        if not self.cells:
            raise InputError("Stack has no cells: give at least one")
        for cell in self.cells:
            if isinstance(cell, SequenceLayer):
                raise InputError(
                    f"Stack holds cells only, and {type(cell).__name__} is a layer that cannot step: put it into a Chain"
                )
            if not isinstance(cell, Cell):
                raise InputError(f"Stack holds cells only, not a {type(cell).__name__}")

    @classmethod
    def of(cls, cell_type, sizes: tuple[int, ...], *, dropout: float = 0.0, per: str = "step", **fields) -> "Stack":
        """A stack of one type of cell.

        Args:
            cell_type: a Cell type with input_size and hidden_size.
            sizes: (D, H_1, H_2, ...).
            dropout: rate between the cells; 0 leaves it out.
            per: of the dropout, "step" or "sequence".
            **fields: for every cell.

        Returns:
            The stack.

        Example:
            >>> from seqjax.cells.gru import GRU
            >>> len(Stack.of(GRU, sizes=(3, 4, 4), dropout=0.1).cells)
            3
        """
        if len(sizes) < 2:
            raise InputError(f"sizes={tuple(sizes)!r}, Stack.of needs an input size and at least one hidden size")
        cells: list[Cell] = []
        for i, (d, h) in enumerate(itertools.pairwise(sizes)):
            if i and dropout:
                cells.append(Dropout(dropout, per=per))
            cells.append(cell_type(input_size=d, hidden_size=h, **fields))
        return cls(tuple(cells))

    @property
    def input_shape(self) -> Shape | None:
        return shape_of_first(self.cells)

    def init(self, key: Key) -> Params:
        """{"0": the first cell's parameters, ...}."""
        return init_parts(self.cells, key)

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None):
        """The tuple of the cells' initial states."""
        return initial_states(self.cells, params, batch_shape, context, key)

    def project(self, params: Params, xs: Array) -> Any:
        """The first cell's."""
        return self.cells[0].project(params.get("0", {}), xs)

    def embed(self, params: Params, table: Array) -> Params | None:
        """The first cell's."""
        return embed_part(self.cells[0], params, "0", table)

    def recur(self, params: Params, state, z, *, dot=product, context=None):
        """The first cell's recur, then the others' steps."""
        states = []
        for i, (cell, s) in enumerate(zip(self.cells, state, strict=True)):
            of_part = params.get(str(i), {})
            z = cell.project(of_part, z) if i else z
            s, z = cell.recur(of_part, s, z, dot=dot, context=context)
            states.append(s)
        return tuple(states), z

    def unroll(self, params: Params, xs: Array, state, **options):
        """Every cell over all steps, one after another."""
        states = []
        for i, (cell, s) in enumerate(zip(self.cells, state, strict=True)):
            s, xs = run(cell, params.get(str(i), {}), xs, s, **options)
            states.append(s)
        return tuple(states), xs


@register
@dataclasses.dataclass(frozen=True)
class Residual(CompositeCell):
    """A cell whose input is added to its output: y = x + cell(x).

    Args:
        cell: its output has the shape of its input. Noisy where `cell` is.

    Raises:
        InputError: at the first use, where output and input differ in shape, or the input is tokens.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> cell = Residual(GRU(input_size=3, hidden_size=3))
        >>> params = cell.init(jax.random.key(0))
        >>> cell.step(params, cell.initial_state(params), jnp.ones(3))[1].shape
        (3,)

    He et al. 2015; Wu et al. 2016 (between recurrent layers).
    """

    cell: Cell

    def __post_init__(self):
        check_cell_field(self, self.cell)

    @property
    def input_shape(self) -> Shape | None:
        return self.cell.input_shape

    def init(self, key: Key) -> Params:
        """The cell's."""
        return self.cell.init(key)

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None):
        """The cell's."""
        return self.cell.initial_state(params, batch_shape, context=context, key=key)

    def project(self, params: Params, xs: Array):
        """The input beside the cell's own projection."""
        return xs, self.cell.project(params, xs)

    def recur(self, params: Params, state, z, *, dot=product, context=None):
        """x + the cell's output."""
        x, z = z
        state, y = self.cell.recur(params, state, z, dot=dot, context=context)
        return state, self._add(x, y)

    def unroll(self, params: Params, xs: Array, state, **options):
        """The cell over all steps, then one addition."""
        state, ys = run(self.cell, params, xs, state, **options)
        return state, self._add(xs, ys)

    def _add(self, xs, ys):
        if is_tokens(xs, self.input_shape):
            raise InputError("Residual adds the input to the output, and integer tokens cannot be added: embed them first")
        if xs.shape != ys.shape:
            raise InputError(f"Residual adds an input of shape {xs.shape} to an output of {ys.shape}: they must be equal")
        return xs.astype(ys.dtype) + ys


@register
@dataclasses.dataclass(frozen=True)
class Dense(CompositeCell):
    """A matrix product and a bias at every step, such as the lectures' readout y = W_hy h + b_y. No state.

    Args:
        input_size: D.
        output_size: features of y.

    Raises:
        InputError: a size that cannot be.

    Example:
        >>> dense = Dense(3, 2)
        >>> dense.step(dense.init(jax.random.key(0)), (), jnp.ones(3))[1].shape
        (2,)
    """

    input_size: int
    output_size: int

    def __post_init__(self):
        check_size(self, input_size=self.input_size, output_size=self.output_size)

    @property
    def input_shape(self) -> Shape:
        return (self.input_size,)

    def init(self, key: Key) -> Params:
        """`kernel` [D, output_size], `bias` [output_size]."""
        return {"kernel": glorot(key, (self.input_size, self.output_size)), "bias": jnp.zeros(self.output_size)}

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None):
        """()."""
        return ()

    def project(self, params: Params, xs: Array) -> Array:
        """All of it: xs @ kernel + bias."""
        kernel = params["kernel"]
        if is_tokens(xs, self.input_shape):
            ys = kernel[xs.astype(jnp.int32)].astype(at_least_float32(kernel.dtype))
        else:
            ys = product(xs, kernel)
        return ys + jnp.broadcast_to(params["bias"].astype(ys.dtype), ys.shape)

    def recur(self, params: Params, state, z, *, dot=product, context=None):
        """Nothing is left to do."""
        return state, z

    def unroll(self, params: Params, xs: Array, state, **options):
        """One product over all steps."""
        ys = self.project(params, xs)
        return state, ys.astype(output_dtype(params, xs))


@register
@dataclasses.dataclass(frozen=True)
class Dropout(CompositeCell):
    """Noisy: each feature 0 with probability `rate`, else divided by 1 - rate. Without a key it passes its input on.

    What it drops is its place in a Stack: before a cell the input, after it the output.

    Args:
        rate: 0 <= rate < 1.
        per: "step" draws a mask at every step, "sequence" one for all steps of a row (variational dropout).
        input_shape: of one step of one row; None: whatever stands around it.

    Raises:
        InputError: a rate outside 0 <= rate < 1, or another word than those two.

    Example:
        >>> cell = Dropout(0.5)
        >>> cell.step({}, cell.initial_state({}, key=jax.random.key(1)), jnp.ones(6))[1].tolist()
        [0.0, 2.0, 0.0, 0.0, 0.0, 0.0]

    Srivastava et al. 2014; Zaremba, Sutskever, Vinyals 2014 (per step, never on the recurrence);
    Gal, Ghahramani 2016 (per sequence).
    """

    rate: float
    per: str = "step"
    input_shape: Shape | None = None  # type: ignore[assignment]

    def __post_init__(self):
        check_rate(self, self.rate)
        check_choice(self, ("step", "sequence"), per=self.per)
        if self.input_shape is not None:
            object.__setattr__(self, "input_shape", tuple(self.input_shape))

    def __repr__(self):
        shape = "" if self.input_shape is None else f", input_shape={self.input_shape}"
        return f"Dropout({self.rate}, per={self.per!r}{shape}, noisy)"

    def init(self, key: Key) -> Params:
        """{}."""
        return {}

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> Noise:
        """Its Noise."""
        return noise.reseed(Noise.off(batch_shape), key)

    def recur(self, params: Params, state: Noise, z: Array, *, dot=product, context=None) -> tuple[Noise, Array]:
        """This step's mask, or the sequence's."""
        self._check(z)
        keys = state.key
        if keys is not None and self.per == "step":
            keys = noise.fold_counts(keys, state.count)
        return state.advance(), noise.drop(keys, self.rate, z)

    def unroll(self, params: Params, xs: Array, state: Noise, *, mask=None, reverse=False, **options):
        """The masks of all steps at once: the count of a step is the real steps before it."""
        self._check(xs)
        real = jnp.ones(xs.shape[:2], jnp.bool_) if mask is None else mask
        keys = state.key
        if keys is not None:
            keys = jnp.broadcast_to(keys[:, None], xs.shape[:2])
            if self.per == "step":
                keys = noise.fold_counts(keys, state.count[:, None] + masks.real_steps_before(real, reverse=reverse))
        return Noise(state.key, state.count + real.sum(1, dtype=jnp.int32)), noise.drop(keys, self.rate, xs)

    @staticmethod
    def _check(xs):
        if not jnp.issubdtype(xs.dtype, jnp.floating):
            raise InputError(f"Dropout drops floating features, and xs is {xs.dtype}: put it after the part that reads xs")


class RecurrentDropoutState(NamedTuple):
    """The wrapped cell's state, and the noise."""

    cell: State
    noise: Noise


@register
@dataclasses.dataclass(frozen=True)
class RecurrentDropout(Cell):
    """Noisy: drops what goes into a cell's recurrent products, one mask per sequence and product; h itself is kept.

        dot(h, kernel) becomes dot(h * mask, kernel)

    Args:
        cell: any cell that writes its recurrent products through `dot`.
        rate: 0 <= rate < 1.

    Raises:
        InputError: a rate outside 0 <= rate < 1.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> cell = RecurrentDropout(GRU(input_size=2, hidden_size=3), 0.25)
        >>> state = cell.initial_state(cell.init(jax.random.key(0)), (5,), key=jax.random.key(1))
        >>> state.noise.count.shape
        (5,)

    Gal, Ghahramani 2016, arXiv:1512.05287.
    """

    cell: Cell
    rate: float

    def __post_init__(self):
        check_cell_field(self, self.cell)
        check_rate(self, self.rate)

    def __repr__(self):
        return f"RecurrentDropout({self.cell}, {self.rate}, noisy)"

    @property
    def input_shape(self) -> Shape | None:
        return self.cell.input_shape

    def init(self, key: Key) -> Params:
        """The cell's."""
        return self.cell.init(key)

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None):
        """The cell's state and the noise."""
        state = RecurrentDropoutState(self.cell.initial_state(params, batch_shape, context=context), Noise.off(batch_shape))
        return state if key is None else noise.reseed(state, key)

    def project(self, params: Params, xs: Array):
        """The cell's."""
        return self.cell.project(params, xs)

    def embed(self, params: Params, table: Array) -> Params | None:
        """The cell's."""
        return self.cell.embed(params, table)

    def recur(self, params: Params, state: RecurrentDropoutState, z, *, dot=product, context=None):
        """The cell's, with dropped left operands."""
        keys, calls = state.noise.key, itertools.count()

        def dropped(h, kernel):
            call = next(calls)
            return dot(
                h if keys is None else noise.drop(noise.fold_counts(keys, jnp.full(keys.shape, call)), self.rate, h), kernel
            )

        inner, y = self.cell.recur(params, state.cell, z, dot=dropped, context=context)
        return RecurrentDropoutState(inner, state.noise.advance()), y
