"""The laws of cells and layers, each a function of a `Case`, and `check_cell` that holds a cell to all of them."""

import copy
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import noise, tree
from seqjax.checks import kind_of
from seqjax.contracts import Cell, SequenceLayer
from seqjax.errors import InputError
from seqjax.products import product
from seqjax.recurrence.backends import BACKENDS
from seqjax.recurrence.call import Call
from seqjax.recurrence.engine import unroll
from seqjax.testing.case import STEPS, TOLERANCE, Case
from seqjax.testing.comparison import (
    all_finite,
    cast,
    close,
    floating_leaves,
    map_arrays,
    map_floating,
    require,
    same_form,
)
from seqjax.testing.devices import law_devices
from seqjax.testing.programs import invariant_work
from seqjax.testing.rounding import rounded_parameters
from seqjax.testing.tracing import law_donation, law_empty, law_export
from seqjax.types import is_floating

compilations = 0  # by this process since the first check
_listening = False


def check_cell(cell, *, context=None, tokens: bool = False, quick: bool = False, report: Callable | None = None) -> None:
    """Checks a cell, or a layer, against every law it must obey; `report=print` names each law as it runs.

    Whole sequence == step by step, outputs and gradients; chunks with the state carried == one pass; no step sees a later one;
    `project` treats each step alone, and reads embedded symbols as `embed` says; a step does no work on kernels alone; padding
    reaches nothing; reset, reverse and remat; batch rows do not see each other; the state keeps its structure, shapes and
    dtypes; no parameter is rounded to the dtype of another; jit, vmap over the batch and over parameters, grad, jvp, bfloat16
    and float64; a second call compiles nothing; `jax.export` takes symbolic numbers of rows and steps; rows may lie on several
    devices; every backend equals the plain scan.

    Args:
        cell: a Cell or a SequenceLayer (which need not step). Inputs are made from its input_shape.
        context: a pytree that its steps read beside the state, leaves [3, ...]; None: they read nothing else.
        tokens: True feeds integer tokens instead of features.
        quick: True checks only the laws without gradients. From an empty compilation cache all laws take about 20 CPU seconds,
            the quick ones about 7.
        report: called with the name of each law before it is checked, such as `print`; None: nothing is reported.

    Raises:
        AssertionError: the first law that is broken, by name, with the values compared. Any exception carries a note of the
            law that was being checked.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> check_cell(GRU(input_size=2, hidden_size=3), quick=True)
    """
    if not isinstance(cell, Cell | SequenceLayer):
        raise InputError(f"check_cell checks a Cell or a SequenceLayer, not {kind_of(cell)}")
    global _listening
    if not _listening:
        jax.monitoring.register_event_duration_secs_listener(_count)
        _listening = True
    with jax.default_matmul_precision("highest"):
        case = None
        for law in _QUICK_LAWS if quick else (*_QUICK_LAWS, *_GRADIENT_LAWS):
            if law in _CELL_LAWS and isinstance(cell, SequenceLayer):
                continue
            name = law.__name__.removeprefix("law_").replace("_", " ")
            if report is not None:
                report(f"law: {name}")
            try:
                case = case or Case(cell, context, tokens)
                law(case)
            except Exception as error:
                error.add_note(f"while checking the law of {name} for {cell}: {law.__doc__}")
                raise


def _count(event: str, duration_secs: float, **kwargs: str | int) -> None:
    global compilations
    compilations += event == "/jax/core/compile/backend_compile_duration"


def law_value(case):
    """A cell is a hashable value: equal cells share one jit trace."""
    twin = copy.deepcopy(case.cell)
    require(
        twin == case.cell and hash(twin) == hash(case.cell), "value", "a copy is not equal to the cell, or hashes differently"
    )


