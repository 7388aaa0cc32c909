"""Reverse mode of a loop: a forward loop that saves residuals, and a backward loop that reads them.

One step and its pullback are traced on shapes to two programs,

    forward_step     kernels, constants | state, inputs        ->  new state, outputs | lefts, residuals
    backward_step    residuals | d new state, d outputs        ->  d state, d inputs, d constants, d taps

and `Plan` divides the equations of `forward_step`:

    once         before both loops: all that depends on kernels and constants alone
    forward      in the forward loop, which writes the outputs and the saved variables of step t into stacks [B, T, ...]
    recompute    in the backward loop: cheap operations, which recompute the residuals from saved variables

    forward loop     state, inputs[:, t]                         ->  new state, stacks[:, t]
    backward loop    d new state, saved[:, t], d outputs[:, t]   ->  d state, d inputs[:, t], d taps[:, t]; d constants +=
    after it         d kernel = sum_t left[:, t]^T d product[:, t]; with many rows, the backward loop adds these up

A saved variable that is an input of the step is in the loop's inputs already. One that is the state before a step is the new
state of the preceding step: if that has a stack, the same stack shifted by one step serves.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Var
from jax.interpreters.partial_eval import dce_jaxpr

from seqjax import placement
from seqjax.products import kernel_cotangent
from seqjax.recurrence.fused.in_place_scan import axis_of, differentiable_scan, in_loop_order, one_step, stack_of
from seqjax.recurrence.fused.loop_over_leaves import Leaves, Loop
from seqjax.recurrence.fused.residuals import evaluate, read, saved_and_recomputed, shapes_of, varying, written_after_reads
from seqjax.recurrence.two_modes import is_floating, replaced
from seqjax.thresholds import sums_in_loop
from seqjax.types import at_least_float32


class Targets(NamedTuple):
    """The leaves that a step is pulled back to, in the order of its pullback's results: indices, arrays, or cotangents.

    Args:
        state: of floating dtype, all of it: the cotangent is carried from step to step.
        inputs: the active ones, and those whose cotangent is also that of the product which they are added to.
        constants: the active ones.
        kernels: the active ones whose cotangents are added up in the loop.
        taps: those of the products with another active kernel that are not just added to an input.
    """

    state: list
    inputs: list
    constants: list
    kernels: list
    taps: list


class Variables(NamedTuple):
    """The variables of the program `forward_step`: its arguments, then its results."""

    fixed: list  # kernels and constants
    state: list
    inputs: list
    new_state: list
    outputs: list
    lefts: list  # of the products whose kernel's cotangent is a product after the loop
    residuals: list


class Plan(NamedTuple):
    """The division of a step's work between the loops: equations, and the variables that they exchange."""

    once: list
    forward: list
    recompute: list
    saved: list  # variables that a backward step, or the product after the loop, reads and that change from step to step
    stacked: list  # those that the forward loop writes: the outputs, then others
    shifted: dict  # {variable of the state before a step: the variable of that state after it}
    read: list  # the saved variables that the backward loop reads
    unchanging: list  # variables that are the same at every step and that the backward loop, or the product after it, reads
    overwritable: dict[int, set[int]]  # {an input that is not saved: the entries of `stacked` that may overwrite it}
    residuals: list  # the residuals that `backward_step` uses
    cotangents_used: list[bool]  # which of its other arguments `backward_step` uses


