"""The context of an attentive cell: a memory among others, vectors beside it, and places that are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, InputError, from_json, to_json, unroll
from seqjax.attention import Additive, Attentive, Dot, General, Hard, Local

B, S, T, M = 3, 4, 5, 6
RNG = np.random.default_rng(0)
XS = jnp.asarray(RNG.normal(size=(B, T, 3)), jnp.float32)
VALUES = jnp.asarray(RNG.normal(size=(B, S, M)), jnp.float32)
MASK = jnp.asarray(np.arange(S) < np.array([[4], [2], [0]]))
TOPIC = jnp.asarray(RNG.normal(size=(B, 2)), jnp.float32)
GENERAL = General(query_size=4, memory_size=M)


def cell_of(attention=GENERAL, **fields):
    return Attentive(cell=GRU(input_size=3, hidden_size=4), attention=attention, output_size=5, **fields)


def run(cell, params, context, **options):
    return unroll(cell, params, XS, context=context, **options)[1]


def test_a_named_memory_is_read_as_a_bare_one():
    bare, named = cell_of(), cell_of(memory="image")
    params = bare.init(jax.random.key(0))
    memory = bare.remember(params, VALUES, MASK)
    other = bare.remember(params, 2 * VALUES, MASK)
    expected = run(bare, params, memory)
    actual = run(named, params, {"image": memory, "question": other})
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    assert not np.allclose(run(named, params, {"image": other}).output, expected.output)


def test_a_vector_is_concatenated_to_the_input():
    """z + V c is the projection of (x; c) by the input kernel over V."""
    cell = cell_of(memory="image", vectors=(("topic", 2),))
    wide = Attentive(cell=GRU(input_size=5, hidden_size=4), attention=GENERAL, output_size=5)
    params = cell.init(jax.random.key(0))
    inner = params["cell"] | {"input_kernel": jnp.concatenate([params["cell"]["input_kernel"], params["vector_kernel"]])}
    memory = cell.remember(params, VALUES, MASK)
    actual = run(cell, params, {"image": memory, "topic": TOPIC})
    xs = jnp.concatenate([XS, jnp.broadcast_to(TOPIC[:, None], (B, T, 2))], axis=-1)
    of_wide = {name: params[name] for name in ("attention", "feed_kernel", "output")} | {"cell": inner}
    _, expected = unroll(wide, of_wide, xs, context=memory)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), actual, expected)


def test_hard_attention_draws_a_place_from_the_softmax():
    """Frequencies are the soft weights; log_p is theirs; a row without places reads nothing."""
    hard, rows = Hard(attention=GENERAL), 4000
    params = jax.tree.map(lambda a: 0.3 * a, hard.init(jax.random.key(0)))
    query, values, mask = (jnp.asarray(a) for a in (XS[0, 0, :1].repeat(4), VALUES[1], MASK[1]))

    @jax.jit
    def reads(keys, mask):
        memory = hard.remember(params, values, mask)
        drawn = jax.vmap(lambda key: hard.attend(params, query, memory, key=key))(keys)
        return drawn, GENERAL.attend(params, query, memory).weights

    keys = jax.random.split(jax.random.key(1), rows)
    read, soft = reads(keys, mask)
    assert set(np.unique(read.weights)) == {0.0, 1.0} and (read.weights.sum(axis=1) == 1).all()
    np.testing.assert_allclose(read.weights.mean(axis=0), soft, atol=0.03)
    places = np.asarray(read.weights).argmax(axis=1)
    np.testing.assert_allclose(read.log_p, np.log(np.asarray(soft)[places]), rtol=1e-5)
    np.testing.assert_allclose(read.context, np.asarray(values)[places], rtol=1e-6)
    empty, _ = reads(keys, jnp.zeros_like(mask))
    assert not empty.weights.any() and not empty.context.any() and not empty.log_p.any()


def test_without_a_key_hard_attention_is_soft():
    hard, soft = cell_of(Hard(attention=GENERAL)), cell_of()
    params = soft.init(jax.random.key(0))
    memory = soft.remember(params, VALUES, MASK)
    actual, expected = run(hard, params, memory), run(soft, params, memory)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), actual[:2], expected[:2])
    assert actual.log_p.shape == (B, T) and not actual.log_p.any() and expected.log_p is None


def test_the_log_probability_of_draws_has_the_gradient_of_reinforce():
    """The mean over draws of reward times grad log_p is the gradient of the expected reward."""
    hard, rows, rewards = Hard(attention=Dot(query_size=3, memory_size=3)), 20000, jnp.array([1.0, -2.0, 0.5])
    values = jnp.asarray(RNG.normal(size=(3, 3)), jnp.float32)
    keys = jax.random.split(jax.random.key(2), rows)

    def reads(query, keys):
        return jax.vmap(lambda key: hard.attend({}, query, hard.remember({}, values, jnp.ones(3, bool)), key=key))(keys)

    def surrogate(query):
        read = reads(query, keys)
        return (read.log_p * (read.weights @ rewards)).mean()

    query = jnp.array([0.3, -0.2, 0.5])
    exact = jax.grad(lambda query: jax.nn.softmax(values @ query) @ rewards)(query)
    np.testing.assert_allclose(jax.jit(jax.grad(surrogate))(query), exact, atol=0.03)


def test_draws_do_not_depend_on_padding_or_on_other_rows():
    cell = cell_of(Hard(attention=GENERAL))
    params, key = cell.init(jax.random.key(0)), jax.random.key(3)
    memory = cell.remember(params, VALUES, MASK)
    longer = cell.remember(params, jnp.pad(VALUES, ((0, 0), (0, 3), (0, 0))), jnp.pad(MASK, ((0, 0), (0, 3))))
    actual = run(cell, params, memory, key=key)
    np.testing.assert_array_equal(run(cell, params, longer, key=key).weights[..., :S], actual.weights)
    assert not np.array_equal(run(cell, params, memory, key=jax.random.key(4)).weights, actual.weights)


def test_cells_with_named_contexts_and_draws_are_json():
    for cell in (cell_of(memory="image", vectors=(("topic", 2),)), cell_of(Hard(attention=GENERAL))):
        assert from_json(to_json(cell)) == cell


@pytest.mark.parametrize(
    ("fields", "context", "line"),
    [
        ({"memory": "image"}, {}, 'memory="image" needs a context that is a dict with this memory'),
        ({"memory": "image"}, {"image": TOPIC}, "context is the memory that remember gives, not a"),
        ({"memory": "image", "vectors": (("topic", 2),)}, {}, 'the vector "topic" of the context is missing'),
        ({"memory": "image", "vectors": (("topic", 2),)}, {"topic": VALUES}, r'"topic" .* is \(3, 4, 6\), .* \[B, 2\]'),
    ],
)
def test_a_wrong_context_is_refused_in_one_line(fields, context, line):
    cell = cell_of(**fields)
    params = cell.init(jax.random.key(0))
    memory = {} if "vectors" not in fields else {"image": cell.remember(params, VALUES, MASK)}
    with pytest.raises(InputError, match=line):
        run(cell, params, memory | context)


def test_fields_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="vectors are read from a context that is a dict: give memory"):
        cell_of(vectors=(("topic", 2),))
    with pytest.raises(InputError, match="Hard needs an attention that gives scores, such as General, not a Local"):
        Hard(attention=Local(attention=Additive(query_size=4, memory_size=M, hidden_size=2), window=1))
