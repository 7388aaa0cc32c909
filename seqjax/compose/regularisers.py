"""Regularisers: wrappers that change the recurrence of a cell in training."""

import dataclasses
import itertools
from typing import NamedTuple

import jax.numpy as jnp

from seqjax import noise
from seqjax.checks import check_rate
from seqjax.contracts import Cell, check_cell_field
from seqjax.errors import InputError
from seqjax.noise import Noise
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, State


@register
class RecurrentDropoutState(NamedTuple):
    """The wrapped cell's state, and the noise."""

    cell: State
    noise: Noise


@register
@dataclasses.dataclass(frozen=True)
class RecurrentDropout(Cell):
    """Recurrent dropout: one mask per sequence on the left operand of each recurrent product; the state keeps h. Noisy.

        dot(h, kernel) becomes dot(h * mask, kernel)

    Args:
        cell: any cell that writes its recurrent products through `dot`.
        rate: 0 <= rate < 1.

    Raises:
        InputError: a rate outside 0 <= rate < 1; on use, a cell without a product through `dot`.

    Example:
        >>> import jax
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
        check_rate(self, rate=self.rate)

    def __repr__(self):
        return f"RecurrentDropout({self.cell}, {self.rate}, noisy)"

    @property
    def input_shape(self) -> Shape | None:
        return self.cell.input_shape

    def init(self, key: Key) -> Params:
        """The cell's parameters."""
        return self.cell.init(key)

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None):
        """The cell's state and the noise."""
        state = RecurrentDropoutState(self.cell.initial_state(params, batch_shape, context=context), Noise.off(batch_shape))
        return state if key is None else noise.reseed(state, key)

    def project(self, params: Params, xs: Array):
        """The cell's projection."""
        return self.cell.project(params, xs)

    def embed(self, params: Params, table: Array) -> Params | None:
        """The cell's embedded parameters."""
        return self.cell.embed(params, table)

    def recur(self, params: Params, state: RecurrentDropoutState, z, *, dot=product, context=None):
        """The cell's step, with dropout on the left operands of its products."""
        keys, calls = state.noise.key, itertools.count()

        def dropped(h, kernel):
            call = next(calls)
            if keys is not None:
                h = noise.drop(noise.fold_counts(keys, jnp.full(keys.shape, call)), self.rate, h)
            return dot(h, kernel)

        inner, y = self.cell.recur(params, state.cell, z, dot=dropped, context=context)
        if not next(calls):
            name = type(self.cell).__name__
            raise InputError(f"RecurrentDropout drops nothing: no product of {name}.recur is written dot(h, kernel)")
        return RecurrentDropoutState(inner, state.noise.advance()), y
