"""The cudnn backend: the weights it packs against jax's own reference, and all that is around cuDNN's two calls.

No GPU is needed: where cuDNN would be called stands that reference, and its own gradient. What cuDNN itself gives is not
tested here.
"""

import logging
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

from seqjax import GRU, LSTM, Bidirectional, InputError, explain, unroll
from seqjax.recurrence.gpu import cudnn, devices
from tests.recurrence.test_fused import Case, gap, gradient, weighted

CELL = LSTM(input_size=3, hidden_size=4)


def reference(xs, h, c, weights, lengths, sizes):
    unpacked = rnn.unpack_lstm_weights(weights, sizes["input_size"], sizes["hidden_size"], 1, False)
    with jax.numpy_rank_promotion("allow"):
        return rnn.lstm_ref(xs, h, c, *unpacked, lengths, **sizes)


def forward(xs, h, c, weights, lengths, *, precision, **sizes):
    assert lengths.dtype == jnp.int32
    results = reference(xs, h, c, weights, lengths, sizes)
    return results, (xs, h, c, weights, lengths, results[0], jnp.ones(7))


def backward(input_size, hidden_size, num_layers, dropout, bidirectional, precision, residuals, gradients):
    xs, h, c, weights, lengths, _, reserve = residuals
    assert reserve.shape == (7,)
    sizes = {"input_size": input_size, "hidden_size": hidden_size}
    sizes |= {"num_layers": num_layers, "dropout": dropout, "bidirectional": bidirectional}
    pull = jax.vjp(lambda *args: reference(*args, lengths, sizes), xs, h, c, weights)[1]
    calls.append("backward")
    return (*pull(gradients), jnp.zeros_like(lengths))


calls = []


@pytest.fixture
def nvidia(monkeypatch):
    """As if cuDNN were here."""
    calls.clear()
    monkeypatch.setattr(cudnn, "rnn", types.SimpleNamespace(lstm_fwd=forward, lstm_bwd=backward))
    monkeypatch.setattr(cudnn, "_broken", lambda: None)
    monkeypatch.setattr(devices, "no_nvidia_gpu", lambda: None)
    monkeypatch.setattr(devices, "on_nvidia", lambda kernel, plain, *arguments: kernel(*arguments))
    jax.clear_caches()
    yield
    jax.clear_caches()


def test_packed_weights_are_those_of_jax():
    """The reference with the packed weights equals our scan: values, and gradients of every parameter."""
    case = Case(CELL, masked=False)
    lengths = jnp.full(3, 7, jnp.int32)

    def ours(params):
        return unroll(CELL, params, case.xs, case.state, backend="scan")[1]

    def theirs(params):
        weights = cudnn.pack(params)
        assert weights.shape == (rnn.get_num_params_in_lstm(3, 4, 1, False),)
        return reference(case.xs, case.state.h[None], case.state.c[None], weights, lengths, cudnn.sizes(CELL))[0]

    both = [jax.value_and_grad(lambda p, f=f: weighted(f(p)))(case.params) for f in (ours, theirs)]
    assert gap(*both) <= 1e-5


def gap_to_scan(case, derivative):
    return gap(*(jax.jit(derivative(case.value(b)))(*case.arguments) for b in ("cudnn", "scan")))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("real", ["all", "lengths", "mask"])
def test_equals_the_plain_scan(real, reverse, nvidia):
    """Rows of no steps and masks with gaps among them."""
    options = {"lengths": {"lengths": np.array([7, 0, 3])}, "mask": {"mask": np.random.default_rng(1).random((3, 7)) < 0.6}}
    case = Case(CELL, masked=False, reverse=reverse, **options.get(real, {}))
    assert gap_to_scan(case, lambda f: jax.value_and_grad(f, argnums=(0, 1, 2))) <= 1e-5
    assert calls == ["backward"]
    found, wanted = (unroll(CELL, case.params, case.xs, case.state, backend=b, **case.options) for b in ("cudnn", "scan"))
    assert gap(found, wanted) <= 1e-5


