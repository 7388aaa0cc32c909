"""Optimizers as configurations: clip, rule, decay, learning rate, average of weights, all behind `apply_if_finite`."""

import dataclasses
import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import optax

from seqjax.errors import InputError
from seqjax.train.paths import constants, matching
from seqjax.train.plateau import PlateauState, scale_on_plateau
from seqjax.train.weight_averages import asgd, ema
from seqjax.types import Array

Rule = Literal["adam", "sgd", "momentum", "rmsprop", "adagrad"]
Schedule = Literal["constant", "cosine", "linear", "exponential", "plateau"]
Average = Literal["ema", "asgd"]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, its learning rate and its clipping.

    Args:
        name: "adam" (with weight_decay: AdamW), "sgd", "momentum" (factor b1), "rmsprop" (eps outside the root, as in
            Torch and char-rnn), "adagrad" (the accumulator starts at 0, eps inside the root, as in min-char-rnn).
        learning_rate: the highest learning rate.
        schedule: "constant"; "cosine" or "linear" down to final_fraction at the last step; "exponential"; "plateau" (the
            validation figure decides).
        warmup_steps: the first steps, over which the learning rate grows from 0.
        final_fraction: the last learning rate of "cosine" and "linear", and the lowest of "plateau", as a fraction of the
            highest.
        decay: for "exponential", the factor per epoch once decay_after epochs are done; for "plateau", the factor after
            plateau_patience evaluations without improvement.
        decay_after: for "exponential", epochs at the full learning rate.
        plateau_patience: for "plateau", evaluations in a row without improvement before the learning rate falls.
        clip_norm: the largest global L2 norm of the gradient; None: no clipping.
        clip_value: the largest magnitude of each entry of the gradient, clipped before the norm; None: no clipping.
        weight_decay: factor of decoupled weight decay, of the kernels (rank 2 and above) unless decay_paths says otherwise.
        decay_paths: patterns of the paths of the parameters that decay, such as "cell/*kernel"; (): all kernels.
        frozen: patterns of the paths of parameters that keep their initial values, such as "embedding/*" or "*/bias".
        accumulate: parts into which each batch is divided, whose gradients are added up: the result is that of the whole batch,
            in the memory of one part.
        average: "ema" (the exponential average of the weights) or "asgd" (their mean since the validation figure stopped
            falling, as AWD-LSTM), evaluated beside the weights themselves; None: no average.
        average_decay: for "ema", the weight of the past, from 0 to below 1.
        average_patience: for "asgd", n: the mean begins when a figure is above the lowest before the last n.
        b1, b2: decay rates of Adam's first and second moments; b1 is also the factor of momentum.
        eps: small constant added to denominators.
        rms_decay: decay rate of RMSProp's mean square.
        max_nonfinite: consecutive steps with a non-finite gradient to skip; the next one is applied.

    Raises:
        InputError: an unknown name or schedule, or a number outside its range.

    Example:
        >>> config = OptimizerConfig(learning_rate=0.1, schedule="linear", warmup_steps=10)
        >>> schedule = make_schedule(config, steps=110, steps_per_epoch=50)
        >>> [round(float(schedule(step)), 3) for step in (0, 10, 60, 110)]
        [0.01, 0.1, 0.05, 0.0]
    """

    name: Rule = "adam"
    learning_rate: float = 2e-3
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    final_fraction: float = 0.0
    decay: float = 0.95
    decay_after: int = 10
    plateau_patience: int = 1
    clip_norm: float | None = None
    clip_value: float | None = None
    weight_decay: float = 0.0
    decay_paths: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    accumulate: int = 1
    average: Average | None = None
    average_decay: float = 0.999
    average_patience: int = 5
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    rms_decay: float = 0.95
    max_nonfinite: int = 5

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if isinstance(value := getattr(self, field.name), int) and value >= 2**31:
                raise InputError(f"optimizer.{field.name} is {value}, it must be at most {2**31 - 1}")
        choices_of = {"name": get_args(Rule), "schedule": get_args(Schedule), "average": (None, *get_args(Average))}
        for field, choices in choices_of.items():
            if getattr(self, field) not in choices:
                raise InputError(
                    f"optimizer.{field} is {getattr(self, field)!r}, it must be one of {', '.join(map(str, choices))}"
                )
        for field in ("b1", "b2", "rms_decay", "decay", "final_fraction"):
            if not 0 <= getattr(self, field) <= 1:
                raise InputError(f"optimizer.{field} is {getattr(self, field)}, it must be from 0 to 1")
        for field in ("learning_rate", "clip_norm", "clip_value", "eps"):
            value = getattr(self, field)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"optimizer.{field} is {value}, it must be above 0" + " and finite" * (value == math.inf))
        for field in ("warmup_steps", "decay_after", "weight_decay", "max_nonfinite"):
            if not 0 <= getattr(self, field) < math.inf:
                raise InputError(f"optimizer.{field} is {getattr(self, field)}, it must be at least 0")
        for field in ("plateau_patience", "accumulate", "average_patience"):
            if getattr(self, field) < 1:
                raise InputError(f"optimizer.{field} is {getattr(self, field)}, it must be at least 1")
        if not 0 <= self.average_decay < 1:
            raise InputError(f"optimizer.average_decay is {self.average_decay}, it must be from 0 to below 1")
        if self.schedule == "plateau" and not 0 < self.decay < 1:
            raise InputError(f"optimizer.decay is {self.decay}, on a plateau it must be between 0 and 1")
        if self.decay_paths and not self.weight_decay:
            raise InputError(f"optimizer.decay_paths is {' '.join(self.decay_paths)}, but optimizer.weight_decay is 0")


def make_schedule(config: OptimizerConfig, *, steps: int, steps_per_epoch: int):
    """The learning rate as a function of the number of steps done.

        exponential:  rate * decay ** max(epoch + 1 - decay_after, 0),  epoch = count // steps_per_epoch

    "exponential" is the rule of char-rnn (decay_after=10) and of Zaremba et al. 2014 (decay_after=4).

    Args:
        config: the optimizer.
        steps: length of the whole run.
        steps_per_epoch: batches that cover the data once.

    Returns:
        A function of int [] to float [].

    Example:
        >>> config = OptimizerConfig(learning_rate=1.0, schedule="exponential", decay=0.5, decay_after=1)
        >>> rate = make_schedule(config, steps=30, steps_per_epoch=10)
        >>> [float(rate(count)) for count in (0, 9, 10, 20)]
        [1.0, 1.0, 0.5, 0.25]
    """
    end = config.final_fraction

    def rate(count):
        count = jnp.asarray(count)
        epoch = count // max(steps_per_epoch, 1)
        # as a float: the quotient of two integers would be float32 even under x64
        done = jnp.asarray(count - config.warmup_steps, float) / max(steps - config.warmup_steps, 1)
        done = jnp.clip(done, 0.0, 1.0)
        factor = {
            "constant": lambda: jnp.ones_like(done),
            "plateau": lambda: jnp.ones_like(done),  # `scale_on_plateau` does the rest
            "cosine": lambda: end + (1 - end) * 0.5 * (1 + jnp.cos(jnp.pi * done)),
            "linear": lambda: 1 - (1 - end) * done,
            "exponential": lambda: config.decay ** jnp.maximum(epoch + 1 - config.decay_after, 0).astype(done.dtype),
        }[config.schedule]()
        warm = jnp.minimum(jnp.asarray(count + 1, float) / max(config.warmup_steps, 1), 1.0)
        return config.learning_rate * warm * factor

    return rate


def make_optimizer(config: OptimizerConfig, *, steps: int, steps_per_epoch: int) -> optax.GradientTransformation:
    """The optimizer of a configuration.

    Args:
        config: the optimizer.
        steps: length of the whole run, at which the schedule ends.
        steps_per_epoch: batches that cover the data once.

    Returns:
        An optax transformation whose state holds the learning rate, see `learning_rate`.

    Example:
        >>> optimizer = make_optimizer(OptimizerConfig(name="sgd", learning_rate=0.5), steps=10, steps_per_epoch=5)
        >>> params = {"w": jnp.ones(2)}
        >>> updates, _ = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
        >>> updates["w"].tolist()
        [-0.5, -0.5]
    """
    rule = {
        "adam": lambda: optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps),
        "sgd": optax.identity,
        "momentum": lambda: optax.trace(decay=config.b1),
        "rmsprop": lambda: optax.scale_by_rms(decay=config.rms_decay, eps=config.eps, eps_in_sqrt=False),
        "adagrad": lambda: optax.scale_by_rss(initial_accumulator_value=0.0, eps=config.eps),
    }[config.name]()
    parts = [rule]
    if config.clip_norm is not None:
        parts.insert(0, optax.clip_by_global_norm(config.clip_norm))
    if config.clip_value is not None:
        parts.insert(0, optax.clip(config.clip_value))
    if config.frozen:  # before the clipping, whose norm is that of the other gradients
        parts.insert(0, optax.masked(optax.set_to_zero(), lambda params: _frozen(config, params)))
    if config.weight_decay:
        parts.append(optax.add_decayed_weights(config.weight_decay, mask=lambda params: _decaying(config, params)))
    schedule = make_schedule(config, steps=steps, steps_per_epoch=steps_per_epoch)
    parts.append(optax.inject_hyperparams(optax.scale_by_learning_rate)(schedule))
    if config.schedule == "plateau":
        parts.append(scale_on_plateau(config.decay, config.plateau_patience, config.final_fraction))
    if config.average is not None:
        parts.append(ema(config.average_decay) if config.average == "ema" else asgd(config.average_patience))
    # outside the chain, so that a skipped step leaves the moments unchanged too
    return optax.apply_if_finite(optax.chain(*parts), config.max_nonfinite)


def _frozen(config: OptimizerConfig, params):
    frozen = matching(params, config.frozen, name="optimizer.frozen")
    if all(jax.tree.leaves(frozen)):
        raise InputError(f"optimizer.frozen is {' '.join(config.frozen)}, which leaves no parameter to train")
    return frozen


def _decaying(config: OptimizerConfig, params):
    """True for each parameter that decays."""
    if config.decay_paths:
        chosen = matching(params, config.decay_paths, name="optimizer.decay_paths")
    else:
        chosen = jax.tree.map(lambda p: p.ndim >= 2, params)
    frozen = matching(params, config.frozen, name="optimizer.frozen")
    return jax.tree.map(lambda *flags: flags[0] and not any(flags[1:]), chosen, frozen, constants(params))


def observe(opt_state, figure: float):
    """The state of an optimizer with the figure of an evaluation, which `scale_on_plateau` and `asgd` read at the next step.

    Args:
        opt_state: the state; unchanged if no part of it reads the figure.
        figure: the monitored figure, where lower is better.

    Example:
        >>> optimizer = make_optimizer(OptimizerConfig(schedule="plateau", decay=0.5), steps=10, steps_per_epoch=5)
        >>> observe(optimizer.init({"w": jnp.ones(2)}), 1.5).inner_state[-1].figure.item()
        1.5
    """
    value = figure if math.isfinite(figure) else math.inf  # NaN would mean that there was no evaluation

    def noted(path, leaf):
        is_figure = getattr(path[-1], "name", None) == "figure" if path else False
        return jax.device_put(jnp.asarray(value, leaf.dtype), leaf.sharding) if is_figure else leaf

    return jax.tree.map_with_path(noted, opt_state)


def learning_rate(opt_state) -> Array | None:
    """The learning rate of the last step, read from the state of an optimizer; None if `make_optimizer` did not make it.

    Example:
        >>> optimizer = make_optimizer(OptimizerConfig(learning_rate=0.25), steps=10, steps_per_epoch=5)
        >>> float(learning_rate(optimizer.init({"w": jnp.ones(2)})))
        0.25
    """
    kinds = optax.InjectStatefulHyperparamsState, PlateauState  # by type: a parameter may have any name
    states = [s for s in jax.tree.leaves(opt_state, is_leaf=lambda s: isinstance(s, kinds)) if isinstance(s, kinds)]
    factors = [s.scale if isinstance(s, PlateauState) else s.hyperparams["learning_rate"] for s in states]
    return jnp.stack(factors).prod() if factors else None


def skipped(opt_state) -> Array | None:
    """The number of steps skipped because their gradient was not finite, int32 []; None without `apply_if_finite`."""
    return optax.tree.get(opt_state, "total_notfinite")
