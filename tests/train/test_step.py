import json
import logging
import os
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax.cells import LSTM
from seqjax.compose import Stack
from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.losses import Weighted
from seqjax.models import LanguageModel
from seqjax.train.evaluation import evaluate, make_eval_step
from seqjax.train.mesh import check_rows, data_mesh, shard
from seqjax.train.optim import OptimizerConfig, make_optimizer
from seqjax.train.state import init_state
from seqjax.train.step import make_train_step
from tests.train.toy import Bench, Toy, ToyStream

# Prints the losses of one device, of eight, and of one that continues from a checkpoint of eight. {float64}: 0 or 1.
EIGHT = """
import json, sys
import jax
jax.config.update("jax_enable_x64", bool({float64}))
jax.config.update("jax_default_matmul_precision", "highest")
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.mesh import data_mesh, describe
from seqjax.train.optim import OptimizerConfig
from tests.train.toy import Bench, Toy
name, dtype = ("adam", "float64") if {float64} else ("sgd", "float32")
config = OptimizerConfig(name=name, learning_rate=0.05, clip_norm=1.0)
make = lambda devices: Bench(mesh=data_mesh(devices), optimizer=config, model=Toy(dtype=dtype))
one, eight = make(jax.devices()[:1]), make(jax.devices())
state = eight.state()
for n in range(10):
    state = eight.step(state, eight.stream.batch(n))
with Checkpoints(sys.argv[1]) as checkpoints:
    checkpoints.save("last", state, {{}})
    state, _ = checkpoints.restore("last", one.state())
moved = one.losses(20, state=state)[0]
print(json.dumps({{"losses": [one.losses(20)[0], eight.losses(20)[0], moved], "said": describe(data_mesh(), 32)}}))
"""


