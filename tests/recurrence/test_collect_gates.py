"""`collect="gates"`: the value of every gate at every step, by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, LSTM, Bidirectional, Chain, Dense, Dropout, InputError, RecurrentDropout, Residual, Stack, unroll

LSTM_3_4 = LSTM(input_size=3, hidden_size=4)
XS = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
LENGTHS = jnp.array([6, 4])


def before(states, initial):
    """The state before each step."""
    return np.concatenate([initial[:, None], states[:, :-1]], axis=1)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_gates_of_an_lstm_make_its_states(reverse):
    params = LSTM_3_4.init(jax.random.key(0))
    _, gates = unroll(LSTM_3_4, params, XS, lengths=LENGTHS, reverse=reverse, collect="gates")
    _, states = unroll(LSTM_3_4, params, XS, lengths=LENGTHS, reverse=reverse, collect="states")
    assert set(gates) == set(LSTM_3_4.gates)
    gates, states = jax.tree.map(np.asarray, (gates, states))
    turned = (lambda a: a[:, ::-1]) if reverse else (lambda a: a)
    c = turned(before(turned(states.c), np.zeros((2, 4))))
    real = (np.arange(6) < np.asarray(LENGTHS)[:, None])[..., None]
    np.testing.assert_allclose(np.where(real, gates["f"] * c + gates["i"] * gates["g"], states.c), states.c, atol=1e-6)
    np.testing.assert_allclose(np.where(real, gates["o"] * np.tanh(states.c), states.h), states.h, atol=1e-6)
    assert all(not np.any(gate[1, 4:]) for gate in gates.values())  # 0 at masked steps


def test_the_gates_of_a_gru_make_its_states_and_have_a_gradient():
    cell = GRU(input_size=3, hidden_size=4, reset_after=False)
    params = cell.init(jax.random.key(0))
    _, gates = unroll(cell, params, XS, collect="gates")
    _, states = unroll(cell, params, XS, collect="states")
    h = before(np.asarray(states.h), np.zeros((2, 4)))
    np.testing.assert_allclose(gates["z"] * h + (1 - gates["z"]) * gates["n"], states.h, atol=1e-6)
    slope = jax.grad(lambda p: unroll(cell, p, XS, collect="gates")[1]["r"].sum())(params)
    assert float(np.abs(slope["recurrent_kernel"][:, :4]).sum()) > 0


def names_of(cell):
    params = jax.eval_shape(cell.init, jax.random.key(0))
    return jax.tree.map(lambda gate: gate.shape, jax.eval_shape(lambda p: unroll(cell, p, XS, collect="gates")[1], params))


def test_composites_name_the_gates_by_part():
    ifgo = dict.fromkeys("ifgo", (2, 6, 4))
    inner = GRU(input_size=4, hidden_size=5)
    rzn = dict.fromkeys("rzn", (2, 6, 5))
    assert names_of(Stack((LSTM_3_4, Dropout(0.1), inner))) == {"0": ifgo, "2": rzn}
    assert names_of(Stack((Stack((LSTM_3_4,)), inner))) == {"0": {"0": ifgo}, "1": rzn}
    assert names_of(Residual(RecurrentDropout(GRU(input_size=3, hidden_size=3), 0.1))) == dict.fromkeys("rzn", (2, 6, 3))
    assert names_of(Chain((Bidirectional(LSTM_3_4), Dense(8, 2)))) == {"0": {"forward": ifgo, "backward": ifgo}}


def test_a_cell_without_gates_is_refused_by_name():
    cell = Dense(3, 4)
    with pytest.raises(InputError, match=r"^collect='gates', and Dense\(.*3, .*4.*\) has no gates: collect its states$"):
        unroll(cell, cell.init(jax.random.key(0)), XS, collect="gates")
