"""One step of training and of evaluation, jitted over a data mesh."""

from collections.abc import Callable, Iterable
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.losses import Weighted
from seqjax.noise import reseed
from seqjax.train import mesh as meshes
from seqjax.train.state import NO_TROUBLE, TrainState, shardings
from seqjax.types import Array, Params, State

_SMOOTHING = 0.001


def make_train_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh | None = None,
    loss_scale: Literal["mean", "sum"] = "mean",
) -> Callable[[TrainState, dict], TrainState]:
    """A jitted training step over a data mesh: the mean over the global batch, whatever the number of devices.

    The gradient is of the loss in nats per token ("mean"), or of its sum over the steps, per row ("sum"): min-char-rnn's.
    No gradient passes into the carry: truncated backpropagation through time (Williams and Peng 1990). A step whose loss
    or gradient is not finite leaves the carry and the sums as they were.

    Args:
        model: what is trained.
        optimizer: an optax transformation.
        mesh: of `data_mesh`; None: one device.
        loss_scale: "mean" or "sum".

    Returns:
        step(state, batch) -> state. The state that goes in is donated: its arrays are gone afterwards.

    Raises:
        InputError: another loss_scale.

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
        loss = model.loss(outputs, batch)
        per_row = loss.sum / jax.tree.leaves(batch)[0].shape[0]
        return (loss.mean if loss_scale == "mean" else per_row), (reseed(carry, None), loss)

    def step(state: TrainState, batch) -> TrainState:
        (_, (carry, loss)), grads = jax.value_and_grad(objective, has_aux=True)(state.params, state, batch)
        loss = Weighted(loss.sum.astype(state.smooth.dtype), loss.weight.astype(state.smooth.dtype))
        bad = ~jnp.stack([_finite(grad) for grad in jax.tree.leaves(grads)])
        # A loss that is not finite makes every gradient so, and the optimizer skips the step.
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
            loss=_keep(wrong, state.loss, state.loss + loss),
            smooth=_keep(wrong, state.smooth, jnp.where(state.step == 0, loss.mean, smooth)),
            trouble=_keep(~wrong, jnp.array(NO_TROUBLE, jnp.int32), trouble),
        )
        new = new._replace(step=state.step + 1)
        # Explicit dtypes: a weak type that came back would compile the second step again.
        return jax.tree.map(lambda a, old: a if _is_key(a) else jax.lax.convert_element_type(a, old.dtype), new, state)

    return jax.jit(step, donate_argnums=0, in_shardings=(placed, meshes.rows(mesh)), out_shardings=placed)


def _finite(array) -> Array:
    return jnp.isfinite(array).all()


def _keep(flag, if_true, if_false):
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), if_true, if_false)


def _is_key(array) -> bool:
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def make_eval_step(model: Model, *, mesh: Mesh | None = None) -> Callable[[Params, State, dict], tuple[State, Weighted]]:
    """A jitted evaluation step, without noise.

    Args:
        model: what is evaluated.
        mesh: of `data_mesh`; None: one device.

    Returns:
        eval_step(params, carry, batch) -> (carry, Weighted).

    Example:
        >>> from seqjax.cells.elman import Elman
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=3, cell=Elman(input_size=3, hidden_size=2))
        >>> params, tokens = model.init(jax.random.key(0)), jnp.array([[0, 1, 2]])
        >>> carry, loss = make_eval_step(model)(params, model.initial_state(params, 1), {"tokens": tokens, "target": tokens})
        >>> float(loss.weight)
        3.0
    """
    mesh = meshes.one_device(mesh)
    rows, everywhere = meshes.rows(mesh), meshes.everywhere(mesh)

    def eval_step(params, carry, batch):
        carry, outputs = model.apply(params, batch, state=carry)
        return carry, model.loss(outputs, batch)

    return jax.jit(eval_step, in_shardings=(everywhere, rows, rows), out_shardings=(rows, everywhere))


def evaluate(eval_step, model: Model, params: Params, batches: Iterable[dict]) -> float:
    """The loss over all of `batches`, exact over every target: `sum of nats / number of targets`, added in float64.

    Args:
        eval_step: of `make_eval_step`.
        model: the same model.
        params: its parameters.
        batches: a finite iterable of batches of B rows each; the state is carried from one to the next.

    Returns:
        Nats per token.

    Raises:
        InputError: there is no batch, or none has a target.

    Example:
        >>> from seqjax.cells.elman import Elman
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=3, cell=Elman(input_size=3, hidden_size=2))
        >>> params, tokens = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0))), jnp.array([[0, 1, 2]])
        >>> round(evaluate(make_eval_step(model), model, params, [{"tokens": tokens, "target": tokens}]), 4)  # log 3
        1.0986
    """
    carry, losses = None, []
    for batch in batches:
        if carry is None:
            rows = jax.tree.leaves(batch)[0].shape[0]
            carry = jax.device_get(model.initial_state(params, rows))
        carry, loss = eval_step(params, carry, batch)
        losses.append(loss)
    sums = [(float(loss.sum), float(loss.weight)) for loss in jax.device_get(losses)]  # the only wait
    weight = sum(weight for _, weight in sums)
    if not weight:
        raise InputError(f"nothing to evaluate: {len(sums)} batches without a target")
    return sum(total for total, _ in sums) / weight
