"""The laws that every cell and layer obeys, as one function: for the catalogue's cells and for yours."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import masks, noise, tree
from seqjax.contracts import Cell, SequenceLayer
from seqjax.recurrence.backends import BACKENDS
from seqjax.recurrence.call import Call
from seqjax.recurrence.engine import unroll
from seqjax.types import output_dtype

STEPS = 5
TOLERANCE = {"float32": 2e-5, "float64": 1e-11, "bfloat16": 0.1}

compilations = 0  # of this process, once a check has run


def _count(event: str, duration_secs: float, **kwargs: str | int) -> None:
    global compilations
    compilations += event == "/jax/core/compile/backend_compile_duration"


_listening = False


def check_cell(cell, *, context=None, tokens: bool = False) -> None:
    """Checks a cell, or a layer, against every law it must obey. About five seconds.

    Whole sequence == step by step, outputs and gradients; chunks with the state carried == one pass; `project` treats
    each step alone, and reads embedded symbols as `embed` says; padding reaches nothing; reset, reverse and remat; batch rows
    do not see each other; the state keeps its structure, shapes and dtypes; jit, vmap over the batch and over parameters,
    grad, jvp, bfloat16 and float64; a second call compiles nothing; every backend equals the plain scan.

    Args:
        cell: a Cell or a SequenceLayer (which need not step). Inputs are made from its input_shape.
        context: what its steps need beside the state: a pytree, leaves [3, ...]; None: nothing.
        tokens: whether it is fed integer tokens instead of features.

    Raises:
        AssertionError: the first law that is broken, by name, with what was compared.

    Example:
        >>> from seqjax.cells.gru import GRU
        >>> check_cell(GRU(input_size=2, hidden_size=3))
    """
    global _listening
    if not _listening:
        jax.monitoring.register_event_duration_secs_listener(_count)
        _listening = True
    with jax.default_matmul_precision("highest"):
        case = _Case(cell, context, tokens)
        for law in _LAWS:
            if law in _CELL_LAWS and isinstance(cell, SequenceLayer):
                continue
            law(case)
        with jax.enable_x64(True):
            law_float64(_Case(cell, context, tokens, dtype=jnp.float64))


class _Case:
    """A cell with parameters, inputs and a state that is not the initial one; its noise is on."""

    def __init__(self, cell, context, tokens, dtype=jnp.float32):
        self.cell, self.context, self.tokens = cell, tree.cast_floating(context, dtype), tokens
        self.rows = 3 if context is None else jax.tree.leaves(context)[0].shape[0]
        rng = np.random.default_rng(7)
        shape = (self.rows, STEPS, *cell.input_shape)
        xs = rng.integers(0, shape[2], shape[:2], np.int32) if tokens else rng.normal(size=shape).astype(dtype)

        def shaken(values, scale):
            def shake(a):
                return a + jnp.asarray(scale * rng.normal(size=a.shape), a.dtype) if _is_floating(a) else a

            return jax.tree.map(shake, values)

        self.params = shaken(tree.cast_floating(jax.jit(cell.init)(jax.random.key(7)), dtype), 0.1)
        self.xs = jnp.asarray(xs)
        initial = cell.initial_state(self.params, (self.rows,), context=self.context)
        self.state = noise.reseed(shaken(initial, 0.3), jax.random.key(8))
        self.tolerance = TOLERANCE[jnp.dtype(dtype).name]

    def unroll(self, params, xs, state, context=None, **options):
        return unroll(self.cell, params, xs, state, context=self.context if context is None else context, **options)

    def stepped(self, params, xs, state, context):
        """The sequence step by step: `step` is a scan's body."""
        dtype = output_dtype(params, xs)

        def body(state, x):
            state, y = self.cell.step(params, state, x, context)
            return state, tree.cast_floating(y, dtype)

        state, ys = jax.lax.scan(body, state, tree.swap_batch_time(xs))
        return state, tree.swap_batch_time(ys)

    @functools.cached_property
    def plain(self):
        """The results and gradients of a plain unroll."""
        return self.gradients(lambda p, x, s, c: self.unroll(p, x, s, c, backend="scan"))

    def gradients(self, run: Callable, xs=None) -> tuple[Any, Any]:
        """((state, ys), the gradients of a fixed weighted sum of both) with respect to parameters, inputs, state, context."""
        xs = self.xs if xs is None else xs
        bare, keys = noise.split_keys(self.state)
        arguments = {"params": self.params, "xs": xs, "state": bare, "context": self.context}
        moving, still = _split_floating(arguments)

        def value(moving):
            args = _join(moving, still)
            args["state"] = noise.join_keys(args["state"], keys)
            state, ys = run(args["params"], args["xs"], args["state"], args["context"])
            return _weighted((noise.split_keys(state)[0], ys)), (noise.split_keys(state)[0], ys)

        grads, results = jax.jit(jax.grad(value, has_aux=True))(moving)
        return results, grads