def law_state(case):
    """The state keeps its structure, shapes and dtypes, float32 or wider; every leaf starts with the batch shape."""
    half = jax.eval_shape(lambda p: tree.cast_floating(p, jnp.bfloat16), case.params)
    for batch in ((), (2,), (2, 3)) if case.context is None else ((case.rows,),):
        initial, of_half = (
            jax.eval_shape(lambda p, b=batch: case.cell.initial_state(p, b, context=case.context), params)
            for params in (case.params, half)
        )
        same_form(of_half, initial, "initial state with bfloat16 parameters")
        for leaf in jax.tree.leaves(initial):
            require(leaf.shape[: len(batch)] == batch, "state", f"a leaf has shape {leaf.shape}, batch_shape is {batch}")
            if is_floating(leaf):
                require(jnp.finfo(leaf.dtype).bits >= 32, "state", f"a leaf is {leaf.dtype}, it must be float32 or wider")
    if isinstance(case.cell, Cell):
        for dtype in (jnp.float32, jnp.bfloat16):
            params, x = cast((case.params, case.xs[:, 0]), dtype)
            new, y = jax.eval_shape(lambda p, x: case.cell.step(p, case.state, x, case.context), params, x)
            for leaf in jax.tree.leaves(y):
                require(is_floating(leaf), "output", f"the output of a step is {tree.form(leaf)}, it must be floating")
            same_form(new, case.state, f"state of one step with {jnp.dtype(dtype).name} parameters")


def law_rounding(case):
    """No parameter is rounded to the dtype of another, at any length: float32 biases beside bfloat16 kernels, or the reverse."""
    long = jax.ShapeDtypeStruct((case.rows, 2**16, *case.xs.shape[2:]), case.xs.dtype)
    for narrow in (lambda a: a.ndim >= 2, lambda a: a.ndim < 2):
        params = jax.tree.map(lambda a, narrow=narrow: a.astype(jnp.bfloat16) if is_floating(a) and narrow(a) else a, case.params)
        lines = rounded_parameters(lambda p, x: case.unroll(p, x, case.state), params, long)
        require(not lines, "mixed precision", "; ".join(lines))


def law_project(case):
    """`project` treats each time step alone, for any leading axes."""

    @jax.jit
    def projected(params, xs):
        project = case.cell.project
        return project(params, xs), [project(params, xs[:, t]) for t in range(STEPS)], project(params, xs[0])

    zs, steps, row = projected(case.params, case.xs)
    for t, alone in enumerate(steps):
        at_t = map_arrays(lambda z, t=t: z[:, t], zs)
        close(at_t, alone, case.tolerance, f"project treats each step alone (step {t})")
    close(map_arrays(lambda z: z[0], zs), row, case.tolerance, "project treats each row alone")


def law_embed(case):
    """Symbols read through an embedding: E W in place of W == the rows of E."""
    if len(case.cell.input_shape) != 1:
        return
    table = np.sin(np.arange(2 * case.cell.input_shape[0])).reshape(2, -1).astype(np.float32)
    tokens = np.array([[0, 1, 1], [1, 0, 1]])

    @jax.jit
    def both(params, table):
        embedded = case.cell.embed(params, table)
        return None if embedded is None else (case.cell.project(embedded, tokens), case.cell.project(params, table[tokens]))

    if (projections := both(case.params, table)) is not None:
        by_table, by_rows = projections
        close(by_table, by_rows, case.tolerance, "embed: E W in place of W == the rows of E")


def law_parameters(case):
    """A step does no work on kernels alone, such as a slice or a cast: XLA would repeat it at every step of a user's own loop."""
    x = jax.eval_shape(lambda xs: xs[:, 0], case.xs)
    work = invariant_work(case.cell.step, case.params, case.state, x, case.context)
    require(not work, "parameters", f"a step makes a {', '.join(work)}: parameters must be stored as a step reads them")


def law_dot(case):
    """A cell with a recurrent kernel multiplies by it through `dot`, where dropout and the fast backends find it."""
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(case.params)]
    products = []

    def dot(h, kernel):
        products.append(kernel.shape)
        return product(h, kernel)

    zs = jax.eval_shape(case.cell.project, case.params, case.xs[:, 0])
    jax.eval_shape(lambda p, s, z, c: case.cell.recur(p, s, z, dot=dot, context=c), case.params, case.state, zs, case.context)
    kernel = next((name for name in names if "recurrent_kernel" in name), None)
    require(kernel is None or bool(products), "dot", f"recur has params{kernel} and writes no product as dot(h, kernel)")


