"""What every search returns."""

from typing import NamedTuple

from seqjax.types import Array


class Decoded(NamedTuple):
    """Symbols chosen by a search, a row for each row of the batch; of `beam`, N hypotheses for each, best first.

    Args:
        tokens: int32, [B, L], of `beam` [B, N, L]: the symbols emitted, `end` included where it came; 0 from `lengths` on.
            The prompt is not repeated.
        lengths: int32, [B], [B, N]: symbols emitted, `end` included; 0: there is no such hypothesis.
        scores: floating, [B], [B, N]: log-probability of those symbols under the decoder's own distribution, in nats
            (temperature, truncation and constraints change what is chosen, not how it is scored); of `beam` with its
            penalties, what the search maximised. -inf: there is no such hypothesis.
    """

    tokens: Array
    lengths: Array
    scores: Array