def law_state(case):
    """The state keeps its structure, shapes and dtypes, float32 or wider; every leaf starts with the batch shape."""
    half = tree.cast_floating(case.params, jnp.bfloat16)
    for batch in ((), (2,), (2, 3)) if case.context is None else ((case.rows,),):
        initial, of_half = (
            jax.eval_shape(lambda p, b=batch: case.cell.initial_state(p, b, context=case.context), params)
            for params in (case.params, half)
        )
        _same_form(of_half, initial, "initial state with bfloat16 parameters")
        for leaf in jax.tree.leaves(initial):
            _require(leaf.shape[: len(batch)] == batch, "state", f"a leaf has shape {leaf.shape}, batch_shape is {batch}")
            if _is_floating(leaf):
                _require(jnp.finfo(leaf.dtype).bits >= 32, "state", f"a leaf is {leaf.dtype}, it must be float32 or wider")
    if isinstance(case.cell, Cell):
        for dtype in (jnp.float32, jnp.bfloat16):
            params, x = tree.cast_floating((case.params, case.xs[:, 0]), dtype)
            new, _ = jax.eval_shape(lambda p, x: case.cell.step(p, case.state, x, case.context), params, x)
            _same_form(new, case.state, f"state of one step with {jnp.dtype(dtype).name} parameters")


def law_value(case):
    """A cell is a hashable value: one equal to it is the same jit trace."""
    twin = copy.deepcopy(case.cell)
    _require(
        twin == case.cell and hash(twin) == hash(case.cell), "value", "a copy is not equal to the cell, or hashes differently"
    )


def law_project(case):
    """`project` treats each time step alone, for any leading axes."""
    whole = jax.jit(case.cell.project)(case.params, case.xs)
    for t in range(STEPS):
        alone = case.cell.project(case.params, case.xs[:, t])
        _close(jax.tree.map(lambda z, t=t: z[:, t], whole), alone, case.tolerance, f"project treats each step alone (step {t})")
    row = case.cell.project(case.params, case.xs[0])
    _close(jax.tree.map(lambda z: z[0], whole), row, case.tolerance, "project treats each row alone")


def law_embed(case):
    """Symbols read through an embedding: E W in the place of W == the rows of E."""
    if len(case.cell.input_shape) != 1:
        return
    table = jnp.asarray(np.sin(np.arange(2 * case.cell.input_shape[0])).reshape(2, -1), jnp.float32)
    tokens = jnp.array([[0, 1, 1], [1, 0, 1]])
    embedded = case.cell.embed(case.params, table)
    if embedded is not None:
        found, wanted = case.cell.project(embedded, tokens), case.cell.project(case.params, table[tokens])
        _close(found, wanted, case.tolerance, "embed: E W in the place of W == the rows of E")


