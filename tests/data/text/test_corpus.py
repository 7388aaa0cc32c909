"""Corpora: where every document goes, what the record says, and every refusal."""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import platform
import sysconfig
import threading
import zipfile
from pathlib import Path

import pytest

from seqjax import data
from seqjax.data.text import corpus as corpora
from seqjax.data.text import files
from seqjax.data.text.files import read_text
from seqjax.data.text.words import WordVocabulary
from seqjax.errors import InputError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return folder


def texts(documents):
    return [document.text for document in documents]


def test_a_file_is_cut_in_order_by_characters(tmp_path):
    text = "äöü\r\n" * 20
    (tmp_path / "text").write_bytes(text.encode("utf-8"))
    corpus = data.from_path(tmp_path / "text", (0.5, 0.3, 0.2))
    assert texts(corpus.train + corpus.valid + corpus.test) == [text[:50], text[50:80], text[80:]]
    record = corpus.record
    assert json.loads(json.dumps(record)) == record
    assert (record["files"], record["characters"], record["train_characters"]) == (1, 100, 50)
    sums = [hashlib.sha256(text[low:high].encode() + b"\0").hexdigest() for low, high in ((0, 50), (50, 80), (80, 100))]
    assert [record[f"{split}_sha256"] for split in ("train", "valid", "test")] == sums
    assert record["sha256"] == hashlib.sha256("".join(sums).encode()).hexdigest()
    (tmp_path / "text").rename(tmp_path / "of_another_name")
    again = data.from_path(tmp_path / "of_another_name", (0.5, 0.3, 0.2)).record
    assert {name for name in record if record[name] != again[name]} == {"source"}
    assert len({record[name] for name in record if name.endswith("sha256")}) == 4


def test_a_test_split_may_be_empty(tmp_path):
    corpus = data.from_path(write(tmp_path, text="abcdefghij") / "text", (0.5, 0.5, 0))
    assert corpus.test == ()
    assert corpus.record["test_characters"] == 0


def test_a_folder_goes_by_names(tmp_path):
    names = [
        "a.train.txt",
        "b-validation.txt",
        "test__c.txt",
        "train__d.valid.txt",
        "E_TEST_01.md",
        ".git__train",
        "trainset.txt",
    ]
    write(tmp_path, **{name: name for name in names}, empty_train="")
    corpus = data.from_path(tmp_path)
    assert [d.name for d in corpus.train] == ["a.train.txt", "trainset.txt"]
    assert [d.name for d in corpus.valid] == ["b-validation.txt", "train/d.valid.txt"]
    assert [d.name for d in corpus.test] == ["E_TEST_01.md", "test/c.txt"]
    assert corpus.record["files"] == 6


def test_a_folder_without_names_goes_by_a_hash_of_the_relative_path(tmp_path):
    names = [f"{kind}{n}.txt" for n in range(100) for kind in ("latest", "sub__contest", "invalid", "testament", "b")]
    one, other = (data.from_path(write(tmp_path / place, **{name: name for name in names})) for place in ("one", "two"))
    assert [texts(one.train), texts(one.valid)] == [texts(other.train), texts(other.valid)]
    assert one.record["sha256"] == other.record["sha256"]
    assert sorted(d.name for d in one.train) == [d.name for d in one.train]
    for split, share in (("train", 0.8), ("valid", 0.1), ("test", 0.1)):
        assert abs(len(getattr(one, split)) / len(names) - share) < 0.05
    point = int(hashlib.sha256(b"sub/contest7.txt").hexdigest()[:16], 16) / 16**16
    assert "sub/contest7.txt" in [d.name for d in getattr(one, "train" if point < 0.8 else "valid" if point < 0.9 else "test")]


@pytest.mark.parametrize("split", [(0.8, 0.1), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (0.5, 0.5, float("nan")), "abc"])
def test_a_wrong_split_is_refused(tmp_path, split):
    with pytest.raises(InputError, match=r"it must be three shares \(train, valid, test\)"):
        data.from_path(write(tmp_path, text="abc") / "text", split)


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        ({}, "nowhere", "nowhere does not exist"),
        ({"text": ""}, "text", "text is empty"),
        ({"folder__text": ""}, "folder", r"holds no text \(1 files"),
        ({"text": b"abc\xff"}, "text", r"text is not UTF-8 text: 0xff at byte offset 3, line 1 \(invalid start byte\)"),
        ({"folder__deep__x": b"\xe4"}, "folder", "x is not UTF-8 text: 0xe4 at byte offset 0"),
        ({"text": "ab"}, "text", r"the valid split is empty \(characters: train 2, valid 0, test 0\)"),
        ({"folder__train": "abc", "folder__test": "abc"}, "folder", "the valid split is empty"),
        ({"folder__valid": "abc"}, "folder", "the train split is empty"),
    ],
)
def test_wrong_paths_are_refused_in_one_line(tmp_path, files, path, message):
    with pytest.raises(InputError, match=message) as caught:
        data.from_path(write(tmp_path, **files) / path)
    assert "\n" not in str(caught.value)


