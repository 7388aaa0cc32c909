"""The scan with a custom derivative: the gradient of each recurrent kernel is one product after the loop.

Autodiff of a scan adds h_t^T dz_t to an [H, nH] array at every step. Here `dot` saves its left operands h_t and has a tap: an
input whose value is ignored and whose tangent is added to the product's. With the kernels R held fixed, a step is pulled back to
its taps and to everything else, and

    dR = sum_t h_t^T (cotangent of tap t)

is one product over all steps. Forward mode is the plain scan's; reverse mode runs the loops of linearized.py, whose own
derivatives are those of plain scans with the same steps. A step's residuals
overwrite the z_t that it has read, and the backward step's cotangents overwrite the residuals in turn (see in_place_scan.py).
"""

import functools

import jax

from seqjax import placement, tree
from seqjax.gates import hoisted_kernels, without_stack
from seqjax.recurrence import scan
from seqjax.recurrence.call import run_steps
from seqjax.recurrence.custom_transpose import with_linearization
from seqjax.recurrence.fused import in_place_scan
from seqjax.recurrence.fused.linearized import Linearization
from seqjax.recurrence.fused.loop_over_leaves import Loop
from seqjax.recurrence.step_products import find_products
from seqjax.recurrence.two_modes import by_mode
from seqjax.thresholds import overlaps_products, projected_inside, trains_inside


def supports(cell, call) -> str | None:
    """The reason why `cell` cannot be run this way; None if it can."""
    params, xs, state = call.arguments

    def step(dot, constants, state, z):
        return cell.recur(constants[0], state, z, dot=dot, context=constants[1])

    try:
        z = jax.eval_shape(cell.project, params, placement.reshaped(xs, (xs.shape[0], *xs.shape[2:])))
        trace = find_products(step, (params, call.context), state, z)
    except Exception as error:  # the plain scan then raises the cell's own error
        return f"its step cannot be traced: {str(error).splitlines()[0]}"
    if trace.hidden:
        return "one of its recurrent products stands inside another transformation"
    if not trace.products:
        return "its recur calls no dot"
    if any(product.kernel is None for product in trace.products):
        return "the kernel of one of its recurrent products is not the same at every step"
    return None


def run(cell, params, xs, state, call):
    """All steps of a cell; arguments and results as for `run_steps`.

    Without a derivative, each step projects its own input where thresholds.py says that this is faster.
    """

    def project(params, xs):
        if not in_place_scan.in_place():  # x is transposed, not z: XLA cancels z's transpose here with the loop's own
            return in_place_scan.in_loop_order(cell.project(params, in_place_scan.in_loop_order(xs)))
        if not isinstance(xs.shape[0] * xs.shape[1], int):
            return cell.project(params, xs)
        # over one axis, [B T, ...], XLA sees that x W and x^T dz read the same x; over two it would gather x from all devices
        zs = cell.project(params, xs.reshape(xs.shape[0] * xs.shape[1], *xs.shape[2:]))
        return jax.tree.map(lambda z: z.reshape(*xs.shape[:2], *z.shape[1:]), zs)

    def differently(step, constants, state, inputs):
        def projecting_step(dot, constants, state, inputs):
            x, *flags = inputs
            with hoisted_kernels(overlaps_products(x.shape[0], trained=False)):
                z = cell.project(constants[0], x)
            return step(without_stack(dot), constants, state, (z, *flags))

        xs, *flags = inputs
        zs = project(constants[0], xs)
        inside = projected_inside(xs, zs)
        if inside and trains_inside(constants[0], xs, zs):
            return loop(projecting_step, constants, state, inputs, reverse=call.reverse, projects=True)
        undifferentiated = (projecting_step, inputs) if inside else None
        return loop(step, constants, state, (zs, *flags), reverse=call.reverse, undifferentiated=undifferentiated)

    def all_steps(step, constants, state, inputs):
        ways = functools.partial(differently, step), functools.partial(scan.all_steps, cell, call.reverse, step)
        return by_mode(*ways)(constants, state, inputs)

    return run_steps(all_steps, cell, params, xs, state, call)


def loop(step, constants, state, inputs, *, reverse, projects=False, undifferentiated=None):
    """`scan.plain`, batch first, with the derivative of this module.

    Args:
        step: (dot, constants, state, input) -> (state, output).
        constants: a pytree, the same at every step.
        state: a pytree.
        inputs: a pytree of arrays [B, T, ...].
        reverse: from the last step to the first.
        projects: as for `Loop`.
        undifferentiated: another step and its inputs, with the same results, to run when nothing is
            differentiated; None: `step` and `inputs`.

    Returns:
        (state, outputs), outputs [B, T, ...].
    """
    if not jax.tree.leaves(inputs)[0].shape[1]:
        state, outputs = scan.plain(step, constants, state, tree.swap_batch_time(inputs), reverse=reverse)
        return state, tree.swap_batch_time(outputs)
    differentiated = Loop(step, constants, state, inputs, reverse, projects)
    faster, others = differentiated, []
    if undifferentiated is not None:
        faster = Loop(undifferentiated[0], constants, state, undifferentiated[1], reverse, projects=True)
        others = [jax.tree.map(jax.lax.stop_gradient, faster.arguments)]

    def value(arguments, others=None):
        return faster.forward(arguments if others is None else others)

    def linearize(arguments, active):
        linear = Linearization(differentiated, arguments, active)
        results, residuals = linear.forward(arguments)
        return results, residuals, functools.partial(differentiated.push_forward, active), linear.pull_back

    results = with_linearization(value, linearize, differentiable=True)(differentiated.without_dead_tangents(), *others)
    return jax.tree.unflatten(differentiated.results_tree, results)
