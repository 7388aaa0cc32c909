"""The fused backend: equal to the plain scan in every derivative, and no kernel-sized sum inside its loops."""

import dataclasses
import functools
import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax import GRU, LSTM, MGU, Elman, InputError, RecurrentDropout, explain, unroll
from seqjax.contracts import Cell
from seqjax.linear import LinearCell
from seqjax.products import product
from seqjax.recurrence.fused import backend as fused
from seqjax.recurrence.fused import in_place_scan
from seqjax.types import at_least_float32
from tests.catalog import CATALOG, check_options, leaving

MAKERS = {
    "lstm": LSTM,
    "gru": GRU,
    "mgu": MGU,
    "gru_reset_before": lambda **sizes: GRU(reset_after=False, **sizes),
    "elman": Elman,
    "lstm_heads": lambda input_size, hidden_size: LSTM(input_size=input_size, hidden_size=2 * hidden_size, heads=2),
    "gru_reset_before_heads": lambda input_size, hidden_size: GRU(
        input_size=input_size, hidden_size=2 * hidden_size, heads=2, reset_after=False
    ),
    "recurrent_dropout": lambda **sizes: RecurrentDropout(LSTM(**sizes), 0.3),
}


def is_floating(a):
    return jnp.issubdtype(a.dtype, jnp.floating)


def gap(results, expected):
    """The largest difference, relative to each array's largest entry."""
    assert jax.tree.structure(results) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves(results), jax.tree.leaves(expected), strict=True)
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs if b.size and is_floating(b)]
    return max(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30) for a, b in pairs)


def weighted(values):
    leaves = [a.astype(at_least_float32(a.dtype)) for a in jax.tree.leaves(values) if is_floating(a)]
    return sum(jnp.vdot(jnp.sin(1 + jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), a) for a in leaves)


def drawn(shapes, rng, scale, dtype=None):
    """Arrays of these shapes: normal where floating (over the root of a kernel's rows), else 0. Compiles nothing, unlike init."""

    def draw(a):
        if not is_floating(a):
            return jnp.asarray(np.zeros(a.shape, a.dtype))
        deviation = scale / math.sqrt(max(a.shape[-2:-1], default=4))
        return jnp.asarray(deviation * rng.normal(size=a.shape), dtype or a.dtype)

    return jax.tree.map(draw, shapes)


class Case:
    """A cell and all arguments of unroll, drawn from a seed."""

    def __init__(self, cell, steps=7, rows=3, dtype=jnp.float32, seed=0, masked=True, **options):
        rng = np.random.default_rng(seed)
        self.cell, self.options = cell, options | {"key": jax.random.key(seed)}
        self.params = drawn(jax.eval_shape(cell.init, jax.random.key(0)), rng, 0.8, dtype)
        self.xs = jnp.asarray(rng.normal(size=(rows, steps, *cell.input_shape)), dtype)
        self.state = drawn(jax.eval_shape(lambda p: cell.initial_state(p, (rows,)), self.params), rng, 0.5)
        if masked:
            self.options["lengths"] = rng.integers(0, steps + 1, rows).astype(np.int32)
            self.options["reset"] = rng.random((rows, steps)) < 0.2
        self.arguments = (self.params, self.xs, self.floating(self.state))

    @staticmethod
    def floating(state):
        return [a for a in jax.tree.leaves(state) if is_floating(a)]

    def value(self, backend, options=None):
        """A function of the arguments: a number made from all results of unroll."""

        def value(params, xs, floating):
            floating, (leaves, treedef) = iter(floating), jax.tree.flatten(self.state)
            state = jax.tree.unflatten(treedef, [next(floating) if is_floating(a) else a for a in leaves])
            state, ys = unroll(self.cell, params, xs, state, backend=backend, **(self.options if options is None else options))
            return weighted((ys, self.floating(state)))

        return value

    def gap(self, derivative):
        """The gap between the two backends in derivative(function)(params, xs, state)."""
        return gap(*(jax.jit(derivative(self.value(b)))(*self.arguments) for b in ("fused", "scan")))


def gradient(f):
    return jax.grad(f, argnums=(0, 1, 2))


def along(arguments):
    """A direction for forward mode."""
    return jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), arguments)


def gradient_and_second(f):
    """The gradient, and its derivative in a direction: forward over reverse."""
    return lambda *args: jax.jvp(gradient(f), args, along(args))


def some_gradients(f):
    """Gradients with respect to each argument alone, the others being constants; and to one kernel."""

    def of_kernel(kernel, params, xs, state):
        return f(params | {"recurrent_kernel": kernel}, xs, state)

    def gradients(*args):
        one = tuple(jax.grad(f, argnums=n)(*args) for n in range(3))
        return one, jax.grad(of_kernel)(args[0]["recurrent_kernel"], *args)

    return gradients


