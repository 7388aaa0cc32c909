import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.errors import InputError
from seqjax.train.optim import OptimizerConfig, learning_rate, make_optimizer, make_schedule, observe, skipped
from seqjax.train.weight_averages import averaged

STEPS = 7


def run(config, grads, start):
    optimizer = make_optimizer(config, steps=len(grads), steps_per_epoch=3)
    params = {"w": jnp.asarray(start)}

    def update(*args):
        with jax.numpy_dtype_promotion("standard"):  # optax promotes
            return optimizer.update(*args)

    state, update, rates = optimizer.init(params), jax.jit(update), []
    for grad in grads:
        updates, state = update({"w": jnp.asarray(grad)}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        rates.append(float(learning_rate(state)))
    return np.asarray(params["w"]), rates, state


@pytest.fixture
def problem(x64):
    draw = np.random.default_rng(0)
    return draw.normal(size=(STEPS, 3, 4)) * 4, draw.normal(size=(3, 4))


def test_adagrad_is_min_char_rnns(problem):
    grads, p = problem
    grads[0, 0, 0] = grads[1, 0, 0] = 0.0  # 0 / sqrt(0 + eps) is 0
    config = OptimizerConfig(name="adagrad", learning_rate=0.1, clip_value=5.0, eps=1e-8)
    ours = run(config, grads, p)[0]
    memory = np.zeros_like(p)
    for grad in grads:
        grad = np.clip(grad, -5, 5)
        memory += grad * grad
        p = p - 0.1 * grad / np.sqrt(memory + 1e-8)
    np.testing.assert_allclose(ours, p, rtol=1e-7)
    assert np.abs(grads).max() > 5


def test_rmsprop_is_torchs(problem):
    grads, p = problem
    ours = run(OptimizerConfig(name="rmsprop", learning_rate=2e-3, rms_decay=0.95), grads, p)[0]
    mean = np.zeros_like(p)
    for grad in grads:
        mean = 0.95 * mean + 0.05 * grad * grad
        p = p - 2e-3 * grad / (np.sqrt(mean) + 1e-8)
    np.testing.assert_allclose(ours, p, rtol=1e-7)


def test_adam_with_weight_decay_is_adamw(problem):
    grads, p = problem
    ours = run(OptimizerConfig(name="adam", learning_rate=0.01, weight_decay=0.1), grads, p)[0]
    m = v = np.zeros_like(p)
    for n, grad in enumerate(grads, 1):
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad * grad
        p = p - 0.01 * (m / (1 - 0.9**n) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8) + 0.1 * p)
    np.testing.assert_allclose(ours, p, rtol=1e-6)


NETWORK = {  # as a model has it that reads frames through a Linen module
    "cell": {"params": {"kernel": (2, 2), "bias": (2,)}, "batch_stats": {"matrix": (2, 2)}},
    "embedding": (3, 2),
    "projection": {"kernel": (2, 3), "bias": (3,)},
}


def changed(**options):
    """The paths of the parameters that a step without a gradient changes, and those that one with a gradient changes."""
    shapes = jax.tree.map(jnp.ones, NETWORK, is_leaf=lambda value: isinstance(value, tuple))
    optimizer = make_optimizer(OptimizerConfig(name="sgd", **options), steps=1, steps_per_epoch=1)
    state, paths = optimizer.init(shapes), []
    with jax.numpy_dtype_promotion("standard"):
        for gradient in (jnp.zeros_like, jnp.ones_like):
            updates, _ = optimizer.update(jax.tree.map(gradient, shapes), state, shapes)
            moved = [path for path, update in jax.tree.leaves_with_path(updates) if update.any()]
            paths.append({jax.tree_util.keystr(path, simple=True, separator="/") for path in moved})
    return paths


ALL = {"cell/params/kernel", "cell/params/bias", "cell/batch_stats/matrix", "embedding", "projection/kernel", "projection/bias"}


