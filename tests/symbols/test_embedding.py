"""Reading symbols through an embedding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax
from seqjax import GRU, LSTM, Bidirectional, Chain, Dense, Elman, RecurrentDropout, Residual, Stack
from seqjax.attention import Additive, Attentive
from seqjax.recurrence.arguments import Embedded
from seqjax.symbols.embedding import read_symbols
from seqjax.thresholds import projects_table

ATTENTIVE = Attentive(
    cell=GRU(input_size=3, hidden_size=4), attention=Additive(query_size=4, memory_size=4, hidden_size=2), output_size=5
)
READERS = {
    "lstm": LSTM(input_size=3, hidden_size=4),
    "elman": Elman(input_size=3, hidden_size=4),
    "dropped": RecurrentDropout(LSTM(input_size=3, hidden_size=4), 0.3),
    "stack": Stack((GRU(input_size=3, hidden_size=4), Dense(4, 2))),
    "bidirectional": Bidirectional(GRU(input_size=3, hidden_size=4), LSTM(input_size=3, hidden_size=2)),
    "chain": Chain((Bidirectional(LSTM(input_size=3, hidden_size=4)), LSTM(input_size=8, hidden_size=2))),
    "attentive": ATTENTIVE,
}
TOKENS = jnp.array([[0, 4, 2, 2], [3, 1, 4, 0]])
TABLE = jnp.asarray(np.random.default_rng(0).standard_normal((5, 3)), jnp.float32)


@pytest.mark.parametrize("name", READERS)
def test_a_projected_table_changes_no_value_and_no_gradient(name):
    part = READERS[name]
    params, lengths = part.init(jax.random.key(0)), jnp.array([4, 3])
    context = None
    if name == "attentive":
        context = ATTENTIVE.remember(params, jax.random.normal(jax.random.key(1), (2, 6, 4)), jnp.ones((2, 6), bool))

    def gradients(read):
        def value(params, table):
            state, ys = seqjax.unroll(part, *read(params, table), lengths=lengths, context=context)
            leaves = jax.tree.leaves((state, ys))
            return sum((jnp.cos(jnp.arange(a.size)).reshape(a.shape) * a).sum() for a in leaves if a.dtype == jnp.float32)

        return jax.jit(jax.value_and_grad(value, (0, 1)))(params, TABLE)

    assert part.embed(params, TABLE) is not None
    by_table = gradients(lambda params, table: (Embedded(part.embed(params, table), len(table)), TOKENS))
    by_rows = gradients(lambda params, table: (params, table[TOKENS]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), by_table, by_rows)


def test_a_part_that_adds_its_input_cannot_embed():
    part = Stack((Residual(LSTM(input_size=3, hidden_size=3)),))
    params = part.init(jax.random.key(0))
    assert part.embed(params, TABLE) is None
    same, xs = read_symbols(part, params, TABLE, TOKENS)
    assert same is params
    np.testing.assert_array_equal(xs, TABLE[TOKENS])


def test_few_symbols_are_projected_once_and_many_are_not(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert projects_table(symbols=8, rows=8)
    assert not projects_table(symbols=9, rows=8)
    part = READERS["lstm"]
    params = part.init(jax.random.key(0))
    assert read_symbols(part, params, TABLE, TOKENS)[1] is TOKENS
    assert read_symbols(part, params, TABLE, TOKENS[:, :2])[1].shape == (2, 2, 3)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert read_symbols(part, params, TABLE, TOKENS)[1].shape == (2, 4, 3)
