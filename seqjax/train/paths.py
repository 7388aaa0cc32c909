"""Parameters chosen by their paths, such as "cell/0/bias"."""

import fnmatch
from collections.abc import Sequence

import jax

from seqjax.errors import InputError
from seqjax.types import Params


def paths_of(params: Params) -> list[str]:
    """The path of each parameter, in the order of the leaves.

    Example:
        >>> paths_of({"cell": {"bias": 0.0, "kernel": 1.0}})
        ['cell/bias', 'cell/kernel']
    """
    return [_path(path) for path, _ in jax.tree.leaves_with_path(params)]


def matching(params: Params, patterns: Sequence[str], *, name: str):
    """A pytree of bools with the structure of the parameters: True where one of the patterns matches the path.

    Args:
        params: the parameters.
        patterns: as in a shell, such as "*/bias" or "embedding/*"; `*` stands for any characters, "/" too.
        name: the setting with the patterns, for the message.

    Raises:
        InputError: a pattern matches no parameter; the message lists the paths.

    Example:
        >>> matching({"cell": {"bias": 0.0, "kernel": 1.0}}, ("*/bias",), name="optimizer.frozen")
        {'cell': {'bias': True, 'kernel': False}}
    """
    paths = paths_of(params)
    for pattern in patterns:
        if not fnmatch.filter(paths, pattern):
            raise InputError(f"{name} has the pattern {pattern!r}, which matches no parameter: the paths are {', '.join(paths)}")
    return jax.tree.map_with_path(lambda path, _: any(fnmatch.fnmatchcase(_path(path), each) for each in patterns), params)


def constants(params: Params):
    """A pytree of bools with the structure of the parameters: True for variables that are never trained.

    These are the collections that a Linen module has beside its "params", such as "batch_stats".

    Example:
        >>> constants({"cell": {"params": {"kernel": 0.0}, "batch_stats": {"mean": 0.0}}, "bias": 0.0})
        {'bias': False, 'cell': {'batch_stats': {'mean': True}, 'params': {'kernel': False}}}
    """
    paths = [[getattr(part, "key", None) for part in path] for path, _ in jax.tree.leaves_with_path(params)]
    modules = {tuple(path[:n]) for path in paths for n in range(len(path)) if path[n] == "params"}
    flags = [any(tuple(path[:n]) in modules and path[n] != "params" for n in range(len(path))) for path in paths]
    return jax.tree.unflatten(jax.tree.structure(params), flags)


def _path(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
