"""Programs for serving: functions exported by JAX whose arguments and results are plain containers of arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import export as jax_export

from seqjax.annotations import public
from seqjax.checks import shown
from seqjax.errors import InputError

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def plain(tree) -> Any:
    """The same arrays in plain containers: every node that is no tuple, list or dict becomes a dict of its fields.

    Args:
        tree: any pytree, such as a cell's state.

    Returns:
        Nested dicts, tuples and lists of the leaves.

    Example:
        >>> from seqjax.weighted import Weighted
        >>> plain((Weighted(1.0, 2.0), None))
        ({'sum': 1.0, 'weight': 2.0}, None)
    """
    children = jax.tree.leaves_with_path(tree, is_leaf=lambda node: node is not tree)
    if type(tree) in (tuple, list):
        return type(tree)(plain(child) for _, child in children)
    if tree is None or (len(children) == 1 and not children[0][0]):  # a leaf
        return tree
    return {_field(path[0]): plain(child) for path, child in children}


@public
def export(function: Callable, *arguments, platforms: Sequence[str] | None = None) -> jax_export.Exported:
    """A function as a program that JAX alone can load and call; its arguments and results are `plain`.

    Numbers of rows and steps may be symbols of `jax.export.symbolic_shape`: the program then serves any. Arrays that the function
    closes over, such as parameters, become part of the program.

    Args:
        function: of pytrees of arrays, to a pytree of arrays.
        *arguments: pytrees of arrays, or of `jax.ShapeDtypeStruct`; of these only shapes and dtypes are read.
        platforms: for which it is compiled when called, such as ("cpu", "cuda"); None: the current one.

    Returns:
        The program: save it with `serialize()`, load it with `jax.export.deserialize`, call it with `call(*plain arguments)`.

    Raises:
        InputError: an argument without shape and dtype, or an unknown platform.
        Exceptions of `jax.export`, where the function cannot be exported.

    Example:
        >>> import jax.numpy as jnp
        >>> from seqjax.cells.lstm import LSTM
        >>> cell = LSTM(input_size=3, hidden_size=4)
        >>> params = cell.init(jax.random.key(0))
        >>> (rows,) = jax_export.symbolic_shape("rows")
        >>> x = jax.ShapeDtypeStruct((rows, 3), jnp.float32)
        >>> state = jax.eval_shape(lambda x: cell.initial_state(params, x.shape[:1]), x)
        >>> program = export(lambda state, x: cell.step(params, state, x), state, x)
        >>> state, y = program.call(plain(cell.initial_state(params, (2,))), jnp.ones((2, 3)))
        >>> sorted(state), y.shape
        (['c', 'h'], (2, 4))
    """
    names = () if platforms is None else platforms
    for name in [names] if isinstance(names, str) else names:
        if isinstance(names, str) or name not in PLATFORMS:
            raise InputError(f"platforms is {names!r}, it must be a tuple of some of {', '.join(PLATFORMS)}, such as ('cpu',)")
    leaves, structure = jax.tree.flatten(arguments)
    for leaf in leaves:
        if not hasattr(leaf, "dtype") and not isinstance(leaf, bool | int | float):
            raise InputError(f"an argument holds {shown(leaf)}, it must hold arrays or jax.ShapeDtypeStructs")
    numbered = plain(structure.unflatten(range(len(leaves))))  # a dict sorts its keys: its leaves have another order
    order = jax.tree.leaves(numbered)

    def of_plain(*values):
        at = dict(zip(order, jax.tree.leaves(values), strict=True))
        return plain(function(*structure.unflatten([at[i] for i in range(len(leaves))])))

    return jax_export.export(jax.jit(of_plain), platforms=platforms)(*jax.tree.map(lambda i: leaves[i], numbered))


def _field(key) -> str:
    """The name of a child in a container, from its entry in a path."""
    return str(next(getattr(key, name) for name in ("name", "key", "idx") if hasattr(key, name)))
