"""Pairs: what a line becomes, which split it falls into, what the record says, and every refusal."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from seqjax.data.text import pairs as texts
from seqjax.data.text.files import read_text
from seqjax.data.text.pairs import Pair, from_files, from_tfds, from_tsv, numbers, unsplit
from seqjax.errors import InputError

ALL_TRAIN = (1, 0, 0)


@pytest.fixture
def write(tmp_path):
    """A function of a name and lines (or bytes): the path of that file; *.gz is packed."""

    def write(name, content):
        content = content if isinstance(content, bytes) else "".join(line + "\n" for line in content).encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def refused(call, *args, **options):
    with pytest.raises(InputError) as error:
        call(*args, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_aligned_files_and_a_table_give_the_same_pairs(write, end):
    sources, targets = ["a b", " c\u2028d ", "e\r"], ["A B", "C D", "\tE"]
    files = write("x.en" + end, sources), write("x.de" + end, b"\xef\xbb\xbf" + "\n".join(targets).encode())
    table = write("x.tsv" + end, ["a b\tA B", "", "c\u2028d\t C D", "e\tE"])
    one, other = from_files(files, valid=files, split=ALL_TRAIN), from_tsv(table, valid=table, split=ALL_TRAIN)
    assert one.train == other.train == (Pair("a b", "A B"), Pair("c\u2028d", "C D"), Pair("e", "E"))
    assert (one.record["empty"], other.record["empty"]) == (0, 1)
    assert len(other.valid) == 4 and other.test == ()
    assert one.record["source"] == f"{files[0]} to {files[1]}" and other.record["source"] == str(table)


def test_an_empty_side_leaves_train_and_is_counted_and_keeps_its_place_elsewhere(write):
    table = write("x.tsv", ["a\tA", "b\t", "\tC", "d\tD"])
    pairs = from_tsv(table, valid=table, test=table)
    assert [pair.source for pair in pairs.train] == ["a", "d"]
    assert [pair.target for pair in pairs.valid] == [pair.target for pair in pairs.test] == ["A", "", "C", "D"]
    record = pairs.record
    assert json.loads(json.dumps(record)) == record
    assert (record["pairs"], record["train_pairs"], record["valid_pairs"], record["test_pairs"], record["empty"]) == (
        10,
        2,
        4,
        4,
        2,
    )


def test_the_record_tells_texts_and_splits_apart(write):
    one, other = write("1.tsv", ["a\tA", "b\tB"]), write("2.tsv", ["a\tA", "b\tC"])
    hashes = [
        from_tsv(*files).record["sha256"] for files in ((one, one, one), (one, one, other), (one, other, one), (one, one, one))
    ]
    assert len(set(hashes)) == 3 and hashes[0] == hashes[3]


def test_a_missing_split_is_taken_out_of_train_by_the_source(write):
    rows = [f"{n % 300}\t{n}" for n in range(900)]
    table, valid = write("x.tsv", rows), write("own.tsv", ["own\tOWN"])
    pairs = from_tsv(table, split=(0.5, 0.25, 0.25))
    sources = [{pair.source for pair in split} for split in (pairs.train, pairs.valid, pairs.test)]
    assert sum(map(len, sources)) == 300 and set.union(*sources) == {str(n) for n in range(300)}
    assert [len(texts) for texts in sources] == pytest.approx([150, 75, 75], abs=25)
    assert pairs.record["pairs"] == 900
    longer = from_tsv(write("longer.tsv", [*rows, "new\tnew"]), split=(0.5, 0.25, 0.25))
    assert set(pairs.test) <= set(longer.test)  # nothing moves when pairs are added
    with_valid = from_tsv(table, valid=valid, split=(0.5, 0.25, 0.25))
    assert (
        with_valid.valid == (Pair("own", "OWN"),)
        and with_valid.test == pairs.test
        and len(with_valid.train) + len(with_valid.test) == 900
    )


def test_blank_lines_are_counted_and_reach_no_split_that_is_cut_off(write):
    rows = [row for n in range(400) for row in (f"{n}\tx{n}", "")]
    for name, read in (("x.tsv", from_tsv), ("x.jsonl", from_tsv), ("x", None)):
        if read is None:
            sides = [[row.split("\t")[k] if row else "" for row in rows] for k in (0, 1)]
            pairs = from_files((write("x.en", sides[0]), write("x.de", sides[1])))
        else:
            fields = [json.dumps(dict(zip(("en", "de"), row.split("\t"), strict=True))) if row else "" for row in rows]
            pairs = read(write(name, fields if name.endswith("jsonl") else rows))
        assert all(all(pair) for split in (pairs.train, pairs.valid, pairs.test) for pair in split)
        assert (pairs.record["pairs"], pairs.record["empty"]) == (400, 400) and len(pairs.valid) < 80


def test_each_split_of_few_pairs_has_at_least_one(write):
    table = write("x.tsv", ["a\tA", "b\tB", "c\tC"])
    assert [len(split) for split in (from_tsv(table).train, from_tsv(table).valid, from_tsv(table).test)] == [1, 1, 1]
    halves = from_tsv(table, split=(0.5, 0.5, 0))
    assert (len(halves.train) + len(halves.valid), halves.test) == (3, ()) and halves.train and halves.valid
    message = refused(from_tsv, write("y.tsv", ["a\tA"]))
    assert "split is empty" in message and message.endswith("give more pairs, or other shares (split 0.6 0.2 0.2)")


def test_columns_are_chosen_by_number_or_by_title(write):
    rows = ["en\tde\tlicence", "a\tA\tx", "b\tB\ty"]
    table, expected = write("x.tsv", rows), (Pair("a", "A"), Pair("b", "B"))
    bare = write("bare.tsv", rows[1:])
    assert unsplit(bare, columns=("1", "2"))[0] == unsplit(table, columns=(1, 2), header="skip")[0] == expected
    assert unsplit(table, columns=("en", "de"))[0] == expected
    assert unsplit(table, columns=("3", "1"), header="skip")[0][0] == Pair("x", "a")
    assert unsplit(table, columns=(1, 2), header="keep")[0] == (Pair("en", "de"), *expected)
    titles = write("titles.tsv", ["Source_text\tTarget (German)", "a\tA"])
    assert unsplit(titles, header="skip")[0] == (Pair("a", "A"),)
    assert unsplit(write("words.tsv", ["the English\tles Anglais", "question\tquestion"]))[0][1] == Pair("question", "question")
    for path, options, part in (
        (bare, {}, "has 3 columns in line 1: a line is a source, a tab and a target; choose two with --data.columns 1 2"),
        (table, {"columns": (1, 2)}, "begins with a row that looks like titles of columns (en, de, licence): give --data.header"),
        (titles, {}, "begins with a row that looks like titles of columns (Source_text, Target (German))"),
        (table, {"columns": ("en", "fr")}, "has no column 'fr' in its first row (en, de, licence)"),
        (bare, {"columns": (1, 4)}, "has 3 columns in line 1, too few for columns 1 4"),
        (bare, {"columns": (0, 1)}, "columns are 0 1: they are counted from 1"),
        (bare, {"columns": (1, 1)}, "columns are 1 1: give two different ones"),
        (bare, {"header": "drop"}, "header is 'drop'"),
    ):
        assert part in refused(unsplit, path, **options)
    assert "chooses columns of one table" in refused(texts.load, ("a", "b"), columns=("1", "2"))


def test_json_lines_are_read(write):
    rows = [{"source": "a", "target": "A", "id": 3}, {"source": "b\nc", "target": 7, "id": 4}]
    expected = (Pair("a", "A"), Pair("b c", "7"))
    path = write("x.jsonl", [json.dumps(row) for row in rows])
    assert unsplit(path)[0] == expected and unsplit(path, columns=("target", "id"))[0][0] == Pair("A", "3")
    nested = write("y.jsonl.gz", [json.dumps({"translation": {"en": s, "de": t}}) for s, t in expected])
    assert unsplit(nested)[0] == expected
    for content, options, part in (
        (['{"a": "x"}'], {}, "has 1 key in line 1 (a)"),
        (['{"a": "x", "b": ["y"]}'], {}, "has no text 'b' in line 1 (a, b): choose two of its keys with --data.columns KEY KEY"),
        (['{"a": "x", "b": "y"}', "x\ty"], {}, "has no JSON object in line 2"),
        (['{"a": "x", "b": "y"}'], {"columns": ("a", "c")}, "has no text 'c' in line 1"),
    ):
        assert part in refused(unsplit, write("z.jsonl", content), **options)


def test_pairs_are_prepared_before_they_are_split(write):
    table = write("x.tsv", [f"{word}{n}\t{n % 50}" for n in range(200) for word in ("One", "one")])
    for prepare in (lambda pair: Pair(pair.source.lower(), pair.target), lambda pair: Pair(pair.target, pair.source)):
        pairs = from_tsv(table, split=(0.5, 0.25, 0.25), prepare=prepare)
        sources = [{pair.source for pair in split} for split in (pairs.train, pairs.valid, pairs.test)]
        assert sum(map(len, sources)) == len(set.union(*sources)) == len({prepare(pair).source for pair in unsplit(table)[0]})


def test_pairs_that_are_not_split_are_all_there_in_order(write):
    rows = ["b\tB", "", "a\t", "b\tB"]
    table, files = write("x.tsv", rows), (write("x.en", ["b", "", "a", "b"]), write("x.de", ["B", "", "", "B"]))
    pairs, record = unsplit(table)
    assert pairs == (Pair("b", "B"), Pair("", ""), Pair("a", ""), Pair("b", "B"))
    assert unsplit(*files) == (pairs, record | {"source": f"{files[0]} to {files[1]}"})
    assert record.keys() == {"source", "pairs", "sha256"} and (record["source"], record["pairs"]) == (str(table), 4)


def test_the_record_tells_which_split_is_another(write):
    one, other = write("1.tsv", ["a\tA", "b\tB"]), write("2.tsv", ["a\tA", "b\tC"])
    before, now = from_tsv(one, one, one).record, from_tsv(one, other, one).record
    assert {name for name in before if before[name] != now[name]} == {"sha256", "valid_sha256"}


@pytest.mark.parametrize("at", [0, 7, 20, 37])
@pytest.mark.parametrize("surplus", [1, 3])
def test_different_line_counts_name_both_and_where_the_lengths_part(write, at, surplus):
    lengths = np.random.default_rng(0).integers(3, 60, 40).tolist()
    sources, targets = ["x" * n for n in lengths], ["y" * (2 * n) for n in lengths]
    for longer, shorter in ((sources, targets), (targets, sources)):
        cut = shorter[:at] + shorter[at + surplus :]
        a, b = write("a", longer), write("b", cut)
        line = f"their lines diverge at line {at + 1}"
        assert refused(from_files, (a, b)) == (
            f"{a} has 40 lines and {b} has {len(cut)}: line n of one must translate line n of the other; the lengths of {line}"
        )
        assert line in refused(from_files, (b, a))


def test_a_lost_line_of_real_text_is_found(write, shared_data):
    folder = shared_data("multi30k")
    names = [folder / "val.de.gz", folder / "val.en.gz"]
    german, english = (gzip.decompress(name.read_bytes()).decode().split("\n")[:-1] for name in names)
    del english[400]
    message = refused(from_files, (write("de", german), write("en", english)))
    assert "de has 1,014 lines and" in message and abs(int(message.rsplit(" ", 1)[1].replace(",", "")) - 401) <= 2


def test_multi30k_is_read_whole(shared_data):
    folder = shared_data("multi30k")
    files = [(folder / f"{name}.de.gz", folder / f"{name}.en.gz") for name in ("train", "val", "test_2016_flickr")]
    pairs = from_files(*files)
    assert [pairs.record[f"{split}_pairs"] for split in ("train", "valid", "test")] == [29000, 1014, 1000]
    assert pairs.record["empty"] == 0
    assert pairs.test[0] == Pair(
        "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.", "A man in an orange hat starring at something."
    )


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (["a\tb", "c"], "has 1 column in line 2: a line is a source, a tab and a target"),
        (["a\tb\tc"], "has 3 columns in line 1: "),
        (b"a\tb\nc\t\xe9\n", "is not UTF-8 text: 0xe9 at byte offset 6, line 2 (invalid continuation byte)"),
        ([], "the train split is empty (pairs: train 0, valid 0, test 0)"),
        (["a\t", "\tb"], "the train split is empty (pairs: train 0, valid 2, test 0)"),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused_in_one_line(write, content, part):
    path = write("x.tsv", content)
    message = refused(from_tsv, path, path if content else None, split=ALL_TRAIN)
    assert str(path) in message and part in message


def test_bad_files_are_refused_in_one_line(write, tmp_path):
    good, damaged = write("a.tsv", ["a\tb"]), tmp_path / "b.tsv.gz"
    for content in (b"plain", gzip.compress(b"a\tb\n" * 99)[:-9], gzip.compress(b"a\tb\n")[:12] + b"zzzz"):
        damaged.write_bytes(content)
        assert f"{damaged} cannot be unpacked: " in refused(from_tsv, damaged)
    assert "nowhere does not exist: give a UTF-8 text file" in refused(from_tsv, tmp_path / "nowhere")
    assert refused(from_tsv, tmp_path) == f"{tmp_path} is a folder: give a UTF-8 text file"
    assert "split is 1 1 1" in refused(from_tsv, good, split=(1, 1, 1))


def test_a_pipe_is_read():
    read, write = os.pipe()
    os.write(write, b"a\tA\n")
    os.close(write)
    assert read_text(f"/dev/fd/{read}") == "a\tA\n"
    os.close(read)


@pytest.fixture(scope="module")
def words():
    return numbers(train=2_000, valid=100, test=200)


def test_numbers_are_words_and_a_number_is_in_one_split(words):
    splits = {split: getattr(words, split) for split in ("train", "valid", "test")}
    assert {split: len(pairs) for split, pairs in splits.items()} == {"train": 4_000, "valid": 200, "test": 400}
    english = {split: {pair.source.split(" ", 1)[1] for pair in pairs} for split, pairs in splits.items()}
    assert {split: len(pairs) for split, pairs in english.items()} == {"train": 2_000, "valid": 100, "test": 200}
    assert not english["train"] & english["valid"] | english["train"] & english["test"] | english["valid"] & english["test"]
    assert {pair.source.split()[0] for pair in words.test} == {"<fr>", "<de>"}
    examples = {"<fr> eighty": "quatre-vingts", "<de> zero": "null", "<fr> seventy-one": "soixante et onze", "<de> one": "eins"}
    assert {Pair(*pair) for pair in examples.items()} <= set(words.train)


def test_training_numbers_hold_every_word(words):
    def vocabulary(pairs, side):
        return {word for pair in pairs for word in getattr(pair, side).replace("-", " ").split()}

    assert vocabulary(words.test + words.valid, "source") <= vocabulary(words.train, "source")
    french = [[pair for pair in split if pair.source.startswith("<fr>")] for split in (words.train, words.test)]
    assert vocabulary(french[1], "target") <= vocabulary(french[0], "target")


def test_numbers_are_a_function_of_their_arguments(words):
    small = {"train": 30, "valid": 5, "test": 5}
    record = numbers(**small).record
    assert numbers(**small).record == record and numbers(**small, seed=1).record["sha256"] != record["sha256"]
    assert words.record["languages"] == ["fr", "de"] and json.loads(json.dumps(words.record)) == words.record
    drawn = texts._draw_numbers((texts.NUMBERS - 2000, 1000, 1000), 0)
    assert (np.sort(np.concatenate(drawn)) == np.arange(texts.NUMBERS)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"languages": ("xx",)}, "languages are xx: num2words must know each"),
        ({"languages": ()}, "languages are none"),
        ({"train": 0}, "train, valid and test are (0, 500, 1000) numbers"),
        ({"train": 10**6}, "at least 1 each, 1,000,000 at most"),
    ],
)
def test_wrong_numbers_are_refused(options, message):
    assert message in refused(numbers, **options)


tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed")


def served(**splits):
    """tfds's mock data with given examples; a split that is not given does not exist."""

    def as_data_source(self, split=None, **_):
        return [dict(zip(("de", "pt", "en"), (s, s, t), strict=True)) for s, t in splits.get(split, ())]

    return tfds.testing.mock_data(as_data_source_fn=as_data_source)


