"""Parts and wrappers: Zoneout, learned initial states, Highway, LayerNorm, Embedding, weights dropped, parameters counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import (
    GRU,
    LSTM,
    Chain,
    Convolution,
    Dense,
    Dropout,
    Elman,
    Embedding,
    Feedforward,
    Highway,
    IndRNN,
    InputError,
    LayerNorm,
    LearnedInitialState,
    RecurrentDropout,
    Residual,
    Stack,
    Standardize,
    Zoneout,
    count_parameters,
    drop_weights,
    explain,
    unroll,
)

XS = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
CELL = LSTM(input_size=3, hidden_size=400)


def random_params(cell):
    """Parameters of `init`'s form; nothing is compiled."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(cell.init, jax.random.key(0))
    return jax.tree.map(lambda a: rng.uniform(-0.5, 0.5, a.shape).astype(np.float32), shapes)


def test_zoneout_keeps_units_at_their_rates_and_in_evaluation_the_expectation():
    cell = Zoneout(CELL, (0.5, 0.1))
    params = random_params(cell)
    before = jax.tree.map(lambda a: a + 0.3, cell.initial_state(params, (2,)).cell)
    new, _ = CELL.step(params, before, jnp.asarray(XS[:, 0]))

    def stepped(key):
        state = cell.initial_state(params, (2,), key=key)._replace(cell=before)
        return cell.step(params, state, jnp.asarray(XS[:, 0]))

    state, y = stepped(jax.random.key(1))
    for kept, old, fresh, rate in zip(state.cell, before, new, cell.rate, strict=True):
        taken_back = np.asarray(kept == old)
        np.testing.assert_array_equal(kept, np.where(taken_back, old, fresh))
        assert abs(taken_back.mean() - rate) < 0.08
    assert not np.array_equal(*(np.asarray(a == b) for a, b in zip(state.cell, before, strict=True)))  # masks of their own
    np.testing.assert_array_equal(y, state.cell.h)
    state, y = stepped(None)
    for kept, old, fresh, rate in zip(state.cell, before, new, cell.rate, strict=True):
        np.testing.assert_allclose(kept, rate * old + (1 - rate) * fresh, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(y, state.cell.h)


def test_a_learned_initial_state_begins_every_sequence_and_learns_from_each():
    stack = Stack((Dropout(0.1), Elman(3, 4), GRU(4, 2)))
    cell = LearnedInitialState(stack)
    params = random_params(cell)
    assert {name: a.shape for name, a in params["initial_state"].items()} == {"1.h": (4,), "2.h": (2,)}
    reset = np.zeros((2, 4), bool)
    reset[:, 2] = True

    def loss(params, xs, **options):
        return unroll(cell, params, xs, **options)[1].sum()

    grad = jax.jit(jax.grad(loss))
    halves = XS.reshape(4, 2, 3)  # each half of a row begins anew
    whole, apart = grad(params, XS, reset=reset), grad(params, halves)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(apart), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert all(np.abs(a).max() > 0.1 for a in whole["initial_state"].values())
    assert [choice.backend for choice in explain(cell, params, XS)] == ["fused", "fused"]  # part by part, as the Stack alone


def test_highway_mixes_input_and_output():
    cell = Highway(Elman(3, 3), transform_bias=0.5)
    params = random_params(cell)
    assert cell.init(jax.random.key(0))["gate_bias"].tolist() == [0.5] * 3
    _, inner = unroll(cell.cell, params["cell"], XS)
    gate = 1 / (1 + np.exp(-(XS @ params["gate_kernel"] + params["gate_bias"])))
    np.testing.assert_allclose(unroll(cell, params, XS)[1], gate * inner + (1 - gate) * XS, rtol=1e-5, atol=1e-6)


def test_layer_norm_is_that_of_flax():
    from flax import linen as nn

    params = {"scale": jnp.array([1.0, 2.0, -1.0]), "bias": jnp.array([0.5, 0.0, 1.0])}
    expected = nn.LayerNorm(epsilon=1e-5).apply({"params": params}, XS)
    np.testing.assert_allclose(LayerNorm(3)(params, XS), expected, rtol=1e-5, atol=1e-5)
    assert np.isfinite(LayerNorm(3)(params, jnp.ones(3))).all()


def test_an_embedding_is_a_part_of_a_stack():
    stack = Stack((Embedding(7, 3), LayerNorm(3), Elman(3, 2)))
    params = random_params(stack)
    tokens = np.array([[6, 0, 2]], np.int32)
    rows = params["0"]["table"][tokens]
    assert float(jnp.square(Embedding(99, 9).init(jax.random.key(0))["table"]).sum(1).mean()) == pytest.approx(1, abs=0.2)
    _, expected = unroll(Stack(stack.cells[1:]), {"0": params["1"], "1": params["2"]}, rows)
    np.testing.assert_allclose(unroll(stack, params, tokens)[1], expected, rtol=1e-6)
    with pytest.raises(InputError, match="xs holds token 7, Stack reads tokens from 0 to 6"):
        unroll(stack, params, tokens + 1)


def test_parts_without_recurrence_are_functions():
    from flax import linen as nn

    params = random_params(DENSE)
    np.testing.assert_allclose(DENSE(params, XS), XS @ params["kernel"] + params["bias"], rtol=1e-5, atol=1e-6)
    assert DENSE(params, [1.0, 2.0, 3.0]).shape == (2,)
    np.testing.assert_allclose(DENSE(params, 1), params["kernel"][1] + params["bias"], rtol=1e-6)  # one token
    assert DENSE(params, jnp.asarray(XS, jnp.bfloat16)).dtype == jnp.bfloat16
    half = Feedforward(nn.Dropout(0.5), input_shape=(3,))
    np.testing.assert_array_equal(half({}, XS), XS)  # without noise
    assert Standardize((1.0,), (2.0,))({}, [3.0]).tolist() == [1.0]


def test_weights_are_dropped_in_every_recurrent_kernel():
    params = random_params(Stack((GRU(3, 20), Dropout(0.5), Elman(20, 40))))
    dropped = drop_weights(params, jax.random.key(1), 0.25)
    for part, name in (("0", "recurrent_kernel"), ("0", "candidate_kernel"), ("2", "recurrent_kernel")):
        zero = np.asarray(dropped[part][name] == 0)
        np.testing.assert_allclose(dropped[part][name], np.where(zero, 0, params[part][name] / 0.75), rtol=1e-6)
        assert abs(zero.mean() - 0.25) < 0.08
    assert not jnp.array_equal(dropped["0"]["candidate_kernel"] == 0, dropped["0"]["recurrent_kernel"][:, :20] == 0)
    assert dropped["0"]["input_kernel"] is params["0"]["input_kernel"]
    assert drop_weights(params, None, 0.25) is params


def test_parameters_are_counted_part_by_part():
    params = jax.eval_shape(Stack((GRU(300, 4), Dense(4, 2))).init, jax.random.key(0))
    count = count_parameters(params)
    assert count == 300 * 12 + 4 * 12 + 12 + 4 + 8 + 2
    lines = count.table.split("\n")
    assert lines[0].split() == ["0", "3,664"]
    assert lines[-1].split() == ["total", "3,674"]
    assert [line for line in lines if "input_kernel" in line] == ["  input_kernel       float32[300, 12]  3,600"]
    assert count_parameters({}) == 0


DENSE, TWO, LAYER = Dense(3, 2), Stack((Elman(3, 3), Dense(3, 3))), Convolution(input_size=3, features=3)
TOKENS = np.zeros((2, 4), np.int32)
KERNEL = {"recurrent_kernel": XS}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Zoneout(CELL, 1.0), "Zoneout has rate=1.0, it must be a number of at least 0 and below 1"),
        (lambda: Zoneout(CELL, (0.1, "a")), r"Zoneout has rate\[1\]='a', it must be a number"),
        (lambda: Zoneout(CELL, (0.1,)), r"Zoneout has rate=\(0.1,\), LSTM has 2 floating arrays in its state: give as many"),
        (lambda: Zoneout(TWO, 0.1), "Zoneout wraps one recurrent cell, not Stack.*: wrap each cell inside"),
        (lambda: Zoneout(DENSE, 0.1), "Zoneout wraps one recurrent cell, not Dense"),
        (lambda: Zoneout("LSTM", 0.1), "Zoneout wraps a cell"),
        (lambda: LearnedInitialState(Dropout(0.1)), "LearnedInitialState has nothing to learn: the state of Dropout"),
        (lambda: LearnedInitialState(LAYER), "LearnedInitialState wraps a cell, and .* is not one"),
        (lambda: Highway(LAYER), "Highway wraps a cell"),
        (lambda: Highway(Dropout(0.1)), "Highway has a gate that reads vectors, and its cell reads None"),
        (lambda: Highway(TWO, "b"), r"Highway\.transform_bias is 'b', it must be a number"),
        (
            lambda: unroll(Highway(DENSE), random_params(Highway(DENSE)), XS),
            r"Highway adds an input of shape \(2, 4, 3\)",
        ),
        (lambda: unroll(Highway(TWO), random_params(Highway(TWO)), TOKENS), "Highway .* embed them first"),
        (lambda: unroll(Residual(TWO), random_params(TWO), TOKENS), "Residual .* embed them first"),
        (lambda: LayerNorm(3, 0.0), "LayerNorm has epsilon=0.0, it must be above 0"),
        (lambda: LayerNorm(3)(random_params(LayerNorm(3)), [1, 2]), "LayerNorm reads floating features"),
        (lambda: Embedding(0, 3), "Embedding has vocabulary_size=0, it must be a positive integer"),
        (lambda: DENSE({"kernel": XS}, XS), "params lacks 'bias'"),
        (lambda: DENSE(random_params(DENSE), XS[..., :2]), r"xs is float32\[2, 4, 2\], Dense reads numbers \[\.\.\., 3\]"),
        (lambda: DENSE(random_params(DENSE), 1.5), r"xs is float64\[\], Dense reads numbers \[\.\.\., 3\]"),
        (lambda: DENSE(random_params(DENSE), np.ones(3, complex)), r"xs is complex128\[3\], Dense reads numbers \[\.\.\., 3\]"),
        (lambda: DENSE(random_params(DENSE)), "missing a required argument: 'xs'"),
        (lambda: Embedding(5, 2)(random_params(Embedding(5, 2)), [4, 5]), "xs holds token 5, Embedding reads tokens from 0 to 4"),
        (lambda: drop_weights(random_params(DENSE), None, 0.5), "params hold no recurrent_kernel or candidate_kernel"),
        (lambda: drop_weights(random_params(IndRNN(3, 2)), None, 0.5), "drop_weights drops nothing"),
        (lambda: drop_weights(KERNEL, jax.random.key(0), 1.0), "rate is 1.0, it must be at least 0 and below 1"),
        (lambda: drop_weights(KERNEL, 3, 0.1), "key is 3"),
        (lambda: drop_weights(KERNEL, jax.random.split(jax.random.key(0)), 0.1), "it must be one key: its masks"),
        (lambda: count_parameters(None), "params hold None"),
        (lambda: count_parameters({"a": "b"}), "params hold 'b', all leaves must be arrays"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_cell_whose_output_is_no_part_of_its_state_cannot_be_zoned_out():
    class Doubled(Elman):
        def recur(self, params, state, z, **options):
            state, y = super().recur(params, state, z, **options)
            return state, 2 * y

    cell = Zoneout(Doubled(3, 4), 0.1)
    with pytest.raises(InputError, match="output is a part of its state, that of"):
        unroll(cell, random_params(cell), XS)


def test_wrappers_nest():
    cell = LearnedInitialState(Zoneout(RecurrentDropout(LSTM(3, 4), 0.2), (0.1, 0.1)))
    assert sorted(random_params(cell)["initial_state"]) == ["cell.cell.c", "cell.cell.h"]
    layers = Chain((cell, Dense(4, 2)))
    shapes = jax.eval_shape(lambda k: unroll(layers, layers.init(k), XS, key=k)[1], jax.random.key(0))
    assert shapes.shape == (2, 4, 2)
