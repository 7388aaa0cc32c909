"""Log-probabilities of given outputs under a decoder, and the attention weights of the steps that emit them."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from seqjax.annotations import public
from seqjax.checks import as_array, check_symbols, check_values, concrete
from seqjax.contracts import AttendingDecoder, Decoder
from seqjax.decode.decoder import attending, size_marker, started, step_form
from seqjax.decode.probabilities import compensated_sum, log_probabilities
from seqjax.errors import InputError
from seqjax.placement import automatic
from seqjax.serial import register
from seqjax.types import Array


@register
class Scored(NamedTuple):
    """Log-probabilities of given outputs, in nats.

    Args:
        scores: floating, [B] or [B, N], of each output; 0 for an empty one, -inf for an impossible one, NaN where the decoder
            gave NaN.
        symbols: floating, [B, L] or [B, N, L], of each symbol given those before; 0 from the lengths on.
    """

    scores: Array
    symbols: Array


@public
def score(model: Decoder, params: Any, batch: dict, tokens: ArrayLike, lengths: ArrayLike) -> Scored:
    """The log-probability of given outputs: sum_t log p(y_t | y_1..y_{t-1}, batch).

    Outputs of a search get the scores that the search returned (for `beam`, without its penalties).

    Args:
        model: a decoder (`seqjax.contracts.Decoder`).
        params: the model's parameters.
        batch: read by the model's `start`.
        tokens: integer, [B, L], or [B, N, L]: N outputs for each row; the end symbol included where there is one.
        lengths: integer, [B] or [B, N]: the number of real symbols, 0 to L.

    Returns:
        Scored: the log-probability of each output, and of each of its symbols.

    Raises:
        InputError: tokens or lengths of a wrong shape or dtype or out of their range, or the model's own errors.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=5, cell=GRU(input_size=5, hidden_size=8))
        >>> prompt = {"tokens": jnp.array([[1, 2]]), "tokens_lengths": jnp.array([2])}
        >>> scored = score(model, model.init(jax.random.key(0)), prompt, jnp.array([[3, 1, 0]]), jnp.array([2]))
        >>> scored.symbols.shape, float(scored.symbols[0, 2])
        ((1, 3), 0.0)
    """
    log_p = _read_all(model, _log_p, params, batch, tokens, lengths)
    return Scored(automatic(compensated_sum, log_p, rows=log_p), log_p)


@public
def attention(model: AttendingDecoder, params: Any, batch: dict, tokens: ArrayLike, lengths: ArrayLike) -> Array:
    """Attention weights of the steps in which a decoder emits given outputs.

    Args:
        model: a decoder that attends (`seqjax.contracts.AttendingDecoder`).
        params: the model's parameters.
        batch: read by the model's `start`.
        tokens: integer, [B, L] or [B, N, L]: outputs.
        lengths: integer, [B] or [B, N]: real symbols.

    Returns:
        Floating, [B, L, S] or [B, N, L, S]: the weights of the step that emits each symbol; 0 from the lengths on.

    Raises:
        InputError: a model without attention, or any error of `score`.

    Example:
        >>> from seqjax.attention.attentive import Attentive
        >>> from seqjax.attention.scores import Dot
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models import Seq2Seq, Symbols
        >>> gru, dot = GRU(input_size=3, hidden_size=4), Dot(query_size=4, memory_size=4)
        >>> encoder, decoder = Symbols(size=7, embedding_size=3, cell=gru), Attentive(cell=gru, attention=dot, output_size=4)
        >>> model = Seq2Seq(encoder=encoder, target_size=8, embedding_size=3, decoder=decoder, start_symbol=1)
        >>> batch = {"source": jnp.array([[4, 2, 3, 1, 5]]), "source_lengths": jnp.array([5])}
        >>> attention(model, model.init(jax.random.key(0)), batch, jnp.array([[3, 1]]), jnp.array([2])).shape
        (1, 2, 5)
    """
    return _read_all(attending(model, "attention of given outputs"), _weights, params, batch, tokens, lengths)


def _log_p(model, params, memory, state, before: Array, symbol: Array) -> tuple[Any, Array]:
    state, logits = model.step(params, memory, state, before)
    log_p = log_probabilities(model, logits)
    return state, jnp.take_along_axis(log_p, symbol[:, None], axis=1, mode="fill", fill_value=-jnp.inf)[:, 0]


def _weights(model, params, memory, state, before: Array, symbol: Array) -> tuple[Any, Array]:
    state, _, weights = model.attend(params, memory, state, before)
    return state, weights


def _read_all(model, value_of, params, batch: dict, tokens: ArrayLike, lengths: ArrayLike) -> Array:
    """The values of the steps that emit the tokens, 0 from the lengths on: [B, L, ...], or [B, N, L, ...].

    Args:
        value_of: (model, params, memory, state, symbol before [B], symbol [B]) -> (state, value [B, ...]).
        tokens: [B, L] or [B, N, L].
        lengths: [B] or [B, N].
    """
    tokens, lengths = jnp.asarray(as_array("tokens", tokens)), jnp.asarray(as_array("lengths", lengths))
    for name, array in (("tokens", tokens), ("lengths", lengths)):
        if not jnp.issubdtype(array.dtype, jnp.integer):
            raise InputError(f"{name} has dtype {array.dtype}, it must be integers")
    if tokens.ndim not in (2, 3) or lengths.shape != tokens.shape[:-1]:
        shapes = f"tokens has shape {tokens.shape}, lengths {lengths.shape}"
        raise InputError(f"{shapes}: give [B, L] and [B], or [B, N, L] and [B, N]")
    places = tokens.shape[-1]
    check_values("lengths", lengths, f"0 to {places}, the places of tokens", lambda known: (known >= 0) & (known <= places))
    memory, state, token = started(model, params, batch)
    if token.shape[0] != tokens.shape[0]:
        raise InputError(f"tokens has {tokens.shape[0]} rows, the batch {token.shape[0]}: the numbers must be equal")
    outputs = tokens if tokens.ndim == 3 else tokens[:, None]  # [B, N, L]
    arguments = (params, memory, state, token, outputs, lengths.reshape(outputs.shape[:2]))
    values, marker = automatic(functools.partial(_teach, model, value_of), *arguments, rows=(state, token))
    symbols, counts = concrete(tokens), concrete(lengths)
    if symbols is not None and counts is not None:
        check_symbols(marker.shape[0], tokens=symbols[np.arange(places) < counts[..., None]])
    return values if tokens.ndim == 3 else values[:, 0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _teach(model, value_of, params, memory, state, token, tokens: Array, lengths: Array) -> tuple[Array, Array]:
    """Read tokens [B, N, L] by teacher forcing: (values [B, N, L, ...], `size_marker` of the vocabulary)."""
    rows, outputs, steps = tokens.shape
    logits, _ = step_form(model, params, memory, state, token, attends=value_of is _weights)
    symbols = tokens.astype(jnp.int32).transpose(2, 1, 0)  # [L, N, B]
    first = jnp.broadcast_to(token.astype(jnp.int32), (min(steps, 1), outputs, rows))  # [1, N, B]
    # leaves [N, B, ...]
    state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (outputs, *leaf.shape)), state)

    def read(state, symbols):
        before, symbol = symbols

        one = functools.partial(value_of, model, params, memory)
        return jax.vmap(one)(state, before, symbol)

    _, values = jax.lax.scan(read, state, (jnp.concatenate((first, symbols[:-1])), symbols))  # [L, N, B, ...]
    values = jnp.moveaxis(values, (0, 1, 2), (2, 1, 0))  # [B, N, L, ...]
    is_real = jax.lax.broadcasted_iota(jnp.int32, tokens.shape, 2) < lengths.astype(jnp.int32)[..., None]
    return jnp.where(is_real.reshape(*is_real.shape, *[1] * (values.ndim - 3)), values, 0), size_marker(logits.shape[-1])
