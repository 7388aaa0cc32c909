"""Chunked sequences: rematerialisation, and truncated backpropagation."""

import dataclasses
import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.core
import jax.numpy as jnp

from seqjax import placement, tree
from seqjax.recurrence.custom_transpose import pick, put, with_linearization
from seqjax.recurrence.two_modes import is_floating
from seqjax.types import State, at_least_float32

Remat = int | Literal["sqrt"] | None


class _Cut(NamedTuple):
    """Arrays [T, ...] in chunks: the full ones stacked, [T // length, length, ...], and a list of the shorter last, if any."""

    full: Any
    last: list


@functools.partial(jax.tree_util.register_dataclass, data_fields=["first"], meta_fields=["length"])
@dataclasses.dataclass(frozen=True)
class _Span:
    """The steps of a chunk: the number of the first, int32 [], or [chunks] of all chunks of one length; and how many they are."""

    first: jax.Array
    length: int


class _Leaves(NamedTuple):
    """One list for each kind of leaf: arrays, indices of some of them, their tangents, or their cotangents."""

    constants: list
    state: list
    inputs: list


_SQRT_OF_UNKNOWN = 32  # for a number of steps that is not known, as under `jax.export`


def chunk_length(remat: int | str, steps: int) -> int:
    """The steps in a chunk for the option remat: a number, or "sqrt"."""
    if remat != "sqrt":
        return int(remat)
    return math.isqrt(steps - 1) + 1 if isinstance(steps, int) else _SQRT_OF_UNKNOWN


def missing_steps(steps: int, remat: Remat, window: int | None) -> int:
    """The steps of padding for a number of steps that is not known: they complete the last chunk, and make one step of none."""
    if isinstance(steps, int):
        return 0
    length = window or (1 if remat is None else chunk_length(remat, steps))
    return jax.core.max_dim(-(-steps // length), 1) * length - steps


def chunked(run, state: State, xs, length: int, *, reverse: bool = False):
    """Run consecutive chunks of `length` steps, and carry the state from one to the next.

    Args:
        run: (state, chunk of xs) -> (state, chunk of ys).
        state: any pytree.
        xs: a pytree of arrays [T, ...], time first.
        length: the number of steps in a chunk; the last may have fewer.
        reverse: from the last chunk to the first.

    Returns:
        (state, ys), ys [T, ...].
    """
    state, ys = _scan_chunks(run, state, _cut(xs, length), reverse)
    joined = jax.tree.map(lambda a: a.reshape((a.shape[0] * a.shape[1], *a.shape[2:])), ys.full)
    return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), joined, *ys.last)


def recomputed(function, constants, state: State, inputs, length: int, *, reverse: bool = False):
    """Run consecutive chunks of `length` steps with rematerialisation: reverse mode recomputes each chunk's inside.

        forward    edge[k] = state;  state, outputs[chunk k] = function(constants, state, inputs[chunk k])
        backward   the chunks in the opposite order: function again from edge[k], then its pullback, which gives
                   d state, d inputs[chunk k], and a summand of d constants

    Besides inputs, outputs and their cotangents, memory holds the states at the edges and the inside of one chunk: every chunk
    is read from, and written to, its place in the arrays of all steps. (JAX's transpose of such a read is an array as long as all
    steps, for each chunk; so reverse mode is a loop written here.) All other derivatives are those of `chunked`.

    Args:
        function: (constants, state, chunk of inputs) -> (state, chunk of outputs); it closes over nothing differentiated.
        constants: a pytree of arrays, the same in every chunk.
        state: a pytree of arrays.
        inputs: a pytree of arrays [B, T, ...], T at least 1.
        length: the number of steps in a chunk; the last may have fewer.
        reverse: from the last chunk to the first.

    Returns:
        (state, outputs), outputs [B, T, ...].
    """
    chunks = _Chunks(function, constants, state, inputs, length, reverse)

    def linearize(arguments, active):
        results, edges = chunks.forward(arguments)
        return results, edges, functools.partial(chunks.push_forward, active), functools.partial(chunks.pull_back, active)

    run = with_linearization(lambda arguments: chunks.forward(arguments)[0], linearize)
    return chunks.results_tree.unflatten(run(chunks.arguments))


