"""One step of a cell inside a GPU kernel, on tiles: an array of n gates side by side is a list of n arrays of one width.

Triton cannot slice an array, and the sizes of its arrays are powers of two. So a step is traced on shapes to a program of
row-wise operations, and the program is interpreted with every array [B, n K] as a list of n tiles [16, W], where W is K or,
padded, more:

    z [B, 4 K] = i | f | g | o           [i, f, g, o], each a tile [16, W]
    split(z), z[:, :K], concatenate      lists that are cut and joined
    tanh(z), z + b, c * f                the operation on every tile, or pair of tiles
    h @ R                                tiles of the product, from the kernel on chip
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal, Primitive
from jax.interpreters import ad
from jax.interpreters.partial_eval import dce_jaxpr

ROW_WISE = {
    "abs", "add", "add_any", "and", "convert_element_type", "copy", "cos", "div", "eq", "erf", "exp", "exp2", "expm1", "ge", "gt",
    "integer_pow", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "one_minus_square", "or",
    "pow", "rsqrt", "select_n", "sign", "sin", "sqrt", "square", "stop_gradient", "sub", "tanh",
}  # fmt: skip


class Unsupported(Exception):
    """A step holds an operation that cannot be done tile by tile."""


# The product of h with kernel number `index`, or with its transpose: a linear operation whose kernel is on chip.
on_chip = Primitive("on_chip")
on_chip.def_abstract_eval(
    lambda h, *, index, shape, transposed: jax.core.ShapedArray((*h.shape[:-1], shape[not transposed]), jnp.float32)
)


def _transposed_product(cotangent, h, *, index, shape, transposed):
    return [on_chip.bind(cotangent, index=index, shape=shape, transposed=not transposed)]


ad.deflinear2(on_chip, _transposed_product)


def trace(step, shared, row_constants, state, inputs) -> tuple[ClosedJaxpr, list[bool], tuple]:
    """The program of one step.

    Args:
        step: (shared, row_constants, state, inputs) -> (state, outputs); its recurrent products are `on_chip`.
        shared, row_constants, state, inputs: pytrees of shapes, with K units and K + 1 rows, so that an axis of rows is never
            taken for one of units.

    Returns:
        (program, used, results): the program maps the used leaves of the arguments to the leaves of the results; `used` holds a
        bool for each leaf, True for the state's; the results as a pytree of shapes.

    Raises:
        Unsupported: the step holds a constant array.
    """
    closed, results = jax.make_jaxpr(step, return_shape=True)(shared, row_constants, state, inputs)
    of_state = [group is state for group in (shared, row_constants, state, inputs) for _ in jax.tree.leaves(group)]
    jaxpr, used = dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=of_state)
    if any(getattr(c, "shape", ()) for c in closed.consts):
        raise Unsupported("its step holds a constant array")
    return ClosedJaxpr(jaxpr, closed.consts), used, results


def tile_count(shape, width: int) -> int:
    """The number of tiles of an array of this shape: 1 if its last axis does not hold units."""
    return shape[-1] // width if shape and shape[-1] % width == 0 else 1


def evaluate(program: ClosedJaxpr, width: int, block: tuple[int, int], arguments, product) -> list:
    """Run the program of a step on tiles.

    Args:
        program: from `trace`.
        width: K, as given to it.
        block: (rows, width) of a tile.
        arguments: the list of tiles of each argument.
        product: (tiles of the left operand, index of the kernel, True if transposed) -> tiles of the product.

    Returns:
        The list of tiles of each result.

    Raises:
        Unsupported: the program holds an operation that is not row-wise.
    """
    return _Interpreter(width, block, product).run(program.jaxpr, program.consts, arguments)


class _Interpreter(NamedTuple):
    """An interpreter of a step's program, on lists of tiles; the fields are the arguments of `evaluate`."""

    width: int
    block: tuple[int, int]
    product: Callable

    def run(self, jaxpr, consts, arguments) -> list:
        """The list of tiles of each result of a program."""
        tiles = dict(zip(jaxpr.constvars, [[c] for c in consts], strict=True))
        tiles |= dict(zip(jaxpr.invars, arguments, strict=True))

        def read(atom):
            return [atom.val] if isinstance(atom, Literal) else tiles[atom]

        for eqn in jaxpr.eqns:
            tiles |= dict(zip(eqn.outvars, self.apply(eqn, [read(a) for a in eqn.invars]), strict=True))
        return [read(a) for a in jaxpr.outvars]

    def apply(self, eqn, operands) -> list:
        """The list of tiles of each result of one operation."""
        name, params = eqn.primitive.name, eqn.params
        if inner := params.get("jaxpr", params.get("call_jaxpr", params.get("fun_jaxpr"))):
            closed = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
            return self.run(closed.jaxpr, closed.consts, operands)
        if eqn.primitive is on_chip:
            return [self.product(operands[0], params["index"], params["transposed"])]
        if name in REARRANGED and (results := REARRANGED[name](self, eqn, operands)) is not None:
            return results
        if name not in ROW_WISE:
            raise Unsupported(f"its step holds the operation {name}, which is not row-wise")
        count = tile_count(eqn.outvars[0].aval.shape, self.width)
        return [[eqn.primitive.bind(*(a[i % len(a)] for a in operands), **params) for i in range(count)]]

    # Operations that rearrange tiles: the results, or None where one of them cuts through a tile.

    def split(self, eqn, operands):
        sizes = eqn.params["sizes"]
        if eqn.params["axis"] != _last_axis(eqn) or any(size % self.width for size in sizes):
            return None
        ends = [end // self.width for end in itertools.accumulate(sizes)]
        return [operands[0][begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    def slice(self, eqn, operands):
        (*begins, begin), (*ends, end) = eqn.params["start_indices"], eqn.params["limit_indices"]
        shape, strides = eqn.invars[0].aval.shape, eqn.params["strides"]
        all_rows = not any(begins) and tuple(ends) == shape[:-1] and strides in (None, (1,) * len(shape))
        if not all_rows or begin % self.width or end % self.width:
            return None
        return [operands[0][begin // self.width : end // self.width]]

    def concatenate(self, eqn, operands):
        if eqn.params["dimension"] != _last_axis(eqn) or any(a.aval.shape[-1] % self.width for a in eqn.invars):
            return None
        return [[tile for operand in operands for tile in operand]]

    def reshape(self, eqn, operands):
        if tile_count(eqn.outvars[0].aval.shape, self.width) != 1 or len(operands[0]) != 1:
            return None
        return [[operands[0][0].reshape(self.tile_shape(eqn))]]

    def broadcast_in_dim(self, eqn, operands):
        count = tile_count(eqn.outvars[0].aval.shape, self.width)
        sources = operands[0] * (count // len(operands[0]))
        return [[jax.lax.broadcast_in_dim(a, self.tile_shape(eqn), eqn.params["broadcast_dimensions"]) for a in sources]]

    def tile_shape(self, eqn) -> tuple[int, ...]:
        """The shape of the tiles of an operation's result: K + 1 stands for the rows, multiples of K for the units."""
        rows, wide = self.block
        sizes = eqn.outvars[0].aval.shape
        return tuple(rows if n == self.width + 1 else wide if n % self.width == 0 else n for n in sizes)


REARRANGED = {
    "split": _Interpreter.split,
    "slice": _Interpreter.slice,
    "concatenate": _Interpreter.concatenate,
    "reshape": _Interpreter.reshape,
    "broadcast_in_dim": _Interpreter.broadcast_in_dim,
}


def _last_axis(eqn) -> int:
    return eqn.invars[0].aval.ndim - 1
