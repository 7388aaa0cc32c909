"""One step of a cell inside a GPU kernel, where an array of n gates side by side is n arrays of one width.

Triton cannot cut an array, and its arrays have sizes that are powers of two. So a step is traced on shapes to a program of
row-wise operations, and the program is run with every array [rows, n * K] as a list of n arrays [block, width], where width
is K or, padded, more: split and concatenate are then lists cut and joined, and all else is done piece by piece.
"""

import jax
import jax.core
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal, Primitive
from jax.interpreters import ad
from jax.interpreters.partial_eval import dce_jaxpr

ROW_WISE = {
    "abs", "add", "add_any", "and", "convert_element_type", "copy", "cos", "div", "eq", "erf", "exp", "exp2", "expm1", "ge", "gt",
    "integer_pow", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "one_minus_square", "or", "pow", "rsqrt",
    "select_n", "sign", "sin", "sqrt", "square", "stop_gradient", "sub", "tanh",
}  # fmt: skip


class Unsupported(Exception):
    """A step holds what cannot be done piece by piece."""


# h @ kernel number `index`, or its transpose: a linear operation in the program of a step, whose kernel is on chip.
on_chip = Primitive("on_chip")
on_chip.def_abstract_eval(
    lambda h, *, index, shape, transposed: jax.core.ShapedArray((*h.shape[:-1], shape[not transposed]), jnp.float32)
)


def _transposed_product(cotangent, h, *, index, shape, transposed):
    return [on_chip.bind(cotangent, index=index, shape=shape, transposed=not transposed)]


ad.deflinear2(on_chip, _transposed_product)


def trace(step, shared, own, state, inputs) -> tuple[ClosedJaxpr, list[bool], tuple]:
    """The program of one step.

    Args:
        step: (shared, own, state, inputs) -> (state, outputs); its recurrent products are `on_chip`.
        shared, own, state, inputs: pytrees of shapes; of K units, and of K + 1 rows, so that no axis of rows looks like one of
            units.

    Returns:
        The program, of those leaves of the arguments that it needs (the state's are always there) to the leaves of the result;
        which leaves those are; the form of the result.

    Raises:
        Unsupported: it holds a constant array.
    """
    closed, form = jax.make_jaxpr(step, return_shape=True)(shared, own, state, inputs)
    kept = [group is state for group in (shared, own, state, inputs) for _ in jax.tree.leaves(group)]
    jaxpr, used = dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=kept)
    if any(getattr(c, "shape", ()) for c in closed.consts):
        raise Unsupported("its step holds a constant array")
    return ClosedJaxpr(jaxpr, closed.consts), used, form


def count(shape, width: int) -> int:
    """Of how many pieces an array of this shape is made: 1 for what has no axis of units."""
    return shape[-1] // width if shape and shape[-1] % width == 0 else 1


def evaluate(program: ClosedJaxpr, width: int, block: tuple[int, int], arguments, product) -> list:
    """Runs the program of a step.

    Args:
        program: of `trace`.
        width: as given to it.
        block: (rows, width) of the arrays that are run on.
        arguments: for every argument the list of its pieces.
        product: (pieces of the left operand, index of the kernel, whether it is transposed) -> pieces of the product.

    Returns:
        For every result the list of its pieces.

    Raises:
        Unsupported: it holds an operation that is not row-wise.
    """
    real = {width + 1: block[0]}

    def run(jaxpr, consts, arguments):
        values = dict(zip(jaxpr.constvars, [[c] for c in consts], strict=True))
        values |= dict(zip(jaxpr.invars, arguments, strict=True))

        def read(atom):
            return [atom.val] if isinstance(atom, Literal) else values[atom]

        for eqn in jaxpr.eqns:
            values |= dict(zip(eqn.outvars, apply(eqn, [read(a) for a in eqn.invars]), strict=True))
        return [read(a) for a in jaxpr.outvars]

    def apply(eqn, operands):
        name, params = eqn.primitive.name, eqn.params
        if inner := params.get("jaxpr", params.get("call_jaxpr", params.get("fun_jaxpr"))):
            closed = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
            return run(closed.jaxpr, closed.consts, operands)
        if eqn.primitive is on_chip:
            return [product(operands[0], params["index"], params["transposed"])]
        shape, last = eqn.outvars[0].aval.shape, eqn.invars[0].aval.ndim - 1
        pieces = count(shape, width)
        if name == "split" and params["axis"] == last and not any(size % width for size in params["sizes"]):
            ends = [sum(params["sizes"][: i + 1]) // width for i in range(len(params["sizes"]))]
            return [operands[0][a:b] for a, b in zip([0, *ends], ends, strict=False)]
        if name == "slice" and _cuts_pieces(eqn, width):
            start, end = params["start_indices"][last] // width, params["limit_indices"][last] // width
            return [operands[0][start:end]]
        if name == "concatenate" and params["dimension"] == last and all(a.aval.shape[last] % width == 0 for a in eqn.invars):
            return [[piece for operand in operands for piece in operand]]
        if name in ("broadcast_in_dim", "reshape"):
            target = tuple(block[1] if n % width == 0 else real.get(n, n) for n in shape)
            if name == "reshape" and pieces == len(operands[0]) == 1:
                return [[operands[0][0].reshape(target)]]
            if name == "broadcast_in_dim":
                sources = operands[0] * (pieces // len(operands[0]))
                return [[jax.lax.broadcast_in_dim(a, target, params["broadcast_dimensions"]) for a in sources]]
        if name not in ROW_WISE:
            raise Unsupported(f"its step holds the operation {name}, which is not row-wise")
        return [[eqn.primitive.bind(*(a[i % len(a)] for a in operands), **params) for i in range(pieces)]]

    return run(program.jaxpr, program.consts, arguments)


def _cuts_pieces(eqn, width):
    start, end, strides = (eqn.params[n] for n in ("start_indices", "limit_indices", "strides"))
    shape = eqn.invars[0].aval.shape
    whole = all(a == 0 and b == n for a, b, n in zip(start[:-1], end[:-1], shape[:-1], strict=True))
    return whole and strides in (None, (1,) * len(shape)) and start[-1] % width == 0 and end[-1] % width == 0
