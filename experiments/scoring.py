"""The probabilities that a classifier gives to every item of some batches."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from seqjax.types import Params


def predict_all(model: Any, params: Params, batches: Iterable[dict]) -> list[np.ndarray]:
    """The class probabilities of every item, in the order of the data.

    Args:
        model: a classifier: `probabilities(params, batch)` are float [B, C] of whole sequences, or [B, T, C] of their steps.
        params: its parameters.
        batches: evaluation batches, with `index` int [B], -1 at padding rows, and the lengths of what the model reads.

    Returns:
        For each item an array [C], or [T_n, C] of its real steps.
    """
    items: dict[int, np.ndarray] = {}
    for batch in batches:
        scores = np.asarray(model.probabilities(params, batch))  # [B, C] or [B, T, C]
        lengths = next(array for name, array in batch.items() if name.endswith("_lengths"))  # [B]
        for index, row, length in zip(batch["index"], scores, lengths, strict=True):
            if index >= 0:
                items[int(index)] = row[:length] if row.ndim == 2 else row
    return [items[index] for index in sorted(items)]