class Linearization:
    """A loop's forward pass with residuals, and its pullback.

    Args:
        loop: the loop.
        arguments: its arguments.
        active: indices of the arguments that have a tangent.
    """

    def __init__(self, loop: Loop, arguments: Leaves, active: Leaves):
        # where each step projects its own input, nothing but a product after the loop would need the stack of d products
        summed = [i for i in active.kernels if loop.projects or sums_in_loop(loop.products[i].out.shape[0], arguments.kernels[i])]
        addends = {kernel: loop.products[kernel].addend for kernel in active.kernels if kernel not in summed}
        self.loop, self.active, self.addends = loop, active, addends
        self.targets = Targets(
            state=[i for i, a in enumerate(arguments.state) if is_floating(a)],
            inputs=sorted({*active.inputs, *(i for i in addends.values() if i is not None)}),
            constants=active.constants,
            kernels=summed,
            taps=[kernel for kernel, addend in addends.items() if addend is None],
        )
        self.forward_program, backward = _programs(loop, list(addends), self.targets)
        self.variables = _variables(self.forward_program.jaxpr, loop, list(addends))
        used_jaxpr, used = dce_jaxpr(backward.jaxpr, [True] * len(backward.jaxpr.outvars))
        self.backward_program = ClosedJaxpr(used_jaxpr, backward.consts)
        self.plan = _plan(self.forward_program.jaxpr, self.variables, used)

    def forward(self, arguments: Leaves):
        """([*state, *outputs], residuals); the residuals are the unchanging values and the stacks."""
        plan, variables = self.plan, self.variables
        unchanging = dict(zip(self.forward_program.jaxpr.constvars, self.forward_program.consts, strict=True))
        unchanging |= zip(variables.fixed, [*arguments.kernels, *arguments.constants], strict=True)
        evaluate(plan.once, unchanging)

        def body(fixed, state, inputs):
            values = dict(zip([*unchanging, *variables.state, *variables.inputs], [*fixed, *state, *inputs], strict=True))
            evaluate(plan.forward, values)
            return read(values, variables.new_state), read(values, plan.stacked)

        state, stacks = differentiable_scan(
            body,
            list(unchanging.values()),
            arguments.state,
            arguments.inputs,
            shapes_of(plan.stacked),
            overwritable=plan.overwritable,
            read_late=self.loop.read_late(),
            reverse=self.loop.reverse,
        )
        return [*state, *stacks[: len(variables.outputs)]], (read(unchanging, plan.unchanging), stacks)

    def pull_back(self, residuals, cotangents) -> Leaves:
        """The cotangents of the active arguments.

        Args:
            residuals: (the arguments, the residuals from `forward`).
            cotangents: those of the floating results.
        """
        arguments, (unchanging, stacks) = residuals
        plan, targets = self.plan, self.targets
        unchanging = dict(zip(plan.unchanging, unchanging, strict=True))
        saved = self._saved(arguments, stacks)
        d_state, d_outputs = cotangents[: len(targets.state)], cotangents[len(targets.state) :]

        def body(fixed, carry, inputs):
            d_state, totals = carry
            saved_now, d_outputs_now = inputs[: len(plan.read)], inputs[len(plan.read) :]
            values = dict(zip([*unchanging, *plan.read], [*fixed, *saved_now], strict=True))
            evaluate(plan.recompute, values)
            d_results = itertools.compress([*d_state, *d_outputs_now], plan.cotangents_used)
            program = self.backward_program
            d_targets = jax.core.eval_jaxpr(program.jaxpr, program.consts, *read(values, plan.residuals), *d_results)
            d_now = _filled(targets, iter(d_targets))
            d_fixed = [*d_now.constants, *d_now.kernels]
            totals = [total + d.astype(total.dtype) for total, d in zip(totals, d_fixed, strict=True)]
            return (d_now.state, totals), [*d_now.inputs, *d_now.taps]

        summed = [*(arguments.constants[i] for i in targets.constants), *(arguments.kernels[i] for i in targets.kernels)]
        totals = [placement.full(a, dtype=at_least_float32(a.dtype)) for a in summed]
        outputs = [one_step(arguments.inputs[i]) for i in targets.inputs] + [self.loop.products[i].out for i in targets.taps]
        read_only = {*self.variables.lefts, *self.variables.inputs}  # read after the loop, or inputs of the forward loop
        (d_state, totals), d_stacks = differentiable_scan(
            body,
            list(unchanging.values()),
            (d_state, totals),
            [*(saved[v] for v in plan.read), *d_outputs],
            outputs,
            overwritable={i: () for i, v in enumerate(plan.read) if v not in read_only},
            reverse=not self.loop.reverse,
        )
        d_state = dict(zip(targets.state, d_state, strict=True))
        d_inputs = dict(zip(targets.inputs, d_stacks, strict=False))
        d_taps = dict(zip(targets.taps, d_stacks[len(targets.inputs) :], strict=True))
        totals = [total.astype(a.dtype) for total, a in zip(totals, summed, strict=True)]
        d_kernels = dict(zip(targets.kernels, totals[len(targets.constants) :], strict=True))
        d_kernels |= self._d_kernels(arguments, saved, unchanging, d_inputs, d_taps)
        return Leaves(
            [d_kernels[i] for i in self.active.kernels],
            totals[: len(targets.constants)],
            [d_state[i] for i in self.active.state],
            [d_inputs[i] for i in self.active.inputs],
        )

    def _saved(self, arguments: Leaves, stacks) -> dict:
        """{variable: its stack [B, T, ...]} for the outputs, the inputs, and the saved variables."""
        saved = dict(zip(self.plan.stacked, stacks, strict=True))
        saved |= zip(self.variables.inputs, arguments.inputs, strict=True)
        for old, first in zip(self.variables.state, arguments.state, strict=True):
            if old in self.plan.shifted and old in self.plan.saved:
                saved[old] = _shifted(first, saved[self.plan.shifted[old]], self.loop.reverse)
        return saved

    def _d_kernels(self, arguments: Leaves, saved: dict, unchanging: dict, d_inputs: dict, d_taps: dict) -> dict:
        """{kernel: its cotangent}, one product each, of those that are not added up in the loop."""
        d_kernels = {}
        for kernel, v in zip(self.addends, self.variables.lefts, strict=True):
            left = saved[v] if v in saved else _repeated(unchanging[v], self.loop.steps)  # [B, T, K]
            addend = self.addends[kernel]
            d_product = d_taps[kernel] if addend is None else d_inputs[addend]  # [B, T, M]
            left, d_product = in_loop_order((left, d_product))
            d_kernels[kernel] = kernel_cotangent(left, arguments.kernels[kernel], d_product)
        return d_kernels


