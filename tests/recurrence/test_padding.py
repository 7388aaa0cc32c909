"""A padded step repeats the first real step of its row, so that a step that is singular elsewhere has finite gradients."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import Bidirectional, Cell, Chain, Dense, Dropout, RecurrentDropout, Residual, Stack, truncated, unroll
from seqjax.attention import Attentive
from seqjax.attention.memory import match
from seqjax.attention.scores import Attention
from seqjax.cells import Elman
from seqjax.contracts import product
from seqjax.testing.comparison import close

MASK = np.array([[0, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], bool)  # gaps, one step, none
XS = np.where(MASK[..., None], np.random.default_rng(0).normal(size=(3, 6, 2)), np.nan).astype(np.float32)


class DirectionState(NamedTuple):
    h: jax.Array
    x: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Direction(Cell):
    """Reads the direction in which its input has moved. Singular where the input is the one before, and for an input of 0."""

    input_shape = (2,)

    def init(self, key):
        return {"recurrent_kernel": jnp.array([[0.5, 0.2], [-0.3, 0.4]]), "scale": jnp.ones(2)}

    def initial_state(self, params, batch_shape=(), *, context=None, key=None):
        return DirectionState(jnp.zeros((*batch_shape, 2)), jnp.full((*batch_shape, 2), 0.1))

    def project(self, params, xs):
        return xs * jnp.broadcast_to(params["scale"], xs.shape) / jnp.linalg.norm(xs, axis=-1, keepdims=True)

    def recur(self, params, state, z, *, dot=product, context=None):
        moved = z - state.x
        context = jnp.ones_like(moved) if context is None else context
        direction = moved / jnp.linalg.norm(moved, axis=-1, keepdims=True) / context
        h = jnp.tanh(direction + dot(state.h, params["recurrent_kernel"]))
        return DirectionState(h, z), h


DIRECTION = Direction()
PARAMS = DIRECTION.init(jax.random.key(0))
STATE = DirectionState(jnp.full((3, 2), 0.3), jnp.full((3, 2), -0.2))


def squares(values):
    return sum(jnp.sum(a**2) for a in jax.tree.leaves(values) if jnp.issubdtype(a.dtype, jnp.floating))


def finite(values):
    return all(np.isfinite(a).all() for a in jax.tree.leaves(values))


@pytest.mark.parametrize(
    "options", [{"reset": True}, {"reverse": True, "remat": 4}, {"backend": "scan"}], ids=["reset", "reverse, remat", "scan"]
)
def test_gradients_are_those_of_each_row_alone(options):
    reset = np.array([[0, 1, 0, 0, 1, 0], [0] * 6, [0] * 6], bool) if options.get("reset") else None
    context = jnp.array([[1.0, 2.0], [3.0, 4.0], [0.0, jnp.nan]])

    def padded(params, xs, state):
        return squares(unroll(DIRECTION, params, xs, state, context=context, mask=MASK, **options | {"reset": reset}))

    def alone(params, xs, state):
        total = squares((state.h[2], state.x[2]))
        for i in range(2):
            rows = jax.tree.map(lambda a, i=i: a[i], (xs[:, MASK[i]], state, context))
            cut = options | {"reset": None if reset is None else reset[i, MASK[i]], "remat": None}
            total += squares(unroll(DIRECTION, params, rows[0], rows[1], context=rows[2], **cut))
        return total

    results = [jax.jit(jax.value_and_grad(function, argnums=(0, 1, 2)))(PARAMS, XS, STATE) for function in (padded, alone)]
    close(*results, 1e-5, "padded == alone")


def test_gradients_of_composites_are_finite():
    stack = Stack((Dropout(0.1), RecurrentDropout(DIRECTION, 0.3), Residual(DIRECTION), Dense(2, 2)))
    network = Chain((Bidirectional(DIRECTION, merge="sum"), stack, DIRECTION))

    def value(params, xs, key):
        return squares(unroll(network, params, xs, mask=MASK, key=key))

    params = jax.jit(network.init)(jax.random.key(0))
    assert finite(jax.jit(jax.value_and_grad(value, argnums=(0, 1)))(params, XS, jax.random.key(1)))


def test_gradients_of_windows_and_of_no_step_at_all_are_finite():
    def value(params, xs):
        windows = truncated(DIRECTION, params, xs, window=2, mask=MASK)
        none = unroll(DIRECTION, params, xs, lengths=jnp.zeros(3, jnp.int32))
        return squares((windows, none, unroll(DIRECTION, params, xs[0], lengths=jnp.int32(0))))

    assert finite(jax.jit(jax.value_and_grad(value, argnums=(0, 1)))(PARAMS, XS))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine(Attention):
    """Scores by the angle between query and value."""

    def scores(self, params, query, memory, *, coverage=None, dot=product):
        return match(query, memory.values / jnp.linalg.norm(memory.values, axis=-1, keepdims=True))


def test_gradients_are_finite_where_a_score_is_singular_at_masked_places():
    cell = Attentive(cell=Elman(input_size=2, hidden_size=2), attention=Cosine(query_size=2, memory_size=2), output_size=2)

    def value(params, values):
        memory = cell.remember(params, values, jnp.asarray(MASK))
        return squares(unroll(cell, params, jnp.ones((3, 4, 2)), lengths=jnp.array([4, 2, 0]), context=memory))

    assert finite(jax.jit(jax.value_and_grad(value, argnums=(0, 1)))(jax.jit(cell.init)(jax.random.key(0)), XS))


def test_a_singular_step_is_not_blamed_on_padding():
    with pytest.raises(AssertionError, match=r"law: \['k'\] is NaN or infinite, on both sides: a step is singular there"):
        close({"k": np.array([np.nan])}, {"k": np.array([np.nan])}, 1, "law")
