"""An encoder-decoder: a source in, a sequence of symbols out, with or without attention."""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from seqjax import masks
from seqjax.attention.attentive import Attentive
from seqjax.bridge import BRIDGES, check_bridge, cross, init_bridge
from seqjax.checks import check_choice, check_rate, check_size, check_weights
from seqjax.contracts import Cell, Model, check_cell_field
from seqjax.errors import InputError
from seqjax.losses import Weighted, cross_entropy
from seqjax.models.encoders import Encoder, check_encoder
from seqjax.recurrence.engine import unroll
from seqjax.serial import register
from seqjax.symbols.checks import check_reads, check_shared_embedding, check_tied
from seqjax.symbols.decoder import SymbolDecoder
from seqjax.symbols.embedding import dropped
from seqjax.symbols.forced import sampled_inputs
from seqjax.symbols.readout import check_emitted
from seqjax.types import Array, Key, Params, State, at_least_float32


class Outputs(NamedTuple):
    """Outputs of a Seq2Seq for a batch.

    Args:
        logits: [B, T, V], float32 or wider, of every target symbol.
        weights: attention weights, [B, T, S]; None without attention.
        training: 1.0 if a key was given, else 0.0; the loss is smoothed and penalised in training only.
    """

    logits: Array
    weights: Array | None
    training: Array


