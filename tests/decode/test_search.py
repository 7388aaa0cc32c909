"""A search as a value gives what the function of its method gives, and refuses what does nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import decode
from seqjax.decode import Search
from seqjax.errors import InputError
from tests.decode.toys import END, Table, table, tokens

LIMITS = {"max_length": 6, "end": END}


def searched(search, n_best=1, **limits):
    return search(Table(), table(), tokens(0, 1), n_best=n_best, **(LIMITS | limits))


def equal(actual, expected):
    for leaf, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(leaf, other)


def test_a_beam_search_is_beam():
    search = Search(beam=4, groups=2, diversity=0.3, early_stop=False, no_repeat_ngram=2, min_length=3)
    options = {"width": 4, "groups": 2, "diversity": 0.3, "early_stop": False, "no_repeat_ngram": 2, "min_length": 3}
    expected = decode.beam(Table(), table(), tokens(0, 1), n_best=3, length_penalty=1.0, **options, **LIMITS)
    equal(searched(search, 3), expected)


def test_a_greedy_search_is_greedy():
    expected = jax.tree.map(lambda leaf: leaf[:, None], decode.greedy(Table(), table(), tokens(0, 1), **LIMITS))
    for search in (Search(method="greedy"), Search(beam=1), Search(beam=4).as_greedy()):
        assert search.is_greedy
        equal(searched(search), expected)
    assert not Search(beam=1, coverage_penalty=0.1).is_greedy and not Search(beam=1, early_stop=False).is_greedy
    assert Search("mbr", seed=3, max_length=9, unknown="copy").as_greedy() == Search("greedy", max_length=9, unknown="copy")
    equal([next(Search("greedy").stream(Table(), table(), tokens(0, 1), **LIMITS))], [expected.tokens[:, 0, 0]])


def test_draws_are_samples_each_with_a_key_of_its_own():
    keys = jax.random.split(jax.random.key(3), 2)
    draw = {"temperature": 1.5, "top_k": 4}
    samples = [decode.sample(Table(), table(), tokens(0, 1), key=key, **draw, **LIMITS) for key in keys]  # each alone
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *samples)
    equal(searched(Search(method="sample", seed=3, **draw), 2), expected)
    equal(searched(Search(method="mbr", seed=3, samples=2, **draw)), expected)
    columns = [*Search(method="sample", seed=3, **draw).stream(Table(), table(), tokens(0, 1), **LIMITS)]
    equal([np.stack(columns, 1)], [expected.tokens[:, 0, : len(columns)]])


def test_the_package_shows_its_public_names_alone():
    assert dir(decode) == sorted(decode.__all__) and all(hasattr(decode, name) for name in decode.__all__)


def test_its_own_length_goes_before_the_caller_s():
    assert searched(Search(method="greedy", max_length=6), max_length=9).tokens.shape == (2, 1, 6)
    with pytest.raises(InputError, match="max_length is None: give the most symbols"):
        searched(Search(), max_length=None)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"method": "best"}, "method is 'best', it must be one of 'greedy', 'sample', 'beam', 'mbr'"),
        ({"unknown": "drop"}, "unknown is 'drop', it must be one of 'mark', 'copy'"),
        ({"beam": 0}, "beam is 0, it must be at least 1"),
        ({"beam": 4, "groups": 3}, "beam is 4, it must be a multiple of groups, 3"),
        ({"length_penalty": -1.0}, "length_penalty is -1.0, it must be at least 0"),
        ({"diversity": float("inf")}, "diversity is inf"),
        ({"method": "mbr", "samples": 0}, "samples is 0, it must be at least 1"),
        ({"method": "sample", "temperature": -1.0}, "temperature is -1.0"),
        ({"method": "sample", "top_p": 1.5}, "top_p is 1.5"),
        ({"seed": 0.5}, "seed is 0.5, it must be an integer"),
        ({"min_length": -1}, "min_length is -1, it must be at least 0"),
        ({"max_length": 0}, "max_length is 0, it must be at least 1"),
        ({"top_k": 3}, "top_k is 3 and does nothing under method beam: give method sample or mbr, or top_k None"),
        ({"method": "sample", "samples": 3}, "samples is 3 and does nothing under method sample: give method mbr, or samples 16"),
        ({"method": "greedy", "length_penalty": 0.5}, "length_penalty is 0.5 and does nothing under method greedy: give method"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(options, line):
    with pytest.raises(InputError) as caught:
        Search(**options)
    assert line in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("search", "n_best", "line"),
    [
        (Search("greedy"), 2, "n_best is 2, it must be 1: a greedy search has one output"),
        (Search("sample"), 0, "n_best is 0, it must be at least 1"),
        (Search(beam=2), 3, "n_best is 3 and beam 2: a search of 2 beams gives at most 2 hypotheses"),
        (Search(seed=10**20, method="sample"), 1, "seed is 1000"),
    ],
)
def test_a_search_that_cannot_be_done_is_refused(search, n_best, line):
    with pytest.raises(InputError, match=line):
        searched(search, n_best)


def test_a_beam_search_cannot_be_streamed():
    for search in (Search(), Search("mbr"), Search(beam=1, early_stop=False)):
        with pytest.raises(InputError, match="to stream, give method greedy or sample"):
            search.stream(Table(), table(), tokens(0), **LIMITS)
