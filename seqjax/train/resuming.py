"""Resuming a run from its checkpoints, to the numbers of an uninterrupted one."""

import json
from collections.abc import Sequence

import jax

from seqjax.errors import InputError, warn
from seqjax.train.changes import refuse_changes
from seqjax.train.checkpoint import Checkpoints, Place
from seqjax.train.file_errors import DamagedError
from seqjax.train.runs.folder import RunFolder
from seqjax.train.state import TrainState


def resume(
    checkpoints: Checkpoints, state: TrainState, stream, run: RunFolder | None = None, *, changed: bool = False
) -> tuple[TrainState, dict]:
    """Restore the newest undamaged checkpoint: the state, the position in the run, and the metrics up to that step.

    Warnings report damaged checkpoints that were passed over, missing best weights, and metrics or samples that differ from what
    was written.

    Args:
        checkpoints: the checkpoints of the run.
        state: returned by `init_state`, for its structure and placement.
        stream: the stream to train on; a position is valid only in a stream of equal `identity`.
        run: the run's folder, whose metrics and samples after that step are removed; None: it has none.
        changed: True if the run goes on with other settings. It then starts from the best state if that is newer than the last
            one, so that the best weights never come from a part of the run that was discarded.

    Returns:
        (state, position), for `train_loop`, which then gives the same numbers as an uninterrupted run.

    Raises:
        InputError: there is no checkpoint, all are damaged, or they belong to another model, optimizer or data set.
    """
    places = checkpoints.places()
    state, position = _restore(checkpoints, state, sorted(places, key=lambda place: -place.step) if changed else places)
    refuse_changes("data", position["identity"], plain(stream.identity))
    step = int(state.step)
    if run is not None:
        for name in run.changed(position.get("files", {})):
            warn(f"{run.dir / name} is not what was written up to step {step}: a part of it is damaged or lost")
        run.trim(step)
    return state, position | {"standing": _with_best(checkpoints, state, position.get("standing"))}


def position_of(stream, batches, seconds: float = 0.0) -> dict:
    """The position in a run as stored in checkpoints, in its stream and in time, before any evaluation and without files.

    Args:
        stream: the stream.
        batches: its iterator.
        seconds: of training so far.

    Returns:
        A dict that JSON can hold, for `Checkpoints.save` and `train_loop`.
    """
    position = {"data": plain(batches.get_state()), "identity": plain(stream.identity), "seconds": seconds}
    return position | {"standing": None, "files": {}}


def plain(value):
    """A value as it comes back from JSON."""
    return json.loads(json.dumps(value))


def _restore(checkpoints: Checkpoints, state: TrainState, places: Sequence[Place]) -> tuple[TrainState, dict]:
    """The first of some checkpoints that is not damaged."""
    damages: list[str] = []
    for place in places:
        try:
            state, position = checkpoints.restore("last", state, place=place)
        except DamagedError as error:
            damages.append(str(error))
            continue
        for damage in damages:
            warn(f"{damage}: going on from {place.folder}/{place.step}")
        return state, position
    if damages:
        raise InputError(f"{damages[0]}; no other checkpoint is whole: start a new run")
    raise InputError(f"no checkpoint in {checkpoints.folder}: nothing has been saved there")


def _with_best(checkpoints: Checkpoints, state: TrainState, standing: dict | None) -> dict | None:
    """The standing of a run; without its best evaluation if the weights of that are missing."""
    if standing is None or standing["step"] is None:
        return standing
    lost = f"the best weights, of step {standing['step']}, are gone"
    held = checkpoints.step("best") or 0  # no best state is of step 0
    try:
        if held:
            checkpoints.params(jax.eval_shape(lambda: state.params), "best")  # verifies them
            if held >= standing["step"]:
                return standing
    except DamagedError as error:
        lost = str(error)
        checkpoints.delete(Place(held, "best"))
    warn(f"{lost}: the next evaluation is taken for the best so far")
    return standing | {"best": None, "step": None}