# Four calls. For each, two programs are compiled and run on many lengths, resets and values.
CALLS = {
    "lstm": (7, 3, False, {"masked": True}),
    "gru_reset_before_heads": (9, 2, True, {"masked": True, "reverse": True}),
    "recurrent_dropout": (11, 3, False, {"masked": True, "remat": 3}),
    "gru": (60, 1, False, {"masked": False, "reverse": True, "remat": "sqrt"}),
}


@pytest.mark.parametrize("name", CALLS)
def test_gradients_equal_the_plain_scan(name):
    steps, rows, double, options = CALLS[name]
    dtype, tolerance = (jnp.float64, 1e-12) if double else (jnp.float32, 1e-5)
    cell = MAKERS[name](input_size=3, hidden_size=4)

    @functools.cache
    def compiled(backend):
        case = Case(cell, steps, rows, dtype, **options)
        static = {option: a for option, a in case.options.items() if option not in ("lengths", "reset", "key")}
        return jax.jit(lambda arguments, arrays: gradient(case.value(backend, static | arrays))(*arguments))

    @settings(max_examples=8, deadline=None, derandomize=True, database=None)
    @given(
        seed=st.integers(0, 9),
        lengths=st.lists(st.integers(0, steps), min_size=rows, max_size=rows),
        reset=st.lists(st.booleans(), min_size=rows * steps, max_size=rows * steps),
    )
    def gradients_equal(seed, lengths, reset):
        case = Case(cell, steps, rows, dtype, seed, **options)
        arrays = {"key": case.options["key"]}
        if options["masked"]:
            arrays |= {"lengths": np.array(lengths, np.int32), "reset": np.array(reset).reshape(rows, steps)}
        assert gap(*(compiled(backend)(case.arguments, arrays) for backend in ("fused", "scan"))) <= tolerance

    with jax.enable_x64(double):
        gradients_equal()


@pytest.mark.slow
@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(
    name=st.sampled_from(sorted(MAKERS)),
    steps=st.integers(1, 100),
    rows=st.integers(1, 5),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 8)),
    options=st.fixed_dictionaries(
        {"masked": st.booleans(), "reverse": st.booleans(), "remat": st.sampled_from([None, 3, "sqrt"])}
    ),
    double=st.booleans(),
    seed=st.integers(0, 9),
)
def test_gradients_equal_the_plain_scan_at_any_size(name, steps, rows, sizes, options, double, seed):
    with jax.enable_x64(double):
        cell = MAKERS[name](input_size=sizes[0], hidden_size=sizes[1])
        case = Case(cell, steps, rows, jnp.float64 if double else jnp.float32, seed, **options)
        assert case.gap(gradient) <= (1e-12 if double else 1e-5)


@pytest.mark.parametrize("name", leaving("lstm", of=MAKERS))
def test_forward_mode_and_second_order(name, x64):
    case = Case(MAKERS[name](input_size=3, hidden_size=4), dtype=jnp.float64)
    assert case.gap(lambda f: lambda *args: jax.jvp(f, args, along(args))) <= 1e-12
    assert case.gap(gradient_and_second) <= 1e-12
    assert case.gap(lambda f: gradient(lambda *args: weighted(gradient(f)(*args)))) <= 1e-12  # reverse over reverse


@pytest.mark.parametrize("name", leaving("gru", of=MAKERS))
def test_vmap_over_parameters_and_rows(name):
    case = Case(MAKERS[name](input_size=3, hidden_size=4), masked=False)
    many = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), case.arguments)
    for axes in ((0, None, None), (None, 0, 0)):
        case.arguments = tuple(b if axis == 0 else jax.tree.map(lambda a: a[0], b) for b, axis in zip(many, axes, strict=True))
        assert case.gap(lambda f, axes=axes: jax.vmap(gradient(f), axes)) <= 1e-5


@pytest.mark.parametrize("name", [name for name, cell in CATALOG.items() if isinstance(cell, Cell)])
def test_the_catalogue_runs_fused(name):
    """But for linear cells, which have a backend of their own, and cells without a recurrent kernel."""
    cell, options = CATALOG[name], check_options(name)
    xs = np.zeros((3, 2), np.int32) if options["tokens"] else np.zeros((3, 2, *cell.input_shape), np.float32)
    choices = explain(cell, jax.eval_shape(cell.init, jax.random.key(0)), xs, context=options["context"])
    for choice in choices:
        expected = {"linear" if isinstance(choice.cell, LinearCell) else "fused"}
        expected = {"scan"} if choice.refused.get("fused") == "its recur calls no dot" else expected
        assert choice.backend in expected | ({"pallas"} if jax.default_backend() == "gpu" else set())


