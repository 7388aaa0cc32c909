"""Settings of the optimizer that a resumed run may have changed, if they are named."""

from collections.abc import Mapping
from typing import Any

from experiments import command_line
from seqjax.errors import InputError


def named_changes(config, before: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The settings that --change names and whose value differs from the resumed run's: {"setting", "from", "to"} of each.

    Args:
        config: the experiment's config, with `change`.
        before: the description of the run that is resumed; None: a new run.

    Raises:
        InputError: a new run, or a setting that is not one of the optimizer's.
    """
    if not config.change:
        return []
    if before is None:
        raise InputError(f"--change {' '.join(config.change)}: only a run that is resumed has settings to change")
    now, changes = command_line.flatten(config), []
    for name in (name.removeprefix("--").replace("-", "_") for name in config.change):
        if name not in now or not name.startswith("optimizer."):
            may = ", ".join(each for each in now if each.startswith("optimizer."))
            raise InputError(f"change is {name}: a resumed run may change {may}")
        old, new = before["config"]["optimizer"].get(name.removeprefix("optimizer.")), now[name]
        new = list(new) if isinstance(new, tuple) else new
        if old != new:
            changes.append({"setting": name, "from": old, "to": new})
    return changes
