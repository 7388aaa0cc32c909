"""A program on eight simulated devices: losses and gradients of rows that are sharded, beside those on one device.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m tests.recurrence.eight_devices explicit:lstm shard_map:chain ...

prints {"mode:case": the largest relative difference of the loss or of a gradient's entry} as JSON. A mode is "explicit" or
"automatic" (axes of the mesh), "shard_map" or "pmap" (the last not for models).
"""

import functools
import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import seqjax
from seqjax import (
    GRU,
    LRU,
    LSTM,
    S4D,
    SRU,
    Bidirectional,
    Chain,
    Dense,
    Dropout,
    Elman,
    Model,
    RecurrentDropout,
    Residual,
    Stack,
    TemporalConvNet,
)
from seqjax.attention import Additive, Attentive, General
from tests.catalog import memory
from tests.models.every_model import MODELS

B, T, D, H = 8, 6, 3, 4
LONG = 140  # steps of linear_blocks
ROWS, EVERYWHERE = PartitionSpec("data"), PartitionSpec()
RNG = np.random.default_rng(0)
LENGTHS = {"lengths": np.array([6, 3, 0, 5, 1, 6, 2, 4], np.int32)}
MASK = {"mask": RNG.random((B, T)) < 0.7}
RESET = {"reset": RNG.random((B, T)) < 0.3}
KEY = {"key": jax.random.key(3)}
LSTM_D, GRU_D, GRU_H = LSTM(input_size=D, hidden_size=H), GRU(input_size=D, hidden_size=H), GRU(input_size=H, hidden_size=H)
DEEP = Chain((Bidirectional(LSTM_D), Bidirectional(GRU(input_size=2 * H, hidden_size=H)), Residual(Dense(2 * H, 2 * H))))
NOISY = Stack((Dropout(0.2), RecurrentDropout(LSTM_D, 0.3), Dropout(0.2, per="sequence"), Residual(GRU_H)))
BAHDANAU = Attentive(
    cell=GRU_D, attention=Additive(query_size=H, memory_size=6, hidden_size=5, coverage=True), output_size=D, order="before"
)
LUONG = Attentive(cell=LSTM_D, attention=General(query_size=H, memory_size=6), output_size=5)

# name: (part, options); noise hangs on a row's place in the batch, and so differs inside shard_map
CASES = {
    "lstm": (LSTM_D, LENGTHS | RESET),
    "gru": (GRU_D, LENGTHS),
    "gru_heads": (GRU(input_size=D, hidden_size=H, heads=2, reset_after=False), MASK),
    "elman": (Elman(input_size=D, hidden_size=H), {"reverse": True, **LENGTHS}),
    "scan": (LSTM_D, {"backend": "scan", **LENGTHS}),
    "states": (GRU_D, {"collect": "states", **MASK}),
    "truncated": (GRU_D, {"window": 2, **LENGTHS}),
    "remat": (LSTM_D, {"remat": 4, **LENGTHS, **RESET}),
    "remat_sqrt": (Stack((LSTM_D, GRU_H)), {"remat": "sqrt"}),
    "chain": (DEEP, LENGTHS),
    "dropout": (NOISY, KEY | LENGTHS),
    "attends_before": (BAHDANAU, LENGTHS),
    "attends_after": (LUONG, {}),
    "convolutions": (TemporalConvNet(input_size=D, filters=(4,), width=3), LENGTHS),
    "dense": (Dense(D, H), LENGTHS),
    "linear": (SRU(input_size=D, hidden_size=H), LENGTHS | RESET),
    "linear_complex": (LRU(input_size=D, hidden_size=H), {"remat": 2, "reverse": True, **LENGTHS}),
    "linear_blocks": (S4D(input_size=D, hidden_size=H, state_size=2), {"lengths": LONG - 20 * np.arange(B, dtype=np.int32)}),
    "lstm_tokens": (LSTM_D, LENGTHS),
    "dense_tokens": (Dense(D, H), {}),
}
assert not CASES.keys() & MODELS.keys()


def put(mesh, values, spec):
    """Arrays on the devices of a mesh."""
    return jax.tree.map(lambda a: jax.device_put(a, NamedSharding(mesh, spec)), values)


