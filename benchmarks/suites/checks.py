"""The checks of `seqjax.unroll`: a tiny call outside of jit, where its arguments are checked, beside the same call inside.

The difference of the two times is what checking costs. Both run the same compiled loop.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import seqjax
from benchmarks.harness import REFERENCE, Work
from benchmarks.network import Network, make_weights
from benchmarks.peers.seqjax import build as build_cell
from benchmarks.peers.seqjax import params_of
from benchmarks.pictures import bars
from benchmarks.suites import Case, Entries, Selection

TITLE = "the checks of a call of unroll"
SHAPED = False
TABLES = ("time",)
PICTURE = bars
T, B, D, H = 4, 2, 3, 4
LENGTHS = np.array([4, 2], np.int32)


def cases(selection: Selection) -> list[Case]:
    facts = {"mode": "forward", "T": T, "B": B, "D": D, "H": H}
    return [Case({"cell": cell} | facts, functools.partial(build, cell)) for cell in selection.cells]


def build(name: str) -> Entries:
    network = Network(name, D, H)
    cell, params = build_cell(network), jax.tree.map(jnp.asarray, params_of(network, make_weights(network)))
    xs = jnp.asarray(np.sin(np.arange(B * T * D)).reshape(B, T, D), jnp.float32)

    def unroll(params, xs, lengths):
        return seqjax.unroll(cell, params, xs, lengths=lengths)[1]

    def work(function) -> Work:
        return Work(lambda: jax.block_until_ready(function(params, xs, LENGTHS)), lambda ys: {"outputs": np.asarray(ys)})

    return {REFERENCE: work(jax.jit(unroll)), "outside of jit, with checks": work(unroll)}, {}
