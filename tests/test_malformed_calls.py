"""Malformed calls of losses, measures, heads, encoders, models, searches and pictures: one line each, and nothing is compiled."""

import dataclasses
import functools
import traceback

import jax
import numpy as np
import optax
import pytest

import seqjax
from seqjax import GRU, InputError, LatePooling, Pooling, ScoreAveraging, data, decode, inspect, losses, metrics, train
from seqjax.attention import Attentive, Dot
from seqjax.data import CharacterVocabulary
from seqjax.metrics import Detection, Segment
from seqjax.models import Classifier, Features, FrameClassifier, LanguageModel, LateFusion, Seq2Seq, Symbols, fit_weights
from seqjax.probabilistic import ngram

KEY = jax.random.key(0)


def zeros(part):
    """Parameters of zeros: nothing is compiled."""
    return jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), jax.eval_shape(part.init, KEY))


B, T, C = 2, 3, 4
LOGITS, TARGETS, MASK = np.zeros((B, T, C), np.float32), np.zeros((B, T), np.int32), np.ones((B, T), bool)
LABELS = np.zeros((B, T, C), bool)
SCORES = [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]
GRU_CELL = GRU(3, 4)
HEAD = Pooling(features=C, classes=2)
HS = np.ones((B, T, C), np.float32)
FEATURES = Features(size=3, cell=GRU_CELL)
XS = np.ones((B, T, 3), np.float32)
SYMBOLS = Symbols(size=7, embedding_size=3, cell=GRU_CELL)
SOURCE = {"source": np.array([[3, 4, 0], [1, 2, 3]]), "source_lengths": np.array([2, 3])}
CLIPS = Classifier(encoder=FEATURES, head=HEAD)
FRAMES = FrameClassifier(encoder=FEATURES, classes=2)
LANGUAGE = LanguageModel(vocabulary_size=5, cell=GRU(5, 4))
PROMPTS = {"tokens": np.array([[1, 2], [3, 0]]), "tokens_lengths": np.array([2, 1])}
WRITER = Attentive(cell=GRU_CELL, attention=Dot(query_size=4, memory_size=4), output_size=4, input_feeding=False)
PAIRS = Seq2Seq(encoder=SYMBOLS, target_size=8, embedding_size=3, decoder=WRITER, start_symbol=1, end_symbol=2)
NGRAM = functools.partial(ngram.fit, [0, 1], order=1, vocabulary_size=2)
VOCABULARY = CharacterVocabulary.from_text("abcd")


def entropy(logits=LOGITS, targets=TARGETS, mask=None, loss=losses.cross_entropy, **options):
    return loss(logits, targets, mask, **options)


def score_averages():
    return ScoreAveraging(features=C, classes=2)


def clip_outputs():
    """Outputs of a classifier of clips, without running it."""
    shapes = jax.eval_shape(lambda params: CLIPS.apply(params, {"features": XS})[1], zeros(CLIPS))
    return jax.tree.map(lambda a: np.ones(a.shape, a.dtype), shapes)


def frame_outputs():
    shapes = jax.eval_shape(lambda params: FRAMES.apply(params, {"features": XS})[1], zeros(FRAMES))
    return jax.tree.map(lambda a: np.ones(a.shape, a.dtype), shapes)


def greedy(model=LANGUAGE, params=None, batch=PROMPTS, **options):
    params = zeros(LANGUAGE) if params is None else params
    return decode.greedy(model, params, batch, **({"max_length": 3} | options))


def sample(**options):
    return decode.sample(LANGUAGE, zeros(LANGUAGE), PROMPTS, **({"max_length": 3, "key": KEY} | options))


def texts(inputs=("ab",), vocabularies=VOCABULARY, **options):
    model = LanguageModel(vocabulary_size=len(VOCABULARY), cell=GRU(len(VOCABULARY), 4))
    return decode.texts(model, zeros(model), inputs, vocabularies, **options)


