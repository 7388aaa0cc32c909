"""The programs that the fused backend compiles to: short loops, no kernel-sized sum inside, no copy, no gathering."""

import itertools
import re

import jax
import jax.numpy as jnp
import pytest

from seqjax import GRU, LSTM, MGU, Elman, explain, thresholds, unroll
from seqjax.cells import gru
from seqjax.recurrence.fused import backend, in_place_scan, linearized, loop_over_leaves
from tests.catalog import leaving
from tests.recurrence.test_fused import MAKERS, Case, gap, gradient, gradient_and_second, weighted


def hessian_vector(f):
    """In the direction of the parameters."""
    return lambda params, xs: jax.jvp(lambda p: jax.grad(f)(p, xs), (params,), (params,))[1]


def reverse_over_reverse(f):
    """The gradient of a number made from the gradient."""
    return jax.grad(lambda params, xs: weighted(jax.grad(f)(params, xs)))


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


@pytest.mark.parametrize("name", leaving("lstm", "gru_reset_before_heads", "recurrent_dropout", of=MAKERS))
def test_no_kernel_is_summed_copied_or_transposed_inside_a_loop(name):
    case = Case(MAKERS[name](input_size=24, hidden_size=20), rows=4, steps=9)
    shapes = "|".join(",".join(map(str, order)) for order in itertools.permutations(case.params["recurrent_kernel"].shape))
    kernel = rf"= f32\[(?:{shapes})\]\S* (?!parameter|get-tuple-element|bitcast)([\w\-]+)\("

    def in_loops(backend):
        compiled = jax.jit(gradient(case.value(backend))).lower(*case.arguments).compile().as_text()
        return set(re.findall(kernel, loop_bodies(compiled)))

    assert in_loops("fused") == set()
    if name == "lstm":
        assert "add" in in_loops("scan")  # so this test would detect one


# Instructions in the loops of one layer, forward and in training (jax 0.10, CPU): each costs time, not only products and fusions.
MOST_INSTRUCTIONS = {"elman": (8, 15), "lstm": (8, 33), "gru": (12, 40), "gru_reset_before": (14, 35), "mgu": (14, 40)}


@pytest.mark.parametrize("name", leaving("lstm", "gru", of=MOST_INSTRUCTIONS))
def test_the_loops_are_short_and_copy_no_stacked_array(name):
    """Residuals overwrite the inputs that a step has read, which pays only if the compiler inserts no copy."""
    steps, rows = 9, 32
    cell = MAKERS[name](input_size=24, hidden_size=48)
    params, xs = Case(cell).params, jnp.ones((rows, steps, 24))

    def forward(params, xs):
        return unroll(cell, params, xs)[1]

    def training(params, xs):
        return jax.grad(lambda p, x: weighted(forward(p, x)), argnums=(0, 1))(params, xs)

    for function, limit in zip((forward, training), MOST_INSTRUCTIONS[name], strict=True):
        text = jax.jit(function).lower(params, xs).compile().as_text()
        assert not re.findall(rf"= f32\[{rows},{steps},\d+\]\S* copy\(", loop_bodies(text))
        bodies = set(re.findall(r"body=%([\w.\-]+)", text))
        lines = [
            line for body in bodies for line in re.search(rf"\n%{re.escape(body)} .*?\n}}", text, re.S)[0].splitlines()[2:-1]
        ]
        work = [line for line in lines if not re.search(r" (parameter|constant|get-tuple-element|tuple|bitcast)\(", line)]
        assert len(work) <= limit, "\n".join(line.split(", metadata")[0] for line in work)


def test_an_input_that_is_read_late_is_overwritten_only_by_an_output_that_depends_on_it(monkeypatch):
    """Another output would be written before the input is read, and XLA would copy the stack at every step."""
    overwritten = []
    monkeypatch.setattr(in_place_scan, "scan_stacks", lambda *args, **options: overwritten.append(options["overwritten"]))
    step, stack = jax.ShapeDtypeStruct((8, 128), jnp.float32), jax.ShapeDtypeStruct((8, 3, 128), jnp.float32)
    for read_late in ((0, 1), (1,)):
        options = {"overwritable": {0: {1}, 1: {1}}, "read_late": read_late, "reverse": False}
        in_place_scan.scan_with_layout(None, jnp.zeros((8, 128)), [stack, stack], [step, step], **options)
    assert overwritten == [{1: 0}, {0: 0, 1: 1}]