def law_gates(case):
    """`collect="gates"` gives the gates that the cell names, at every step."""
    if case.cell.gates:
        _, gates = jax.eval_shape(lambda p: case.unroll(p, case.xs, case.state, collect="gates"), case.params)
        names, expected = sorted(gates), sorted(case.cell.gates)
        require(names == expected, "gates", f"recur records the gates {names}, the cell names {expected}")
        for name, gate in gates.items():
            require(gate.shape[:2] == (case.rows, STEPS), "gates", f"gate {name} has shape {gate.shape}, not [B, T, ...]")


def law_rows(case):
    """Batch rows do not see each other."""

    def with_first_row(a, other):
        return np.concatenate([other[:1], a[1:]])

    xs = with_first_row(case.xs, case.other_inputs(case.xs))
    state = map_floating(lambda a: with_first_row(a, a + a.dtype.type(1.5)), case.state)
    results = case.unroll(case.params, xs, state)
    others, expected = (map_arrays(lambda a: a[1:], pair) for pair in (results, case.one_pass))
    close(others, expected, 1e-6, "batch rows do not see each other")


def law_causal(case):
    """No step sees a later one: other inputs from step t on leave the outputs before t unchanged."""
    for t in range(1, STEPS):
        xs = np.concatenate([case.xs[:, :t], case.other_inputs(case.xs[:, t:])], axis=1)
        _, ys = case.unroll(case.params, xs, case.state)
        before, expected = (map_arrays(lambda y, t=t: y[:, :t], a) for a in (ys, case.one_pass[1]))
        close(before, expected, 1e-6, f"no step sees a later one (inputs from step {t} on changed)")


def law_chunks(case):
    """Chunks with the state carried == one pass; the collected states are the carried ones."""

    @jax.jit
    def chunks(params, xs, state, context):
        middle, head = case.unroll(params, xs[:, :2], state, context)
        end, tail = case.unroll(params, xs[:, 2:], middle, context)
        _, states = case.unroll(params, xs, state, context, collect="states")
        return middle, head, end, tail, states, case.unroll(params, xs[:, :0], state, context)

    middle, head, end, tail, states, (same, empty) = chunks(case.params, case.xs, case.state, case.context)
    close((end, _joined(head, tail)), case.one_pass, case.tolerance, "chunks with the state carried == one pass")
    carried = map_arrays(lambda a: a[:, 1], states)
    close(carried, middle, case.tolerance, 'collect="states" == the state carried')
    close(same, case.state, 0, "no steps: the state is returned")
    require(all(y.shape[1] == 0 for y in jax.tree.leaves(empty)), "no steps", "ys is not empty")


def law_reset(case):
    """A reset at a step == a fresh start there; noise is unaffected."""
    reset = np.zeros((case.rows, STEPS), bool)
    reset[:, 2] = True

    @jax.jit
    def both(params, xs, state, initial, context):
        middle, head = case.unroll(params, xs[:, :2], state, context)
        end, tail = case.unroll(params, xs[:, 2:], noise.keep_noise(initial, middle), context)
        return case.unroll(params, xs, state, context, reset=reset), head, end, tail

    result, head, end, tail = both(case.params, case.xs, case.state, case.initial, case.context)
    close(result, (end, _joined(head, tail)), case.tolerance, "reset == a fresh start")


def law_reverse(case):
    """`reverse` == flipping inputs and outputs, where noise does not depend on the step."""
    state, ys = case.unroll(case.params, case.xs, case.state, reverse=True)
    if isinstance(case.cell, Cell):
        final, flipped = case.unroll(case.params, case.xs[:, ::-1], case.state)
        close((state, ys), (final, map_arrays(lambda y: y[:, ::-1], flipped)), case.tolerance, "reverse == flipped")


