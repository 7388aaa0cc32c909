"""The fused backend: equal to the plain scan in every derivative, and no kernel-sized sum inside its loops."""

import dataclasses
import itertools
import os
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax import GRU, LSTM, Elman, InputError, RecurrentDropout, explain, thresholds, unroll
from seqjax.contracts import Cell
from seqjax.products import product
from seqjax.recurrence.fused import backend as fused
from seqjax.recurrence.fused import in_place_scan
from seqjax.types import at_least_float32
from tests.catalog import CATALOG, check_options, leaving

MAKERS = {
    "lstm": LSTM,
    "gru": GRU,
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


def gap(found, wanted):
    """The largest difference, relative to each array's largest entry."""
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs if b.size and is_floating(b)]
    return max(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30) for a, b in pairs)


def weighted(values):
    leaves = [a.astype(at_least_float32(a.dtype)) for a in jax.tree.leaves(values) if is_floating(a)]
    return sum(jnp.vdot(jnp.sin(1 + jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), a) for a in leaves)


class Case:
    """A cell with everything that unroll takes, drawn from a seed."""

    def __init__(self, cell, steps=7, rows=3, dtype=jnp.float32, seed=0, masked=True, **options):
        rng = np.random.default_rng(seed)
        self.cell = cell
        shake = lambda a, scale, dtype: jnp.asarray(np.asarray(a) + scale * rng.normal(size=a.shape), dtype)  # noqa: E731
        self.params = jax.tree.map(lambda a: shake(a, 0.1, dtype), cell.init(jax.random.key(seed)))
        self.xs = jnp.asarray(rng.normal(size=(rows, steps, *cell.input_shape)), dtype)
        initial = cell.initial_state(self.params, (rows,))
        self.state = jax.tree.map(lambda a: shake(a, 0.3, a.dtype) if is_floating(a) else a, initial)
        if masked:
            options["lengths"] = rng.integers(0, steps + 1, rows).astype(np.int32)
            options["reset"] = rng.random((rows, steps)) < 0.2
        self.options = options | {"key": jax.random.key(seed)}
        self.arguments = (self.params, self.xs, self.moving(self.state))

    @staticmethod
    def moving(state):
        return [a for a in jax.tree.leaves(state) if is_floating(a)]

    def value(self, backend):
        def value(params, xs, moving):
            moving, (leaves, treedef) = iter(moving), jax.tree.flatten(self.state)
            state = jax.tree.unflatten(treedef, [next(moving) if is_floating(a) else a for a in leaves])
            state, ys = unroll(self.cell, params, xs, state, backend=backend, **self.options)
            return weighted((ys, self.moving(state)))

        return value

    def gap(self, derivative):
        """Between the two backends, of derivative(function)(params, xs, state)."""
        return gap(*(jax.jit(derivative(self.value(b)))(*self.arguments) for b in ("fused", "scan")))


def gradient(f):
    return jax.grad(f, argnums=(0, 1, 2))


def property_test(examples):
    """Of `examples` random cells and calls."""

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
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
    def gradients_equal(name, steps, rows, sizes, options, double, seed):
        with jax.enable_x64(double):
            cell = MAKERS[name](input_size=sizes[0], hidden_size=sizes[1])
            case = Case(cell, steps, rows, jnp.float64 if double else jnp.float32, seed, **options)
            assert case.gap(gradient) <= (1e-12 if double else 1e-5)

    return gradients_equal


def test_gradients_equal_the_plain_scan():
    property_test(6)()


@pytest.mark.slow
def test_gradients_equal_the_plain_scan_often():
    property_test(80)()


@pytest.mark.parametrize("name", leaving("lstm", of=MAKERS))
def test_forward_mode_and_second_order(name, x64):
    case = Case(MAKERS[name](input_size=3, hidden_size=4), dtype=jnp.float64)
    along = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), case.arguments)

    def forward(f):
        return lambda *args: jax.jvp(f, args, along)

    assert case.gap(forward) <= 1e-12
    assert case.gap(lambda f: forward(gradient(f))) <= 1e-12  # hessian-vector product, forward over reverse

    def reverse_over_reverse(f):
        return gradient(lambda *args: weighted(gradient(f)(*args)))

    assert case.gap(reverse_over_reverse) <= 1e-12


