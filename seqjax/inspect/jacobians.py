"""Gradient flow through time: Jacobians of a cell's steps, and their products."""

import functools
import itertools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import tree
from seqjax.annotations import public
from seqjax.checks import as_array, kind_of
from seqjax.contracts import Cell, SequenceLayer
from seqjax.drawing import new_figure, save_png
from seqjax.errors import InputError
from seqjax.recurrence.arguments import feature_shape
from seqjax.recurrence.engine import unroll
from seqjax.recurrence.states import starting_state
from seqjax.types import Array, Params, State, is_floating


class GradientFlow(NamedTuple):
    """Sizes of the derivatives of a cell's states, as returned by `gradient_flow`.

    Args:
        norms: |ds[T-1] / ds[t]|, the largest singular value, [T] or [B, T]; 1 at the last step.
        leaf_norms: the same for each part of the state alone, such as "c" and "h", |dc[T-1] / dc[t]|.
        singular_values: those of ds[t] / ds[t-1], from the largest, [T, S] or [B, T, S].
    """

    norms: Array
    leaf_norms: dict[str, Array]
    singular_values: Array


@public
def gradient_flow(cell: Cell, params: Params, xs, state: State = None, *, context=None) -> GradientFlow:
    """The norm of the last state's derivative with respect to each earlier state; the singular values of each step's Jacobian.

        J[t] = ds[t] / ds[t-1],    ds[T-1] / ds[t] = J[T-1] J[T-2] ... J[t+1]

    Where the norms fall towards 0 the gradient vanishes, where they grow it explodes; singular values near 1 preserve it.

    Args:
        cell: any Cell; the floating arrays of its state have S numbers per row.
        params: from `cell.init`, or trained.
        xs: [T, *input_shape] or [B, T, *input_shape], or integer tokens [T] or [B, T]; no step is padding.
        state: the state before the first step; None: the initial state. Noise in it is held fixed.
        context: as in `seqjax.unroll`.

    Returns:
        The GradientFlow, float32 or wider. A norm below the smallest float is 0, one above the largest is inf.

    Raises:
        InputError: a layer that cannot step, a cell whose state has no floating numbers, no steps; as `seqjax.unroll`.

    Example:
        >>> from seqjax import Elman
        >>> cell = Elman(input_size=1, hidden_size=1)
        >>> params = {"input_kernel": jnp.ones((1, 1)), "recurrent_kernel": jnp.full((1, 1), 0.5), "bias": jnp.zeros(1)}
        >>> gradient_flow(cell, params, jnp.zeros((4, 1))).norms.tolist()
        [0.125, 0.25, 0.5, 1.0]

    Hochreiter 1991; Bengio, Simard, Frasconi 1994; Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063.
    """
    if isinstance(cell, SequenceLayer):
        raise InputError(f"gradient_flow follows the state of a cell, and {type(cell).__name__} is a layer that cannot step")
    if not isinstance(cell, Cell):
        raise InputError(f"gradient_flow follows the state of a cell, not {kind_of(cell)}")
    _, states = unroll(cell, params, xs, state, context=context, collect="states")  # leaves [T, ...] or [B, T, ...]
    xs = as_array("xs", xs)
    batched = xs.ndim == 2 + len(feature_shape(cell, xs))
    rows = xs.shape[:1] if batched else ()
    if not xs.shape[len(rows)]:
        raise InputError(f"xs has shape {xs.shape}: gradient_flow needs at least one step")
    if not any(map(is_floating, jax.tree.leaves(states))):
        raise InputError(f"the state of {type(cell).__name__} holds no floating numbers: no gradient flows through it")
    each_row = (jnp.asarray(xs), starting_state(cell, params, rows, state, context, None), states, context)
    flow = _flow(cell, params, each_row if batched else tree.add_batch(each_row))
    return flow if batched else tree.drop_batch(flow)


@functools.partial(jax.jit, static_argnums=0)
def _flow(cell, params, rows) -> GradientFlow:
    """The flow of every row, one row after another: rows (xs, the first state, the states after each step, context)."""

    def one_row(row):
        xs, state, states, context = row
        before = jax.tree.map(lambda first, a: jnp.concatenate([first[None], a[:-1]]), state, states)  # leaves [T, ...]
        return _flow_of_row(cell, params, xs, before, context)

    return jax.lax.map(one_row, rows)