def law_compiles_once(case):
    """A second call with an equal cell, equal shapes and the state of the first compiles nothing."""
    state, _ = jax.block_until_ready(case.one_pass)
    before = compilations
    twin = copy.deepcopy(case.cell)
    jax.block_until_ready(unroll(twin, case.params, case.xs, state, context=case.context))
    require(compilations == before, "compiles once", f"the second call compiled {compilations - before} programs")


def law_bfloat16(case):
    """bfloat16 parameters and inputs: ys are bfloat16, the state stays float32, the values are close."""
    params, xs = cast((case.params, case.xs), jnp.bfloat16)
    state, ys = case.unroll(params, xs, case.state)
    same_form(state, case.state, "bfloat16: state")
    require(
        all(y.dtype == jnp.bfloat16 for y in floating_leaves(ys)), "bfloat16", "ys of bfloat16 parameters and xs are not bfloat16"
    )
    close(cast((state, ys), np.float32), case.one_pass, TOLERANCE["bfloat16"], "bfloat16 is close to float32")


def law_vmap(case):
    """vmap over the batch == the batch; vmap over parameters == one by one."""
    axes = 0 if jax.tree.leaves(case.params) else None
    other = case.other_params()
    pair = jax.tree.map(lambda a, b: np.stack([np.asarray(a), np.asarray(b)]), case.params, other)

    @jax.jit
    def mapped(params, pair, xs, state, context):
        rows = jax.vmap(lambda x, s, c: unroll(case.cell, params, x, s, context=c))(xs, state, context)
        by_params = None if axes is None else jax.vmap(lambda p: case.unroll(p, xs, state, context)[1])(pair)
        return rows, by_params

    rows, by_params = mapped(case.params, pair, case.xs, case.state, case.context)
    close(rows, case.one_pass, case.tolerance, "vmap over the batch == the batch")
    if axes is not None:
        _, ys = case.unroll(other, case.xs, case.state)
        close(map_arrays(lambda a: a[1], by_params), ys, case.tolerance, "vmap over parameters == one by one")


def law_step(case):
    """Whole sequence == step by step, in outputs and in gradients of inputs, parameters, state and context (these in float64)."""
    stepped = jax.jit(case.stepped)(case.params, case.xs, case.state, case.context)
    close(case.one_pass, stepped, case.tolerance, "whole sequence == step by step, outputs and state")
    with jax.enable_x64(True):
        wide = case.in_float64()
        (results, grads), (stepped, expected) = wide.gradients(wide.unroll), wide.gradients(wide.stepped)
    close(results, stepped, wide.tolerance, "whole sequence == step by step in float64, outputs and state")
    close(grads, expected, 10 * wide.tolerance, "whole sequence == step by step, gradients")


def law_padding(case):
    """A masked step copies the state and outputs 0; NaN in padding reaches no value and no gradient."""
    length = 3  # of row 2; row 1 has no steps
    lengths = np.array([STEPS, 0, length] + [2] * (case.rows - 3), np.int32)
    mask = np.arange(STEPS) < lengths[:, None]
    padded = (
        case.xs
        if case.tokens
        else np.where(mask.reshape(*mask.shape, *(1,) * (case.xs.ndim - 2)), case.xs, case.xs.dtype.type(np.nan))
    )
    names = {False: "padding", True: "padding, reverse"}

    def both(params, xs, state, context):
        return [case.unroll(params, xs, state, context, lengths=lengths, reverse=reverse) for reverse in names]

    @jax.jit
    def alone(params, x, state, context):
        x, state, context = jax.tree.map(lambda a: a[2], (x, state, context))
        return [unroll(case.cell, params, x[:length], state, context=context, reverse=reverse) for reverse in names]

    results, grads = case.gradients(both, xs=padded)
    rows_alone = alone(case.params, case.xs, case.state, case.context)
    for name, (state, ys), expected in zip(names.values(), results, rows_alone, strict=True):
        require(all_finite((state, ys)), name, "NaN in padding reached a value")
        for y in jax.tree.leaves(map_arrays(lambda a: a[~mask], ys)):
            require(not y.any(), name, "an output at a masked step is not 0")
        untouched, initial = (map_arrays(lambda a: a[1], s) for s in (state, case.state))
        close(untouched, initial, 0, f"{name}: a row without steps returns its initial state")
        row = map_arrays(lambda a: a[2], state), map_arrays(lambda a: a[2, :length], ys)
        close(row, expected, case.tolerance, f"{name}: a row of {length} steps == that row alone, unbatched")
    if not all_finite(grads):
        close(case.plain[1], case.plain[1], 0, "gradients without padding")
        require(False, "padding", "padding, or a row without steps, reached a gradient, forward or reverse")