@pytest.mark.parametrize(("float64", "tolerance"), [pytest.param(0, 1e-5, marks=pytest.mark.slow), (1, 1e-9)])
def test_eight_devices_give_the_losses_of_one(as_user, tmp_path, float64, tolerance):
    devices = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])} | devices
    done = as_user("-c", EIGHT.format(float64=float64), tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    one, eight, moved = result["losses"]
    np.testing.assert_allclose(eight, one, atol=tolerance, rtol=0)
    np.testing.assert_allclose(moved, one[10:], atol=tolerance, rtol=0)
    assert one[-1] < one[0] and result["said"] == "8 devices, 4 rows each"


def test_rows_that_do_not_divide_are_refused():
    class Two:
        size = 2

    with pytest.raises(InputError, match="batch size 5 is not divisible by 2 devices"):
        check_rows(Two(), 5)


@pytest.mark.parametrize("mesh", [None, "all"])
def test_nothing_is_compiled_after_the_first_step(mesh, caplog):
    bench = Bench(mesh=mesh and data_mesh())
    state = bench.step(bench.state(), bench.stream.batch(0))
    jax.block_until_ready(state)
    with jax.log_compiles(True), caplog.at_level(logging.WARNING):
        for n in range(1, 4):
            state = bench.step(state, bench.stream.batch(n))
    assert not [record.message for record in caplog.records if "ompil" in record.message]
    assert bench.step._cache_size() == 1


def test_a_second_state_of_the_same_shapes_compiles_nothing():
    bench = Bench()
    bench.losses(2), bench.losses(2)
    assert bench.step._cache_size() == 1


def test_the_state_is_donated_and_initial_params_are_not():
    bench = Bench()
    params = bench.model.init(jax.random.key(0))
    first = bench.state(params=params)
    bench.step(first, bench.stream.batch(0))
    assert first.params["net"]["out"].is_deleted() and first.carry.h.is_deleted()
    assert not params["net"]["out"].is_deleted()
    numpy_params = jax.tree.map(np.array, params)
    before = jax.tree.map(np.copy, numpy_params)
    bench.step(bench.state(params=numpy_params), bench.stream.batch(0))
    jax.tree.map(np.testing.assert_array_equal, before, numpy_params)


def test_a_state_that_holds_one_array_twice_can_be_donated():
    class Twice(Toy):
        def initial_state(self, params, batch_size):
            carry = super().initial_state(params, batch_size)
            return carry, carry

        def apply(self, params, batch, *, state=None, key=None):
            one, outputs = super().apply(params, batch, state=state[0], key=key)
            return (one, one), outputs

    bench = Bench(model=Twice())
    losses, _ = bench.losses(3)
    assert losses == Bench().losses(3)[0]


def test_the_carry_goes_on_and_its_noise_is_off():
    bench = Bench(model=Toy(rate=0.0), optimizer=OptimizerConfig(name="sgd", learning_rate=1e-30))
    state = bench.state()
    for n in range(2):
        state = bench.step(state, bench.stream.batch(n))
    params, carry = bench.state().params, None
    for n in range(2):
        carry, _ = bench.model.apply(params, bench.stream.batch(n), state=carry)
    np.testing.assert_allclose(state.carry.h, carry.h, rtol=1e-6)
    assert state.carry.noise.key is None


class Line(Model):
    """loss = sum over steps of w * x; its gradient is the sum of x."""

    def init(self, key):
        return {"w": jnp.ones(())}

    def apply(self, params, batch, *, state=None, key=None):
        return (), params["w"] * batch["x"]

    def loss(self, outputs, batch):
        return Weighted(outputs.sum(), jnp.asarray(outputs.size, jnp.float32))


@pytest.mark.parametrize(("scale", "gradient"), [("mean", 15 / 6), ("sum", 15 / 2)])
def test_loss_scales(scale, gradient):
    model, optimizer = Line(), optax.sgd(1.0)
    step = make_train_step(model, optimizer, loss_scale=scale)
    state = step(init_state(model, optimizer, batch_size=2, seed=0), {"x": np.arange(6, dtype=np.float32).reshape(2, 3)})
    np.testing.assert_allclose(state.params["w"], 1 - gradient)
    assert float(state.loss.sum) == 15.0 and float(state.loss.mean) == 2.5
    with pytest.raises(InputError, match="loss_scale is 'max'"):
        make_train_step(model, optimizer, loss_scale="max")


@pytest.mark.parametrize("scale", ["mean", "sum"])
def test_parts_of_a_batch_add_up_to_the_whole(scale):
    """With lengths that differ from part to part, and states that go on from batch to batch."""
    sizes = [bench.stream.batch(0)["mask"][n::4].sum() for bench in (Bench(),) for n in range(4)]
    assert len(set(sizes)) > 1
    results = []
    for parts in (1, 4):
        config = OptimizerConfig(name="sgd", learning_rate=0.3, clip_norm=0.1, accumulate=parts)
        bench = Bench(model=Toy(rate=0.0), optimizer=config, loss_scale=scale)
        losses, _ = bench.losses(3)
        state = bench.state()
        for n in range(3):
            state = bench.step(state, bench.stream.batch(n))
        results.append((losses, jax.device_get((state.params, state.carry, state.figures, state.smooth))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), *results)
    assert results[0][0][2] != results[0][0][0]


def test_several_seeds_train_as_one_program():
    bench = Bench()
    alone = [init_state(bench.model, bench.optimizer, batch_size=8, seed=seed) for seed in (0, 1)]
    together, step = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone), jax.jit(jax.vmap(bench.step))
    for n in range(2):
        batches = [bench.stream.batch(n), bench.stream.batch(n + 5)]
        together = step(together, jax.tree.map(lambda *leaves: np.stack(leaves), *batches))
        alone = [bench.step(state, batch) for state, batch in zip(alone, batches, strict=True)]
    for seed, state in enumerate(alone):
        one = jax.tree.map(lambda leaf, seed=seed: leaf[seed], together)
        for ours, theirs in zip(jax.tree.leaves(one.params), jax.tree.leaves(state.params), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one.loss.sum, state.loss.sum, rtol=1e-5)


