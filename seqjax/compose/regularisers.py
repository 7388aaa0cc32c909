"""Regularisers: changes of the recurrence of a cell in training."""

import dataclasses
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax import noise
from seqjax.annotations import public
from seqjax.checks import as_number, check_key, check_rate, shown
from seqjax.contracts import Cell, CompositeCell, check_cell_field
from seqjax.errors import InputError
from seqjax.noise import Noise
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params, Shape, State, is_floating


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


@register
class ZoneoutState(NamedTuple):
    """The wrapped cell's state, and the noise."""

    cell: State
    noise: Noise


@register
@dataclasses.dataclass(frozen=True)
class Zoneout(Cell):
    """Zoneout: at every step each unit of the state keeps its value with probability `rate`. Noisy.

        s[t] = m * s[t-1] + (1 - m) * s_new,   m = 1 with probability rate, drawn at every step
        s[t] = rate * s[t-1] + (1 - rate) * s_new   without a key: the expectation

    The output of the cell must be a part of its state, such as h; it is zoned out with it. In a Stack, wrap each cell.

    Args:
        cell: a cell.
        rate: one rate for the whole state; or one for each of its floating arrays in their order, such as (0.5, 0.05) for c and h
            of an LSTM. 0 <= rate < 1.

    Raises:
        InputError: a rate outside 0 <= rate < 1, another number of rates than of arrays, or a composite cell; on use, a cell
            whose output is no part of its state.

    Example:
        >>> from seqjax.cells.lstm import LSTM
        >>> cell = Zoneout(LSTM(input_size=2, hidden_size=3), (0.5, 0.05))
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params, key=jax.random.key(1)), jnp.ones(2))
        >>> bool((y == state.cell.h).all())
        True

    Krueger et al. 2016, arXiv:1606.01305.
    """

    cell: Cell
    rate: float | tuple[float, ...]

    def __post_init__(self):
        check_cell_field(self, self.cell)
        if isinstance(self.cell, CompositeCell):
            raise InputError(f"Zoneout wraps one recurrent cell, not {self.cell}: wrap each cell inside")
        if not isinstance(self.rate, tuple | list):
            check_rate(self, rate=self.rate)
            return
        for i, rate in enumerate(self.rate):
            check_rate(self, **{f"rate[{i}]": rate})
        object.__setattr__(self, "rate", tuple(map(as_number, self.rate)))
        state = jax.eval_shape(lambda key: self.cell.initial_state(self.cell.init(key)), jax.random.key(0))
        if (count := sum(map(is_floating, jax.tree.leaves(state)))) != len(self.rate):
            name = type(self.cell).__name__
            raise InputError(
                f"Zoneout has rate={shown(self.rate)}, {name} has {count} floating arrays in its state: give as many"
            )

    def __repr__(self):
        return f"Zoneout({self.cell}, {self.rate}, noisy)"

    @property
    def input_shape(self) -> Shape | None:
        return self.cell.input_shape

    def init(self, key: Key) -> Params:
        """The cell's parameters."""
        return self.cell.init(key)

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> ZoneoutState:
        """The cell's state and the noise."""
        state = ZoneoutState(self.cell.initial_state(params, batch_shape, context=context), Noise.off(batch_shape))
        return state if key is None else noise.reseed(state, key)

    def project(self, params: Params, xs: Array):
        """The cell's projection."""
        return self.cell.project(params, xs)

    def embed(self, params: Params, table: Array) -> Params | None:
        """The cell's embedded parameters."""
        return self.cell.embed(params, table)

    def recur(self, params: Params, state: ZoneoutState, z, *, dot=product, context=None):
        """The cell's step, of which some units are taken back."""
        new, y = self.cell.recur(params, state.cell, z, dot=dot, context=context)
        keys = None if state.noise.key is None else noise.fold_counts(state.noise.key, state.noise.count)
        count = sum(map(is_floating, jax.tree.leaves(new)))
        rates = iter(enumerate(self.rate if isinstance(self.rate, tuple) else (self.rate,) * count))
        zoned: dict[int, Array] = {}  # the new arrays of the state, by the identity of those before

        def keep_some(before, after):
            if not is_floating(after):
                return after
            number, rate = next(rates)
            if keys is None:
                zoned[id(after)] = after + jnp.asarray(rate, after.dtype) * (before - after)
            else:
                draws = noise.fold_counts(keys, jnp.full(keys.shape, number))
                zoned[id(after)] = jnp.where(noise.chosen(draws, rate, after.shape), before, after)
            return zoned[id(after)]

        kept = jax.tree.map(keep_some, state.cell, new)
        if not all(id(a) in zoned for a in jax.tree.leaves(y)):
            raise InputError(f"Zoneout needs a cell whose output is a part of its state, that of {self.cell} is not")
        return ZoneoutState(kept, state.noise.advance()), jax.tree.map(lambda a: zoned[id(a)], y)


@public
def drop_weights(params: Params, key: Key | None, rate: float) -> Params:
    """DropConnect: entries of every recurrent kernel set to 0 with probability `rate`, the others divided by 1 - rate.

    Called before `unroll`, it draws one mask for all rows and steps. Recurrent kernels are the parameters, at any depth, that
    are named recurrent_kernel or candidate_kernel, alone or after a prefix and an underscore; an LSTM's projection_kernel, which
    makes its output, is none.

    Args:
        params: parameters of any cell, layer or model.
        key: a typed key; None: params are returned unchanged, as for evaluation.
        rate: 0 <= rate < 1.

    Returns:
        Parameters of the same form.

    Raises:
        InputError: a rate outside 0 <= rate < 1, another kind of key, or parameters without a recurrent kernel.

    Example:
        >>> params = {"input_kernel": jnp.ones((2, 3)), "recurrent_kernel": jnp.ones((3, 3))}
        >>> sorted(set(drop_weights(params, jax.random.key(0), 0.5)["recurrent_kernel"].ravel().tolist()))
        [0.0, 2.0]

    Wan et al. 2013; Merity, Keskar, Socher 2017, arXiv:1708.02182 (on recurrent kernels).
    """
    if not 0 <= rate < 1:
        raise InputError(f"rate is {rate}, it must be at least 0 and below 1")
    paths = [path for path, _ in jax.tree.leaves_with_path(params) if _names_recurrent_kernel(path)]
    if not paths:
        raise InputError("drop_weights drops nothing: params hold no recurrent_kernel or candidate_kernel")
    if key is None:
        return params
    check_key("key", key, several="its masks are those of all rows")
    keys = {jax.tree_util.keystr(path): jax.random.fold_in(key, n) for n, path in enumerate(paths)}

    def dropped(path, a):
        name = jax.tree_util.keystr(path)
        return noise.drop(keys[name], rate, a) if name in keys else a

    return jax.tree.map_with_path(dropped, params)


def _names_recurrent_kernel(path) -> bool:
    name = jax.tree_util.keystr(path[-1:], simple=True)
    return f"_{name}".endswith(("_recurrent_kernel", "_candidate_kernel"))
