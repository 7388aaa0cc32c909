"""Long short-term memory, and its published variants."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.activations import ACTIVATIONS
from seqjax.cells.hidden import VectorCell
from seqjax.checks import check_choice, check_flag, check_heads, check_number, check_size, refuse_together
from seqjax.gates import gate_values, input_product, layer_norm, over_stack, project_input, recurrent_product
from seqjax.initializers import gate_kernel, glorot, recurrent_kernel
from seqjax.products import product
from seqjax.serial import register
from seqjax.thresholds import LSTM_BIAS_ROW
from seqjax.types import Array, Key, Params, Shape, at_least_float32


@register
class LSTMState(NamedTuple):
    """The state of an LSTM: cell c and hidden h, float32 or wider, [*batch_shape, H] each (h: [*batch_shape, P] if projected).

    Args:
        c: the cell, which the gates add to.
        h: the hidden units, which are the output.

    Example:
        >>> LSTMState(jnp.zeros((2, 3)), jnp.ones((2, 3))).h.shape
        (2, 3)
    """

    c: Array
    h: Array


@register
class LSTMGatesState(NamedTuple):
    """The state of an LSTM with gate_recurrence: c and h as in LSTMState, and the gates of the last step.

    Args:
        c: the cell, which the gates add to.
        h: the hidden units, which are the output.
        gates: the values of those of i, f and o that have parameters, side by side, [*batch_shape, kH].

    Example:
        >>> LSTMGatesState(jnp.zeros((2, 3)), jnp.ones((2, 3)), jnp.ones((2, 9))).gates.shape
        (2, 9)
    """

    c: Array
    h: Array
    gates: Array


@register
@dataclasses.dataclass(frozen=True)
class LSTM(VectorCell):
    """Long short-term memory with a forget gate, and the variants that Greff et al. 2015 compare, in any combination.

        (i f o g) = (s s s a) W (h; x),  c = f * c + i * g,  h = o * b(c),  y = h,  a = b = tanh unless others are named

        input_gate, forget_gate or output_gate=False      i = 1, f = 1 or o = 1
        coupled             f = 1 - i
        peepholes           p_i * c and p_f * c are added inside i and f, p_o * (the new c) inside o
        gate_recurrence     R (i; f; o of the last step) is added inside i, f and o
        projection_size     h = P (o * b(c)), of P units
        layer_norm          LN(W_h h) and LN(W_x x) in place of both products, b(LN(c)) in place of b(c)

    The parameters hold the gates in the order of PyTorch and cuDNN, `i f g o`; a gate that is fixed or coupled has none.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        forget_bias: initial bias of the forget gate (coupled: that of the input gate is -forget_bias, which has the same effect).
        heads: N blocks of H/N units; the recurrent kernel connects no two of them (it is block-diagonal).
        input_gate, forget_gate, output_gate: False fixes the gate at 1.
        coupled: the forget gate is 1 minus the input gate.
        input_activation, output_activation: a and b, names of `seqjax.activations.ACTIVATIONS`, such as "linear".
        peepholes: the gates read the cell, each unit its own.
        gate_recurrence: the gates read all gates of the last step.
        projection_size: P, units of the output, fewer than H; None: no projection.
        layer_norm: normalise the sums of all gates, and the cell.

    Raises:
        InputError: a size that is not positive, a forget_bias that is not a number, heads that do not divide hidden_size, an
            unknown activation, or two fields that exclude each other.

    Example:
        >>> cell = LSTM(input_size=2, hidden_size=3)
        >>> params = cell.init(jax.random.key(0))
        >>> state, y = cell.step(params, cell.initial_state(params), jnp.ones(2))
        >>> state.c.shape, y.shape
        ((3,), (3,))

    Hochreiter, Schmidhuber 1997; Gers, Schmidhuber, Cummins 2000 (the forget gate, peepholes);
    Jozefowicz, Zaremba, Sutskever 2015 (its bias of 1); Beck et al. 2024, arXiv:2405.04517 (heads); Greff et al. 2015,
    arXiv:1503.04069 (the variants); Sak, Senior, Beaufays 2014, arXiv:1402.1128 (the projection); Ba, Kiros, Hinton 2016,
    arXiv:1607.06450 (layer_norm).
    """

    _: dataclasses.KW_ONLY
    forget_bias: float = 1.0
    heads: int = 1
    input_gate: bool = True
    forget_gate: bool = True
    output_gate: bool = True
    coupled: bool = False
    input_activation: str = "tanh"
    output_activation: str = "tanh"
    peepholes: bool = False
    gate_recurrence: bool = False
    projection_size: int | None = None
    layer_norm: bool = False

    input_kernels: ClassVar[tuple[str, ...]] = ("input_kernel",)

    def __post_init__(self):
        super().__post_init__()
        check_heads(self, self.heads, hidden_size=self.hidden_size)
        check_number(self, forget_bias=self.forget_bias)
        check_choice(self, tuple(ACTIVATIONS), input_activation=self.input_activation, output_activation=self.output_activation)
        flags = ("input_gate", "forget_gate", "output_gate", "coupled", "peepholes", "gate_recurrence", "layer_norm")
        check_flag(self, **{name: getattr(self, name) for name in flags})
        for gate in ("input_gate", "forget_gate"):
            if self.coupled and not getattr(self, gate):
                refuse_together(self, "coupled", gate, "f = 1 - i needs both gates")
        for name in ("peepholes", "gate_recurrence"):
            if getattr(self, name) and not self._sigmoids:
                refuse_together(self, name, "output_gate", "no gate is left, since the input and forget gates are fixed too")
        for name in ("gate_recurrence", "projection_size", "layer_norm"):
            if getattr(self, name) and self.heads > 1:
                refuse_together(self, name, "heads", "heads read their own units only")
        if self.projection_size is not None:
            check_size(self, projection_size=self.projection_size)
            if self.projection_size >= self.hidden_size:
                refuse_together(self, "projection_size", "hidden_size", "a projection has fewer units than the cell")

    @property
    def gates(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The gates that have parameters, in their order."""
        fixed = {"i": not self.input_gate, "f": self.coupled or not self.forget_gate, "g": False, "o": not self.output_gate}
        return tuple(gate for gate, is_fixed in fixed.items() if not is_fixed)

    @property
    def _sigmoids(self) -> tuple[str, ...]:
        """The gates without g, which is the input of the cell."""
        return tuple(gate for gate in self.gates if gate != "g")

    @property
    def gates_of(self) -> dict[str, tuple[str, ...]]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The gates that the parameters of variants hold."""
        return dict.fromkeys(("peepholes", "gate_recurrent_kernel"), self._sigmoids)

    @property
    def output_size(self) -> int:
        """Units of the output: P if projected, else H."""
        return self.projection_size or self.hidden_size

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, nH], `recurrent_kernel` [H, nH], [P, nH] or [N, H/N, nH/N], `bias` [nH]; n gates, `i f g o` if all.

        For variants, `projection_kernel` [H, P]; for k gates without g `peepholes` [kH] and `gate_recurrent_kernel` [kH, kH]; for
        layer_norm `input_scale` [nH], `recurrent_scale` [nH], `cell_scale` [H], `cell_bias` [H].
        """
        k_input, k_recurrent = jax.random.split(key)
        k_gates, k_projection = jax.random.split(jax.random.fold_in(key, 0))
        hidden, n, k = self.hidden_size, len(self.gates), len(self._sigmoids)
        if self.projection_size is None:
            kernel = recurrent_kernel(k_recurrent, hidden, n, self.heads)
        else:
            kernel = gate_kernel("orthogonal", k_recurrent, self.projection_size, hidden, n)
        biases = {"f": self.forget_bias} | ({"i": -self.forget_bias} if self.coupled else {})
        params = {
            "input_kernel": gate_kernel("glorot", k_input, self.input_size, hidden, n),
            "recurrent_kernel": kernel,
            "bias": jnp.concatenate([jnp.full(hidden, biases.get(gate, 0), jnp.float32) for gate in self.gates]),
        }
        if self.projection_size is not None:
            params["projection_kernel"] = glorot(k_projection, (hidden, self.projection_size))
        if self.peepholes:
            params["peepholes"] = jnp.zeros(k * hidden)
        if self.gate_recurrence:
            params["gate_recurrent_kernel"] = gate_kernel("orthogonal", k_gates, k * hidden, hidden, k)
        if self.layer_norm:
            params |= {"input_scale": jnp.ones(n * hidden), "recurrent_scale": jnp.ones(n * hidden)}
            params |= {"cell_scale": jnp.ones(hidden), "cell_bias": jnp.zeros(hidden)}
        return params

    def initial_state(
        self, params: Params, batch_shape: Shape = (), *, context=None, key: Key | None = None
    ) -> LSTMState | LSTMGatesState:
        """c = 0, h = 0; with gate_recurrence the gates are 0 too."""
        dtype = at_least_float32(params["recurrent_kernel"].dtype)
        zeros = lambda size: jnp.zeros((*batch_shape, size), dtype)  # noqa: E731 - one buffer each, so that a state can be donated
        state = LSTMState(zeros(self.hidden_size), zeros(self.output_size))
        return LSTMGatesState(*state, zeros(len(self._sigmoids) * self.hidden_size)) if self.gate_recurrence else state

    def project(self, params: Params, xs: Array) -> Array:
        """W_x x + b of all n gates: [..., D] to [..., nH]."""
        if self.layer_norm:
            return layer_norm(input_product(params["input_kernel"], xs), params["input_scale"], params["bias"])
        return project_input(params, xs, bias_row_from=LSTM_BIAS_ROW)

    def recur(
        self, params: Params, state: LSTMState | LSTMGatesState, z: Array, *, dot=product, context=None
    ) -> tuple[LSTMState | LSTMGatesState, Array]:
        """The gates from z + W_h h, then c and h."""
        products = recurrent_product(dot, state.h, params["recurrent_kernel"])  # [..., nH]
        z = z + (layer_norm(products, params["recurrent_scale"]) if self.layer_norm else products)
        value = self._gate_value(params, state, z, dot)
        i, f, g = (value(gate, state.c) for gate in "ifg")  # [..., H] each; None: fixed at 1
        f = 1 - i if self.coupled else f
        c = (state.c if f is None else f * state.c) + (g if i is None else i * g)
        o = value("o", c)
        seen = layer_norm(c, params["cell_scale"], params["cell_bias"]) if self.layer_norm else c
        h = ACTIVATIONS[self.output_activation](seen)
        h = h if o is None else o * h
        h = h if self.projection_size is None else dot(h, params["projection_kernel"])  # [..., P]
        if not self.gate_recurrence:
            return LSTMState(c, h), h
        gates = [a for gate, a in (("i", i), ("f", f), ("o", o)) if gate in self.gates and a is not None]
        return LSTMGatesState(c, h, jnp.concatenate(gates, axis=-1)), h

    def _gate_value(self, params: Params, state, z: Array, dot) -> Callable[[str, Array], Any]:
        """A function of a gate and the cell that it looks into: the gate's value, [..., H], or None if it is fixed at 1."""
        kinds: dict[str, Any] = {gate: self.input_activation if gate == "g" else "s" for gate in self.gates}
        if not (self.peepholes or self.gate_recurrence):
            values = dict(zip(self.gates, gate_values(z, together=over_stack(dot), **kinds), strict=True))
            return lambda gate, c: values.get(gate)
        k, peepholes = len(self._sigmoids), {}
        sums = dict(zip(self.gates, jnp.split(z, len(self.gates), axis=-1), strict=True))  # [..., H] each
        if self.gate_recurrence:
            products = jnp.split(dot(state.gates, params["gate_recurrent_kernel"]), k, axis=-1)  # [..., H] each
            sums |= {gate: sums[gate] + a for gate, a in zip(self._sigmoids, products, strict=True)}
        if self.peepholes:
            peepholes = dict(zip(self._sigmoids, jnp.split(params["peepholes"].astype(z.dtype), k), strict=True))  # [H] each

        def value(gate, c):
            if gate not in sums:
                return None
            seen = jnp.broadcast_to(peepholes[gate], c.shape) * c if gate in peepholes else None
            [squashed] = gate_values(sums[gate] if seen is None else sums[gate] + seen, **{gate: kinds[gate]})
            return squashed

        return value
