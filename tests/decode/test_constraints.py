"""Constraints: each against a plain check of whole outputs, and all together in every search."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import decode
from seqjax.decode.constraints import make_rules
from seqjax.decode.rules import Written, constrain
from seqjax.errors import InputError
from tests.decode.toys import END, Table, Tree, log_p_of, rows, table, tokens

V, L = 4, 4

CONSTRAINTS = [
    {"min_length": 3},
    {"no_repeat_ngram": 1},
    {"no_repeat_ngram": 2},
    {"no_repeat_ngram": 3},
    {"no_repeat_ngram": 9},
    {"banned": (1,)},
    {"banned": (END, 3)},
    {"prefix": np.array([[2, 1], [3, -1]])},
    {"prefix": np.array([[2, 1], [3, 3]]), "prefix_lengths": np.array([1, 2])},
    {"prefix": np.array([[-1, -1, 2]] * 2)},
    {"prefix": np.zeros((2, 0), np.int32)},
    {"prefix": np.array([[1, 1, 1, 1, -1, -1]] * 2), "banned": (1,), "no_repeat_ngram": 1, "min_length": 4},  # it overrides
    {"min_length": 3, "no_repeat_ngram": 2, "banned": (2,)},
]


def keeps(path, row, *, min_length=0, no_repeat_ngram=None, banned=(), prefix=None, prefix_lengths=None):
    """Whether a path keeps all constraints."""
    prefix = [] if prefix is None else list(prefix[row])
    forced = prefix[: len(prefix) if prefix_lengths is None else prefix_lengths[row]]
    forced = [*forced, *[-1] * len(path)]
    for i, symbol in enumerate(path):
        if forced[i] >= 0:
            if symbol != forced[i]:
                return False
            continue
        if symbol in banned or (symbol == END and i + 1 < min_length):
            return False
        n = no_repeat_ngram
        if n and i + 1 >= n and path[i + 1 - n : i + 1] in [path[j : j + n] for j in range(i + 1 - n)]:
            return False
    return True


def holds(path, phrase):
    """Whether a phrase is in a path."""
    return any(path[i : i + len(phrase)] == tuple(phrase) for i in range(len(path)))


def possible(model, params, row, constraints, ends=(END,), limit=L):
    """{path: log-probability} of all outputs that keep the constraints."""
    distribution, _ = model.lookup(params, row)
    phrases = {name: constraints.get(name, ()) for name in ("banned_phrases", "demanded")}
    of_row = {name: value[row] if value and np.ndim(value[0][0]) else value for name, value in phrases.items()}
    others, log_p = {name: value for name, value in constraints.items() if name not in phrases}, {}
    for length in range(1, limit + 1):
        for path in itertools.product(range(V), repeat=length):
            is_complete = not {*ends} & {*path[:-1]} and (path[-1] in ends or length == limit)
            has_phrases = all(holds(path, phrase) for phrase in of_row["demanded"])
            has_banned = any(holds(path, phrase) for phrase in of_row["banned_phrases"])
            if is_complete and has_phrases and not has_banned and keeps(path, row, **others):
                log_p[path] = sum(distribution(path[:i])[symbol] for i, symbol in enumerate(path))
    return log_p


@pytest.mark.parametrize("constraints", CONSTRAINTS, ids=str)
def test_a_symbol_is_allowed_where_the_output_with_it_keeps_the_constraints(constraints):
    """After every prefix of every length, whatever stands behind it, in the shapes of a beam and of a single search."""
    rules, random = make_rules(L, (END,), constraints), np.random.default_rng(0)
    prefixes = np.array([*itertools.product(range(V), repeat=L - 1)])  # [K, L - 1]
    logits = jnp.asarray(random.standard_normal((len(prefixes), 2, V)), jnp.float32)  # [K, B, V]

    @jax.jit
    def allowed(symbols, time):  # [L, K, B]
        def of(logits, symbols):
            limit = jnp.full(2, L)
            return constrain(rules, logits, Written(symbols, jnp.zeros_like(symbols[0]), time, limit, None)).values

        return of(logits, symbols), jax.vmap(of, in_axes=(0, 1))(logits, symbols)

    values = np.asarray(logits)
    for time in range(L):
        symbols = random.integers(0, V, (L, len(prefixes), 2), dtype=np.int32)  # garbage from `time` on
        symbols[:time] = prefixes.T[:time, :, None]
        beams, alone = (np.asarray(leaf) for leaf in allowed(symbols, np.int32(time)))
        np.testing.assert_array_equal(beams, alone)
        for k, row in itertools.product(range(len(prefixes)), range(2)):
            path = tuple(prefixes[k, :time].tolist())
            if not all(keeps(path[: i + 1], row, **constraints) for i in range(time)):
                continue  # no search comes here
            for symbol in range(V):
                expected = values[k, row, symbol] if keeps((*path, symbol), row, **constraints) else -np.inf
                assert beams[k, row, symbol] == expected, (path, symbol)


@functools.cache
def forest():
    return Tree(V), Tree.init(2, V, L, seed=2, sharpness=1.5)


TOGETHER = [
    {"min_length": 3, "no_repeat_ngram": 2, "banned": (2,)},
    {"prefix": np.array([[2, 1], [3, 3]]), "prefix_lengths": np.array([1, 2]), "no_repeat_ngram": 1},
]
PHRASES = [  # one program
    {"demanded": [[3, 2]]},
    {"demanded": [[[1, 2], [2, 3]], [[2], [1, 1]]], "banned_phrases": [[3, 1]]},  # those of row 0 overlap: 1 2 3 holds both
    {"demanded": [[2, 1, 3, 1]], "banned_phrases": [[END]]},
    {"demanded": [[1], [3]], "banned_phrases": [[[3, END], [1, 3]], [[3, 1, 2]]]},
]


def outputs(decoded, row):
    """(paths, scores) of the hypotheses of a row that are not missing."""
    count = int((decoded.lengths[row] > 0).sum())
    return [tuple(decoded.tokens[row, i, : decoded.lengths[row, i]].tolist()) for i in range(count)], decoded.scores[row, :count]


def wide(end=END, **constraints):
    model, params = forest()
    options = {"width": V**L, "max_length": L, "end": end, "early_stop": False, "n_best": 121}
    return decode.beam(model, params, rows(0, 1), **options, **constraints)


@pytest.mark.parametrize("constraints", TOGETHER + PHRASES, ids=str)
def test_a_wide_beam_equals_enumeration(constraints):
    model, params = forest()
    decoded = wide(**constraints)
    for row in range(2):
        expected = possible(model, params, row, constraints)
        paths, scores = outputs(decoded, row)
        assert set(paths) == set(expected) and len(paths) == len(expected) > 0
        np.testing.assert_allclose(scores, [expected[path] for path in paths], rtol=2e-5, atol=1e-5)


def rising(tokens, step, log_p):
    """A constraint of one's own: no symbol but the end is smaller than the one before."""
    last = jnp.where(step > 0, tokens[:, jnp.maximum(step - 1, 0)], 0)[:, None]  # [B, 1]
    symbol = jnp.broadcast_to(jnp.arange(V), log_p.shape)
    return jnp.where((symbol < last) & (symbol != END), -jnp.inf, log_p)


