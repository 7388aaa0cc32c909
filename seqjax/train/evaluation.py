"""Evaluation: the figures of a model, summed over batches."""

from collections.abc import Callable, Iterable, Mapping

import jax
from jax.sharding import Mesh

from seqjax.annotations import public
from seqjax.checks import shown
from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.placement import automatic
from seqjax.train import mesh as meshes
from seqjax.train.state import check_model
from seqjax.types import Params, State
from seqjax.weighted import Weighted

EvalStep = Callable[[Params, State, dict], tuple[State, dict[str, Weighted]]]


@public
def make_eval_step(model: Model, *, mesh: Mesh | None = None) -> EvalStep:
    """A jitted evaluation step, without noise.

    Args:
        model: the model to evaluate.
        mesh: returned by `data_mesh`; None: one device.

    Returns:
        eval_step(params, carry, batch) -> (carry, the model's figures: {name: Weighted}).

    Example:
        >>> import jax.numpy as jnp
        >>> from seqjax.cells.elman import Elman
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=3, cell=Elman(input_size=3, hidden_size=2))
        >>> params, tokens = model.init(jax.random.key(0)), jnp.array([[0, 1, 2]])
        >>> batch = {"tokens": tokens, "target": tokens}
        >>> carry, figures = make_eval_step(model)(params, model.initial_state(params, 1), batch)
        >>> {name: float(figure.weight) for name, figure in figures.items()}
        {'loss': 3.0}
    """
    check_model(model)
    mesh = meshes.one_device(mesh)
    rows, everywhere = meshes.rows(mesh), meshes.everywhere(mesh)

    def eval_step(params, carry, batch):
        carry, outputs = model.apply(params, batch, state=carry)
        return carry, model.figures(outputs, batch)

    return jax.jit(
        lambda *arguments: automatic(eval_step, *arguments, shardings=(rows, everywhere)),
        in_shardings=(everywhere, rows, rows),
        out_shardings=(rows, everywhere),
    )


@public
def evaluate(
    eval_step: EvalStep,
    model: Model,
    params: Params,
    batches: Iterable[dict],
    *,
    notice: Callable[[dict], object] | None = None,
) -> dict[str, float]:
    """The figures of a model over all batches, each `sum / weight`, added in float64.

    Args:
        eval_step: returned by `make_eval_step` for this model.
        model: the model to evaluate.
        params: its parameters.
        batches: a finite iterable of batches of B rows each; the model's state is carried from batch to batch.
        notice: a function called with each batch before it is evaluated, e.g. to say that its shape is compiled.

    Returns:
        {name: mean}; the loss in nats per `model.unit`.

    Raises:
        InputError: there is no batch, or the weight of a figure is 0.

    Example:
        >>> import jax.numpy as jnp
        >>> from seqjax.cells.elman import Elman
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=3, cell=Elman(input_size=3, hidden_size=2))
        >>> params, tokens = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0))), jnp.array([[0, 1, 2]])
        >>> figures = evaluate(make_eval_step(model), model, params, [{"tokens": tokens, "target": tokens}])
        >>> round(figures["loss"], 4)  # log 3
        1.0986
    """
    if isinstance(batches, Mapping) or not isinstance(batches, Iterable):
        raise InputError(f"batches is {shown(batches)}, it must be an iterable of batches, such as a list of one")
    carry, figures = None, []
    for batch in batches:
        if carry is None:
            rows = jax.tree.leaves(batch)[0].shape[0]
            carry = jax.device_get(model.initial_state(params, rows))
        if notice is not None:
            notice(batch)
        carry, batch_figures = eval_step(params, carry, batch)
        figures.append(batch_figures)
    figures = jax.device_get(figures)  # the only synchronisation
    means = {}
    for name in figures[0] if figures else ("loss",):
        weight = sum(float(batch_figures[name].weight) for batch_figures in figures)
        if not weight:
            raise InputError(f"nothing to evaluate: {len(figures)} batches without a target")
        means[name] = sum(float(batch_figures[name].sum) for batch_figures in figures) / weight
    return means
