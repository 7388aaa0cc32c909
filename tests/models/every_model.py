"""Every kind of model once, by name, with a batch of 8 rows."""

import numpy as np

from seqjax import (
    GRU,
    LSTM,
    Bidirectional,
    Chain,
    Convolution,
    Dense,
    Dropout,
    Elman,
    LatePooling,
    LocalPooling,
    Pooling,
    RecurrentDropout,
    Residual,
    ScoreAveraging,
    SlowPooling,
    Stack,
    TimeConvolution,
)
from seqjax.attention import Additive, Attentive, Dot, General, Hard, Local, Location, MultiHead, WindowAttention
from seqjax.models import Classifier, Features, FrameClassifier, LanguageModel, LateFusion, Seq2Seq, Symbols
from seqjax.vision import frame_encoder

B, T, S, E, H, C = 8, 6, 5, 3, 4, 3
LARGE = 10_000  # too large to be read through E W
RNG = np.random.default_rng(0)
LENGTHS = np.array([6, 3, 0, 5, 1, 6, 2, 4], np.int32)
LABEL = RNG.integers(0, C, B, np.int32)
MASK = RNG.random((B, T)) < 0.8
LSTM_E, GRU_E, GRU_H = LSTM(input_size=E, hidden_size=H), GRU(input_size=E, hidden_size=H), GRU(input_size=H, hidden_size=H)
DEEP = Chain((Bidirectional(LSTM_E), Bidirectional(GRU(input_size=2 * H, hidden_size=H)), Residual(Dense(2 * H, 2 * H))))
PICTURES = frame_encoder((5, 4, 2), channels=(4,), features=3, grid=1, dropout=0.2)
FRAMES = Features(size=E, cell=DEEP)


def tokens(size, steps=T):
    return RNG.integers(0, size, (B, steps), np.int32)


def text(size):
    return {"tokens": tokens(size), "target": tokens(size), "reset": RNG.random((B, T)) < 0.3, "target_mask": MASK}


def pairs(size, **more):
    source = {"source": tokens(size, S), "source_lengths": np.minimum(LENGTHS, S)}
    return source | {"target": tokens(size), "target_lengths": LENGTHS} | more


def clips(**more):
    xs = RNG.normal(size=(B, T, E)).astype(np.float32)
    return {"features": xs, "features_lengths": LENGTHS, "label": LABEL} | more


def language_model(size, **fields):
    return LanguageModel(vocabulary_size=size, cell=LSTM_E, embedding_size=E, **fields)


def seq2seq(size, decoder, **fields):
    encoder = Symbols(size=size, embedding_size=E, cell=fields.pop("encoder", GRU_E), dropout=fields.get("dropout", 0.0))
    return Seq2Seq(encoder=encoder, target_size=size, embedding_size=E, decoder=decoder, start_symbol=1, end_symbol=2, **fields)


def attentive(attention, cell=GRU_E, **fields):
    return Attentive(cell=cell, attention=attention, output_size=H, **fields)


def classifier(head, **fields):
    return Classifier(encoder=Features(size=E, cell=LSTM_E), head=head, **fields)


def frames(**fields):
    return FrameClassifier(encoder=fields.pop("encoder", FRAMES), classes=C, **fields)


TARGET = {"target": tokens(C), "target_mask": MASK}
FORCED = {"teacher_forcing": np.full(B, 0.5, np.float32)}
HEAD = {"features": H, "classes": C, "hidden": (5,)}
GENERAL = General(query_size=H, memory_size=H)

