"""The loop over time as one GPU kernel that keeps the recurrent kernels on chip: for LSTM, GRU and cells like them.

A program of the kernel runs one head of 16 rows for all steps: it loads the head's recurrent kernels once, and every step
reads z[t] and writes y[t]. The body is the cell's own `recur`, run on tiles (tiles.py). Heads are a vmap of a cell of one
head, which Pallas makes an axis of the grid.

The derivative. Let s[t] be the state, u[t] everything else that a step reads, and F the step. With ds[0] before the first step,

    ds[t] = F_s[t] ds[t-1] + b[t],      b[t] = F_u[t] du[t]  for all steps at once

is a linear map of ds[0] and b. Its transpose is a loop from the last step to the first with the transposed recurrent kernels on
chip: the backward kernel. It gives the cotangents of all b[t]; from these, the cotangents of each recurrent kernel, input
kernel, bias and input are one product over all steps. Forward mode and higher derivatives use the map's plain form, a scan with
a kernel launch for every operation and step.

After Diamos et al. 2016 (persistent RNNs) and Poeppel, Beck, Hochreiter 2024, arXiv:2412.07752 (FlashRNN).
"""

import dataclasses
import functools
import math
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
FIELDS = {  # of the cells that it runs, as published; with other fields they are variants
    LSTM: ("input_size", "hidden_size", "forget_bias", "heads"),
    GRU: ("input_size", "hidden_size", "reset_after", "heads"),
}
DTYPES = {jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)}


class Step(NamedTuple):
    """A step whose recurrent kernels are arguments.

    Args:
        run: (dot, constants, state, inputs) -> (state, output), the step as `scan.plain` takes it.
        shapes: the shapes of the recurrent kernels, in the order of their products.
    """

    run: Callable
    shapes: list

    def plain(self, kernels, constants, state, inputs):
        """One step: ((state, output), the products)."""
        in_order, products = iter(kernels), []

        def dot(h, _):
            products.append(product(h, next(in_order)))
            return products[-1]

        return self.run(dot, constants, state, inputs), products

    def forward_scan(self, kernels, constants, state, inputs, *, reverse):
        """(state, outputs) of all steps, by `jax.lax.scan`."""
        body = lambda state, inputs: self.plain(kernels, constants, state, inputs)[0]  # noqa: E731
        return jax.lax.scan(body, state, inputs, reverse=reverse)

    def forward_kernel(self, kernels, constants, state, inputs, *, reverse, interpret=False):
        """(state, outputs) of all steps, in one GPU kernel."""

        def body(params, row_constants, state, inputs):
            in_order = iter(enumerate(self.shapes))
            return self.run(lambda h, _: _on_chip_product(h, *next(in_order)), (params, *row_constants), state, inputs)

        params, *row_constants = constants
        return scan_on_chip(body, kernels, params, row_constants, state, inputs, reverse=reverse, interpret=interpret)

    def backward_kernel(self, residuals, cotangents, *, reverse, interpret=False):
        """The cotangents of (ds[0], b) from those of (ds after the last step, outputs), in one GPU kernel."""
        kernels, (params, *row_constants), before, inputs, products = residuals
        d_final, d_outs = cotangents

        def body(params, row_constants, d_state, inputs):
            state, inputs, products, d_out = inputs

            def of_state(state):
                in_order, values = iter(enumerate(self.shapes)), iter(products)
                dot = lambda h, _: _saved_product(next(values), _on_chip_product(h, *next(in_order)))  # noqa: E731
                return self.run(dot, (params, *row_constants), state, inputs)

            return jax.vjp(of_state, state)[1]((d_state, d_out))[0], d_state

        inputs = (before, inputs, products, d_outs)
        d_state, d_states = scan_on_chip(
            body, kernels, params, row_constants, d_final, inputs, reverse=reverse, interpret=interpret
        )
        return d_state, (d_states, d_outs)


def _on_chip_product(h, index, shape):
    return on_chip.bind(h.astype(jnp.float32), index=index, shape=shape, transposed=False)


@jax.custom_jvp
def _saved_product(value, product):
    """The saved value of a product, with the product's derivative."""
    return value


@_saved_product.defjvp
def _(primals, tangents):
    return primals[0], tangents[1]


def supports(cell, call) -> str | None:
    """The reason why `cell` cannot be run this way; None if it can."""
    params, xs, _ = call.arguments
    if type(cell) not in FIELDS:
        return "it runs LSTM and GRU cells"
    if cell != type(cell)(**{name: getattr(cell, name) for name in FIELDS[type(cell)]}):
        return "it runs no variants of LSTM and GRU"
    if call.context is not None:
        return "it takes no context"
    if not isinstance(math.prod(xs.shape), int):
        return "the numbers of rows and steps are not known"
    dtypes = {a.dtype for a in jax.tree.leaves(params)} | ({xs.dtype} if jnp.issubdtype(xs.dtype, jnp.floating) else set())
    if not dtypes <= DTYPES:
        return f"it runs float32 and bfloat16, not {', '.join(sorted(d.name for d in dtypes - DTYPES))}"
    units, gates = cell.hidden_size // cell.heads, len(cell.gates)
    if units < 2:
        return "its heads have one unit"
    if (reason := too_large(units, gates, params["recurrent_kernel"].dtype)) is not None:
        return reason
    if INTERPRETED:
        return None if call.backend == "pallas" else "it is interpreted: only by name"
    return devices.no_nvidia_gpu() or (None if call.backend == "pallas" else devices.many_devices())


