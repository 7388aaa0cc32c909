"""Several decoders as one."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from seqjax.errors import InputError
from seqjax.types import Array, Key, State, at_least_float32
from seqjax.weighted import Weighted

_AVERAGES = ("probability", "log")


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """A decoder whose distribution is the mean of its members'.

        "probability": p(y) = 1/n sum_i p_i(y);    "log": p(y) = prod_i p_i(y)^(1/n) / Z

    Its parameters are a tuple of the members'. The members may be of different kinds; they share a vocabulary and read the
    same batch.

    Args:
        models: decoders (`seqjax.contracts.Decoder`).
        average: "probability"; or "log", where a symbol that is impossible for one member is impossible.

    Raises:
        InputError: no models, or an unknown average; in use, members that do not fit together.

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

    models: tuple[Any, ...]
    average: str = "probability"

    def __post_init__(self):
        if not isinstance(self.models, tuple) or not self.models:
            raise InputError(f"models is {self.models!r}, it must be a tuple of at least one decoder")
        if self.average not in _AVERAGES:
            raise InputError(f"average is {self.average!r}, it must be one of {', '.join(map(repr, _AVERAGES))}")

    @property
    def attends(self) -> bool:
        """True where any member has attention."""
        return any(model.attends for model in self.models)

    def start(self, params: tuple, batch: dict) -> tuple[tuple, tuple, Array]:
        """Start every member; all must begin with the same symbols.

        Args:
            params: a tuple, one for each member.
            batch: read by every member.

        Returns:
            (memory, state, token): tuples of the members' memories and states; token int32 [B].

        Raises:
            InputError: params that are not a tuple of one entry for each member, or first symbols that differ.
        """
        if not isinstance(params, tuple) or len(params) != len(self.models):
            kind = f"a tuple of {len(params)}" if isinstance(params, tuple) else f"a {type(params).__name__}"
            raise InputError(f"an ensemble of {len(self.models)} models was given {kind}: give a tuple with each model's params")
        starts = [model.start(member, batch) for model, member in zip(self.models, params, strict=True)]
        memories, states, tokens = zip(*starts, strict=True)
        if not any(isinstance(token, jax.core.Tracer) for token in tokens):
            for i, token in enumerate(tokens):
                if not np.array_equal(token, tokens[0]):
                    raise InputError(f"models 0 and {i} begin with different symbols: give models with one target vocabulary")
        return memories, states, tokens[0]

    def step(self, params: tuple, memory: tuple, state: tuple, token: Array) -> tuple[State, Array]:
        """Read a symbol into every member: token [B] to (state, log-probabilities [B, V]).

        Raises:
            InputError: vocabularies of different sizes.
        """
        members = zip(self.models, params, memory, state, strict=True)
        states, logits = zip(*(model.step(*parts, token) for model, *parts in members), strict=True)
        return states, self._average(logits)

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
        return states, self._average(logits)

    def figures(self, outputs: Array, batch: dict) -> dict[str, Weighted]:
        """The figures of the log-probabilities, computed by the first member, so that `evaluate` takes an ensemble."""
        return self.models[0].figures(outputs, batch)

    def _average(self, logits: Sequence[Array]) -> Array:
        """The log-probabilities [..., V] of the members' logits, each [..., V]."""
        sizes = [array.shape[-1] for array in logits]
        if len(set(sizes)) > 1:
            raise InputError(f"the models of an ensemble have vocabularies of {sizes} symbols: they must be equal")
        dtype = at_least_float32(jnp.result_type(*logits))
        log_p = jnp.stack([jax.nn.log_softmax(array.astype(dtype)) for array in logits])  # [n, ..., V]
        if self.average == "probability":
            return jax.nn.logsumexp(log_p, axis=0) - np.log(len(self.models)).astype(dtype)
        return jax.nn.log_softmax(log_p.mean(axis=0))

    def weights(self, state: tuple) -> Array:
        """The mean of the attention weights of the members that attend, [B, S].

        Raises:
            InputError: no member has attention.
        """
        return jnp.stack([model.weights(member) for model, member in self._attending(state)]).mean(axis=0)

    def attended(self, memory: tuple) -> Array:
        """The positions that any member attends to, bool [B, S].

        Raises:
            InputError: no member has attention.
        """
        return functools.reduce(jnp.logical_or, [model.attended(member) for model, member in self._attending(memory)])

    def _attending(self, members: tuple) -> list[tuple[Any, Any]]:
        """The members that attend, each with its part of a state or a memory."""
        attending = [(model, member) for model, member in zip(self.models, members, strict=True) if model.attends]
        if not attending:
            raise InputError("no model of this ensemble has attention: there are no weights and no positions to attend to")
        return attending
