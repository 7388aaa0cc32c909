"""The model of a config, and the order-free one that it is compared with."""

from typing import Any

from experiments.action_recognition.config import Network
from experiments.groups import joined
from experiments.labelled import Labelled
from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.layers import Pooling
from seqjax.losses import balanced_class_weights
from seqjax.models import Classifier, Features, FrameClassifier


def build_model(config: Network, data: Labelled, word: str) -> Model:
    """Builds the model of a config for an input: "frames", "flow" or "features".

    Raises:
        InputError: sizes or options do not fit together or to the data.
    """
    classes, shape = len(data.classes), data.shape(word)
    if not data.by_frame and (config.ranking != "none" or config.kind == "multi_lstm"):
        option = "ranking ranks the scores of" if config.ranking != "none" else "kind multi_lstm labels"
        raise InputError(f"model.{option} frames, and these data have a class for each clip: give data with segments")
    parts, size = config.per_step(data.splits["train"].only(word), word)
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
    parts, size = config.per_step(data.splits["train"].only(word), word)
    head = Pooling(reduce="max", features=size, classes=len(data.classes), hidden=(config.hidden_size,))
    return Classifier(encoder=Features(size=data.shape(word), cell=joined(parts), name=word), head=head)
