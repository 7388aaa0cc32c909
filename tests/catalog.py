"""Every cell and layer once, by name. A new cell is one more line in CATALOG."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from seqjax import (
    GRU,
    LRU,
    LSTM,
    MGU,
    MUT1,
    MUT2,
    MUT3,
    QRNN,
    RGLRU,
    S4D,
    SLSTM,
    SRU,
    Bidirectional,
    Center,
    Chain,
    ConvLSTM,
    Convolution,
    Dense,
    DilatedConvNet,
    Dropout,
    Elman,
    Embedding,
    Feedforward,
    Highway,
    IndRNN,
    LayerNorm,
    LearnedInitialState,
    MinGRU,
    MinLSTM,
    MultiplicativeLSTM,
    RecurrentDropout,
    RecurrentHighway,
    Residual,
    Stack,
    Standardize,
    TemporalConvNet,
    TimeDelay,
    Zoneout,
    register,
)
from seqjax.attention import Additive, Attentive, Dot, General, Hard, Local, Location, MultiHead, PastAttention, WindowAttention
from seqjax.vision import frame_encoder

ELMAN = Elman(input_size=3, hidden_size=4)
LSTM_3_4 = LSTM(input_size=3, hidden_size=4)
LSTM_4_2 = LSTM(input_size=4, hidden_size=2)
GRU_3_4 = GRU(input_size=3, hidden_size=4)


@register
class Patches(nn.Module):
    """A convolution whose dropout follows its argument `train`, and a BatchNorm with constant statistics."""

    features: int

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.Conv(self.features, (3, 3), strides=2, name="conv")(x)
        x = nn.BatchNorm(use_running_average=True)(x)
        return nn.Dropout(0.3)(nn.tanh(x).mean((1, 2)), deterministic=not train)


def attentive(cell, attention, **fields):
    return Attentive(cell=cell, attention=attention, output_size=5, **fields)


CATALOG = {
    "elman": ELMAN,
    "elman_relu": Elman(input_size=3, hidden_size=4, activation="relu"),
    "irnn": Elman(input_size=3, hidden_size=4, activation="relu", recurrent_init="identity", input_init="normal"),
    "lstm": LSTM_3_4,
    "lstm_tokens": LSTM_3_4,
    "gru": GRU_3_4,
    "gru_reset_before": GRU(input_size=3, hidden_size=4, reset_after=False),
    "lstm_heads": LSTM(input_size=3, hidden_size=6, heads=2),
    "gru_heads": GRU(input_size=3, hidden_size=6, heads=2),
    "gru_reset_before_heads": GRU(input_size=3, hidden_size=6, heads=3, reset_after=False),
    "lstm_no_input_gate": LSTM(input_size=3, hidden_size=4, input_gate=False),
    "lstm_no_forget_gate": LSTM(input_size=3, hidden_size=4, forget_gate=False),
    "lstm_no_output_gate": LSTM(input_size=3, hidden_size=4, output_gate=False),
    "lstm_linear_input": LSTM(input_size=3, hidden_size=4, input_activation="linear"),
    "lstm_linear_output": LSTM(input_size=3, hidden_size=4, output_activation="linear"),
    "lstm_coupled": LSTM(input_size=3, hidden_size=4, coupled=True),
    "lstm_peepholes": LSTM(input_size=3, hidden_size=4, peepholes=True),
    "lstm_gate_recurrence": LSTM(input_size=3, hidden_size=4, gate_recurrence=True),
    "lstm_projected": LSTM(input_size=3, hidden_size=4, projection_size=2),
    "lstm_layer_norm": LSTM(input_size=3, hidden_size=4, layer_norm=True),
    "lstm_every_variant": LSTM(
        input_size=3, hidden_size=4, coupled=True, peepholes=True, gate_recurrence=True, projection_size=2, layer_norm=True
    ),
    "multiplicative_lstm": MultiplicativeLSTM(input_size=3, hidden_size=4),
    "slstm": SLSTM(input_size=3, hidden_size=4, heads=2),
    "slstm_exp": SLSTM(input_size=3, hidden_size=4, forget_activation="exp"),
    "gru_layer_norm": GRU(input_size=3, hidden_size=4, layer_norm=True),
    "gru_reset_before_layer_norm": GRU(input_size=3, hidden_size=4, layer_norm=True, reset_after=False),
    "time_delay": TimeDelay(input_size=3, hidden_size=4, taps=3),
    "mgu": MGU(input_size=3, hidden_size=4),
    "mgu_flax": MGU(input_size=3, hidden_size=4, form="flax", forget_bias=1.0),
    "mut1": MUT1(input_size=4, hidden_size=4),
    "mut1_tokens": MUT1(input_size=4, hidden_size=4),
    "mut2": MUT2(input_size=4, hidden_size=4),
    "mut3": MUT3(input_size=3, hidden_size=4),
    "ind_rnn": IndRNN(input_size=3, hidden_size=4),
    "recurrent_highway": RecurrentHighway(input_size=3, hidden_size=4, depth=2),
    "conv_lstm": ConvLSTM(input_size=2, hidden_size=3, spatial_shape=(4,)),
    "conv_lstm_2d": ConvLSTM(input_size=1, hidden_size=2, spatial_shape=(3, 2), kernel_size=(3, 2)),
    "conv_lstm_3d": ConvLSTM(input_size=1, hidden_size=2, spatial_shape=(2, 3, 2), kernel_size=2),
    "min_gru": MinGRU(input_size=3, hidden_size=4),
    "min_lstm": MinLSTM(input_size=3, hidden_size=4, activation="tanh"),
    "sru": SRU(input_size=3, hidden_size=4),
    "sru_square": SRU(input_size=4, hidden_size=4, activation="tanh"),
    "qrnn": QRNN(input_size=3, hidden_size=4, pooling="ifo"),
    "rg_lru": RGLRU(input_size=4, hidden_size=4),
    "rg_lru_heads": RGLRU(input_size=4, hidden_size=6, heads=2),
    "lru": LRU(input_size=3, hidden_size=4, state_size=5),
    "s4d": S4D(input_size=3, hidden_size=4, state_size=2),
    "dense": Dense(3, 4),
    "embedding": Embedding(3, 4),
    "layer_norm": LayerNorm(3),
    "standardize": Standardize((1.0, 2.0, -1.0), (2.0, 0.5, 1.0)),
    "dropout": Dropout(0.3, input_shape=(3,)),
    "dropout_sequence": Dropout(0.3, per="sequence", input_shape=(3,)),
    "feedforward": Feedforward(nn.Sequential((nn.Dense(5), nn.relu, nn.Dropout(0.3), nn.Dense(4))), input_shape=(3,)),
    "feedforward_frames": Feedforward(Patches(3), input_shape=(4, 4, 1)),
    "feedforward_tokens": Feedforward(nn.Dense(4), input_shape=(3,)),
    "frame_encoder": frame_encoder((5, 4, 2), channels=(4,), features=3, grid=1, dropout=0.2),
    "recurrent_dropout": RecurrentDropout(LSTM_3_4, 0.3),
    "recurrent_dropout_two_products": RecurrentDropout(GRU(input_size=3, hidden_size=4, reset_after=False), 0.3),
    "zoneout": Zoneout(LSTM_3_4, (0.5, 0.1)),
    "zoneout_dropout": Zoneout(RecurrentDropout(MGU(input_size=3, hidden_size=4), 0.2), 0.3),
    "learned_initial_state": LearnedInitialState(LSTM_3_4),
    "learned_initial_state_stack": LearnedInitialState(Stack((Dropout(0.3), Elman(input_size=3, hidden_size=2)))),
    "stack": Stack((Dropout(0.3), ELMAN, Dropout(0.3, per="sequence"), LSTM_4_2)),
    "stack_tokens": Stack((GRU_3_4, Dropout(0.2), Residual(GRU(input_size=4, hidden_size=4)))),
    "residual": Residual(RecurrentDropout(Elman(input_size=3, hidden_size=3), 0.2)),
    "highway": Highway(GRU(input_size=3, hidden_size=3)),
    "bidirectional": Bidirectional(LSTM_3_4),
    "bidirectional_sum": Bidirectional(GRU_3_4, ELMAN, merge="sum"),
    "chain": Chain((Bidirectional(ELMAN, merge="mean"), Dropout(0.2), Bidirectional(LSTM_4_2))),
    "center": Center(input_size=3),
    "convolution": Convolution(input_size=3, features=2, widths=(2, 3)),
    "convolution_causal": Convolution(input_size=3, features=4, dilation=2, causal=True, activation="tanh"),
    "convolution_tokens": Convolution(input_size=3, features=4, activation="gelu"),
    "temporal_conv_net": TemporalConvNet(input_size=3, filters=(6,), width=3, dropout=0.2),
    "temporal_conv_net_causal": TemporalConvNet(input_size=3, filters=(3, 2), width=2, causal=True),
    "dilated_conv_net": DilatedConvNet(input_size=3, hidden_size=4, depth=2, dropout=0.3),
    "chain_of_convolutions": Chain((Bidirectional(ELMAN), Convolution(input_size=8, features=3), LSTM_3_4)),
    "bahdanau": attentive(GRU_3_4, Additive(query_size=4, memory_size=6, hidden_size=5), order="before"),
    "bahdanau_coverage": attentive(
        RecurrentDropout(GRU_3_4, 0.3), Additive(query_size=4, memory_size=6, hidden_size=5, coverage=True), order="before"
    ),
    "luong": attentive(LSTM_3_4, Dot(query_size=4, memory_size=4, scaled=True)),
    "luong_stack": attentive(Stack((LSTM_3_4, Dropout(0.3), LSTM_4_2)), General(query_size=2, memory_size=6)),
    "luong_tokens": attentive(ELMAN, General(query_size=4, memory_size=6)),
    "luong_not_fed": attentive(LSTM_3_4, Dot(query_size=4, memory_size=4), input_feeding=False),
    "luong_location": attentive(ELMAN, Location(query_size=4, memory_size=6, max_length=9)),
    "luong_predicted": attentive(GRU_3_4, Local(attention=General(query_size=4, memory_size=6), window=2)),
    "luong_monotonic": attentive(
        ELMAN, Local(attention=Dot(query_size=4, memory_size=4), window=1, predicted=False), input_feeding=False
    ),
    "image_and_vector": attentive(GRU_3_4, General(query_size=4, memory_size=6), memory="image", vectors=(("topic", 2),)),
    "hard": attentive(GRU_3_4, Hard(attention=General(query_size=4, memory_size=6))),
    "multi_head": attentive(GRU_3_4, MultiHead(query_size=4, memory_size=6, hidden_size=8, heads=2), order="before"),
    "past": PastAttention(cell=RecurrentDropout(LSTM_3_4, 0.3), window=3, hidden_size=2),
    "window": WindowAttention(cell=RecurrentDropout(GRU_3_4, 0.3), window=3, hidden_size=2),
}

TOKENS = {
    "lstm_tokens",
    "stack_tokens",
    "luong_tokens",
    "feedforward_tokens",
    "convolution_tokens",
    "mut1_tokens",
    "embedding",
    "sru_square",
}  # fed integer tokens instead of features

# The default suite checks one cell per mechanism; `make test-all` checks all.
SLOW = {
    "zoneout", "learned_initial_state", "lstm_every_variant", "feedforward_frames", "temporal_conv_net", "slstm", "conv_lstm",
    "sru", "chain", "bahdanau", "dropout", "lru",
    "elman", "elman_relu", "irnn", "lstm_tokens", "dropout_sequence", "recurrent_dropout_two_products", "residual",
    "window", "past",
    "mgu", "mgu_flax", "mut1", "mut1_tokens", "mut2", "mut3", "ind_rnn", "recurrent_highway", "conv_lstm_2d", "conv_lstm_3d",
    "embedding", "layer_norm", "zoneout_dropout", "learned_initial_state_stack", "highway",
    "min_gru", "min_lstm", "sru_square", "qrnn", "rg_lru", "rg_lru_heads", "s4d",
    "gru_reset_before_heads", "gru_reset_before", "gru_heads", "lstm_heads", "recurrent_dropout", "stack_tokens",
    "bidirectional_sum", "luong", "multi_head", "bahdanau_coverage", "luong_stack", "luong_tokens", "luong_not_fed",
    "center", "feedforward", "frame_encoder", "feedforward_tokens", "convolution", "convolution_causal", "convolution_tokens",
    "temporal_conv_net_causal", "chain_of_convolutions", "dilated_conv_net",
    "lstm_no_input_gate", "lstm_no_forget_gate", "lstm_no_output_gate", "lstm_linear_input", "lstm_linear_output",
    "lstm_coupled", "lstm_peepholes", "lstm_gate_recurrence", "lstm_projected", "lstm_layer_norm", "multiplicative_lstm",
    "slstm_exp", "gru_layer_norm", "gru_reset_before_layer_norm",
    "time_delay", "luong_location", "luong_predicted", "luong_monotonic", "image_and_vector", "hard",
}  # fmt: skip


@functools.cache
def check_options(name: str) -> dict:
    """The options of check_cell for a cell of the catalogue: whether it reads tokens, and the memory that it attends to."""
    cell = CATALOG[name]
    context = memory(cell) if isinstance(cell, Attentive) else None
    if isinstance(cell, Attentive) and cell.memory is not None:
        vectors = {name: np.random.default_rng(2).normal(size=(3, size)).astype(np.float32) for name, size in cell.vectors}
        context = {cell.memory: context} | jax.tree.map(jnp.asarray, vectors)
    return {"tokens": name in TOKENS, "context": context}


def memory(cell: Attentive):
    """A random memory of 3 rows with 4, 1 and 0 real places. Nothing is compiled."""
    shape = 3, 4, cell.attention.memory_size
    params = jax.eval_shape(cell.init, jax.random.key(0))
    memory = jax.eval_shape(cell.remember, params, jnp.zeros(shape), jnp.zeros(shape[:2], bool))
    rng, mask = np.random.default_rng(1), np.arange(4) < np.array([[4], [1], [0]])
    keys, values = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(a.dtype), (memory.keys, memory.values))
    return jax.tree.map(jnp.asarray, memory._replace(keys=keys, values=values * mask[..., None].astype(np.float32), mask=mask))


def leaving(*others, of):
    """Values for parametrize: `others` run by default, the rest of `of` only in `make test-all`."""
    return [value if value in others else pytest.param(value, marks=pytest.mark.slow) for value in of]
