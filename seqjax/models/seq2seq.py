"""An encoder-decoder from a source to a sequence of symbols, with or without attention."""

import dataclasses
import functools
from functools import partial
from typing import Any, ClassVar

import jax

from seqjax.attention.attentive import Attentive
from seqjax.bridge import BRIDGES, check_bridge, cross, init_bridge
from seqjax.checks import check_choice, check_number, check_rate, check_size
from seqjax.contracts import Cell, Model
from seqjax.losses import Weighted
from seqjax.models.conditional import ConditionalDecoder, Outputs, Recalled, check_features
from seqjax.models.encoders import Encoder, check_encoder
from seqjax.parameters import model_method
from seqjax.serial import register
from seqjax.symbols.checks import check_shared_embedding
from seqjax.types import Array, Key, Params, State

_SHARED = (  # the fields of the decoder half that have the same name there
    "embedding_size", "start_symbol", "end_symbol", "dropout", "per", "label_smoothing", "forbidden", "sampling", "coverage_loss",
)  # fmt: skip


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Seq2Seq(Model):
    """An encoder-decoder: an encoder reads the source, a `ConditionalDecoder` writes the target symbol by symbol.

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
        >>> import jax.numpy as jnp
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
        check_rate(self, dropout=self.dropout)
        check_number(self, label_smoothing=self.label_smoothing, coverage_loss=self.coverage_loss)
        check_choice(self, ("none", "target", "all"), tied=self.tied)
        check_choice(self, BRIDGES, bridge=self.bridge)
        if self.tied == "all":
            encoder = jax.eval_shape(self.encoder.init, jax.random.key(0))
            check_shared_embedding(encoder, self.target_size, self.embedding_size)
        half = self.half
        check_features(self.decoder, "the encoder gives", self._encoded.values.shape[-1])
        check_bridge(self.bridge, self._encoded.summary, half.shapes[0])

    @functools.cached_property
    def half(self) -> ConditionalDecoder:
        """The decoder half; its parameters are `params["decoder"]`."""
        shared = {name: getattr(self, name) for name in _SHARED}
        return ConditionalDecoder(size=self.target_size, cell=self.decoder, tied=self.tied != "none", **shared)

    @functools.cached_property
    def _encoded(self) -> Any:
        """Shapes of an encoded source."""
        return jax.eval_shape(lambda key: self.encoder.encode(self.encoder.init(key), self.encoder.blank()), jax.random.key(0))

    @property
    def attends(self) -> bool:
        """True if the decoder has attention."""
        return self.half.attends

    @property
    def places(self) -> int | None:
        """The most places that the attention can tell apart; None: any number."""
        return self.half.places

    def init(self, key: Key) -> Params:
        """Parameters; they do not depend on dropout.

        `encoder`: the encoder's (without its embedding if tied="all"); `decoder`: the half's, `cell`, `embedding` [V, E] and
        `projection`; `bridge`: a dense layer for each array of the state ("0", ...), if it is dense.
        """
        encoder = self.encoder.init(key)  # the encoder, the decoder half and the bridge split the key alike, and use other parts
        if self.tied == "all":
            del encoder["embedding"]
        params = {"encoder": encoder, "decoder": self.half.init(key)}
        if self.bridge == "dense":
            params["bridge"] = init_bridge(jax.random.split(key, 6)[4], self._encoded.summary, self.half.shapes[0])
        return params

    @model_method
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
        memory, first = self.encode(params, batch, key)
        return (), self.half.apply(params["decoder"], batch, memory, first, key=key)

    @model_method
    def loss(self, outputs: Outputs, batch: dict) -> Weighted:
        """Cross-entropy in nats over the real target symbols; in training smoothed and with the coverage penalty."""
        return self.half.loss(outputs, batch)

    @model_method
    def encode(self, params: Params, batch: dict, key: Key | None = None) -> tuple[Any, State]:
        """Read the sources: (the memory that the decoder half attends to, its first state), as `ConditionalDecoder.prepare`."""
        encoder_params = params["encoder"]
        if self.tied == "all":
            encoder_params = encoder_params | {"embedding": params["decoder"]["embedding"]}
        encoded = self.encoder.encode(encoder_params, batch, key)
        first = partial(cross, self.bridge, params.get("bridge", {}), encoded.summary)
        return self.half.prepare(params["decoder"], encoded.values, encoded.mask, first)

    @model_method
    def start(self, params: Params, batch: dict) -> tuple[Recalled, State, Array]:
        """Read the sources.

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
        """Read one symbol of each row: token [B] to (state, logits [B, V]), -inf for symbols that are never emitted.

        Args:
            params, memory, state, token: as for `ConditionalDecoder.step`.
        """
        return self.half.step(params["decoder"], memory, state, token)

    def attend(self, params: Params, memory: Recalled, state: State, token: Array) -> tuple[State, Array, Array]:
        """`step`, and its attention weights: (state, logits [B, V], weights [B, S]).

        Args:
            params, memory, state, token: as for `ConditionalDecoder.step`.

        Raises:
            InputError: the decoder has no attention.
        """
        return self.half.attend(params["decoder"], memory, state, token)

    def attended(self, memory: Recalled) -> Array:
        """The real places of the source, bool [B, S].

        Raises:
            InputError: the decoder has no attention.
        """
        return self.half.attended(memory)


@functools.partial(jax.jit, static_argnums=0)
def _start(model: Seq2Seq, params: Params, batch: dict) -> tuple[Recalled, State, Array]:
    return model.half.start(params["decoder"], *model.encode(params, batch))