def _flow_of_row(cell, params, xs, before, context) -> GradientFlow:
    """The flow of one row: xs [T, ...], `before` the state before each step, leaves [T, ...]."""
    leaves, structure = jax.tree.flatten(before)
    paths = [path for path, _ in jax.tree.leaves_with_path(before)]
    floating = [n for n, leaf in enumerate(leaves) if is_floating(leaf)]
    shapes = [leaves[n].shape[1:] for n in floating]
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
    names = [jax.tree_util.keystr(paths[n], simple=True, separator=".") or "state" for n in floating]

    def after(values, others, x):
        """The floating numbers [S] of the state after a step, from those before it."""
        parts = dict(enumerate(others))
        for n, shape, start, end in zip(floating, shapes, ends[:-1], ends[1:], strict=True):
            parts[n] = values[start:end].reshape(shape)
        state = jax.tree.unflatten(structure, [parts[n] for n in range(len(leaves))])
        new, _ = cell.step(params, state, x, context)
        return jnp.concatenate([jax.tree.leaves(new)[n].reshape(-1) for n in floating])

    def body(carry, step):
        derivative, log_norm = carry  # ds[T-1] / ds[t] = exp(log_norm) derivative, [S, S], of norm 1
        leaves, x = step
        values = jnp.concatenate([leaves[n].reshape(-1) for n in floating])  # [S]
        jacobian = jax.jacfwd(after)(values, leaves, x)  # [S, S]
        blocks = [derivative[a:b, a:b] for a, b in itertools.pairwise(ends)]
        leaf_norms = [_largest(block) * jnp.exp(log_norm) for block in blocks]
        earlier = derivative @ jacobian
        size = _largest(earlier)
        scaled = earlier / jnp.where(size > 0, size, 1)
        return (scaled, log_norm + jnp.log(size)), (jnp.exp(log_norm), leaf_norms, _singular_values(jacobian))

    start = jnp.eye(int(ends[-1]), dtype=jnp.result_type(*(leaves[n].dtype for n in floating)))
    _, (norms, leaf_norms, singular_values) = jax.lax.scan(body, (start, jnp.zeros((), start.dtype)), (leaves, xs), reverse=True)
    return GradientFlow(norms, dict(zip(names, leaf_norms, strict=True)), singular_values)


def _singular_values(matrix: Array) -> Array:
    return jnp.linalg.svd(matrix, compute_uv=False)


def _largest(matrix: Array) -> Array:
    """The largest singular value; 0 for an empty matrix."""
    return jnp.max(_singular_values(matrix), initial=0)


@public
def flow_curves(path, flows: Mapping[str, GradientFlow], *, title: str = ""):
    """Draw how gradients vanish, explode or survive: one curve for each cell.

    On the left |ds[T-1] / ds[t]| against the steps from t to the last, on a logarithmic axis; on the right the singular values of
    a step's Jacobian from the largest to the smallest, each the mean over steps. Curves of several rows are geometric means.

    Args:
        path: the PNG file to write.
        flows: for each name, a GradientFlow as `gradient_flow` returns it.
        title: above the picture.

    Raises:
        InputError: no flows; matplotlib is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> from seqjax import Elman
        >>> cell = Elman(input_size=1, hidden_size=2)
        >>> path = pathlib.Path(tempfile.mkdtemp(), "flow.png")
        >>> flow_curves(path, {"tanh": gradient_flow(cell, cell.init(jax.random.key(0)), jnp.ones((9, 1)))})
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    if not isinstance(flows, Mapping) or not flows or not all(isinstance(flow, GradientFlow) for flow in flows.values()):
        raise InputError("flows must be a dict of at least one name and its GradientFlow")
    figure = new_figure(9.0, 3.8)
    curves, spectra = figure.subplots(1, 2)
    for name, flow in flows.items():
        norms = np.asarray(flow.norms, np.float64).reshape(-1, flow.norms.shape[-1])  # [B, T]
        tiny = np.finfo(np.float32).tiny
        mean = np.exp(np.mean(np.log(np.clip(norms, tiny, None)), axis=0))  # [T]
        curves.semilogy(np.arange(len(mean))[::-1], np.where(mean > tiny, mean, np.nan), label=name, linewidth=1.5)
        values = np.asarray(flow.singular_values, np.float64)
        values = values.reshape(-1, values.shape[-1]).mean(axis=0)  # [S]
        spectra.plot(np.linspace(0, 100, len(values)), values, label=name, linewidth=1.5, marker="." if len(values) < 3 else "")
    curves.axhline(1.0, color="0.8", linewidth=0.8, zorder=0)
    spectra.axhline(1.0, color="0.8", linewidth=0.8, zorder=0)
    curves.set_xlabel("steps back in time")
    curves.set_ylabel("norm of the last state's derivative")
    spectra.set_xlabel("rank of the singular value, % of the state")
    spectra.set_ylabel("singular value of one step, mean")
    spectra.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10, parse_math=False)
    save_png(figure, path)