@pytest.mark.parametrize("name", leaving("gru", of=MAKERS))
def test_vmap_over_parameters_and_rows(name):
    case = Case(MAKERS[name](input_size=3, hidden_size=4), masked=False)
    many = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), case.arguments)
    for axes in ((0, None, None), (0, 0, 0), (None, 0, None)):
        case.arguments = tuple(b if axis == 0 else jax.tree.map(lambda a: a[0], b) for b, axis in zip(many, axes, strict=True))
        assert case.gap(lambda f, axes=axes: jax.vmap(gradient(f), axes)) <= 1e-5


@pytest.mark.parametrize("name", [name for name, cell in CATALOG.items() if isinstance(cell, Cell)])
def test_the_catalogue_runs_fused(name):
    """Every cell that is not a stack of others is run by it."""
    cell, given = CATALOG[name], check_options(name)
    xs = np.zeros((3, 2), np.int32) if given["tokens"] else np.zeros((3, 2, *cell.input_shape), np.float32)
    choices = explain(cell, jax.eval_shape(cell.init, jax.random.key(0)), xs, context=given["context"])
    assert {choice.backend for choice in choices} <= {"fused"} | ({"pallas"} if jax.default_backend() == "gpu" else set())


def test_collected_states_and_no_steps():
    cell = LSTM(input_size=3, hidden_size=4)
    for xs in (jnp.ones((2, 5, 3)), jnp.ones((2, 0, 3))):
        both = [
            jax.grad(lambda p, b=b, x=xs: weighted(unroll(cell, p, x, collect="states", backend=b)))(cell.init(jax.random.key(0)))
            for b in ("fused", "scan")
        ]
        assert gap(*both) <= 1e-5


def test_only_what_moves_is_differentiated():
    """Frozen parameters, frozen inputs: the gradient of the rest is the same."""
    case = Case(GRU(input_size=3, hidden_size=4))
    for argnums in (0, 1, 2):
        assert case.gap(lambda f, n=argnums: jax.grad(f, argnums=n)) <= 1e-5
    assert gap(*(jax.grad(lambda r, b=b: case.value(b)(case.params | {"recurrent_kernel": r}, *case.arguments[1:]))(
        case.params["recurrent_kernel"]) for b in ("fused", "scan"))) <= 1e-5  # fmt: skip


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before_heads"])
def test_loops_of_devices_that_gain_nothing_from_reused_buffers(name, monkeypatch):
    """As on a GPU: `jax.lax.scan`, with the same values and gradients."""
    asked = []
    monkeypatch.setattr(in_place_scan, "in_place", lambda: bool(asked.append(name)))
    case = Case(MAKERS[name](input_size=3, hidden_size=5), reverse=True, seed=7)  # sizes of no other test: nothing is cached
    assert case.gap(lambda f: jax.value_and_grad(f, argnums=(0, 1, 2))) <= 1e-5
    assert len(asked) >= 2  # for the loop forward, and for the one backward


def test_bfloat16_gradients():
    case = Case(LSTM(input_size=3, hidden_size=4))
    params, xs = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (case.params, case.xs))
    found = jax.jit(jax.grad(case.value("fused")))(params, xs, case.arguments[2])
    wanted = jax.jit(jax.grad(case.value("scan")))(*case.arguments)
    assert {g.dtype for g in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}
    assert gap(found, wanted) <= 0.05


# ---- cells of another make


@dataclasses.dataclass(frozen=True, kw_only=True)
class Odd(Elman):
    """Kernels made from parameters: tied, transposed, scaled; one parameter is used outside of a product too."""

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
    """A kernel of every step's own: it depends on the state."""

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
    """No recurrent product at all."""

    def recur(self, params, state, z, *, dot=product, context=None):
        h = jnp.tanh(z + 0.5 * state.h)
        return type(state)(h), h


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditioned(Elman):
    """Its context is seen by every step and by the initial state."""

    def initial_state(self, params, batch_shape=(), *, context=None, key=None):
        return type(super().initial_state(params, batch_shape))(jnp.sin(context["h"]))

    def recur(self, params, state, z, *, dot=product, context=None):
        h = jnp.tanh(z + context["h"] * dot(state.h * context["h"], params["recurrent_kernel"]))
        return type(state)(h), h


@dataclasses.dataclass(frozen=True, kw_only=True)
class Added(Elman):
    """Its product is added to the context, which is no input of every step."""

    def recur(self, params, state, z, *, dot=product, context=None):
        h = jnp.tanh(z * (dot(state.h, params["recurrent_kernel"]) + context["h"]))
        return type(state)(h), h