class Recalled(NamedTuple):
    """The memory that a decoder reads at every step.

    Args:
        attended: the attention's memory; () without attention.
        symbols: the cell's projection of each symbol, leaves [V, ...]; () if `step` projects.
    """

    attended: Any
    symbols: Any


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Seq2Seq(Model):
    """An encoder reads the source, a decoder writes the target symbol by symbol.

        values, s = encoder(x);  h_0 = bridge(s);  o_t = decoder(h_{t-1}, E y_{t-1}, values)
        p(y_t | y_1..y_{t-1}, x) = softmax(W o_t + b)

    A batch holds what the encoder reads; "target", integer [B, T], without a start symbol and with the end symbol as its last;
    "target_lengths" [B], 0 for a padding row; and optionally "teacher_forcing", float32 [B]: the probability that a step reads
    the true symbol rather than one that the model draws (scheduled sampling).

    Args:
        encoder: the reader of the source, Symbols or Features.
        target_size: V, symbols of the target vocabulary.
        embedding_size: E, of the target.
        decoder: an Attentive cell, or any cell; without attention the source reaches it only through the bridge.
        start_symbol: the symbol that the decoder reads first; it is never emitted.
        end_symbol: the symbol that ends a target; None: targets have a fixed length.
        bridge: "dense": every array of the decoder's first state is tanh(W s + b), s the h of the encoder's final states;
            "final": it is the encoder's final state, of the same shapes; "none": it is the decoder's initial state.
        tied: "none"; "target": W is the target embedding transposed; "all": the source has the same embedding, too.
        dropout: rate on the target embedding and on the decoder's output (a Stack sets the dropout inside it).
        per: one dropout mask for each "step", or one for the "sequence" (variational).
        label_smoothing: of the loss in training, at least 0 and below 1.
        forbidden: further symbols that are never emitted, such as padding.
        sampling: whether "teacher_forcing" is decided for every "token" or for a whole "sequence".
        coverage_loss: weight of the penalty on attending twice, sum over s of min(a_s, sum of earlier a_s), in training.

    Raises:
        InputError: parts that do not fit together.

    Example:
        >>> from seqjax.attention.scores import Dot
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.encoders import Symbols
        >>> gru = GRU(input_size=3, hidden_size=4)
        >>> encoder = Symbols(size=7, embedding_size=3, cell=gru)
        >>> decoder = Attentive(cell=gru, attention=Dot(query_size=4, memory_size=4), output_size=4)
        >>> model = Seq2Seq(encoder=encoder, target_size=8, embedding_size=3, decoder=decoder, start_symbol=1)
        >>> source, target = jnp.array([[3, 4, 0]]), jnp.array([[5, 2]])
        >>> batch = {"source": source, "source_lengths": jnp.array([2]), "target": target, "target_lengths": jnp.array([2])}
        >>> _, outputs = model.apply(model.init(jax.random.key(0)), batch)
        >>> outputs.logits.shape, outputs.weights.shape, float(model.loss(outputs, batch).weight)
        ((1, 2, 8), (1, 2, 3), 2.0)

    Sutskever, Vinyals, Le 2014; Cho et al. 2014; Bahdanau, Cho, Bengio 2014; Luong, Pham, Manning 2015;
    Bengio et al. 2015, arXiv:1506.03099 (scheduled sampling); See et al. 2017 (coverage loss).
    """

    unit: ClassVar[str] = "token"
    vocabulary_sizes = property(lambda self: (*self.encoder.vocabulary_sizes, self.target_size))

    encoder: Encoder
    target_size: int
    embedding_size: int
    decoder: Cell
    start_symbol: int
    end_symbol: int | None = None
    bridge: str = "dense"
    tied: str = "none"
    dropout: float = 0.0
    per: str = "step"
    label_smoothing: float = 0.0
    forbidden: tuple[int, ...] = ()
    sampling: str = "token"
    coverage_loss: float = 0.0

    def __post_init__(self):
        check_encoder(self.encoder)
        check_size(self, target_size=self.target_size, embedding_size=self.embedding_size)
        check_cell_field(self, self.decoder)
        check_rate(self, dropout=self.dropout)
        check_choice(self, ("step", "sequence"), per=self.per)
        check_choice(self, ("token", "sequence"), sampling=self.sampling)
        check_choice(self, ("none", "target", "all"), tied=self.tied)
        check_choice(self, BRIDGES, bridge=self.bridge)
        check_reads(self.decoder, self.embedding_size, "embedding_size", called="decoder")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing is {self.label_smoothing}, it must be at least 0 and below 1")
        check_weights(coverage_loss=self.coverage_loss)
        if self.coverage_loss and not self.attends:
            raise InputError("coverage_loss needs a decoder with attention, such as an Attentive cell")
        if self.tied == "all":
            encoder = jax.eval_shape(self.encoder.init, jax.random.key(0))
            check_shared_embedding(encoder, self.target_size, self.embedding_size)
        ends = () if self.end_symbol is None else (self.end_symbol,)
        check_emitted(self.target_size, (self.start_symbol, *self.forbidden), *ends, vocabulary="target vocabulary")
        features = self._encoded.values.shape[-1]
        if isinstance(self.decoder, Attentive) and self.decoder.attention.memory_size != features:
            sizes = f"{self.decoder.attention.memory_size}, the encoder gives {features} features"
            raise InputError(f"the attention's memory_size is {sizes}: they must be equal")
        state, output = self._decoded
        if self.tied != "none":
            check_tied(self.tied, self.embedding_size, output.shape[-1], of="decoder")
        check_bridge(self.bridge, self._encoded.summary, state)

    @functools.cached_property
    def _encoded(self) -> Any:
        """Shapes of an encoded source."""
        return jax.eval_shape(lambda key: self.encoder.encode(self.encoder.init(key), self.encoder.blank()), jax.random.key(0))

    @functools.cached_property
    def _decoded(self) -> tuple[Any, Any]:
        """Shapes of the decoder's (first state that the bridge makes, output)."""

        def decoded(key):
            params, memory = self.decoder.init(key), None
            if isinstance(self.decoder, Attentive):
                values = jnp.zeros((1, 1, self.decoder.attention.memory_size))
                memory = self.decoder.remember(params, values, jnp.ones((1, 1), jnp.bool_))
            state, y = self.decoder.step(
                params, self.decoder.initial_state(params, (1,), context=memory), jnp.zeros((1, self.embedding_size)), memory
            )
            return (state.cell, y.output) if self.attends else (state, y)

        return jax.eval_shape(decoded, jax.random.key(0))

    @functools.cached_property
    def _symbols(self) -> SymbolDecoder:
        return SymbolDecoder(
            size=self.target_size,
            cell=self.decoder,
            embedding_size=self.embedding_size,
            output_size=self._decoded[1].shape[-1],
            tied=self.tied != "none",
            silent=(self.start_symbol, *self.forbidden),
        )

    @property
    def attends(self) -> bool:
        """True if the decoder has attention."""
        return isinstance(self.decoder, Attentive)

    @property
    def places(self) -> int | None:
        """The most places that the attention can tell apart; None: any number."""
        return self.decoder.attention.places if isinstance(self.decoder, Attentive) else None

    def init(self, key: Key) -> Params:
        """Parameters; they do not depend on dropout.

        `encoder`: the encoder's (without its embedding if tied="all"); `decoder`: `cell`, `embedding` [V, E] and `projection`:
        `kernel` [O, V] (absent if tied), `bias` [V]; `bridge`: a dense layer for each array of the state ("0", ...), if it is
        dense.
        """
        _, k_target, _, k_decoder, k_bridge, k_projection = jax.random.split(key, 6)  # the encoder draws from the others
        encoder = self.encoder.init(key)
        if self.tied == "all":
            del encoder["embedding"]
        params = {"encoder": encoder, "decoder": self._symbols.init(k_decoder, k_target, k_projection)}
        if self.bridge == "dense":
            params["bridge"] = init_bridge(k_bridge, self._encoded.summary, self._decoded[0])
        return params

    def apply(self, params: Params, batch: dict, *, state: State = None, key: Key | None = None) -> tuple[State, Outputs]:
        """Logits of every target symbol, given the source and the symbols before it.

        Args:
            params: from `init`.
            batch: what the encoder reads, "target", "target_lengths", and optionally "teacher_forcing".
            state: ignored, since nothing is carried from batch to batch.
            key: feeds dropout and scheduled sampling; None: deterministic, and the true symbols are read.

        Returns:
            ((), outputs), logits [B, T, V], float32 or wider.
        """
        keys = [None] * 6 if key is None else jax.random.split(key, 6)
        _, k_target, k_output, _, k_decoder, k_sampling = keys  # the encoder draws from the others
        memory, first_state = self._encode(params, batch, key)
        target, lengths, symbols = batch["target"], batch["target_lengths"], self._symbols
        start = jnp.full((target.shape[0], 1), self.start_symbol, target.dtype)
        tokens = jnp.concatenate([start, target[:, :-1]], axis=1)  # [B, T]
        if k_sampling is not None and "teacher_forcing" in batch:
            frozen = jax.lax.stop_gradient((params, memory, first_state))
            tokens = self._sampled(*frozen, tokens, batch["teacher_forcing"], k_sampling)
        dropout = {"dropout": self.dropout, "per": self.per, "key": k_target}
        context = memory if self.attends else None
        cell_params, xs = symbols.inputs(params["decoder"], tokens, **dropout)
        _, ys = unroll(self.decoder, cell_params, xs, first_state, lengths=lengths, context=context, key=k_decoder)
        hs, weights = (ys.output, ys.weights) if self.attends else (ys, None)  # [B, T, O], [B, T, S]
        logits = symbols.logits(params["decoder"], dropped(hs, self.dropout, self.per, k_output))
        return (), Outputs(logits, weights, jnp.asarray(key is not None, logits.dtype))

    def loss(self, outputs: Outputs, batch: dict) -> Weighted:
        """Cross-entropy in nats over the real target symbols; in training smoothed and with the coverage penalty."""
        real = masks.from_lengths(batch["target_lengths"], batch["target"].shape[1])
        smoothing = self.label_smoothing * outputs.training if self.label_smoothing else 0.0
        loss = cross_entropy(outputs.logits, batch["target"], real, smoothing=smoothing)
        if not self.coverage_loss or outputs.weights is None:
            return loss
        weights = jnp.where(real[..., None], outputs.weights, jnp.zeros((), outputs.weights.dtype)).astype(loss.sum.dtype)
        overlap = jnp.minimum(weights, jnp.cumsum(weights, axis=1) - weights).sum()
        return loss._replace(sum=loss.sum + self.coverage_loss * outputs.training.astype(overlap.dtype) * overlap)

    def start(self, params: Params, batch: dict) -> tuple[Recalled, State, Array]:
        """Reads the sources.

        Args:
            params: from `init`.
            batch: what the encoder reads, such as "source", integer [B, S], and "source_lengths", integer [B].

        Returns:
            (memory, state, token): the memory of all steps, the state before the first one, and the start symbol, int32 [B].

        Raises:
            InputError: a batch that the encoder cannot read, or more places than the attention can tell apart.
        """
        inputs, lengths = self.encoder.inputs(batch)
        if isinstance(self.decoder, Attentive):
            self.decoder.attention.check_lengths(lengths)
        return _start(self, params, inputs)

    def step(self, params: Params, memory: Recalled, state: State, token: Array) -> tuple[State, Array]:
        """Reads one symbol of each row: token [B] to (state, logits [B, V]), -inf for symbols that are never emitted.

        Args:
            params: from `init`.
            memory: from `start`.
            state: leaves [B, ...].
            token: integer [B].

        Returns:
            (state, logits), logits float32 or wider.
        """
        symbols, decoder_params = self._symbols, params["decoder"]
        context = memory.attended if self.attends else None
        state, y = symbols.advance(decoder_params, memory.symbols, state, token, context=context)
        return state, symbols.emit(decoder_params, y.output if self.attends else y)

    def attend(self, params: Params, memory: Recalled, state: State, token: Array) -> tuple[State, Array, Array]:
        """`step`, and its attention weights: (state, logits [B, V], weights [B, S]).

        Raises:
            InputError: the decoder has no attention.
        """
        if not self.attends:
            raise InputError("this model has no attention: there are no weights to show")
        symbols, decoder_params = self._symbols, params["decoder"]
        state, y = symbols.advance(decoder_params, memory.symbols, state, token, context=memory.attended)
        weights = y.weights.astype(at_least_float32(memory.attended.values.dtype))
        return state, symbols.emit(decoder_params, y.output), weights

    def attended(self, memory: Recalled) -> Array:
        """The real places of the source, bool [B, S].

        Raises:
            InputError: the decoder has no attention.
        """
        if not self.attends:
            raise InputError("this model has no attention: there are no places to attend to")
        return memory.attended.mask

    def _encode(self, params: Params, batch: dict, key: Key | None = None) -> tuple[Any, State]:
        """(the attention's memory or (), the decoder's first state)."""
        encoder_params, cell_params = params["encoder"], params["decoder"]["cell"]
        if self.tied == "all":
            encoder_params = encoder_params | {"embedding": params["decoder"]["embedding"]}
        encoded = self.encoder.encode(encoder_params, batch, key)
        rows = encoded.mask.shape[:1]
        if not isinstance(self.decoder, Attentive):
            return (), self._cross(params, encoded.summary, self.decoder.initial_state(cell_params, rows))
        memory = self.decoder.remember(cell_params, encoded.values, encoded.mask)
        state = self.decoder.initial_state(cell_params, rows, context=memory)
        return memory, state._replace(cell=self._cross(params, encoded.summary, state.cell))

    def _cross(self, params: Params, summary: State, state: State) -> State:
        return cross(self.bridge, params.get("bridge", {}), summary, state)

    def _sampled(self, params: Params, memory, state: State, tokens: Array, teacher_forcing: Array, key: Key) -> Array:
        """The symbols that the decoder reads, [B, T]: the true ones, or those that it draws (without dropout)."""

        def step(fixed, state, token):
            params, recalled = fixed
            return self.step(params, recalled, state, token)

        fixed = (params, Recalled(memory, ()))
        return sampled_inputs(step, fixed, state, tokens, teacher_forcing, key, per=self.sampling)


@functools.partial(jax.jit, static_argnums=0)
def _start(model: Seq2Seq, params: Params, batch: dict) -> tuple[Recalled, State, Array]:
    memory, state = model._encode(params, batch)
    token = jnp.full(jax.tree.leaves(batch)[0].shape[0], model.start_symbol, jnp.int32)
    return Recalled(memory, model._symbols.look_up(params["decoder"])), state, token