def test_several_ends_a_limit_for_each_row_and_a_constraint_of_one_s_own_equal_enumeration():
    """And a bias and a penalty on repeats, which count in the order but not in the scores."""
    (model, params), ends, limits = forest(), (END, 3), (4, 3)
    bias, penalty = {1: -1.5, 2: -0.2}, 1.7
    soft = {"bias": bias, "repetition_penalty": penalty}
    decoded = wide((3, END), max_lengths=np.array(limits), constraint=rising, **soft)
    for row, limit in enumerate(limits):
        expected = {
            path: log_p
            for path, log_p in possible(model, params, row, {}, ends, limit).items()
            if all(b >= a or b == END for a, b in itertools.pairwise(path))
        }
        distribution, _ = model.lookup(params, row)

        def value(path, distribution=distribution):
            gains = [(distribution(path[:i])[v], v in path[:i], bias.get(v, 0)) for i, v in enumerate(path)]
            return sum(gain * (penalty if repeats else 1) + more for gain, repeats, more in gains)

        paths, scores = outputs(decoded, row)
        assert paths == sorted(expected, key=lambda path: (path[-1] not in ends, -value(path))) and len(paths) > 15
        np.testing.assert_allclose(scores, [expected[path] for path in paths], rtol=2e-5, atol=1e-5)


