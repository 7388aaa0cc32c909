"""The scan with a derivative of its own: the gradient of a recurrent kernel is one product after the loop.

Autodiff of a scan adds h_t^T dz_t to an [H, nH] array at every step. Here a `dot` of our own keeps its left operands h_t,
and has a tap: an input whose value is ignored and whose tangent is added to the product's. With the kernels R held fixed
a step is pulled back to the taps and to everything else, and

    dR = sum_t h_t^T (cotangent of tap t)

is one product over all steps. Forward mode is the plain scan's; reverse mode runs the loop here (see `linear_map`).
What a step keeps for the backward pass takes the memory of the z_t that it has read, and what the backward step gives
takes that memory in turn (see `sweep`).
"""

import functools
import itertools
import math

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Var, get_opaque_trace_state
from jax.interpreters.partial_eval import dce_jaxpr

from seqjax import tree
from seqjax.products import product
from seqjax.recurrence import scan
from seqjax.recurrence.custom_transpose import is_floating, linear_map, put
from seqjax.recurrence.fused.in_place_scan import axis_of, one_step, stack_of, sweep
from seqjax.recurrence.fused.residuals import play, read, same_memory, shapes_of, stored, varying
from seqjax.recurrence.step_products import find_products
from seqjax.types import at_least_float32


def supports(cell, call) -> str | None:
    """Why `cell` cannot run so; None: it can."""
    params, xs, state = call.arguments

    def step(dot, constants, state, z):
        return cell.recur(constants[0], state, z, dot=dot, context=constants[1])

    try:
        z = jax.eval_shape(cell.project, params, jax.ShapeDtypeStruct((xs.shape[0], *xs.shape[2:]), xs.dtype))
        found = find_products(step, (params, call.context), state, z)
    except Exception as error:  # whatever is wrong with the cell, the plain scan shows it as it is
        return f"one step of it cannot be traced: {str(error).splitlines()[0]}"
    if found.hidden:
        return "one of its recurrent products stands inside another transformation"
    if not found.kernels:
        return "its recur calls no dot"
    if None in found.kernels:
        return "the kernel of one of its recurrent products is not the same at every step"
    return None


@jax.custom_jvp
def _tapped(out, tap):
    return out


@_tapped.defjvp
def _(primals, tangents):
    return primals[0], tangents[0] + tangents[1]


def loop(step, constants, state, inputs, *, reverse, undifferentiated=None):
    """`scan.plain` with the derivative of this module.

    Args:
        step: (dot, constants, state, input) -> (state, output).
        constants: a pytree of what is the same at every step.
        state: a pytree.
        inputs: a pytree of arrays [B, T, ...].
        reverse: from the last step to the first.
        undifferentiated: another step and its inputs, with the same products and results, that run where no derivative is
            asked for; None: the same ones.

    Returns:
        (state, outputs), outputs [B, T, ...].
    """
    if not jax.tree.leaves(inputs)[0].shape[1]:
        state, outputs = scan.plain(step, constants, state, tree.swap_batch_time(inputs), reverse=reverse)
        return state, tree.swap_batch_time(outputs)
    this = that = _Loop(step, constants, state, inputs, reverse)
    if undifferentiated is not None:
        that = _Loop(undifferentiated[0], constants, state, undifferentiated[1], reverse)

    @jax.custom_jvp
    def whole(kernels, values, others):
        return that.forward(kernels, values if that is this else others)

    def jvp(primals, tangents):
        primals, tangents = primals[:2], tangents[:2]
        moving = [[i for i, d in enumerate(ds) if not isinstance(d, SymbolicZero) and is_floating(d)] for ds in tangents]
        results, residuals, pull_back = this.linearize(*primals, *moving)
        push_forward = functools.partial(this.push_forward, moving)
        given = [[ds[i] for i in which] for ds, which in zip(tangents, moving, strict=True)]
        forms = [jax.typeof(a) for a in results if is_floating(a)]
        moved = iter(linear_map(push_forward, (primals, residuals), given, transposed=pull_back, out=forms))
        return results, [next(moved) if is_floating(a) else np.zeros(a.shape, jax.dtypes.float0) for a in results]

    whole.defjvp(jvp, symbolic_zeros=True)
    lives = zip(this.values, this.found.lives, strict=True)
    others = [] if that is this else list(map(jax.lax.stop_gradient, that.values))
    return this.pack(whole(this.kernels, [a if alive else jax.lax.stop_gradient(a) for a, alive in lives], others))


