"""The quasi-recurrent network's pooling."""

import dataclasses

import jax.numpy as jnp

from seqjax.cells.linear_gates import GatedLinearCell
from seqjax.checks import check_choice
from seqjax.gates import gate_values
from seqjax.serial import register
from seqjax.types import Array, Key, Params

_GATES = {"f": ("n", "f"), "fo": ("n", "f", "o"), "ifo": ("n", "i", "f", "o")}


@register
@dataclasses.dataclass(frozen=True)
class QRNN(GatedLinearCell):
    """The quasi-recurrent network with a window of one step: gates of the input, and a linear recurrence that pools them.

        n = tanh(W_n x + b_n),  i, f, o = s(W_i x + b_i), s(W_f x + b_f), s(W_o x + b_o)
        "f":    c = f * c + (1 - f) * n,   y = c
        "fo":   c = f * c + (1 - f) * n,   y = o * c
        "ifo":  c = f * c + i * n,         y = o * c

    For a window of k steps, put a causal convolution before it: Chain((Convolution(input_size=D, features=F, widths=(k,),
    causal=True, activation="linear"), QRNN(F, H))), whose kernel over the window is the product of W and the convolution's.

    Args:
        input_size: D, features of one step (or symbols, for integer tokens).
        hidden_size: H.
        pooling: "f", "fo" or "ifo".

    Raises:
        InputError: a size that is not positive, or an unknown pooling.

    Example:
        >>> import jax
        >>> cell = QRNN(input_size=2, hidden_size=3, pooling="ifo")
        >>> params = cell.init(jax.random.key(0))
        >>> cell.gates, params["input_kernel"].shape
        (('n', 'i', 'f', 'o'), (2, 12))

    Bradbury, Merity, Xiong, Socher 2016, arXiv:1611.01576.
    """

    _: dataclasses.KW_ONLY
    pooling: str = "fo"

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, tuple(_GATES), pooling=self.pooling)

    @property
    def gates(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return _GATES[self.pooling]

    def init(self, key: Key) -> Params:
        """`input_kernel` [D, nH], `bias` [nH] of the gates n and f, and, where pooling has them, i and o."""
        return super().init(key)

    def elements(self, params: Params, z: Array) -> tuple[Array, Array]:
        """f, and (1 - f) n or i n."""
        n, *i, f = self._parts(z)[: len(self.gates) - (self.pooling != "f")]
        ((n,), (f,)) = gate_values(n, n="t"), gate_values(f, f="s")
        (i,) = gate_values(i[0], i="s") if i else (1 - f,)
        return f, i * n

    def readout(self, params: Params, h: Array, z: Array) -> Array:
        """c or o c."""
        return h if self.pooling == "f" else gate_values(self._parts(z)[-1], o="s")[0] * h

    def _parts(self, z: Array) -> list[Array]:
        return jnp.split(z, len(self.gates), axis=-1)
