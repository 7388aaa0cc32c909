"""The laws of decoders, and `check_decoder` that holds a decoder to all of them."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.contracts import Decoder
from seqjax.decode.decoder import started, step_form
from seqjax.errors import InputError
from seqjax.testing.comparison import close, require
from seqjax.types import Array, State, is_floating

STEPS = 3
TOLERANCE = 1e-5


class _Pass(NamedTuple):
    """A start and STEPS steps, as NumPy arrays."""

    memory: Any
    states: list[State]  # before the first step, and after every step
    tokens: np.ndarray  # [STEPS, B], the symbols that the steps read
    logits: np.ndarray  # [STEPS, B, V]
    weights: np.ndarray | None  # [STEPS, B, S]


class _Case:
    """A decoder with its parameters and a batch, and its steps compiled once for each shape."""

    def __init__(self, decoder, params, batch: dict, never: tuple[int, ...], whole: Callable | None):
        self.decoder, self.params, self.batch, self.never, self.whole = decoder, params, batch, never, whole
        self.step = jax.jit(decoder.attend if decoder.attends else decoder.step)
        self.base = self.run(batch)

    def run(self, batch: dict, tokens: np.ndarray | None = None) -> _Pass:
        """Steps through a batch, reading `tokens` [STEPS, B]; None: row b reads its b-th likeliest symbol, cyclically."""
        memory, state, token = self.decoder.start(self.params, batch)
        states, symbols, logits, weights = [state], [], [], []
        for step in range(STEPS):
            token = token if tokens is None else jnp.asarray(tokens[step])
            symbols.append(np.asarray(token))
            state, scores, *rest = self.step(self.params, memory, state, token)
            states.append(state)
            logits.append(np.asarray(scores))
            weights += map(np.asarray, rest)
            order = np.argsort(-logits[-1], axis=1, kind="stable")[:, : max(np.isfinite(logits[-1]).sum(axis=1).min(), 1)]
            choice = np.arange(len(order)) % order.shape[1]
            token = jnp.asarray(order[np.arange(len(order)), choice], symbols[0].dtype)
        return _Pass(memory, states, np.stack(symbols), np.stack(logits), np.stack(weights) if weights else None)


def check_decoder(
    decoder: Decoder,
    params: Any,
    batch: dict,
    *,
    never: tuple[int, ...] = (),
    whole: Callable[[Any, dict, Array], Array] | None = None,
) -> None:
    """Checks a decoder against every law that a search relies on.

    The decoder is a hashable value; start and step have the shapes and dtypes of `Decoder`, and the state keeps its own; logits
    are never NaN, and -inf for symbols that are never emitted; rows do not see each other; padding reaches nothing, NaN
    included; beams over one memory equal each alone; attention weights are 0 at padding; steps equal one pass.

    Args:
        decoder: anything with `attends`, `start` and `step`; with `attend` and `attended` if it attends.
        params: its parameters.
        batch: a dict of arrays with at least 2 rows. For every name with a name_lengths, [B], places beyond the
            length are padding.
        never: symbols that it never emits.
        whole: (params, batch, tokens [B, L]) to the logits [B, L, V] after reading each of these tokens in one pass; the first
            is the token from `start`. None: not compared.

    Raises:
        AssertionError: the first law that is broken, by name, with the values compared.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=5, cell=GRU(input_size=5, hidden_size=4), start_symbol=1)
        >>> batch = {"tokens": jnp.array([[2, 3], [4, 0]]), "tokens_lengths": jnp.array([2, 1])}
        >>> check_decoder(model, model.init(jax.random.key(0)), batch, never=(1,))
    """
    twin = copy.deepcopy(decoder)
    require(twin == decoder and hash(twin) == hash(decoder), "value", "a copy is not equal to the decoder, or hashes differently")
    with jax.default_matmul_precision("highest"):
        law_shapes(decoder, params, batch)
        case = _Case(decoder, params, batch, never, whole)
        for law in _LAWS:
            law(case)


def law_shapes(decoder: Decoder, params: Any, batch: dict):
    """Tokens are integers [B], state leaves [B, ...], logits [B, V], float32 or wider; the state keeps its form."""
    rows = jax.tree.leaves(batch)[0].shape[0]
    require(rows > 1, "shapes", f"the batch has {rows} rows, give at least 2")
    require(isinstance(getattr(decoder, "attends", None), bool), "shapes", "attends must be True or False")
    try:
        memory, state, token = started(decoder, params, batch)
        logits, _ = step_form(decoder, params, memory, state, token)
        if decoder.attends:
            step_form(decoder, params, memory, state, token, attends=True)
    except InputError as error:
        raise AssertionError(f"shapes: {error}") from None
    require(token.shape == (rows,), "shapes", f"the first token is {list(token.shape)}, it must be [{rows}]")
    wide = is_floating(logits) and jnp.finfo(logits.dtype).bits >= 32
    require(wide, "shapes", f"logits are {logits.dtype}, they must be float32 or wider")


def law_logits(case: _Case):
    """Logits are numbers or -inf, a number for at least one symbol; -inf for symbols that are never emitted."""
    logits = case.base.logits
    require(not np.isnan(logits).any() and not np.isposinf(logits).any(), "logits", "some are NaN or +inf")
    require(bool(np.isfinite(logits).any(axis=2).all()), "logits", "no symbol is possible in some row")
    for symbol in case.never:
        require(bool(np.isneginf(logits[..., symbol]).all()), "logits", f"symbol {symbol} is never emitted, it must have -inf")


def law_rows(case: _Case):
    """A row alone has the logits that it has in the batch."""
    rows = case.base.tokens.shape[1]
    for row in (0, rows - 1):
        alone = case.run(jax.tree.map(lambda a, row=row: a[row : row + 1], case.batch), case.base.tokens[:, row : row + 1])
        _same(alone.logits[:, 0], case.base.logits[:, row], f"rows: row {row} alone")


def law_padding(case: _Case):
    """Values beyond the lengths, NaN or other symbols, reach no logit."""
    batch = dict(case.batch)
    for name in case.batch:
        if f"{name}_lengths" in case.batch:
            array, lengths = np.array(case.batch[name]), np.asarray(case.batch[f"{name}_lengths"])
            flat = array.reshape(len(array), -1, *array.shape[(2 if array.ndim < 4 else 3) :])  # a grid's places in one axis
            beyond = np.arange(flat.shape[1]) >= lengths[:, None]
            flat[beyond] = np.nan if is_floating(array) else flat.max()
            batch[name] = jnp.asarray(flat.reshape(array.shape))
    filled = case.run(batch, case.base.tokens)
    _same(filled.logits, case.base.logits, "padding: logits where padding holds NaN or another symbol")


def law_beams(case: _Case):
    """Beams that share a memory, stepped under vmap over state and token, equal each beam alone."""
    memory, states, tokens = case.base.memory, case.base.states, case.base.tokens
    beams = [(states[0], tokens[0]), (states[1], tokens[1]), (states[2], tokens[2])]
    state, token = jax.tree.map(lambda *leaves: jnp.stack(leaves), *beams)
    _, logits = jax.jit(jax.vmap(case.decoder.step, in_axes=(None, None, 0, 0)))(case.params, memory, state, token)
    _same(np.asarray(logits), case.base.logits, "beams: logits of a step over several beams")


def law_attention(case: _Case):
    """Weights are at least 0, sum to at most 1, and are 0 at places that are not attended to."""
    weights = case.base.weights
    if weights is None:
        return
    attended = np.asarray(case.decoder.attended(case.base.memory))
    shape = weights.shape[1:]
    require(attended.dtype == np.bool_, "attention", f"attended is {attended.dtype}, it must be bool")
    require(attended.shape == shape, "attention", f"attended is {list(attended.shape)}, weights are {list(shape)}")
    sums = weights.sum(axis=-1)
    require(bool((weights >= 0).all() and (sums <= 1 + 1e-5).all()), "attention", "weights are negative, or sum to more than 1")
    require(not weights[:, ~attended].any(), "attention", "weights are above 0 at places that are not attended to")


def law_whole(case: _Case):
    """Steps after start equal one pass over the same symbols."""
    if case.whole is None:
        return
    logits = np.array(case.whole(case.params, case.batch, jnp.asarray(case.base.tokens.T))).swapaxes(0, 1)
    logits[..., list(case.never)] = -np.inf
    _same(case.base.logits, logits, "whole: steps against one pass")


def _same(actual: np.ndarray, expected: np.ndarray, law: str):
    """Raise unless the same logits are -inf, and the others are close."""
    impossible = np.isneginf(expected)
    require(bool((np.isneginf(actual) == impossible).all()), law, "other symbols have -inf")
    close(np.where(impossible, 0, actual), np.where(impossible, 0, expected), TOLERANCE, law)


_LAWS = (law_logits, law_rows, law_padding, law_beams, law_attention, law_whole)