def _programs(loop: Loop, kernels: list[int], targets: Targets) -> tuple[ClosedJaxpr, ClosedJaxpr]:
    """(forward_step, backward_step) as above, with the left operands of the products with these kernels."""
    pull_tree = None

    def floating_results(leaves: Leaves, new: Targets):
        now = leaves._replace(
            kernels=replaced(leaves.kernels, targets.kernels, new.kernels),
            constants=replaced(leaves.constants, targets.constants, new.constants),
            state=replaced(leaves.state, targets.state, new.state),
            inputs=replaced(leaves.inputs, targets.inputs, new.inputs),
        )
        result = loop.step(now, dict(zip(targets.taps, new.taps, strict=True)))
        return [a for a in (*result.state, *result.outputs) if is_floating(a)], result

    def forward_step(leaves: Leaves):
        nonlocal pull_tree
        at = Targets(
            taps=loop.zero_taps(targets.taps),
            state=[leaves.state[i] for i in targets.state],
            inputs=[leaves.inputs[i] for i in targets.inputs],
            constants=[leaves.constants[i] for i in targets.constants],
            kernels=[leaves.kernels[i] for i in targets.kernels],
        )
        _, pull, result = jax.vjp(functools.partial(floating_results, leaves), at, has_aux=True)
        residuals, pull_tree = jax.tree.flatten(pull)
        return result._replace(lefts=[result.lefts[i] for i in kernels]), residuals

    def backward_step(residuals, d_results):
        return jax.tree.unflatten(pull_tree, residuals)(d_results)

    forward, (_, residuals) = jax.make_jaxpr(forward_step, return_shape=True)(loop.first_step())
    # JAX leaves equations without results, as of empty batches, which have no place in the order of a plan
    needed, _ = dce_jaxpr(forward.jaxpr, [True] * len(forward.jaxpr.outvars), instantiate=True)
    forward = ClosedJaxpr(needed, forward.consts)
    results = [*loop.new_state, *loop.outputs]
    return forward, jax.make_jaxpr(backward_step)(residuals, [a for a in results if is_floating(a)])