# name: (model, batch)
MODELS = {
    "language_model": (language_model(9), text(9)),
    "language_model_large": (language_model(LARGE), text(LARGE)),
    "language_model_one_hot": (LanguageModel(vocabulary_size=9, cell=Elman(input_size=9, hidden_size=H)), text(9)),
    "language_model_tied": (
        LanguageModel(vocabulary_size=LARGE, cell=LSTM(input_size=H, hidden_size=H), embedding_size=H, tied=True, dropout=0.3),
        text(LARGE),
    ),
    "language_model_dropout": (
        LanguageModel(vocabulary_size=9, embedding_size=E, dropout=0.2, per="sequence",
                      cell=Stack((RecurrentDropout(LSTM_E, 0.3), Dropout(0.2), Residual(GRU_H)))), text(9),
    ),
    "bahdanau": (
        seq2seq(LARGE, attentive(Additive(query_size=H, memory_size=2 * H, hidden_size=5, coverage=True), order="before"),
                encoder=Bidirectional(GRU_E), coverage_loss=0.5, label_smoothing=0.1, dropout=0.2),
        pairs(LARGE),
    ),
    "luong": (seq2seq(9, attentive(GENERAL), bridge="final", tied="none"), pairs(9)),
    "luong_sampled": (seq2seq(9, attentive(Dot(query_size=H, memory_size=H))), pairs(9, **FORCED)),
    "luong_sampled_large": (seq2seq(LARGE, attentive(GENERAL), sampling="sequence"), pairs(LARGE, **FORCED)),
    "local": (seq2seq(9, attentive(Local(attention=GENERAL, window=2))), pairs(9)),
    "location": (seq2seq(9, attentive(Location(query_size=H, memory_size=H, max_length=9))), pairs(9)),
    "hard": (seq2seq(9, attentive(Hard(attention=GENERAL))), pairs(9)),
    "multi_head": (
        seq2seq(9, attentive(MultiHead(query_size=H, memory_size=H, hidden_size=8, heads=2), order="before")), pairs(9),
    ),
    "without_attention": (seq2seq(LARGE, GRU_E, dropout=0.2), pairs(LARGE)),
    "pooling": (classifier(Pooling(**HEAD, dropout=0.3), label_smoothing=0.1), clips()),
    "pooling_mean": (classifier(Pooling(**HEAD, reduce="mean"), class_weights=(1.0, 2.0, 3.0)), clips()),
    "pooling_last": (classifier(Pooling(**HEAD, reduce="last"), focal=2.0), clips()),
    "late_pooling": (classifier(LatePooling(**HEAD)), clips()),
    "slow_pooling": (classifier(SlowPooling(**HEAD, size=3, stride=2)), clips()),
    "local_pooling": (classifier(LocalPooling(**HEAD)), clips()),
    "time_convolution": (classifier(TimeConvolution(**HEAD, filters=4, size=3, stride=2)), clips()),
    "score_averaging": (classifier(ScoreAveraging(**HEAD, gain="linear", average="last")), clips()),
    "score_maximum": (classifier(ScoreAveraging(**HEAD, gain="last", average="max")), clips()),
    "text": (
        Classifier(
            encoder=Symbols(size=LARGE, embedding_size=E, name="tokens", cell=Convolution(input_size=E, features=H)),
            head=Pooling(**HEAD),
        ),
        {"tokens": tokens(LARGE), "tokens_lengths": LENGTHS, "label": LABEL},
    ),
    "pictures": (
        Classifier(
            encoder=Features(size=(5, 4, 2), name="frames", cell=Stack((PICTURES, LSTM_E))), head=Pooling(**HEAD),
        ),
        {"frames": RNG.integers(0, 255, (B, T, 5, 4, 2), np.uint8), "frames_lengths": LENGTHS, "label": LABEL},
    ),
    "fusion": (LateFusion(models=(classifier(Pooling(**HEAD)), classifier(LatePooling(**HEAD))), weights=(1, 2)), clips()),
    "frames": (frames(ranking="score", label_smoothing=0.1), clips(**TARGET)),
    "frames_margin": (frames(ranking="margin", class_weights=(1.0, 2.0, 3.0), dropout=0.2, hidden=(4,)), clips(**TARGET)),
    "frames_focal": (frames(focal=2.0), clips(**TARGET)),
    "frames_several": (frames(exclusive=False), clips(target=RNG.random((B, T, C)) < 0.5)),
    "multi_lstm": (
        frames(encoder=Features(size=E, cell=WindowAttention(cell=LSTM_E, window=3, hidden_size=2)), outputs=3, learned=True),
        clips(**TARGET),
    ),
}  # fmt: skip