class _Chunks:
    """A chunked function of leaves: its forward pass, and both modes of its derivative."""

    def __init__(self, function, constants, state, inputs, length, reverse):
        self.function, self.reverse = function, reverse
        self.arguments = _Leaves(*map(jax.tree.leaves, (constants, state, inputs)))
        self.treedef = jax.tree.structure((constants, state, inputs))
        self.steps = self.arguments.inputs[0].shape[1]
        if isinstance(self.steps, int):
            self.length = min(length, self.steps)
        else:  # a symbol: the last chunk must be full, or all steps are one
            self.length = length if self.steps % length == 0 else self.steps
        one_chunk = jax.tree.map(lambda a: _as_long(a, self.length), inputs)
        results = jax.eval_shape(function, constants, state, one_chunk)
        self.outputs, self.results_tree = jax.tree.leaves(results[1]), jax.tree.structure(results)

    @property
    def times(self) -> _Cut:
        """The steps of the chunks, `_Span`s made anew in each trace."""
        chunks, rest = divmod(self.steps, self.length)
        firsts = jnp.arange(chunks, dtype=jnp.int32) * jnp.asarray(self.length, jnp.int32)  # [chunks]
        last = [_Span(jnp.asarray(self.steps - rest, jnp.int32), rest)] if rest else []
        return _Cut(_Span(firsts, self.length), last)

    def one(self, leaves: _Leaves) -> tuple[list, list]:
        """(state, outputs) of one chunk."""
        state, outputs = self.function(*self.treedef.unflatten([*leaves.constants, *leaves.state, *leaves.inputs]))
        return jax.tree.leaves(state), jax.tree.leaves(outputs)

    def forward(self, arguments: _Leaves):
        """([*state, *outputs], the states before every chunk)."""

        def run(carry, times):
            state, outputs = carry
            new, out = self.one(arguments._replace(state=state, inputs=_read(arguments.inputs, times)))
            return (new, _write(outputs, out, times)), state

        buffers = _buffers([_as_long(a, self.steps) for a in self.outputs])
        (state, outputs), edges = _scan_chunks(run, (arguments.state, buffers), self.times, self.reverse)
        return [*state, *outputs], edges

    def push_forward(self, active, residuals, tangents):
        """Forward mode: the tangents of the floating results."""
        arguments, _ = residuals

        def floating_results(new):
            leaves = put(arguments, active, new)

            def run(state, inputs):
                state, outputs = self.one(leaves._replace(state=state, inputs=tree.swap_batch_time(inputs)))
                return state, tree.swap_batch_time(outputs)

            inputs = tree.swap_batch_time(leaves.inputs)
            state, outputs = chunked(jax.checkpoint(run), leaves.state, inputs, self.length, reverse=self.reverse)
            return [a for a in (*state, *tree.swap_batch_time(outputs)) if is_floating(a)]

        return jax.jvp(floating_results, (pick(arguments, active),), (tangents,))[1]

    def pull_back(self, active, residuals, cotangents):
        """Reverse mode: the cotangents of the active arguments."""
        arguments, edges = residuals
        # a chunk is pulled back to all of its state: the cotangent is carried on to the preceding chunk
        targets = active._replace(state=[i for i, a in enumerate(arguments.state) if is_floating(a)])
        d_state, d_outputs = cotangents[: len(targets.state)], cotangents[len(targets.state) :]

        def run(carry, chunk):
            (d_state, totals, d_inputs), (times, edge) = carry, chunk
            chunk_arguments = arguments._replace(state=edge, inputs=_read(arguments.inputs, times))

            def floating_results(state, constants, inputs):
                new, outputs = self.one(put(chunk_arguments, targets, _Leaves(constants, state, inputs)))
                return [a for a in (*new, *outputs) if is_floating(a)]

            at = pick(chunk_arguments, targets)
            _, pull = jax.vjp(floating_results, at.state, at.constants, at.inputs)
            d_state, summands, d_chunk = pull([*d_state, *_read(d_outputs, times)])
            totals = [total + d.astype(total.dtype) for total, d in zip(totals, summands, strict=True)]
            return (d_state, totals, _write(d_inputs, d_chunk, times)), None

        at = pick(arguments, targets)
        totals = [placement.full(a, dtype=at_least_float32(a.dtype)) for a in at.constants]
        full, last = (self.times.full, edges.full), list(zip(self.times.last, edges.last, strict=True))
        carry = (d_state, totals, _buffers(at.inputs))
        (d_state, totals, d_inputs), _ = _scan_chunks(run, carry, _Cut(full, last), not self.reverse)
        d_state = dict(zip(targets.state, d_state, strict=True))
        d_arguments = _Leaves(totals, [d_state[i] for i in active.state], d_inputs)
        return jax.tree.map(lambda d, a: d.astype(a.dtype), d_arguments, pick(arguments, active))


def _cut(xs, length: int) -> _Cut:
    """Cut arrays [T, ...] into chunks."""
    chunks, rest = divmod(jax.tree.leaves(xs)[0].shape[0], length)
    full = jax.tree.map(lambda a: a[: chunks * length].reshape((chunks, length, *a.shape[1:])), xs)
    return _Cut(full, [jax.tree.map(lambda a: a[chunks * length :], xs)] if rest else [])


def _scan_chunks(run, carry, chunks: _Cut, reverse: bool):
    """Run all chunks, the shorter last one included; returns (carry, the results as a _Cut)."""
    result = None
    if chunks.last and reverse:
        carry, result = run(carry, *chunks.last)
    carry, results = jax.lax.scan(run, carry, chunks.full, reverse=reverse)
    if chunks.last and not reverse:
        carry, result = run(carry, *chunks.last)
    return carry, _Cut(results, [result] if chunks.last else [])


def _read(arrays, times: _Span):
    """Read the chunk at these times from arrays [B, T, ...]."""
    return [jax.lax.dynamic_slice_in_dim(a, times.first, times.length, axis=1) for a in arrays]


def _write(arrays, chunk, times: _Span):
    """Write a chunk into arrays [B, T, ...] at these times."""
    return [jax.lax.dynamic_update_slice_in_dim(a, b, times.first, axis=1) for a, b in zip(arrays, chunk, strict=True)]


def _buffers(shapes):
    """Buffers to write into. XLA would merge equal constant fills and copy the one, so each is filled with another number."""
    return [placement.full(a, i) for i, a in enumerate(shapes)]


def _as_long(a, steps):
    return placement.reshaped(a, (a.shape[0], steps, *a.shape[2:]))