def test_collected_states_and_no_steps():
    cell = LSTM(input_size=3, hidden_size=4)
    params = Case(cell).params
    for xs in (jnp.ones((2, 5, 3)), jnp.ones((2, 0, 3))):
        both = [
            jax.jit(jax.grad(lambda p, b=b, x=xs: weighted(unroll(cell, p, x, collect="states", backend=b))))(params)
            for b in ("fused", "scan")
        ]
        assert gap(*both) <= 1e-5


def test_frozen_arguments_change_no_gradient():
    case = Case(GRU(input_size=3, hidden_size=4))
    one, of_kernel = jax.jit(some_gradients(case.value("fused")))(*case.arguments)
    expected = jax.jit(gradient(case.value("scan")))(*case.arguments)
    assert gap((one, of_kernel), (expected, expected[0]["recurrent_kernel"])) <= 1e-5


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before_heads"])
def test_loops_of_devices_that_gain_nothing_from_reused_buffers(name, monkeypatch):
    """They run `jax.lax.scan`, as on a GPU, with the same values and gradients.

    z and its cotangent, [T, B, N], are not transposed.
    """
    calls = []
    monkeypatch.setattr(in_place_scan, "in_place", lambda: bool(calls.append(name)))
    case = Case(MAKERS[name](input_size=3, hidden_size=5), reverse=True, seed=7)  # sizes unlike other tests': nothing is cached
    derivatives = [jax.value_and_grad(case.value(backend), argnums=(0, 1, 2)) for backend in ("fused", "scan")]
    programs = [jax.jit(derivative).lower(*case.arguments).compile() for derivative in derivatives]
    assert gap(*(program(*case.arguments) for program in programs)) <= 1e-5
    assert len(calls) >= 2  # by the forward loop and by the backward loop
    columns = case.params["input_kernel"].shape[-1]
    assert not re.findall(rf"= f32\[\d+,\d+,{columns}\]\S* transpose\(.*", programs[0].as_text())


def test_bfloat16_gradients():
    case = Case(LSTM(input_size=3, hidden_size=4))
    params, xs = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (case.params, case.xs))
    half = jax.jit(jax.grad(case.value("fused")))(params, xs, case.arguments[2])
    full = jax.jit(jax.grad(case.value("scan")))(*case.arguments)
    assert {g.dtype for g in jax.tree.leaves(half)} == {jnp.dtype(jnp.bfloat16)}
    assert gap(half, full) <= 0.05


# ---- cells unlike those of the catalogue


@dataclasses.dataclass(frozen=True, kw_only=True)
class Odd(Elman):
    """Its kernels are made from parameters: tied, transposed, scaled; one parameter is also used outside of a product."""

    def recur(self, params, state, z, *, dot=product, context=None):
        kernel = params["recurrent_kernel"]
        scale = jnp.broadcast_to(jnp.tanh(kernel[0]), z.shape)
        h = jnp.tanh(z * scale + dot(state.h, kernel.T * 0.5) + dot(jnp.sin(state.h), jax.nn.relu(kernel)))
        return type(state)(h), h


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain(Elman):
    """Its second product does not go through dot."""

    def recur(self, params, state, z, *, dot=product, context=None):
        kernel = params["recurrent_kernel"]
        h = jnp.tanh(z + dot(state.h, kernel) + product(state.h**2, kernel))
        return type(state)(h), h


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fast(Elman):
    """Its kernel depends on the state, so it changes from step to step."""

    def recur(self, params, state, z, *, dot=product, context=None):
        h = jnp.tanh(z + dot(state.h, params["recurrent_kernel"] * state.h.mean()))
        return type(state)(h), h


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mapped(Elman):
    """Its dot stands inside a vmap."""

    def recur(self, params, state, z, *, dot=product, context=None):
        h = jnp.tanh(z + jax.vmap(lambda h: dot(h, params["recurrent_kernel"]))(state.h))
        return type(state)(h), h


@dataclasses.dataclass(frozen=True, kw_only=True)
class Silent(Elman):
    """It has no recurrent product."""

    def recur(self, params, state, z, *, dot=product, context=None):
        h = jnp.tanh(z + 0.5 * state.h)
        return type(state)(h), h


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditioned(Elman):
    """Every step and the initial state read its context."""

    def initial_state(self, params, batch_shape=(), *, context=None, key=None):
        return type(super().initial_state(params, batch_shape))(jnp.sin(context["h"]))

    def recur(self, params, state, z, *, dot=product, context=None):
        h = jnp.tanh(z + context["h"] * dot(state.h * context["h"], params["recurrent_kernel"]))
        return type(state)(h), h