def arguments_of(name):
    """(parameters, {"xs", "state", "context", and the options that are arrays}, the other options); of a model, its batch."""
    if name in MODELS:
        model, batch = MODELS[name]
        return jax.jit(model.init)(jax.random.key(0)), batch, {}
    part, options = CASES[name]
    params = jax.jit(part.init)(jax.random.key(0))
    steps = LONG if name == "linear_blocks" else T
    shape = (B, steps) if name.endswith("tokens") else (B, steps, D)
    xs = RNG.integers(0, D, shape, np.int32) if name.endswith("tokens") else RNG.normal(size=shape).astype(np.float32)
    context = jax.tree.map(lambda a: np.concatenate([a, a, a])[:B], memory(part)) if isinstance(part, Attentive) else None
    rows = {"xs": xs, "context": context} | {name: a for name, a in options.items() if isinstance(a, np.ndarray)}
    return params, rows, {name: a for name, a in options.items() if name not in rows}


def value_of(part, options, params, rows, *, axis=None):
    """A sum over all results, or the loss of a model; over all devices of an axis."""
    if isinstance(part, Model):
        loss = part.loss(part.apply(params, rows, **options)[1], rows)
        return (loss if axis is None else jax.lax.psum(loss, axis)).mean
    run = functools.partial(seqjax.truncated, window=options["window"]) if "window" in options else seqjax.unroll
    options = {name: a for name, a in options.items() if name != "window"}
    leaves = jax.tree.leaves(run(part, params, **rows, **options))
    total = sum((a**2).sum() for a in leaves if jnp.issubdtype(a.dtype, jnp.floating))
    return total if axis is None else jax.lax.psum(total, axis)


@functools.cache
def on_one_device(name):
    """The loss, and the gradients of parameters and of xs where it is floating; and the arguments that give them."""
    part, (params, rows, options) = (CASES | MODELS)[name][0], arguments_of(name)
    floating = {n: a for n, a in rows.items() if n == "xs" and jnp.issubdtype(a.dtype, jnp.floating)}
    others = {n: a for n, a in rows.items() if n not in floating}

    def loss(params, floating, others, axis=None):
        return value_of(part, options, params, floating | others, axis=axis)

    return gradient(loss)(params, floating, others), loss, (params, floating, others)


def gradient(loss):
    return jax.jit(jax.value_and_grad(loss, (0, 1)))


def gap(mode: str, name: str) -> float:
    """The largest difference between one device and eight, relative to the largest entry of its array, or to 1."""
    expected, loss, (params, floating, others) = on_one_device(name)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto if mode == "automatic" else AxisType.Explicit,))
    arguments = put(mesh, params, EVERYWHERE), put(mesh, floating, ROWS), put(mesh, others, ROWS)
    over_devices = functools.partial(loss, axis="data")
    if mode == "pmap":
        rows = jax.tree.map(lambda a: a.reshape(8, B // 8, *a.shape[1:]), (floating, others))
        loss_of_device, d_params = jax.pmap(lambda *rows: jax.value_and_grad(loss)(params, *rows))(*rows)
        actual, expected = (loss_of_device.sum(), jax.tree.map(lambda d: d.sum(0), d_params)), (expected[0], expected[1][0])
    elif mode == "shard_map":
        specs = {"in_specs": (EVERYWHERE, ROWS, ROWS), "out_specs": EVERYWHERE}
        actual = gradient(jax.shard_map(over_devices, mesh=mesh, **specs))(*arguments)
    else:
        program = gradient(loss).lower(*arguments).compile()
        actual, text = program(*arguments), program.as_text() or ""
        moved = [line[:300] for line in text.splitlines() if re.search(r" all-(gather|to-all)", line)]
        assert "all-reduce" in text and not moved, f"{mode}:{name} moves rows between devices:\n" + "\n".join(moved)
        assert all(a.sharding.spec[0] == "data" for a in actual[1][1].values()), actual[1][1]
    actual, expected = jax.device_get((actual, expected))
    gaps = jax.tree.map(lambda a, b: float(np.abs(a - b).max() / max(1, np.abs(b).max())), actual, expected)
    return max(jax.tree.leaves(gaps))


if __name__ == "__main__":
    assert jax.device_count() == 8
    print(json.dumps({task: gap(*task.split(":")) for task in sys.argv[1:]}))