@pytest.mark.parametrize(
    ("options", "decayed", "trained"),
    [
        ({}, {"cell/params/kernel", "embedding", "projection/kernel"}, ALL),  # neither biases nor a module's constants
        ({"decay_paths": ("*/bias", "embedding")}, {"cell/params/bias", "embedding", "projection/bias"}, ALL),
        ({"decay_paths": ("cell/*",)}, {"cell/params/kernel", "cell/params/bias"}, ALL),
        ({"frozen": ("cell/*",)}, {"embedding", "projection/kernel"}, {"embedding", "projection/kernel", "projection/bias"}),
    ],
)
def test_decay_and_freezing_by_path(options, decayed, trained):
    assert changed(weight_decay=0.5, **options) == [decayed, trained]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"frozen": ("*/biases",)},
            r"optimizer.frozen has the pattern '\*/biases', which matches no parameter: the paths are cell/",
        ),
        ({"decay_paths": ("cell/*", "x"), "weight_decay": 0.5}, "optimizer.decay_paths has the pattern 'x'.*projection/kernel"),
        ({"frozen": ("*",)}, r"optimizer.frozen is \*, which leaves no parameter to train"),
        ({"decay_paths": ("cell/*",)}, r"optimizer.decay_paths is cell/\*, but optimizer.weight_decay is 0"),
    ],
)
def test_patterns_that_cannot_be_meant_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        changed(**options)


def test_frozen_gradients_do_not_count_in_the_norm():
    config = OptimizerConfig(name="sgd", learning_rate=1.0, clip_norm=1.0, frozen=("a",))
    grads = {"a": jnp.array([3e9]), "b": jnp.array([0.5])}
    optimizer = make_optimizer(config, steps=1, steps_per_epoch=1)
    updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
    assert updates == {"a": 0.0, "b": -0.5}


FIGURES = [5.0, 4.0, 4.5, np.nan, 3.0, 3.5, 3.0, 2.9, 3.0]  # of an evaluation after every second step


