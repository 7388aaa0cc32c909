"""A decoder of symbols, given a memory and a first state: the second half of an encoder-decoder."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax import masks
from seqjax.attention.attentive import Attentive
from seqjax.checks import check_array, check_choice, check_fractions, check_rate, check_size, check_weights
from seqjax.contracts import Cell, check_cell_field
from seqjax.errors import InputError
from seqjax.losses import Weighted, cross_entropy
from seqjax.parameters import model_method
from seqjax.recurrence.engine import unroll
from seqjax.serial import register
from seqjax.symbols.checks import check_reads, check_tied
from seqjax.symbols.decoder import SymbolDecoder
from seqjax.symbols.embedding import dropped
from seqjax.symbols.forced import sampled_inputs
from seqjax.symbols.readout import check_emitted
from seqjax.types import Array, Key, Params, State, at_least_float32
from seqjax.values import Value


@register
class Outputs(NamedTuple):
    """Outputs of a ConditionalDecoder or a Seq2Seq for a batch.

    Args:
        logits: [B, T, V], float32 or wider, of every target symbol.
        weights: attention weights, [B, T, S], in the dtype of the embedding; None without attention.
        training: 1.0 if a key was given, else 0.0; the loss is smoothed and penalised in training only.
    """

    logits: Array
    weights: Array | None
    training: Array


@register
class Recalled(NamedTuple):
    """The memory that a decoder reads at every step.

    Args:
        attended: the attention's memory; () without attention.
        symbols: the cell's projections of every symbol and of zeros, leaves [V + 1, ...]; () if `step` projects.
    """

    attended: Any
    symbols: Any


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class ConditionalDecoder(Value):
    """A decoder of symbols over any memory [B, S, M] and any first state, whatever they were made of.

        o_t = cell(h_{t-1}, E y_{t-1}, values);  p(y_t | y_1..y_{t-1}, values) = softmax(W o_t + b)

    It holds what every model that writes symbols needs: embedding and shift by the start symbol, scheduled sampling, tied
    projection, dropout, label smoothing, coverage loss, symbols that are never emitted. A model calls `prepare` and `apply` in
    training, and `prepare` and `start` in its own `start`; its `step` is this `step`. A `Seq2Seq` adds an encoder and a bridge.

    Args:
        size: V, symbols of the target vocabulary.
        embedding_size: E.
        cell: an Attentive cell, or any cell; without attention, all that it knows of the source is the first state.
        start_symbol: the symbol that it reads first; it is never emitted.
        end_symbol: the symbol that ends a target; None: targets have a fixed length.
        tied: whether W is the embedding transposed.
        dropout: rate on the embedding and on the cell's output (a Stack sets the dropout inside it).
        per: one dropout mask for each "step", or one for the "sequence" (variational).
        label_smoothing: of the loss in training, at least 0 and below 1.
        forbidden: further symbols that are never emitted, such as padding.
        sampling: whether "teacher_forcing" is decided for every "token" or for a whole "sequence".
        coverage_loss: weight of the penalty on attending twice, sum over s of min(a_s, sum of earlier a_s), in training.

    Raises:
        InputError: parts that do not fit together.

    Example:
        A captioner of images, whose regions are attended to:

        >>> from seqjax.attention.scores import Additive
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.decode import greedy
        >>> attention = Additive(query_size=4, memory_size=5, hidden_size=4)
        >>> cell = Attentive(cell=GRU(input_size=3, hidden_size=4), attention=attention, output_size=4)
        >>> @dataclasses.dataclass(frozen=True)
        ... class Captioner:
        ...     decoder: ConditionalDecoder
        ...     attends = True
        ...     def start(self, params, batch):
        ...         memory, state = self.decoder.prepare(params, batch["regions"], batch["real"])
        ...         return self.decoder.start(params, memory, state)
        ...     def step(self, params, memory, state, token):
        ...         return self.decoder.step(params, memory, state, token)
        >>> decoder = ConditionalDecoder(size=8, embedding_size=3, cell=cell, start_symbol=1, end_symbol=2)
        >>> image = {"regions": jnp.ones((1, 6, 5)), "real": jnp.ones((1, 6), bool)}
        >>> greedy(Captioner(decoder), decoder.init(jax.random.key(0)), image, max_length=7, end=2).tokens.shape
        (1, 7)

    Bahdanau, Cho, Bengio 2014; Bengio et al. 2015, arXiv:1506.03099 (scheduled sampling); See et al. 2017 (coverage loss).
    """

    size: int
    embedding_size: int
    cell: Cell
    start_symbol: int
    end_symbol: int | None = None
    tied: bool = False
    dropout: float = 0.0
    per: str = "step"
    label_smoothing: float = 0.0
    forbidden: tuple[int, ...] = ()
    sampling: str = "token"
    coverage_loss: float = 0.0

    def __post_init__(self):
        check_size(self, size=self.size, embedding_size=self.embedding_size)
        check_cell_field(self, self.cell)
        check_rate(self, dropout=self.dropout, label_smoothing=self.label_smoothing)
        check_choice(self, ("step", "sequence"), per=self.per)
        check_choice(self, ("token", "sequence"), sampling=self.sampling)
        check_reads(self.cell, self.embedding_size, "embedding_size", called="decoder")
        check_weights(coverage_loss=self.coverage_loss)
        if self.coverage_loss and not self.attends:
            raise InputError("coverage_loss needs a decoder with attention, such as an Attentive cell")
        ends = () if self.end_symbol is None else (self.end_symbol,)
        check_emitted(self.size, (self.start_symbol, *self.forbidden), *ends, vocabulary="target vocabulary")
        if self.tied:
            check_tied(self.embedding_size, self.shapes[1].shape[-1], of="decoder")

    @functools.cached_property
    def shapes(self) -> tuple[Any, Any]:
        """Shapes of (a state of the cell, without its attention; an output), for one row."""

        def decoded(key):
            params, memory = self.cell.init(key), None
            if isinstance(self.cell, Attentive):
                values = jnp.zeros((1, 1, self.cell.attention.memory_size))
                memory = self.cell.remember(params, values, jnp.ones((1, 1), jnp.bool_))
            first = self.cell.initial_state(params, (1,), context=memory)
            state, y = self.cell.step(params, first, jnp.zeros((1, self.embedding_size)), memory)
            return (state.cell, y.output) if self.attends else (state, y)

        return jax.eval_shape(decoded, jax.random.key(0))

    @functools.cached_property
    def _symbols(self) -> SymbolDecoder:
        return SymbolDecoder(
            size=self.size,
            cell=self.cell,
            embedding_size=self.embedding_size,
            output_size=self.shapes[1].shape[-1],
            tied=self.tied,
            silent=(self.start_symbol, *self.forbidden),
        )

    @property
    def attends(self) -> bool:
        """True if the cell has attention."""
        return isinstance(self.cell, Attentive)

    @property
    def places(self) -> int | None:
        """The most places that the attention can tell apart; None: any number."""
        return self.cell.attention.places if isinstance(self.cell, Attentive) else None

    def init(self, key: Key) -> Params:
        """`cell`, `embedding` [V, E] and `projection`: `kernel` [O, V] (absent if tied), `bias` [V]."""
        _, k_embedding, _, k_cell, _, k_projection = jax.random.split(key, 6)  # the others are for the rest of a model
        return self._symbols.init(k_cell, k_embedding, k_projection)

    @model_method
    def prepare(
        self, params: Params, values: Array, mask: Array, first: Callable[[State], State] | None = None
    ) -> tuple[Any, State]:
        """The memory that the decoder attends to, and its state before the first step.

        Args:
            params: from `init`.
            values: features of the places to attend to, [B, S, M]; without attention only B counts.
            mask: the real places, bool [B, S].
            first: a function of the cell's initial state, without its attention, that returns the first state, such as a
                bridge; None: it is the initial state.

        Returns:
            (memory, state): the attention's memory, () without attention; the cell's state, leaves [B, ...].

        Raises:
            InputError: values or a mask of a wrong shape.
        """
        if values.ndim != 3 or mask.shape != values.shape[:2]:
            shapes = f"values are {list(values.shape)} and their mask {list(mask.shape)}"
            raise InputError(f"{shapes}: give values [B, S, M] and a mask [B, S]")
        check_features(self.cell, "the values have", values.shape[2])
        cell_params, rows = params["cell"], values.shape[:1]
        first = first or (lambda state: state)
        if not isinstance(self.cell, Attentive):
            return (), first(self.cell.initial_state(cell_params, rows))
        memory = self.cell.remember(cell_params, values, mask)
        state = self.cell.initial_state(cell_params, rows, context=memory)
        return memory, state._replace(cell=first(state.cell))

    @model_method
    def apply(self, params: Params, batch: dict, memory: Any, state: State, *, key: Key | None = None) -> Outputs:
        """Logits of every target symbol, given the memory and the symbols before it.

        Args:
            params: from `init`.
            batch: "target", integer [B, T], without a start symbol and with the end symbol as its last; "target_lengths" [B], 0
                for a padding row; and optionally "teacher_forcing", float32 [B].
            memory, state: from `prepare`.
            key: feeds dropout and scheduled sampling; None: deterministic, and the true symbols are read.

        Returns:
            Outputs: logits [B, T, V], float32 or wider, and attention weights.
        """
        keys = [None] * 6 if key is None else jax.random.split(key, 6)
        _, k_target, k_output, _, k_cell, k_sampling = keys  # an encoder draws from the others
        (target, lengths), symbols = self._target(batch), self._symbols
        start = jnp.full((target.shape[0], 1), self.start_symbol, target.dtype)
        tokens = jnp.concatenate([start, target[:, :-1]], axis=1)  # [B, T]
        if "teacher_forcing" in batch:
            forcing = check_array("teacher_forcing", batch["teacher_forcing"], "floating", target.shape[0])
            check_fractions("teacher_forcing", forcing)
        if k_sampling is not None and "teacher_forcing" in batch:
            frozen = jax.lax.stop_gradient((params, memory, state))
            tokens = self.sampled(*frozen, tokens, jnp.asarray(forcing), k_sampling)
        dropout = {"dropout": self.dropout, "per": self.per, "key": k_target}
        context = memory if self.attends else None
        cell_params, xs = symbols.inputs(params, tokens, **dropout)
        _, ys = unroll(self.cell, cell_params, xs, state, lengths=lengths, context=context, key=k_cell)
        hs, weights = (ys.output, ys.weights) if self.attends else (ys, None)  # [B, T, O], [B, T, S]
        logits = symbols.logits(params, dropped(hs, self.dropout, self.per, k_output))
        return Outputs(logits, weights, jnp.asarray(key is not None, logits.dtype))

    @model_method
    def loss(self, outputs: Outputs, batch: dict) -> Weighted:
        """Cross-entropy in nats over the real target symbols; in training smoothed and with the coverage penalty."""
        target, lengths = self._target(batch)
        real = masks.from_lengths(lengths, target.shape[1])
        smoothing = self.label_smoothing * outputs.training if self.label_smoothing else 0.0
        loss = cross_entropy(outputs.logits, target, real, smoothing=smoothing)
        if not self.coverage_loss or outputs.weights is None:
            return loss
        weights = jnp.where(real[..., None], outputs.weights, jnp.zeros((), outputs.weights.dtype)).astype(loss.sum.dtype)
        overlap = jnp.minimum(weights, jnp.cumsum(weights, axis=1) - weights).sum()
        return loss._replace(sum=loss.sum + self.coverage_loss * outputs.training.astype(overlap.dtype) * overlap)

    def _target(self, batch: dict) -> tuple[Array, Array]:
        """The symbols of the targets, integer [B, T], and their numbers, integer [B]."""
        target = jnp.asarray(check_array("target", batch["target"], "integer", "B", "T"))
        lengths = check_array("target_lengths", batch["target_lengths"], "integer", target.shape[0])
        return target, jnp.asarray(masks.check(lengths, None, target.shape)[0])

    @model_method
    def start(self, params: Params, memory: Any, state: State) -> tuple[Recalled, State, Array]:
        """The beginning of a search, as a model's `start` returns it.

        Args:
            params: from `init`.
            memory, state: from `prepare`.

        Returns:
            (memory, state, token): the memory of all steps, the state before the first one, and the start symbol, int32 [B].
        """
        rows = jax.tree.leaves((state, memory))[0].shape[0]
        token = jnp.full(rows, self.start_symbol, jnp.int32)
        return Recalled(memory, self._symbols.look_up(params)), state, token

    def step(self, params: Params, memory: Recalled, state: State, token: Array) -> tuple[State, Array]:
        """Read one symbol of each row: token [B] to (state, logits [B, V]), -inf for symbols that are never emitted.

        Args:
            params: from `init`.
            memory: from `start`.
            state: leaves [B, ...].
            token: integer [B].

        Returns:
            (state, logits), logits float32 or wider.
        """
        return self._read(params, memory, state, token)[:2]

    def attend(self, params: Params, memory: Recalled, state: State, token: Array) -> tuple[State, Array, Array]:
        """`step`, and its attention weights: (state, logits [B, V], weights [B, S]).

        Args:
            params, memory, state, token: as for `step`.

        Raises:
            InputError: the decoder has no attention.
        """
        if not self.attends:
            raise InputError("this model has no attention: there are no weights to show")
        state, logits, y = self._read(params, memory, state, token)
        return state, logits, y.weights.astype(at_least_float32(memory.attended.values.dtype))

    def _read(self, params: Params, memory: Recalled, state: State, token: Array) -> tuple[State, Array, Any]:
        """Read one symbol of each row: token [B] to (state, logits [B, V], the cell's output)."""
        context = memory.attended if self.attends else None
        state, y = self._symbols.advance(params, memory.symbols, state, token, context=context)
        return state, self._symbols.emit(params, y.output if self.attends else y), y

    def attended(self, memory: Recalled) -> Array:
        """The real places of the memory, bool [B, S].

        Raises:
            InputError: the decoder has no attention.
        """
        if not self.attends:
            raise InputError("this model has no attention: there are no places to attend to")
        return memory.attended.mask

    def sampled(self, params: Params, memory: Any, state: State, tokens: Array, teacher_forcing: Array, key: Key) -> Array:
        """The symbols read in scheduled sampling: the true ones, or ones that the decoder draws without dropout.

        Args:
            params: from `init`.
            memory, state: from `prepare`.
            tokens: the true symbols, the start symbol first, integer [B, T].
            teacher_forcing: the probability that a step reads the true symbol, float [B].
            key: feeds the draws.

        Returns:
            Symbols like `tokens`, [B, T].
        """

        def step(fixed, state, token):
            params, recalled = fixed
            return self.step(params, recalled, state, token)

        fixed = (params, Recalled(memory, ()))
        return sampled_inputs(step, fixed, state, tokens, teacher_forcing, key, per=self.sampling)


def check_features(cell: Cell, giver: str, features: int):
    """Raise InputError unless a cell's attention, if it has one, reads as many features as `giver`, such as "the values have"."""
    if isinstance(cell, Attentive) and cell.attention.memory_size != features:
        sizes = f"{cell.attention.memory_size}, {giver} {features} features"
        raise InputError(f"the attention's memory_size is {sizes}: they must be equal")
