"""A recurrent language model: the distribution of the next symbol."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from seqjax.checks import check_array, check_choice, check_classes, check_rate, check_size, check_weights, concrete
from seqjax.compose import Dropout, Stack
from seqjax.contracts import Cell, Model, check_cell_field
from seqjax.errors import InputError
from seqjax.initializers import uniform_like
from seqjax.losses import Weighted, cross_entropy
from seqjax.parameters import model_method
from seqjax.placement import varying_as
from seqjax.recurrence.engine import unroll
from seqjax.serial import register
from seqjax.symbols.checks import check_sequences, check_tied
from seqjax.symbols.decoder import SymbolDecoder
from seqjax.symbols.readout import check_emitted
from seqjax.types import Array, Key, Params, State

PIECE = 4096  # symbols of a prompt that are read at once


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageModel(Model):
    """A language model: an embedding or one-hot symbols, a cell, and a projection to the vocabulary.

        e_t = E[x_t];  h_t = cell(h_{t-1}, e_t);  p(x_{t+1} | x_1..x_t) = softmax(W h_t + b)

    It is also a decoder (`seqjax.decode`): `start` reads prompts, `step` one symbol. A prompt is read as the beginning of a
    document: as in training, after the start symbol, if there is one.

    Args:
        vocabulary_size: V.
        cell: any cell, usually a Stack; it reads embedding_size features, or V without an embedding.
        embedding_size: E; None: the cell reads one-hot symbols.
        tied: whether W is the embedding transposed; the cell's output size must then be E.
        dropout: rate on the embedding and on the cell's output (a Stack sets the dropout inside it).
        per: one dropout mask for each "step", or one for the "sequence".
        start_symbol: the symbol that begins every document; it is never emitted. None: documents begin without one.
        forbidden: further symbols that are never emitted, such as padding.
        init_scale: None: the parts' own initialisation; s: every parameter from U(-s, s).

    Raises:
        InputError: sizes or symbols that do not fit together.

    Example:
        >>> from seqjax.cells.lstm import LSTM
        >>> model = LanguageModel(vocabulary_size=5, cell=LSTM(input_size=5, hidden_size=8))
        >>> params = model.init(jax.random.key(0))
        >>> batch = {"tokens": jnp.array([[1, 2, 3]]), "target": jnp.array([[2, 3, 4]])}
        >>> state, logits = model.apply(params, batch)
        >>> logits.shape, float(model.loss(logits, batch).weight)
        ((1, 3, 5), 3.0)

    Mikolov et al. 2010 (recurrent language models); Press, Wolf 2017 (tied embeddings).
    """

    unit: ClassVar[str] = "token"
    vocabulary_sizes = property(lambda self: (self.vocabulary_size,))

    vocabulary_size: int
    cell: Cell
    embedding_size: int | None = None
    tied: bool = False
    dropout: float = 0.0
    per: str = "step"
    start_symbol: int | None = None
    forbidden: tuple[int, ...] = ()
    init_scale: float | None = None

    def __post_init__(self):
        check_size(self, vocabulary_size=self.vocabulary_size)
        check_cell_field(self, self.cell)
        check_rate(self, dropout=self.dropout)
        check_choice(self, ("step", "sequence"), per=self.per)
        if self.init_scale is not None:
            check_weights(init_scale=self.init_scale)
        if self.embedding_size is not None:
            check_size(self, embedding_size=self.embedding_size)
        features = self.vocabulary_size if self.embedding_size is None else self.embedding_size
        source = "one-hot symbols (vocabulary_size)" if self.embedding_size is None else "the embedding (embedding_size)"
        if self.cell.input_shape not in (None, (features,)):
            raise InputError(f"the cell reads {self.cell.input_shape}, {source} has {features} features: they must be equal")
        if self.tied and self.embedding_size is None:
            raise InputError("tied=True needs an embedding: give embedding_size")
        if self.tied:
            check_tied(self.embedding_size, self.output_size, of="cell")
        check_emitted(self.vocabulary_size, self._silent)

    @functools.cached_property
    def network(self) -> Cell:
        """The cell between its two dropouts."""
        if not self.dropout:
            return self.cell
        before = () if self.embedding_size is None else (Dropout(self.dropout, per=self.per),)
        return Stack((*before, self.cell, Dropout(self.dropout, per=self.per)))

    @functools.cached_property
    def output_size(self) -> int:
        """Features of the cell's output."""
        features = self.vocabulary_size if self.embedding_size is None else self.embedding_size

        def output(key):
            params = self.cell.init(key)
            return self.cell.step(params, self.cell.initial_state(params), jnp.zeros(features))[1]

        return jax.eval_shape(output, jax.random.key(0)).shape[-1]

    @property
    def _silent(self) -> tuple[int, ...]:
        return self.forbidden if self.start_symbol is None else (self.start_symbol, *self.forbidden)

    @functools.cached_property
    def _symbols(self) -> SymbolDecoder:
        return SymbolDecoder(
            size=self.vocabulary_size,
            cell=self.network,
            embedding_size=self.embedding_size,
            output_size=self.output_size,
            tied=self.tied,
            silent=self._silent,
        )

    @property
    def attends(self) -> bool:
        """False: it has no attention."""
        return False

    def init(self, key: Key) -> Params:
        """`cell`: the network's; `projection`: `kernel` [H, V] (absent if tied) and `bias` [V]; `embedding` [V, E]."""
        k_cell, k_embedding, k_projection, k_scale = jax.random.split(key, 4)
        params = self._symbols.init(k_cell, k_embedding, k_projection)
        return params if self.init_scale is None else uniform_like(params, k_scale, self.init_scale)

    @model_method
    def initial_state(self, params: Params, batch_size: int) -> State:
        """The cell's initial state, leaves [B, ...]; any noise is off."""
        return self.network.initial_state(params["cell"], (batch_size,))

    @model_method
    def apply(self, params: Params, batch: dict, *, state: State = None, key: Key | None = None) -> tuple[State, Array]:
        """Logits of the symbol that follows each symbol read.

        Args:
            params: from `init`.
            batch: "tokens", integer [B, T]; optionally "reset", bool [B, T], True where a new document begins.
            state: carried from the batch before; None: the initial state.
            key: feeds dropout; None: deterministic.

        Returns:
            (state, logits), logits [B, T, V], float32 or wider.
        """
        tokens = jnp.asarray(check_array("tokens", batch["tokens"], "integer", "B", "T"))
        check_classes("tokens", tokens, self.vocabulary_size)
        cell_params, xs = self._symbols.inputs(params, tokens)
        state, hs = unroll(self.network, cell_params, xs, state, reset=batch.get("reset"), key=key)
        return state, self._symbols.logits(params, hs)

    @model_method
    def loss(self, outputs: Array, batch: dict) -> Weighted:
        """Cross-entropy in nats against "target", integer [B, T], where "target_mask" is True (without a mask, everywhere)."""
        return cross_entropy(outputs, batch["target"], batch.get("target_mask"))

    @model_method
    def start(self, params: Params, batch: dict) -> tuple[tuple, State, Array]:
        """Read all but the last symbol of each prompt.

        Args:
            params: from `init`.
            batch: "tokens", integer [B, T]; "tokens_lengths", integer [B], 0 <= length <= T (length 0: the start symbol alone).

        Returns:
            (memory, state, token): memory is the cell's projection of every symbol, leaves [V, ...], which `step` looks up,
            or () if `step` projects; token is the last symbol of each prompt, int32 [B].

        Raises:
            InputError: a wrong shape or dtype, or an empty prompt where the vocabulary has no start symbol.
        """
        tokens, lengths = check_sequences(batch, "tokens", self.vocabulary_size, called="prompts")
        known = concrete(lengths)
        if self.start_symbol is None and known is not None and (known < 1).any():
            raise InputError("a prompt is empty and the vocabulary has no start symbol: give at least one symbol")
        return _read(self, params, tokens, lengths)

    def step(self, params: Params, memory, state: State, token: Array) -> tuple[State, Array]:
        """Read one symbol of each row: token [B] to (state, logits [B, V]), -inf for symbols that are never emitted.

        Args:
            params: from `init`.
            memory: from `start`; () works too.
            state: leaves [B, ...].
            token: integer [B].

        Returns:
            (state, logits), logits float32 or wider.
        """
        state, h = self._symbols.advance(params, memory, state, token)
        return state, self._symbols.emit(params, h)


