"""`jax.lax.scan` as one GPU kernel that keeps the recurrent kernels on chip for all steps.

Written in Pallas, lowered by Triton. A program runs 16 rows through all steps: it loads the recurrent kernels once, and each
step reads that step's inputs and writes its outputs. The body is any row-wise step, run in pieces (`pieces.py`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from seqjax.recurrence.gpu.tiles import count, evaluate, trace
from seqjax.types import Array

ROWS = 16  # of a program: the least that a tensor core multiplies
SHARED_KIB = {"7.5": 64, "8.0": 163, "8.7": 163, "9.0": 227, "10.0": 227}  # of one program, by compute capability; others 99
FEW_WARPS_BYTES = 32 * 1024  # under it four warps hold state and gates in registers; over it they would spill, eight do not


class _Operand(NamedTuple):
    """An array in whole blocks of rows and pieces, or the form of a result; what it is to the body; which axis is rows."""

    array: Array | jax.ShapeDtypeStruct
    kind: str
    rows: int | None

    @property
    def spec(self):
        return _spec(self.array.shape, self.rows)


def padded(units: int) -> int:
    """The width of a piece: a power of two, and at least what a tensor core multiplies."""
    return max(16, pl.next_power_of_2(units))


def too_large(units: int, pieces: int, dtype) -> str | None:
    """Why `pieces` kernels [units, units] do not fit on chip; None: they do.

    Triton keeps them in the shared memory of a multiprocessor, once, and wants up to a quarter more for what it exchanges
    between threads. (Read off its compiled code for compute capability 9.0; nothing else of a step lies there.)
    """
    needed = padded(units) ** 2 * pieces * jnp.dtype(dtype).itemsize / 1024
    shared = SHARED_KIB.get(getattr(jax.devices()[0], "compute_capability", "9.0"), 99)
    if needed * 5 / 4 <= shared:
        return None
    return (
        f"the recurrent kernel of one head of {units} units takes {needed:.0f} KiB (padded to {padded(units)} units), "
        f"and a multiprocessor keeps {shared * 4 // 5} KiB on chip: more heads would fit"
    )


def scan_on_chip(body, kernels, shared, own, state, inputs, *, reverse: bool, interpret: bool):
    """`jax.lax.scan` of a row-wise body in one GPU kernel.

    Args:
        body: (shared, own, state, inputs) -> (state, outputs), row-wise but for its `on_chip` products; outputs [B, m * K].
        kernels: the arrays [K, n * K] of those products.
        shared: what is the same at all steps of all rows: leaves of which the body needs those [m * K] at most.
        own: what is the same at all steps: leaves [B, m * K].
        state: leaves [B, K].
        inputs: leaves [T, B, m * K], or bool [T, B].
        reverse: from the last step to the first.
        interpret: on any device, by an interpreter.

    Returns:
        (state, outputs), outputs [T, B, m * K].

    Raises:
        Unsupported: the body is not row-wise.
    """
    rows, width = jax.tree.leaves(state)[0].shape
    steps = jax.tree.leaves(inputs)[0].shape[0]
    layout = _Layout(rows, width)
    groups = {"shared": (shared, None), "own": (own, 0), "state": (state, 0), "inputs": (inputs, 1)}
    program, used, (_, out_forms) = trace(body, *layout.forms(shared, own, state, inputs))
    leaves = [(kind, axis, a) for kind, (group, axis) in groups.items() for a in jax.tree.leaves(group)]
    operands = [
        _Operand(layout.whole(a, axis), kind, axis) for (kind, axis, a), needed in zip(leaves, used, strict=True) if needed
    ]
    operands = [_Operand(layout.whole_kernel(k), "kernels", None) for k in kernels] + operands
    states = jax.tree.leaves(state)
    outs = jax.tree.leaves(out_forms)
    results = [_Operand(layout.result((), a), "state", 0) for a in states]
    results += [_Operand(layout.result((steps,), a), "outputs", 1) for a in outs]

    def kernel(*refs):
        pairs = list(zip(refs, [o.kind for o in (*operands, *results)], strict=True))
        given, made = pairs[: len(operands)], pairs[len(operands) :]
        of = lambda kind: [ref for ref, other in given if other == kind]  # noqa: E731
        on_chip = [layout.load(ref) for ref in of("kernels")]
        fixed = [layout.load(ref) for ref in (*of("shared"), *of("own"))]

        def multiply(h, index, transposed):
            parts = on_chip[index]
            if transposed:
                return [sum(triton.dot(a.astype(part.dtype), part, trans_b=True) for a, part in zip(h, parts, strict=True))]
            return [triton.dot(h[0].astype(part.dtype), part) for part in parts]

        def read(t):
            return [layout.load(ref, t) for ref in of("inputs")]

        def one(i, carry):
            state, inputs = carry
            t = steps - 1 - i if reverse else i
            following = read(jnp.maximum(t - 1, 0) if reverse else jnp.minimum(t + 1, steps - 1))  # on its way meanwhile
            found = evaluate(program, width, (ROWS, layout.wide), [*fixed, *([a] for a in state), *inputs], multiply)
            for (ref, _), parts in zip(made[len(states) :], found[len(states) :], strict=True):
                layout.store(ref, t, parts)
            return [part for [part] in found[: len(states)]], following

        start = [ref[...] for ref in of("state")], read(steps - 1 if reverse else 0)
        final, _ = jax.lax.fori_loop(0, steps, one, start)
        for (ref, _), value in zip(made, final, strict=False):
            ref[...] = value

    size = sum(o.array.size * o.array.dtype.itemsize for o in operands[: len(kernels)])
    found = pl.pallas_call(
        kernel,
        grid=(layout.blocks,),
        in_specs=[o.spec for o in operands],
        out_specs=[o.spec for o in results],
        out_shape=[o.array for o in results],
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=4 if size < FEW_WARPS_BYTES else 8, num_stages=1),
        name="recurrence",
    )(*(o.array for o in operands))
    found = [layout.cut(a, o.rows) for a, o in zip(found, results, strict=True)]
    final = jax.tree.unflatten(jax.tree.structure(state), found[: len(states)])
    return final, jax.tree.unflatten(jax.tree.structure(out_forms), found[len(states) :])


def _spec(shape, row_axis):
    block = tuple(ROWS if axis == row_axis else n for axis, n in enumerate(shape))
    return pl.BlockSpec(block, lambda i: tuple(i if axis == row_axis else 0 for axis in range(len(shape))))


class _Layout(NamedTuple):
    """Between arrays of B rows and pieces of K units, and arrays of whole blocks and padded pieces."""

    rows: int
    width: int

    @property
    def wide(self):
        return padded(self.width)

    @property
    def blocks(self):
        return -(-self.rows // ROWS)

    def forms(self, shared, own, state, inputs):
        """The shapes that a step is traced on: of K + 1 rows."""

        def form(a, lead):
            shape = a.shape if lead is None else (self.width + 1, *a.shape[lead + 1 :])
            return jax.ShapeDtypeStruct(shape, a.dtype)

        pairs = (shared, None), (own, 0), (state, 0), (inputs, 1)
        return [jax.tree.map(lambda a, lead=lead: form(a, lead), group) for group, lead in pairs]

    def whole(self, a, row_axis):
        flags = a.dtype == bool
        if flags:
            a = a.astype(jnp.int32)
        elif self.wide != self.width:
            a = a.reshape(*a.shape[:-1], -1, self.width)
            a = jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, self.wide - self.width)])
            a = a.reshape(*a.shape[:-2], -1)
        if row_axis is not None and self.rows % ROWS:
            a = jnp.pad(a, [(0, -self.rows % ROWS if axis == row_axis else 0) for axis in range(a.ndim)])
        return a

    def whole_kernel(self, kernel):
        return jnp.pad(self.whole(kernel, None), ((0, self.wide - self.width), (0, 0)))

    def result(self, lead, form):
        units = count(form.shape, self.width) * self.wide
        return jax.ShapeDtypeStruct((*lead, self.blocks * ROWS, units), form.dtype)

    def cut(self, a, row_axis):
        a = jax.lax.slice_in_dim(a, 0, self.rows, axis=row_axis)
        if self.wide == self.width:
            return a
        a = a.reshape(*a.shape[:-1], -1, self.wide)[..., : self.width]
        return a.reshape(*a.shape[:-2], -1)

    def load(self, ref, *at):
        """The pieces of a whole array, or of one step of a stacked one."""
        if jnp.issubdtype(ref.dtype, jnp.integer):
            return [ref[(*at, slice(None))] != 0]
        between = (slice(None),) * (len(ref.shape) - len(at) - 1)
        return [ref[(*at, *between, slice(j, j + self.wide))] for j in range(0, ref.shape[-1], self.wide)]

    def store(self, ref, t, parts):
        for j, part in enumerate(parts):
            ref[t, :, j * self.wide : (j + 1) * self.wide] = part.astype(ref.dtype)
