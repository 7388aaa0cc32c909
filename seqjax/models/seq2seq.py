"""An encoder-decoder: a sequence in, another out, with or without attention."""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from seqjax import masks, tree
from seqjax.attention.attentive import Attentive
from seqjax.bridge import named_arrays, shapes_of_row, summaries
from seqjax.categorical import quantile
from seqjax.checks import check_choice, check_rate, check_size, check_weights
from seqjax.compose import Dropout
from seqjax.contracts import Cell, Model, SequenceLayer, check_cell_field
from seqjax.errors import InputError
from seqjax.hoisting import hoist
from seqjax.losses import Weighted, cross_entropy
from seqjax.products import product
from seqjax.recurrence.engine import unroll
from seqjax.serial import register
from seqjax.symbols.embedding import LOOKED_UP, read_symbols
from seqjax.types import Array, Key, Params, State, at_least_float32

_embed_init = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)
_glorot = jax.nn.initializers.glorot_uniform()


class Outputs(NamedTuple):
    """What a Seq2Seq gives for a batch.

    Args:
        logits: [B, T, V], float32 or wider, of every target symbol.
        weights: attention weights, [B, T, S]; None without attention.
        training: 1.0 where a key was given, else 0.0: the loss is smoothed and penalised in training only.
    """

    logits: Array
    weights: Array | None
    training: Array


class Recalled(NamedTuple):
    """What a decoder reads at every step.

    Args:
        attended: the attention's memory; () without attention.
        symbols: what the cell makes of each symbol, leaves [V, ...]; () where that is not looked up.
    """

    attended: Any
    symbols: Any


