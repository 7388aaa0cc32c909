"""MUT1, MUT2 and MUT3: the best three cells of a search among ten thousand."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from seqjax.cells.hidden import HiddenCell, HiddenState
from seqjax.cells.linear_gates import bypass
from seqjax.errors import InputError
from seqjax.gates import gate_values, project_cut, record_gates
from seqjax.initializers import gate_kernel
from seqjax.products import product
from seqjax.serial import register
from seqjax.types import Array, Key, Params


def _kernels(key: Key, input_size: int, hidden_size: int, input_gates: int, **recurrent: int) -> Params:
    """`input_kernel` [D, nH] of n gates, recurrent kernels by name with their numbers of gates, and `bias` [3H]."""
    keys = jax.random.split(key, 1 + len(recurrent))
    kernels = zip(recurrent.items(), keys[1:], strict=True)
    return {
        "input_kernel": gate_kernel("glorot", keys[0], input_size, hidden_size, input_gates),
        **{name: gate_kernel("orthogonal", k, hidden_size, hidden_size, gates) for (name, gates), k in kernels},
        "bias": jnp.zeros(3 * hidden_size),
    }


def _check_adds_input(cell):
    """Raise InputError unless the input can be added to hidden units."""
    if cell.input_size != cell.hidden_size:
        sizes = f"input_size={cell.input_size} and hidden_size={cell.hidden_size}"
        raise InputError(f"{type(cell).__name__} adds its input to hidden units, and has {sizes}: they must be equal")


def _cut(a: Array, hidden_size: int) -> list[Array]:
    """[..., nH] to n arrays [..., H]."""
    return jnp.split(a, a.shape[-1] // hidden_size, axis=-1)


def _plus(a: Array, bias: Array) -> Array:
    return a + jnp.broadcast_to(bias.astype(a.dtype), a.shape)


def _mixed(h: Array, update: Array, n: Array) -> tuple[HiddenState, Array]:
    """The update gate takes in the candidate where it is 1; in the GRU it keeps h there."""
    record_gates(n=n)
    h = h + update * (n - h)
    return HiddenState(h), h


@register
@dataclasses.dataclass(frozen=True)
class MUT1(HiddenCell):
    """The first of the three best cells of Jozefowicz et al.: its update gate does not see the state.

        z = s(W_z x + b_z),  r = s(W_r x + R_r h + b_r),  n = tanh(R_n (r * h) + tanh(x) + b_n)
        h = z * n + (1 - z) * h,  y = h

    As printed in the paper, the candidate contains x itself. (Other libraries have tanh(W_n x) there.)

    Args:
        input_size: D, features of one step (or symbols, for integer tokens); equal to hidden_size.
        hidden_size: H.

    Raises:
        InputError: a size that is not positive, or sizes that are not equal.

    Example:
        >>> cell = MUT1(input_size=3, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> {name: array.shape for name, array in sorted(params.items()) if "kernel" in name}
        {'candidate_kernel': (3, 3), 'input_kernel': (3, 6), 'recurrent_kernel': (3, 3)}

    Jozefowicz, Zaremba, Sutskever 2015, An Empirical Exploration of Recurrent Network Architectures.
    """

    gates: ClassVar[tuple[str, ...]] = ("z", "r", "n")
    gates_of: ClassVar[dict[str, tuple[str, ...]]] = {
        "input_kernel": ("z", "r"),
        "recurrent_kernel": ("r",),
        "candidate_kernel": ("n",),
    }

    def __post_init__(self):
        super().__post_init__()
        _check_adds_input(self)

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, 2H] of z and r, `recurrent_kernel` [H, H] of r, `candidate_kernel` [H, H] of n, `bias` [3H]."""
        return _kernels(key, self.input_size, self.hidden_size, 2, recurrent_kernel=1, candidate_kernel=1)

    def project(self, params: Params, xs: Array) -> tuple[Array, Array, Array]:
        """(W_z x + b_z, W_r x + b_r, tanh(x) + b_n), [..., H] each."""
        bias, bias_n = jnp.split(params["bias"], [2 * self.hidden_size])
        z_update, z_r = project_cut(params | {"bias": bias}, xs, [self.hidden_size])
        return z_update, z_r, _plus(jnp.tanh(bypass(params, xs, self.hidden_size)), bias_n)

    def recur(self, params: Params, state: HiddenState, z, *, dot=product, context=None) -> tuple[HiddenState, Array]:
        """The reset gate, the candidate, and their mixture with h."""
        (z_update, z_r, z_n), h = z, state.h
        (update,) = gate_values(z_update, z="s")
        (r,) = gate_values(z_r + dot(h, params["recurrent_kernel"]), r="s")
        return _mixed(h, update, jnp.tanh(z_n + dot(r * h, params["candidate_kernel"])))


@register
@dataclasses.dataclass(frozen=True)
class MUT2(HiddenCell):
    """The second of the three best cells of Jozefowicz et al.: its reset gate reads the input without a kernel.

        z = s(W_z x + R_z h + b_z),  r = s(x + R_r h + b_r),  n = tanh(R_n (r * h) + W_n x + b_n)
        h = z * n + (1 - z) * h,  y = h

    Args:
        input_size: D, features of one step (or symbols, for integer tokens); equal to hidden_size.
        hidden_size: H.

    Raises:
        InputError: a size that is not positive, or sizes that are not equal.

    Example:
        >>> cell = MUT2(input_size=3, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> {name: array.shape for name, array in sorted(params.items()) if "kernel" in name}
        {'candidate_kernel': (3, 3), 'input_kernel': (3, 6), 'recurrent_kernel': (3, 6)}

    Jozefowicz, Zaremba, Sutskever 2015, An Empirical Exploration of Recurrent Network Architectures.
    """

    gates: ClassVar[tuple[str, ...]] = ("z", "r", "n")
    gates_of: ClassVar[dict[str, tuple[str, ...]]] = {
        "input_kernel": ("z", "n"),
        "recurrent_kernel": ("z", "r"),
        "candidate_kernel": ("n",),
    }

    def __post_init__(self):
        super().__post_init__()
        _check_adds_input(self)

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, 2H] of z and n, `recurrent_kernel` [H, 2H] of z and r, `candidate_kernel` [H, H], `bias` [3H]."""
        return _kernels(key, self.input_size, self.hidden_size, 2, recurrent_kernel=2, candidate_kernel=1)

    def project(self, params: Params, xs: Array) -> tuple[Array, Array]:
        """(W_z x + b_z beside x + b_r, W_n x + b_n): [..., 2H] and [..., H]."""
        bias, bias_r, bias_n = _cut(params["bias"], self.hidden_size)
        z_update, z_n = project_cut(params | {"bias": jnp.concatenate([bias, bias_n])}, xs, [self.hidden_size])
        return jnp.concatenate([z_update, _plus(bypass(params, xs, self.hidden_size), bias_r)], axis=-1), z_n

    def recur(self, params: Params, state: HiddenState, z, *, dot=product, context=None) -> tuple[HiddenState, Array]:
        """Both gates, the candidate, and their mixture with h."""
        (z_gates, z_n), h = z, state.h
        update, r = gate_values(z_gates + dot(h, params["recurrent_kernel"]), z="s", r="s")
        return _mixed(h, update, jnp.tanh(z_n + dot(r * h, params["candidate_kernel"])))


@register
@dataclasses.dataclass(frozen=True)
class MUT3(HiddenCell):
    """The third of the three best cells of Jozefowicz et al.: a GRU whose update gate reads tanh(h).

        z = s(W_z x + R_z tanh(h) + b_z),  r = s(W_r x + R_r h + b_r),  n = tanh(R_n (r * h) + W_n x + b_n)
        h = z * n + (1 - z) * h,  y = h

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.

    Raises:
        InputError: a size that is not positive.

    Example:
        >>> cell = MUT3(input_size=2, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> sorted(name for name in params if "kernel" in name)
        ['candidate_kernel', 'input_kernel', 'recurrent_kernel', 'update_recurrent_kernel']

    Jozefowicz, Zaremba, Sutskever 2015, An Empirical Exploration of Recurrent Network Architectures.
    """

    gates: ClassVar[tuple[str, ...]] = ("z", "r", "n")
    gates_of: ClassVar[dict[str, tuple[str, ...]]] = {
        "update_recurrent_kernel": ("z",),
        "recurrent_kernel": ("r",),
        "candidate_kernel": ("n",),
    }
    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel",)

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, 3H] and `bias` [3H] of z, r and n; `update_recurrent_kernel` of z, `recurrent_kernel` of r and
        `candidate_kernel` of n, [H, H] each.
        """
        recurrent = {"update_recurrent_kernel": 1, "recurrent_kernel": 1, "candidate_kernel": 1}
        return _kernels(key, self.input_size, self.hidden_size, 3, **recurrent)

    def project(self, params: Params, xs: Array) -> tuple[Array, ...]:
        """W x + b: [..., D] to [..., H] for each of z, r and n."""
        return project_cut(params, xs, [self.hidden_size, 2 * self.hidden_size])

    def recur(self, params: Params, state: HiddenState, z, *, dot=product, context=None) -> tuple[HiddenState, Array]:
        """Both gates, the candidate, and their mixture with h."""
        (z_update, z_r, z_n), h = z, state.h
        (update,) = gate_values(z_update + dot(jnp.tanh(h), params["update_recurrent_kernel"]), z="s")
        (r,) = gate_values(z_r + dot(h, params["recurrent_kernel"]), r="s")
        return _mixed(h, update, jnp.tanh(z_n + dot(r * h, params["candidate_kernel"])))