@pytest.mark.parametrize("name", ["ted_hrlr_translate/pt_to_en", "wmt16_translate/de-en"])
def test_a_parallel_data_set_of_tfds_is_read_in_either_direction(name):
    with served(train=[(b"um", b"one "), ("dois", "")], validation=[("\u00e9".encode(), "e")], test=[("a", "b")]):
        there, back = from_tfds(name), from_tfds(name, source="en")
    assert there.train == (Pair("um", "one"),) and there.record["empty"] == 1 and there.record["source"] == f"tfds:{name}"
    assert there.valid == (Pair("\u00e9", "e"),) and back.test == (Pair("b", "a"),)


def test_a_missing_split_of_tfds_is_taken_out_of_train():
    with served(train=[(str(n), str(n)) for n in range(200)], test=[("a", "b")]):
        pairs = from_tfds("ted_hrlr_translate/pt_to_en", split=(0.5, 0.5, 0))
    assert len(pairs.train) + len(pairs.valid) == 200 and abs(len(pairs.valid) - 100) < 30 and pairs.test == (Pair("a", "b"),)


def test_what_is_no_parallel_data_set_is_refused(tmp_path):
    with tfds.testing.mock_data():
        message = refused(from_tfds, "mnist")
        assert message.startswith("tfds pairs mnist cannot be read: it must have two text features")
        assert "it has no fr to translate from, only pt and en" in refused(from_tfds, "ted_hrlr_translate/pt_to_en", source="fr")
    assert "(try another name, or files of your own)" in refused(from_tfds, "no_such_pairs", Path(tmp_path))
