"""Measures of models and of what they write."""

from seqjax.metrics.classes import (
    accuracy,
    class_accuracies,
    confusion_matrix,
    hit_at,
    macro_f1,
    mean_class_accuracy,
    video_scores,
)
from seqjax.metrics.detection import (
    Detection,
    average_precision,
    detections,
    frame_average_precision,
    mean_average_precision,
)
from seqjax.metrics.early import EarlyDetection, accuracy_by_step, early_detection
from seqjax.metrics.segments import (
    Segment,
    edit_score,
    frame_accuracy,
    intersection_over_union,
    levenshtein,
    segment_f1,
    segmentation_scores,
    segments_of,
)
from seqjax.metrics.text import bleu, chrf, exact_match, sentence_chrf, text_scores, text_signatures, words_are_rare
from seqjax.metrics.units import bits, perplexity

__all__ = [
    "Detection",
    "EarlyDetection",
    "Segment",
    "accuracy",
    "accuracy_by_step",
    "average_precision",
    "bits",
    "bleu",
    "chrf",
    "class_accuracies",
    "confusion_matrix",
    "detections",
    "early_detection",
    "edit_score",
    "exact_match",
    "frame_accuracy",
    "frame_average_precision",
    "hit_at",
    "intersection_over_union",
    "levenshtein",
    "macro_f1",
    "mean_average_precision",
    "mean_class_accuracy",
    "perplexity",
    "segment_f1",
    "segmentation_scores",
    "segments_of",
    "sentence_chrf",
    "text_scores",
    "text_signatures",
    "video_scores",
    "words_are_rare",
]