@pytest.mark.slow
def test_each_row_is_searched_under_its_own_limit_as_if_it_were_alone():
    limits = [2, 6, 4, 1, 6]
    batch, every = tokens(0, 1, 2, 3, 4), {"max_length": 6, "end": (END, 3)}

    def all_searches(**limit):
        draw = {"key": jax.random.key(1), "samples": 2}
        greedy = decode.greedy(Table(), table(2), batch, **every, **limit)
        return greedy, decode.sample(Table(), table(2), batch, **every, **draw, **limit), beams(**limit)

    def beams(**limit):
        return decode.beam(Table(), table(2), batch, width=3, n_best=3, length_penalty=0.7, **every, **limit)

    together = all_searches(max_lengths=np.array(limits))
    for limit in sorted({*limits}):
        alone = all_searches(max_lengths=np.full(5, limit))
        for row in np.flatnonzero(np.array(limits) == limit):
            for one, others in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
                np.testing.assert_array_equal(one[row], others[row])
        assert max(int(leaf.lengths.max()) for leaf in alone) == limit
    shorter = decode.beam(Table(), table(2), batch, width=3, n_best=3, length_penalty=0.7, max_length=4, end=(END, 3))
    np.testing.assert_array_equal(shorter.tokens[2], together[2].tokens[2, :, :4])
    traced = jax.jit(beams)(max_lengths=jnp.array(limits))
    np.testing.assert_array_equal(traced.tokens, together[2].tokens)


def test_a_narrow_beam_writes_a_demanded_phrase_where_it_fits_best():
    """Each number of missing symbols has its beams: with 6 of them, the best output with the phrase is found."""
    random = np.random.default_rng(5)
    for seed in range(3):
        logits, phrase = np.asarray(table(seed)), tuple(random.integers(1, 5, 2).tolist())
        every = {"width": 6, "max_length": 7, "end": END}
        decoded = decode.beam(Table(), logits, tokens(seed), demanded=[phrase], early_stop=False, **every)
        best = max(
            (log_p_of(logits, path, seed), path)
            for length in range(3, 7)
            for path in ((*middle, END) for middle in itertools.product(range(1, 5), repeat=length - 1))
            if holds(path, phrase)
        )
        length = int(decoded.lengths[0, 0])
        assert tuple(decoded.tokens[0, 0, :length].tolist()) == best[1]
        np.testing.assert_allclose(decoded.scores[0, 0], best[0], rtol=1e-5)
    outputs_ = decode.sample(Table(), logits, tokens(*[0] * 5), max_length=7, end=END, key=jax.random.key(0), demanded=[phrase])
    for row, length in zip(outputs_.tokens.tolist(), outputs_.lengths.tolist(), strict=True):
        assert holds(tuple(row[:length]), phrase)


def test_arrays_of_a_constraint_may_change_without_compiling():
    model = Table(name="under a constraint with arrays")

    def keep(allowed, tokens, step, log_p):
        return jnp.where(allowed, log_p, -jnp.inf)

    for symbol in (1, 3):
        allowed = jnp.broadcast_to(jnp.arange(5) == symbol, (2, 5))
        decoded = decode.greedy(model, table(), tokens(0, 1), max_length=3, constraint=jax.tree_util.Partial(keep, allowed))
        assert decoded.tokens.tolist() == [[symbol] * 3] * 2
    assert 1 <= len(model.traces) <= 2


@pytest.mark.parametrize("constraints", TOGETHER, ids=str)
def test_greedy_takes_the_likeliest_of_what_is_allowed_and_samples_keep_to_it(constraints):
    model, params = forest()
    greedy = decode.greedy(model, params, rows(0, 1), max_length=L, end=END, **constraints)
    beam = decode.beam(model, params, rows(0, 1), width=1, max_length=L, end=END, **constraints)
    outputs = [greedy]
    for seed in range(3):
        draw = {"key": jax.random.key(seed), "temperature": 2.0, "max_length": L, "end": END}
        outputs.append(decode.sample(model, params, rows(0, 1), **draw, **constraints))
        columns = list(decode.stream(model, params, rows(0, 1), **draw, **constraints))
        np.testing.assert_array_equal(np.stack(columns, 1), outputs[-1].tokens[:, : len(columns)])
    for row in range(2):
        log_p_of_path = possible(model, params, row, constraints)
        for output in outputs:
            path = tuple(output.tokens[row, : output.lengths[row]].tolist())
            if path in log_p_of_path:
                np.testing.assert_allclose(output.scores[row], log_p_of_path[path], rtol=2e-5)
            else:  # nothing could follow
                assert output.scores[row] == -math.inf and len(path) < L
                assert not any(keeps((*path, symbol), row, **constraints) for symbol in range(V))
        path = tuple(greedy.tokens[row, : greedy.lengths[row]].tolist())
        distribution, _ = model.lookup(params, row)
        for i, symbol in enumerate(path):
            allowed = [v for v in range(V) if keeps((*path[:i], v), row, **constraints)]
            assert symbol == max(allowed, key=lambda v: distribution(path[:i])[v])
        if greedy.scores[row] > -math.inf:
            assert tuple(beam.tokens[row, 0, : beam.lengths[row, 0]].tolist()) == path
            np.testing.assert_allclose(beam.scores[row, 0], greedy.scores[row], rtol=1e-5)