# name: (a call, what was given, what would be right), the two as they stand in the message
LOSSES = {
    "a class below 0": (lambda: entropy(targets=TARGETS - 1), "targets holds -1", "0 to 3"),
    "a class too large": (lambda: entropy(targets=TARGETS + 4, loss=losses.focal), "targets holds 4", "0 to 3"),
    "a real class among padding": (
        lambda: entropy(targets=[[0, 9, 9], [9, 9, 9]], mask=TARGETS == [[0], [1]]),
        "holds 9",
        "0 to 3",
    ),
    "targets of one column": (lambda: entropy(targets=TARGETS[:, :1]), "int32[2, 1]", "integer [2, 3]"),
    "targets of rank 3": (lambda: entropy(targets=TARGETS[..., None]), "int32[2, 3, 1]", "integer [2, 3]"),
    "targets of floats": (lambda: entropy(targets=TARGETS * 1.0), "float64[2, 3]", "integer [2, 3]"),
    "targets of bools": (lambda: entropy(targets=MASK), "bool[2, 3]", "integer [2, 3]"),
    "logits of integers": (lambda: entropy(logits=LOGITS.astype(int)), "int64[2, 3, 4]", "floating [..., V]"),
    "no logits": (lambda: entropy(logits=None), "None", "an array of numbers"),
    "a mask of floats": (lambda: entropy(mask=MASK * 1.0), "float64[2, 3]", "bool [2, 3]"),
    "a mask of one column": (lambda: entropy(mask=MASK[:, :1]), "bool[2, 1]", "bool [2, 3]"),
    "a mask of lengths": (lambda: entropy(mask=[3, 2]), "int64[2]", "bool [2, 3]"),
    "class weights below 0": (lambda: entropy(class_weights=[1, 1, 1, -1]), "holds -1", "at least 0"),
    "class weights by name": (lambda: entropy(class_weights="balanced"), "'balanced'", "an array of numbers"),
    "two class weights": (lambda: entropy(class_weights=[1.0, 2.0]), "float64[2]", "numbers [4]"),
    "weights of NaN": (lambda: entropy(weights=TARGETS * np.nan), "nan", "finite and at least 0"),
    "smoothing of 2": (lambda: entropy(smoothing=2.0), "smoothing is 2.0", "from 0 to 1"),
    "smoothing of a word": (lambda: entropy(smoothing="a"), "'a'", "from 0 to 1"),
    "a gamma of a word": (lambda: entropy(loss=losses.focal, gamma="a"), "gamma is 'a'", "a number"),
    "a label of 2": (lambda: losses.binary_cross_entropy(LOGITS, LABELS + 2.0), "targets holds 2.0", "from 0 to 1"),
    "labels of one row": (lambda: losses.binary_cross_entropy(LOGITS, LABELS[:1]), "[1, 3, 4]", "[2, 3, 4]"),
    "counts of words": (lambda: losses.balanced_class_weights("abc"), "'abc'", "an array of numbers"),
    "a ranking of classes": (lambda: entropy(targets=TARGETS + 9, loss=losses.score_ranking), "targets holds 9", "0 to 3"),
    "a ranking of floats": (lambda: entropy(targets=TARGETS * 1.0, loss=losses.margin_ranking), "float64", "integer [2, 3]"),
    "an unknown option": (lambda: entropy(smooth=0.1), "smooth", "smoothing"),
}
MEASURES = {
    "scores of words": (lambda: metrics.hit_at("abc", [0]), "'abc'", "an array of numbers"),
    "ragged scores": (lambda: metrics.hit_at([[1], [1, 2]], [0, 0]), "[[1], [1, 2]]", "one length"),
    "complex scores": (lambda: metrics.hit_at(np.array(SCORES) * 1j, [1, 2]), "complex128", "numbers [N, C]"),
    "hits at a word": (lambda: metrics.hit_at(SCORES, [1, 2], k="2"), "k is '2'", "an integer"),
    "hits at ragged lists": (lambda: metrics.hit_at(SCORES, [1, 2], k=[[1], [1, 2]]), "k is [[1], [1, 2]]", "an integer"),
    "hits at 1.5": (lambda: metrics.hit_at(SCORES, [1, 2], k=1.5), "k is 1.5", "an integer"),
    "videos of a number": (lambda: metrics.video_scores(SCORES, [1, 1], 3), "3", "a list of 2 names"),
    "videos of lists": (lambda: metrics.video_scores(SCORES, [1, 1], [["a"], ["b"]]), "['a']", "names or numbers"),
    "classes of a word": (lambda: metrics.confusion_matrix([0], [0], classes="2"), "classes is '2'", "an integer"),
    "classes below 1": (lambda: metrics.confusion_matrix([], [], classes=-1), "-1", "at least 1"),
    "counts below 0": (lambda: metrics.accuracy([[-1, 1], [0, 2]]), "-1", "at least 0"),
    "counts of NaN": (lambda: metrics.macro_f1([[np.nan, 1], [0, 2]]), "nan", "counts"),
    "a threshold of NaN": (lambda: metrics.detections(SCORES, threshold=np.nan), "nan", "a number"),
    "a gap of half a frame": (lambda: metrics.detections(SCORES, gap=1.5), "gap is 1.5", "an integer"),
    "another background": (lambda: metrics.detections(SCORES, background=9), "background holds 9", "from 0 to 2"),
    "a background of words": (lambda: metrics.segments_of([0], background="x"), "'x'", "an array of numbers"),
    "segments of tuples": (lambda: metrics.average_precision([[(0, 0, 1)]], [[]], 0), "(0, 0, 1)", "Segment"),
    "segments in one list": (
        lambda: metrics.mean_average_precision([Segment(0, 0, 1)], [[]]),
        "Segment(label=0", "a list of Segments"),
    "detections without scores": (lambda: metrics.average_precision([[]], [[Segment(0, 0, 1)]], 0), "Segment", "Detections"),
    "a score of a word": (lambda: metrics.average_precision([[]], [[Detection(0, 0, 1, "x")]], 0), "'x'", "numbers"),
    "half a frame": (lambda: metrics.early_detection([SCORES], [[Segment(0, 0.5, 2)]]), "0.5", "numbers of frames"),
    "no fractions": (lambda: metrics.early_detection([SCORES], [[Segment(0, 0, 2)]], []), "[]", "above 0 and at most 1"),
    "sequences of a number": (lambda: metrics.accuracy_by_step(3, [1]), "scores is 3", "a list"),
    "a label of -2": (lambda: metrics.segments_of([-2, 0]), "-2", "-1 where there is no label"),
    "a flag of a word": (lambda: metrics.segment_f1([[0]], [[0]], 0.5, by_recording="no"), "'no'", "True or False"),
    "a distance of numbers": (lambda: metrics.levenshtein(3, "a"), "first is 3", "a sequence"),
    "one text": (lambda: metrics.bleu("abc", "abc"), "'abc'", "a list of texts"),
    "texts of numbers": (lambda: metrics.exact_match([1], [1]), "outputs[0] is 1", "a string"),
    "texts of nothing": (lambda: metrics.chrf([None], ["a"]), "outputs[0] is None", "a string"),
    "one text for rare words": (lambda: metrics.words_are_rare("hello"), "'hello'", "a list of texts"),
    "a loss of a word": (lambda: metrics.perplexity("a"), "'a'", "a number"),
    "an order of half": (lambda: ngram.fit([0, 1], order=1.5, vocabulary_size=2), "order is 1.5", "an integer"),
    "a start symbol outside": (lambda: NGRAM(start=9), "start names symbol 9", "0 to 1"),
    "a context of a number": (lambda: ngram.distribution(NGRAM(), 3), "3, a number", "integer [N]"),
}  # fmt: skip
PARTS = {
    "fields by place": (lambda: Pooling(4, 2), "too many positional arguments", "it takes features"),
    "no field at all": (lambda: GRU(), "'input_size'", "it takes input_size"),
    "a field that is missing": (lambda: Pooling(features=4), "'classes'", "it takes features"),
    "an unknown field of an encoder": (
        lambda: Symbols(size=7, embedding_size=3, cell=GRU_CELL, layers=2),
        "'layers'", "it takes size"),
    "a seed for a head": (lambda: HEAD.init(0), "init is 0", "jax.random.key(seed)"),
    "a seed for an encoder": (lambda: SYMBOLS.init(0), "init is 0", "jax.random.key(seed)"),
    "a name of a number": (lambda: Features(size=3, name=3), "Features.name is 3", "a string"),
    "a word for reverse": (lambda: Features(size=3, cell=GRU_CELL, reverse="yes"), "'yes'", "True or False"),
    "no parameters of a head": (lambda: HEAD.apply({}, HS, MASK), "lacks '0'", "Pooling has 0"),
    "parameters of another head": (
        lambda: HEAD.apply(zeros(Pooling(features=C, classes=3)), HS, MASK), "float32[3]", "float32[2]"),
    "features of a head": (lambda: HEAD.apply(zeros(HEAD), HS[..., :3], MASK), "float32[2, 3, 3]", "floating [B, T, 4]"),
    "one clip for a head": (lambda: HEAD.apply(zeros(HEAD), HS[0], MASK[0]), "float32[3, 4]", "floating [B, T, 4]"),
    "a head's mask of one column": (lambda: HEAD.apply(zeros(HEAD), HS, MASK[:, :1]), "bool[2, 1]", "bool [2, 3]"),
    "a head's mask of floats": (
        lambda: score_averages().apply(zeros(score_averages()), HS, MASK * 1.0),
        "float64", "bool [2, 3]"),
    "gains of lengths": (lambda: score_averages().gains(np.array([3, 2])), "int64[2]", "bool [B, T]"),
    "a head's key": (lambda: HEAD.apply(zeros(HEAD), HS, MASK, 3), "key is 3", "jax.random.key(seed)"),
    "rows of a word": (lambda: HEAD.start(zeros(HEAD), "2"), "rows is '2'", "an integer"),
    "a symbol of an encoder": (
        lambda: SYMBOLS.encode(zeros(SYMBOLS), SOURCE | {"source": SOURCE["source"] + 9}),
        "symbol 12", "0 to 6"),
    "sources of floats": (lambda: SYMBOLS.encode(zeros(SYMBOLS), SOURCE | {"source": XS[..., 0]}), "float32", "integers [B, T]"),
    "an encoder's batch": (lambda: SYMBOLS.encode(zeros(SYMBOLS), None), "None", "a dict of arrays"),
    "wide features": (lambda: Features(size=2).encode({}, {"features": XS}), "(2, 3, 3)", "[B, S, 2]"),
    "lengths of features": (
        lambda: FEATURES.encode(zeros(FEATURES), {"features": XS, "features_lengths": [9, 9]}),
        "9", "the 3 steps"),
    "class weights of a word": (
        lambda: Classifier(encoder=FEATURES, head=HEAD, class_weights="ab"),
        "'ab'", "a tuple of numbers"),
    "a tie of a word": (lambda: LanguageModel(vocabulary_size=5, cell=GRU(5, 4), tied="no"), "'no'", "True or False"),
    "a start symbol of half": (lambda: LanguageModel(vocabulary_size=5, cell=GRU(5, 4), start_symbol=1.5), "1.5", "an integer"),
    "one forbidden symbol": (lambda: LanguageModel(vocabulary_size=5, cell=GRU(5, 4), forbidden=3), "3", "a tuple of integers"),
    "late fusion of one": (lambda: LateFusion(models=CLIPS), "a Classifier", "a tuple of classifiers"),
    "probabilities of words": (lambda: fit_weights("a", [0]), "'a'", "an array of numbers"),
    "filters of half": (lambda: LatePooling(features=3.5, classes=2, hidden=(2,)), "LatePooling.features is 3.5", "an integer"),
}  # fmt: skip
MODELS = {
    "a batch without tokens": (lambda: LANGUAGE.apply(zeros(LANGUAGE), {"x": 0}), 'no "tokens"', 'it has "x"'),
    "a batch of an array": (lambda: LANGUAGE.apply(zeros(LANGUAGE), TARGETS), "int32[2, 3]", "a dict of arrays"),
    "tokens of floats": (lambda: LANGUAGE.apply(zeros(LANGUAGE), {"tokens": XS}), "float32[2, 3, 3]", "integer [B, T]"),
    "tokens without rows": (lambda: LANGUAGE.apply(zeros(LANGUAGE), {"tokens": TARGETS[0]}), "int32[3]", "integer [B, T]"),
    "a token outside": (lambda: LANGUAGE.apply(zeros(LANGUAGE), {"tokens": TARGETS - 1}), "tokens holds -1", "0 to 4"),
    "params of another model": (
        lambda: LANGUAGE.apply(zeros(CLIPS), {"tokens": TARGETS}),
        "lacks 'cell'", "LanguageModel has cell"),
    "params that are wrapped": (lambda: LANGUAGE.start({"params": zeros(LANGUAGE)}, PROMPTS), "lacks 'cell'", "cell, projection"),
    "no params": (lambda: CLIPS.probabilities(None, {"features": XS}), "None", "a dict of encoder, head"),
    "a model's key": (lambda: CLIPS.apply(zeros(CLIPS), {"features": XS}, key=3), "key is 3", "jax.random.key(seed)"),
    "a model's seed": (lambda: PAIRS.init(0), "init is 0", "jax.random.key(seed)"),
    "rows of a model": (lambda: LANGUAGE.initial_state(zeros(LANGUAGE), "2"), "'2'", "an integer"),
    "no target": (lambda: LANGUAGE.loss(LOGITS, {"tokens": TARGETS}), 'no "target"', "LanguageModel.loss"),
    "a target of one column": (lambda: LANGUAGE.loss(LOGITS, {"target": TARGETS[:, :1]}), "int32[2, 1]", "integer [2, 3]"),
    "a label too large": (lambda: CLIPS.loss(clip_outputs(), {"label": [0, 2]}), "targets holds 2", "0 to 1"),
    "a label too few": (lambda: CLIPS.figures(clip_outputs(), {"label": [0]}), "int64[1]", "integer [2]"),
    "labels of one column": (lambda: CLIPS.loss(clip_outputs(), {"label": [[0], [1]]}), "int64[2, 1]", "integer [2]"),
    "a frame's class": (lambda: FRAMES.loss(frame_outputs(), {"target": TARGETS + 5}), "targets holds 5", "0 to 1"),
    "a frame's mask": (lambda: FRAMES.loss(frame_outputs(), {"target": TARGETS, "target_mask": TARGETS}), "int32", "bool [2, 3]"),
    "no lengths of targets": (
        lambda: PAIRS.apply(zeros(PAIRS), SOURCE | {"target": TARGETS}),
        'no "target_lengths"', "ConditionalDecoder.apply"),
    "targets of one row": (
        lambda: PAIRS.apply(zeros(PAIRS), SOURCE | {"target": TARGETS[:1], "target_lengths": [1, 1]}), "int64[2]", "integer [1]"),
    "a whole clip for a step": (lambda: CLIPS.encoder.piece(XS), "(2, 3, 3)", "[B, 3]"),
    "a token of a number": (lambda: LANGUAGE.step(zeros(LANGUAGE), (), (np.zeros((2, 4)),), 3), "3, a number", "integer [2]"),
    "a token of three rows": (
        lambda: LANGUAGE.step(zeros(LANGUAGE), (), (np.zeros((2, 4)),), [1, 2, 3]),
        "int64[3]", "integer [2]"),
}  # fmt: skip
SEARCHES = {
    "params of a search": (lambda: greedy(params={}), "lacks 'cell'", "cell, projection"),
    "a class for a model": (lambda: greedy(LanguageModel), "the class LanguageModel", "LanguageModel(...)"),
    "a cell for a model": (lambda: greedy(GRU_CELL), "a GRU", "a decoder"),
    "a batch of a search": (lambda: greedy(batch=PROMPTS["tokens"]), "int64[2, 2]", "a dict of arrays"),
    "a length of floats": (lambda: greedy(max_length=3.0), "max_length is 3.0", "an integer"),
    "a length beyond memory": (lambda: greedy(max_length=10**12), "1000000000000", "below"),
    "no length": (lambda: decode.greedy(LANGUAGE, {}, PROMPTS), "'max_length'", "it takes model"),
    "a bias of a word": (lambda: greedy(bias={1: "a"}), "'a'", "finite"),
    "phrases of a number": (lambda: greedy(banned_phrases=3), "banned_phrases", "[[5, 6], [7]]"),
    "a key of a word": (lambda: sample(key="a"), "'a'", "jax.random.key(seed)"),
    "several keys": (lambda: sample(key=jax.eval_shape(lambda: jax.random.split(KEY))), "(2,)", "one key"),
    "ragged outputs": (
        lambda: decode.score(LANGUAGE, zeros(LANGUAGE), PROMPTS, [[1], [1, 2]], [1, 2]),
        "[[1], [1, 2]]", "one length"),
    "an unknown field of a search": (lambda: decode.Search(width=3), "'width'", "it takes method"),
    "a flag of a search": (lambda: decode.Search(early_stop="no"), "'no'", "True or False"),
    "a penalty of a word": (lambda: decode.Search(repetition_penalty="a"), "'a'", "a number"),
    "a utility of words": (lambda: decode.minimum_bayes_risk(["a", "b"], lambda a, b: "x"), "'x'", "a number"),
    "no utility": (lambda: decode.minimum_bayes_risk(["a", "b"], 3), "utility is 3", "a function"),
    "an input of a number": (lambda: texts([1]), "inputs[0] is 1", "a text"),
    "no vocabulary": (lambda: texts(vocabularies=None), "None", "a vocabulary, or a pair"),
    "another vocabulary": (lambda: texts(vocabularies=CharacterVocabulary.from_text("abcdefgh")), "symbols", "the model has"),
    "a search of a word": (lambda: texts(search="beam"), "'beam'", "a Search"),
    "a limit of a number": (lambda: texts(limit=3), "limit is 3", "a function"),
}  # fmt: skip
OTHERS = {
    "weights below 0": (lambda: inspect.heat_map([[-1.0]], ["a"], ["b"], "x.png"), "-1.0", "at least 0"),
    "weights of a word": (lambda: inspect.heat_map("a", ["a"], ["b"], "x.png"), "'a'", "an array of numbers"),
    "symbols of numbers": (lambda: inspect.heat_map([[1.0]], [1], ["b"], "x.png"), "source is [1]", "a list of texts"),
    "a grid of a number": (
        lambda: inspect.image_maps(np.eye(4), np.ones((4, 4)), ["a"] * 4, "x.png", grid=3),
        "3", "(rows, columns)"),
    "names of a number": (lambda: inspect.confusion("x.png", [[1]], 1), "classes is 1", "a list of texts"),
    "curves of a list": (lambda: inspect.accuracy_curves("x.png", [([1], [1])], xlabel="x"), "[([1], [1])]", "a dict"),
    "a curve of numbers": (lambda: inspect.accuracy_curves("x.png", {"a": [1, 2, 3]}, xlabel="x"), "[1, 2, 3]", "(x, y)"),
    "a value to register": (lambda: seqjax.register(3), "3", "register its type"),
    "an unknown type": (lambda: seqjax.from_json({"type": "LSTN"}), "LSTN", "did you mean LSTM?"),
    "a type of a list": (lambda: seqjax.from_json({"type": ["a"]}), "['a']", "seqjax.register"),
    "a key of a number": (lambda: seqjax.reseed((), 3), "key is 3", "jax.random.key(seed)"),
    "a platform of a word": (lambda: seqjax.export(abs, 1.0, platforms="cpu"), "'cpu'", "a list of texts"),
    "a program of a word": (lambda: seqjax.export(abs, "a"), "'a'", "arrays"),
}  # fmt: skip
TRAINING = {
    "a cell to train": (lambda: train.make_train_step(GRU_CELL, optax.sgd(0.1)), "a GRU", "a Model"),
    "an optimizer by name": (lambda: train.make_train_step(LANGUAGE, "adam"), "'adam'", "an optax transformation"),
    "a scale of the loss": (lambda: train.make_train_step(LANGUAGE, optax.sgd(0.1), loss_scale="max"), "'max'", "'mean', 'sum'"),
    "a batch size of 0": (
        lambda: train.init_state(LANGUAGE, optax.sgd(0.1), batch_size=0, seed=0), "batch_size is 0", "at least 1"),
    "a seed of a word": (lambda: train.init_state(LANGUAGE, optax.sgd(0.1), batch_size=1, seed="a"), "seed is 'a'", "an integer"),
    "a class to evaluate": (lambda: train.make_eval_step(LanguageModel), "the class LanguageModel", "LanguageModel(...)"),
    "one batch to evaluate": (
        lambda: train.evaluate(len, LANGUAGE, {}, {"tokens": TARGETS}), "{'tokens'", "an iterable of batches"),
}  # fmt: skip
SERIES = data.Series(
    inputs={"features": [XS[0], XS[0]]}, lengths=[3, 3], classes=data.Labels(names=("a", "b")), names=("x", "y"), labels=[0, 1]
)
DATA = {
    "an item from the end": (lambda: SERIES.take([-1]), "indices holds -1", "from 0 to 1"),
    "items by a mask": (lambda: SERIES.take(np.array([True, False])), "bool[2]", "integer [n]"),
    "items of floats": (lambda: SERIES.take([0.7]), "float64[1]", "integer [n]"),
    "classes of names": (lambda: dataclasses.replace(SERIES, classes=("a", "b")), "('a', 'b')", "Labels(names=...)"),
    "labels of halves": (lambda: dataclasses.replace(SERIES, labels=[0.5, 1.5]), "float64[2]", "integer [N]"),
    "a stream of half a row": (lambda: data.SeriesStream(series=SERIES, batch_size=1.5, seed=0), "1.5", "an integer"),
    "an unknown field of a stream": (lambda: data.SeriesStream(series=SERIES, size=3), "series", "it takes series"),
    "strokes of one column": (lambda: data.stroke_ends(np.zeros(3)), "float64[3]", "numbers [T, columns]"),
    "a spacing of a word": (lambda: data.read_drawing("START", spacing="a"), "spacing is 'a'", "a number"),
    "names of a number": (lambda: data.Labels(names=3), "names is 3", "a tuple of texts"),
}
CASES = DATA | TRAINING | LOSSES | MEASURES | PARTS | MODELS | SEARCHES | OTHERS


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_malformed_call_gets_one_line_that_names_both_sides(case):
    call, given, right = case
    with pytest.raises(InputError) as error:
        call()
    message = str(error.value)
    assert given in message and right in message, message
    assert "\n" not in message and len(message) < 220, message