def test_penn_treebank_is_a_folder_of_three_named_files():
    if not (SHARED / "ptb").is_dir():
        pytest.skip(f"Penn Treebank's files are not at {SHARED / 'ptb'}")
    corpus = data.from_path(SHARED / "ptb")
    assert [d.name for d in corpus.train + corpus.valid + corpus.test] == ["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"]
    train, valid, test = corpus.train[0].text, corpus.valid[0].text, corpus.test[0].text
    vocabulary = WordVocabulary.from_text(train)
    assert vocabulary.size == 10_000
    counts = [len(vocabulary.encode(text, strict=True)) for text in (train, valid, test)]
    assert counts == [929_589, 73_760, 82_430]  # the figures of Mikolov et al.'s preparation


@pytest.fixture(scope="module")
def library():
    return data.stdlib()


def test_the_standard_library_is_a_corpus(library):
    names = {split: [d.name for d in getattr(library, split)] for split in corpora.SPLITS}
    everything = [name for split in names.values() for name in split]
    assert len(set(everything)) == len(everything) == library.record["files"]
    assert {"argparse.py", "json/decoder.py"} <= set(everything)
    parts = {part for name in everything for part in name.split("/")}
    assert not parts & {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "encodings", "pydoc_data"}
    assert library.record["python"] == platform.python_version()
    assert len(library.record["sha256"]) == 64
    assert library.record["characters"] > 4_000_000
    assert abs(library.record["train_characters"] / library.record["characters"] - 0.8) < 0.1
    source = Path(sysconfig.get_path("stdlib"), "argparse.py").read_bytes().decode("utf-8")
    assert source in texts(library.train + library.valid + library.test)


