"""Checkpoints: the last states and the best one, each verified by a content hash when it is read. The only user of orbax.

A checkpoint holds the parameters as a nested dict, the rest of the state, and a JSON record: names, shapes, dtypes, SHA-256 of
both, the figures it was chosen by, and the hashes of what it belongs to. Where the optimizer keeps an average of the weights,
the average is stored as the parameters, with the raw ones beside it. A write ends with a rename, so a process that is killed
while writing leaves the previous checkpoint intact.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from seqjax.errors import InputError
from seqjax.train.changes import refuse_changes
from seqjax.train.file_errors import DamagedError, reads, writes
from seqjax.train.state import TrainState, is_key
from seqjax.train.weight_averages import averaged, with_average
from seqjax.types import Params

Which = Literal["last", "best"]
Folder = Literal["last", "best", "recent"]


class Place(NamedTuple):
    """A checkpoint, by its step and the folder it lies in."""

    step: int
    folder: Folder


class Checkpoints:
    """The checkpoints of a run: the best one in `folder/best`, those at regular intervals in `folder/last`.

    A save between two regular ones (at step 0, after some minutes, at a signal) goes to `folder/recent`, so that the regular ones
    are equally spaced, for averages; the last state is the newest in either folder.

    Args:
        folder: the folder of the checkpoints; created by the first `save`.
        keep: the number of regular checkpoints to keep, for `averages.average`.
        read_only: True if `save` will not be called: then no folder is created or cleaned up.
        hashes: {name: SHA-256} of what the checkpoints belong to, such as the model in config.json. They are written with each
            checkpoint, and one that was written with another hash under the same name is refused.

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

    def __init__(self, folder, *, keep: int = 1, read_only: bool = False, hashes: Mapping[str, str] | None = None):
        if keep < 1:
            raise InputError(f"keep is {keep}, it must be at least 1")
        folder = epath.Path(folder).expanduser()
        self.folder = folder if folder.is_absolute() else folder.absolute()  # orbax refuses relative paths
        self._keep, self._read_only, self._hashes = keep, read_only, dict(hashes or {})
        self._managers: dict[Folder, Any] = {}

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        try:
            self.close()
        except InputError:
            if error is None:  # else the first error is the one to tell
                raise

    def close(self):
        """Wait until all writes have finished; delete a recent checkpoint that a regular one has overtaken."""
        managers, self._managers = dict(self._managers), {}
        with writes(self.folder):
            try:
                for manager in managers.values():
                    manager.wait_until_finished()
                steps = {folder: manager.latest_step() for folder, manager in managers.items()}
                last, recent = steps.get("last"), steps.get("recent")
                if not self._read_only and last is not None and recent is not None and recent <= last:
                    (self.folder / "recent").rmtree()
            finally:
                for manager in managers.values():
                    with contextlib.suppress(Exception):  # an error of a write was raised above
                        manager.close()

    def step(self, which: Which) -> int | None:
        """The step of the newest checkpoint; None if nothing was saved."""
        place = self._newest(which)
        return None if place is None else place.step

    def steps(self, folder: Folder) -> list[int]:
        """The steps of the checkpoints in a folder, in ascending order."""
        if folder not in self._managers and not (self.folder / folder).exists():
            return []
        manager = self._manager(folder)
        with writes(self.folder):
            manager.wait_until_finished()
        return sorted(manager.all_steps())

    def places(self) -> list[Place]:
        """All checkpoints, the newest first and the best last, since what was done after the best is missing from it."""
        places = [Place(step, folder) for folder in ("last", "recent", "best") for step in self.steps(folder)]
        return sorted(places, key=lambda place: (place.folder == "best", -place.step))

    def save(self, folder: Folder, state: TrainState, position: dict, *, figures: Mapping[str, float] | None = None):
        """Start writing a checkpoint and return once the state is copied; above `keep`, the oldest is deleted.

        It first waits for earlier writes, so that a best checkpoint is complete before a last one that is saved after it.

        Args:
            folder: "last", "best", or "recent" for a save between two regular ones.
            state: the state to save; it may be donated as soon as `save` returns.
            position: the position in the run, serialisable as JSON.
            figures: the figures by which the checkpoint was chosen.

        Raises:
            InputError: this or an earlier checkpoint cannot be written: the disk is full or read-only.
        """
        from orbax import checkpoint as ocp

        with writes(self.folder):
            manager, number = self._manager(folder), int(state.step)
            for each in self._managers.values():
                each.wait_until_finished()
            for later in [step for step in manager.all_steps() if step >= number]:
                manager.delete(later)  # left by a run that was interrupted and then resumed from an earlier step
            items = _to_host(state)
            record = {
                "step": number,
                "position": position,
                "figures": dict(figures or {}),
                "hashes": self._hashes,
                "leaves": {name: _leaves(item) for name, item in items.items()},
                "sha256": {name: _sha256(item) for name, item in items.items()},
            }
            record["sha256"]["record"] = _sha256({}, record)
            arrays = {name: ocp.args.StandardSave(item) for name, item in items.items()}
            manager.save(number, args=ocp.args.Composite(record=ocp.args.JsonSave(record), **arrays))

    def wait(self):
        """Wait until all writes have finished.

        Raises:
            InputError: a checkpoint could not be written.
        """
        with writes(self.folder):
            for manager in self._managers.values():
                manager.wait_until_finished()

    def delete(self, place: Place):
        """Delete a checkpoint."""
        with writes(self.folder):
            self._manager(place.folder).delete(place.step)

    def restore(self, which: Which, target: TrainState, *, place: Place | None = None) -> tuple[TrainState, dict]:
        """Read a checkpoint.

        Args:
            which: "last" or "best", the newest of them.
            target: a state of the same structure, shapes, dtypes and placement, e.g. returned by `init_state`.
            place: one of `places()`, instead.

        Returns:
            (state, position).

        Raises:
            InputError: there is no checkpoint, it is damaged (a DamagedError), or it has another structure.
        """
        items, record = self._read(place or which, _to_host(target))
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
        where = which if step is None else Place(step, which)
        has_raw = raw and "raw" in self._read(where, {})[1]["leaves"]
        item = "raw" if has_raw else "params"
        return self._read(where, {item: target}, same_dtype=False)[0][item]

    def record(self, which: Which) -> dict:
        """The record of the newest checkpoint: step, position, figures, hashes.

        Raises:
            InputError: there is no checkpoint, or it is damaged.
        """
        return self._read(which, {})[1]

    def _newest(self, which: Which) -> Place | None:
        folders: tuple[Folder, ...] = ("last", "recent") if which == "last" else ("best",)
        return max((Place(step, folder) for folder in folders for step in self.steps(folder)), default=None)

    def _read(self, where: Which | Place, target: dict, same_dtype: bool = True) -> tuple[dict, dict]:
        """The items and the record of a checkpoint; looks again for the newest if it was replaced while it was read."""
        if isinstance(where, Place):
            return self._read_place(where, target, same_dtype)
        place = self._newest(where)
        if place is None:
            raise InputError(f"no checkpoint in {self.folder / where}: nothing has been saved there")
        try:
            return self._read_place(place, target, same_dtype)
        except DamagedError:
            for manager in self._managers.values():
                manager.reload()
            newer = self._newest(where)
            if newer is None or newer == place:
                raise
            return self._read_place(newer, target, same_dtype)

    def _read_place(self, place: Place, target: dict, same_dtype: bool) -> tuple[dict, dict]:
        from orbax import checkpoint as ocp

        where, manager = self.folder / place.folder / str(place.step), self._manager(place.folder)
        with reads(where):
            record = manager.restore(place.step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
            sums, leaves, hashes = record["sha256"], record["leaves"], record["hashes"]
            expected = sums.pop("record")
        _verify(where, "record", expected, _sha256({}, record))
        for name in sorted(hashes.keys() & self._hashes.keys()):
            if hashes[name] != self._hashes[name]:
                reason = f"its {name} is not that of checkpoint {where} (SHA-256)"
                raise InputError(f"{self.folder.parent / 'config.json'} is damaged or was edited: {reason}")
        for name, tree in target.items():
            refuse_changes(name, _kinds(leaves.get(name, {}), same_dtype), _kinds(_leaves(tree), same_dtype))
        if not target:
            return {}, record
        with reads(where):
            buffers = {name: _buffers(tree, leaves[name]) for name, tree in target.items()}
            arrays = {name: ocp.args.StandardRestore(tree) for name, tree in buffers.items()}
            items = manager.restore(place.step, args=ocp.args.Composite(**arrays))
            items = {name: items[name] for name in target}
        for name, tree in items.items():
            _verify(where, name, sums[name], _sha256(tree))
        return items, record

    def _manager(self, folder: Folder):
        if folder not in self._managers:
            from orbax import checkpoint as ocp

            keep = self._keep if folder == "last" else 1
            own = not self._read_only  # a writer cleans up after killed processes; orbax's read_only option logs warnings
            options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=own, cleanup_tmp_directories=own)
            where = self.folder / folder
            with writes(where) if own else reads(where):  # orbax reads the folder now
                self._managers[folder] = ocp.CheckpointManager(where, options=options)
        return self._managers[folder]


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
        raise DamagedError(f"checkpoint {where} is damaged: its {name} is not what was written (SHA-256)")
