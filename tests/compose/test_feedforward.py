"""Linen modules as cells: equality with Linen itself, dropout from noise, constants, refusals, and JSON."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import seqjax
from seqjax import Feedforward, InputError, from_json, to_json, unroll
from seqjax.models import LanguageModel
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.runs.description import describe_run
from seqjax.train.runs.folder import RunFolder
from tests.catalog import CATALOG, Patches
from tests.train.toy import Bench


def frames(dtype, shape=(2, 3, 4, 4, 1)):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def test_bytes_are_frames_of_values_up_to_one_and_the_module_sees_one_batch():
    cell = CATALOG["feedforward_frames"]
    params = cell.init(jax.random.key(0))
    xs = frames(np.uint8)
    _, ys = unroll(cell, params, xs)
    expected = Patches(3).apply(params, xs.reshape(6, 4, 4, 1).astype(np.float32) / 255)
    np.testing.assert_allclose(ys, expected.reshape(2, 3, 3), rtol=1e-5, atol=1e-6)
    _, of_integers = unroll(cell, params, frames(np.int32))
    np.testing.assert_allclose(of_integers, unroll(cell, params, frames(np.float32))[1], rtol=1e-6)


def test_tokens_are_one_hot_vectors():
    cell = CATALOG["feedforward_tokens"]
    params = cell.init(jax.random.key(0))
    tokens = jnp.array([[0, 2, 1]])
    _, ys = unroll(cell, params, tokens)
    np.testing.assert_allclose(ys[0], params["params"]["kernel"][tokens[0]] + params["params"]["bias"][None], rtol=1e-6)


def test_each_row_and_step_draws_its_own_dropout():
    cell = Feedforward(nn.Dropout(0.25), input_shape=(50,))
    state, ys = unroll(cell, {}, jnp.ones((4, 30, 50)), key=jax.random.key(1))
    values, counts = np.unique(np.asarray(ys), return_counts=True)
    np.testing.assert_allclose(values, [0, 1 / 0.75], rtol=1e-6)
    assert abs(counts[0] / ys.size - 0.25) < 0.02 and state.count.tolist() == [30] * 4
    assert len(np.unique(np.asarray(ys).reshape(120, 50), axis=0)) == 120
    np.testing.assert_array_equal(unroll(cell, {}, jnp.ones((4, 30, 50)))[1], 1)


def test_dropout_keeps_its_fields():
    shared = Feedforward(nn.Dropout(0.5, broadcast_dims=(-1,)), input_shape=(6, 7))
    ys = np.asarray(unroll(shared, {}, jnp.ones((2, 5, 6, 7)), key=jax.random.key(1))[1])
    assert (ys == ys[..., :1]).all() and (ys != ys[:, :, :1]).any()
    for quiet in (nn.Dropout(0.5, deterministic=True), nn.Dropout(0.0), nn.Dense(2)):
        assert Feedforward(quiet, input_shape=(3,)).initial_state({}, (2,), key=jax.random.key(0)) == ()
    assert not np.asarray(unroll(Feedforward(nn.Dropout(1.0), (3,)), {}, jnp.ones((1, 2, 3)), key=jax.random.key(1))[1]).any()


def test_other_collections_get_no_gradient():
    cell = CATALOG["feedforward_frames"]
    params = cell.init(jax.random.key(0))
    xs = frames(np.float32) / 255
    grads = jax.grad(lambda p: (unroll(cell, p, xs)[1] ** 2).sum())(params)
    assert not any(g.any() for g in jax.tree.leaves(grads["batch_stats"]))
    assert all(g.any() for g in jax.tree.leaves(grads["params"]))


class Jitter(nn.Module):
    """Draws from an rng that no cell feeds."""

    rng: str = "jitter"

    @nn.compact
    def __call__(self, x, deterministic: bool = True):
        return x if deterministic else x + jax.random.normal(self.make_rng(self.rng), x.shape)


class Always(nn.Module):
    """Draws whether or not it is being trained."""

    @nn.compact
    def __call__(self, x):
        return x + jax.random.normal(self.make_rng("dropout"), x.shape)


class Step(nn.Module):
    """Counts its calls in an integer."""

    @nn.compact
    def __call__(self, x):
        return x + self.variable("counts", "calls", lambda: jnp.zeros((), jnp.int32)).value.astype(x.dtype)


class Total(nn.Module):
    """Sums over the batch."""

    @nn.compact
    def __call__(self, x):
        return x.sum(0)


class Listed(nn.Module):
    """Has sizes, which may come as a list."""

    sizes: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x):
        return x


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (3, r"Feedforward has a module of type int, it must be a flax\.linen\.Module"),
        (nn.Dense, r"a module of type type, it must be"),
        (nn.Sequential([nn.Dense(3)]), r"a module whose Sequential\.layers \(list\) cannot be hashed: give a tuple"),
        (nn.Sequential((nn.relu, Listed([1]))), r"a module whose Listed\.sizes \(list\) cannot be hashed"),
        (nn.BatchNorm(use_running_average=False), r'BatchNorm updates a collection, .* use_running_average=True .*"mean"'),
        (Jitter(), r'Jitter draws from another rng than "dropout" \(.*"jitter"'),
        (Always(), r"Always draws random numbers without noise: give its __call__ an argument deterministic"),
        (Step(), r"Step has a variable counts/calls of dtype int32, all must be floating"),
        (Total(), r"Total returns float32\[3\] for a batch \[2, 3\], it must return floating features of each row"),
    ],
)
def test_what_cannot_be_a_cell_is_refused_in_one_line(module, message):
    with pytest.raises(InputError, match=message) as refusal:
        Feedforward(module, input_shape=(3,)).init(jax.random.key(0))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("shape", [None, 3, (3, 0), (3.5,)])
def test_a_wrong_input_shape_is_refused(shape):
    with pytest.raises(InputError, match=r"Feedforward(.| has )input_shape.* must be a"):
        Feedforward(nn.Dense(3), shape)


class Silent(nn.Module):
    """Calls a module that could drop, and says that it must not."""

    @nn.compact
    def __call__(self, x):
        return Jitter("dropout")(x, deterministic=True)


def test_modules_inside_know_of_the_noise_unless_their_caller_decides():
    attention = nn.MultiHeadDotProductAttention(num_heads=1, dropout_rate=0.5)  # it must be told
    key = jax.random.key(0)
    for module, shape, noisy in (
        (nn.Sequential((Patches(3), nn.tanh)), (4, 4, 1), True),
        (nn.Sequential((attention,)), (3, 2), True),
        (Silent(), (3,), False),
    ):
        cell = Feedforward(module, input_shape=shape)
        params, xs = cell.init(key), np.random.default_rng(0).normal(size=(1, 2, *shape)).astype(np.float32)
        assert bool(cell.initial_state(params)) == noisy
        off, on = unroll(cell, params, xs)[1], unroll(cell, params, xs, key=key)[1]
        assert bool((off != on).any()) == noisy


def test_a_module_that_draws_from_dropout_itself_is_fed():
    cell = Feedforward(Jitter("dropout"), input_shape=(3,))
    _, ys = unroll(cell, {}, jnp.zeros((2, 4, 3)), key=jax.random.key(0))
    assert len(np.unique(np.asarray(ys))) == 24


def test_modules_have_a_json_form():
    module = nn.Sequential((nn.Conv(2, (3, 3), dtype=jnp.bfloat16, name="first"), nn.gelu, Patches(2)))
    cell = Feedforward(module, input_shape=(4, 4, 1))
    data = json.loads(json.dumps(to_json(cell)))
    layers = data["module"]["layers"]
    assert data["module"]["type"] == "linen.Sequential" and layers[1] == {"function": "linen.gelu"}
    assert (layers[0]["type"], layers[0]["dtype"], layers[0]["name"]) == ("linen.Conv", {"dtype": "bfloat16"}, "first")
    assert "parent" not in layers[0] and "kernel_init" not in layers[0] and layers[2] == {"type": "Patches", "features": 2}
    assert from_json(data) == cell and hash(from_json(data)) == hash(cell)


@seqjax.register
class Normed(nn.Module):
    """Applies a module whose type is a field."""

    norm: type = nn.LayerNorm

    @nn.compact
    def __call__(self, x):
        return self.norm()(x)


def test_types_of_modules_have_a_json_form():
    for norm, name in ((nn.RMSNorm, "linen.RMSNorm"), (Normed, "Normed")):
        data = to_json(Feedforward(Normed(norm), input_shape=(3,)))
        assert data["module"] == {"type": "Normed", "norm": {"class": name}}
        assert from_json(json.loads(json.dumps(data))).module == Normed(norm)
    with pytest.raises(InputError, match=r"type Listed is not registered: call seqjax\.register\(Listed\) once"):
        to_json(Normed(Listed))


def test_modules_without_a_json_form_are_refused_by_name():
    for module, message in (
        (Listed((1,)), r"type Listed is not registered: call seqjax\.register\(Listed\) once"),
        (nn.Sequential((jnp.sin,)), "function sin is not registered"),
        (nn.Dense(3, kernel_init=nn.initializers.lecun_normal()), "function init is not registered"),
    ):
        with pytest.raises(InputError, match=message):
            to_json(Feedforward(module, input_shape=(3,)))
    for name in ("save", "nothing"):
        with pytest.raises(InputError, match=f"dtype {name} is not known: jax.numpy has no such scalar type"):
            from_json({"dtype": name})
    for name in ("linen.Module", "linen.jit", "linen.nothing"):
        with pytest.raises(InputError, match=f"type {name} is not known: Flax Linen has no such module"):
            from_json({"type": name})


@seqjax.register
class Mixer(nn.Module):
    """A module of a user."""

    size: int

    @nn.compact
    def __call__(self, x):
        return nn.LayerNorm()(nn.Dense(self.size)(x))


def test_a_run_with_a_module_of_the_user_is_loaded(tmp_path):
    model = LanguageModel(vocabulary_size=5, embedding_size=4, cell=Feedforward(Mixer(3), input_shape=(4,)))
    about = describe_run(experiment="toy", preset="tiny", overrides={}, config={}, model=model)
    folder = RunFolder.create(str(tmp_path / "run"), experiment="toy", preset="tiny")
    folder.write_config(about)
    state = Bench(model=model).state()
    with Checkpoints(folder.checkpoints) as checkpoints:
        checkpoints.save("last", state, {})
    run = seqjax.load_run(tmp_path / "run")
    assert run.model == model
    jax.tree.map(np.testing.assert_array_equal, run.params, state.params)
