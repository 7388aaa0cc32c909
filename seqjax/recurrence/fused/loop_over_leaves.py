"""A loop over the steps of a cell, seen as lists of leaves: one step, its forward pass, and its forward mode."""

import collections
import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

from seqjax import placement, tree
from seqjax.hoisting import hoist
from seqjax.placement import varying_alike
from seqjax.products import product
from seqjax.recurrence.custom_transpose import pick, put
from seqjax.recurrence.fused.in_place_scan import one_step, scan_with_layout
from seqjax.recurrence.step_products import find_products
from seqjax.recurrence.two_modes import is_floating
from seqjax.thresholds import joins_products_forward, overlaps_products


class Leaves(NamedTuple):
    """One list for each kind of leaf of a loop's arguments: arrays, indices of some of them, their tangents, or their cotangents.

    Args:
        kernels: [K, M] or [N, K, M], one for each product with a kernel that is the same at every step, in the order of calls.
        constants: the same at every step.
        state: before the first step, or before one step.
        inputs: [B, T, ...] for all steps, or [B, ...] for one.
    """

    kernels: list
    constants: list
    state: list
    inputs: list


class StepResult(NamedTuple):
    """Leaves returned by one step, and the left operands of its products."""

    state: list
    outputs: list
    lefts: list


@jax.custom_jvp
def _tapped(out, tap):
    """A product, to whose tangent that of a tap is added."""
    return out


@_tapped.defjvp
def _(primals, tangents):
    return primals[0], tangents[0] + tangents[1]


class Loop:
    """A loop whose arguments and results are lists of leaves; the attributes named after these hold arrays, shapes or structure.

    Args:
        step: (dot, constants, state, input) -> (state, output).
        constants, state: pytrees.
        inputs: a pytree of arrays [B, T, ...].
        reverse: from the last step to the first.
        projects: True if each step projects its own input, which products alone read.
    """

    def __init__(self, step, constants, state, inputs, reverse, projects=False):
        self.step_function, self.reverse, self.projects = step, reverse, projects
        values, self.treedef = jax.tree.flatten((constants, state, inputs))
        trace = find_products(step, constants, state, jax.tree.map(one_step, inputs))
        self.has_constant_kernel = [product.kernel is not None for product in trace.products]
        self.products = [product for product in trace.products if product.kernel is not None]
        kernels = [product.kernel(values) for product in self.products if product.kernel is not None]
        self.arguments = Leaves(kernels, *map(jax.tree.leaves, (constants, state, inputs)))
        self.joined = _joined(self.products, kernels)
        self.used = trace.used
        self.steps = self.arguments.inputs[0].shape[1]
        self.results_tree = jax.tree.structure(trace.results)
        self.new_state, self.outputs = map(jax.tree.leaves, trace.results)

    def first_step(self) -> Leaves:
        """Shapes and dtypes of one step's leaves."""
        kernels, constants, state = (list(map(jax.typeof, leaves)) for leaves in self.arguments[:3])
        return Leaves(kernels, constants, state, list(map(one_step, self.arguments.inputs)))

    def without_dead_tangents(self) -> Leaves:
        """The arguments, without tangents for those that are used only as kernels."""
        kernels, *others = self.arguments
        used = iter(self.used)
        return Leaves(kernels, *([a if next(used) else jax.lax.stop_gradient(a) for a in leaves] for leaves in others))

    def step(self, leaves: Leaves, taps=None, joined=None) -> StepResult:
        """One step.

        Args:
            leaves: those of one step.
            taps: {index of a product: an array of its shape, whose tangent is added to the product's}.
            joined: {index of a product: its kernel beside those of all later products that are computed with it}.
        """
        taps, joined, computed = taps or {}, joined or {}, {}  # all by the index of a product
        lefts, kernels, constant, outside = [], iter(leaves.kernels), iter(self.has_constant_kernel), get_opaque_trace_state()

        def dot(h, kernel):
            if get_opaque_trace_state() != outside or not next(constant):
                return product(h, kernel)
            kernel, index = next(kernels), len(lefts)
            lefts.append(h.astype(kernel.dtype))
            if index in joined:
                group = self.joined[index]
                ends = itertools.accumulate(self.products[i].out.shape[-1] for i in group[:-1])
                computed.update(zip(group, jnp.split(product(h, joined[index]), list(ends), axis=-1), strict=True))
            out = computed[index] if index in computed else product(h, kernel)
            return _tapped(out, taps[index]) if index in taps else out

        arguments = jax.tree.unflatten(self.treedef, [*leaves.constants, *leaves.state, *leaves.inputs])
        state, outputs = map(jax.tree.leaves, self.step_function(dot, *arguments))
        return StepResult(state, outputs, lefts)

    def read_late(self) -> set[int]:
        """Indices of the inputs that need not be read a step early: products alone read them, or they are only added to one."""
        if self.projects:
            return set(range(len(self.arguments.inputs)))
        return {product.addend for product in self.products if product.addend is not None}

    def forward(self, arguments: Leaves) -> list:
        """The results of all steps, [*state, *outputs], with nothing saved."""

        kernels, constants, *_ = arguments
        joined = {first: jnp.concatenate(varying_alike([kernels[i] for i in group]), -1) for first, group in self.joined.items()}

        def one(fixed, state, inputs):
            kernels, constants, joined = fixed
            result = self.step(Leaves(kernels, constants, state, inputs), joined=joined)
            return result.state, result.outputs

        # with a state of one array XLA:CPU makes the whole step one fusion, which reads every input element by element
        read_late = self.read_late() if len(arguments.state) > 1 or self.projects else ()
        fixed = kernels, constants, joined
        body = functools.partial(one, fixed)
        if self.projects:
            body = hoist(one, fixed, *self.first_step()[2:])
            read_late = () if overlaps_products(self.first_step().inputs[0].shape[0], trained=False) else read_late
        state, outputs = scan_with_layout(
            body, arguments.state, arguments.inputs, self.outputs, reverse=self.reverse, read_late=read_late
        )
        return [*state, *outputs]

    def push_forward(self, active: Leaves, residuals, tangents: Leaves) -> list:
        """The plain scan's forward mode: the tangents of the floating results.

        Args:
            active: indices of the arguments that have a tangent.
            residuals: (the arguments, anything).
            tangents: those of the active arguments.
        """
        arguments, _ = residuals

        def floating_results(new: Leaves):
            leaves = put(arguments, active, new)

            def body(state, inputs):
                result = self.step(leaves._replace(state=state, inputs=inputs))
                return result.state, result.outputs

            inputs = tree.swap_batch_time(leaves.inputs)  # [T, B, ...]
            state, outputs = jax.lax.scan(body, leaves.state, inputs, reverse=self.reverse)
            return [a for a in (*state, *tree.swap_batch_time(outputs)) if is_floating(a)]

        return jax.jvp(floating_results, (pick(arguments, active),), (tangents,))[1]

    def zero_taps(self, indices) -> list:
        """Taps for these products: zeros."""
        return [placement.full(self.products[i].out) for i in indices]


def _joined(products, kernels) -> dict[int, list[int]]:
    """{a product: the products of the same left operand that a loop without a derivative computes as one}, indices, in order."""
    groups = collections.defaultdict(list)
    for i, (each, kernel) in enumerate(zip(products, kernels, strict=True)):
        groups[each.left, kernel.ndim, kernel.dtype].append(i)

    def joins(first, *others):
        return joins_products_forward(math.prod(products[first].out.shape[:-1]), [kernels[i] for i in (first, *others)])

    return {group[0]: group for group in groups.values() if joins(*group)}