def test_where_no_symbol_is_left_a_row_ends_without_one_and_the_others_go_on():
    logits, prefix = table(symbols=3), jnp.array([[0, -1], [1, 1]])
    every = {"max_length": 5, "prefix": prefix, "prefix_lengths": jnp.array([1, 0]), "no_repeat_ngram": 1}
    decoded = decode.greedy(Table(), logits, tokens(0, 1), **every, end=2, banned=(2,))
    assert decoded.lengths.tolist() == [2, 2] and decoded.scores.tolist() == [-math.inf] * 2
    assert decoded.tokens[0].tolist() == [0, 1, 0, 0, 0]
    beams = decode.beam(Table(), logits, tokens(0, 1), width=4, n_best=2, **every, end=2, banned=(2,))
    assert beams.lengths.tolist() == [[2, 0]] * 2 and bool((beams.scores == -math.inf).all()) and not beams.tokens[:, 1].any()
    beams = decode.beam(Table(), logits, tokens(0, 1), width=1, **every, end=2, banned=(2,))
    np.testing.assert_array_equal(beams.tokens[:, 0], decoded.tokens)


def test_what_the_model_forbids_is_not_forced():
    logits = table().at[:, 1].set(-jnp.inf)
    decoded = decode.greedy(Table(), logits, tokens(0), max_length=3, prefix=jnp.array([[1]]))
    assert decoded.lengths.tolist() == [0] and decoded.scores.tolist() == [-math.inf]


def test_a_constraint_makes_no_impossible_symbol_possible():
    logits = table().at[:, 1].set(-jnp.inf)
    allowed = jnp.arange(5) % 3 == 1  # 1, which is impossible, and 4

    def equal(tokens, step, log_p):
        return jnp.broadcast_to(jnp.where(allowed, 0.0, -jnp.inf), log_p.shape)

    greedy = decode.greedy(Table(), logits, tokens(0), max_length=3, constraint=equal)
    beams = decode.beam(Table(), logits, tokens(0), width=2, max_length=3, constraint=equal)
    for symbols, score in ((greedy.tokens[0], greedy.scores[0]), (beams.tokens[0, 0], beams.scores[0, 0])):
        assert symbols.tolist() == [4, 4, 4]
        np.testing.assert_allclose(score, log_p_of(jax.nn.log_softmax(logits), [4, 4, 4], 0), rtol=1e-5)


def test_a_repeat_is_told_from_the_symbols_before_the_step_alone():
    # Symbols stored at later steps are left over from an earlier search, and do not count.
    rules = make_rules(6, (), {"no_repeat_ngram": 2})
    symbols = jnp.array([[1], [2], [1], [1], [3], [1]], jnp.int32)
    limit = jnp.array([6])
    steps = [Written(symbols, symbols[0], jnp.array(t), limit, None) for t in range(6)]
    banned = [constrain(rules, jnp.zeros((1, 5)), written).values[0].tolist() for written in steps]
    assert [[v for v in range(5) if row[v] < 0] for row in banned] == [[], [], [], [2], [1, 2], []]


def test_another_value_compiles_nothing():
    model = Table(name="constrained, and seen by no other test")
    for least, banned, prefix, end in [(2, (1,), [[1, 2], [0, 0]], 3), (4, (0,), [[-1, 2], [4, -1]], 2)]:
        every = {"min_length": least, "banned": banned, "prefix": jnp.array(prefix), "no_repeat_ngram": 2}
        decode.greedy(model, table(), tokens(0, 1), max_length=5, end=end, **every)
        decode.beam(model, table(), tokens(0, 1), width=3, max_length=5, end=end, **every)
    assert 1 <= len(model.traces) <= 4


@pytest.mark.parametrize("banned", [[1, 3], {1, 3}, range(1, 4, 2), np.array([1, 3]), jnp.array([1, 3])], ids=str)
def test_constraints_may_be_lists_or_arrays(banned):
    every = {"max_length": 4, "end": END}
    lists = {"banned": banned, "prefix": [[2, 9], [-1, 4]], "prefix_lengths": [1, 2]}
    decoded = decode.greedy(Table(), table(), tokens(0, 1), **lists, **every)
    prefix = {"prefix": jnp.array([[2, -1], [-1, 4]]), "banned": (1, 3)}
    np.testing.assert_array_equal(decoded.tokens, decode.greedy(Table(), table(), tokens(0, 1), **prefix, **every).tokens)


