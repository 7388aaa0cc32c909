"""Residuals: which values of a step are saved for the backward pass, and which are recomputed from those."""

import collections

from jax.extend.core import Var

# Recomputed in the backward pass, which costs less than writing them at every step and reading them back.
_CHEAP = {
    "add",
    "sub",
    "mul",
    "neg",
    "max",
    "min",
    "select_n",
    "convert_element_type",
    "broadcast_in_dim",
    "integer_pow",
    "square",
}
_PARTS = {"split", "slice"}
_CHEAP |= _PARTS | {"squeeze", "reshape", "transpose", "concatenate"}
# These, and parts of arrays, are recomputed too, unless their operand comes cheaply from a matrix product or an input; then the
# result is saved instead of the operand.
_SQUASHING = {"tanh", "logistic", "exp", "exp2", "log", "log1p", "expm1", "sqrt", "rsqrt", "div", "erf"}


def evaluate(eqns, values):
    """Evaluate equations of a jaxpr in order.

    Args:
        eqns: the equations.
        values: {variable: value} of their operands; their results are added to it.
    """
    for eqn in eqns:
        params = eqn.primitive.get_bind_params(eqn.params)
        out = eqn.primitive.bind(*read(values, eqn.invars), **params)
        values.update(zip(eqn.outvars, out if eqn.primitive.multiple_results else [out], strict=True))


def read(values, atoms):
    """The values of variables and literals."""
    return [values[v] if isinstance(v, Var) else v.val for v in atoms]


def varying(jaxpr, begin):
    """Variables that depend on an argument from index `begin` on, and broadcast rows that are read only by such variables."""
    dependent, users = set(jaxpr.invars[begin:]), collections.defaultdict(set)
    for eqn in jaxpr.eqns:
        operands = [v for v in eqn.invars if isinstance(v, Var)]
        if dependent.intersection(operands):
            dependent.update(eqn.outvars)
        for v in operands:
            users[v].update(eqn.outvars)
    # broadcasting a row where it is read costs nothing; before the loop it would make an array that every step reads
    broadcast = [v for eqn in jaxpr.eqns if eqn.primitive.name == "broadcast_in_dim" for v in eqn.outvars]
    return dependent.union(v for v in broadcast if users[v] <= dependent)


def saved_and_recomputed(jaxpr, lefts, residuals, changing, inputs):
    """The variables to save, and the cheap equations that recompute the residuals from them.

    Args:
        jaxpr: the program of a step.
        lefts: variables that are saved themselves, since they are read after the loop.
        residuals: variables that the pullback of a step reads.
        changing: the variables that are not the same at every step.
        inputs: input variables whose buffers should be free to be overwritten.

    Returns:
        (variables to save, equations that compute the residuals from those).
    """
    defining = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
    near_product = set(inputs)  # made from a product or an input by cheap operations alone
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ("dot_general", "custom_jvp_call") or (
            eqn.primitive.name in _CHEAP and any(isinstance(v, Var) and v in near_product for v in eqn.invars)
        ):
            near_product.update(eqn.outvars)

    def is_recomputed(v):
        eqn = defining.get(v)
        if eqn is None or eqn.primitive.name not in _CHEAP | _SQUASHING:
            return False
        if eqn.primitive.name in _CHEAP - _PARTS:
            return True
        return not any(isinstance(a, Var) and a in near_product for a in eqn.invars)

    saved = {v: None for v in lefts if isinstance(v, Var) and v in changing}
    recomputed, todo = set(), [v for v in residuals if isinstance(v, Var) and v in changing]
    while todo:
        v = todo.pop()
        if v in saved or v in recomputed:
            continue
        if is_recomputed(v):
            recomputed.update(defining[v].outvars)
            todo += [a for a in defining[v].invars if isinstance(a, Var) and a in changing]
        else:
            saved[v] = None
    return list(saved), [eqn for eqn in jaxpr.eqns if recomputed.intersection(eqn.outvars)]


def written_after_reads(jaxpr, inputs, outputs, state) -> dict[int, set[int]]:
    """For each input the outputs that need everything that is computed from it, by indices: these may take the input's buffer.

    XLA repeats cheap operations where their results are used, and reads the input there again. If an output could be written
    before one of these reads, it would copy the whole stack at every step.

    Args:
        jaxpr: the program of a step.
        inputs, outputs: variables of it, one step of each stack.
        state: variables of the state after the step.
    """
    needs = {}  # {variable: the variables that it is computed from, itself included}
    for eqn in jaxpr.eqns:
        sources = set().union(*(needs.get(v, {v}) for v in eqn.invars if isinstance(v, Var)))
        needs |= {v: sources | {v} for v in eqn.outvars}
    written = {v for v in (*outputs, *state) if isinstance(v, Var)}
    free = {}
    for i, source in enumerate(inputs):
        reads, computed = {source}, set()  # computed: by operations that XLA does not repeat, or written
        for eqn in jaxpr.eqns:
            if reads.intersection(v for v in eqn.invars if isinstance(v, Var)):
                (reads if eqn.primitive.name in {*_CHEAP, "jit"} else computed).update(eqn.outvars)
        computed |= reads & written
        free[i] = {j for j, out in enumerate(outputs) if isinstance(out, Var) and computed <= needs.get(out, {out})}
    return free


def shapes_of(variables):
    """Shapes and dtypes of variables."""
    return [v.aval for v in variables]