def test_a_python_without_its_sources_is_told_about_paths(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    write(tmp_path, **{"test__a.py": "x", "site-packages__b.py": "y"})
    with pytest.raises(InputError, match=r"comes without its sources .* --data.path"):
        data.stdlib()
    with pytest.raises(InputError, match=r"without its manual's topics .* --data.path"):
        data.pydoc()
    write(tmp_path, **{f"m{n}.py": "code" for n in range(30)}, **{"latin.py": b"\xe4"})
    assert data.stdlib().record["files"] == 30  # what is not UTF-8 is left out


def test_the_manual_is_read_and_never_executed(tmp_path, monkeypatch):
    corpus = data.pydoc()
    assert corpus.record["characters"] > 300_000
    assert "lambda" in [d.name for split in corpora.SPLITS for d in getattr(corpus, split)]
    assert data.pydoc((0.5, 0.25, 0.25)).record["train_characters"] < corpus.record["train_characters"]
    topics = {f"topic{n}": "text\n" for n in range(50)}
    write(tmp_path, **{"pydoc_data__topics.py": f"raise SystemExit\ntopics = {topics!r}\n"})
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert data.pydoc().record["characters"] == 250


def test_load_chooses(tmp_path, monkeypatch):
    path = write(tmp_path, text="abcdefghij") / "text"
    assert data.load(path).record["source"] == str(path)
    assert data.load(corpus="pydoc", split=(0.5, 0.25, 0.25)).record["source"] == "pydoc"
    monkeypatch.setattr(corpora, "stdlib", lambda split: ("stdlib", split))
    monkeypatch.setattr(corpora, "from_tfds", lambda name, split: (name, split))
    assert data.load() == ("stdlib", (0.8, 0.1, 0.1))
    assert data.load(tfds="lm1b") == ("lm1b", (0.8, 0.1, 0.1))
    with pytest.raises(InputError, match="path x and tfds y are both given"):
        data.load("x", tfds="y")
    with pytest.raises(InputError, match="corpus 'linux' is not known: choose one of stdlib, pydoc"):
        data.load(corpus="linux")


# Files as they come.


def packed(text, suffix):
    return {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, "": bytes}[suffix](text.encode("utf-8"))


def test_packed_files_are_read_in_any_case_and_an_archive_is_a_folder(tmp_path):
    kinds = {"train.txt": "", "train.gz": ".gz", "valid.TXT.GZ": ".gz", "train.Bz2": ".bz2", "test.XZ": ".xz"}
    for name, suffix in kinds.items():
        (tmp_path / name).write_bytes(packed(name, suffix))
    with zipfile.ZipFile(tmp_path / "more.ZIP", "w") as archive:
        for name in ("sub/train.txt", ".hidden", "__MACOSX/train.txt", "sub/"):
            archive.writestr(name, name if not name.endswith("/") else "")
    corpus = data.from_path(tmp_path)
    assert {d.name: d.text for d in corpus.train + corpus.valid + corpus.test} == {name: name for name in kinds} | {
        "more.ZIP/sub/train.txt": "sub/train.txt"
    }
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.writestr("a.txt", "abcdefghij")
    assert texts(data.from_path(tmp_path / "one.zip").train) == ["abcdefgh"] and read_text(tmp_path / "one.zip") == "abcdefghij"
    for name, content in {"cut.gz": packed("text" * 99, ".gz")[:-9], "no.bz2": b"x", "no.xz": b"x", "no.zip": b"x"}.items():
        (tmp_path / "bad").mkdir(exist_ok=True)
        (tmp_path / "bad" / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} cannot be unpacked: "):
            data.from_path(tmp_path / "bad" / name)


def test_a_folder_s_files_are_chosen_and_unreadable_ones_counted(tmp_path):
    good = {f"{n}{suffix}": f"{n}" for n in range(20) for suffix in (".md", ".txt")} | {"sub__x.md": "x", "sub__x.rst": "y"}
    write(tmp_path, **good, **{"a.png": b"\x89PNG\xff", "empty.md": ""})
    (tmp_path / "broken.md").symlink_to("nowhere")
    for options, message in (
        ({}, r"a.png is not UTF-8 text: 0x89 at byte offset 0, line 1 \(invalid start byte\): choose files by include"),
        ({"include": ["*.md"]}, r"broken.md cannot be read: No such file or directory"),
        ({"include": ["*.c", "src/*"]}, r"no file of .* matches \*.c src/\* \(45 files\)"),
        ({"include": ["*.png"], "unreadable": "skip"}, r"holds no text \(1 files, 1 unreadable, such as: .*a.png is not UTF-8"),
        ({"unreadable": "ignore"}, 'unreadable is \'ignore\', it must be "refuse" or "skip"'),
        ({"encoding": "klingon"}, "encoding 'klingon' is not known"),
        ({"encoding": "base64"}, "encoding 'base64' is not known"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            data.from_path(tmp_path, **options)
        assert "\n" not in str(caught.value)
    record = data.from_path(tmp_path, unreadable="skip").record
    assert (record["files"], record["empty"], record["skipped"]) == (42, 1, 2) and "a.png" in record["first_skipped"]
    assert data.from_path(tmp_path, include=["sub/*", "1*.txt"]).record["files"] == 13
    with pytest.raises(InputError, match=r"chooses among the files of a folder, and .*0.md is one file"):
        data.from_path(tmp_path / "0.md", include=["*.md"])
    with pytest.raises(InputError, match="give a path"):
        data.load(include=["*.py"])


def test_another_encoding(tmp_path):
    (tmp_path / "latin.txt").write_bytes("Grüße ".encode("latin-1") * 10)
    corpus = data.from_path(tmp_path / "latin.txt", encoding="latin-1")
    assert corpus.train[0].text.startswith("Grüße Grüße")
    (tmp_path / "wide.txt").write_bytes("Grüße ".encode("utf-16") * 10)
    assert data.from_path(tmp_path / "wide.txt", encoding="utf-16").record["characters"] == 69  # nine more byte order marks


def test_linked_folders_are_followed_without_loops(tmp_path):
    write(tmp_path / "root", **{f"{n}.txt": str(n) for n in range(9)}, **{"z__own.txt": "own"})
    write(tmp_path / "elsewhere", **{"deep__far.txt": "far"})
    for link, target in {"a": "z", "z/up": "..", "around": "../..", "linked": "../elsewhere"}.items():
        (tmp_path / "root" / link).symlink_to(target, target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to("../root", target_is_directory=True)
    corpus = data.from_path(tmp_path / "root")
    names = sorted(d.name for d in corpus.train + corpus.valid + corpus.test)
    assert names == sorted([*(f"{n}.txt" for n in range(9)), "z/own.txt", "linked/deep/far.txt"])


def test_a_long_file_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PIECE", 7)  # pieces end inside characters
    text = "".join(chr(0x61 + n % 26) + "äß中😀\r\n"[n % 6] for n in range(500))
    write(tmp_path, text=text, bad=text.encode("utf-8") + b"\n\nab\xff")
    corpus = data.from_path(tmp_path / "text", (0.5, 0.3, 0.2))
    assert texts(corpus.train + corpus.valid + corpus.test) == [text[:500], text[500:800], text[800:]]
    assert max(map(len, corpus.valid[0].pieces())) <= 7
    offset, line = len(text.encode("utf-8")) + 4, text.count("\n") + 3
    with pytest.raises(InputError, match=f"0xff at byte offset {offset}, line {line} "):
        data.from_path(tmp_path / "bad")
    (tmp_path / "text").write_text(text[:600])
    with pytest.raises(InputError, match="has become shorter"):
        list(corpus.valid[0].pieces())


def test_a_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text("abcdefghij"))
    writer.start()
    assert texts(data.from_path(tmp_path / "pipe").train) == ["abcdefgh"]
    writer.join()