class DelayedState(NamedTuple):
    older: jax.Array
    h: jax.Array
    still: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delayed(Elman):
    """Of its state one array is another's last value, and one never changes."""

    def initial_state(self, params, batch_shape=(), *, context=None, key=None):
        h = super().initial_state(params, batch_shape).h
        return DelayedState(h, h, h + 0.5)

    def recur(self, params, state, z, *, dot=product, context=None):
        kernel = params["recurrent_kernel"]
        h = jnp.tanh(z * jnp.sin(state.still) + dot(state.h, kernel) + dot(jnp.sin(state.older) * state.older, kernel))
        return DelayedState(state.h, h, state.still), h


@pytest.mark.parametrize("kind", [Odd, Plain, Delayed])
def test_kernels_made_of_parameters(kind, x64):
    case = Case(kind(input_size=3, hidden_size=4), dtype=jnp.float64)
    assert case.gap(gradient) <= 1e-12
    assert case.gap(lambda f: lambda *args: jax.jvp(gradient(f), args, args)) <= 1e-12


@pytest.mark.parametrize("kind", [Fast, Mapped, Silent])
def test_what_is_refused_would_be_right_too(kind, monkeypatch):
    """The loop hoists what it can and leaves the rest to autodiff."""
    monkeypatch.setattr(fused, "supports", lambda cell, call: None)
    assert Case(kind(input_size=3, hidden_size=4)).gap(gradient) <= 1e-5


@pytest.mark.parametrize("kind", [Conditioned, Added])
def test_context_gradients_come_back_once(kind, x64):
    cell = kind(input_size=3, hidden_size=4)
    params, xs = cell.init(jax.random.key(0)), jnp.sin(jnp.arange(36.0)).reshape(2, 6, 3)
    params = jax.tree.map(lambda a: a.astype(jnp.float64), params)
    context, reset = {"h": jnp.cos(jnp.arange(8.0)).reshape(2, 4)}, jnp.arange(12).reshape(2, 6) % 4 == 3

    def gradients(backend):
        def value(params, xs, context):
            return weighted(unroll(cell, params, xs, context=context, reset=reset, backend=backend))

        return jax.grad(value, argnums=(0, 1, 2))(params, xs, context)

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


# ---- the compiled program


def loop_bodies(text):
    """The computations that run inside a while loop of a compiled program, as text."""
    blocks, name = {}, None
    for line in text.splitlines():
        if header := re.match(r"(?:ENTRY )?%([\w.\-]+) .*\{$", line):
            name = header[1]
            blocks[name] = ""
        elif name:
            blocks[name] += line + "\n"
    inside, todo = set(), re.findall(r"body=%([\w.\-]+)", text)
    while todo:
        block = todo.pop()
        if block not in inside:
            inside.add(block)
            todo += re.findall(r"(?:calls|to_apply|body|condition)=%([\w.\-]+)", blocks[block])
    return "\n".join(blocks[block] for block in inside)


@pytest.mark.parametrize("name", MAKERS)
def test_no_kernel_is_summed_copied_or_transposed_inside_a_loop(name):
    case = Case(MAKERS[name](input_size=24, hidden_size=20), rows=4, steps=9)
    shapes = "|".join(",".join(map(str, order)) for order in itertools.permutations(case.params["recurrent_kernel"].shape))
    kernel = rf"= f32\[(?:{shapes})\]\S* (?!parameter|get-tuple-element|bitcast)([\w\-]+)\("

    def in_loops(backend):
        compiled = jax.jit(gradient(case.value(backend))).lower(*case.arguments).compile().as_text()
        return set(re.findall(kernel, loop_bodies(compiled)))

    assert in_loops("fused") == set()
    assert "add" in in_loops("scan")  # what this test looks for


# Instructions of the loops of one layer, forward and in training (jax 0.10, CPU): what is not a product or a fusion costs too.
MOST_INSTRUCTIONS = {"elman": (8, 15), "lstm": (8, 33), "gru": (12, 40), "gru_reset_before": (14, 35)}


