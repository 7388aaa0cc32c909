"""The state of training: all that a step reads and writes, in one donated pytree."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from seqjax.contracts import Model
from seqjax.losses import Weighted
from seqjax.noise import key_of, reseed
from seqjax.train import mesh as meshes
from seqjax.types import Array, Key, Params, State, at_least_float32, float_dtype

NO_TROUBLE = (-1, -1, 0)


class TrainState(NamedTuple):
    """The state of training after a number of steps.

    Args:
        step: int32, [], steps done.
        params: the model's.
        opt_state: the optimizer's.
        carry: the model's state after the last batch, its noise turned off; leaves [B, ...].
        key: a typed key; step n draws from `fold_in(key, n)`.
        figures: {name: Weighted}, the figures of the steps since the last log, summed; "loss" is one of them.
        smooth: floating, [], the exponential average of the mean loss (0.999 old, 0.001 new), as min-char-rnn prints it.
        trouble: int32, [3]: the first of the latest steps in a row that were not finite (-1: there is none), the index of its
            first parameter whose gradient was not (-1: the loss itself), and 1 if the parameters are no longer finite.
    """

    step: Array
    params: Params
    opt_state: Any
    carry: State
    key: Key
    figures: dict[str, Weighted]
    smooth: Array
    trouble: Array

    @property
    def loss(self) -> Weighted:
        """The loss of the steps since the last log."""
        return self.figures["loss"]


def shardings(mesh: Mesh) -> TrainState:
    """The sharding of each part of a TrainState: the carry's rows are split, everything else is everywhere."""
    whole: Any = meshes.everywhere(mesh)
    return TrainState(*[whole] * len(TrainState._fields))._replace(carry=meshes.rows(mesh))


def place(mesh: Mesh, state: TrainState) -> TrainState:
    """`state` copied onto the devices of a mesh."""
    whole = meshes.replicate(mesh, state._replace(carry=()))
    return whole._replace(carry=meshes.shard(mesh, state.carry))


def init_state(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    batch_size: int,
    seed: int,
    params: Params | None = None,
    batch: dict | None = None,
    mesh: Mesh | None = None,
) -> TrainState:
    """The state before the first step.

    Args:
        model: the model to train.
        optimizer: an optax transformation.
        batch_size: rows B of every batch, over all devices.
        seed: of the parameters and of all dropout.
        params: start from these (they are copied); None: `model.init`.
        batch: of the training data, to learn the names of the model's figures from; None: the loss alone is summed.
        mesh: returned by `data_mesh`; None: one device.

    Returns:
        TrainState, placed on the devices.

    Raises:
        InputError: batch_size does not divide by the number of devices, or a seed of more than 64 bits.

    Example:
        >>> from seqjax.cells.elman import Elman
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=3, cell=Elman(input_size=3, hidden_size=2))
        >>> state = init_state(model, optax.sgd(0.1), batch_size=4, seed=0)
        >>> int(state.step), jax.tree.leaves(state.carry)[0].shape
        (0, (4, 2))
    """
    mesh = meshes.one_device(mesh)
    meshes.check_rows(mesh, batch_size)
    init_key, key = jax.random.split(key_of(seed))
    params = model.init(init_key) if params is None else params
    names = ("loss",) if batch is None else figure_names(model, params, batch)
    zero = jnp.zeros((), at_least_float32(float_dtype(params)))
    return place(
        mesh,
        TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer.init(params),
            carry=reseed(model.initial_state(params, batch_size), None),
            key=key,
            figures=dict.fromkeys(names, Weighted(zero, zero)),
            smooth=zero,
            trouble=jnp.array(NO_TROUBLE, jnp.int32),
        ),
    )


def figure_names(model: Model, params: Params, batch: dict) -> tuple[str, ...]:
    """The names of a model's figures, the loss first; nothing is computed."""
    if type(model).figures is Model.figures:
        return ("loss",)

    def figures(params, batch):
        return model.figures(model.apply(params, batch)[1], batch)

    names = jax.eval_shape(figures, params, batch)
    return ("loss", *(name for name in names if name != "loss"))
