"""One step of training, jitted over a data mesh."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.noise import reseed
from seqjax.placement import automatic
from seqjax.train import mesh as meshes
from seqjax.train.state import NO_TROUBLE, TrainState, is_key, shardings
from seqjax.types import Array

_SMOOTHING = 0.001


def make_train_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh | None = None,
    loss_scale: Literal["mean", "sum"] = "mean",
) -> Callable[[TrainState, dict], TrainState]:
    """A jitted training step over a data mesh; the mean is over the global batch, whatever the number of devices.

    The gradient is that of the mean loss ("mean"), or of the loss summed over the steps and averaged over the rows ("sum",
    as in min-char-rnn). No gradient passes into the carry: truncated backpropagation through time (Williams and Peng
    1990). A step whose loss or gradient is not finite leaves the carry and the summed figures unchanged.

    Args:
        model: the model to train.
        optimizer: an optax transformation.
        mesh: returned by `data_mesh`, or another with the axis "data"; None: one device.
        loss_scale: "mean" or "sum".

    Returns:
        step(state, batch) -> state. The input state is donated: its arrays are deleted.

    Raises:
        InputError: loss_scale is neither "mean" nor "sum".

    Example:
        >>> from seqjax.cells.elman import Elman
        >>> from seqjax.models.language_model import LanguageModel
        >>> from seqjax.train.state import init_state
        >>> model = LanguageModel(vocabulary_size=3, cell=Elman(input_size=3, hidden_size=2))
        >>> optimizer = optax.sgd(0.1)
        >>> tokens = jnp.array([[0, 1, 2], [2, 1, 0]])
        >>> step = make_train_step(model, optimizer)
        >>> state = step(init_state(model, optimizer, batch_size=2, seed=0), {"tokens": tokens, "target": tokens})
        >>> int(state.step), int(state.loss.weight)
        (1, 6)
    """
    if loss_scale not in ("mean", "sum"):
        raise InputError(f'loss_scale is {loss_scale!r}, it must be "mean" or "sum"')
    mesh = meshes.one_device(mesh)
    placed = shardings(mesh)

    def objective(params, state: TrainState, batch):
        carry, outputs = model.apply(params, batch, state=state.carry, key=jax.random.fold_in(state.key, state.step))
        figures = model.figures(outputs, batch)
        loss, figures = figures["loss"], {name: figures[name] for name in state.figures}
        per_row = loss.sum / jax.tree.leaves(batch)[0].shape[0]
        return (loss.mean if loss_scale == "mean" else per_row), (reseed(carry, None), figures)

    def step(state: TrainState, batch) -> TrainState:
        (_, (carry, figures)), grads = jax.value_and_grad(objective, has_aux=True)(state.params, state, batch)
        figures = jax.tree.map(lambda total: total.astype(state.smooth.dtype), figures)
        loss = figures["loss"]
        bad = ~jnp.stack([_finite(grad) for grad in jax.tree.leaves(grads)])
        # If the loss is not finite, every gradient is set to NaN, so that the optimizer skips the step.
        grads = jax.tree.map(lambda grad: jnp.where(_finite(loss.sum), grad, jnp.full_like(grad, jnp.nan)), grads)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)

        broken = ~jnp.stack([_finite(leaf) for leaf in jax.tree.leaves(params)]).all()
        wrong = bad.any() | ~_finite(loss.sum) | broken
        leaf = jnp.where(bad.any(), jnp.argmax(bad).astype(jnp.int32), -1)
        first = jnp.where(state.trouble[0] < 0, jnp.stack([state.step, leaf]), state.trouble[:2])
        trouble = jnp.append(first, broken.astype(jnp.int32))

        smooth = (1 - _SMOOTHING) * state.smooth + _SMOOTHING * loss.mean
        new = state._replace(
            params=params,
            opt_state=opt_state,
            carry=_keep(wrong, state.carry, carry),
            figures=_keep(wrong, state.figures, jax.tree.map(jnp.add, state.figures, figures)),
            smooth=_keep(wrong, state.smooth, jnp.where(state.step == 0, loss.mean, smooth)),
            trouble=_keep(~wrong, jnp.array(NO_TROUBLE, jnp.int32), trouble),
        )
        new = new._replace(step=state.step + 1)
        # Explicit dtypes: returning a weak type would make the second step compile again.
        return jax.tree.map(lambda a, old: a if is_key(a) else jax.lax.convert_element_type(a, old.dtype), new, state)

    return jax.jit(
        lambda state, batch: automatic(step, state, batch, shardings=placed),
        donate_argnums=0,
        in_shardings=(placed, meshes.rows(mesh)),
        out_shardings=placed,
    )


def _finite(array) -> Array:
    return jnp.isfinite(array).all()


def _keep(flag, if_true, if_false):
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), if_true, if_false)