def test_numbers_of_numpy_are_taken_as_pythons():
    model = LanguageModel(vocabulary_size=np.int64(5), cell=GRU(np.int32(5), 4), forbidden=[np.int64(2)], tied=np.False_)
    assert model == LanguageModel(vocabulary_size=5, cell=GRU(5, 4), forbidden=(2,)) and hash(model)
    assert seqjax.from_json(seqjax.to_json(model)) == model
    assert decode.Search(beam=np.int64(4), length_penalty=np.float32(0.5)) == decode.Search(beam=4, length_penalty=0.5)
    assert metrics.hit_at(jax.device_put(np.array(SCORES, np.float32)), np.array([1, 2], np.uint8), k=np.int64(1)) == 0.5


FRAMES_OF = {
    "a search": (lambda: greedy(end=99), "greedy"),
    "a model": (lambda: LANGUAGE.apply(zeros(LANGUAGE), {}), "<lambda>"),
    "a loss": (lambda: entropy(targets=TARGETS - 1), "entropy"),
    "training": (lambda: train.make_train_step(GRU_CELL, optax.sgd(0.1)), "<lambda>"),
    "a measure": (lambda: metrics.hit_at(SCORES, [9, 9]), "<lambda>"),
    "a construction": (lambda: GRU(3, 4, heads=3), "__init__"),
}


@pytest.mark.parametrize("case", FRAMES_OF.values(), ids=FRAMES_OF)
def test_a_notebook_shows_the_callers_frame_and_the_line(case):
    call, caller = case
    with pytest.raises(InputError) as error:
        call()
    frames = [frame.name for frame in traceback.extract_tb(error.value.__traceback__)]
    assert frames[-2] == caller and len(frames) <= 5, frames
    assert error.value.__suppress_context__ and not hasattr(error.value, "__notes__")
