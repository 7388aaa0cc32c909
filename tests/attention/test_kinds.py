"""Every kind of attention is its published equation, read directly."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import InputError, from_json, to_json
from seqjax.attention import Additive, Dot, General, Local, Location, MultiHead
from tests.attention.test_attention import perturbed, softmax

B, S, Q, M, N, D = 4, 7, 6, 5, 2, 2
LENGTHS = [7, 4, 1, 0]
SCORES = {
    "additive": Additive(query_size=Q, memory_size=M, hidden_size=3, coverage=True),
    "dot": Dot(query_size=Q, memory_size=Q),
    "general": General(query_size=Q, memory_size=M, scaled=True),
    "location": Location(query_size=Q, memory_size=M, max_length=9),
}
KINDS = SCORES | {f"local_p_{name}": Local(attention=kind, window=D) for name, kind in SCORES.items()}
KINDS |= {"local_m": Local(attention=SCORES["general"], window=D, predicted=False)}
KINDS |= {"heads": MultiHead(query_size=Q, memory_size=M, hidden_size=8, heads=N)}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def arguments(kind):
    rng = np.random.default_rng(3)
    params = perturbed(jax.jit(kind.init)(jax.random.key(0)))
    values, query, coverage = (rng.normal(size=shape) for shape in ((B, S, kind.memory_size), (B, Q), (B, S)))
    mask = np.arange(S) < np.array(LENGTHS)[:, None]
    return (
        params,
        jnp.asarray(np.where(mask[..., None], values, np.nan)),
        jnp.asarray(mask),
        jnp.asarray(query),
        jnp.asarray(coverage),
    )


@functools.partial(jax.jit, static_argnums=0)
def attend(kind, params, values, mask, query, coverage, steps=(5, 5, 0, 2)):
    memory = kind.remember(params, values, mask)
    return kind.attend(params, query, memory, coverage=coverage, steps=jnp.array(steps))


def expected_scores(kind, p, values, query, coverage):
    """Of one row: values [S, M], query [Q], coverage [S]."""
    match kind:
        case Additive():
            inner = query @ p["query_kernel"] + values @ p["memory_kernel"] + coverage[:, None] * p["coverage_kernel"]
            return np.tanh(inner) @ p["score_kernel"]
        case Dot():
            return values @ query
        case General():
            return values @ p["memory_kernel"] @ query / np.sqrt(Q)
        case _:
            return (query @ p["query_kernel"])[: len(values)]


@every_kind
def test_it_is_the_published_equation(kind, x64):
    params, values, mask, query, coverage = arguments(kind)
    context, weights, _ = attend(kind, params, values, mask, query, coverage)
    assert context.shape == (B, kind.context_size) and context.dtype == weights.dtype == jnp.float64
    assert not weights[~mask].any() and not context[3].any()
    p = jax.tree.map(np.asarray, params)
    for b, length in enumerate(LENGTHS[:3]):
        row, query_row, covered = np.asarray(values[b, :length]), np.asarray(query[b]), np.asarray(coverage[b, :length])
        if isinstance(kind, MultiHead):
            heads = [slice(4 * n, 4 * n + 4) for n in range(N)]
            scores = [(row @ p["key_kernel"])[:, h] @ (query_row @ p["query_kernel"])[h] / 2 for h in heads]
            each = [softmax(of_head) for of_head in scores]
            read = np.concatenate([a @ (row @ p["value_kernel"])[:, h] for a, h in zip(each, heads, strict=True)])
            expected = np.mean(each, axis=0)
        elif isinstance(kind, Local):
            scores = expected_scores(kind.attention, p.get("attention", {}), row, query_row, covered)
            centre = min(5, length - 1)
            if kind.predicted:
                centre = length / (1 + np.exp(-np.tanh(query_row @ p["centre_kernel"]) @ p["centre_vector"]))
            distance = np.abs(np.arange(length) - centre)
            near = distance <= D
            expected = np.zeros(length)
            expected[near] = softmax(scores[near]) * (np.exp(-2 * distance[near] ** 2 / D**2) if kind.predicted else 1)
            read = expected @ row
        else:
            expected = softmax(expected_scores(kind, p, row, query_row, covered))
            read = expected @ row
        np.testing.assert_allclose(weights[b, :length], expected, atol=1e-12)
        np.testing.assert_allclose(context[b], read, atol=1e-12)


@every_kind
def test_gradients_are_finite_and_padding_has_none(kind):
    params, values, mask, query, coverage = (jax.tree.map(np.asarray, a) for a in arguments(kind))

    def value(params, values, query):
        context, weights, _ = attend(kind, params, values, jnp.asarray(mask), query, jnp.asarray(coverage))
        return (context * jnp.cos(context)).sum() + (weights * jnp.sin(weights)).sum()

    of_params, of_values, of_query = jax.jit(jax.grad(value, argnums=(0, 1, 2)))(params, values, query)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves((of_params, of_values, of_query)))
    assert not of_values[~mask].any() and np.abs(of_values[mask]).sum() > 0
    if not isinstance(kind, Local) or kind.predicted:
        assert np.abs(of_query[0]).sum() > 0
    assert not of_query[3].any()


@every_kind
def test_many_queries_at_once_are_one_by_one(kind):
    params, values, mask, query, coverage = arguments(kind)
    memory = kind.remember(params, values, mask)
    queries = jnp.stack([query, query * -2, query + 1], axis=1)
    steps = jnp.full(B, 3)

    def attend_once(query):
        return kind.attend(params, query, memory, coverage=coverage, steps=steps)[:2]

    together, once = jax.jit(jax.vmap(attend_once, 1, 1))(queries), jax.jit(attend_once)
    for t in range(3):
        for at_once, alone in zip(together, once(queries[:, t]), strict=True):
            np.testing.assert_allclose(at_once[:, t], alone, atol=1e-6)


@every_kind
def test_it_is_a_value_and_json(kind):
    assert from_json(to_json(kind)) == kind
    assert hash(from_json(to_json(kind))) == hash(kind)


@pytest.mark.parametrize(
    "kind",
    [
        Location(query_size=Q, memory_size=M, max_length=4),
        Local(attention=Location(query_size=Q, memory_size=M, max_length=4), window=9),
    ],
    ids=["location", "local"],
)
def test_padding_beyond_max_length_changes_nothing(kind):
    params, values, _, query, coverage = arguments(kind)
    mask = jnp.asarray(np.arange(S) < np.array([4, 3, 1, 0])[:, None])
    context, weights, _ = attend(kind, params, values, mask, query, coverage)
    near, of_near, _ = attend(kind, params, values[:, :4], mask[:, :4], query, coverage[:, :4])
    np.testing.assert_allclose(context, near, atol=1e-6)
    np.testing.assert_allclose(weights, jnp.pad(of_near, ((0, 0), (0, 3))), atol=1e-6)
    longer = jax.jit(lambda mask: attend(kind, params, jnp.nan_to_num(values), mask, query, coverage)[1])(jnp.ones((B, S), bool))
    assert not longer[:, 4:].any() and bool(jnp.isfinite(longer).all())  # a traced mask cannot be refused


def test_sizes_and_parts_that_do_not_fit_are_refused_in_one_line():
    with pytest.raises(InputError, match="has 7 places, attention by location has max_length=3: make it larger"):
        kind = Location(query_size=Q, memory_size=M, max_length=3)
        params = kind.init(jax.random.key(0))
        kind.attend(params, jnp.ones(Q), kind.remember(params, jnp.ones((S, M)), jnp.ones(S, bool)))
    with pytest.raises(InputError, match="Local needs an attention that gives scores, such as General, not a MultiHead"):
        Local(attention=KINDS["heads"], window=2)
    with pytest.raises(InputError, match="window=0"):
        Local(attention=KINDS["dot"], window=0)
    with pytest.raises(InputError, match="heads=3, it must divide hidden_size=8"):
        MultiHead(query_size=Q, memory_size=M, hidden_size=8, heads=3)
    with pytest.raises(InputError, match="hidden_size=0"):
        Additive(query_size=Q, memory_size=M, hidden_size=0)
