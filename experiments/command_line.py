"""The command line of every experiment: verbs, presets that flags override, and one-line errors."""

import contextlib
import dataclasses
import io
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from seqjax.errors import InputError, InputWarning
from seqjax.train.output import discard, say

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True)
class Program:
    """An experiment's command line; `str` gives the command to type before a verb, with the running Python.

    Args:
        experiment: the name of its folder in `experiments`.
        presets: configs by name, all of the same dataclass.

    Example:
        >>> str(Program("language_model", {})).endswith(" -m experiments.language_model")
        True
    """

    experiment: str
    presets: Mapping[str, Any]

    def __str__(self) -> str:
        python, ours = shutil.which("python"), os.path.dirname(sys.executable)
        if python and os.path.dirname(python) == ours:
            return f"python -m experiments.{self.experiment}"
        return f"{min(sys.executable, os.path.relpath(sys.executable), key=len)} -m experiments.{self.experiment}"


def run_verbs(program: Any, verbs: Mapping[str, Callable[[list[str]], Any]], argv: Sequence[str]) -> int:
    """Calls the verb that `argv` names.

    Args:
        program: the command before the verb, for messages.
        verbs: functions of the arguments after the verb; the first line of a function's docstring is its help.
        argv: the arguments.

    Returns:
        The exit code: 0; 2 after a wrong input or a full disk, with one line on stderr; 130 after Ctrl-C outside of training;
        141 after a closed pipe. A run that a signal stops ends by SystemExit, see `session.exit_if_stopped`.
    """
    for stream in (sys.stdout, sys.stderr):  # so that any symbol can be printed in any locale
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: {program} VERB [flags]   (VERB --help lists its flags)")
        for name, verb in verbs.items():
            print(f"  {name:8} {(verb.__doc__ or '').splitlines()[0]}")
        return 0 if argv else 2
    try:
        _read_as_utf8(argv)
        if argv[0] not in verbs:
            raise InputError(f"unknown verb {argv[0]!r}: it must be one of {', '.join(verbs)}")
        with _warnings_in_one_line():
            verbs[argv[0]](list(argv[1:]))
    except BrokenPipeError:  # `... sample DIR | head`
        discard(sys.stdout)
        return 141
    except KeyboardInterrupt:  # outside training, which saves and ends on Ctrl-C
        return 130
    except UnicodeEncodeError as error:  # of a path
        say(f"error: this locale cannot name {error.object!a}: set PYTHONUTF8=1", sys.stderr)
        return 2
    except (InputError, OSError) as error:
        say(f"error: {as_flags(str(error), program)}", sys.stderr)
        return 2
    return 0


def _read_as_utf8(argv: Sequence[str]):
    """Starts Python anew in its UTF-8 mode if the locale is another and an argument is not ASCII.

    Raises:
        InputError: an argument is not UTF-8.
    """
    for argument in argv:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            try:
                os.fsencode(argument).decode("utf-8")
            except UnicodeError:
                raise InputError(f"the argument {argument!a} is not UTF-8 text: give UTF-8") from None
            os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def as_flags(message: str, program: Any) -> str:
    """A message with the fields of a config, such as model.hidden_size, as the flags that a user types: --model.hidden-size."""
    preset = next(iter(getattr(program, "presets", {}).values()), None)
    fields = set() if preset is None else {name for name in flatten(preset) if "." in name}
    flag = lambda match: "--" + match[0].replace("_", "-") if match[0] in fields else match[0]  # noqa: E731
    return re.sub(r"(?<![\w./-])[a-z]\w*(\.[a-z]\w*)+(?![\w./])", flag, message)


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """A context in which an InputWarning is printed as one line on stderr, once."""
    told: set[str] = set()

    def show(message, category, *place, **more):
        text = f"warning: {message}" if issubclass(category, InputWarning) else f"{category.__name__}: {message}"
        if text not in told:
            told.add(text)
            say(text, sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def renamed(**names: str) -> Iterator[None]:
    """A context that renames the library's arguments to flags in errors raised inside it.

    Args:
        **names: {argument: flag}.

    Example:
        >>> with renamed(width="beam"):
        ...     raise InputError("width is 0")
        Traceback (most recent call last):
        seqjax.errors.InputError: beam is 0
    """
    try:
        yield
    except InputError as error:
        raise InputError(re.sub(r"\w+", lambda word: names.get(word[0], word[0]), str(error))) from None


def parse(config_type: type[Config], argv: Sequence[str], *, program: str, default: Config | None = None) -> Config:
    """Parses flags to a config.

    Args:
        config_type: a frozen dataclass; its docstring and its fields' comments or docstrings are the help.
        argv: the flags.
        program: the command, for the help.
        default: the config that the flags change; None: the dataclass's defaults.

    Returns:
        The config; on an unknown flag, the parser prints its own message and exits with code 2.
    """
    import tyro

    options: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(config_type, args=list(argv), prog=program, config=(tyro.conf.AvoidSubcommands,), **options)


def take_flag(argv: Sequence[str], flag: str) -> tuple[str | None, list[str]]:
    """Removes a flag from the arguments: (its value or None, the other arguments).

    Raises:
        InputError: the flag stands last, without a value.

    Example:
        >>> take_flag(["--preset", "tiny", "--seed", "1"], "--preset")
        ('tiny', ['--seed', '1'])
        >>> take_flag(["--preset=tiny"], "--preset")
        ('tiny', [])
    """
    value, rest, arguments = None, [], iter(argv)
    for argument in arguments:
        if argument.startswith(f"{flag}="):
            value = argument.removeprefix(f"{flag}=")
        elif argument == flag:
            value = next(arguments, None)
            if value is None:
                raise InputError(f"{flag} has no value: give {flag} NAME")
        else:
            rest.append(argument)
    return value, rest


def pick_preset(presets: Mapping[str, Config], name: str) -> Config:
    """A preset by name.

    Raises:
        InputError: there is no preset of that name.
    """
    if name not in presets:
        raise InputError(f"unknown preset {name!r}: it must be one of {', '.join(presets)}")
    return presets[name]


def flatten(config) -> dict[str, Any]:
    """A nested dataclass as {"data.path": value, ...}, in the order of its fields."""
    flat = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat |= {f"{field.name}.{name}": inner for name, inner in flatten(value).items()}
        else:
            flat[field.name] = value
    return flat


def differences(config, preset) -> dict[str, Any]:
    """The fields of a config that differ from the preset, flat, with their values."""
    base = flatten(preset)
    return {name: value for name, value in flatten(config).items() if base[name] != value}


def from_dict(default: Any, values: Mapping[str, Any]) -> Any:
    """A nested dataclass with the values of a nested dict, as in config.json; other fields as in `default`.

    Raises:
        InputError: the dict has a field that the dataclass does not have.
    """
    fields = {}
    for name, value in values.items():
        if not hasattr(default, name):
            raise InputError(f"the config has {name!r}, which {type(default).__name__} does not have: another version wrote it")
        inner = getattr(default, name)
        is_group = dataclasses.is_dataclass(inner) and isinstance(value, Mapping)
        fields[name] = from_dict(inner, value) if is_group else tuple(value) if isinstance(value, list) else value
    return dataclasses.replace(default, **fields)
