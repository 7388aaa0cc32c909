"""The result of a search, the checks of a decoder's start and step, and options that may be traced."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.checks import is_traced, kind_of, shown
from seqjax.contracts import AttendingDecoder, Decoder
from seqjax.errors import InputError
from seqjax.serial import register
from seqjax.tree import form
from seqjax.types import Array, State

_SHORTEST = 32  # steps of the shortest buffer


@register
class Decoded(NamedTuple):
    """Symbols chosen by a search: one output for each row of the batch, or N, from `beam` best first.

    Args:
        tokens: int32, [B, L] or [B, N, L]: the symbols emitted, the end symbol included; 0 from `lengths` on.
            The prompt is not repeated.
        lengths: int32, [B] or [B, N]: symbols emitted, the end symbol included; 0 for a missing hypothesis.
        scores: floating, [B] or [B, N]: log-probability of those symbols under the decoder's own distribution, in nats
            (temperature, filters and constraints change the choice, not the score); from `beam` with its penalties.
            -inf for a missing hypothesis, and where no symbol was possible; NaN where the decoder gave NaN. In both cases the
            output holds the symbols before that (from `beam`, in the first hypothesis).
    """

    tokens: Array
    lengths: Array
    scores: Array


def attending(model: Decoder, option: str) -> AttendingDecoder:
    """The model, as a decoder that attends.

    Args:
        model: a decoder.
        option: the option that needs attention, named in the error.

    Raises:
        InputError: the model has no attention.
    """
    if not getattr(model, "attends", False):
        kind = type(model).__name__
        raise InputError(f"{option} needs attention weights, and this {kind} has none: give a model with attention")
    return cast(AttendingDecoder, model)


def started(model: Decoder, params: Any, batch: Any) -> tuple[Any, State, Array]:
    """(memory, state, token) from the model's `start`, checked.

    Raises:
        InputError: a model that cannot be hashed, or a token or state of a form other than `Decoder` describes.
    """
    kind = type(model).__name__
    if isinstance(model, type) or not (hasattr(model, "start") and hasattr(model, "step")):
        raise InputError(f"the model is {kind_of(model)}, it must be a decoder, with start and step")
    try:
        hash(model)
    except TypeError:
        raise InputError(f"this {kind} cannot be hashed, which a decoder must be: make it a frozen dataclass") from None
    parts = model.start(params, batch)
    if not isinstance(parts, tuple) or len(parts) != 3:
        raise InputError(f"{kind}.start returns a {type(parts).__name__}, it must return a tuple (memory, state, token)")
    memory, state, token = parts
    if not hasattr(token, "dtype") or not jnp.issubdtype(token.dtype, jnp.integer) or token.ndim != 1:
        raise InputError(f"{kind}.start returns the token {form(token)}, it must be integers [B], one for each row")
    rows = token.shape[0]
    if any(np.shape(leaf)[:1] != (rows,) for leaf in jax.tree.leaves(state)):
        leaves = jax.tree.leaves_with_path(state)  # costs more, so only for the message
        path, leaf = next((path, leaf) for path, leaf in leaves if np.shape(leaf)[:1] != (rows,))
        name = f"state{jax.tree_util.keystr(path)}"
        raise InputError(f"{kind}.start returns {name} {form(leaf)}, with {rows} rows it must be [{rows}, ...]")
    return memory, state, token


def step_form(model: Decoder, params: Any, memory: Any, state: State, token: Array, attends: bool = False) -> tuple:
    """The shapes and dtypes of a step's (logits, attention weights, which are None unless `attends`); nothing is computed.

    Raises:
        InputError: logits that are not [B, V], a state of another form than the one before, weights that are not [B, S], or
            `attended` that is not bool [B, S].
    """
    kind, rows, method = type(model).__name__, token.shape[0], "attend" if attends else "step"
    parts = jax.eval_shape(getattr(model, method), params, memory, state, token)
    if not isinstance(parts, tuple) or len(parts) != 2 + attends:
        right = "(state, logits, weights)" if attends else "(state, logits)"
        raise InputError(f"{kind}.{method} returns a {type(parts).__name__}, it must return a tuple {right}")
    after, logits, *rest = parts
    if not hasattr(logits, "shape") or logits.ndim != 2 or logits.shape[0] != rows:
        raise InputError(f"{kind}.{method} returns logits {form(logits)}, with {rows} rows they must be [{rows}, V]")
    if jax.tree.structure(after) != jax.tree.structure(state):
        raise InputError(f"{kind}.{method} returns a state of another structure than it was given: they must be alike")
    for (path, new), old in zip(jax.tree.leaves_with_path(after), jax.tree.leaves(state), strict=True):
        if new.shape != np.shape(old) or new.dtype != jnp.result_type(old):
            name = f"state{jax.tree_util.keystr(path)}"
            raise InputError(f"{kind}.{method} returns {name} {form(new)}, it was given {form(old)}: they must be alike")
    if not rest:
        return logits, None
    [weights], attended = rest, jax.eval_shape(cast(AttendingDecoder, model).attended, memory)
    if weights.ndim != 2 or weights.shape[0] != rows:
        raise InputError(f"{kind}.attend returns weights {form(weights)}, with {rows} rows they must be [{rows}, S]")
    if attended.shape != weights.shape or attended.dtype != jnp.bool_:
        raise InputError(f"{kind}.attended returns {form(attended)}, for these weights it must be bool {list(weights.shape)}")
    return logits, weights


def host_array(value: Any, dtype: Any) -> Any:
    """A NumPy array for a compiled function: making the array on the device would cost as much as several steps."""
    return np.asarray(value, dtype)


def known(**options: Any) -> dict[str, Any]:
    """The options whose values are known, as Python's numbers, to be checked; a traced one is left out.

    Raises:
        InputError: an option that is not a number, such as an array of several or a list of one.
    """
    values = {}
    for name, value in options.items():
        if isinstance(value, bool | int | float) and not isinstance(value, np.generic):  # np.float64 is a float
            values[name] = value
            continue
        if getattr(value, "ndim", 0) or isinstance(value, list | tuple):
            raise InputError(f"{name} is {shown(value)}, it must be one number")
        dtype = jnp.result_type(value) if is_traced(value) else np.asarray(value).dtype
        if not (jnp.issubdtype(dtype, jnp.number) or dtype == np.bool_):
            raise InputError(f"{name} is {value!r}, it must be a number")
        if not is_traced(value):
            values[name] = np.asarray(value).item()
    return values


def scalar(value: Any, dtype: Any) -> Any:
    """A number or a traced scalar as an array of a dtype."""
    return value.astype(dtype) if is_traced(value) else host_array(value, dtype)


def buffered(length: int) -> int:
    """The steps of a buffer for outputs of `length` symbols: a power of two, so that another length compiles nothing."""
    return max(_SHORTEST, 1 << (int(length) - 1).bit_length())


def size_marker(symbols: int) -> Array:
    """An empty array, [V, 0]: its shape carries the vocabulary's size out of jit, and costs nothing."""
    return jnp.zeros((symbols, 0), bool)


def is_among(symbol: Array, symbols: Array) -> Array:
    """True where a symbol is one of [E] symbols."""
    symbols = jnp.asarray(symbols)
    is_one = jnp.zeros(symbol.shape, bool)
    for number in range(symbols.shape[0]):
        is_one |= symbol == symbols[number]
    return is_one