def test_parts_draw_dropout_of_their_own_and_skip_a_bad_batch_whole():
    bench = Bench(stream=ToyStream(bad=(1,)), model=Toy(rate=0.9), optimizer=OptimizerConfig(accumulate=2))
    same = {name: np.repeat(rows[:1], 8, axis=0) for name, rows in bench.stream.batch(0).items()}
    state = bench.step(bench.state(), same)
    plain = Bench(model=Toy(rate=0.9))
    half = init_state(plain.model, plain.optimizer, batch_size=4, seed=3)  # the seed of `state`
    alone = plain.step(half, {name: rows[:4] for name, rows in same.items()})
    assert float(state.loss.mean) != pytest.approx(float(alone.loss.mean), rel=1e-5)  # the parts have masks of their own
    before = jax.tree.map(np.array, jax.device_get((state.params, state.carry, state.figures)))
    state = bench.step(state, bench.stream.batch(1))
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get((state.params, state.carry, state.figures)))
    with pytest.raises(InputError, match="batch size 8 is not divisible by accumulate 3"):
        check_rows(data_mesh(jax.devices()[:1]), 8, parts=3)


def test_norms_of_gradient_and_update():
    bench = Bench(model=Toy(rate=0.0), optimizer=OptimizerConfig(name="sgd", learning_rate=0.5, clip_norm=0.01))
    state, norm = bench.state(), lambda tree: np.sqrt(sum((np.asarray(leaf) ** 2).sum() for leaf in jax.tree.leaves(tree)))
    before, norms, ratios = jax.device_get(state.params), [], []
    for n in range(2):
        batch = bench.stream.batch(n)

        def loss(params, state=state, batch=batch):
            return bench.model.loss(bench.model.apply(params, batch, state=state.carry)[1], batch).mean

        norms.append(norm(jax.grad(loss)(state.params)))
        state = bench.step(state, batch)
        after = jax.device_get(state.params)
        ratios.append(norm(jax.tree.map(np.subtract, after, before)) / norm(before))
        before = after
    np.testing.assert_allclose(float(state.figures["gradient_norm"].mean), np.mean(norms), rtol=1e-5)
    np.testing.assert_allclose(float(state.figures["update_ratio"].mean), np.mean(ratios), rtol=1e-3)


def test_bfloat16_in_the_step_with_float32_weights():
    model = LanguageModel(vocabulary_size=5, cell=Stack((LSTM(6, 8), LSTM(8, 8))), embedding_size=6)
    batch = ToyStream(length=12).batch(0)
    batch, losses = {"tokens": batch["tokens"], "target": batch["target"]}, {}
    for dtype in (None, jnp.bfloat16):
        optimizer = make_optimizer(OptimizerConfig(learning_rate=0.02), steps=30, steps_per_epoch=10)
        step = make_train_step(model, optimizer, dtype=dtype)
        state = init_state(model, optimizer, batch_size=8, seed=0)
        products = re.findall(r"stablehlo.dot_general .* : (.*)", step.lower(state, batch).as_text())
        assert products and all(("bf16" in types) == (dtype is not None) for types in products)
        losses[dtype] = []
        for _ in range(30):
            before = float(state.loss.sum)
            state = step(state, batch)
            losses[dtype].append((float(state.loss.sum) - before) / 96)
        assert {leaf.dtype for leaf in jax.tree.leaves((state.params, state.carry, state.loss))} == {jnp.dtype("float32")}
    np.testing.assert_allclose(losses[jnp.bfloat16], losses[None], rtol=0.02)
    assert losses[jnp.bfloat16] != losses[None] and losses[None][-1] < 0.5 * losses[None][0]


