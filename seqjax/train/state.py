"""The state of training: everything that a step reads and writes, in one donated pytree."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from seqjax.annotations import public
from seqjax.checks import check_positive, kind_of, shown
from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.losses import Weighted
from seqjax.noise import key_of, reseed
from seqjax.serial import register
from seqjax.train import mesh as meshes
from seqjax.types import Array, Key, Params, State, at_least_float32, float_dtype

NO_TROUBLE = (-1, -1, 0)
NORMS = ("gradient_norm", "update_ratio")  # figures of every step: |gradient| before clipping, |update| / |weights|


@register
class TrainState(NamedTuple):
    """The state of training after a number of steps.

    Args:
        step: int32, [], the number of steps done.
        params: the model's parameters.
        opt_state: the optimizer's state.
        carry: the model's state after the last batch, its noise turned off; leaves [B, ...].
        key: a typed key; step n draws from `fold_in(key, n)`.
        figures: {name: Weighted}, the figures of the steps since the last log, summed; "loss" is one of them, and so are
            "gradient_norm", the L2 norm of the whole gradient before clipping, and "update_ratio", |update| / |parameters|.
        smooth: floating, [], the exponential average of the mean loss (0.999 old, 0.001 new), as min-char-rnn prints it.
        trouble: int32, [3]: the first step of the current run of non-finite steps (-1: the last step was finite); the index of
            that step's first parameter with a non-finite gradient (-1: the loss itself); 1 if the parameters are not finite.
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
    """The sharding of each part of a TrainState: the rows of the carry are split, everything else is replicated."""
    replicated: Any = meshes.everywhere(mesh)
    return TrainState(*[replicated] * len(TrainState._fields))._replace(carry=meshes.rows(mesh))


def place(mesh: Mesh, state: TrainState) -> TrainState:
    """A copy of `state` on the devices of a mesh."""
    replicated = meshes.replicate(mesh, state._replace(carry=()))
    return replicated._replace(carry=meshes.shard(mesh, state.carry))


@public
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
        seed: the seed of the parameters and of all dropout.
        params: the initial parameters, which are copied; None: drawn by `model.init`.
        batch: a training batch, from which the names of the model's figures are found; None: only the loss is summed.
        mesh: returned by `data_mesh`; None: one device.

    Returns:
        TrainState, placed on the devices.

    Raises:
        InputError: the number of devices does not divide batch_size, or the seed has more than 64 bits.

    Example:
        >>> from seqjax.cells.elman import Elman
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=3, cell=Elman(input_size=3, hidden_size=2))
        >>> state = init_state(model, optax.sgd(0.1), batch_size=4, seed=0)
        >>> int(state.step), jax.tree.leaves(state.carry)[0].shape
        (0, (4, 2))
    """
    check_model(model, optimizer)
    check_positive(batch_size=batch_size)
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
            figures=dict.fromkeys((*names, *NORMS), Weighted(zero, zero)),
            smooth=zero,
            trouble=jnp.array(NO_TROUBLE, jnp.int32),
        ),
    )


def check_model(model: Any, optimizer: Any = None):
    """Raise InputError unless these are a model and an optimizer (None: it is not needed)."""
    if isinstance(model, type) or not (hasattr(model, "apply") and hasattr(model, "figures")):
        raise InputError(f"the model is {kind_of(model)}, it must be a Model such as LanguageModel(...)")
    if optimizer is not None and not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise InputError(f"optimizer is {shown(optimizer)}, it must be an optax transformation: make_optimizer makes one")


def figure_names(model: Model, params: Params, batch: dict) -> tuple[str, ...]:
    """The names of a model's figures, the loss first; nothing is computed."""
    if type(model).figures is Model.figures:
        return ("loss",)

    def figures(params, batch):
        return model.figures(model.apply(params, batch)[1], batch)

    names = jax.eval_shape(figures, params, batch)
    return ("loss", *(name for name in names if name != "loss"))


def is_key(array) -> bool:
    """True if an array holds typed PRNG keys."""
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
