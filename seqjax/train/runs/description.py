"""The description of a run, config.json, from which its model loads without the experiment that wrote it."""

import copy
import hashlib
import json
import platform
from importlib import metadata

from seqjax import serial
from seqjax.contracts import Model
from seqjax.train.changes import refuse_changes

_PACKAGES = ("seqjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def describe_run(*, experiment: str, preset: str, overrides: dict, config: dict, model: Model, vocabulary=None, **more) -> dict:
    """The contents of config.json: the model and vocabulary, the settings, and the versions of packages.

    Args:
        experiment, preset: their names.
        overrides: {flag: value} of the settings that differ from the preset.
        config: the experiment's configuration, nested and plain, e.g. returned by `dataclasses.asdict`.
        model, vocabulary: values of types registered by `seqjax.serial.register`.
        **more: further entries, e.g. the record of the data.

    Returns:
        A dict that survives JSON unchanged.

    Example:
        >>> from seqjax.cells.elman import Elman
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=3, cell=Elman(input_size=3, hidden_size=2))
        >>> about = describe_run(experiment="demo", preset="tiny", overrides={}, config={"seed": 0}, model=model)
        >>> about["model"]["type"], serial.from_json(about["model"]) == model
        ('LanguageModel', True)
    """
    description = {
        "experiment": experiment,
        "preset": preset,
        "overrides": overrides,
        "config": config,
        "model": serial.to_json(model),
        "vocabulary": serial.to_json(vocabulary),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
    }
    return json.loads(json.dumps(description | more))


def check_same_run(
    old: dict, new: dict, *, free: tuple[str, ...] = ("loop", "run"), parts: tuple[str, ...] = ("model", "vocabulary")
):
    """Check that a resumed run has the same model, vocabulary and configuration.

    Args:
        old, new: descriptions returned by `RunFolder.read_config` and `describe_run`.
        free: the parts of `config` that may differ, such as "loop" or "data.path".
        parts: the other entries that must be equal.

    Raises:
        InputError: one of them differs; the message names the field with its old and new values.

    Example:
        >>> one, two = ({"model": None, "vocabulary": None, "config": {"batch": n, "loop": {"steps": n}}} for n in (8, 9))
        >>> check_same_run(one, two)
        Traceback (most recent call last):
        seqjax.errors.InputError: cannot continue with another batch: it was 8, now it is 9
    """
    refuse_changes("", _fixed(old["config"], free), _fixed(new["config"], free))  # first, because its message names the flag
    for name in parts:
        refuse_changes(name, old[name], new[name])


def hashes_of(description: dict, *, free: tuple[str, ...] | None = None) -> dict[str, str]:
    """The SHA-256 of what belongs to a run's checkpoints, by name: model, vocabulary and, with `free`, the rest of the config.

    Args:
        description: returned by `describe_run`; its "changes", {"setting", "from", "to"} each, are undone.
        free: the parts of `config` that may change while the run lasts; None: the config is left out.

    Returns:
        {name: SHA-256 in hexadecimal digits}.

    Example:
        >>> sorted(hashes_of({"model": None, "vocabulary": None, "config": {"seed": 0, "loop": {}}}, free=("loop",)))
        ['config', 'model', 'vocabulary']
    """
    parts = {name: description[name] for name in ("model", "vocabulary")}
    if free is not None:
        config = copy.deepcopy(description["config"])
        for change in reversed(description.get("changes", [])):  # the run's checkpoints have the hash of its first config
            group, name = change["setting"].split(".")
            config[group][name] = change["from"]
        parts["config"] = _fixed(config, free)
    return {name: sha256_of(part) for name, part in parts.items()}


def sha256_of(value) -> str:
    """The SHA-256 of a value that JSON holds."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _fixed(config: dict, free: tuple[str, ...]) -> dict:
    """A config without the parts that are free, each a name or, of a part inside another, names joined by dots."""
    fixed = copy.deepcopy(config)
    for path in free:
        *groups, name = path.split(".")
        part: dict | None = fixed
        for group in groups:
            part = part.get(group) if isinstance(part, dict) else None
        if isinstance(part, dict):
            part.pop(name, None)
    return fixed


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