@pytest.mark.parametrize("cell", [MGU(24, 48), LSTM(24, 48, input_activation="linear")], ids=["mgu", "linear_input"])
def test_no_output_overwrites_an_input_that_is_read_later(cell):
    """f * h is known before z_n is read, and tanh(z) beside a second read of z: in their buffers they would make XLA copy z."""
    params, xs = jax.eval_shape(cell.init, jax.random.key(0)), jax.ShapeDtypeStruct((32, 9, 24), jnp.float32)
    training = jax.jit(jax.grad(lambda p, x: weighted(unroll(cell, p, x)[1])))
    assert not re.findall(r"= f32\[32,9,\d+\]\S* copy\(", loop_bodies(training.lower(params, xs).compile().as_text()))


@pytest.mark.parametrize(
    "cell", leaving(LSTM(16, 16), of=[LSTM(16, 16), GRU(16, 16), Elman(16, 16)]), ids=lambda c: type(c).__name__
)
@pytest.mark.parametrize("second", leaving(hessian_vector, of=[hessian_vector, reverse_over_reverse]), ids=lambda f: f.__name__)
def test_second_derivatives_take_no_more_memory_than_the_plain_scans_and_copy_no_stack_in_a_loop(cell, second):
    """A copy, a sum or a fill of a whole stack at every step would take time in proportion to the square of the steps."""
    rows, steps = 4, 500
    params, xs = jax.eval_shape(cell.init, jax.random.key(0)), jax.ShapeDtypeStruct((rows, steps, 16), jnp.float32)

    def compiled(name):
        value = lambda p, x: weighted(unroll(cell, p, x, backend=name)[1])  # noqa: E731
        return jax.jit(second(value)).lower(params, xs).compile()

    fused, plain = compiled("fused"), compiled("scan")
    assert fused.memory_analysis().temp_size_in_bytes <= plain.memory_analysis().temp_size_in_bytes
    whole = rf"= f32\[(?:{rows},{steps}|{steps},{rows}),\d+\]\S* (?:copy|add|broadcast|pad)\("
    assert not re.findall(whole, loop_bodies(fused.as_text()))


def test_a_large_z_is_made_only_for_a_derivative():
    """At sizes of the measured table each step projects its own input, no [B, T, 4H] is allocated, and `explain` says so."""
    cell, rows, steps = LSTM(input_size=16, hidden_size=128), 64, 100
    params, xs = Case(cell).params, jnp.sin(jnp.arange(rows * steps * 16.0)).reshape(rows, steps, 16)
    bytes_of_z = rows * steps * 4 * 128 * 4

    def forward(params, xs):
        return unroll(cell, params, xs)[1]

    assert jax.jit(forward).lower(params, xs).compile().memory_analysis().temp_size_in_bytes < bytes_of_z / 2
    assert gap(forward(params, xs), unroll(cell, params, xs, backend="scan")[1]) <= 1e-5
    assert "each step projects its own input (z would be 13 MB)" in str(explain(cell, params, xs)[0])
    assert explain(cell, params, xs[:8])[0].layout == explain(cell, params, xs, backend="scan")[0].layout == ""


@pytest.mark.parametrize(
    ("steps", "rows", "sizes", "inside"),
    [
        (2000, 2, (1024,), False),
        (1500, 4, (1024,), False),
        (800, 8, (1024,), False),
        (4000, 8, (1024,), True),
        (200, 64, (1024,), True),
        (400, 12, (1024,), False),
        (400, 12, (512, 256), True),
        (300, 32, (4096,), False),
        (100, 64, (4096,), True),
    ],
)
def test_few_rows_are_projected_before_the_loop(steps, rows, sizes, inside):
    """A product of few rows is bound by reading its kernel."""
    xs, *zs = (jax.ShapeDtypeStruct((rows, steps, features), jnp.float32) for features in (128, *sizes))
    assert bool(thresholds.projected_inside(xs, zs)) == inside


@pytest.mark.parametrize("rows", [1, 2, 8, 64])
def test_a_few_rows_are_multiplied_by_a_kernel_that_is_transposed_before_the_backward_loop(rows):
    """Also where the loop is the user's own."""
    cell = LSTM(input_size=24, hidden_size=20)
    params, xs = jax.eval_shape(cell.init, jax.random.key(0)), jax.ShapeDtypeStruct((3, rows, 24), jnp.float32)

    def own(params, xs):
        step = lambda state, x: cell.step(params, state, x)  # noqa: E731
        return jax.lax.scan(step, cell.initial_state(params, (rows,)), xs)[1].sum()

    def fused(params, xs):
        return unroll(cell, params, xs.swapaxes(0, 1))[1].sum()

    for loss in (own, fused):
        text = str(jax.make_jaxpr(jax.grad(loss))(params, xs))
        before_loops = text[: text.index(" scan[")] if loss is own else text
        assert ("f32[80,20] = transpose" in before_loops) == (2 <= rows <= 32), before_loops