def law_step(case):
    """Whole sequence == step by step, in outputs and in gradients of inputs, parameters, state and context."""
    steps = case.gradients(case.stepped)
    _close(case.plain[0], steps[0], case.tolerance, "whole sequence == step by step, outputs and state")
    _close(case.plain[1], steps[1], 10 * case.tolerance, "whole sequence == step by step, gradients")


def law_chunks(case):
    """Chunks with the state carried == one pass; the states collected are those carried."""
    state, ys = case.unroll(case.params, case.xs, case.state)
    middle, head = case.unroll(case.params, case.xs[:, :2], case.state)
    end, tail = case.unroll(case.params, case.xs[:, 2:], middle)
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), head, tail)
    _close((end, joined), (state, ys), case.tolerance, "chunks with the state carried == one pass")
    _, states = case.unroll(case.params, case.xs, case.state, collect="states")
    _close(jax.tree.map(lambda a: a[:, 1], states), middle, case.tolerance, 'collect="states" == the state carried')
    nothing, empty = case.unroll(case.params, case.xs[:, :0], case.state)
    _close(nothing, case.state, 0, "no steps: the state is returned")
    _require(all(y.shape[1] == 0 for y in jax.tree.leaves(empty)), "no steps", "ys is not empty")


def law_reset(case):
    """A reset at a step == starting anew there; noise is left alone."""
    reset = jnp.zeros((case.rows, STEPS), bool).at[:, 2].set(True)
    result = case.unroll(case.params, case.xs, case.state, reset=reset)
    middle, head = case.unroll(case.params, case.xs[:, :2], case.state)
    fresh = noise.keep_noise(case.cell.initial_state(case.params, (case.rows,), context=case.context), middle)
    end, tail = case.unroll(case.params, case.xs[:, 2:], fresh)
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), head, tail)
    _close(result, (end, joined), case.tolerance, "reset == starting anew")


def law_padding(case):
    """A masked step copies the state and outputs 0; NaN in padding reaches no value and no gradient."""
    lengths = jnp.array([STEPS, 0, 3] + [2] * (case.rows - 3))
    mask = masks.from_lengths(lengths, STEPS)
    dirty = case.xs if case.tokens else jnp.where(tree.expand_right(mask, case.xs.ndim), case.xs, jnp.nan)
    for reverse in (False, True):
        name = f"padding{', reverse' if reverse else ''}"
        (state, ys), grads = case.gradients(
            lambda p, x, s, c, r=reverse: case.unroll(p, x, s, c, lengths=lengths, reverse=r), xs=dirty
        )
        _require(
            all(bool(jnp.isfinite(a).all()) for a in _floating((state, ys, grads))),
            name,
            "NaN in padding reached a value or a gradient",
        )
        _close(tree.zero_where_not(~mask, ys), jax.tree.map(jnp.zeros_like, ys), 0, f"{name}: masked outputs are 0")
        _close(tree.at(state, 1), tree.at(case.state, 1), 0, f"{name}: a row of no steps returns its initial state")
        for row, length in enumerate(lengths.tolist()[2:3], start=2):
            pick = functools.partial(jax.tree.map, lambda a, r=row: a[r])
            context = None if case.context is None else pick(case.context)
            alone, y = unroll(case.cell, case.params, case.xs[row, :length], pick(case.state), context=context, reverse=reverse)
            found = noise.split_keys(pick(state))[0], jax.tree.map(lambda a, r=row, n=length: a[r, :n], ys)
            _close(
                found,
                (noise.split_keys(alone)[0], y),
                case.tolerance,
                f"{name}: a row of {length} steps == that row alone, unbatched",
            )


def law_reverse(case):
    """`reverse` == flipping inputs and outputs, where noise does not depend on the step."""
    state, ys = case.unroll(case.params, case.xs, case.state, reverse=True)
    if isinstance(case.cell, Cell):
        other, flipped = case.unroll(case.params, case.xs[:, ::-1], case.state)
        _close((state, ys), (other, jax.tree.map(lambda y: y[:, ::-1], flipped)), case.tolerance, "reverse == flipped")


