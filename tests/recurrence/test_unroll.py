"""unroll, truncated and explain, beyond the laws."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import (
    GRU,
    LSTM,
    Bidirectional,
    Dense,
    Dropout,
    Elman,
    InputError,
    Noise,
    RecurrentDropout,
    Residual,
    Stack,
    explain,
    reseed,
    to_json,
    truncated,
    unroll,
)
from seqjax.recurrence import backends
from tests.catalog import leaving

CELL = LSTM(input_size=3, hidden_size=4)
PARAMS = jax.jit(CELL.init)(jax.random.key(0))
XS = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6, 3)), jnp.float32)
NOISY = Stack((Dropout(0.4), RecurrentDropout(CELL, 0.4), Dropout(0.4, per="sequence")))
CHUNKS = itertools.product([1, 4, 6, 50, "sqrt"], [False, True])
NOISY_PARAMS = {"1": PARAMS}


def close(a, b, tolerance=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance), a, b)


# ---- arguments


def test_dropout_refuses_tokens():
    with pytest.raises(InputError, match="Dropout drops floating features, and xs is int32: put it after the part that reads xs"):
        unroll(NOISY, NOISY_PARAMS, jnp.zeros((2, 6), int))


@pytest.mark.parametrize("wrap", [Residual, lambda layer: RecurrentDropout(layer, 0.1)])
def test_wrappers_of_cells_refuse_layers(wrap):
    with pytest.raises(InputError, match="wraps a cell, and a Bidirectional is not one"):
        wrap(Bidirectional(CELL))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64"])
def test_narrow_lengths_count_to_any_step(dtype):
    xs = jnp.ones((1, 300, 3))
    _, ys = unroll(CELL, PARAMS, xs, lengths=np.array([100], dtype))
    assert int((ys != 0).any(-1).sum()) == 100


def test_noisy_cells_say_so():
    assert "noisy" in repr(Dropout(0.5)) and "noisy" in repr(NOISY)
    assert "noisy" not in repr(CELL)


def test_dense_over_tokens_has_the_dtype_of_its_parameters():
    dense = Dense(3, 2)
    params = jax.tree.map(lambda a: a.astype(jnp.bfloat16), dense.init(jax.random.key(0)))
    assert unroll(dense, params, jnp.zeros((2, 4), jnp.int8))[1].dtype == jnp.bfloat16


def test_lengths_are_not_checked_under_jit():
    run = jax.jit(lambda n: unroll(CELL, PARAMS, XS, lengths=n)[1])
    assert jnp.isfinite(run(jnp.array([7, 2]))).all()


def test_unbatched_has_no_batch_axis_anywhere():
    state, ys = unroll(CELL, PARAMS, XS[0], CELL.initial_state(PARAMS), lengths=4, reset=np.arange(6) == 2)
    both, all_ys = unroll(CELL, PARAMS, XS, lengths=[4, 4], reset=np.tile(np.arange(6) == 2, (2, 1)))
    assert ys.shape == (6, 4)
    close((state, ys), jax.tree.map(lambda a: a[0], (both, all_ys)))


def test_tokens_equal_one_hot_vectors():
    tokens = jnp.array([[0, 2, 1], [1, 1, 0]])
    close(unroll(CELL, PARAMS, tokens), unroll(CELL, PARAMS, jax.nn.one_hot(tokens, 3)))


@pytest.mark.parametrize("rows", [1, 40], ids=["few", "many"])  # the bias is added to the rows read, or to the kernel's
@pytest.mark.parametrize("part", [Elman(3, 4), GRU(3, 4), Dense(3, 2)], ids=["elman", "gru", "dense"])
def test_tokens_outside_read_zeros_and_their_gradient_is_that_of_the_value(part, rows):
    params, tokens = jax.jit(part.init)(jax.random.key(0)), jnp.tile(jnp.array([[0, 3, 999], [-1, 2, -100]]), (rows, 1))

    def loss(params, xs):
        return jnp.sin(unroll(part, params, xs)[1]).sum()

    results = jax.jit(jax.value_and_grad(loss))(params, tokens)
    close(results, jax.jit(jax.value_and_grad(loss))(params, jax.nn.one_hot(tokens, 3)), 1e-5)


def test_padding_may_hold_any_token():
    tokens, lengths = np.array([[0, 2, -1], [1, -1, -1]]), [2, 1]
    close(unroll(CELL, PARAMS, tokens, lengths=lengths), unroll(CELL, PARAMS, np.maximum(tokens, 0), lengths=lengths))


def test_a_plain_tuple_and_numbers_of_numpy_are_taken():
    state = jax.tree.map(lambda a: a + 0.3, CELL.initial_state(PARAMS, (2,)))
    close(unroll(CELL, PARAMS, XS, tuple(state)), unroll(CELL, PARAMS, XS, state))
    twin = LSTM(np.int64(3), jnp.asarray(4), forget_bias=np.float32(1))
    assert twin == CELL and to_json(twin) == to_json(CELL)
    fields = [to_json(twin)[name] for name in ("input_size", "hidden_size", "forget_bias", "heads")]
    assert [type(value) for value in fields] == [int, int, float, int]
    close(unroll(CELL, PARAMS, XS, remat=np.int64(2), reverse=np.bool_(True)), unroll(CELL, PARAMS, XS, remat=2, reverse=True))
    flags = [[True, True, False, True, True, True]] * 2
    close(unroll(CELL, PARAMS, XS, mask=flags), unroll(CELL, PARAMS, XS, mask=np.array(flags)))


def test_kernels_of_two_widths_are_named(x64):
    """float64 in, float32 recurrent: the state could keep neither."""
    params = jax.tree.map(lambda a: np.asarray(a, np.float32), PARAMS)
    params["input_kernel"] = params["input_kernel"].astype(np.float64)
    with jax.numpy_dtype_promotion("standard"), pytest.raises(InputError) as error:
        unroll(CELL, params, np.asarray(XS, np.float32))
    assert "input_kernel is float64" in str(error.value) and "recurrent_kernel is float32" in str(error.value)


def test_explain_reads_shapes():
    assert explain(CELL, PARAMS, jax.ShapeDtypeStruct((2, 6, 3), jnp.float32))[0].backend == "fused"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frames(Elman):
    """Reads pictures [2, 3, 1]: floating, or bytes from 0 to 255."""

    input_shape = (2, 3, 1)

    def project(self, params, xs):
        return super().project(params, xs.astype(jnp.float32).reshape(*xs.shape[:-3], 6) / 255)


def test_bytes_of_more_than_one_axis_are_features():
    """Frames of uint8 give what the same numbers in float32 give, in every backend, and are checked as features are."""
    cell = Frames(input_size=6, hidden_size=4)
    params, frames = jax.jit(cell.init)(jax.random.key(0)), np.arange(2 * 5 * 6, dtype=np.uint8).reshape(2, 5, 2, 3, 1)
    for options in ({}, {"backend": "scan"}, {"remat": 2}):
        run = jax.jit(jax.value_and_grad(lambda p, x, o=options: jnp.sin(unroll(cell, p, x, lengths=[5, 3], **o)[1]).sum()))
        close(run(params, frames), run(params, frames.astype(np.float32)))
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    assert unroll(cell, half, frames)[1].dtype == jnp.bfloat16
    with pytest.raises(InputError, match=r"xs of uint8 features has shape \(2, 5\) of rank 2, Frames reads \[B, T, 2, 3, 1\]"):
        unroll(cell, params, frames[:, :, 0, 0, 0])


# ---- results


@pytest.mark.parametrize("chunks", leaving((4, False), ("sqrt", True), of=CHUNKS))
def test_remat_changes_nothing(chunks):
    remat, reverse = chunks

    def loss(params, xs, remat):
        state, ys = unroll(NOISY, params, xs, lengths=jnp.array([6, 3]), key=jax.random.key(5), remat=remat, reverse=reverse)
        return jnp.vdot(ys, jnp.cos(ys)) + state[1].cell.c.sum()

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), static_argnums=2)
    close(run(NOISY_PARAMS, XS, remat), run(NOISY_PARAMS, XS, None))


@pytest.mark.parametrize("window", leaving(2, 4, 9, of=[1, 2, 4, 9]))
def test_truncated_equals_unrolls_with_the_gradient_stopped(window):
    lengths = np.array([6, 3])
    mask = np.arange(6) < lengths[:, None]
    initial = jax.tree.map(lambda a: a + 0.3, CELL.initial_state(PARAMS, (2,)))

    def by_hand(params, xs, state):
        outputs = []
        for start in range(0, 6, window):
            if start:
                state = jax.lax.stop_gradient(state)
            part = slice(start, start + window)
            state, ys = unroll(CELL, params, xs[:, part], state, mask=mask[:, part])
            outputs.append(ys)
        return state, jnp.concatenate(outputs, 1)

    def loss(run):
        def value(*arguments):
            state, ys = run(*arguments)
            return jnp.vdot(ys, jnp.sin(jnp.arange(ys.size, dtype=ys.dtype)).reshape(ys.shape)) + state.c.sum(), (state, ys)

        return jax.jit(jax.grad(value, argnums=(0, 1, 2), has_aux=True))(PARAMS, XS, initial)

    cut = loss(lambda p, x, s: truncated(CELL, p, x, s, window=window, lengths=lengths))
    close(cut, loss(by_hand))
    uncut = loss(lambda p, x, s: unroll(CELL, p, x, s, lengths=lengths))
    close(cut[1], uncut[1])  # the values are those of unroll
    differs = float(jnp.abs(cut[0][0]["recurrent_kernel"] - uncut[0][0]["recurrent_kernel"]).max())
    assert (differs > 1e-4) == (window < 6)


def test_truncated_cuts_the_path_from_a_late_output_to_an_early_input():
    late = lambda x: truncated(CELL, PARAMS, x, window=3)[1][:, 4].sum()  # noqa: E731
    grads = jax.jit(jax.grad(late))(XS)
    assert not grads[:, :3].any()
    assert grads[:, 3:5].all()


def test_truncated_and_remat_go_together():
    close(truncated(CELL, PARAMS, XS, window=4, remat=2), unroll(CELL, PARAMS, XS))


def test_collected_states_of_a_noisy_stack_restart_anywhere():
    """The state collected at a step, given to a new unroll, continues with the same masks."""
    _, ys = unroll(NOISY, NOISY_PARAMS, XS, key=jax.random.key(2))
    _, states = unroll(NOISY, NOISY_PARAMS, XS, key=jax.random.key(2), collect="states")
    middle = jax.tree.map(lambda a: a[:, 2], states)
    close(unroll(NOISY, NOISY_PARAMS, XS[:, 3:], middle)[1], ys[:, 3:])
    assert states[1].cell.h.shape == (2, 6, 4)


def test_noise_counts_real_steps_and_ignores_reset():
    mask = np.array([[True, False, True, True, False, True], [False] * 6])
    state, _ = unroll(NOISY, NOISY_PARAMS, XS, key=jax.random.key(2), mask=mask, reset=np.ones((2, 6), bool))
    for noise in (state[0], state[1].noise, state[2]):
        assert noise.count.tolist() == [4, 0]


def test_a_key_for_every_row_makes_its_noise_independent_of_its_place():
    keys, order = jax.random.split(jax.random.key(4), 2), np.array([1, 0])
    rows = unroll(NOISY, NOISY_PARAMS, XS, key=keys)[1]
    close(unroll(NOISY, NOISY_PARAMS, XS[order], key=keys[order])[1], rows[order])
    close(unroll(NOISY, NOISY_PARAMS, XS[1], key=keys[1])[1], rows[1])


def test_noise_is_a_function_of_key_and_count():
    off = NOISY.initial_state(NOISY_PARAMS, (2,))
    on = NOISY.initial_state(NOISY_PARAMS, (2,), key=jax.random.key(3))
    assert jax.tree.structure(on) == jax.tree.structure(reseed(off, jax.random.key(3)))
    keyed = unroll(NOISY, NOISY_PARAMS, XS, key=jax.random.key(3))[1]
    close(keyed, unroll(NOISY, NOISY_PARAMS, XS, on)[1])
    close(keyed, unroll(NOISY, NOISY_PARAMS, XS, off, key=jax.random.key(3))[1])
    assert not np.allclose(keyed, unroll(NOISY, NOISY_PARAMS, XS, key=jax.random.key(4))[1])
    close(unroll(NOISY, NOISY_PARAMS, XS, off)[1], unroll(CELL, PARAMS, XS)[1])  # no key: deterministic, nothing dropped
    close(unroll(NOISY, NOISY_PARAMS, XS, on, key=None)[1], keyed)  # a carried noise stays as it is
    assert isinstance(reseed(on, None)[0], Noise) and reseed(on, None)[0].key is None


def test_dropout_keeps_the_mean_and_its_rate():
    ones = jnp.ones((64, 50, 40))
    for per, axis in (("step", None), ("sequence", 1)):
        _, ys = unroll(Dropout(0.25, per=per, input_shape=(40,)), {}, ones, key=jax.random.key(0))
        assert set(np.unique(ys)) == {0.0, np.float32(1 / 0.75)}
        assert abs(float((ys == 0).mean()) - 0.25) < 0.02
        same = bool((ys == ys[:, :1]).all())
        assert same == (axis == 1)


def test_recurrent_dropout_draws_one_mask_for_all_steps():
    """With an identity recurrence and no input, a unit that is dropped once is dropped always."""
    cell = RecurrentDropout(Elman(input_size=1, hidden_size=200, activation="relu", recurrent_init="identity"), 0.5)
    params = cell.init(jax.random.key(0))
    start = cell.initial_state(params, (1,), key=jax.random.key(1))
    start = start._replace(cell=type(start.cell)(jnp.ones((1, 200))))
    _, ys = unroll(cell, params, jnp.zeros((1, 5, 1)), start)
    survivors = np.asarray(ys[0, 0] > 0)
    assert 60 < survivors.sum() < 140
    close(ys[0], np.where(survivors, 2.0 ** np.arange(1, 6)[:, None], 0))


def test_context_reaches_the_initial_state_and_every_step():
    class_embedding = jnp.ones((2, 4))

    class Conditioned(GRU):
        def initial_state(self, params, batch_shape=(), *, context=None, key=None):
            state = super().initial_state(params, batch_shape)
            return state._replace(h=state.h + (0 if context is None else context))

    cell = Conditioned(input_size=3, hidden_size=4)
    params = cell.init(jax.random.key(0))
    state, _ = unroll(cell, params, XS[:, :0], context=class_embedding)
    close(state.h, class_embedding)
    reset = np.zeros((2, 6), bool)
    reset[:, 3] = True
    _, ys = unroll(cell, params, XS, context=class_embedding, reset=reset)
    _, tail = unroll(cell, params, XS[:, 3:], context=class_embedding)
    close(ys[:, 3:], tail)


def test_explain_names_every_backend_and_runs_nothing():
    choices = explain(Stack((CELL, Dense(4, 2))), {"0": PARAMS, "1": Dense(4, 2).init(jax.random.key(0))}, XS, lengths=[1, 2])
    assert [(c.cell, c.backend) for c in choices] == [(CELL, "fused")]
    assert str(choices[0]).startswith(f"{CELL}: fused\n  not pallas: ")
    assert list(choices[0].refused) == ["pallas", "linear"]


def test_a_backend_gives_its_reason(monkeypatch):
    class Never:
        @staticmethod
        def supports(cell, call):
            return f"{type(cell).__name__} is not for it"

    monkeypatch.setattr(backends, "BACKENDS", {"never": Never, **backends.BACKENDS})
    untraced = LSTM(input_size=3, hidden_size=5)
    params = untraced.init(jax.random.key(0))
    assert str(explain(untraced, params, XS)[0]).startswith(f"{untraced}: fused\n  not never: LSTM is not for it\n")
    with pytest.raises(InputError, match=r"backend 'never' cannot run LSTM.*: LSTM is not for it"):
        unroll(untraced, params, XS, backend="never")


def test_bfloat16_in_bfloat16_out_float32_state():
    params, xs = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (PARAMS, XS))
    state, ys = unroll(CELL, params, xs)
    assert ys.dtype == jnp.bfloat16
    assert state.c.dtype == jnp.float32
    grads = jax.jit(jax.grad(lambda p: unroll(CELL, p, xs)[1].astype(jnp.float32).sum()))(params)
    assert {g.dtype for g in jax.tree.leaves(grads)} == {jnp.dtype(jnp.bfloat16)}