@pytest.mark.parametrize("name", MOST_INSTRUCTIONS)
def test_the_loops_are_short_and_copy_no_stacked_array(name):
    """What a step leaves is written over what it has read, and that only pays if the compiler sees no need for a copy."""
    steps, rows = 9, 32
    cell = MAKERS[name](input_size=24, hidden_size=48)
    params, xs = cell.init(jax.random.key(0)), jnp.ones((rows, steps, 24))

    def forward(params, xs):
        return unroll(cell, params, xs)[1]

    def training(params, xs):
        return jax.grad(lambda p, x: weighted(forward(p, x)), argnums=(0, 1))(params, xs)

    for function, most in zip((forward, training), MOST_INSTRUCTIONS[name], strict=True):
        text = jax.jit(function).lower(params, xs).compile().as_text()
        assert not re.findall(rf"= f32\[{rows},{steps},\d+\]\S* copy\(", loop_bodies(text))
        bodies = set(re.findall(r"body=%([\w.\-]+)", text))
        lines = [
            line for body in bodies for line in re.search(rf"\n%{re.escape(body)} .*?\n}}", text, re.S)[0].splitlines()[2:-1]
        ]
        work = [line for line in lines if not re.search(r" (parameter|constant|get-tuple-element|tuple|bitcast)\(", line)]
        assert len(work) <= most, "\n".join(line.split(", metadata")[0] for line in work)


def test_a_large_z_is_made_only_for_a_derivative():
    """The table's rows: each step projects its own input, no [B, T, 4H] is in memory, and `explain` says so."""
    cell, rows, steps = LSTM(input_size=16, hidden_size=128), 64, 100
    params, xs = cell.init(jax.random.key(0)), jnp.sin(jnp.arange(rows * steps * 16.0)).reshape(rows, steps, 16)
    zs = rows * steps * 4 * 128 * 4

    def forward(params, xs):
        return unroll(cell, params, xs)[1]

    assert jax.jit(forward).lower(params, xs).compile().memory_analysis().temp_size_in_bytes < zs / 2
    assert gap(forward(params, xs), unroll(cell, params, xs, backend="scan")[1]) <= 1e-5
    assert "each step projects its own input (z would be 13 MB)" in str(explain(cell, params, xs)[0])
    assert explain(cell, params, xs[:8])[0].layout == explain(cell, params, xs, backend="scan")[0].layout == ""


@pytest.mark.parametrize("name", leaving("lstm", of=["lstm", "gru_reset_before", "recurrent_dropout"]))
def test_where_each_step_projects_its_own_input(name, monkeypatch, x64):
    monkeypatch.setattr(thresholds, "INSIDE", (thresholds.Row(jax.default_backend(), zs=0, kernel=1e9),))
    for options in ({}, {"reverse": True}, {"masked": False}):
        case = Case(MAKERS[name](input_size=2, hidden_size=6), steps=9, dtype=jnp.float64, **options)  # no other test's sizes
        assert case.gap(lambda f: f) <= 1e-12
        assert case.gap(gradient) <= 1e-12
        assert case.gap(lambda f: lambda *args: jax.jvp(gradient(f), args, args)) <= 1e-12


def test_sharded_batch(as_user, tmp_path):
    """Four devices, the batch split over them: the same gradients, and no gathering of what is stacked over time."""
    script = tmp_path / "sharded.py"
    script.write_text(
        "import re, jax, jax.numpy as jnp, numpy as np, seqjax\n"
        "from jax.sharding import NamedSharding, PartitionSpec as P\n"
        "mesh = jax.make_mesh((4,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))\n"
        "cell = seqjax.LSTM(input_size=6, hidden_size=10)\n"
        "params = cell.init(jax.random.key(0))\n"
        "xs = jax.random.normal(jax.random.key(1), (8, 5, 6))\n"
        "loss = lambda p, x, b: (seqjax.unroll(cell, p, x, backend=b)[1] ** 2).sum()\n"
        "split = jax.device_put(xs, NamedSharding(mesh, P('data')))\n"
        "whole = jax.device_put(params, NamedSharding(mesh, P()))\n"
        "step = jax.jit(jax.grad(lambda p, x: loss(p, x, 'fused')))\n"
        "wanted = jax.grad(loss)(params, xs, 'scan')\n"
        "jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), step(whole, split), wanted)\n"
        "text = step.lower(whole, split).compile().as_text()\n"
        "assert 'all-reduce' in text and 'all-gather' not in text and 'all-to-all' not in text, text\n"
    )
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = as_user("-W", "ignore", script, env=environment | {"PYTHONPATH": os.getcwd()})
    assert done.returncode == 0, done.stderr