def law_rows(case):
    """Batch rows do not see each other."""

    def others(xs, state):
        final, ys = case.unroll(case.params, xs, state)
        return jax.tree.map(lambda a: a[1:], (noise.split_keys(final)[0], ys))

    before = others(case.xs, case.state)
    moved = case.xs.at[0].set((case.xs[0] + 1) % case.cell.input_shape[0] if case.tokens else case.xs[0] * -3 + 1)
    state = jax.tree.map(lambda a: a.at[0].add(1.5) if _is_floating(a) else a, case.state)
    _close(others(moved, state), before, 1e-6, "batch rows do not see each other")


def law_vmap(case):
    """vmap over the batch == the batch; vmap over parameters == one by one."""
    in_axes = (0, 0, None if case.context is None else 0)
    mapped = jax.vmap(lambda x, s, c: unroll(case.cell, case.params, x, s, context=c), in_axes)(case.xs, case.state, case.context)
    whole = case.unroll(case.params, case.xs, case.state)
    _close(mapped, whole, case.tolerance, "vmap over the batch == the batch")
    if jax.tree.leaves(case.params):
        other = jax.tree.map(lambda a: a * 0.5, case.params)
        both = jax.tree.map(lambda a, b: jnp.stack([a, b]), case.params, other)
        _, ys = jax.vmap(lambda p: case.unroll(p, case.xs, case.state))(both)
        _close(tree.at(ys, 1), case.unroll(other, case.xs, case.state)[1], case.tolerance, "vmap over parameters == one by one")


def law_jvp(case):
    """Forward mode and reverse mode agree: <u, J v> == <J' u, v>."""
    moving, still = _split_floating({"params": case.params, "xs": case.xs})

    def value(moving):
        args = _join(moving, still)
        return _weighted(case.unroll(args["params"], args["xs"], case.state)[1])

    tangents = jax.tree.map(lambda a: np.cos(np.arange(a.size)).reshape(a.shape).astype(a.dtype), moving)
    _, forward = jax.jit(lambda a, b: jax.jvp(value, (a,), (b,)))(moving, tangents)
    grads = jax.tree.leaves(jax.jit(jax.grad(value))(moving))
    products = [np.asarray(a) * b for a, b in zip(grads, jax.tree.leaves(tangents), strict=True)]
    backward, scale = sum(p.sum() for p in products), sum(np.abs(p).sum() for p in products)
    _require(abs(forward - backward) <= 10 * case.tolerance * (scale + 1), "jvp == vjp", f"{forward} against {backward}")


def law_remat(case):
    """Recomputed pieces change no value and no gradient."""
    pieces = case.gradients(lambda p, x, s, c: case.unroll(p, x, s, c, remat=2))
    _close(pieces, case.plain, 10 * case.tolerance, "remat == plain")


def law_bfloat16(case):
    """bfloat16 parameters and inputs: ys are bfloat16, the state stays float32, the values are near."""
    params, xs = tree.cast_floating((case.params, case.xs), jnp.bfloat16)
    state, ys = case.unroll(params, xs, case.state)
    _same_form(state, case.state, "bfloat16: state")
    _require(all(y.dtype == jnp.bfloat16 for y in _floating(ys)), "bfloat16", "ys of bfloat16 parameters and xs are not bfloat16")
    whole = case.unroll(case.params, case.xs, case.state)
    _close(tree.cast_floating((state, ys), jnp.float32), whole, TOLERANCE["bfloat16"], "bfloat16 is near float32")


def law_compiles_once(case):
    """A second call with an equal cell and equal shapes compiles nothing, eager or jitted."""
    jitted = jax.jit(lambda p, x, s: case.unroll(p, x, s))
    for run in (case.unroll, jitted):
        jax.block_until_ready(run(case.params, case.xs, case.state))
        cell, case.cell = case.cell, copy.deepcopy(case.cell)
        before = compilations
        jax.block_until_ready(run(case.params, case.xs, case.state))
        case.cell = cell
        _require(compilations == before, "compiles once", f"the second call compiled {compilations - before} programs")