class Stepped(NamedTuple):
    """The state of an attentive decoder after a step, and that step's weights [B, S]."""

    decoder: State
    weights: Array


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Seq2Seq(Model):
    """An encoder reads the source, a decoder writes the target symbol by symbol.

        values, s = encoder(E_x x);  h_0 = bridge(s);  o_t = decoder(h_{t-1}, E_y y_{t-1}, values)
        p(y_t | y_1..y_{t-1}, x) = softmax(W o_t + b)

    A batch holds "source" [B, S] and "target" [B, T], integers, the target without a start symbol and with the end symbol as its
    last; "source_lengths" and "target_lengths" [B], 0 for a row that is not there; and perhaps "teacher_forcing", float32 [B]:
    the probability with which a step reads the true symbol. Otherwise it reads one that the model draws (scheduled sampling).

    Args:
        source_size, target_size: symbols of the vocabularies.
        embedding_size: E.
        encoder: a cell or a layer.
        decoder: an Attentive cell, or any other: then the bridge alone tells it of the source.
        start_symbol: what the decoder reads first; it is never emitted.
        end_symbol: the symbol that ends a target; None: targets have a fixed length.
        bridge: "dense": every array of the decoder's first state is tanh(W s + b), s the h of the encoder's final states;
            "final": it is the encoder's final state, whose shapes are the same; "none": it is zeros.
        reverse_source: whether the encoder reads the source from its end (Sutskever).
        tied: "none"; "target": W is the target embedding transposed; "all": the source embedding is that one, too.
        dropout: rate on the embeddings and on the decoder's output (inside a cell it is the cell's own).
        per: of the dropout, "step" or "sequence" (variational).
        label_smoothing: of the loss in training, 0 to 1.
        forbidden: symbols that are never emitted either, such as padding.
        sampling: whether "teacher_forcing" is decided for every "token" or for a whole "sequence".
        coverage_loss: weight of the penalty on attending twice, sum over s of min(a_s, sum of earlier a_s), in training.

    Raises:
        InputError: parts that do not fit together.

    Example:
        >>> from seqjax.attention.scores import Dot
        >>> from seqjax.cells.gru import GRU
        >>> gru = GRU(input_size=3, hidden_size=4)
        >>> decoder = Attentive(cell=gru, attention=Dot(query_size=4, memory_size=4), output_size=4)
        >>> model = Seq2Seq(source_size=7, target_size=8, embedding_size=3, encoder=gru, decoder=decoder, start_symbol=1)
        >>> source, target = jnp.array([[3, 4, 0]]), jnp.array([[5, 2]])
        >>> batch = {"source": source, "source_lengths": jnp.array([2]), "target": target, "target_lengths": jnp.array([2])}
        >>> _, outputs = model.apply(model.init(jax.random.key(0)), batch)
        >>> outputs.logits.shape, outputs.weights.shape, float(model.loss(outputs, batch).weight)
        ((1, 2, 8), (1, 2, 3), 2.0)

    Sutskever, Vinyals, Le 2014; Cho et al. 2014; Bahdanau, Cho, Bengio 2014; Luong, Pham, Manning 2015;
    Bengio et al. 2015, arXiv:1506.03099 (scheduled sampling); See et al. 2017 (coverage loss).
    """

    unit: ClassVar[str] = "token"

    source_size: int
    target_size: int
    embedding_size: int
    encoder: Cell | SequenceLayer
    decoder: Cell
    start_symbol: int
    end_symbol: int | None = None
    bridge: str = "dense"
    reverse_source: bool = False
    tied: str = "none"
    dropout: float = 0.0
    per: str = "step"
    label_smoothing: float = 0.0
    forbidden: tuple[int, ...] = ()
    sampling: str = "token"
    coverage_loss: float = 0.0

    def __post_init__(self):
        check_size(self, source_size=self.source_size, target_size=self.target_size, embedding_size=self.embedding_size)
        check_cell_field(self, self.decoder)
        check_rate(self, self.dropout)
        check_choice(self, ("step", "sequence"), per=self.per)
        check_choice(self, ("token", "sequence"), sampling=self.sampling)
        check_choice(self, ("none", "target", "all"), tied=self.tied)
        check_choice(self, ("dense", "final", "none"), bridge=self.bridge)
        if not isinstance(self.encoder, Cell | SequenceLayer):
            raise InputError(f"the encoder is a {type(self.encoder).__name__}, it must be a cell or a layer")
        for name, part in (("encoder", self.encoder), ("decoder", self.decoder)):
            if part.input_shape not in (None, (self.embedding_size,)):
                raise InputError(
                    f"the {name} reads {part.input_shape}, embedding_size is {self.embedding_size}: they must be equal"
                )
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing is {self.label_smoothing}, it must be at least 0 and below 1")
        check_weights(coverage_loss=self.coverage_loss)
        if self.coverage_loss and not self.attends:
            raise InputError("coverage_loss is for a decoder with attention, this one has none")
        if self.tied == "all" and self.source_size != self.target_size:
            sizes = f"{self.source_size} and {self.target_size}"
            raise InputError(f'tied="all" needs one vocabulary for source and target, they have {sizes} symbols')
        if len(set(self._silent)) >= self.target_size:
            raise InputError(f"all {self.target_size} target symbols are forbidden: nothing could be emitted")
        for symbol in (*self._silent, *(() if self.end_symbol is None else (self.end_symbol,))):
            if not 0 <= symbol < self.target_size:
                raise InputError(f"symbol {symbol} is not in the target vocabulary of {self.target_size} symbols")
        self._check_fit()

    def _check_fit(self):
        (final, values), (begun, output) = self._encoded, self._decoded
        if isinstance(self.decoder, Attentive) and self.decoder.attention.memory_size != values.shape[-1]:
            sizes = f"{self.decoder.attention.memory_size}, the encoder gives {values.shape[-1]} features"
            raise InputError(f"the attention's memory_size is {sizes}: they must be equal")
        if self.tied != "none" and output.shape[-1] != self.embedding_size:
            sizes = f"they are {self.embedding_size} and {output.shape[-1]}"
            raise InputError(f"tied={self.tied!r} needs embedding_size equal to the decoder's output size: {sizes}")
        given, wanted = shapes_of_row(final), shapes_of_row(begun)
        if self.bridge == "final" and given != wanted:
            told = [", ".join(f"{name} {list(shape)}" for name, shape in form) for form in (given, wanted)]
            raise InputError(
                f"bridge=\"final\" copies the encoder's final state ({told[0]}) into the decoder's ({told[1]}): "
                'they must be equal, or take bridge="dense"'
            )
        if self.bridge == "dense" and any(len(shape) != 1 for _, shape in (*given, *wanted)):
            raise InputError('bridge="dense" needs states of vectors: take bridge="none"')

    @functools.cached_property
    def _encoded(self) -> tuple[Any, Any]:
        """Shapes of the encoder's (final state, outputs)."""

        def encoded(key):
            return unroll(self.encoder, self.encoder.init(key), jnp.zeros((1, 1, self.embedding_size)))

        return jax.eval_shape(encoded, jax.random.key(0))

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

    @property
    def attends(self) -> bool:
        """Whether the decoder has attention."""
        return isinstance(self.decoder, Attentive)

    @property
    def places(self) -> int | None:
        """How many source symbols its attention knows places for; None: any number."""
        return self.decoder.attention.places if isinstance(self.decoder, Attentive) else None

    @property
    def _silent(self) -> tuple[int, ...]:
        return (self.start_symbol, *self.forbidden)

    def init(self, key: Key) -> Params:
        """`encoder`, `decoder`; `bridge`: a dense layer for each array of the state ("0", ...), if there are any.

        `source_embedding` [V_source, E] (none if all is tied), `target_embedding` [V, E]; `projection`: `kernel` [O, V] (none
        if tied), `bias` [V]. Dropout changes none of it.
        """
        k_source, k_target, k_encoder, k_decoder, k_bridge, k_projection = jax.random.split(key, 6)
        begun, output = self._decoded
        params = {
            "target_embedding": _embed_init(k_target, (self.target_size, self.embedding_size)),
            "encoder": self.encoder.init(k_encoder),
            "decoder": self.decoder.init(k_decoder),
            "projection": {"bias": jnp.zeros(self.target_size)},
        }
        if self.tied != "all":
            params["source_embedding"] = _embed_init(k_source, (self.source_size, self.embedding_size))
        if self.tied == "none":
            params["projection"]["kernel"] = _glorot(k_projection, (output.shape[-1], self.target_size))
        if self.bridge == "dense":
            summary = sum(a.shape[-1] for a in summaries(self._encoded[0]))
            sizes = [shape[0] for _, shape in shapes_of_row(begun)]
            keys = jax.random.split(k_bridge, len(sizes))
            params["bridge"] = {
                str(i): {"kernel": _glorot(k, (summary, n)), "bias": jnp.zeros(n)}
                for i, (k, n) in enumerate(zip(keys, sizes, strict=True))
            }
        return params

    def apply(self, params: Params, batch: dict, *, state: State = None, key: Key | None = None) -> tuple[State, Outputs]:
        """Logits of every target symbol, given the source and the symbols before it.

        Args:
            params: of `init`.
            batch: "source", "source_lengths", "target", "target_lengths", and perhaps "teacher_forcing".
            state: nothing is carried from batch to batch.
            key: feeds dropout and scheduled sampling; None: deterministic, and the true symbols are read.

        Returns:
            ((), outputs), logits [B, T, V], float32 or wider.
        """
        k_source, k_target, k_output, k_encoder, k_decoder, k_sampling = [None] * 6 if key is None else jax.random.split(key, 6)
        memory, begun = self._encode(params, batch, k_source, k_encoder)
        target, lengths = batch["target"], batch["target_lengths"]
        opening = jnp.full((target.shape[0], 1), self.start_symbol, target.dtype)
        symbols = jnp.concatenate([opening, target[:, :-1]], axis=1)
        if k_sampling is not None and "teacher_forcing" in batch:
            frozen = jax.lax.stop_gradient((params, memory, begun))
            symbols = self._sampled(*frozen, symbols, batch["teacher_forcing"], k_sampling)
        read = self._read(self.decoder, params["decoder"], params["target_embedding"], symbols, k_target)
        context = memory if self.attends else None
        _, ys = unroll(self.decoder, *read, begun, lengths=lengths, context=context, key=k_decoder)
        hs, weights = ys if self.attends else (ys, None)
        logits = self._project(params, self._dropped(hs, k_output))
        return (), Outputs(logits, weights, jnp.asarray(key is not None, logits.dtype))

    def loss(self, outputs: Outputs, batch: dict) -> Weighted:
        """Cross-entropy in nats over the real target symbols; where a key was given, smoothed and with the coverage penalty."""
        real = masks.from_lengths(batch["target_lengths"], batch["target"].shape[1])
        smoothing = self.label_smoothing * outputs.training if self.label_smoothing else 0.0
        loss = cross_entropy(outputs.logits, batch["target"], real, smoothing=smoothing)
        if not self.coverage_loss or outputs.weights is None:
            return loss
        weights = jnp.where(real[..., None], outputs.weights, jnp.zeros((), outputs.weights.dtype)).astype(loss.sum.dtype)
        twice = jnp.minimum(weights, jnp.cumsum(weights, axis=1) - weights).sum()
        return loss._replace(sum=loss.sum + self.coverage_loss * outputs.training.astype(twice.dtype) * twice)

    def start(self, params: Params, batch: dict) -> tuple[Recalled, State, Array]:
        """Reads the sources.

        Args:
            params: of `init`.
            batch: "source", integer [B, S]; "source_lengths", integer [B], 0 <= length <= S.

        Returns:
            (memory, state, token): what every step reads, the state before the first, and the start symbol, int32 [B].

        Raises:
            InputError: a wrong shape or dtype, a symbol outside the vocabulary, or more of them than the attention has places.
        """
        for name in ("source", "source_lengths"):
            if name not in batch:
                raise InputError(f'the batch has no "{name}": give a dict with "source" [B, S] and "source_lengths" [B]')
        source, lengths = jnp.asarray(batch["source"]), jnp.asarray(batch["source_lengths"])
        if source.ndim != 2 or not jnp.issubdtype(source.dtype, jnp.integer):
            raise InputError(f"sources have shape {source.shape} and dtype {source.dtype}, they must be integers [B, S]")
        real = masks.resolve(lengths, None, source.shape)
        if not isinstance(source, jax.core.Tracer) and not isinstance(lengths, jax.core.Tracer):
            symbols = np.asarray(source)[np.asarray(real)]
            outside = symbols[(symbols < 0) | (symbols >= self.source_size)]
            if outside.size:
                raise InputError(f"sources hold symbol {outside[0]}, the vocabulary has 0 to {self.source_size - 1}")
        if isinstance(self.decoder, Attentive):
            self.decoder.attention.check_lengths(batch["source_lengths"])  # as it was given: an array made under jit is traced
        return _start(self, params, source, lengths)

    def step(self, params: Params, memory: Recalled, state: State, token: Array) -> tuple[State, Array]:
        """Reads one symbol of each row: token [B] to (state, logits [B, V]), -inf for what is never emitted.

        Args:
            params: of `init`.
            memory: of `start`.
            state: leaves [B, ...].
            token: integer [B].

        Returns:
            (state, logits), logits float32 or wider.
        """
        of_decoder, known = params["decoder"], jax.tree.leaves(memory.symbols)
        if known:
            z = tree.at(memory.symbols, token)
        else:
            z = self.decoder.project(of_decoder, params["target_embedding"][token])
        if self.attends:
            inner, y = self.decoder.recur(of_decoder, state.decoder, z, context=memory.attended)
            state, y = self._stepping(memory.attended, inner, y.weights), y.output
        else:
            state, y = self.decoder.recur(of_decoder, state, z)
        logits = self._project(params, y)
        silent = np.isin(np.arange(self.target_size), self._silent)
        return state, jnp.where(jnp.broadcast_to(silent, logits.shape), jnp.asarray(-jnp.inf, logits.dtype), logits)

    def weights(self, state: State) -> Array:
        """The attention weights of the last step, from the state that `step` gave: [B, S].

        Raises:
            InputError: the decoder has no attention.
        """
        if not self.attends:
            raise InputError("this model has no attention: there are no weights to show")
        return state.weights

    def attended(self, memory: Recalled) -> Array:
        """The real places of the source, bool [B, S].

        Raises:
            InputError: the decoder has no attention.
        """
        if not self.attends:
            raise InputError("this model has no attention: there are no places to attend to")
        return memory.attended.mask

    def _encode(self, params, batch, k_source=None, k_encoder=None) -> tuple[Any, State]:
        """(the attention's memory or (), the decoder's first state)."""
        source, lengths = batch["source"], batch["source_lengths"]
        table = params["target_embedding" if self.tied == "all" else "source_embedding"]
        read = self._read(self.encoder, params["encoder"], table, source, k_source)
        final, values = unroll(self.encoder, *read, lengths=lengths, reverse=self.reverse_source, key=k_encoder)
        if not isinstance(self.decoder, Attentive):
            return (), self._bridge(params, final, self.decoder.initial_state(params["decoder"], source.shape[:1]))
        memory = self.decoder.remember(params["decoder"], values, masks.from_lengths(lengths, source.shape[1]))
        state = self.decoder.initial_state(params["decoder"], source.shape[:1], context=memory)
        return memory, state._replace(cell=self._bridge(params, final, state.cell))

    def _bridge(self, params, final, state):
        """The decoder cell's initial state with what the encoder's final state says."""
        if self.bridge == "none":
            return state
        if self.bridge == "final":
            given = [a for _, a in named_arrays(final)]
        else:
            summary = jnp.concatenate(summaries(final), axis=-1)
            dense = [params["bridge"][str(i)] for i in range(len(params["bridge"]))]
            given = [jnp.tanh(_affine(summary, layer["kernel"], layer["bias"])) for layer in dense]
        given = iter(given)
        return jax.tree.map(lambda a: next(given).astype(a.dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, state)

    def _sampled(self, params, memory, state, symbols, teacher_forcing, key) -> Array:
        """The symbols that the decoder reads, [B, T]: the true ones, or those that it draws (without dropout).

        A draw has no derivative, so that reading these is all the rest of scheduled sampling.
        """
        k_coin, k_draw = jax.random.split(key)
        rows, steps = symbols.shape
        coins = jax.random.uniform(k_coin, (steps if self.sampling == "token" else 1, rows), teacher_forcing.dtype)
        truth = jnp.broadcast_to(coins < teacher_forcing[None], (steps, rows))
        chances = jax.random.uniform(k_draw, (steps, rows))
        first, state = symbols[:, 0], self._stepping(memory, state)
        fixed = params, Recalled(memory, ())
        step = hoist(lambda fixed, state, token: self.step(fixed[0], fixed[1], state, token), fixed, state, first)

        def read(carry, now):
            (state, token), (right, keeps, chance) = carry, now
            state, logits = step(state, token)
            token = jnp.where(keeps, right, quantile(jax.nn.softmax(logits), chance).astype(right.dtype))
            return (state, token), token

        _, read_next = jax.lax.scan(read, (state, first), (symbols.T[1:], truth[1:], chances[1:]))
        return jnp.concatenate([first[None], read_next]).T

    def _stepping(self, memory, state, weights=None) -> State:
        """A decoder's state as `step` has it; without weights, before the first step."""
        if not self.attends:
            return state
        weights = jnp.zeros(memory.mask.shape) if weights is None else weights
        return Stepped(state, weights.astype(at_least_float32(memory.values.dtype)))

    def _read(self, part, params: Params, table: Array, tokens: Array, key: Key | None) -> tuple[Params, Array]:
        """A part's parameters and inputs: the embedding's rows, with dropout."""
        if key is not None and self.dropout:
            return params, self._dropped(table[tokens], key)
        return read_symbols(part, params, table, tokens)

    def _dropped(self, xs: Array, key: Key | None) -> Array:
        if key is None or not self.dropout:
            return xs
        return unroll(Dropout(self.dropout, per=self.per, input_shape=xs.shape[2:]), {}, xs, key=key)[1]

    def _project(self, params: Params, hs: Array) -> Array:
        kernel = params["projection"]["kernel"] if self.tied == "none" else params["target_embedding"].T
        return _affine(hs, kernel, params["projection"]["bias"])


@functools.partial(jax.jit, static_argnums=0)
def _start(model: Seq2Seq, params: Params, source: Array, lengths: Array) -> tuple[Recalled, State, Array]:
    memory, state = model._encode(params, {"source": source, "source_lengths": lengths})
    looks_up = model.target_size <= LOOKED_UP
    symbols = model.decoder.project(params["decoder"], params["target_embedding"]) if looks_up else ()
    token = jnp.full(source.shape[0], model.start_symbol, jnp.int32)
    return Recalled(memory, symbols), model._stepping(memory, state), token


def _affine(xs: Array, kernel: Array, bias: Array) -> Array:
    ys = product(xs, kernel)
    return ys + jnp.broadcast_to(bias.astype(ys.dtype), ys.shape)
