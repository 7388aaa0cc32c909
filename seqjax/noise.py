"""Randomness as a pure function of `Noise(key, count)`, a node in the state of a noisy cell.

A mask per step uses fold_in(key, count), a mask per sequence the key alone. A sequence therefore draws the same masks in one
pass, in chunks, step by step, and on any number of devices.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import export

from seqjax import serial
from seqjax.annotations import public
from seqjax.checks import check_key
from seqjax.errors import InputError
from seqjax.types import Array, Key, Shape


@public
def key_of(seed: int) -> Key:
    """The typed key of a seed; that of a seed above 32 bits is folded from both its words, so that no two seeds have equal keys.

    Raises:
        InputError: a seed that is negative, or that 63 bits cannot hold.

    Example:
        >>> key_of(10**20)
        Traceback (most recent call last):
        seqjax.errors.InputError: seed is 100000000000000000000, it must be from 0 to 9223372036854775807
    """
    if not 0 <= seed < 2**63:
        raise InputError(f"seed is {seed}, it must be from 0 to {2**63 - 1}")
    high, low = divmod(int(seed), 2**32)
    key = jax.random.key(low)
    return jax.random.fold_in(key, high) if high else key


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Noise:
    """The position of each row in its stream of random numbers.

    Args:
        key: typed keys, [*batch_shape]; None turns noise off: the cell is deterministic.
        count: int32, [*batch_shape], the real steps since the key was set.

    Returns:
        A pytree node for a cell to keep in its state; `reseed` sets it.

    Example:
        >>> Noise.off((3,)).advance().count.tolist()
        [1, 1, 1]
    """

    key: Array | None
    count: Array

    @classmethod
    def off(cls, batch_shape: Shape = ()) -> "Noise":
        """Noise without a key and with count 0, as `initial_state` makes it without a key."""
        return cls(None, jnp.zeros(batch_shape, jnp.int32))

    def advance(self) -> "Noise":
        """The noise after one more real step."""
        return Noise(self.key, self.count + 1)


export.register_pytree_node_serialization(
    Noise, serialized_name="seqjax.Noise", serialize_auxdata=lambda _: b"", deserialize_auxdata=lambda _: ()
)


_serialised: dict[str, list[type]] = {}  # the NamedTuples of each name: in a notebook a type may be defined again


def _serialise(thing):
    """Let programs of `jax.export` take and give a registered NamedTuple."""
    if not (isinstance(thing, type) and issubclass(thing, tuple)):
        return
    types = _serialised.setdefault(thing.__name__, [])
    if thing not in types:
        again = f".{len(types)}" if types else ""
        export.register_namedtuple_serialization(thing, serialized_name=f"seqjax.{thing.__name__}{again}")
        types.append(thing)


serial.watch(_serialise)


def _is_noise(node) -> bool:
    return isinstance(node, Noise)


@public
def reseed(state, key: Key | None):
    """Set every Noise in a state: the n-th gets `split(fold_in(key, n), batch_shape)` and count 0.

    Args:
        state: any pytree; everything but its Noise is returned unchanged.
        key: a typed key, or None to turn noise off; or typed keys [*batch_shape], one for each row: a row's noise is then
            that of the row alone with its key, wherever it stands in the batch.

    Returns:
        The state with its noise set.

    Example:
        >>> state = reseed((Noise.off((2,)), jnp.zeros(2)), jax.random.key(0))
        >>> state[0].key.shape, state[0].count.tolist()
        ((2,), [0, 0])
    """
    if key is not None:
        check_key("key", key)
    nodes, treedef = jax.tree.flatten(state, is_leaf=_is_noise)
    noisy = (i for i, node in enumerate(nodes) if _is_noise(node))
    for n, i in enumerate(noisy):
        shape = nodes[i].count.shape
        keys = None if key is None else _row_keys(key, n, shape)
        nodes[i] = Noise(keys, jnp.zeros(shape, jnp.int32))
    return jax.tree.unflatten(treedef, nodes)


def _row_keys(key: Key, number: int, shape: Shape) -> Array:
    """Keys [*shape] for a Noise: split from one key, or each from a row's own."""
    if not key.ndim:
        return jax.random.split(jax.random.fold_in(key, number), shape)
    if key.shape != shape:
        raise InputError(f"key has shape {key.shape}, it must be one key, or one for each row, {shape}")
    return jax.vmap(lambda row: jax.random.split(jax.random.fold_in(row, number), ()))(key.reshape(-1)).reshape(shape)


def keep_noise(new, old):
    """The state `new` with the Noise of `old`, for a reset, which does not touch noise."""
    return jax.tree.map(lambda a, b: b if _is_noise(b) else a, new, old, is_leaf=_is_noise)


def split_keys(state):
    """The pair (state without its noise keys, keys). No step changes the keys, so a loop need not carry them."""
    nodes, treedef = jax.tree.flatten(state, is_leaf=_is_noise)
    keys = [node.key for node in nodes if _is_noise(node)]
    bare = [Noise(None, node.count) if _is_noise(node) else node for node in nodes]
    return jax.tree.unflatten(treedef, bare), keys


def join_keys(state, keys):
    """The inverse of `split_keys`; the keys may have other leading axes than the counts."""
    nodes, treedef = jax.tree.flatten(state, is_leaf=_is_noise)
    keys = iter(keys)
    return jax.tree.unflatten(treedef, [Noise(next(keys), node.count) if _is_noise(node) else node for node in nodes])


def fold_counts(keys: Array, counts: Array) -> Array:
    """Fold counts into keys, element by element; keys and counts have the same shape."""
    folded = jax.vmap(jax.random.fold_in)(keys.reshape(-1), counts.reshape(-1))
    return folded.reshape(counts.shape)


def drop(keys: Array | None, rate: float, xs: Array) -> Array:
    """Inverted dropout: each entry 0 with probability `rate`, else divided by 1 - rate.

    Args:
        keys: typed keys, one per leading index of xs: key[b, t] draws the mask of xs[b, t]. None: xs is returned unchanged.
        rate: probability of a zero, 0 <= rate < 1.
        xs: floating, [*keys.shape, ...].

    Returns:
        An array of the shape and dtype of xs.

    Example:
        >>> drop(None, 0.5, jnp.ones(2)).tolist()
        [1.0, 1.0]

    Srivastava et al. 2014.
    """
    if keys is None or rate == 0:
        return xs
    scaled = xs * jnp.asarray(1 / (1 - rate), xs.dtype)
    return jnp.where(chosen(keys, rate, xs.shape), jnp.zeros((), xs.dtype), scaled)


def chosen(keys: Array, rate: float, shape: Shape) -> Array:
    """Flags, bool [*shape], each True with probability `rate`: keys[i], of the leading axes of the shape, draw flags[i]."""
    draw = jax.vmap(lambda key: jax.random.bits(key, shape[keys.ndim :], jnp.uint32))
    return draw(keys.reshape(-1)).reshape(shape) < jnp.uint32(round(rate * (2**32 - 1)))
