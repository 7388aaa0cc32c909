"""`jax.lax.scan` as one GPU kernel that keeps the recurrent kernels on chip for all steps.

Written in Pallas, lowered by Triton. A program runs 16 rows through all steps: it loads the recurrent kernels once, and each
step reads that step's inputs and writes its outputs. The body is any row-wise step, run on tiles (tiles.py).
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from seqjax.recurrence.gpu.tiles import evaluate, tile_count, trace
from seqjax.types import Array

ROWS = 16  # rows of a program: the fewest that a tensor core multiplies
# shared memory of one program by compute capability; 99 for the others
SHARED_KIB = {"7.5": 64, "8.0": 163, "8.7": 163, "9.0": 227, "10.0": 227}
FEW_WARPS_BYTES = 32 * 1024  # size of kernels from which state and gates take the registers of eight warps; below it, of four


class _Operand(NamedTuple):
    """An array padded to whole blocks and tiles, or the shape of a result; its role in the body; its axis of rows."""

    array: Array | jax.ShapeDtypeStruct
    role: str
    rows: int | None

    @property
    def spec(self):
        return _spec(self.array.shape, self.rows)


def padded(units: int) -> int:
    """The width of a tile: a power of two, and at least 16, which a tensor core multiplies."""
    return max(16, pl.next_power_of_2(units))


def too_large(units: int, gates: int, dtype) -> str | None:
    """The reason why `gates` kernels [units, units] do not fit on chip; None if they do.

    Triton keeps them in the shared memory of a multiprocessor, once, and needs up to a quarter more to exchange values between
    threads. (Read off its compiled code for compute capability 9.0; a step keeps nothing else there.)
    """
    needed = padded(units) ** 2 * gates * jnp.dtype(dtype).itemsize / 1024
    shared = SHARED_KIB.get(getattr(jax.devices()[0], "compute_capability", "9.0"), 99)
    if needed * 5 / 4 <= shared:
        return None
    return (
        f"the recurrent kernel of one head of {units} units takes {needed:.0f} KiB (padded to {padded(units)} units), "
        f"and a multiprocessor keeps {shared * 4 // 5} KiB on chip: more heads would fit"
    )


def scan_on_chip(body, kernels, shared, row_constants, state, inputs, *, reverse: bool, interpret: bool):
    """`jax.lax.scan` of a row-wise body in one GPU kernel.

    Args:
        body: (shared, row_constants, state, inputs) -> (state, outputs), row-wise but for its `on_chip` products; outputs
            [B, m * K].
        kernels: the arrays [K, n * K] of those products.
        shared: constants of all steps and rows; the body may use only leaves [m * K].
        row_constants: constants of all steps, different for each row: leaves [B, m * K].
        state: leaves [B, K].
        inputs: leaves [T, B, m * K], or bool [T, B].
        reverse: from the last step to the first.
        interpret: True if Pallas is to interpret the kernel, on any device.

    Returns:
        (state, outputs), outputs [T, B, m * K].

    Raises:
        Unsupported: the body is not row-wise.
    """
    rows, width = jax.tree.leaves(state)[0].shape
    steps = jax.tree.leaves(inputs)[0].shape[0]
    layout = _Layout(rows, width)
    groups = {"shared": (shared, None), "row_constants": (row_constants, 0), "state": (state, 0), "inputs": (inputs, 1)}
    program, used, (_, out_shapes) = trace(body, *layout.shapes(shared, row_constants, state, inputs))
    leaves = [(role, axis, a) for role, (group, axis) in groups.items() for a in jax.tree.leaves(group)]
    leaves = itertools.compress(leaves, used)
    operands = [_Operand(layout.pad(a, axis), role, axis) for role, axis, a in leaves]
    operands = [_Operand(layout.pad_kernel(k), "kernels", None) for k in kernels] + operands
    states = jax.tree.leaves(state)
    outs = jax.tree.leaves(out_shapes)
    results = [_Operand(layout.result((), a), "state", 0) for a in states]
    results += [_Operand(layout.result((steps,), a), "outputs", 1) for a in outs]

    def kernel(*refs):
        refs_of = {role: [] for role in ("kernels", *groups)}
        for ref, operand in zip(refs, operands, strict=False):
            refs_of[operand.role].append(ref)
        state_refs, output_refs = refs[len(operands) :][: len(states)], refs[len(operands) :][len(states) :]
        on_chip = [layout.load(ref) for ref in refs_of["kernels"]]
        constants = [layout.load(ref) for ref in (*refs_of["shared"], *refs_of["row_constants"])]

        def multiply(h, index, transposed):
            tiles = on_chip[index]
            if transposed:
                return [sum(triton.dot(a.astype(tile.dtype), tile, trans_b=True) for a, tile in zip(h, tiles, strict=True))]
            return [triton.dot(h[0].astype(tile.dtype), tile) for tile in tiles]

        def read(t):
            return [layout.load(ref, t) for ref in refs_of["inputs"]]

        def one(i, carry):
            state, inputs = carry
            t = steps - 1 - i if reverse else i
            following = read(
                jnp.maximum(t - 1, 0) if reverse else jnp.minimum(t + 1, steps - 1)
            )  # loads while this step computes
            tiles = evaluate(program, width, (ROWS, layout.wide), [*constants, *([a] for a in state), *inputs], multiply)
            for ref, output in zip(output_refs, tiles[len(states) :], strict=True):
                layout.store(ref, t, output)
            return [tile for [tile] in tiles[: len(states)]], following

        start = [ref[...] for ref in refs_of["state"]], read(steps - 1 if reverse else 0)
        final, _ = jax.lax.fori_loop(0, steps, one, start)
        for ref, value in zip(state_refs, final, strict=True):
            ref[...] = value

    size = sum(o.array.size * o.array.dtype.itemsize for o in operands[: len(kernels)])
    arrays = pl.pallas_call(
        kernel,
        grid=(layout.blocks,),
        in_specs=[o.spec for o in operands],
        out_specs=[o.spec for o in results],
        out_shape=[o.array for o in results],
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=4 if size < FEW_WARPS_BYTES else 8, num_stages=1),
        name="recurrence",
    )(*(o.array for o in operands))
    arrays = [layout.unpad(a, o.rows) for a, o in zip(arrays, results, strict=True)]
    final = jax.tree.unflatten(jax.tree.structure(state), arrays[: len(states)])
    return final, jax.tree.unflatten(jax.tree.structure(out_shapes), arrays[len(states) :])


def _spec(shape, row_axis):
    block = tuple(ROWS if axis == row_axis else n for axis, n in enumerate(shape))
    return pl.BlockSpec(block, lambda i: tuple(i if axis == row_axis else 0 for axis in range(len(shape))))


class _Layout(NamedTuple):
    """Conversion between arrays of B rows and gates of K units, and arrays of whole blocks of rows and whole tiles."""

    rows: int
    width: int

    @property
    def wide(self):
        return padded(self.width)

    @property
    def blocks(self):
        return -(-self.rows // ROWS)

    def shapes(self, shared, row_constants, state, inputs):
        """The shapes that a step is traced on, with K + 1 rows."""

        def shape_of(a, lead):
            shape = a.shape if lead is None else (self.width + 1, *a.shape[lead + 1 :])
            return jax.ShapeDtypeStruct(shape, a.dtype)

        pairs = (shared, None), (row_constants, 0), (state, 0), (inputs, 1)
        return [jax.tree.map(lambda a, lead=lead: shape_of(a, lead), group) for group, lead in pairs]

    def pad(self, a, row_axis):
        """An array padded to whole blocks of rows and whole tiles; flags as integers."""
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

    def pad_kernel(self, kernel):
        """A kernel [K, n * K] padded to whole tiles along both axes."""
        return jnp.pad(self.pad(kernel, None), ((0, self.wide - self.width), (0, 0)))

    def result(self, lead, a):
        """Shape and dtype of a padded result: `lead` axes, then those of `a` padded."""
        units = tile_count(a.shape, self.width) * self.wide
        return jax.ShapeDtypeStruct((*lead, self.blocks * ROWS, units), a.dtype)

    def unpad(self, a, row_axis):
        """The inverse of `pad`, for results."""
        a = jax.lax.slice_in_dim(a, 0, self.rows, axis=row_axis)
        if self.wide == self.width:
            return a
        a = a.reshape(*a.shape[:-1], -1, self.wide)[..., : self.width]
        return a.reshape(*a.shape[:-2], -1)

    def load(self, ref, *at):
        """The tiles of an array, or of one step of a stacked one."""
        if jnp.issubdtype(ref.dtype, jnp.integer):
            return [ref[(*at, slice(None))] != 0]
        between = (slice(None),) * (len(ref.shape) - len(at) - 1)
        return [ref[(*at, *between, slice(j, j + self.wide))] for j in range(0, ref.shape[-1], self.wide)]

    def store(self, ref, t, tiles):
        """Write tiles as step t of a stacked array."""
        for j, tile in enumerate(tiles):
            ref[t, :, j * self.wide : (j + 1) * self.wide] = tile.astype(ref.dtype)
