"""Predictors of numbers: the loss by hand, series continued by their own predictions, and wrong batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, Bidirectional, Elman, InputError
from seqjax.data.synthetic import Fibonacci
from seqjax.models import Features, Regressor, Symbols

GRU_2_3 = GRU(input_size=2, hidden_size=3)
MODEL = Regressor(encoder=Features(size=2, cell=GRU_2_3), outputs=2)
PARAMS = MODEL.init(jax.random.key(0))
XS = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
BATCH = {"features": XS, "features_lengths": np.array([4, 2], np.int32), "target": np.ones((2, 4, 2), np.float32)}


def test_a_network_that_adds_continues_fibonacci():
    """h = relu((x, previous x)), y = x + previous x, on sequences that the network has never seen."""
    model = Regressor(encoder=Features(size=1, cell=Elman(input_size=1, hidden_size=2, activation="relu")), outputs=1)
    cell = {"input_kernel": [[1.0, 0.0]], "recurrent_kernel": [[0.0, 1.0], [0.0, 0.0]], "bias": [0.0, 0.0]}
    params = jax.tree.map(jnp.asarray, {"encoder": cell, "output": {"0": {"kernel": [[1.0], [1.0]], "bias": [0.0]}}},
                          is_leaf=lambda value: isinstance(value, list))  # fmt: skip
    batch = Fibonacci(steps=12, shortest=12).draw(np.random.default_rng(0), 3)
    outputs = jax.jit(model.apply)(params, batch)[1]
    assert float(model.loss(outputs, batch).mean) < 1e-12
    begun = {"features": batch["features"], "features_lengths": np.array([2, 5, 3], np.int32)}
    continued = np.asarray(model.generate(params, begun, 7))
    for row, length in enumerate(begun["features_lengths"]):
        np.testing.assert_allclose(continued[row], batch["target"][row, length - 1 : length + 6], rtol=1e-5)


def test_the_loss_counts_numbers_where_there_is_a_target():
    outputs = jax.jit(MODEL.apply)(PARAMS, BATCH)[1]
    errors = (np.asarray(outputs.values) - 1) ** 2
    for mask in (None, np.array([[True, False, True, False], [False, True, True, True]])):
        real = (np.arange(4) < BATCH["features_lengths"][:, None]) & (True if mask is None else mask)
        batch = BATCH | ({} if mask is None else {"target_mask": mask})
        loss = MODEL.loss(outputs, batch)
        np.testing.assert_allclose((loss.sum, loss.weight), (errors[real].sum(), 2 * real.sum()), rtol=1e-6)


def loss_of(target):
    return MODEL.loss(MODEL.apply(PARAMS, BATCH)[1], BATCH | {"target": target})


EMPTY = BATCH | {"features_lengths": np.array([4, 0], np.int32)}
WRONG = {
    "a target of another shape": (lambda: loss_of(np.ones((2, 4), np.float32)), "target"),
    "parameters of another model": (lambda: MODEL.generate({}, BATCH, 2), "params"),
    "no step": (lambda: MODEL.generate(PARAMS, BATCH, 0), "steps is 0"),
    "an empty series": (lambda: MODEL.generate(PARAMS, EMPTY, 2), "a series is empty"),
    "no encoder": (lambda: Regressor(encoder=GRU_2_3, outputs=2), "the encoder is a GRU"),
    "no output": (lambda: Regressor(encoder=MODEL.encoder, outputs=0), "outputs=0"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (Features(size=2, cell=GRU_2_3), "feeds the 1 numbers of a step back to the encoder, which reads \\(2,\\)"),
        (Symbols(size=2, embedding_size=None, cell=GRU_2_3), "which reads symbols"),
        (Features(size=1, cell=Bidirectional(GRU(input_size=1, hidden_size=2))), "Bidirectional reads whole sequences"),
    ],
    ids=["sizes", "symbols", "both ways"],
)
def test_only_what_is_read_can_be_generated(encoder, message):
    model = Regressor(encoder=encoder, outputs=1)
    with pytest.raises(InputError, match=message):
        model.generate(model.init(jax.random.key(0)), BATCH, 2)