def run(cell, params, xs, state, call):
    """All steps of a cell; arguments and results as for `scan.run`."""
    loop = functools.partial(_loop, interpret=INTERPRETED)
    if cell.heads == 1:
        return scan.run(cell, params, xs, state, call, loop)
    units = cell.hidden_size // cell.heads
    head = dataclasses.replace(cell, hidden_size=units, heads=1)

    def split_heads(a):  # [..., n H] to [N, ..., n H/N]
        a = jnp.moveaxis(a.reshape(*a.shape[:-1], a.shape[-1] // cell.hidden_size, cell.heads, units), -2, 0)
        return jax.lax.collapse(a, a.ndim - 2)

    def join_heads(a):  # [N, ..., H/N] to [..., H]
        return jnp.moveaxis(a, 0, -2).reshape(*a.shape[1:-1], cell.hidden_size)

    of_heads = {name: a if a.ndim == 3 else split_heads(a) for name, a in params.items()}
    results = jax.vmap(lambda p, s: scan.run(head, p, xs, s, call, loop))(of_heads, jax.tree.map(split_heads, state))
    return jax.tree.map(join_heads, results)


def _loop(run_step, constants, state, inputs, *, reverse, interpret):
    """All steps by the kernels of this module; arguments and results as for `scan.plain`."""
    if 0 in jax.tree.leaves(inputs)[0].shape[:2]:  # no steps, or no rows
        return scan.plain(run_step, constants, state, inputs, reverse=reverse)
    values, treedef = jax.tree.flatten((constants, state, inputs))
    one_input = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), inputs)
    trace = find_products(run_step, constants, state, one_input)
    kernels = [call.kernel(values) for call in trace.products if call.kernel is not None]
    shapes = [k.shape for k in kernels]
    values = [a if used else jax.lax.stop_gradient(a) for a, used in zip(values, trace.used, strict=True)]

    def on_device(kernel, plain, *arguments):
        """The GPU's kernel; on other devices the plain form, or in tests the kernel interpreted."""
        other = functools.partial(kernel, interpret=True) if interpret else plain
        return devices.on_nvidia(kernel, other, *arguments)

    def step_with_state(dot, constants, state, inputs):
        new, out = run_step(dot, constants, state, inputs)
        return new, (out, state)

    def loop_of(step, saves_states):
        """The loop, a function (kernels, values) -> (state, outputs); with saved states outputs are (outputs, states before)."""

        @jax.custom_jvp
        def loop(kernels, values):
            constants, state, inputs = jax.tree.unflatten(treedef, values)
            return on_device(
                functools.partial(step.forward_kernel, reverse=reverse),
                functools.partial(step.forward_scan, reverse=reverse),
                *(kernels, constants, state, inputs),
            )

        def jvp(primals, tangents):
            final, (outs, before) = loop_with_states(*primals)
            leaves, tree = jax.tree.flatten(primals)
            active = {i: d for i, d in enumerate(tree.flatten_up_to(tangents)) if not isinstance(d, SymbolicZero)}
            first = len(kernels) + len(jax.tree.leaves(constants))
            of_state = range(first, first + len(jax.tree.leaves(state)))
            d_state = [active.pop(i, jnp.zeros_like(leaves[i])) for i in of_state]

            def all_steps(active_leaves):
                kernels, values = tree.unflatten([active_leaves.get(i, a) for i, a in enumerate(leaves)])
                constants, _, inputs = jax.tree.unflatten(treedef, values)
                return jax.vmap(lambda s, u: step.plain(kernels, constants, s, u))(before, inputs)

            _, push_forward, products = jax.linearize(all_steps, {i: leaves[i] for i in active}, has_aux=True)
            constants_, _, inputs_ = jax.tree.unflatten(treedef, primals[1])
            residuals = (primals[0], constants_, before, inputs_, products)
            x = jax.tree.unflatten(jax.tree.structure(state), d_state), push_forward(active)
            return (final, (outs, before) if saves_states else outs), _linear_loop(step, residuals, x, on_device, reverse)

        loop.defjvp(jvp, symbolic_zeros=True)
        return loop

    loop_with_states = loop_of(Step(step_with_state, shapes), True)
    return loop_of(Step(run_step, shapes), False)(kernels, values)


def _linear_loop(step, residuals, x, on_device, reverse):
    """The linear map of the module's docstring: from x = (ds[0], b) to (ds after the last step, tangents of the outputs)."""

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
