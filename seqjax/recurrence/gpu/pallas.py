"""The loop over time as one GPU kernel that keeps the recurrent kernels on chip: for LSTM, GRU and cells like them.

A program of the kernel runs one head of 16 rows for all steps: it loads the head's recurrent kernels once, and every step
reads z[t] and writes y[t]. The body is the cell's own `recur`, run on tiles (tiles.py). Heads are a vmap of a cell of one
head, which Pallas makes an axis of the grid.

The derivative. Let s[t] be the states, u[t] all that a step reads beside them, F the step. With ds before the first step,

    ds[t] = F_s[t] ds[t-1] + b[t],      b[t] = F_u[t] du[t]  of all steps at once, products and all

is a linear map of ds[0] and b. Its transpose is a loop from the last step to the first with the same kernels, transposed,
on chip: the backward kernel. It gives the cotangents of all b[t], from which those of the recurrent kernels, the input
kernels, the biases and the inputs are one product each. Forward mode and derivatives of the derivative take the map's plain
form, a scan: right, but with one kernel launch per operation and step.

After Diamos et al. 2016 (persistent RNNs) and Poeppel, Beck, Hochreiter 2024, arXiv:2412.07752 (FlashRNN).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from seqjax.cells.gru import GRU
from seqjax.cells.lstm import LSTM
from seqjax.products import product
from seqjax.recurrence import scan
from seqjax.recurrence.custom_transpose import linear_map
from seqjax.recurrence.gpu import devices
from seqjax.recurrence.gpu.pallas_scan import scan_on_chip, too_large
from seqjax.recurrence.gpu.tiles import on_chip
from seqjax.recurrence.step_products import find_products

INTERPRETED = False  # tests without an NVIDIA GPU set it: Pallas then interprets the kernels, slowly
RUNS = {jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)}


class Step(NamedTuple):
    """A step with its recurrent kernels apart.

    Args:
        run: (dot, constants, state, inputs) -> (state, output), as the engine's loops are given it.
        shapes: of the kernels, in the order of their products.
    """

    run: Callable
    shapes: list

    def plain(self, kernels, constants, state, inputs):
        """(state, output), and the products."""
        calls, outs = iter(kernels), []

        def dot(h, _):
            outs.append(product(h, next(calls)))
            return outs[-1]

        return self.run(dot, constants, state, inputs), outs

    def forward_scan(self, kernels, constants, state, inputs, *, reverse):
        """(state, outputs) of all steps."""
        body = lambda state, inputs: self.plain(kernels, constants, state, inputs)[0]  # noqa: E731
        return jax.lax.scan(body, state, inputs, reverse=reverse)

    def forward_kernel(self, kernels, constants, state, inputs, *, reverse, interpret=False):
        """As `forward_scan`."""

        def body(params, own, state, inputs):
            calls = iter(enumerate(self.shapes))
            return self.run(lambda h, _: _marked(h, *next(calls)), (params, *own), state, inputs)

        params, *own = constants
        return scan_on_chip(body, kernels, params, own, state, inputs, reverse=reverse, interpret=interpret)

    def backward_kernel(self, residuals, cotangents, *, reverse, interpret=False):
        """The cotangents of (ds before the first step, b) from those of (ds after the last step, outputs)."""
        kernels, (params, *own), before, inputs, products = residuals
        d_final, d_outs = cotangents

        def body(params, own, d_state, inputs):
            state, inputs, products, d_out = inputs

            def of_state(state):
                calls, known = iter(enumerate(self.shapes)), iter(products)
                return self.run(lambda h, _: _known(next(known), _marked(h, *next(calls))), (params, *own), state, inputs)

            return jax.vjp(of_state, state)[1]((d_state, d_out))[0], d_state

        inputs = (before, inputs, products, d_outs)
        d_state, d_states = scan_on_chip(body, kernels, params, own, d_final, inputs, reverse=reverse, interpret=interpret)
        return d_state, (d_states, d_outs)


def _marked(h, index, shape):
    return on_chip.bind(h.astype(jnp.float32), index=index, shape=shape, transposed=False)


@jax.custom_jvp
def _known(value, product):
    """A product that was computed before, with the derivative of the product."""
    return value


@_known.defjvp
def _(primals, tangents):
    return primals[0], tangents[1]


def supports(cell, call) -> str | None:
    """The reason why `cell` cannot be run this way; None if it can."""
    params, xs, _ = call.arguments
    if type(cell) not in (LSTM, GRU):
        return "it runs LSTM and GRU cells"
    if call.context is not None:
        return "it takes no context"
    dtypes = {a.dtype for a in jax.tree.leaves(params)} | ({xs.dtype} if jnp.issubdtype(xs.dtype, jnp.floating) else set())
    if not dtypes <= RUNS:
        return f"it runs float32 and bfloat16, not {', '.join(sorted(d.name for d in dtypes - RUNS))}"
    units, gates = cell.hidden_size // cell.heads, len(cell.gates)
    if units < 2:
        return "its heads have one unit"
    if (reason := too_large(units, gates, params["recurrent_kernel"].dtype)) is not None:
        return reason
    if INTERPRETED:
        return None if call.backend == "pallas" else "it is interpreted: only by name"
    return devices.no_nvidia_gpu() or (None if call.backend == "pallas" else devices.many_devices())


def run(cell, params, xs, state, call):
    """All steps of a cell, as `scan.run`."""
    loop = functools.partial(_loop, interpret=INTERPRETED)
    if cell.heads == 1:
        return scan.run(cell, params, xs, state, call, loop)
    units = cell.hidden_size // cell.heads
    head = dataclasses.replace(cell, hidden_size=units, heads=1)

    def apart(a):  # [..., n H] to [N, ..., n H/N]
        a = jnp.moveaxis(a.reshape(*a.shape[:-1], -1, cell.heads, units), -2, 0)
        return a.reshape(*a.shape[:-2], -1)

    def together(a):  # [N, ..., H/N] to [..., H]
        return jnp.moveaxis(a, 0, -2).reshape(*a.shape[1:-1], cell.hidden_size)

    parts = {name: a if a.ndim == 3 else apart(a) for name, a in params.items()}
    results = jax.vmap(lambda p, s: scan.run(head, p, xs, s, call, loop))(parts, jax.tree.map(apart, state))
    return jax.tree.map(together, results)


def _loop(run_step, constants, state, inputs, *, reverse, interpret):
    """`scan.plain` with the kernels of this module."""
    if not jax.tree.leaves(inputs)[0].shape[0]:
        return scan.plain(run_step, constants, state, inputs, reverse=reverse)
    values, treedef = jax.tree.flatten((constants, state, inputs))
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), inputs)
    trace = find_products(run_step, constants, state, one)
    kernels = [call.kernel(values) for call in trace.products if call.kernel is not None]
    shapes = [k.shape for k in kernels]
    still = [a if used else jax.lax.stop_gradient(a) for a, used in zip(values, trace.used, strict=True)]

    def on_device(kernel, plain, *arguments):
        """The GPU's kernel; on other devices the plain form, or in tests the kernel interpreted."""
        other = functools.partial(kernel, interpret=True) if interpret else plain
        return devices.on_nvidia(kernel, other, *arguments)

    def with_states(dot, constants, state, inputs):
        new, out = run_step(dot, constants, state, inputs)
        return new, (out, state)

    def differentiable(step, keeps):
        """The whole loop; `keeps`: its outputs are (outputs, the states before all steps)."""

        @jax.custom_jvp
        def whole(kernels, values):
            constants, state, inputs = jax.tree.unflatten(treedef, values)
            return on_device(
                functools.partial(step.forward_kernel, reverse=reverse),
                functools.partial(step.forward_scan, reverse=reverse),
                *(kernels, constants, state, inputs),
            )

        def jvp(primals, tangents):
            final, (outs, before) = keeping(*primals)
            leaves, tree = jax.tree.flatten(primals)
            moving = {i: d for i, d in enumerate(tree.flatten_up_to(tangents)) if not isinstance(d, SymbolicZero)}
            first = len(kernels) + len(jax.tree.leaves(constants))
            of_state = range(first, first + len(jax.tree.leaves(state)))
            d_state = [moving.pop(i, jnp.zeros_like(leaves[i])) for i in of_state]

            def all_steps(moved):
                kernels, values = tree.unflatten([moved.get(i, a) for i, a in enumerate(leaves)])
                constants, _, inputs = jax.tree.unflatten(treedef, values)
                return jax.vmap(lambda s, u: step.plain(kernels, constants, s, u))(before, inputs)

            _, push, products = jax.linearize(all_steps, {i: leaves[i] for i in moving}, has_aux=True)
            constants_, _, inputs_ = jax.tree.unflatten(treedef, primals[1])
            residuals = (primals[0], constants_, before, inputs_, products)
            x = jax.tree.unflatten(jax.tree.structure(state), d_state), push(moving)
            return (final, (outs, before) if keeps else outs), _solve(step, residuals, x, on_device, reverse)

        whole.defjvp(jvp, symbolic_zeros=True)
        return whole

    keeping = differentiable(Step(with_states, shapes), True)
    return differentiable(Step(run_step, shapes), False)(kernels, still)


def _solve(step, residuals, x, on_device, reverse):
    """The linear loop of the module's docstring, of x = (ds before the first step, b): (ds after the last, d outputs)."""

    def plain(residuals, x):
        kernels, constants, before, inputs, _ = residuals

        def body(d_state, at):
            b, state, inputs = at
            of_state = lambda state: step.plain(kernels, constants, state, inputs)[0]  # noqa: E731
            return jax.tree.map(jnp.add, jax.jvp(of_state, (state,), (d_state,))[1], b)

        d_state, b = x
        return jax.lax.scan(body, d_state, (b, before, inputs), reverse=reverse)

    def by_scan(residuals, cotangents):
        return jax.linear_transpose(functools.partial(plain, residuals), x)(cotangents)[0]

    def transposed(residuals, cotangents):
        kernel = functools.partial(step.backward_kernel, reverse=not reverse)
        return on_device(kernel, by_scan, residuals, cotangents)

    return linear_map(plain, residuals, x, transposed=transposed)
