"""Labelled lines: the parts of a line, its split, the record, the library's lines, and every refusal."""

import gzip
import pathlib
import sysconfig
from collections import Counter

import pytest

from seqjax.data.labels import Labels
from seqjax.data.splits import SPLITS, hashed_split
from seqjax.data.text.labelled import from_tables, library_lines, line_series, load, read_table, unsplit
from seqjax.data.text.preparing import LabelledLine, split_words
from seqjax.data.text.words import WordVocabulary
from seqjax.errors import InputError


@pytest.fixture
def write(tmp_path):
    """A function of a name and bytes: the path of that file."""

    def write(name: str, content: bytes) -> pathlib.Path:
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def rows_of(text):
    return [row for split in SPLITS for row in getattr(text, split)]


@pytest.mark.parametrize(
    ("content", "rows"),
    {
        "tabs": (b"a b\tone  two\r\n\nc\t\tx".replace(b"\t\t", b"\t"), [("a b", "one  two"), ("c", "x")]),
        "blanks": (b"\xef\xbb\xbf0 one two\n1\x20\x20 three \n", [("0", "one two"), ("1", "three")]),
        "an empty text and an empty label": (b"a\t\n\tb\n", [("a", ""), ("", "b")]),
        "other line separators": ("a\tone\u2028two\x0cthree".encode(), [("a", "one\u2028two\x0cthree")]),
    }.values(),
)
def test_a_line_is_a_label_and_a_text(write, content, rows):
    assert read_table(write("table.tsv", content)) == read_table(write("table.gz", content)) == rows


def test_a_table_in_another_encoding_is_read(write):
    path = write("latin", "0 caf\u00e9\n".encode("latin-1"))
    assert read_table(path, "latin-1") == [("0", "caf\u00e9")]


def test_columns_titles_and_json_lines_of_labels(write):
    path = write("sst.tsv", b"sentence\tlabel\na gem\t1\ntoo long\t0\n")
    expected = [("1", "a gem"), ("0", "too long")]
    assert read_table(path, columns=("label", "sentence")) == read_table(path, columns=(2, 1), header="skip") == expected
    assert read_table(write("x.jsonl", b'{"text": "a gem", "label": 1}\n\n{"text": "too long", "label": 0}\n')) == expected
    with pytest.raises(InputError, match=r"looks like titles of columns \(sentence, label\)"):
        read_table(path)


def test_lines_without_a_text_reach_no_split_and_three_lines_fill_all(write):
    path = write("few.tsv", b"x\tone\nx\ttwo\nx\tthree\n" + 50 * b"x\t\n")
    text = from_tables(path)
    assert [len(getattr(text, split)) for split in SPLITS] == [1, 1, 1] and text.record["empty"] == 50


def test_a_missing_split_is_split_off_by_the_text(write):
    lines = [(str(n % 3), f"text {n % 60}") for n in range(200)]
    path = write("all.tsv", "".join(f"{label}\t{text}\n" for label, text in lines).encode())
    text = from_tables(path, split=(0.5, 0.3, 0.2))
    for split in SPLITS:
        expected = [line for line in lines if hashed_split(line[1], (0.5, 0.3, 0.2)) == split]
        assert list(getattr(text, split)) == expected
        assert text.record[f"{split}_lines"] == len(expected) > 0
    halves = from_tables(path, test=path, split=(0.5, 0.3, 0.2))  # train keeps what is missing
    assert sorted(halves.train + halves.valid) == sorted(lines) == sorted(halves.test)
    assert not {row.text for row in halves.train} & {row.text for row in halves.valid}


def test_the_record_counts_what_is_left_out_and_hashes_what_is_left(write):
    path, held_out = write("a.tsv", b"x\tOne\ny\t\n\ttwo\ny\tthree\n"), write("b.tsv", b"y\tFour\n")
    text = from_tables(path, held_out, held_out, prepare=lambda row: row._replace(text=row.text.lower()))
    assert (text.train, text.valid) == ((("x", "one"), ("y", "three")), (("y", "four"),))
    record = text.record
    assert (record["source"], record["classes"], record["lines"], record["empty"]) == (str(path), 2, 4, 2)
    hashes = {record["sha256"], *(record[f"{split}_sha256"] for split in SPLITS)}
    assert len(hashes) == 4  # the same lines in another split are other data
    assert from_tables(path, held_out, held_out).record["sha256"] not in hashes


def test_classes_are_in_the_order_of_numbers_or_letters(write):
    numbers, names = write("n", b"10 a\n9 b\n2 c\n"), write("m", b"beta a\n7 b\nAlpha c\n")
    assert from_tables(numbers, numbers, split=(1, 0, 0)).classes == ("2", "9", "10")
    assert from_tables(names, names, split=(1, 0, 0)).classes == ("7", "Alpha", "beta")


