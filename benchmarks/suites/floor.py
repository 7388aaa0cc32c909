"""The matrix products alone: a bound on the speed of any layer written as hoisted products around a loop.

Forward: x W for all steps at once, then a loop of h R whose h depends on the product by a sum. Training: the loop of dz R^T too,
and dW, dR and dx as one product each. There are no gates: a layer's other work comes on top.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import REFERENCE, JaxWork
from benchmarks.network import GATES, make_weights
from benchmarks.peers import LayerTask, cast, load
from benchmarks.pictures import bars
from benchmarks.suites import Case, Entries, Selection, networks

TITLE = "the matrix products alone"
SHAPED = True
TABLES = ("ratio",)
PICTURE = bars


def cases(selection: Selection) -> list[Case]:
    return networks(selection, build=build)


def build(task: LayerTask, peers: tuple[str, ...]) -> Entries:
    return {REFERENCE: load(REFERENCE).layers(task), "products alone": products(task)}, {}


def products(task: LayerTask) -> JaxWork:
    """The products of one layer, time first. Its values are not checked: they mean nothing."""
    (weights,) = make_weights(task.network)[0]
    data, gates, precise = task.data(), GATES[task.network.cell], jnp.float32

    def multiply(a, b, of_a=(-1,), of_b=(0,)):
        contracted = tuple(axis % a.ndim for axis in of_a), tuple(axis % b.ndim for axis in of_b)
        return jax.lax.dot_general(a, b, (contracted, ((), ())), preferred_element_type=precise)

    def forward(W, R, xs):
        zs = multiply(xs, W)

        def step(h, z):
            h = sum(jnp.split(z + multiply(h.astype(R.dtype), R), gates, axis=-1)) * (0.5 / gates)
            return h, h

        return jax.lax.scan(step, jnp.zeros((xs.shape[1], R.shape[0]), precise), zs)[1].astype(xs.dtype)

    def training(W, R, xs, cotangent):
        hs = forward(W, R, xs)

        def step(dh, dy):
            dz = jnp.concatenate([dh + dy] * gates, axis=-1).astype(R.dtype)
            return multiply(dz, R, of_b=(1,)) * (0.5 / gates), dz

        _, dz = jax.lax.scan(step, jnp.zeros(hs.shape[1:], precise), cotangent, reverse=True)
        before = jnp.concatenate([jnp.zeros_like(hs[:1]), hs[:-1]])
        dW, dR = (multiply(a, dz, of_a=(0, 1), of_b=(0, 1)) for a in (xs, before))
        return hs, dW, dR, multiply(dz, W, of_b=(1,))

    arrays = weights["input_kernel"], weights["recurrent_kernel"], data.xs, data.cotangent.astype(np.float32)
    args = tuple(cast(arrays, task.network.dtype))
    function, args = (forward, args[:3]) if task.mode == "forward" else (training, args)
    return JaxWork(function=function, args=args, values=lambda out: {}, expected=dict)
