"""Several decoders as one."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.decode.decoder import attending
from seqjax.decode.probabilities import log_probabilities, log_softmax, score_dtype
from seqjax.errors import InputError
from seqjax.types import Array, Key, State
from seqjax.values import Value
from seqjax.weighted import Weighted

_AVERAGES = ("probability", "log", "fusion")


@dataclasses.dataclass(frozen=True)
class Ensemble(Value):
    """A decoder whose distribution is a combination of its members'.

        "probability": p(y) = sum_i w_i p_i(y);  "log": p(y) = prod_i p_i(y)^w_i / Z;  "fusion": score(y) = sum_i w_i log p_i(y)

    Its parameters are a tuple of the members'. The members may be of different kinds, with first symbols and places of
    attention of their own; they share a vocabulary. They read the same batch, or a tuple of batches with the same rows: under
    "fusion" (shallow fusion), a recogniser reads features, and a language model the beginnings of texts. The attention
    weights are the mean over the members that attend to as many places as the first member that attends.

    Args:
        models: decoders (`seqjax.contracts.Decoder`).
        average: "probability"; "log"; or "fusion", which is not normalised: outputs are compared by the sum of the members'
            scores. Under "log" and "fusion", a symbol that is impossible for one member is impossible.
        weights: one number for each member; None: 1/n, under "fusion" 1. Under "probability" and "log" at least 0, and
            divided by their sum.

    Raises:
        InputError: no models, an unknown average, or weights that do not fit; in use, members that do not fit together.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.decode import greedy
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=5, cell=GRU(input_size=5, hidden_size=8))
        >>> params = tuple(model.init(jax.random.key(seed)) for seed in range(3))
        >>> prompts = {"tokens": jnp.array([[1, 2]]), "tokens_lengths": jnp.array([2])}
        >>> greedy(Ensemble((model,) * 3), params, prompts, max_length=4).lengths.tolist()
        [4]
    """

    gives_scores: ClassVar[bool] = True

    models: tuple[Any, ...]
    average: str = "probability"
    weights: tuple[float, ...] | None = None

    def __post_init__(self):
        if not isinstance(self.models, tuple) or not self.models:
            raise InputError(f"models is {self.models!r}, it must be a tuple of at least one decoder")
        if self.average not in _AVERAGES:
            raise InputError(f"average is {self.average!r}, it must be one of {', '.join(map(repr, _AVERAGES))}")

        if self.weights is not None:
            weights, least = self.weights, -np.inf if self.average == "fusion" else 0
            if not isinstance(weights, tuple) or len(weights) != len(self.models):
                raise InputError(f"weights is {weights!r}, it must be a tuple of {len(self.models)} numbers, one for each model")
            if not all(least <= weight < np.inf for weight in weights) or -np.inf in weights or not any(weights):
                right = "finite" if self.average == "fusion" else "at least 0 and finite"
                raise InputError(f"weights is {weights!r}, its numbers must be {right}, and not all 0")

    @property
    def attends(self) -> bool:
        """True where any member has attention."""
        return any(getattr(model, "attends", False) for model in self.models)

    def start(self, params: tuple, batch: dict | tuple) -> tuple[tuple, tuple, Array]:
        """Start every member.

        Args:
            params: a tuple, one for each member.
            batch: read by every member; or a tuple, one for each.

        Returns:
            (memory, state, token): the members' memories and first symbols; their states and whether the next step is the
            first, bool [B]; the first symbol of the first member, int32 [B].

        Raises:
            InputError: params or batches that are not a tuple of one entry for each member, or other numbers of rows.
        """
        count = len(self.models)
        for name, value in (("params", params), *((("batches", batch),) if isinstance(batch, tuple) else ())):
            if not isinstance(value, tuple) or len(value) != count:
                kind = f"a tuple of {len(value)}" if isinstance(value, tuple) else f"a {type(value).__name__}"
                raise InputError(f"an ensemble of {count} models was given {kind}: give a tuple with each model's {name}")
        batches = batch if isinstance(batch, tuple) else (batch,) * count
        starts = [model.start(*parts) for model, *parts in zip(self.models, params, batches, strict=True)]
        memories, states, tokens = zip(*starts, strict=True)
        rows = [token.shape[0] for token in tokens]
        if len({*rows}) > 1:
            raise InputError(f"the models of an ensemble read {rows} rows: their numbers must be equal")
        return (memories, tokens), (states, jnp.ones(rows[0], bool)), tokens[0]

    def step(self, params: tuple, memory: tuple, state: tuple, token: Array) -> tuple[State, Array]:
        """Read a symbol into every member: token [B] to (state, log-probabilities [B, V], or scores under "fusion").

        Raises:
            InputError: vocabularies of different sizes.
        """
        state, values = self._read(params, memory, state, token, ["step"] * len(self.models))
        return state, self._combined([logits for _, logits in values])

    def attend(self, params: tuple, memory: tuple, state: tuple, token: Array) -> tuple[State, Array, Array]:
        """`step`, and the mean of the attention weights, [B, S].

        Raises:
            InputError: no member has attention.
        """
        attending(self, "a mean of attention weights")
        verbs = ["attend" if getattr(model, "attends", False) else "step" for model in self.models]
        state, values = self._read(params, memory, state, token, verbs)
        weights = [parts[2] for parts in values if len(parts) == 3]
        return state, self._combined([parts[1] for parts in values]), jnp.stack(_alike(weights)).mean(axis=0)

    def attended(self, memory: tuple) -> Array:
        """The positions attended to by any member whose weights are in the mean, bool [B, S].

        Raises:
            InputError: no member has attention.
        """
        attending(self, "a mean of attention weights")
        members = zip(self.models, memory[0], strict=True)
        masks = [model.attended(member) for model, member in members if getattr(model, "attends", False)]
        return functools.reduce(jnp.logical_or, _alike(masks))

    def _read(self, params, memory, state, token, verbs) -> tuple[State, list[tuple]]:
        """The state after a step, and what each member's method returns; at the first step each reads its own first symbol."""
        (memories, firsts), (states, is_first) = memory, state
        members = zip(self.models, verbs, params, memories, states, firsts, strict=True)
        values = [
            getattr(model, verb)(*parts, jnp.where(is_first, first, token).astype(first.dtype))
            for model, verb, *parts, first in members
        ]
        return (tuple(parts[0] for parts in values), jnp.zeros_like(is_first)), values

    def initial_state(self, params: tuple, batch_size: int) -> tuple:
        """The members' states before the first batch."""
        return tuple(model.initial_state(member, batch_size) for model, member in zip(self.models, params, strict=True))

    def apply(self, params: tuple, batch: dict, *, state: State = None, key: Key | None = None) -> tuple[tuple, Array]:
        """(states, log-probabilities [..., V]) of a batch, for models whose outputs are logits, such as language models.

        Raises:
            InputError: vocabularies of different sizes.
        """
        states = (None,) * len(self.models) if state is None else state
        keys = (None,) * len(self.models) if key is None else jax.random.split(key, len(self.models))
        members = zip(self.models, params, states, keys, strict=True)
        states, logits = zip(*(model.apply(p, batch, state=s, key=k) for model, p, s, k in members), strict=True)
        return states, self._combined(logits)

    def figures(self, outputs: Array, batch: dict) -> dict[str, Weighted]:
        """The figures of the log-probabilities, computed by the first member, so that `evaluate` takes an ensemble."""
        return self.models[0].figures(outputs, batch)

    def _combined(self, logits: Sequence[Array]) -> Array:
        """The log-probabilities or scores [..., V] of the members' logits, each [..., V]."""
        sizes = [array.shape[-1] for array in logits]
        if len(set(sizes)) > 1:
            raise InputError(f"the models of an ensemble have vocabularies of {sizes} symbols: they must be equal")
        dtype = jnp.result_type(*(score_dtype(array) for array in logits))
        log_p = [log_probabilities(model, array).astype(dtype) for model, array in zip(self.models, logits, strict=True)]
        weights = np.ones(len(log_p)) if self.weights is None else np.array(self.weights, np.float64)
        if self.average != "fusion":
            weights = weights / weights.sum()
        counting = [(array, weight) for array, weight in zip(log_p, weights.tolist(), strict=True) if weight]
        if self.average == "probability":
            shifted = jnp.stack([array + np.log(weight).astype(dtype) for array, weight in counting])  # [n, ..., V]
            return jax.nn.logsumexp(shifted, axis=0)
        never = functools.reduce(jnp.logical_or, [array == -jnp.inf for array, _ in counting])
        scores = jnp.where(never, -jnp.inf, sum(array * np.asarray(weight, dtype) for array, weight in counting))
        return scores if self.average == "fusion" else log_softmax(scores)


def _alike(arrays: Sequence[Array]) -> list[Array]:
    """The arrays [B, S] with as many places as the first."""
    return [array for array in arrays if array.shape == arrays[0].shape]