@pytest.mark.parametrize("name", leaving("lstm", of=["lstm", "gru_reset_before", "recurrent_dropout"]))
def test_where_each_step_projects_its_own_input(name, monkeypatch, x64):
    monkeypatch.setattr(thresholds, "INSIDE", (thresholds.Row(jax.default_backend(), rows=0, zs=0, kernel=1e9),))
    for options in ({}, {"reverse": True}, {"masked": False}):
        case = Case(MAKERS[name](input_size=2, hidden_size=6), steps=9, dtype=jnp.float64, **options)  # sizes unlike other tests'
        assert case.gap(lambda f: f) <= 1e-12
    assert case.gap(gradient_and_second) <= 1e-12


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_the_layouts_of_many_rows(name, monkeypatch, x64):
    """Products side by side forward, and in training sums of a kernel's gradient in the loop: all of an LSTM, one of a GRU."""
    monkeypatch.setattr(thresholds, "INSIDE", (thresholds.Row(jax.default_backend(), rows=0, zs=0, kernel=1e9),))
    for module in (backend, loop_over_leaves):
        monkeypatch.setattr(module, "overlaps_products", lambda rows, trained: True)
    monkeypatch.setattr(backend, "trains_inside", lambda params, xs, zs: name == "lstm")
    monkeypatch.setattr(linearized, "sums_in_loop", lambda rows, kernel: kernel.shape[-1] == 8)
    case = Case(MAKERS[name](input_size=3, hidden_size=8), steps=5, dtype=jnp.float64)
    assert case.gap(lambda f: f) <= 1e-12
    assert case.gap(gradient_and_second) <= 1e-12


def test_many_rows_are_projected_inside_the_loop_in_training_too():
    cell = LSTM(input_size=16, hidden_size=128)
    params = jax.eval_shape(cell.init, jax.random.key(0))

    def loss(params, xs):
        return unroll(cell, params, xs)[1].sum()

    for rows, inside in ((64, True), (32, False)):
        xs = jax.ShapeDtypeStruct((rows, 6400 // rows * 2, 16), jnp.float32)
        assert ("f32[12800,512] = dot_general" in str(jax.make_jaxpr(jax.grad(loss))(params, xs))) == (not inside)
        layout = explain(cell, params, jnp.zeros(xs.shape))[0].layout
        assert layout.startswith("each step projects" if inside else "where nothing is differentiated each step projects")


def test_few_rows_are_multiplied_by_all_kernels_of_a_small_gru_at_once_unless_a_gradient_is_taken():
    cell = GRU(input_size=8, hidden_size=64)
    params = jax.eval_shape(cell.init, jax.random.key(0))

    def loss(params, xs):
        return unroll(cell, params, xs)[1].sum()

    for function, rows, together in ((loss, 4, True), (loss, 64, False), (jax.grad(loss), 4, False)):
        text = str(jax.make_jaxpr(function)(params, jax.ShapeDtypeStruct((rows, 3, 8), jnp.float32)))
        assert (f"f32[{rows},192] = dot_general" in text, f"f32[{rows},128] = dot_general" in text) == (together, not together)


@pytest.mark.slow
def test_one_row_is_multiplied_by_all_kernels_of_a_large_gru_at_once(monkeypatch, x64):
    case = Case(GRU(input_size=2, hidden_size=7), rows=1, steps=5, dtype=jnp.float64, masked=False)
    results = []
    for name, joined in (("fused", True), ("scan", False)):
        monkeypatch.setattr(gru, "joins_products", lambda rows, kernels, joined=joined: rows == 1 and joined)
        jax.clear_caches()
        results.append(jax.jit(gradient_and_second(case.value(name)))(*case.arguments))
    monkeypatch.undo()
    jax.clear_caches()
    assert gap(*results) <= 1e-12

    cell = GRU(input_size=8, hidden_size=512)
    params, xs = jax.eval_shape(cell.init, jax.random.key(0)), jax.ShapeDtypeStruct((1, 3, 8), jnp.float32)
    text = str(jax.make_jaxpr(lambda params, xs: unroll(cell, params, xs)[1])(params, xs))
    assert "f32[1,1536] = dot_general" in text
    state, x = jax.eval_shape(lambda p: cell.initial_state(p, (1,)), params), jax.ShapeDtypeStruct((1, 8), jnp.float32)
    assert "concatenate" not in str(jax.make_jaxpr(cell.step)(params, state, x))
