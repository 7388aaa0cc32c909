"""The contract of linear recurrences: cells whose state is linear in itself, so that all steps need not be a loop."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.contracts import Cell
from seqjax.errors import InputError
from seqjax.products import product
from seqjax.serial import register
from seqjax.tree import form
from seqjax.types import Array, Key, Params, Shape, State, at_least_float32, float_dtype


@register
class LinearState(NamedTuple):
    """The state of a linear recurrence: h, float32 or wider, [*batch_shape, *hidden_shape].

    Args:
        h: the hidden units.

    Example:
        >>> LinearState(jnp.zeros((2, 3))).h.shape
        (2, 3)
    """

    h: Array


@register
class ComplexLinearState(NamedTuple):
    """The state of a complex linear recurrence, each part float32 or wider, [*batch_shape, *hidden_shape].

    Args:
        real: the real parts of the hidden units.
        imaginary: their imaginary parts.

    Example:
        >>> ComplexLinearState(jnp.zeros((2, 3)), jnp.zeros((2, 3))).imaginary.shape
        (2, 3)
    """

    real: Array
    imaginary: Array


class LinearCell(Cell):
    """A cell whose next state is a multiple of its state, plus a term that does not depend on the state, entry by entry.

        a, b = elements(params, z),  h = a * h + b,  y = readout(params, h, z);      z = project(params, x)

    A subclass defines input_shape, hidden_shape, init, elements and readout, and `project` if it has work that both of these
    need (by default z is x); the backend `linear` then runs all steps by `seqjax.linear_scan`.

    Args:
        fields: each cell declares its own.

    Returns:
        A value to pass to `seqjax.unroll`.

    Example:
        >>> import dataclasses
        >>> from seqjax import explain
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Average(LinearCell):  # an exponential moving average
        ...     size: int
        ...     input_shape = hidden_shape = property(lambda self: (self.size,))
        ...     def init(self, key):
        ...         return {}
        ...     def elements(self, params, z):
        ...         return jnp.full(self.size, 0.5), z / 2
        >>> cell = Average(size=1)
        >>> params = cell.init(jax.random.key(0))
        >>> cell.step(params, cell.initial_state(params), jnp.array([2.0]))[1].tolist()
        [1.0]
        >>> explain(cell, params, jnp.ones((2, 5, 1)))[0].backend
        'linear'

    Martin, Cundy 2018, arXiv:1709.04057.
    """

    complex_valued: ClassVar[bool] = False  # h is complex, and the state a ComplexLinearState

    @property
    def hidden_shape(self) -> Shape:
        """The shape of one row's h."""
        raise NotImplementedError

    def initial_state(self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None) -> State:
        """h = 0."""
        shape, dtype = (*batch_shape, *self.hidden_shape), at_least_float32(float_dtype(params))
        if self.complex_valued:
            return ComplexLinearState(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))
        return LinearState(jnp.zeros(shape, dtype))

    def elements(self, params: Params, z) -> tuple[Array, Array]:
        """The factor a and the term b of each step alone.

        Args:
            params: from `init`.
            z: from `project`, over any leading axes.

        Returns:
            (a, b): b [..., *hidden_shape], float32 or wider, complex if h is; a of that shape or one that broadcasts to it, such
            as hidden_shape for a factor that is the same at every step.
        """
        raise NotImplementedError

    def readout(self, params: Params, h: Array, z) -> Any:
        """The output of each step alone, from h [..., *hidden_shape] after the step and the step's z."""
        return h

    def recur(self, params: Params, state: State, z, *, dot=product, context=None) -> tuple[State, Any]:
        """h = a h + b, and its readout."""
        h = self.hidden(state)
        a, b = self.checked_elements(params, z, h.shape)
        h = jnp.broadcast_to(a, h.shape) * h + b
        return self.state_of(h), self.readout(params, h, z)

    def checked_elements(self, params: Params, z, shape: Shape) -> tuple[Array, Array]:
        """`elements`; raises InputError unless b has this shape, [..., *hidden_shape], and a broadcasts to it."""
        a, b = self.elements(params, z)
        if b.shape != shape or a.ndim > b.ndim or jnp.broadcast_shapes(a.shape, b.shape) != b.shape:
            raise InputError(f"{type(self).__name__}.elements gives {form((a, b))}, not b {list(shape)} and a that broadcasts")
        return a, b

    def hidden(self, state: State) -> Array:
        """h, [..., *hidden_shape], from a state."""
        return jax.lax.complex(*state) if self.complex_valued else state.h

    def state_of(self, h: Array) -> State:
        """The state that holds h."""
        return ComplexLinearState(h.real, h.imag) if self.complex_valued else LinearState(h)


class DiagonalSystem(NamedTuple):
    """H systems of one input and one output each, with N complex modes, the same at every step.

        h_n = a_n h_n + g_n z,    y = Re(sum_n c_n h_n) + d z

    Args:
        factor: a, complex, [H N], the modes of a feature side by side.
        gain: g, complex, [H N].
        output: c, complex, [H N].
        through: d, floating, [H].
    """

    factor: Array
    gain: Array
    output: Array
    through: Array


class DiagonalCell(LinearCell):
    """A complex LinearCell whose recurrence is the same at every step, each feature of z by itself: a convolution over time.

    A subclass defines `system` in place of elements and readout, and projects to z [..., H]; the backend `linear` then runs long
    sequences without resets by `seqjax.recurrence.linear_blocks`. Where a subclass has elements or a readout of its own, it does
    not.

    Args:
        fields: each cell declares its own.

    Example:
        >>> import dataclasses
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Average(DiagonalCell):  # an exponential moving average of each feature
        ...     size: int
        ...     input_shape = hidden_shape = property(lambda self: (self.size,))
        ...     def init(self, key):
        ...         return {}
        ...     def system(self, params, dtype):
        ...         half = jnp.full(self.size, 0.5, jnp.complex64)
        ...         return DiagonalSystem(half, half, jnp.ones_like(half), jnp.zeros(self.size, dtype))
        >>> cell = Average(size=1)
        >>> cell.step({}, cell.initial_state({}), jnp.array([2.0]))[1].tolist()
        [1.0]

    Gu, Gupta, Goel, Re 2022, arXiv:2206.11893.
    """

    complex_valued: ClassVar[bool] = True

    def system(self, params: Params, dtype) -> DiagonalSystem:
        """The system of the parameters, its real parts in this dtype."""
        raise NotImplementedError

    def elements(self, params: Params, z: Array) -> tuple[Array, Array]:
        """a, the same at every step, and g z."""
        system = self.system(params, z.dtype)
        (size,) = system.gain.shape
        zs = jnp.broadcast_to(z[..., None], (*z.shape, size // z.shape[-1])).reshape(*z.shape[:-1], size)  # [..., H N]
        return system.factor, jax.lax.complex(*(jnp.broadcast_to(g, zs.shape) * zs for g in (system.gain.real, system.gain.imag)))

    def readout(self, params: Params, h: Array, z: Array) -> Array:
        """Re(sum of c h over the modes) + d z."""
        system = self.system(params, z.dtype)
        real, imaginary = (jnp.broadcast_to(c, h.shape) for c in (system.output.real, system.output.imag))
        parts = (real * h.real - imaginary * h.imag).reshape(*z.shape, h.shape[-1] // z.shape[-1])  # [..., H, N]
        return parts.sum(axis=-1) + jnp.broadcast_to(system.through, z.shape) * z
