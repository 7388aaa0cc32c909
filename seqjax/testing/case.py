"""A cell with everything that a law needs to run it: parameters, inputs, a state with noise, and its gradients."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from seqjax import noise, tree
from seqjax.recurrence.engine import unroll
from seqjax.testing.comparison import cast, join, map_floating, split_floating, weighted_sum
from seqjax.types import float_dtype, is_floating

STEPS = 5
TOLERANCE = {"float32": 2e-5, "float64": 1e-11, "bfloat16": 0.1}


class Case:
    """A cell or layer with parameters, inputs and a state other than the initial one; its noise is on.

    Args:
        cell: a Cell or a SequenceLayer.
        context: a pytree, leaves [B, ...]; None: the cell reads no context, and B is 3.
        tokens: True feeds integer tokens.
    """

    def __init__(self, cell, context, tokens: bool):
        self.cell, self.context, self.tokens = cell, context, tokens
        self.rows = 3 if context is None else jax.tree.leaves(context)[0].shape[0]
        self.tolerance = TOLERANCE["float32"]
        rng = np.random.default_rng(7)
        shape = (self.rows, STEPS, *cell.input_shape)
        self.xs = rng.integers(0, shape[2], shape[:2], np.int32) if tokens else rng.normal(size=shape).astype(np.float32)

        def perturbed(values, scale):
            return map_floating(lambda a: a + (scale * rng.normal(size=a.shape)).astype(a.dtype), values)

        def initial_state(params, context):
            state = cell.initial_state(params, (self.rows,), context=context)
            return noise.reseed(state, jax.random.key(8))

        self.params = perturbed(jax.jit(lambda: cell.init(jax.random.key(7)))(), 0.1)
        self.initial = jax.jit(initial_state)(self.params, context)
        self.state = perturbed(self.initial, 0.3)

    def in_float64(self) -> "Case":
        """The same case in float64, for use under `jax.enable_x64`."""
        twin = object.__new__(Case)
        twin.cell, twin.tokens, twin.rows, twin.tolerance = self.cell, self.tokens, self.rows, TOLERANCE["float64"]
        twin.params, twin.xs, twin.initial, twin.state, twin.context = cast(
            (self.params, self.xs, self.initial, self.state, self.context), np.float64
        )
        return twin

    def unroll(self, params, xs, state, context=None, **options):
        """`unroll` of the cell, with the case's context unless there is another."""
        return unroll(self.cell, params, xs, state, context=self.context if context is None else context, **options)

    def stepped(self, params, xs, state, context):
        """The sequence step by step: a scan over `step`."""
        dtype = float_dtype(params) if self.tokens else xs.dtype

        def body(state, x):
            state, y = self.cell.step(params, state, x, context)
            return state, tree.cast_floating(y, dtype)

        state, ys = jax.lax.scan(body, state, tree.swap_batch_time(xs))
        return state, tree.swap_batch_time(ys)

    def other_params(self):
        """Another set of parameters."""
        return map_floating(lambda a: a * a.dtype.type(0.5), self.params)

    def other_inputs(self, xs):
        """Other inputs of the same form."""
        return (xs + 1) % self.cell.input_shape[0] if self.tokens else xs * -3 + 1

    @functools.cached_property
    def one_pass(self):
        """(state, ys) of one pass."""
        return self.unroll(self.params, self.xs, self.state)

    @functools.cached_property
    def plain(self) -> tuple[Any, Any]:
        """The results and gradients of the plain scan."""
        return self.gradients(lambda p, x, s, c: self.unroll(p, x, s, c, backend="scan"))

    def arguments(self):
        """The arguments {params, xs, state, context} in three parts: (floating arrays, other arrays, noise keys)."""
        state, keys = noise.split_keys(self.state)
        arguments = {"params": self.params, "xs": self.xs, "state": state, "context": self.context}
        return *split_floating(arguments), keys

    def value(self, run: Callable, others, keys) -> Callable:
        """A function of the floating arguments that returns (the weighted sum of (state, ys), (state, ys))."""

        def value(floating):
            args = join(floating, others)
            results = run(args["params"], args["xs"], noise.join_keys(args["state"], keys), args["context"])
            results = noise.split_keys(results)[0]
            return weighted_sum(results), results

        return value

    def gradients(self, run: Callable, xs=None) -> tuple[Any, Any]:
        """((state, ys), the gradients of their weighted sum) with respect to parameters, inputs, state and context.

        Args:
            run: (params, xs, state, context) -> (state, ys).
            xs: other inputs; None: the case's.
        """
        floating, others, keys = self.arguments()
        if xs is not None and is_floating(xs):
            floating["xs"] = xs
        grads, results = jax.jit(jax.grad(self.value(run, others, keys), has_aux=True))(floating)
        return results, grads
