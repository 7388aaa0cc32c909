"""Texts to texts over toy decoders: every search, batching, order, streaming, attention, and copied words."""

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import decode
from seqjax.data.text.characters import CharacterVocabulary
from seqjax.data.text.limits import OutputLimit
from seqjax.data.text.words import LineVocabulary, WordVocabulary
from seqjax.decode import Search, TextSearch, texts
from seqjax.errors import InputError
from seqjax.metrics import sentence_chrf
from tests.decode.toys import Reader, Table, table

CHARACTERS = CharacterVocabulary(characters="abcd e", pad=0, unknown=1, start=2, end=3)
END, SIZE = CHARACTERS.end, len(CHARACTERS)
PARAMS = table(4, SIZE).at[:, :3].set(-jnp.inf)  # pad, unknown and start are never written
PAIR = (CHARACTERS, CHARACTERS)
SOURCES = ["abc", "", "d", "  ", "a bad dad came", "e"]


def by_hand(search, source, n_best=1, keys=("source", "source_lengths")):
    """(text, score) of the outputs for one input, from the search itself."""
    ids = CHARACTERS.encode(source)
    batch = {keys[0]: ids[None], keys[1]: np.array([len(ids)])}
    decoded = search(Reader(), PARAMS, batch, end=END, n_best=n_best, max_length=2 * -(-len(ids) // 8) * 8 + 8)
    rows = [row[:length].tolist() for row, length in zip(decoded.tokens[0], decoded.lengths[0], strict=True)]
    return [(CHARACTERS.decode(row).removesuffix("\n"), float(score)) for row, score in zip(rows, decoded.scores[0], strict=True)]


@pytest.mark.parametrize(("search", "n_best"), [(Search("greedy"), 1), (Search(beam=3), 3)], ids=["greedy", "beam"])
def test_sources_are_searched_in_batches_and_come_back_in_order(search, n_best):
    done = []
    outputs = texts(Reader(), PARAMS, SOURCES, PAIR, search=search, n_best=n_best, progress=done.append)
    assert done == [5, 6] and len(outputs) == len(SOURCES)  # two empty ones, three of width 8, one of width 16
    for source, best in zip(SOURCES, outputs, strict=True):
        if not source.strip():
            assert best == [("", 0.0, (), False)]
            continue
        assert [(h.text, pytest.approx(h.score, rel=1e-6)) for h in best] == by_hand(search, source, n_best)
        assert all(END not in h.tokens and CHARACTERS.decode(h.tokens) == h.text for h in best)


def test_an_output_is_as_long_as_those_of_training_and_a_cut_one_says_so():
    letters = "".join(map(chr, range(ord("A"), ord("A") + 40)))
    vocabulary = CharacterVocabulary(characters=letters, pad=None, unknown=None, start=0, end=1)
    chain = np.full((42, 42), -np.inf, np.float32)  # A, B ... in turn, then the end
    chain[[0, *range(2, 42)], [*range(2, 42), 1]] = 0.0
    [[cut]] = texts(Reader(), jnp.array(chain), ["A"], (vocabulary, vocabulary), search=Search("greedy"))
    assert (len(cut.tokens), cut.cut) == (24, True)
    limit = OutputLimit.of([np.zeros(1)], [np.zeros(41)])
    [[whole]] = texts(Reader(), jnp.array(chain), ["A"], (vocabulary, vocabulary), search=Search("greedy"), limit=limit)
    assert (whole.text, whole.cut) == (letters[1:], False)
    batch = {"source": np.array([[2]]), "source_lengths": np.array([1])}  # no text, but it says its lengths
    assert texts(Reader(), jnp.array(chain), batch, vocabulary, search=Search("greedy"), limit=limit) == [[whole]]


def test_prompts_are_continued_as_they_stand():
    search = Search("greedy", max_length=6)
    prompts = ["a", "a ", "ab"]
    outputs = texts(Reader(), PARAMS, prompts, CHARACTERS, search=search)
    for prompt, [best] in zip(prompts, outputs, strict=True):
        assert [best.text] == [text for text, _ in by_hand(search, prompt, keys=("tokens", "tokens_lengths"))]
    assert outputs[0] != outputs[1]  # the space counts
    [[empty]] = texts(Reader(), PARAMS, [""], CHARACTERS, search=search)
    assert empty.tokens  # an empty prompt is searched: here it begins with symbol 0


def test_a_batch_that_is_no_text_is_searched_too():
    ids = CHARACTERS.encode("abc")
    batch = {"source": np.stack([ids, ids[::-1]]), "source_lengths": np.array([3, 2])}
    search, done = Search(beam=3, max_length=24), []
    outputs = texts(Reader(), PARAMS, batch, CHARACTERS, search=search, n_best=2, progress=done.append)
    assert done == [2] and outputs[0] == texts(Reader(), PARAMS, ["abc"], PAIR, search=search, n_best=2)[0]
    with pytest.raises(InputError, match="max_length is None"):
        texts(Reader(), PARAMS, {"frames": np.zeros((2, 3))}, CHARACTERS)


def test_an_ensemble_of_equal_members_writes_what_they_write():
    ensemble = decode.Ensemble((Reader(), Reader()))
    outputs = texts(ensemble, (PARAMS, PARAMS), SOURCES, PAIR, search=Search("greedy"))
    expected = texts(Reader(), PARAMS, SOURCES, PAIR, search=Search("greedy"))
    assert [best.text for [best] in outputs] == [best.text for [best] in expected]


def test_draws_are_ranked_by_likelihood_or_by_their_likeness():
    draws = texts(Reader(), PARAMS, ["abc"], PAIR, search=Search("sample", seed=1), n_best=8)[0]
    assert len({best.text for best in draws}) == len(draws) > 2
    assert [best.score for best in draws] == sorted((best.score for best in draws), reverse=True)
    rows = [text for text, _ in by_hand(Search("sample", seed=1), "abc", 8)]
    expected = {text: np.mean([sentence_chrf(text, other) for other in rows]) for text in rows}
    chosen = texts(Reader(), PARAMS, ["abc"], PAIR, search=Search("mbr", seed=1, samples=8), n_best=8)[0]
    assert {best.text: best.score for best in chosen} == pytest.approx(expected)
    assert chosen[0].score == max(expected.values())


def test_a_stream_is_the_text_piece_by_piece():
    for search in (Search("greedy"), Search("sample", seed=2)):
        reader = TextSearch(Reader(), PARAMS, PAIR, search)
        pieces = [*reader.stream("abc")]
        assert len(pieces) > 1 and "".join(pieces) == reader(["abc"])[0][0].text
        assert [*reader.stream(" ")] == []
    for search, line in [(Search(), "to stream, give"), (Search("greedy", unknown="copy"), "unknown is copy, which a stream")]:
        with pytest.raises(InputError, match=line):
            TextSearch(Reader(), PARAMS, PAIR, search).stream("")


def test_an_attention_map_names_the_symbols_of_both_sides():
    attention = TextSearch(Reader(), PARAMS, PAIR).attention(" ab c", CHARACTERS.encode("ee").tolist())
    assert (attention.inputs, attention.outputs) == (["a", "b", " ", "c"], ["e", "e", "end"])
    np.testing.assert_array_equal(attention.weights, np.eye(3, 4))
    with pytest.raises(InputError, match="the source is empty"):
        TextSearch(Reader(), PARAMS, PAIR).attention(" ", [4])


def test_unknown_symbols_are_marked_or_copied_from_where_the_decoder_attends():
    words = WordVocabulary(words=("red", "green"), pad=0, unknown=1, start=2, end=3)
    params = jnp.full((6, 6), -9.0).at[jnp.array([4, 1, 5]), jnp.array([1, 5, 3])].set(0.0)  # red: unknown, green, the end
    second = params.at[4, 5].set(-8.5)
    [[best]] = texts(Reader(), second, ["red"], (words, words), search=Search("greedy", unknown_penalty=9.1, max_length=1))
    assert best.text == "green" and best.score < -8  # the score is without the penalty
    for unknown, expected in (("mark", "<unk> green"), ("copy", "Zoë green")):
        [[best]] = texts(Reader(), params, ["Zoë   is red"], (words, words), search=Search("greedy", unknown=unknown))
        assert best.text == expected
    for model, vocabularies in ((Table(), (words, words)), (Reader(), words)):
        with pytest.raises(InputError, match="unknown is copy"):
            TextSearch(model, params, vocabularies, Search(unknown="copy"))
    with pytest.raises(InputError, match="needs the words of a source"):
        texts(Reader(), params, {"source": np.zeros((1, 1))}, (words, words), search=Search(unknown="copy"))


def test_a_line_is_a_whole_output():
    lines = LineVocabulary.from_text("yes\nno\nyes\n")
    params = table(0, len(lines))
    for search in (Search("greedy"), Search(beam=2, max_length=5)):
        [[best]] = texts(Reader(), jnp.tile(params[:1], (SIZE, 1)), ["abc"], (CHARACTERS, lines), search=search)
        assert len(best.tokens) == 1 and best.text in ("yes", "no", lines.decode([lines.unknown]), "")


def test_where_nothing_may_be_written_there_is_one_empty_output():
    [[best]] = texts(Reader(), jnp.full((SIZE, SIZE), -jnp.inf), ["abc"], PAIR, search=Search(beam=2))
    assert (best.text, best.score) == ("", -np.inf)


def test_a_search_can_be_checked_before_there_is_anything_to_search():
    TextSearch(Reader(), PARAMS, PAIR, Search(beam=2)).check(n_best=2, longest=30)
    with pytest.raises(InputError, match="n_best is 3 and beam 2"):
        TextSearch(Reader(), PARAMS, PAIR, Search(beam=2)).check(n_best=3)
    with pytest.raises(InputError, match=r"coverage_penalty 1\.0 needs attention weights"):
        TextSearch(Table(), PARAMS, CHARACTERS, Search(coverage_penalty=1.0)).check()
    with pytest.raises(InputError, match="inputs is one text: give a list"):
        texts(Reader(), PARAMS, "abc", PAIR)
