"""Text to batches: corpora, pairs, vocabularies, streams. Plain NumPy; no JAX here."""

from seqjax.data.text.buckets import Buckets, TeacherForcing, bucket_shapes, evaluation_pairs
from seqjax.data.text.corpus import Corpus, Document, from_path, from_tfds, load, pydoc, stdlib
from seqjax.data.text.encoding import Encoded, build_pair_vocabularies, encode_pairs, word_positions
from seqjax.data.text.language import Stream, encode_documents, evaluation_batches
from seqjax.data.text.pairs import Pair, Pairs
from seqjax.data.text.subwords import LineVocabulary, SubwordVocabulary
from seqjax.data.text.vocabulary import ByteVocabulary, CharacterVocabulary, Vocabulary, WordVocabulary, build_vocabulary

__all__ = [
    "Buckets",
    "ByteVocabulary",
    "CharacterVocabulary",
    "Corpus",
    "Document",
    "Encoded",
    "LineVocabulary",
    "Pair",
    "Pairs",
    "Stream",
    "SubwordVocabulary",
    "TeacherForcing",
    "Vocabulary",
    "WordVocabulary",
    "bucket_shapes",
    "build_pair_vocabularies",
    "build_vocabulary",
    "encode_documents",
    "encode_pairs",
    "evaluation_batches",
    "evaluation_pairs",
    "from_path",
    "from_tfds",
    "load",
    "pydoc",
    "stdlib",
    "word_positions",
]
