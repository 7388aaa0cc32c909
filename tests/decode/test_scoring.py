"""Given outputs: their log-probability by hand, by the search that decoded them, and in a model's training pass."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, decode
from seqjax.attention.attentive import Attentive
from seqjax.attention.scores import Dot
from seqjax.errors import InputError
from seqjax.models import Seq2Seq, Symbols
from tests.decode.toys import END, Table, Tree, log_p_of, rows, table, tokens

V, L = 4, 4


@functools.cache
def forest():
    return Tree(V, name="scored, and seen by no other test"), Tree.init(3, V, L, seed=1)


def test_scores_are_the_sums_of_log_probabilities():
    outputs, lengths = jnp.array([[2, 1, 3], [4, 0, 0], [1, 1, 1]]), jnp.array([3, 2, 0])
    scores, symbols = decode.score(Table(), table(), tokens(0, 1, 4), outputs, lengths)
    expected = [log_p_of(table(), [2, 1, 3], 0), log_p_of(table(), [4, 0], 1), 0.0]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    np.testing.assert_allclose(symbols.sum(axis=1), scores, rtol=1e-6)
    assert symbols[1, 2] == 0 and not symbols[2].any()


def test_what_a_search_decoded_has_the_score_it_gave():
    model, params = forest()
    greedy = decode.greedy(model, params, rows(0, 1, 2), max_length=L, end=END)
    np.testing.assert_allclose(decode.score(model, params, rows(0, 1, 2), *greedy[:2]).scores, greedy.scores, rtol=1e-5)
    beams = decode.beam(model, params, rows(0, 1, 2), width=4, max_length=L, end=END, n_best=4)
    decoded = decode.score(model, params, rows(0, 1, 2), *beams[:2])
    assert decoded.symbols.shape == (3, 4, L)
    np.testing.assert_allclose(decoded.scores, beams.scores, rtol=1e-5)


def test_an_impossible_symbol_has_no_probability():
    outputs = jnp.array([[1, 2], [1, 9]])
    run = jax.jit(lambda tokens_: decode.score(Table(), table().at[:, 2].set(-jnp.inf), tokens(0, 0), tokens_, jnp.array([2, 2])))
    assert run(outputs).scores.tolist() == [-math.inf] * 2  # nor has 9, outside the vocabulary, which jit cannot refuse
    scored = decode.score(Table(), table(), tokens(0, 0), outputs, jnp.array([2, 1]))  # 9 is padding
    assert bool(jnp.isfinite(scored.scores).all())


def test_attention_is_that_of_the_step_that_emits_the_symbol():
    model, params = forest()
    outputs, lengths = jnp.array([[2, 1, 3], [3, 0, 0]]), jnp.array([3, 2])
    decoded = decode.attention(model, params, rows(0, 2), outputs, lengths)
    for row, (tree, length) in enumerate([(0, 3), (2, 2)]):
        _, weights = model.lookup(params, tree)
        expected = [weights(tuple(outputs[row, :i].tolist())) for i in range(length)]
        np.testing.assert_allclose(decoded[row, :length], expected, rtol=1e-6)
    assert not decoded[1, 2].any()
    many = decode.attention(model, params, rows(0, 2), jnp.stack((outputs, outputs), 1), jnp.stack((lengths, lengths), 1))
    np.testing.assert_allclose(many, jnp.stack((decoded, decoded), 1))


@functools.cache
def translator():
    gru, dot = GRU(input_size=3, hidden_size=6), Dot(query_size=6, memory_size=6)
    decoder = Attentive(cell=gru, attention=dot, output_size=5)
    encoder, sizes = Symbols(size=7, embedding_size=3, cell=gru), {"target_size": 8, "embedding_size": 3}
    model = Seq2Seq(encoder=encoder, decoder=decoder, start_symbol=1, forbidden=(0,), **sizes)
    return model, jax.jit(model.init)(jax.random.key(0))


def test_the_scores_and_weights_of_a_model_are_those_of_its_training_pass():
    model, params = translator()
    batch = {"source": jnp.array([[4, 2, 3], [5, 6, 0]]), "source_lengths": jnp.array([3, 2])}
    target = {"target": jnp.array([[3, 5, 2], [7, 2, 0]]), "target_lengths": jnp.array([3, 2])}

    @jax.jit
    def trained(params):
        _, outputs = model.apply(params, batch | target)
        log_p = jax.nn.log_softmax(outputs.logits.at[..., jnp.array([0, 1])].set(-jnp.inf))  # never emitted
        return outputs.weights, jnp.take_along_axis(log_p, target["target"][..., None], axis=2)[..., 0]

    expected_weights, expected = map(np.asarray, trained(params))
    decoded = decode.score(model, params, batch, target["target"], target["target_lengths"])
    for row, length in enumerate((3, 2)):
        np.testing.assert_allclose(decoded.symbols[row, :length], expected[row, :length], rtol=1e-5)
    weights = np.asarray(decode.attention(model, params, batch, target["target"], target["target_lengths"]))
    np.testing.assert_allclose(weights[0], expected_weights[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weights[1, :2], expected_weights[1, :2], rtol=1e-5, atol=1e-6)


def test_a_padded_row_is_searched_as_it_is_without_padding_and_beside_others():
    model, params = translator()
    every = {"width": 3, "max_length": 7, "end": 2, "coverage_penalty": 0.2, "length_penalty": 1.0, "n_best": 3}
    source = jnp.array([[4, 2, 3, 1], [5, 6, 0, 0], [2, 0, 0, 0]])
    together = decode.beam(model, params, {"source": source, "source_lengths": jnp.array([4, 2, 1])}, no_repeat_ngram=2, **every)
    short = {"source": jnp.array([[5, 6], [3, 3], [2, 0]]), "source_lengths": jnp.array([2, 2, 1])}
    alone = decode.beam(model, params, short, no_repeat_ngram=2, **every)
    for row in (1, 2):
        np.testing.assert_array_equal(alone.tokens[0 if row == 1 else 2], together.tokens[row])
        np.testing.assert_allclose(alone.scores[0 if row == 1 else 2], together.scores[row], rtol=1e-5, atol=1e-5)


def test_other_outputs_of_the_same_shape_compile_nothing():
    model = Table(name="scored, and seen by no other test")
    for outputs, lengths in [([[1, 2]], [2]), ([[3, 3]], [1])]:
        decode.score(model, table(), tokens(0), jnp.array(outputs), jnp.array(lengths))
    assert 1 <= len(model.traces) <= 2


@pytest.mark.parametrize(
    ("outputs", "lengths", "line"),
    [
        (np.zeros((1, 2), np.float32), np.ones(1, np.int32), "tokens has dtype float32, it must be integers"),
        (np.zeros((1, 2), np.int32), np.ones(1, np.float32), "lengths has dtype float32"),
        (np.zeros((1, 2), np.int32), np.ones(2, np.int32), r"tokens has shape \(1, 2\), lengths \(2,\)"),
        (np.zeros(2, np.int32), np.ones((), np.int32), r"tokens has shape \(2,\)"),
        (np.zeros((3, 2), np.int32), np.ones(3, np.int32), "tokens has 3 rows, the batch 1"),
        (np.array([[1, 2]]), np.array([3]), "lengths holds 3, it must be 0 to 2"),
        (np.array([[1, 2]]), np.array([-1]), "lengths holds -1, it must be 0 to 2"),
        (np.array([[1, -1]]), np.array([2]), "tokens names symbol -1, the vocabulary has 0 to 4"),
        (np.array([[[1, 0], [5, 0]]]), np.array([[2, 1]]), "tokens names symbol 5, the vocabulary has 0 to 4"),
    ],
)
def test_bad_values_are_told_in_one_line(outputs, lengths, line):
    with pytest.raises(InputError, match=line) as caught:
        decode.score(Table(), table(), tokens(0), outputs, lengths)
    assert "\n" not in str(caught.value)


def test_attention_of_a_model_without_it_is_refused():
    with pytest.raises(InputError, match="attention of given outputs needs attention weights, and this Table has none"):
        decode.attention(Table(), table(), tokens(0), jnp.array([[1]]), jnp.array([1]))