@functools.partial(jax.jit, static_argnums=0)
def _read(model: LanguageModel, params: Params, tokens: Array, lengths: Array) -> tuple[Any, State, Array]:
    tokens, lengths = tokens.astype(jnp.int32), lengths.astype(jnp.int32)
    if model.start_symbol is not None:
        tokens = jnp.pad(tokens, ((0, 0), (1, 0)), constant_values=model.start_symbol)
        lengths = lengths + 1
    before = jnp.maximum(lengths - 1, 0)
    token = jnp.take_along_axis(tokens, before[:, None], axis=1)[:, 0]
    state = _state_after(model, params, tokens[:, :-1], before)
    return model._symbols.look_up(params), state, token


def _state_after(model: LanguageModel, params: Params, tokens: Array, lengths: Array) -> State:
    """The state after the first `lengths` symbols [B] of tokens [B, T]; of the memory, only that for the symbols grows with T."""

    def read(state: State, part: tuple[Array, Array]) -> tuple[State, None]:
        tokens, lengths = part
        return unroll(model.network, *model._symbols.inputs(params, tokens), state, lengths=lengths)[0], None

    steps = tokens.shape[1]
    if not isinstance(steps, int) or steps <= PIECE:  # a symbolic number is not compared
        return read(None, (tokens, lengths))[0]
    pieces = -(-steps // PIECE)
    tokens = jnp.pad(tokens, ((0, 0), (0, pieces * PIECE - steps)))
    tokens = tokens.reshape(tokens.shape[0], pieces, PIECE).swapaxes(0, 1)  # [pieces, B, PIECE]
    left = jnp.clip(lengths[None] - PIECE * jnp.arange(pieces, dtype=lengths.dtype)[:, None], 0, PIECE)  # [pieces, B]
    first = varying_as(model.initial_state(params, tokens.shape[1]), tokens)
    return jax.lax.scan(read, first, (tokens, left))[0]