@pytest.mark.slow
def test_forward_mode_second_order_and_vmap(nvidia):
    case = Case(CELL, masked=False, lengths=np.array([7, 0, 3]))
    along = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), case.arguments)

    def push(f):
        return lambda *args: jax.jvp(f, args, along)

    assert gap_to_scan(case, push) <= 1e-5
    assert gap_to_scan(case, lambda f: push(gradient(f))) <= 1e-5  # hessian-vector product, forward over reverse
    assert gap_to_scan(case, lambda f: gradient(lambda *args: weighted(gradient(f)(*args)))) <= 1e-5
    case.arguments = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), case.arguments)
    assert gap_to_scan(case, lambda f: jax.vmap(gradient(f))) <= 1e-5


def test_each_direction_is_a_call(nvidia):
    layer = Bidirectional(CELL)
    params, xs = layer.init(jax.random.key(0)), jnp.sin(jnp.arange(30.0)).reshape(2, 5, 3)
    assert [choice.backend for choice in explain(layer, params, xs)] == ["cudnn", "cudnn"]
    both = [
        jax.grad(lambda p, b=b: weighted(unroll(layer, p, xs, lengths=jnp.array([5, 2]), backend=b)))(params)
        for b in ("auto", "scan")
    ]
    assert gap(*both) <= 1e-5
    assert calls == ["backward", "backward"]


def test_refused_with_a_reason(nvidia):
    def reason(cell=CELL, xs=None, dtype=jnp.float32, **options):
        params = jax.tree.map(lambda a: a.astype(dtype), cell.init(jax.random.key(0)))
        xs = jnp.ones((2, 3, 3), dtype) if xs is None else xs
        with pytest.raises(InputError, match="backend 'cudnn' cannot run") as error:
            unroll(cell, params, xs, backend="cudnn", **options)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "it runs LSTM cells of one head" in reason(GRU(input_size=3, hidden_size=4))
    assert "it runs LSTM cells of one head" in reason(LSTM(input_size=3, hidden_size=4, heads=2))
    assert "it runs float32, not bfloat16" in reason(dtype=jnp.bfloat16)
    assert "it runs float32, not float32, int32" in reason(xs=jnp.zeros((2, 3), jnp.int32))
    assert "it cannot reset" in reason(reset=jnp.zeros((2, 3), bool))
    assert "it gives no states on the way" in reason(collect="states")
    assert "it stores what its backward pass needs" in reason(remat=2)
    assert "there are no steps" in reason(xs=jnp.ones((2, 0, 3)))


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU; not here")
@pytest.mark.parametrize("reverse", [False, True])
def test_cudnn_itself_equals_the_plain_scan(reverse):
    case = Case(CELL, masked=False, lengths=np.array([7, 0, 3]), reverse=reverse)
    assert gap_to_scan(case, lambda f: jax.value_and_grad(f, argnums=(0, 1, 2))) <= 1e-5


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="is about machines without a GPU")
def test_without_a_gpu_it_says_so():
    choice = explain(CELL, CELL.init(jax.random.key(0)), jnp.ones((2, 3, 3)))[0]
    assert choice.refused["cudnn"] == "it is for NVIDIA GPUs"


def test_a_gpu_without_cudnn_is_told_once(monkeypatch, caplog):
    """Expected to run, and cannot: another backend does, and the log says why."""
    monkeypatch.setattr(devices, "no_nvidia_gpu", lambda: None)
    cudnn._broken.cache_clear()
    params = CELL.init(jax.random.key(0))
    with caplog.at_level(logging.WARNING, "seqjax"):
        choices = [explain(CELL, params, jnp.ones((2, 3, 3)))[0] for _ in range(2)]
    assert all(choice.backend != "cudnn" for choice in choices)
    assert choices[0].refused["cudnn"].startswith("jaxlib cannot use cuDNN: ")
    assert len(caplog.records) == 1
    assert "LSTMs run without cuDNN" in caplog.records[0].getMessage()
    cudnn._broken.cache_clear()
