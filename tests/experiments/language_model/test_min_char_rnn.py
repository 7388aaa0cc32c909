"""The preset min_char_rnn is the 112-line program of the slides (Karpathy 2015), whose rule is written out here in NumPy.

The program is chaotic on many texts: Adagrad's first steps are 0.1 in every weight, whatever the gradient, and a
difference in the sixteenth digit grows to 1e-3 in 60 steps. On the text below it does not grow.
"""

import dataclasses
import random
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.language_model.config import PRESETS, build_model
from experiments.language_model.text import load_text
from seqjax.train.optim import make_optimizer
from seqjax.train.state import init_state
from seqjax.train.step import make_train_step

STEPS = 100


class Original:
    """The original program: weights (stored output x input), Adagrad's memory, and one iteration of its loop."""

    rate, length, bound = 0.1, 25, 5.0

    def __init__(self, symbols, hidden):
        draw = np.random.default_rng(0)
        shapes = {"Wxh": (hidden, symbols), "Whh": (hidden, hidden), "Why": (symbols, hidden)}
        self.weights = {name: 0.01 * draw.standard_normal(shape) for name, shape in shapes.items()}
        self.weights |= {"bh": np.zeros(hidden), "by": np.zeros(symbols)}
        self.memory = {name: np.zeros_like(weight) for name, weight in self.weights.items()}
        self.h = np.zeros(hidden)
        self.clipped = 0

    def turn(self, inputs, targets):
        """One update; returns the loss summed over the 25 symbols."""
        Wxh, Whh, Why, bh, by = (self.weights[name] for name in ("Wxh", "Whh", "Why", "bh", "by"))
        hs, ps, loss = [self.h], [], 0.0
        for symbol, target in zip(inputs, targets, strict=True):
            hs.append(np.tanh(Wxh[:, symbol] + Whh @ hs[-1] + bh))
            y = Why @ hs[-1] + by
            ps.append(np.exp(y) / np.exp(y).sum())
            loss -= np.log(ps[-1][target])

        grads = {name: np.zeros_like(weight) for name, weight in self.weights.items()}
        from_later = np.zeros_like(self.h)
        for t in reversed(range(len(inputs))):
            dy = ps[t].copy()
            dy[targets[t]] -= 1
            dh = Why.T @ dy + from_later
            raw = (1 - hs[t + 1] ** 2) * dh
            grads["Why"] += np.outer(dy, hs[t + 1])
            grads["by"] += dy
            grads["bh"] += raw
            grads["Wxh"][:, inputs[t]] += raw
            grads["Whh"] += np.outer(raw, hs[t])
            from_later = Whh.T @ raw

        self.clipped += any((np.abs(grad) > self.bound).any() for grad in grads.values())
        for name, grad in grads.items():
            grad = np.clip(grad, -self.bound, self.bound)
            self.memory[name] += grad * grad
            self.weights[name] -= self.rate * grad / np.sqrt(self.memory[name] + 1e-8)
        self.h = hs[-1]
        return loss


def as_params(weights):
    """The original's weights in the model's tree."""
    cell = {"input_kernel": weights["Wxh"].T, "recurrent_kernel": weights["Whh"].T, "bias": weights["bh"]}
    return {"cell": {"0": cell}, "projection": {"kernel": weights["Why"].T, "bias": weights["by"]}}


@pytest.fixture
def some_text(tmp_path):
    """Words, and runs of one letter that make gradients large."""
    draw = random.Random(0)
    words = re.findall(r"\w+", "the cat sat on a mat and saw two birds fly over old hills while rain fell")
    pieces = (draw.choice(words) if draw.random() < 0.8 else draw.choice("aeiou") * 30 for _ in range(700))
    path = tmp_path / "text.txt"
    path.write_text(" ".join(pieces))
    return path


@pytest.mark.slow
def test_it_is_the_original_step_for_step(some_text, x64):
    config = PRESETS["min_char_rnn"]
    text = load_text(dataclasses.replace(config.data, path=str(some_text)))
    stream, symbols = text.stream(config.data, config.seed), text.tokens("train")
    assert stream.steps_per_epoch > STEPS  # after an epoch, the original returns to the beginning and this stream does not
    model = build_model(config.model, text.vocabulary)
    original = Original(len(text.vocabulary), config.model.hidden_size)
    params = jax.tree.map(jnp.asarray, as_params(original.weights))
    drawn = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, drawn)

    optimizer = make_optimizer(config.optimizer, steps=STEPS, steps_per_epoch=stream.steps_per_epoch)
    train_step = make_train_step(model, optimizer, loss_scale=config.loss_scale)
    state = init_state(model, optimizer, batch_size=config.data.batch_size, seed=config.seed, params=params)
    before = 0.0
    for step, batch in zip(range(STEPS), iter(stream), strict=False):
        p = step * original.length
        loss = original.turn(symbols[p : p + original.length], symbols[p + 1 : p + original.length + 1])
        state = train_step(state, batch)
        after = float(state.loss.sum)
        assert abs(after - before - loss) < 1e-6, f"loss of step {step}"
        before = after
        assert jax.tree.all(jax.tree.map(lambda ours: ours.dtype == jnp.float64, state.params))
        for ours, theirs in zip(jax.tree.leaves(state.params), jax.tree.leaves(as_params(original.weights)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6, err_msg=f"weights after step {step}")
        np.testing.assert_allclose(state.carry[0].h[0], original.h, rtol=0, atol=1e-6, err_msg=f"hidden state after step {step}")
    assert original.clipped > 5  # so that clipping is tested
