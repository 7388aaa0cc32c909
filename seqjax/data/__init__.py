"""Corpora, pairs, series, vocabularies, and the streams of batches made from them, in plain NumPy without JAX."""

from seqjax.data.batches import Batch, Stream
from seqjax.data.labels import Labels
from seqjax.data.series import Series, SeriesStream, check_parts, evaluation_series, series_shapes, split_series
from seqjax.data.strokes import (
    DistortedStrokes,
    first_strokes,
    growing_drawings,
    load_omniglot,
    load_stroke3,
    read_drawing,
    stroke_ends,
)
from seqjax.data.text.buckets import Buckets, bucket_shapes, evaluation_pairs
from seqjax.data.text.characters import ByteVocabulary, CharacterVocabulary
from seqjax.data.text.corpus import Corpus, from_path, from_tfds, load, pydoc, stdlib
from seqjax.data.text.documents import Document, StoredDocument
from seqjax.data.text.encoded import EncodedCorpus, VocabularySettings, encode_corpus
from seqjax.data.text.encoding import Encoded, build_pair_vocabularies, build_vocabulary, encode_pairs, word_positions
from seqjax.data.text.labelled import LabelledText, from_tables, library_lines, line_series, read_table
from seqjax.data.text.language import TextStream, encode_documents, evaluation_batches
from seqjax.data.text.limits import OutputLimit
from seqjax.data.text.pairs import Pair, Pairs
from seqjax.data.text.preparing import LabelledLine, preparation, split_words
from seqjax.data.text.subwords import SubwordVocabulary
from seqjax.data.text.tokens import TokenFile
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.data.text.word_dropout import WordDropout
from seqjax.data.text.words import LineVocabulary, WordPunctVocabulary, WordVocabulary

__all__ = [
    "Batch",
    "Buckets",
    "ByteVocabulary",
    "CharacterVocabulary",
    "Corpus",
    "DistortedStrokes",
    "Document",
    "Encoded",
    "EncodedCorpus",
    "LabelledLine",
    "LabelledText",
    "Labels",
    "LineVocabulary",
    "OutputLimit",
    "Pair",
    "Pairs",
    "Series",
    "SeriesStream",
    "StoredDocument",
    "Stream",
    "SubwordVocabulary",
    "TextStream",
    "TokenFile",
    "Vocabulary",
    "VocabularySettings",
    "WordDropout",
    "WordPunctVocabulary",
    "WordVocabulary",
    "bucket_shapes",
    "build_pair_vocabularies",
    "build_vocabulary",
    "check_parts",
    "encode_corpus",
    "encode_documents",
    "encode_pairs",
    "evaluation_batches",
    "evaluation_pairs",
    "evaluation_series",
    "first_strokes",
    "from_path",
    "from_tables",
    "from_tfds",
    "growing_drawings",
    "library_lines",
    "line_series",
    "load",
    "load_omniglot",
    "load_stroke3",
    "preparation",
    "pydoc",
    "read_drawing",
    "read_table",
    "series_shapes",
    "split_series",
    "split_words",
    "stdlib",
    "stroke_ends",
    "word_positions",
]