def test_smooth_starts_at_the_first_loss_and_follows_min_char_rnn():
    bench = Bench()
    state, smooth, losses = bench.state(), None, bench.losses(5)[0]
    for n in range(5):
        state = bench.step(state, bench.stream.batch(n))
        smooth = losses[n] if smooth is None else 0.999 * smooth + 0.001 * losses[n]
        np.testing.assert_allclose(float(state.smooth), smooth, rtol=1e-5)


def test_a_step_that_is_not_finite_changes_nothing_but_is_noted():
    bench = Bench(stream=ToyStream(bad=(1,)))
    state = bench.step(bench.state(), bench.stream.batch(0))
    before = jax.tree.map(np.array, jax.device_get((state.params, state.carry, state.loss, state.smooth)))
    state = bench.step(state, bench.stream.batch(1))
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get((state.params, state.carry, state.loss, state.smooth)))
    assert state.trouble.tolist() == [1, 0, 0] and int(state.step) == 2
    state = bench.step(state, bench.stream.batch(2))
    assert state.trouble.tolist() == [-1, -1, 0]


def test_evaluation_is_exact_over_every_target():
    bench = Bench()
    params, batches = bench.state().params, [bench.stream.batch(n) for n in range(3)]
    total, carry = Weighted(jnp.zeros(()), jnp.zeros(())), None
    for batch in batches:
        carry, outputs = bench.model.apply(params, batch, state=carry)
        total += bench.model.loss(outputs, batch)
    ours = evaluate(bench.eval_step, bench.model, params, batches)
    np.testing.assert_allclose(ours.pop("loss"), float(total.mean), rtol=1e-6)
    assert not ours
    assert sum(batch["mask"].sum() for batch in batches) == float(total.weight)
    with pytest.raises(InputError, match="nothing to evaluate: 0 batches"):
        evaluate(bench.eval_step, bench.model, params, [])


class Counting(Toy):
    """Counts the tokens that it predicts correctly."""

    def figures(self, outputs, batch):
        correct = (outputs.argmax(-1) == batch["target"]) & batch["mask"]
        accuracy = Weighted(correct.sum().astype(jnp.float32), batch["mask"].sum().astype(jnp.float32))
        return {"accuracy": accuracy} | super().figures(outputs, batch)


def test_every_figure_of_a_model_is_summed_in_training_and_in_evaluation():
    bench, plain = Bench(model=Counting()), Bench()
    batches = [bench.stream.batch(n) for n in range(3)]
    state, before, correct = bench.state(batch=batches[0]), plain.state(), 0.0
    params = jax.tree.map(jnp.copy, state.params)
    assert state.figures.keys() - before.figures.keys() == {"accuracy"}
    for n, batch in enumerate(batches):
        key = jax.random.fold_in(state.key, n)
        outputs = bench.model.apply(state.params, batch, state=state.carry, key=key)[1]
        correct += float(bench.model.figures(outputs, batch)["accuracy"].sum)
        state, before = bench.step(state, batch), plain.step(before, batch)
    assert float(state.figures["accuracy"].sum) == correct and float(state.loss.weight) == float(state.figures["accuracy"].weight)
    np.testing.assert_allclose(float(state.loss.sum), float(before.loss.sum), rtol=1e-6)

    measured = evaluate(make_eval_step(bench.model), bench.model, params, batches)
    assert measured["loss"] == evaluate(plain.eval_step, plain.model, params, batches)["loss"]
    carry, correct = None, 0.0
    for batch in batches:
        carry, outputs = bench.model.apply(params, batch, state=carry)
        correct += float(bench.model.figures(outputs, batch)["accuracy"].sum)
    assert measured["accuracy"] == correct / sum(batch["mask"].sum() for batch in batches)


def test_batches_are_copied_to_the_device():
    batch = {"x": np.ones((2, 64), np.float32)}
    placed = shard(data_mesh(jax.devices()[:1]), batch)
    batch["x"][:] = 7
    assert float(placed["x"].max()) == 1.0
