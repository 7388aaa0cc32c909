"""Texts of TensorFlow Datasets, by its own mock data, without TensorFlow."""

import pytest

from seqjax import data
from seqjax.errors import InputError

tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed")


def served(**splits):
    """tfds's mock data with given examples; a split that is not given does not exist."""

    def as_data_source(self, split=None, **_):
        return [{"text": text} for text in splits.get(split, ())]

    return tfds.testing.mock_data(as_data_source_fn=as_data_source)


def joined(documents):
    return "".join(document.text for document in documents)


def test_generated_examples_are_documents(tmp_path):
    with tfds.testing.mock_data(num_examples=3):
        corpus = data.from_tfds("tiny_shakespeare", tmp_path)
    assert [d.name for d in corpus.train] == ["train/0", "train/1", "train/2"]
    assert len(corpus.valid) == len(corpus.test) == 3
    assert corpus.record["source"] == "tfds:tiny_shakespeare"


def test_splits_are_taken_as_they_are_and_bytes_decoded():
    with served(train=["Ä".encode(), "b"], validation=["cc"], test=["d"]):
        corpus = data.load(tfds="tiny_shakespeare")
    assert [joined(split) for split in (corpus.train, corpus.valid, corpus.test)] == ["Äb", "cc", "d"]


def test_examples_are_read_when_they_are_needed():
    class Source(list):
        def __getitem__(self, n):
            if reads is None:
                raise OSError("the disk is\ngone")
            reads.append(n)
            return {"text": super().__getitem__(n)}

    reads = []
    sources = {"train": Source(["abc", " \n", "defgh", "ij"])}
    with tfds.testing.mock_data(as_data_source_fn=lambda self, split=None, **_: sources.get(split, [])):
        corpus = data.from_tfds("tiny_shakespeare")
    reads.clear()
    assert [document.name for document in corpus.train] == ["train/0", "train/2"]
    assert (corpus.train[-1].characters, len(corpus.valid), reads) == (5, 1, [])
    assert (corpus.train[-1].text, corpus.test[0].text, reads) == ("defgh", "j", [2, 3])
    reads = None
    with pytest.raises(InputError, match=r"^tfds text tiny_shakespeare cannot be read: the disk is \(try another name"):
        _ = corpus.train[0].text


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({}, ("abcdefgh", "i", "j")),
        ({"test": ["zz"]}, ("abcdefghi", "j", "zz")),
        ({"validation": ["yy"]}, ("abcdefghi", "yy", "j")),
    ],
)
def test_what_is_missing_is_cut_from_the_end_of_train(splits, expected):
    with served(train=["abc", "defgh", "ij"], **splits):
        corpus = data.from_tfds("tiny_shakespeare")
    assert tuple(joined(split) for split in (corpus.train, corpus.valid, corpus.test)) == expected


def refusal(name, **options):
    with pytest.raises(InputError) as caught:
        data.from_tfds(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_name_is_one_line(tmp_path, capfd):
    assert refusal("no_such_text", data_dir=tmp_path).startswith(
        "tfds text no_such_text cannot be read: Dataset no_such_text not found"
    )
    assert capfd.readouterr() == ("", "")


def test_no_network_is_one_line(tmp_path, monkeypatch):
    import requests

    def unreachable(self, url, **_):
        raise requests.ConnectionError("pages", request=requests.Request("GET", url).prepare())

    def prepare(self, **_):
        requests.Session().get("https://example.org/text")

    monkeypatch.setattr(requests.Session, "get", unreachable)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", prepare)
    assert "example.org cannot be reached (try another name, or a text with --data.path)" in refusal("lm1b", data_dir=tmp_path)


def test_a_builder_that_needs_tensorflow_says_so(tmp_path, monkeypatch):
    def prepare(self, **_):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", prepare)
    assert refusal("lm1b", data_dir=tmp_path).endswith("No module named 'tensorflow' (try pip install 'seqjax[tfds-tf]')")


def test_a_data_set_without_one_text_is_refused():
    with tfds.testing.mock_data():
        assert "it has none" in refusal("mnist")
        assert "it has title, description" in refusal("ag_news_subset")
    with served():
        assert "the train split is empty" in refusal("tiny_shakespeare")


def test_tfds_s_own_traceback_is_not_shown(tmp_path):
    with pytest.raises(InputError) as caught:
        data.from_tfds("no_such_text", tmp_path)
    assert caught.value.__suppress_context__