@dataclasses.dataclass(frozen=True, kw_only=True)
class Added(Elman):
    """Its product is added to the context, which is the same at every step."""

    def recur(self, params, state, z, *, dot=product, context=None):
        h = jnp.tanh(z * (dot(state.h, params["recurrent_kernel"]) + context["h"]))
        return type(state)(h), h


class DelayedState(NamedTuple):
    older: jax.Array
    h: jax.Array
    constant: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delayed(Elman):
    """One array of its state is another's previous value, and one never changes."""

    def initial_state(self, params, batch_shape=(), *, context=None, key=None):
        h = super().initial_state(params, batch_shape).h
        return DelayedState(h, h, h + 0.5)

    def recur(self, params, state, z, *, dot=product, context=None):
        kernel = params["recurrent_kernel"]
        h = jnp.tanh(z * jnp.sin(state.constant) + dot(state.h, kernel) + dot(jnp.sin(state.older) * state.older, kernel))
        return DelayedState(state.h, h, state.constant), h


@pytest.mark.parametrize("kind", [Odd, Plain, Delayed])
def test_kernels_made_of_parameters(kind, x64):
    assert Case(kind(input_size=3, hidden_size=4), dtype=jnp.float64).gap(gradient_and_second) <= 1e-12


@pytest.mark.parametrize("kind", [Fast, Mapped, Silent])
def test_refused_cells_would_be_right_too(kind, monkeypatch):
    """The loop hoists the products with a constant kernel and leaves the others to autodiff."""
    monkeypatch.setattr(fused, "supports", lambda cell, call: None)
    assert Case(kind(input_size=3, hidden_size=4)).gap(gradient) <= 1e-5


@pytest.mark.parametrize("kind", [Conditioned, Added])
def test_context_gradients_come_back_once(kind, x64):
    cell = kind(input_size=3, hidden_size=4)
    params = drawn(jax.eval_shape(cell.init, jax.random.key(0)), np.random.default_rng(0), 0.8, jnp.float64)
    xs = jnp.sin(jnp.arange(36.0)).reshape(2, 6, 3)
    context, reset = {"h": jnp.cos(jnp.arange(8.0)).reshape(2, 4)}, jnp.arange(12).reshape(2, 6) % 4 == 3

    def gradients(backend):
        def value(params, xs, context):
            return weighted(unroll(cell, params, xs, context=context, reset=reset, backend=backend))

        return jax.jit(jax.grad(value, argnums=(0, 1, 2)))(params, xs, context)

    assert gap(gradients("fused"), gradients("scan")) <= 1e-12


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (Fast(input_size=3, hidden_size=4), "the kernel of one of its recurrent products is not the same at every step"),
        (Silent(input_size=3, hidden_size=4), "its recur calls no dot"),
        (Mapped(input_size=3, hidden_size=4), "one of its recurrent products stands inside another transformation"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Cell) else "",
)
def test_refused_with_a_reason(cell, reason):
    params, xs = cell.init(jax.random.key(0)), jnp.ones((2, 5, 3))
    choice = explain(cell, params, xs)[0]
    assert (choice.backend, choice.refused["fused"][: len(reason)]) == ("scan", reason)
    with pytest.raises(InputError, match=f"backend 'fused' cannot run .*: {reason}") as error:
        unroll(cell, params, xs, backend="fused")
    assert "\n" not in str(error.value)


def test_forward_mode_is_one_loop_that_stores_nothing_for_the_way_back():
    cell = LSTM(input_size=3, hidden_size=4)
    params = jax.eval_shape(cell.init, jax.random.key(0))

    def loops(backend):
        run = lambda p: unroll(cell, p, jnp.ones((2, 5, 3)), backend=backend)[1]  # noqa: E731
        text = jax.jit(lambda p, d: jax.jvp(run, (p,), (d,))).lower(params, params).as_text()
        return text.count("stablehlo.while"), text.count("stablehlo.dynamic_update_slice")

    assert loops("fused") == loops("scan")
    assert loops("scan")[0] == 1


def test_checkpoints_of_an_unroll_differentiate_twice():
    cell = LSTM(input_size=2, hidden_size=2)
    params = cell.init(jax.random.key(0))

    def second(backend):
        run = lambda p: jnp.sum(unroll(cell, p, jnp.ones((1, 3, 2)), backend=backend)[1] ** 2)  # noqa: E731
        return jax.jit(jax.grad(lambda p: jnp.sum(jax.grad(jax.checkpoint(run))(p)["recurrent_kernel"] ** 2)))(params)

    gaps = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), second("fused"), second("scan"))
    assert max(gaps.values()) < 1e-5
