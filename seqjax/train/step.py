"""One step of training, jitted over a data mesh."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from seqjax.annotations import public
from seqjax.contracts import Model
from seqjax.noise import reseed
from seqjax.placement import automatic
from seqjax.train import mesh as meshes
from seqjax.train.state import NO_TROUBLE, NORMS, TrainState, check_model, is_key, shardings
from seqjax.tree import cast_floating
from seqjax.types import Array
from seqjax.weighted import Weighted

_SMOOTHING = 0.001


@public
def make_train_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh | None = None,
    loss_scale: Literal["mean", "sum"] = "mean",
    accumulate: int = 1,
    dtype=None,
) -> Callable[[TrainState, dict], TrainState]:
    """A jitted training step over a data mesh; the mean is over the global batch, whatever the number of devices.

    The gradient is that of the mean loss ("mean"), or of the loss summed over the steps and averaged over the rows ("sum",
    as in min-char-rnn). No gradient passes into the carry: truncated backpropagation through time (Williams and Peng
    1990). A step whose loss or gradient is not finite leaves the carry and the summed figures unchanged.

    With `accumulate` N, the rows of a batch are divided into N parts, each with its own rows of the carry, and the gradients of
    their summed losses are added up one after another and divided by the weight of the whole batch. Lengths may differ from
    part to part: the gradient is that of the whole batch, in the memory of one part (dropout draws other masks; the weight of
    the loss must not depend on the parameters).

    Args:
        model: the model to train.
        optimizer: an optax transformation.
        mesh: returned by `data_mesh`, or another with the axis "data"; None: one device.
        loss_scale: "mean" or "sum".
        accumulate: N, the number of parts; it divides the rows on each device.
        dtype: None, or the dtype that the parameters are cast to for the forward and the backward pass, such as jnp.bfloat16;
            the optimizer, the parameters it updates, states and losses keep theirs (Micikevicius et al. 2018).

    Returns:
        step(state, batch) -> state. The input state is donated: its arrays are deleted.

    Raises:
        InputError: loss_scale is neither "mean" nor "sum", or the rows of a batch cannot be divided into N parts.

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
    check_model(model, optimizer)
    mesh = meshes.one_device(mesh)
    placed = shardings(mesh)

    def summed(params, state: TrainState, carry, batch, key):
        """The summed loss; and the next carry, and the figures."""
        params = params if dtype is None else cast_floating(params, dtype)
        carry, outputs = model.apply(params, batch, state=carry, key=key)
        figures = model.figures(outputs, batch)
        figures = {name: figures[name] for name in state.figures if name not in NORMS}
        figures = jax.tree.map(lambda total: total.astype(state.smooth.dtype), figures)
        return figures["loss"].sum, (reseed(carry, None), figures)

    def divided(loss: Weighted, batch) -> Array:
        return loss.mean if loss_scale == "mean" else loss.sum / jax.tree.leaves(batch)[0].shape[0]

    def objective(params, state: TrainState, batch, key):
        _, (carry, figures) = summed(params, state, state.carry, batch, key)
        return divided(figures["loss"], batch), (carry, figures)

    def gradient(state: TrainState, batch):
        """The gradient of the loss; and the next carry, and the figures."""
        key = jax.random.fold_in(state.key, state.step)
        if accumulate == 1:
            (_, (carry, figures)), grads = jax.value_and_grad(objective, has_aux=True)(state.params, state, batch, key)
            return grads, carry, figures

        def part(totals, inputs):
            n, carry, batch = inputs
            args = state.params, state, carry, batch, jax.random.fold_in(key, n)
            (_, (carry, figures)), grads = jax.value_and_grad(summed, has_aux=True)(*args)
            return jax.tree.map(jnp.add, totals, (grads, figures)), carry

        meshes.check_rows(mesh, jax.tree.leaves(batch)[0].shape[0], parts=accumulate)
        none = {name: figure for name, figure in state.figures.items() if name not in NORMS}
        zeros = jax.tree.map(jnp.zeros_like, (state.params, none))
        inputs = jnp.arange(accumulate), *meshes.into_parts((state.carry, batch), accumulate)
        (grads, figures), carry = jax.lax.scan(part, zeros, inputs)
        share = divided(Weighted(jnp.ones_like(state.smooth), figures["loss"].weight), batch)
        return jax.tree.map(lambda grad: grad * share.astype(grad.dtype), grads), meshes.join_parts(carry), figures

    def step(state: TrainState, batch) -> TrainState:
        grads, carry, figures = gradient(state, batch)
        loss = figures["loss"]
        squares = jnp.stack([_square(grad, state.smooth.dtype) for grad in jax.tree.leaves(grads)])  # [parameters]
        bad = _not_finite(grads, squares)  # [parameters]
        # If the loss is not finite, every gradient is set to NaN, so that the optimizer skips the step.
        grads = jax.tree.map(lambda grad: jnp.where(_finite(loss.sum), grad, jnp.full_like(grad, jnp.nan)), grads)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        one = jnp.ones_like(state.smooth)
        moved, weights = (sum(_square(leaf, one.dtype) for leaf in jax.tree.leaves(tree)) for tree in (updates, params))
        limits = jnp.finfo(one.dtype)
        ratio = jnp.minimum(moved, limits.max) / jnp.clip(weights, limits.tiny, limits.max)
        norms = zip(NORMS, (jnp.minimum(squares.sum(), limits.max), ratio), strict=True)
        figures |= {name: Weighted(jnp.sqrt(square), one) for name, square in norms}

        broken = _not_finite(params, weights).any()
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


def _square(array, dtype) -> Array:
    """The sum of the squares."""
    return jnp.square(array.astype(dtype)).sum()


def _not_finite(tree, squares) -> Array:
    """True for every leaf that holds NaN or an infinity, [leaves].

    Finite sums of squares show this without another pass over the leaves, which is needed only where squares overflow.
    """
    leaves = jax.tree.leaves(tree)
    none = jnp.zeros(len(leaves), bool)
    return jax.lax.cond(_finite(squares), lambda _: none, lambda leaves: jnp.stack([~_finite(a) for a in leaves]), leaves)


def _keep(flag, if_true, if_false):
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), if_true, if_false)
