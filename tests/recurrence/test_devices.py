"""Eight simulated devices give the losses and gradients of one, in every way that JAX shards rows."""

import dataclasses
import json
import os
import re

import jax
import jax.numpy as jnp
import pytest

from seqjax import LSTM, CompositeCell
from seqjax.products import product
from seqjax.testing.case import Case
from seqjax.testing.devices import law_devices
from tests.recurrence.eight_devices import CASES

MODES = ("explicit", "automatic", "shard_map")
EVERY = [*(f"{mode}:{name}" for mode in MODES for name in CASES if (mode, name) != ("shard_map", "dropout")), "pmap:lstm"]
MODELS = ("language_model_large", "bahdanau", "pooling_mean", "frames_margin", "multi_lstm")
EVERY += [f"{mode}:{name}" for mode in MODES for name in MODELS]


@pytest.mark.parametrize(
    "tasks",
    [pytest.param(EVERY, id="every", marks=pytest.mark.slow), pytest.param([f"{mode}:lstm" for mode in MODES], id="lstm")],
)
def test_losses_and_gradients_of_eight_devices_are_those_of_one(tasks, as_user):
    devices = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    precision = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    done = as_user("-W", "ignore", "-m", "tests.recurrence.eight_devices", *tasks, env=os.environ | devices | precision)
    assert done.returncode == 0, done.stderr
    gaps = json.loads(done.stdout.splitlines()[-1])
    assert list(gaps) == tasks
    assert {task: gap for task, gap in gaps.items() if not gap <= 1e-5} == {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnLoop(CompositeCell):
    """Runs its own loop, from a carry that varies as the inputs do, or from one that is made afresh."""

    varies: bool
    input_shape = property(lambda self: (2,))

    def init(self, key):
        return {}

    def initial_state(self, params, batch_shape=(), *, context=None, key=None):
        return jnp.zeros((*batch_shape, 2))

    def recur(self, params, state, z, *, dot=product, context=None):
        return state + z, state + z

    def unroll(self, params, xs, state, **options):
        zeros = jnp.zeros_like(state) if self.varies else jnp.zeros(state.shape)
        total, ys = jax.lax.scan(lambda carry, x: (carry + x, carry + x), zeros, jnp.swapaxes(xs, 0, 1))
        return state + total, jnp.swapaxes(ys, 0, 1)


def test_the_law_of_devices_finds_a_loop_whose_carry_does_not_vary_as_its_inputs():
    law_devices(Case(OwnLoop(varies=True), None, False))
    with pytest.raises(TypeError, match="scan body function carry input and carry output must have equal types"):
        law_devices(Case(OwnLoop(varies=False), None, False))


def test_forward_programs_hold_operations_of_jax_alone():
    cell = LSTM(input_size=2, hidden_size=3)
    params = jax.eval_shape(cell.init, jax.random.key(0))
    program = jax.make_jaxpr(lambda params, x: cell.step(params, cell.initial_state(params), x))(params, jnp.zeros(2))
    assert {"dot_general", "tanh"} <= set(re.findall(r"\w+", str(program)))
    assert not {"product", "linear_map"} & {equation.primitive.name for equation in program.eqns}
