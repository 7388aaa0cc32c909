"""What a step leaves for the way back: which of its variables are stored, and where."""

import collections

import jax
from jax.extend.core import Var

# Made again in the backward pass: cheaper than to store at every step and to read back.
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
_CHEAP |= {"split", "slice", "squeeze", "reshape", "transpose", "concatenate"}
# So are these, unless what they are made of hangs on a product or an input: then they are stored, and not that.
_SQUASHING = {"tanh", "logistic", "exp", "exp2", "log", "log1p", "expm1", "sqrt", "rsqrt", "div", "erf"}


def play(eqns, env):
    """Evaluates equations of a jaxpr in their order.

    Args:
        eqns: the equations.
        env: {variable: value}, which gets the variables that they define.
    """
    for eqn in eqns:
        params = eqn.primitive.get_bind_params(eqn.params)
        out = eqn.primitive.bind(*read(env, eqn.invars), **params)
        env.update(zip(eqn.outvars, out if eqn.primitive.multiple_results else [out], strict=True))


def read(env, atoms):
    """The values of variables and literals."""
    return [env[v] if isinstance(v, Var) else v.val for v in atoms]


def varying(jaxpr, begin):
    """Every variable that depends on an argument from number `begin` on, and the repeated rows that only those read."""
    found, users = set(jaxpr.invars[begin:]), collections.defaultdict(set)
    for eqn in jaxpr.eqns:
        arguments = [v for v in eqn.invars if isinstance(v, Var)]
        if found.intersection(arguments):
            found.update(eqn.outvars)
        for v in arguments:
            users[v].update(eqn.outvars)
    # repeated where it is read a row costs nothing; before the loop it would be one more array to make, and to read at each step
    repeated = [v for eqn in jaxpr.eqns if eqn.primitive.name == "broadcast_in_dim" for v in eqn.outvars]
    return found.union(v for v in repeated if users[v] <= found)


def stored(jaxpr, kept, wanted, changing, inputs):
    """What has to be stored, so that everything wanted can be made from it at little cost.

    Args:
        jaxpr: of a step.
        kept: variables that are to be stored as they are.
        wanted: variables.
        changing: the variables that are not the same at every step.
        inputs: those that are read from a stacked array whose memory we would rather use again.

    Returns:
        (variables to store, equations that make the wanted ones from those).
    """
    makers = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
    hangs = set(inputs)  # on a product or an input, through cheap operations alone
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "product" or (
            eqn.primitive.name in _CHEAP and any(isinstance(v, Var) and v in hangs for v in eqn.invars)
        ):
            hangs.update(eqn.outvars)

    def is_made_again(v):
        eqn = makers.get(v)
        if eqn is None or eqn.primitive.name not in _CHEAP | _SQUASHING:
            return False
        return eqn.primitive.name in _CHEAP or not any(isinstance(a, Var) and a in hangs for a in eqn.invars)

    store = {v: None for v in kept if isinstance(v, Var) and v in changing}
    again, todo = set(), [v for v in wanted if isinstance(v, Var) and v in changing]
    while todo:
        v = todo.pop()
        if v in store or v in again:
            continue
        if is_made_again(v):
            again.update(makers[v].outvars)
            todo += [a for a in makers[v].invars if isinstance(a, Var) and a in changing]
        else:
            store[v] = None
    return list(store), [eqn for eqn in jaxpr.eqns if again.intersection(eqn.outvars)]


def same_memory(outputs, inputs):
    """Which results may take the memory of which arguments.

    Args:
        outputs: shapes and dtypes.
        inputs: {key: shape and dtype}.

    Returns:
        {number of an output: key of an input}, each once.
    """
    free, pairs = dict(inputs), {}
    for i, a in enumerate(outputs):
        match = next((j for j, b in free.items() if (a.shape, a.dtype) == (b.shape, b.dtype)), None)
        if match is not None:
            pairs[i] = match
            del free[match]
    return pairs


def shapes_of(variables):
    """Shapes and dtypes of variables."""
    return [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in variables]
