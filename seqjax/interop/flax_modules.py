"""A cell or layer as a module of Flax, Linen or NNX, over whole sequences and step by step."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import core, linen, nnx

from seqjax.annotations import public
from seqjax.checks import kind_of, shown
from seqjax.contracts import Cell, SequenceLayer
from seqjax.errors import InputError
from seqjax.parameters import check_params
from seqjax.recurrence.engine import unroll
from seqjax.types import Array, Key, Params, State


class LinenLayer(linen.Module):
    """A cell or layer as a Linen module, made by `as_linen`.

    `variables["params"]` are the parameters of the cell, under their names.

    Args:
        cell: the cell or layer.

    Example:
        >>> from seqjax.cells import LSTM
        >>> layer = LinenLayer(LSTM(input_size=2, hidden_size=3))
        >>> variables = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((1, 4, 2)))
        >>> sorted(variables["params"])
        ['bias', 'input_kernel', 'recurrent_kernel']
    """

    cell: Any

    def setup(self):
        _check(self.cell)
        # where there are parameters `self.param` would trace `init`, to compare shapes as `_checked` does for less
        if not self.is_initializing():
            self.held = core.meta.unbox(self.variables.get("params", {}))
            return
        params = self.cell.init(_typed(self.make_rng("params")))
        self.held = {name: self.param(name, lambda _, name=name: params[name]) for name in params}

    def __call__(
        self, xs: Array, state: State = None, *, deterministic: bool | None = None, return_state: bool = False, **options
    ) -> Any:
        """The outputs of all steps, by `seqjax.unroll`.

        Args:
            xs: [B, T, *input_shape], or integer tokens [B, T].
            state: leaves [B, ...]; None: the initial state.
            deterministic: True turns noise off, False takes the rng "dropout"; None takes it if there is one.
            return_state: return (state, ys) in place of ys.
            **options: as for `seqjax.unroll`: lengths, mask, reset, context, reverse, ...

        Returns:
            ys [B, T, ...], or (state, ys).
        """
        noisy = self.has_rng("dropout") if deterministic is None else not deterministic
        key = _typed(self.make_rng("dropout")) if noisy else None
        return _unroll(self.cell, _checked(self.cell, self.held), xs, state, key, return_state, options)

    def start(self, rows: int, *, context=None) -> State:
        """The state before the first step, leaves [rows, ...]; with an rng "dropout" its noise is on."""
        key = _typed(self.make_rng("dropout")) if self.has_rng("dropout") else None
        return self.cell.initial_state(_checked(self.cell, self.held), (rows,), context=context, key=key)

    def step(self, state: State, x: Array, *, context=None) -> tuple[State, Any]:
        """One step from the state before it: (state, y), y [B, ...]."""
        return _step(self.cell, _checked(self.cell, self.held), state, x, context)


class NNXLayer(nnx.Module):
    """A cell or layer as an NNX module, made by `as_nnx`.

    `params` are the parameters of the cell, each an `nnx.Param`. Noise is on until `eval()` turns it off.

    Args:
        cell: the cell or layer.
        rngs: the rngs of the parameters ("params") and of noise ("dropout").

    Example:
        >>> from seqjax.cells import LSTM
        >>> layer = NNXLayer(LSTM(input_size=2, hidden_size=3), rngs=nnx.Rngs(0))
        >>> layer.params["bias"].shape
        (12,)
    """

    def __init__(self, cell: Cell | SequenceLayer, *, rngs: nnx.Rngs):
        _check(cell)
        for stream in ("params", "dropout"):
            if not isinstance(rngs, nnx.Rngs) or not hasattr(rngs, stream):
                has = f"has no stream {stream!r}" if isinstance(rngs, nnx.Rngs) else f"is {shown(rngs)}"
                raise InputError(f"rngs {has}: give nnx.Rngs(0), or nnx.Rngs(params=0, dropout=1)")
        self.cell = cell
        self.params = nnx.data(jax.tree.map(nnx.Param, cell.init(rngs.params())))
        self.rngs = rngs.dropout.fork()
        self.deterministic = False

    def arrays(self) -> Params:
        """The parameters of the cell as it takes them, a nested dict of arrays."""
        return jax.tree.map(lambda param: param[...], self.params, is_leaf=lambda node: isinstance(node, nnx.Variable))

    def __call__(
        self, xs: Array, state: State = None, *, deterministic: bool | None = None, return_state: bool = False, **options
    ) -> Any:
        """The outputs of all steps, by `seqjax.unroll`.

        Args:
            xs: [B, T, *input_shape], or integer tokens [B, T].
            state: leaves [B, ...]; None: the initial state.
            deterministic: True turns noise off; None: as the module has it.
            return_state: return (state, ys) in place of ys.
            **options: as for `seqjax.unroll`: lengths, mask, reset, context, reverse, ...

        Returns:
            ys [B, T, ...], or (state, ys).
        """
        key = None if (self.deterministic if deterministic is None else deterministic) else self.rngs()
        return _unroll(self.cell, self.arrays(), xs, state, key, return_state, options)

    def start(self, rows: int, *, context=None) -> State:
        """The state before the first step, leaves [rows, ...]; its noise is on unless the module is deterministic."""
        key = None if self.deterministic else self.rngs()
        return self.cell.initial_state(self.arrays(), (rows,), context=context, key=key)

    def step(self, state: State, x: Array, *, context=None) -> tuple[State, Any]:
        """One step from the state before it: (state, y), y [B, ...]."""
        return _step(self.cell, self.arrays(), state, x, context)


@public
def as_linen(cell: Cell | SequenceLayer) -> LinenLayer:
    """A cell or layer as a Flax Linen module, to be trained and composed like any other.

    Args:
        cell: the cell or layer; equal cells are equal modules.

    Returns:
        A module that maps xs [B, T, ...] to ys [B, T, ...]; `variables["params"]` are the parameters of the cell.

    Raises:
        InputError: an argument that is not a cell or layer.

    Example:
        >>> from seqjax.cells import GRU
        >>> layer = as_linen(GRU(input_size=2, hidden_size=3))
        >>> xs, lengths = jnp.ones((4, 5, 2)), jnp.array([5, 2, 1, 0])
        >>> layer.apply(layer.init(jax.random.key(0), xs), xs, lengths=lengths).shape
        (4, 5, 3)
    """
    _check(cell)
    return LinenLayer(cell)


@public
def as_nnx(cell: Cell | SequenceLayer, *, rngs: nnx.Rngs) -> NNXLayer:
    """A cell or layer as a Flax NNX module, to be trained and composed like any other.

    Args:
        cell: the cell or layer.
        rngs: the rngs of the parameters ("params") and of noise ("dropout").

    Returns:
        A module that maps xs [B, T, ...] to ys [B, T, ...]; its `params` are those of the cell.

    Raises:
        InputError: an argument that is not a cell or layer.

    Example:
        >>> from seqjax.cells import GRU
        >>> layer = as_nnx(GRU(input_size=2, hidden_size=3), rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((4, 5, 2)), lengths=jnp.array([5, 2, 1, 0])).shape
        (4, 5, 3)
    """
    return NNXLayer(cell, rngs=rngs)


def _check(cell):
    if not isinstance(cell, Cell | SequenceLayer):
        raise InputError(f"a module of Flax is made of a cell or a layer, not of {kind_of(cell)}")


def _unroll(cell, params: Params, xs: Array, state: State, key: Key | None, return_state: bool, options: dict) -> Any:
    if "key" in options:
        raise InputError('a module of Flax draws its noise from the rng "dropout": it takes no key')
    state, ys = unroll(cell, params, xs, state, key=key, **options)
    return (state, ys) if return_state else ys


def _step(cell, params: Params, state: State, x: Array, context) -> tuple[State, Any]:
    if not isinstance(cell, Cell):
        raise InputError(f"{type(cell).__name__} is a layer that reads whole sequences: it has no step")
    return cell.step(params, state, x, context)


def _checked(cell, held) -> Params:
    """The parameters that a Linen module holds, as the cell takes them; raises InputError unless they are the cell's."""
    params = core.unfreeze(held)
    check_params(cell, params)
    return params


def _typed(key: Key) -> Key:
    """A typed key; those of `jax.random.PRNGKey` are not."""
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
