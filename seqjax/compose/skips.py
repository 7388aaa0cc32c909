"""Connections past a cell: its input added to its output, or mixed with it by a gate."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.checks import check_number
from seqjax.contracts import Cell, CompositeCell, check_cell_field
from seqjax.errors import InputError
from seqjax.gates import gate_values
from seqjax.initializers import glorot
from seqjax.products import affine, product
from seqjax.recurrence.arguments import check_array
from seqjax.recurrence.engine import run
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, State, is_tokens


@dataclasses.dataclass(frozen=True)
class Skip(CompositeCell):
    """A cell with a connection past it; a subclass gives `before`, what it needs of the input, and `joined`, the output.

    Args:
        cell: a cell whose output has the shape of its input.
    """

    cell: Cell

    def __post_init__(self):
        check_cell_field(self, self.cell)

    @property
    def input_shape(self) -> Shape | None:
        return self.cell.input_shape

    def before(self, params: Params, xs: Array) -> Any:
        """The features of the input that the output needs, each step alone."""
        raise NotImplementedError

    def joined(self, skipped: Any, ys: Array) -> Array:
        """The output, from what `before` returned and the cell's output."""
        raise NotImplementedError

    def inner(self, params: Params) -> Params:
        """The cell's parameters."""
        return params

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> State:
        """The cell's initial state."""
        return self.cell.initial_state(self.inner(params), batch_shape, context=context, key=key)

    def project(self, params: Params, xs: Array) -> tuple[Any, Any]:
        """The pair (what `before` returns, the cell's projection of the input)."""
        self._check_features(xs)
        return self.before(params, xs), self.cell.project(self.inner(params), xs)

    def recur(self, params: Params, state: State, z, *, dot=product, context=None) -> tuple[State, Array]:
        """A step of the cell, joined with its input."""
        skipped, z = z
        state, y = self.cell.recur(self.inner(params), state, z, dot=dot, context=context)
        return state, self._joined(skipped, y)

    def unroll(self, params: Params, xs: Array, state: State, **options) -> tuple[State, Array]:
        """The cell over all steps, joined with its input at once."""
        self._check_features(xs)
        state, ys = run(self.cell, self.inner(params), xs, state, **options)
        return state, self._joined(self.before(params, xs), ys)

    def _check_features(self, xs: Array):
        if is_tokens(xs, self.input_shape):
            name = type(self).__name__
            raise InputError(f"{name} adds the input to the output, and integer tokens cannot be added: embed them first")

    def _joined(self, skipped: Any, ys: Array) -> Array:
        check_array(self, ys)
        return self.joined(skipped, ys)

    def _check_equal(self, xs: Array, ys: Array):
        if xs.shape != ys.shape:
            name = type(self).__name__
            raise InputError(f"{name} adds an input of shape {xs.shape} to an output of {ys.shape}: they must be equal")


@register
@dataclasses.dataclass(frozen=True)
class Residual(Skip):
    """A cell whose input is added to its output: y = x + cell(x).

    Args:
        cell: a cell whose output has the shape of its input. Noisy if that cell is.

    Raises:
        InputError: on use, if output and input differ in shape, or the input is tokens.

    Example:
        >>> import jax
        >>> from seqjax.cells.gru import GRU
        >>> cell = Residual(GRU(input_size=3, hidden_size=3))
        >>> params = cell.init(jax.random.key(0))
        >>> cell.step(params, cell.initial_state(params), jnp.ones(3))[1].shape
        (3,)

    He et al. 2015; Wu et al. 2016 (between recurrent layers).
    """

    def init(self, key: Key) -> Params:
        """The cell's parameters."""
        return self.cell.init(key)

    def before(self, params: Params, xs: Array) -> Array:
        """The input."""
        return xs

    def joined(self, skipped: Array, ys: Array) -> Array:
        """x + the cell's output."""
        self._check_equal(skipped, ys)
        return skipped.astype(ys.dtype) + ys


@register
@dataclasses.dataclass(frozen=True)
class Highway(Skip):
    """A cell whose output is mixed with its input by a gate that reads the input.

        t = s(W x + b),  y = t * cell(x) + (1 - t) * x

    Args:
        cell: a cell whose output has the shape (D,) of its input. Noisy if that cell is.
        transform_bias: initial b; below 0, y begins close to x.

    Raises:
        InputError: a cell that reads no vectors, or a transform_bias that is not a number; on use, if output and input differ in
            shape, or the input is tokens.

    Example:
        >>> import jax
        >>> from seqjax.cells.gru import GRU
        >>> cell = Highway(GRU(input_size=3, hidden_size=3))
        >>> params = cell.init(jax.random.key(0))
        >>> cell.step(params, cell.initial_state(params), jnp.ones(3))[1].shape
        (3,)

    Srivastava, Greff, Schmidhuber 2015, arXiv:1505.00387; Kim et al. 2015, arXiv:1508.06615 (beside an LSTM).
    """

    transform_bias: float = -2.0

    def __post_init__(self):
        super().__post_init__()
        check_number(self, transform_bias=self.transform_bias)
        if self.input_shape is None or len(self.input_shape) != 1:
            raise InputError(f"Highway has a gate that reads vectors, and its cell reads {self.input_shape}")

    def init(self, key: Key) -> Params:
        """`cell`; `gate_kernel` [D, D], `gate_bias` [D]."""
        k_cell, k_gate = jax.random.split(key)
        [size] = self.input_shape  # type: ignore[misc]
        bias = jnp.full(size, float(self.transform_bias))
        params = {"gate_kernel": glorot(k_gate, (size, size)), "gate_bias": bias}
        return {"cell": cell} | params if (cell := self.cell.init(k_cell)) else params

    def inner(self, params: Params) -> Params:
        """The cell's parameters."""
        return params.get("cell", {})

    def before(self, params: Params, xs: Array) -> tuple[Array, Array]:
        """The pair (x, t)."""
        return xs, gate_values(affine(xs, params["gate_kernel"], params["gate_bias"]), t="s")[0]

    def joined(self, skipped: tuple[Array, Array], ys: Array) -> Array:
        """The mixture of x and the cell's output."""
        xs, transform = skipped
        self._check_equal(xs, ys)
        transform = transform.astype(ys.dtype)
        xs = xs.astype(ys.dtype)
        return xs + transform * (ys - xs)