def test_scores_stay_those_of_the_model():
    decoded = decode.greedy(Table(), table(4), tokens(0), max_length=6, banned=(1, 3))
    np.testing.assert_allclose(decoded.scores[0], log_p_of(table(4), decoded.tokens[0].tolist(), 0), rtol=1e-5)


@pytest.mark.parametrize(
    ("constraints", "line"),
    [
        ({"min_length": 0}, "min_length is 0, it must be at least 1"),
        ({"min_length": 9}, "min_length is 9, it must be at most max_length, 5"),
        ({"min_length": 2, "end": None}, "min_length is 2 and end is None"),
        ({"no_repeat_ngram": 0}, "no_repeat_ngram is 0"),
        ({"banned": (-1,)}, "banned holds -1"),
        ({"banned": (0.5,)}, "banned is 0.5, it must be an integer"),
        ({"prefix": np.zeros((2, 3), np.float32)}, r"prefix has shape \(2, 3\) and dtype float32, it must be integers"),
        ({"prefix": np.zeros(3, np.int32)}, r"prefix has shape \(3,\)"),
        ({"prefix": np.zeros((2, 3), np.int32)}, "prefix has 2 rows, the batch 1"),
        ({"prefix": np.zeros((1, 3), np.int32), "prefix_lengths": [0, 0]}, r"prefix_lengths has shape \(2,\), prefix"),
        ({"banned": (2, 5)}, "banned names symbol 5, the vocabulary has 0 to 4"),
        ({"banned": [2**31]}, "banned holds 2147483648"),
        ({"prefix": [[1, 2], [3]]}, "prefix has rows of different lengths"),
        ({"prefix": np.array([[-1, 7]])}, "prefix names symbol 7, the vocabulary has 0 to 4"),
        ({"prefix_lengths": np.zeros(1)}, r"prefix_lengths is an array float64\[1\], but there is no prefix"),
        ({"prefix": [[1, 2]], "prefix_lengths": [3]}, "prefix_lengths holds 3, it must be 0 to 2"),
        ({"prefix": [[1] * 6]}, "prefix has 6 symbols, more than max_length, 5"),
        ({"banned": [[2, 1]]}, r"banned has shape \(1, 2\), it must be symbols \[n\], each forbidden; banned_phrases forbids"),
        ({"min_len": 2}, "min_len is no option of this search: did you mean min_length"),
        ({"bias": {1: math.nan}}, "bias of symbol 1 is nan"),
        ({"bias": {7: 1.0}}, "bias names symbol 7, the vocabulary has 0 to 4"),
        ({"bias": [1.0]}, "bias is a list, it must be a dict"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0, it must be above 0"),
        ({"max_lengths": [6]}, "max_lengths holds 6, it must be 1 to max_length, 5"),
        ({"max_lengths": [2, 2]}, "max_lengths has 2 rows, the batch 1"),
        ({"max_lengths": [2], "min_length": 3}, "min_length is 3, it must be at most every one of max_lengths"),
        ({"demanded": [[1, END]]}, r"demanded holds the phrase \[1, 0\] with 0, which ends an output"),
        ({"demanded": [[1, 2, 3], [3, 2, 1]], "max_length": 4}, "demanded needs 5 symbols, max_length is 4"),
        ({"demanded": [[1, 2]], "banned_phrases": [[2]]}, "demanded cannot be met beside banned_phrases"),
        ({"demanded": [[1, 2]], "banned": [2]}, "demanded names symbol 2, which is banned"),
        ({"demanded": [1, 2]}, r"demanded is \[1, 2\], it must be phrases"),
        ({"demanded": [[1, 7]]}, "phrases names symbol 7, the vocabulary has 0 to 4"),
        ({"demanded": [[[1]], [[2]]]}, "the phrases are for 2 rows, the batch has 1"),
        ({"constraint": 3}, "constraint is 3, it must be a function"),
        ({"constraint": lambda tokens, step, log_p: log_p[0]}, r"constraint returns \(5,\), it must return log-prob.* \[1, 5\]"),
        ({"end": (2, 9)}, "end names symbol 9, the vocabulary has 0 to 4"),
    ],
)
@pytest.mark.parametrize("search", [decode.greedy, functools.partial(decode.beam, width=2)], ids=["greedy", "beam"])
def test_bad_values_are_told_in_one_line(search, constraints, line):
    with pytest.raises(InputError, match=line) as caught:
        search(Table(), table(), tokens(0), **{"max_length": 5, "end": END} | constraints)
    assert "\n" not in str(caught.value)
