"""Runs read from their folders, with the weights."""

import dataclasses
from typing import Any, Literal

import jax

from seqjax import serial
from seqjax.contracts import Model
from seqjax.errors import InputError, warn
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.runs.description import hashes_of
from seqjax.train.runs.folder import RunFolder
from seqjax.types import Params


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, finished or not, as read from its folder.

    Args:
        dir: the run's folder.
        config: the experiment's configuration, a nested plain dict.
        data: the record of the data, a flat dict.
        model: the trained model.
        vocabulary: the vocabulary of its symbols, or a tuple of several; None if the model reads no symbols.
        params: the best parameters, or the last if no best were saved.
        metrics: a dict for each line of metrics.jsonl: step, split and figures; losses are in nats per `model.unit`.
        results: the final figures, flat; empty before the run has ended.
        stopped_by: the number of the signal that has just stopped training; None as read from a folder.
    """

    dir: str
    config: dict
    data: dict
    model: Model
    vocabulary: Any
    params: Params
    metrics: list[dict]
    results: dict
    stopped_by: int | None = None


def load_run(dir, checkpoint: Literal["best", "last"] | None = None) -> Run:
    """Load a run from its folder, without the experiment that wrote it.

    This needs config.json and a checkpoint. Anything else that is damaged or missing is left out, with a warning.

    Args:
        dir: the folder, e.g. runs/language_model/latest.
        checkpoint: the weights to load; None: the best, or the last if no best were saved.

    Returns:
        Run, its weights on the default device.

    Raises:
        InputError: it is not a run folder, has no checkpoint or a damaged one, its vocabulary does not fit its model, or its
            config.json does not belong to the checkpoint.

    Example:
        >>> load_run("nowhere")
        Traceback (most recent call last):
        seqjax.errors.InputError: nowhere is not a run folder: it has no config.json
    """
    import seqjax.data  # the imports register the types of models and vocabularies
    import seqjax.models
    import seqjax.vision  # noqa: F401

    folder = RunFolder(dir)
    description = folder.read_config()
    with folder.config_blamed():
        model: Any = serial.from_json(description["model"])
        vocabulary = serial.from_json(description["vocabulary"])
        _check_vocabulary(folder.dir, model, vocabulary)
        target = jax.eval_shape(model.init, jax.random.key(0))
    with Checkpoints(folder.checkpoints, read_only=True, hashes=hashes_of(description)) as checkpoints:
        params = checkpoints.params(target, checkpoint)
        for damage in _damages(folder, checkpoints):
            warn(damage)
    return Run(
        dir=str(folder.dir),
        config=description["config"],
        data=description.get("data", {}),
        model=model,
        vocabulary=vocabulary,
        params=jax.tree.map(jax.numpy.asarray, params),
        metrics=folder.read_metrics(),
        results=folder.read_results(),
    )


def _damages(folder: RunFolder, checkpoints: Checkpoints) -> list[str]:
    """The damages of a folder: differences from the record of its last checkpoint."""
    if checkpoints.step("last") is None:
        return ["the last weights are gone"]
    try:
        position = checkpoints.record("last")["position"]
    except InputError as error:
        return [str(error)]
    damages = [f"{folder.dir / name} is not what was written" for name in folder.changed(position.get("files", {}))]
    best = (position.get("standing") or {}).get("step")
    if best is not None and (checkpoints.step("best") or 0) < best:
        damages.append(f"the best weights of {folder.dir}, of step {best}, are gone")
    return damages


def _check_vocabulary(dir, model: Model, vocabulary: Any):
    """Raise InputError unless the vocabularies have as many symbols as the model."""
    if vocabulary is None:
        return
    sizes = tuple(map(len, vocabulary if isinstance(vocabulary, tuple) else (vocabulary,)))
    if sizes != model.vocabulary_sizes:
        symbols = f"its vocabularies have {list(sizes)} symbols, its model {list(model.vocabulary_sizes)}"
        raise InputError(f"{dir}: {symbols}: its config.json was edited, train again")
