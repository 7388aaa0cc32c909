"""Eight simulated devices, over automatic or explicit axes, train as one does: real cells, unequal lengths, every dropout."""

import json
import os

import pytest

from tests.conftest import ROOT

PROGRAM = """
import dataclasses, json, sys
import jax, jax.numpy as jnp, numpy as np, optax
import seqjax, seqjax.masks
from seqjax.losses import cross_entropy
from seqjax.train.mesh import data_mesh, shard
from seqjax.train.state import init_state
from seqjax.train.step import make_train_step

DTYPE, AXES = sys.argv[1:]
optimizer = optax.sgd(0.5) if DTYPE == "float32" else optax.adam(1e-2)
cells = (
    seqjax.Dropout(0.2),
    seqjax.LSTM(input_size=6, hidden_size=8),
    seqjax.Dropout(0.2, per="sequence"),
    seqjax.RecurrentDropout(seqjax.GRU(input_size=8, hidden_size=8), 0.3),
)
layers = seqjax.Chain((seqjax.Stack(cells), seqjax.Bidirectional(seqjax.Elman(input_size=8, hidden_size=4)), seqjax.Dense(8, 5)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tagger(seqjax.Model):
    def init(self, key):
        return jax.tree.map(lambda a: a.astype(DTYPE), layers.init(key))

    def apply(self, params, batch, *, state=None, key=None):
        return (), seqjax.unroll(layers, params, batch["xs"], lengths=batch["lengths"], key=key)[1]

    def loss(self, outputs, batch):
        mask = seqjax.masks.from_lengths(batch["lengths"], outputs.shape[1])
        return cross_entropy(outputs, batch["target"], mask)


def losses(mesh):
    model = Tagger()
    state = init_state(model, optimizer, batch_size=32, seed=0, mesh=mesh)
    step = make_train_step(model, optimizer, mesh=mesh)
    rng, values, before = np.random.default_rng(0), [], 0.0
    for _ in range(20):
        batch = {
            "xs": rng.normal(size=(32, 7, 6)).astype(DTYPE),
            "target": rng.integers(0, 5, (32, 7)).astype(np.int32),
            "lengths": rng.integers(0, 8, 32).astype(np.int32),
        }
        state = step(state, batch if mesh is None else shard(mesh, batch))
        total = float(state.loss.sum)
        values.append(total - before)
        before = total
    return values


mesh = data_mesh() if AXES == "automatic" else jax.make_mesh((8,), ("data",))
print(json.dumps([losses(None), losses(mesh)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "axes", "tolerance"),
    [pytest.param("float32", "automatic", 1e-5, marks=pytest.mark.slow), ("float64", "explicit", 1e-9)],
)
def test_losses_of_one_device_and_of_eight_are_the_same(dtype, axes, tolerance, as_user, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    devices = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    precision = {"JAX_ENABLE_X64": str(dtype == "float64"), "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    done = as_user("program.py", dtype, axes, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)} | devices | precision)
    assert done.returncode == 0, done.stderr
    one, eight = json.loads(done.stdout.splitlines()[-1])
    assert len(one) == 20
    assert len({round(loss, 3) for loss in one}) > 10  # they change
    assert all(abs(a - b) <= tolerance * abs(a) for a, b in zip(one, eight, strict=True)), list(zip(one, eight, strict=True))