def test_words_are_split_from_punctuation():
    assert split_words('self._x["k-19"]  # caf\u00e9') == 'self . _x [ " k - 19 " ] # caf\u00e9'
    assert split_words(split_words("it's <unk>!")) == split_words("it's <unk>!")


def test_lines_of_the_library_have_one_module_each():
    text = library_lines(("ast", "pickle", "no_such_module"), per_module=200)
    assert text.classes == ("ast", "pickle") and text.record["lines"] == 400
    sources = {name: pathlib.Path(sysconfig.get_path("stdlib"), f"{name}.py").read_text() for name in text.classes}
    lines = {name: {line.strip() for line in source.splitlines()} for name, source in sources.items()}
    for label, line in rows_of(text):
        assert [name for name in lines if line in lines[name]] == [label] and len(line) >= 12
    counts = Counter(line for _, line in rows_of(text))
    assert max(counts.values()) == 1
    assert library_lines(("ast", "pickle", "no_such_module"), per_module=200).record == text.record
    assert {split: {hashed_split(row.text, (0.8, 0.1, 0.1)) for row in getattr(text, split)} for split in SPLITS} == {
        split: {split} for split in SPLITS
    }


def test_lines_become_a_series_of_symbols_with_their_classes(write):
    rows, record = unsplit(
        write("t", b"b\tone two zwei\na\t\na\ttwo\n"), prepare=lambda row: row._replace(label=row.label.strip())
    )
    assert rows == (("b", "one two zwei"), ("a", "two")) and (record["lines"], record["empty"]) == (2, 1)
    series = line_series(rows, WORDS, CLASSES)
    assert [row.tolist() for row in series.inputs["tokens"]] == [[2, 3, 1], [3]] and series.labels.tolist() == [1, 0]
    cut = line_series([row._replace(label="") for row in rows], WORDS, CLASSES, max_length=2)
    assert cut.lengths.tolist() == [2, 1] and cut.labels is None and cut.classes == CLASSES


WORDS, CLASSES = WordVocabulary(words=("one", "two"), end=None, pad=0), Labels(names=("a", "b"))
REFUSALS = {
    "no columns": (lambda write: read_table(write("t", b"a b\nlonely\n")), "1 column in line 2: a line is a label, a blank"),
    "too many columns": (lambda write: read_table(write("t", b"a\tb\tc\n")), "3 columns in line 1: a line is a label, a tab"),
    "an empty table": (lambda write: read_table(write("t", b"\n \n")), "holds no line"),
    "not UTF-8": (lambda write: read_table(write("t", b"a\tb\xe9\n")), "is not UTF-8 text: 0xe9 at byte offset 3, line 1"),
    "unknown encoding": (lambda write: read_table(write("t", b"a\tb\n"), "utf-9"), "encoding 'utf-9' is not known"),
    "a missing file": (lambda write: from_tables("nowhere.tsv"), "nowhere.tsv does not exist"),
    "no validation": (lambda write: from_tables(write("t", b"a\tb\n"), split=(1, 0, 0)), "the valid split is empty"),
    "shares": (lambda write: from_tables(write("t", b"a\tb\n"), split=(1, 1, 0)), "it must be three shares"),
    "a new class in test": (
        lambda write: from_tables(path := write("t", b"a\tb\n"), path, write("u", b"a\tb\nz\tb\n"), split=(1, 0, 0)),
        "t: test has labels that training has not: z; the classes are a",
    ),
    "many new classes": (
        lambda write: line_series([LabelledLine(str(n), "x") for n in range(9)], WORDS, CLASSES, source="f"),
        "f has labels that training has not: 0 1 2 3 4 and 4 more; the classes are a b",
    ),
    "no length": (lambda write: line_series([LabelledLine("a", "x")], WORDS, CLASSES, max_length=0), "max_length is 0"),
    "a text without a word": (lambda write: line_series([LabelledLine("a", " ")], WORDS, CLASSES), "line 1"),
    "a table without texts": (lambda write: unsplit(write("t", b"a\t\n")), "holds no line with a label and a text"),
    "test alone": (lambda write: load(test="t"), "data.valid or data.test is given without data.train"),
    "no sources": (lambda write: library_lines(("ast", "no_such_module")), "this Python comes without its sources"),
    "lines by a word": (lambda write: library_lines(per_module="3"), "per_module is '3', it must be an integer"),
    "no lines of a module": (lambda write: library_lines(per_module=0), "per_module is 0, it must be at least 1"),
}


@pytest.mark.parametrize(("call", "message"), REFUSALS.values(), ids=REFUSALS)
def test_wrong_input_is_refused_in_one_line(write, call, message):
    with pytest.raises(InputError) as error:
        call(write)
    assert message in str(error.value) and "\n" not in str(error.value)