def law_backends(case):
    """Every backend equals the plain scan, gradients too."""
    arguments = (case.params, jnp.asarray(case.xs), case.state)
    call = Call(arguments, context=case.context)
    for name in (n for n, module in BACKENDS.items() if n != "scan" and module.supports(case.cell, call) is None):
        fast = case.gradients(lambda p, x, s, c, b=name: case.unroll(p, x, s, c, backend=b))
        close(fast, case.plain, case.tolerance, f"backend {name} == scan")


def law_remat(case):
    """Recomputed chunks change no value and no gradient."""
    recomputed = case.gradients(lambda p, x, s, c: case.unroll(p, x, s, c, remat=2))
    close(recomputed, case.plain, 10 * case.tolerance, "remat == plain")


def law_jvp(case):
    """Forward mode of the fastest backend and reverse mode of the plain scan agree: <u, J v> == <J' u, v>."""
    floating, others, keys = case.arguments()
    value = case.value(case.unroll, others, keys)
    tangents = jax.tree.map(lambda a: np.cos(np.arange(a.size)).reshape(a.shape).astype(a.dtype), floating)
    forward = jax.jit(lambda a, b: jax.jvp(lambda a: value(a)[0], (a,), (b,))[1])(floating, tangents)
    products = [np.asarray(a) * b for a, b in zip(jax.tree.leaves(case.plain[1]), jax.tree.leaves(tangents), strict=True)]
    backward, scale = sum(p.sum() for p in products), sum(np.abs(p).sum() for p in products)
    require(abs(float(forward) - backward) <= 10 * case.tolerance * (scale + 1), "jvp == vjp", f"{forward} against {backward}")


def law_float64(case):
    """Under x64, float64 parameters and inputs stay float64, and the values are those of float32."""
    with jax.enable_x64(True):
        wide = case.in_float64()
        results = wide.unroll(wide.params, wide.xs, wide.state)
        initial = jax.eval_shape(lambda p, c: wide.cell.initial_state(p, (wide.rows,), context=c), wide.params, wide.context)
        same_form(initial, wide.state, "float64: initial state")
        require(all(a.dtype == jnp.float64 for a in floating_leaves(results)), "float64", "a result is not float64")
        close(cast(results, np.float32), case.one_pass, case.tolerance, "float64 is close to float32")


def _joined(head, tail):
    """Outputs of two chunks, one after the other."""
    return jax.tree.map(lambda a, b: np.concatenate([np.asarray(a), np.asarray(b)], axis=1), head, tail)


_QUICK_LAWS = (
    law_value, law_state, law_donation, law_dot, law_gates, law_parameters, law_rounding, law_project, law_embed, law_rows,
    law_causal, law_chunks, law_reset, law_reverse, law_compiles_once, law_bfloat16, law_empty, law_export, law_devices,
)  # fmt: skip
_GRADIENT_LAWS = (law_step, law_padding, law_backends, law_vmap, law_jvp, law_remat, law_float64)
_CELL_LAWS = (  # not of layers
    law_dot, law_gates, law_parameters, law_project, law_embed, law_causal, law_step, law_chunks, law_reset, law_backends,
)  # fmt: skip