def _variables(jaxpr, loop: Loop, kernels: list[int]) -> Variables:
    """The variables of the program `forward_step`, by kind."""
    arguments, results = iter(jaxpr.invars), iter(jaxpr.outvars)
    fixed, state, inputs = len(loop.arguments.kernels) + len(loop.arguments.constants), len(loop.new_state), None
    return Variables(
        *(list(itertools.islice(arguments, count)) for count in (fixed, state, inputs)),
        *(list(itertools.islice(results, count)) for count in (state, len(loop.outputs), len(kernels), None)),
    )


def _plan(jaxpr, variables: Variables, used: list[bool]) -> Plan:
    """The division of the program `forward_step`; `used` holds a bool for each argument of `backward_step`."""
    residuals = list(itertools.compress(variables.residuals, used))
    changing = varying(jaxpr, len(variables.fixed))
    once = [eqn for eqn in jaxpr.eqns if not (changing.intersection(eqn.outvars) or eqn.effects)]
    saved, recompute = saved_and_recomputed(
        jaxpr, variables.lefts, residuals, changing, [v for v in variables.inputs if is_floating(v.aval)]
    )
    pairs = [(old, new) for old, new in zip(variables.state, variables.new_state, strict=True) if new not in variables.state]
    shifted = {old: new for old, new in pairs if new in (*variables.outputs, *saved)}
    elsewhere = (*variables.outputs, *variables.inputs, *shifted)
    needed = {v for v in itertools.chain(residuals, *(eqn.invars for eqn in recompute)) if isinstance(v, Var)}
    unchanging = [*jaxpr.constvars, *variables.fixed, *(v for eqn in once for v in eqn.outvars)]
    stacked = [*variables.outputs, *(v for v in saved if v not in elsewhere)]
    may_overwrite = written_after_reads(jaxpr, variables.inputs, stacked, variables.new_state)
    return Plan(
        once=once,
        forward=[eqn for eqn in jaxpr.eqns if changing.intersection(eqn.outvars) or eqn.effects],
        recompute=recompute,
        saved=saved,
        stacked=stacked,
        shifted=shifted,
        read=[v for v in saved if v in needed],
        unchanging=[v for v in unchanging if v in needed or v in variables.lefts],
        overwritable={i: outs for i, outs in may_overwrite.items() if variables.inputs[i] not in saved},
        residuals=residuals,
        cotangents_used=used[len(variables.residuals) :],
    )


def _filled(lists: Targets, values: Iterator) -> Targets:
    """A Targets with lists of these values, as long as those of `lists`."""
    return Targets(*(list(itertools.islice(values, len(entries))) for entries in lists))


def _shifted(first, stack, reverse: bool):
    """The values before every step, from the one before the first step and the stack [B, T, ...] of those after every step."""
    axis = axis_of(first)
    steps = stack.shape[axis]
    first = jnp.expand_dims(first.astype(stack.dtype), axis)  # [B, 1, ...]
    begin, end = (1, steps) if reverse else (0, steps - 1)
    others = jax.lax.slice_in_dim(stack, begin, end, axis=axis)  # [B, T - 1, ...]
    return jnp.concatenate([others, first] if reverse else [first, others], axis)


def _repeated(a, steps: int):
    """A stack [B, T, ...] of one array at every step."""
    return jnp.broadcast_to(jnp.expand_dims(a, axis_of(a)), stack_of(a, steps).shape)
