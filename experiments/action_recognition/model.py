"""The model of a config, and the order-free one that it is compared with."""

import math
from typing import Any

from experiments.action_recognition.config import Network
from experiments.groups import joined
from experiments.labelled import Labelled
from seqjax.compose import Dropout, Standardize
from seqjax.contracts import Cell, Model, SequenceLayer
from seqjax.data.series import feature_moments
from seqjax.errors import InputError
from seqjax.layers import Center, Pooling
from seqjax.losses import balanced_class_weights
from seqjax.models import Classifier, Features, FrameClassifier
from seqjax.vision import frame_encoder


def build_model(config: Network, data: Labelled, word: str) -> Model:
    """Builds the model of a config for an input: "frames", "flow" or "features".

    Raises:
        InputError: sizes or options do not fit together or to the data.
    """
    classes, shape = len(data.classes), data.shape(word)
    if not data.by_frame and (config.ranking != "none" or config.kind == "multi_lstm"):
        option = "ranking ranks the scores of" if config.ranking != "none" else "kind multi_lstm labels"
        raise InputError(f"model.{option} frames, and these data have a class for each clip: give data with segments")
    parts, size = encoder_parts(config, data, word)
    time, size = config.over_time(size)
    encoder = Features(size=shape, cell=joined([*parts, *time]), name=word)
    options: dict[str, Any] = {"label_smoothing": config.smoothing, "focal": config.focal}
    if config.balanced:
        options["class_weights"] = balanced_class_weights(data.counts())
    if not data.by_frame:
        return Classifier(encoder=encoder, head=config.build_head(size, classes, config.dropout), **options)
    if config.ranking != "none":
        options |= {"ranking": config.ranking, "ranking_weight": config.ranking_weight}
    if config.kind == "multi_lstm":
        options |= {"outputs": config.span, "offset": config.offset, "learned": True}
    return FrameClassifier(encoder=encoder, classes=classes, hidden=config.head_layers, dropout=config.dropout, **options)


def bag_of_frames(config: Network, data: Labelled, word: str) -> Classifier:
    """A classifier that sees every frame of a clip and not their order: layers on each, the maximum over time, layers on that."""
    parts, size = encoder_parts(config, data, word)
    head = Pooling(reduce="max", features=size, classes=len(data.classes), hidden=(config.hidden_size,))
    return Classifier(encoder=Features(size=data.shape(word), cell=joined(parts), name=word), head=head)


def encoder_parts(config: Network, data: Labelled, word: str) -> tuple[list[Cell | SequenceLayer], int]:
    """The parts that read each step alone, and the number of features that they make of it.

    Raises:
        InputError: a frame has no encoder.
    """
    shape, parts = data.shape(word), list[Cell | SequenceLayer]()
    if config.standardize:
        parts.append(Standardize(*feature_moments(data.splits["train"], word), input_shape=shape))
    if config.center:
        if len(shape) > 1:
            raise InputError(f"--model.center reads vectors, and {word} have the shape {shape}: give --model.no-center")
        parts.append(Center(input_size=math.prod(shape)))
    if config.input_dropout:
        parts.append(Dropout(config.input_dropout, per="sequence", input_shape=shape))
    if config.encoder == "none":
        if len(shape) > 1:
            raise InputError(f"{word} have the shape {shape}, and networks over time read vectors: give --model.encoder conv")
        return parts, math.prod(shape)
    channels = config.channels if config.encoder == "conv" else ()
    return [*parts, frame_encoder(shape, channels=channels, features=config.encoded_size)], config.encoded_size
