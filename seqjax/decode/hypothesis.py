"""What every search returns."""

from typing import NamedTuple

from seqjax.types import Array


class Decoded(NamedTuple):
    """Symbols chosen by a search, a row for each row of the batch.

    Args:
        tokens: int32, [B, L]: the symbols emitted, `end` included where it came; 0 from `lengths` on. The prompt
            is not repeated.
        lengths: int32, [B]: symbols emitted, `end` included.
        scores: floating, [B]: log-probability of those symbols under the decoder's own distribution, in nats
            (temperature and truncation change what is drawn, not how it is scored).
    """

    tokens: Array
    lengths: Array
    scores: Array
