"""Checkpoints: the last states and the best one, each verified by a content hash when it is read. The only user of orbax.

A checkpoint holds the parameters as a nested dict, the rest of the state, and a JSON record of both: names, shapes, dtypes,
SHA-256. Where the optimizer keeps an average of the weights, that stands for the parameters, with the raw ones beside it. A write
ends with a rename, so a process that is killed while writing leaves the previous checkpoint intact.
"""

import contextlib
import hashlib
import json
import reprlib
import sys
import time
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from seqjax.errors import InputError
from seqjax.train.state import TrainState, is_key
from seqjax.train.weight_averages import averaged, with_average
from seqjax.types import Params

Which = Literal["last", "best"]


class Checkpoints:
    """The checkpoints of a run: the latest ones in `folder/last`, the best one in `folder/best`.

    Args:
        folder: the folder of the checkpoints; created by the first `save`.
        keep: the number of latest checkpoints to keep, for `averages.average`.
        read_only: True if `save` will not be called: then no folder is created or cleaned up.

    Raises:
        InputError: keep is below 1.

    Example:
        >>> import optax, tempfile
        >>> from seqjax.cells.elman import Elman
        >>> from seqjax.models.language_model import LanguageModel
        >>> from seqjax.train.state import init_state
        >>> model = LanguageModel(vocabulary_size=3, cell=Elman(input_size=3, hidden_size=2))
        >>> state = init_state(model, optax.sgd(0.1), batch_size=2, seed=0)
        >>> with Checkpoints(tempfile.mkdtemp()) as checkpoints:
        ...     checkpoints.save("last", state, {"next": 7})
        ...     restored, position = checkpoints.restore("last", state)
        >>> int(restored.step), position
        (0, {'next': 7})
    """

    def __init__(self, folder, *, keep: int = 1, read_only: bool = False):
        if keep < 1:
            raise InputError(f"keep is {keep}, it must be at least 1")
        folder = epath.Path(folder)
        self.folder = folder if folder.is_absolute() else folder.absolute()  # orbax refuses relative paths
        self._keep, self._read_only = keep, read_only
        self._managers: dict[str, Any] = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Waits until all writes have finished."""
        for manager in self._managers.values():
            manager.close()
        self._managers = {}

    def step(self, which: Which) -> int | None:
        """The step of the newest checkpoint; None if nothing was saved."""
        return max(self.steps(which), default=None)

    def steps(self, which: Which) -> list[int]:
        """The steps of the checkpoints, in ascending order."""
        if which not in self._managers and not (self.folder / which).exists():
            return []
        manager = self._manager(which)
        manager.wait_until_finished()
        return sorted(manager.all_steps())

    def save(self, which: Which, state: TrainState, position: dict):
        """Starts writing a checkpoint and returns once the state is copied; above `keep`, the oldest is deleted.

        Args:
            which: "last" or "best".
            state: the state to save; it may be donated as soon as `save` returns.
            position: the position in the data, JSON-able.
        """
        from orbax import checkpoint as ocp

        manager, number = self._manager(which), int(state.step)
        manager.wait_until_finished()
        for later in [step for step in manager.all_steps() if step >= number]:
            manager.delete(later)  # left by a run that was interrupted and then resumed from an earlier step
        items = _to_host(state)
        record = {
            "step": number,
            "position": position,
            "leaves": {name: _leaves(item) for name, item in items.items()},
            "sha256": {name: _sha256(item) for name, item in items.items()},
        }
        record["sha256"]["record"] = _sha256({}, record)
        arrays = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        manager.save(number, args=ocp.args.Composite(record=ocp.args.JsonSave(record), **arrays))

    def restore(self, which: Which, target: TrainState) -> tuple[TrainState, dict]:
        """Reads a checkpoint.

        Args:
            which: "last" or "best".
            target: a state of the same structure, shapes, dtypes and placement, e.g. returned by `init_state`.

        Returns:
            (state, position).

        Raises:
            InputError: there is no checkpoint, it is damaged, or it has another structure.
        """
        items, record = self._read(which, _to_host(target))
        rest = _rest(target)
        arrays = [_like(items["rest"][path], old) for path, old in _flat(rest).items()]
        state = jax.tree.unflatten(jax.tree.structure(rest), arrays)
        if "raw" in items:
            average = jax.tree.map(_like, items["params"], averaged(target.opt_state))
            state = state._replace(opt_state=with_average(state.opt_state, average))
        params = jax.tree.map(_like, items["raw" if "raw" in items else "params"], target.params)
        return state._replace(params=params), record["position"]

    def params(self, target: Params, which: Which | None = None, *, step: int | None = None, raw: bool = False) -> Params:
        """The parameters alone: their average, if the optimizer kept one.

        Args:
            target: a tree of the same structure and shapes, e.g. `jax.eval_shape(model.init, jax.random.key(0))`.
            which: "last" or "best"; None: the best, or the last if no best was saved.
            step: one of `steps(which)`; None: the newest.
            raw: the parameters themselves, not their average.

        Returns:
            NumPy arrays, in the dtypes in which they were saved.

        Raises:
            InputError: there is no checkpoint, it is damaged, or it has another structure.
        """
        which = which or ("last" if self.step("best") is None else "best")
        has_raw = raw and "raw" in self._read(which, {}, step=step)[1]["leaves"]
        item = "raw" if has_raw else "params"
        return self._read(which, {item: target}, same_dtype=False, step=step)[0][item]

    def _read(self, which: Which, target: dict, same_dtype: bool = True, step: int | None = None) -> tuple[dict, dict]:
        from orbax import checkpoint as ocp

        step = self.step(which) if step is None else step
        if step is None:
            raise InputError(f"no checkpoint in {self.folder / which}: nothing has been saved there")
        where, manager = self.folder / which / str(step), self._manager(which)
        with _readable(where):
            record = manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
            hashes, leaves = record["sha256"], record["leaves"]
            expected = hashes.pop("record")
        _verify(where, "record", expected, _sha256({}, record))
        for name, tree in target.items():
            refuse_changes(name, _kinds(leaves.get(name, {}), same_dtype), _kinds(_leaves(tree), same_dtype))
        if not target:
            return {}, record
        with _readable(where):
            buffers = {name: _buffers(tree, leaves[name]) for name, tree in target.items()}
            arrays = {name: ocp.args.StandardRestore(tree) for name, tree in buffers.items()}
            items = manager.restore(step, args=ocp.args.Composite(**arrays))
        items = {name: items[name] for name in target}
        for name, tree in items.items():
            _verify(where, name, hashes[name], _sha256(tree))
        return items, record

    def _manager(self, which: Which):
        if which not in self._managers:
            from orbax import checkpoint as ocp

            keep = self._keep if which == "last" else 1
            writes = not self._read_only  # a writer cleans up after killed processes; orbax's read_only option logs warnings
            options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=writes, cleanup_tmp_directories=writes)
            self._managers[which] = ocp.CheckpointManager(self.folder / which, options=options)
        return self._managers[which]


def resume(checkpoints: Checkpoints, state: TrainState, stream, run=None) -> tuple[TrainState, dict]:
    """Restores the last checkpoint: the state, the position in the data, and the metrics up to that step.

    Args:
        checkpoints: the checkpoints of the run.
        state: returned by `init_state`, for its structure and placement.
        stream: the stream to train on; a position is valid only in a stream of equal `identity`.
        run: the RunFolder, whose metrics after that step are removed; None: no metrics are kept.

    Returns:
        (state, position), for `train_loop`, which then gives the same numbers as an uninterrupted run.

    Raises:
        InputError: there is no checkpoint, it is damaged, or it belongs to another model, optimizer or data set.
    """
    state, position = checkpoints.restore("last", state)
    refuse_changes("data", position["identity"], _plain(stream.identity))
    if run is not None:
        run.trim(int(state.step))
    return state, position["data"]


def position_of(stream, batches) -> dict:
    """The position of an iterator in its stream, as stored in checkpoints."""
    return {"data": _plain(batches.get_state()), "identity": _plain(stream.identity)}


def refuse_changes(what: str, old: dict, new: dict):
    """Refuses to continue a run with changed settings.

    Args:
        what: the name of the settings, for the message.
        old, new: nested plain values.

    Raises:
        InputError: a setting has changed; the message names the first such field with its old and new values.

    Example:
        >>> refuse_changes("data", {"batch_size": 8}, {"batch_size": 9})
        Traceback (most recent call last):
        seqjax.errors.InputError: cannot continue with another data.batch_size: it was 8, now it is 9
    """
    before, after = _fields(old, what), _fields(new, what)
    for name in sorted(before.keys() | after.keys()):
        old_value, new_value = (fields.get(name, "absent") for fields in (before, after))
        if old_value != new_value:
            values = reprlib.repr(old_value), reprlib.repr(new_value)
            raise InputError(f"cannot continue with another {name}: it was {values[0]}, now it is {values[1]}")


def _fields(value, name: str) -> dict:
    """{dotted path: plain value}."""
    children = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(children, dict):
        return {name: value}
    fields = {}
    for key, child in children.items():
        fields |= _fields(child, f"{name}.{key}".lstrip("."))
    return fields


def _plain(value):
    return json.loads(json.dumps(value))


def _to_host(state: TrainState) -> dict:
    """The items of a checkpoint, copied to host memory: the device buffers may be donated before the write ends."""
    data = jax.tree.map(lambda a: jax.random.key_data(a) if is_key(a) else a, state)
    data = jax.tree.map(np.array, jax.device_get(data))
    average = averaged(data.opt_state)
    weights = {"params": data.params} if average is None else {"params": average, "raw": data.params}
    return weights | {"rest": _flat(_rest(data))}


def _rest(state: TrainState) -> TrainState:
    """The state without its parameters and their average."""
    return state._replace(params=(), opt_state=with_average(state.opt_state, ()))


def _like(array: np.ndarray, old: jax.Array) -> jax.Array:
    if is_key(old):
        keys = jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(old))
        return jax.device_put(keys, old.sharding)
    return jax.device_put(array, old.sharding)


def _flat(tree) -> dict:
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _leaves(tree) -> dict:
    """{path: [shape, dtype]}."""
    return {path: [list(leaf.shape), str(leaf.dtype)] for path, leaf in _flat(tree).items()}


def _kinds(leaves: dict, with_dtype: bool) -> dict:
    """{path: "float32[3, 4]"}."""
    return {path: f"{dtype if with_dtype else ''}{shape}" for path, (shape, dtype) in leaves.items()}


def _buffers(tree, leaves: dict):
    """Empty arrays to read into, in the structure of `tree`, with the shapes and dtypes of the checkpoint."""
    kinds = [leaves[path] for path in _flat(tree)]
    empty = [np.empty(shape, np.dtype(dtype)) for shape, dtype in kinds]
    return jax.tree.unflatten(jax.tree.structure(tree), empty)


def _sha256(tree, *more) -> str:
    digest = hashlib.sha256(json.dumps([_leaves(tree), *more], sort_keys=True).encode())
    for _, leaf in sorted(_flat(tree).items()):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _verify(where, name: str, written: str, read: str):
    if written != read:
        raise InputError(f"checkpoint {where} is damaged: its {name} is not what was written (SHA-256)")


@contextlib.contextmanager
def _readable(where):
    """Reports any error that a damaged file causes in one line."""
    original_hook = sys.unraisablehook

    def quiet(unraisable):  # each pending read finds its event loop closed and would print a traceback
        if not isinstance(unraisable.exc_value, RuntimeError):
            original_hook(unraisable)

    sys.unraisablehook = quiet
    try:
        yield
    except Exception as error:
        time.sleep(0.2)  # the pending reads end meanwhile
        reason = (str(error).splitlines() or [""])[0][:80]
        raise InputError(f"checkpoint {where} is damaged and cannot be read: {type(error).__name__}: {reason}") from error
    finally:
        sys.unraisablehook = original_hook