def observed(config, figures, grads):
    """The learning rate of each step, the parameters after it, and their average."""
    optimizer, params = make_optimizer(config, steps=100, steps_per_epoch=10), {"w": jnp.zeros(())}
    state, update, history = optimizer.init(params), jax.jit(optimizer.update), []
    for n, grad in enumerate(grads, 1):
        updates, state = update({"w": jnp.asarray(grad)}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        average = averaged(state)
        history.append((float(learning_rate(state)), float(params["w"]), None if average is None else float(average["w"])))
        if n % 2 == 0:
            state = observe(state, figures[n // 2 - 1])
    return (list(column) for column in zip(*history, strict=True))


def test_plateau():
    config = OptimizerConfig(name="sgd", learning_rate=1.0, schedule="plateau", decay=0.5, plateau_patience=2, final_fraction=0.2)
    rates, _, _ = observed(config, FIGURES, np.ones(18, np.float32))
    factor = [1.0] * 8 + [0.5] * 6 + [0.25] * 4  # after 4.5 and NaN; after 3.5 and the second 3.0; 2.9 is lower
    assert rates == factor
    rates, _, _ = observed(config, [1.0] * 9, np.ones(18, np.float32))
    assert rates[-1] == np.float32(0.2)


def test_averages_of_weights():
    grads = np.random.default_rng(0).normal(size=18).astype(np.float32)
    sgd = {"name": "sgd", "learning_rate": 1.0}
    _, weights, averages = observed(OptimizerConfig(average="ema", average_decay=0.9, **sgd), FIGURES, grads)
    for n, average in enumerate(averages, 1):
        np.testing.assert_allclose(average, np.average(weights[:n], weights=0.9 ** np.arange(n)[::-1]), rtol=1e-4, atol=1e-6)

    _, weights, averages = observed(OptimizerConfig(average="asgd", average_patience=2, **sgd), FIGURES, grads)
    logs = []  # Merity et al. 2017, algorithm 1
    for figure in np.nan_to_num(FIGURES, nan=np.inf):
        if len(logs) > 2 and figure > min(logs[:-2]):
            break
        logs.append(figure)
    first = 2 * len(logs) + 1  # the step whose weights are the first term
    assert first == 7 and averages[:8] == weights[:7] + averages[7:8]
    for n in range(first, len(averages)):
        np.testing.assert_allclose(averages[n], np.mean(weights[first : n + 1]), rtol=1e-4, atol=1e-6)


def test_momentum(problem):
    grads, p = problem
    ours = run(OptimizerConfig(name="momentum", learning_rate=0.1, b1=0.8), grads, p)[0]
    velocity = np.zeros_like(p)
    for grad in grads:
        velocity = 0.8 * velocity + grad
        p = p - 0.1 * velocity
    np.testing.assert_allclose(ours, p, rtol=1e-6)


@pytest.mark.parametrize("limit", [1.0, 1e3])
def test_clip_norm_is_the_l2_norm_over_all_parameters(limit):
    grads = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}
    optimizer = make_optimizer(OptimizerConfig(name="sgd", learning_rate=1.0, clip_norm=limit), steps=1, steps_per_epoch=1)
    updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
    scale = min(1.0, limit / 5.0)
    np.testing.assert_allclose(updates["a"], [-3 * scale, 0], rtol=1e-6)
    np.testing.assert_allclose(updates["b"], [[-4 * scale]], rtol=1e-6)


def test_exponential_schedule_is_zarembas(problem):
    config = OptimizerConfig(name="sgd", learning_rate=1.0, schedule="exponential", decay=0.5, decay_after=1, clip_norm=5.0)
    rates = run(config, *problem)[1]
    reference = [1.0 * 0.5 ** max(epoch + 1 - 1, 0.0) for epoch in (0, 0, 0, 1, 1, 1, 2)]  # lr_decay ** max(i + 1 - max_epoch, 0)
    assert rates == reference


@pytest.mark.parametrize(("schedule", "middle"), [("linear", 0.55), ("cosine", 0.55), ("constant", 1.0)])
def test_schedule_ends(schedule, middle):
    rate = make_schedule(OptimizerConfig(learning_rate=1.0, schedule=schedule, final_fraction=0.1), steps=100, steps_per_epoch=10)
    end = 1.0 if schedule == "constant" else 0.1
    np.testing.assert_allclose([rate(n) for n in (0, 50, 100, 200)], [1.0, middle, end, end], rtol=1e-6)


def test_warmup():
    rate = make_schedule(OptimizerConfig(learning_rate=1.0, warmup_steps=4), steps=100, steps_per_epoch=10)
    assert [float(rate(n)) for n in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_apply_if_finite_skips_and_then_gives_up(problem):
    grads, p = problem
    config = OptimizerConfig(name="adam", max_nonfinite=2)
    clean = run(config, grads[[0, 1, 4]], p)
    bad = grads[:5].copy()
    bad[2, 0, 0], bad[3, 1, 1] = np.nan, np.inf
    skipping = run(config, bad, p)
    np.testing.assert_array_equal(skipping[0], clean[0])
    assert int(skipped(skipping[2])) == 2
    bad[4] = np.nan
    assert np.isnan(run(config, bad, p)[0]).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "adamw2"),
        ("schedule", "steps"),
        ("learning_rate", 0.0),
        ("clip_norm", -1.0),
        ("warmup_steps", -1),
        ("accumulate", 0),
        ("average", "swa"),
        ("average_decay", 1.0),
    ],
)
def test_wrong_configurations_are_named(field, value):
    with pytest.raises(InputError, match=f"optimizer.{field} is {value!r}"):
        OptimizerConfig(**{field: value})


def test_the_learning_rate_is_found_beside_parameters_of_any_name():
    params = dict.fromkeys(("scale", "learning_rate", "figure"), jnp.ones(2))
    for schedule in ("cosine", "plateau"):
        config = OptimizerConfig(schedule=schedule, learning_rate=0.5)
        assert learning_rate(make_optimizer(config, steps=10, steps_per_epoch=5).init(params)) == 0.5