class _Loop:
    """A loop over leaves, in the order constants, state, inputs. Its results are the state's and the outputs' leaves."""

    def __init__(self, step, constants, state, inputs, reverse):
        self.step, self.reverse = step, reverse
        self.values, self.treedef = jax.tree.flatten((constants, state, inputs))
        self.begin = len(jax.tree.leaves(constants))  # of the state's leaves
        self.end = self.begin + len(jax.tree.leaves(state))
        self.found = find_products(step, constants, state, jax.tree.map(one_step, inputs))
        self.constant = [kernel is not None for kernel in self.found.kernels]
        self.kernels = [kernel(self.values) for kernel in self.found.kernels if kernel is not None]
        self.outs = list(itertools.compress(self.found.outs, self.constant))
        self.sums = list(itertools.compress(self.found.sums, self.constant))
        self.added = {i - self.end for i in self.sums if i is not None}  # inputs that are only added to a product
        self.steps = self.values[self.end].shape[1]
        self.results, self.results_tree = jax.tree.flatten(self.found.results)

    def first(self):
        """The shapes of one step's leaves."""
        return [*map(jax.typeof, self.values[: self.end]), *map(one_step, self.values[self.end :])]

    def pack(self, results):
        return jax.tree.unflatten(self.results_tree, results)

    def one(self, kernels, values, taps=None):
        """One step: its results, and the left operands of its products."""
        lefts, kernels, constant, outside = [], iter(kernels), iter(self.constant), get_opaque_trace_state()

        def dot(h, kernel):
            if get_opaque_trace_state() != outside or not next(constant):
                return product(h, kernel)
            kernel, tap = next(kernels), (taps or {}).get(len(lefts))
            lefts.append(h.astype(kernel.dtype))
            out = product(h, kernel)
            return out if tap is None else _tapped(out, tap)

        return jax.tree.leaves(self.step(dot, *jax.tree.unflatten(self.treedef, values))), lefts

    def forward(self, kernels, values):
        """All steps and nothing else."""
        size = self.end - self.begin

        def body(state, inputs):
            results, _ = self.one(kernels, [*values[: self.begin], *state, *inputs])
            return results[:size], results[size:]

        # of a state of one array XLA:CPU makes the whole step one fusion, and that reads every input element by element
        in_time = self.added if size > 1 else ()
        state, outputs = self.sweep(
            body, values[self.begin : self.end], values[self.end :], self.results[size:], (), self.reverse, in_time
        )
        return [*state, *outputs]

    def push_forward(self, moving, residuals, tangents):
        """The plain scan's forward mode: the tangents of the floating results."""
        (kernels, values), _ = residuals

        def floating(some_kernels, some_values):
            ks, vs = put(kernels, moving[0], some_kernels), put(values, moving[1], some_values)

            def body(state, inputs):
                results, _ = self.one(ks, [*vs[: self.begin], *state, *inputs])
                return results[: self.end - self.begin], results[self.end - self.begin :]

            inputs = tree.swap_batch_time(vs[self.end :])
            state, outputs = jax.lax.scan(body, vs[self.begin : self.end], inputs, reverse=self.reverse)
            outputs = tree.swap_batch_time(outputs)
            return [a for a in (*state, *outputs) if is_floating(a)]

        at = [[old[i] for i in which] for old, which in zip((kernels, values), moving, strict=True)]
        return jax.jvp(floating, at, tangents)[1]

    def stage(self, kernels, taps, moving):
        """One step with what its pullback needs, and that pullback.

        Args:
            kernels: numbers of the products whose left operands are kept.
            taps: numbers of the products that get a tap.
            moving: numbers of the leaves in which the step is pulled back.

        Returns:
            (forth, back): jaxprs (kernels, values) -> (results, left operands, residuals) and (residuals, cotangents of the
            floating results) -> (cotangents of the moving leaves and of the taps).
        """

        def of_moving(kernels_, values, moved, tap):
            results, lefts = self.one(kernels_, put(values, moving, moved), dict(zip(taps, tap, strict=True)))
            return [a for a in results if is_floating(a)], (results, [lefts[i] for i in kernels])

        def forth(kernels_, values):
            nonlocal pull_tree
            zeros = [jnp.zeros(self.outs[i].shape, self.outs[i].dtype) for i in taps]
            at = [values[i] for i in moving]
            _, pull, (results, lefts) = jax.vjp(functools.partial(of_moving, kernels_, values), at, zeros, has_aux=True)
            residuals, pull_tree = jax.tree.flatten(pull)
            return results, lefts, residuals

        def back(residuals, cotangents):
            return jax.tree.unflatten(pull_tree, residuals)(cotangents)

        pull_tree = None
        staged, (_, _, residuals) = jax.make_jaxpr(forth, return_shape=True)([*map(jax.typeof, self.kernels)], self.first())
        return staged, jax.make_jaxpr(back)(residuals, [a for a in self.results if is_floating(a)])

    def linearize(self, kernels, values, moving_kernels, moving_values):
        """All steps, with what the way back needs.

        Args:
            kernels, values: all of them, at all steps.
            moving_kernels, moving_values: numbers of those that have a tangent.

        Returns:
            (results, residuals, pull_back); pull_back: (((kernels, values), residuals), cotangents of the floating results)
            -> the cotangents of the moving kernels and values.
        """
        begin, end, size, count = self.begin, self.end, self.end - self.begin, len(self.results)
        sums = {i: self.sums[i] for i in moving_kernels if self.sums[i] is not None}
        taps = [i for i in moving_kernels if i not in sums]
        # a step is pulled back to its state, to its inputs, and to what is the same at every step
        states = [i for i in range(begin, end) if is_floating(values[i])]
        inputs = sorted({i for i in moving_values if i >= end} | set(sums.values()))
        constants = [i for i in moving_values if i < begin]
        forth, back = self.stage(moving_kernels, taps, [*states, *inputs, *constants])
        back_jaxpr, used = dce_jaxpr(back.jaxpr, [True] * len(back.jaxpr.outvars))

        jaxpr, first = forth.jaxpr, len(kernels) + begin  # of the state among its arguments
        state_in, inputs_in = jaxpr.invars[first : first + size], jaxpr.invars[first + size :]
        state_out, outputs_out = jaxpr.outvars[:size], jaxpr.outvars[size:count]
        lefts, residuals = jaxpr.outvars[count : count + len(moving_kernels)], jaxpr.outvars[count + len(moving_kernels) :]
        wanted, used = list(itertools.compress(residuals, used)), used[len(residuals) :]
        changing = varying(jaxpr, first)
        store, again = stored(jaxpr, lefts, wanted, changing, [v for v in inputs_in if is_floating(v.aval)])
        # what a state was before a step is, but for the first, what it is after one
        after = {old: new for old, new in zip(state_in, state_out, strict=True) if new in (*outputs_out, *store)}
        after = {old: new for old, new in after.items() if new not in state_in}
        stacked = [*outputs_out, *(v for v in store if v not in (*outputs_out, *inputs_in, *after))]

        env = dict(zip(jaxpr.constvars, forth.consts, strict=True))
        env |= zip(jaxpr.invars[:first], [*kernels, *values[:begin]], strict=True)
        play([eqn for eqn in jaxpr.eqns if not changing.intersection(eqn.outvars)], env)
        steps = [eqn for eqn in jaxpr.eqns if changing.intersection(eqn.outvars)]

        def forward(state, now):
            step = env | dict(zip([*state_in, *inputs_in], [*state, *now], strict=True))
            play(steps, step)
            return read(step, state_out), read(step, stacked)

        free = {i for i, v in enumerate(inputs_in) if v not in store}
        state, stacks = self.sweep(forward, values[begin:end], values[end:], shapes_of(stacked), free, self.reverse, self.added)
        needed = {v for v in itertools.chain(wanted, *(eqn.invars for eqn in again)) if isinstance(v, Var)}
        constant = [v for v in env if v in needed or v in lefts]

        def pull_back(residuals, cotangents):
            (kernels, values), (same, stacks) = residuals
            same, found = dict(zip(constant, same, strict=True)), dict(zip(stacked, stacks, strict=True))
            found |= zip(inputs_in, values[end:], strict=True)
            for old, first in zip(state_in, values[begin:end], strict=True):
                if old in after and old in store:
                    found[old] = _shifted(first, found[after[old]], self.reverse)
            reads = [v for v in store if v in needed]

            def backward(carry, now):
                d_state, totals = carry
                step = same | dict(zip(reads, now, strict=False))
                play(again, step)
                arguments = [*read(step, wanted), *itertools.compress([*d_state, *now[len(reads) :]], used)]
                out = iter(jax.core.eval_jaxpr(back_jaxpr, back.consts, *arguments))
                d_state, d_inputs = [next(out) for _ in states], [next(out) for _ in inputs]
                return (d_state, [total + next(out).astype(total.dtype) for total in totals]), [*d_inputs, *out]

            d_state, d_outputs = cotangents[: len(states)], cotangents[len(states) :]
            totals = [jnp.zeros(values[i].shape, at_least_float32(values[i].dtype)) for i in constants]
            outputs = [*(one_step(values[i]) for i in inputs), *(self.outs[i] for i in taps)]
            free = {i for i, v in enumerate(reads) if v not in lefts and v not in inputs_in}
            (d_state, totals), d_stacks = self.sweep(
                backward, (d_state, totals), [*(found[v] for v in reads), *d_outputs], outputs, free, not self.reverse
            )
            totals = [total.astype(values[i].dtype) for i, total in zip(constants, totals, strict=True)]
            d_values = dict(zip([*states, *constants, *inputs], [*d_state, *totals, *d_stacks], strict=False))
            d_outs = dict(zip(taps, d_stacks[len(inputs) :], strict=True)) | {i: d_values[j] for i, j in sums.items()}
            d_kernels = []
            for i, v in zip(moving_kernels, lefts, strict=True):
                left = found[v] if v in found else _repeated(same[v], self.steps)
                d_kernels += jax.linear_transpose(functools.partial(product, left), kernels[i])(d_outs[i])
            return d_kernels, [d_values[i] for i in moving_values]

        return [*state, *stacks[: count - size]], (read(env, constant), stacks), pull_back

    def sweep(self, body, state, inputs, outputs, free, reverse, in_time=()):
        """`sweep`, long inputs read ahead but for those in_time, outputs in the memory of those that are free."""
        widest = max((a.shape[-1] for a in jax.tree.leaves(state) if a.ndim), default=0)
        # the gates of several units, wider than a state, are read several times in one fusion: ahead they are copied once
        least = {i: 256 if a.shape[-1] > widest else 1024 for i, a in enumerate(inputs)}
        ahead = [i for i, a in enumerate(inputs) if _size(a) >= least[i] and i not in in_time]
        overwrite = same_memory(outputs, {i: one_step(a) for i, a in enumerate(inputs) if _size(a) >= 1024 and i in free})
        return sweep(body, state, inputs, outputs, reverse=reverse, ahead=ahead, overwrite=overwrite)


def _shifted(first, stack, reverse):
    """What stood before every step, where `stack` is what stood after it."""
    axis, steps = axis_of(first), stack.shape[axis_of(first)]
    first = jnp.expand_dims(first.astype(stack.dtype), axis)
    begin, end = (1, steps) if reverse else (0, steps - 1)
    others = jax.lax.slice_in_dim(stack, begin, end, axis=axis)
    return jnp.concatenate([others, first] if reverse else [first, others], axis)


def _repeated(a, steps):
    """A stack of one array at every step."""
    return jnp.broadcast_to(jnp.expand_dims(a, axis_of(a)), stack_of(a, steps).shape)


def _size(stack):
    return math.prod(one_step(stack).shape)


run = functools.partial(scan.run, loop=loop, batch_first=True)
