"""Loop-invariant work of a step is done before the loop, and nothing else changes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from seqjax import decode
from seqjax.cells.gru import GRU
from seqjax.cells.lstm import LSTM
from seqjax.hoisting import hoist
from seqjax.models.language_model import LanguageModel

FIXED = {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.array([1.0, 2.0])}


def step(fixed, state, token):
    """Transpose, split and broadcast fixed arrays; return a new state, fixed arrays, and constants."""
    left, right = jnp.split(fixed["kernel"].T * jnp.broadcast_to(fixed["bias"], (3, 2)) + 1, [1], axis=1)
    h = jnp.tanh(state["h"] @ left) + jnp.broadcast_to(right[0], (4, 1)) * token.astype(jnp.float32)[:, None]
    return {"h": jnp.broadcast_to(h, state["h"].shape), "bias": fixed["bias"]}, (right, jnp.zeros(()), 3)


def operations(function, *arguments):
    return [equation.primitive.name for equation in jax.make_jaxpr(function)(*arguments).jaxpr.eqns]


def test_the_step_is_the_same():
    now = {"h": jnp.ones((4, 3)), "bias": jnp.zeros(2)}, jnp.arange(4)
    remaining = hoist(step, FIXED, *now)
    expected, results = step(FIXED, *now), remaining(*now)
    assert jax.tree.structure(results) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, results, expected)
    other = jax.tree.map(lambda a: a + 1, now)
    jax.tree.map(np.testing.assert_array_equal, remaining(*other), step(FIXED, *other))


def test_invariant_operations_are_hoisted_but_broadcasts_stay():
    now = {"h": jnp.ones((4, 3)), "bias": jnp.zeros(2)}, jnp.arange(4)
    original = operations(lambda *now: step(FIXED, *now), *now)
    remaining = operations(hoist(step, FIXED, *now), *now)
    assert {"transpose", "split", "tanh"} <= set(original) and original.count("broadcast_in_dim") > 2
    assert not {"transpose", "split"} & set(remaining) and "tanh" in remaining
    assert remaining.count("mul") == original.count("mul") - 1
    assert remaining.count("broadcast_in_dim") == original.count("broadcast_in_dim") - 1


def test_shapes_of_changing_arguments_suffice():
    remaining = hoist(lambda kernel, h: h @ kernel.T, jnp.ones((2, 3)), jax.ShapeDtypeStruct((3,), jnp.float32))
    assert remaining(jnp.ones(3)).tolist() == [3.0, 3.0]


def test_effects_happen_at_every_step():
    totals = []

    def step(kernel, h):
        jax.debug.callback(lambda total: totals.append(float(total)), kernel.sum())
        return h + kernel

    remaining = hoist(step, jnp.ones(2), jnp.zeros(2))
    jax.block_until_ready((remaining(jnp.zeros(2)), remaining(jnp.ones(2))))
    jax.effects_barrier()
    assert totals == [2.0, 2.0]


@pytest.mark.parametrize("cell", [GRU(input_size=3, hidden_size=3), LSTM(input_size=3, hidden_size=3)])
def test_searches_loop_without_splitting_or_transposing_kernels(cell):
    model = LanguageModel(vocabulary_size=7, cell=cell, embedding_size=3, tied=True)
    params = model.init(jax.random.key(0))
    prompts = {"tokens": jnp.array([[1]]), "tokens_lengths": jnp.array([1])}  # short: no loop of its own reads the prompts

    def equations(jaxpr, loops):
        """Those inside loops, or all."""
        for equation in jaxpr.eqns:
            if not loops:
                yield equation
            for inside in jaxprs_in_params(equation.params):
                yield from equations(inside, loops and equation.primitive.name != "while")

    kernels = {leaf.shape for leaf in jax.tree.leaves(params)} - {(7,)}
    for search in (decode.greedy, functools.partial(decode.beam, width=2)):
        jaxpr = jax.make_jaxpr(functools.partial(search, model, max_length=4))(params, prompts).jaxpr
        inside_loops = list(equations(jaxpr, loops=True))
        assert {"product", "dot_general"} & {equation.primitive.name for equation in inside_loops}
        cut = [equation for equation in inside_loops if equation.primitive.name in ("transpose", "split", "slice")]
        assert not [equation for equation in cut if equation.invars[0].aval.shape in kernels]
