"""The description of a run, config.json, from which its model loads without the experiment that wrote it."""

import json
import platform
from importlib import metadata

from seqjax import serial
from seqjax.contracts import Model
from seqjax.train.checkpoint import refuse_changes

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


def check_same_run(old: dict, new: dict, *, free: tuple[str, ...] = ("loop", "run")):
    """Checks that a resumed run has the same model, vocabulary and configuration.

    Args:
        old, new: descriptions returned by `RunFolder.read_config` and `describe_run`.
        free: the parts of `config` that may differ.

    Raises:
        InputError: one of them differs; the message names the field with its old and new values.

    Example:
        >>> one, two = ({"model": None, "vocabulary": None, "config": {"batch": n, "loop": {"steps": n}}} for n in (8, 9))
        >>> check_same_run(one, two)
        Traceback (most recent call last):
        seqjax.errors.InputError: cannot continue with another batch: it was 8, now it is 9
    """
    before, after = ({key: part for key, part in table["config"].items() if key not in free} for table in (old, new))
    refuse_changes("", before, after)  # first, because its message names the flag
    for name in ("model", "vocabulary"):
        refuse_changes(name, old[name], new[name])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