def law_backends(case):
    """Every backend equals the plain scan, gradients too."""
    arguments = (case.params, case.xs, case.state)
    call = Call(arguments, context=case.context)
    for name in (n for n, module in BACKENDS.items() if n != "scan" and module.supports(case.cell, call) is None):
        fast = case.gradients(lambda p, x, s, c, b=name: case.unroll(p, x, s, c, backend=b))
        _close(fast, case.plain, case.tolerance, f"backend {name} == scan")


def law_float64(case):
    """Under x64, float64 parameters and inputs stay float64 and obey the laws to 1e-11."""
    state, ys = case.unroll(case.params, case.xs, case.state)
    _require(all(a.dtype == jnp.float64 for a in _floating((state, ys))), "float64", "a result is not float64")
    if isinstance(case.cell, Cell):
        law_step(case)


_CELL_LAWS = (law_project, law_embed, law_step, law_chunks, law_reset, law_backends)  # of what can step
_LAWS = (
    law_value, law_state, law_project, law_embed, law_rows, law_step, law_chunks, law_reset, law_padding, law_reverse,
    law_vmap, law_jvp, law_remat, law_bfloat16, law_compiles_once, law_backends,
)  # fmt: skip


def _require(condition: bool, law: str, found: str):
    if not condition:
        raise AssertionError(f"{law}: {found}")


def _is_floating(a) -> bool:
    return bool(jnp.issubdtype(a.dtype, jnp.floating))


def _floating(values) -> list:
    return [a for a in jax.tree.leaves(values) if _is_floating(a)]


def _split_floating(values):
    """(values with None for what is not floating, values with None for what is)."""
    is_floating = jax.tree.map(_is_floating, values)
    moving = jax.tree.map(lambda a, f: a if f else None, values, is_floating)
    return moving, jax.tree.map(lambda a, f: None if f else a, values, is_floating)


def _join(moving, still):
    return jax.tree.map(lambda a, b: b if a is None else a, moving, still, is_leaf=lambda a: a is None)


def _weighted(values):
    """A sum of all floating leaves with weights that differ everywhere."""
    return sum(jnp.vdot(jnp.sin(1 + jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), a) for a in _floating(values))


def _same_form(found, wanted, what: str):
    found, wanted = noise.split_keys(found)[0], noise.split_keys(wanted)[0]
    _require(jax.tree.structure(found) == jax.tree.structure(wanted), what, "the structure changed")
    for (path, a), b in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(wanted), strict=True):
        where = jax.tree_util.keystr(path)
        _require(
            (a.shape, a.dtype) == (b.shape, b.dtype), what, f"{where} is {a.dtype}{list(a.shape)}, was {b.dtype}{list(b.shape)}"
        )


def _close(found, wanted, tolerance: float, law: str):
    """Equal within `tolerance` of each array's largest entry; integers exactly."""
    found, wanted = noise.split_keys(found)[0], noise.split_keys(wanted)[0]
    _require(jax.tree.structure(found) == jax.tree.structure(wanted), law, "the structures differ")
    for (path, a), b in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(wanted), strict=True):
        a, b, where = np.asarray(a), np.asarray(b), jax.tree_util.keystr(path)
        _require(a.shape == b.shape, law, f"{where} has shape {a.shape} against {b.shape}")
        if not a.size:
            continue
        if not np.issubdtype(b.dtype, np.floating):
            _require(bool((a == b).all()), law, f"{where} differs: {a.tolist()} against {b.tolist()}")
            continue
        gap, scale = np.abs(a.astype(np.float64) - b.astype(np.float64)).max(), np.abs(b.astype(np.float64)).max()
        _require(
            bool(gap <= tolerance * max(scale, 1e-3)), law, f"{where} differs by {gap:.3g} where the largest entry is {scale:.3g}"
        )
