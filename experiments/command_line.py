"""The command line of every experiment: verbs, presets that flags override, and one-line errors."""

import contextlib
import dataclasses
import io
import itertools
import os
import re
import shutil
import sys
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax

from experiments.limits import checked, idle
from seqjax.annotations import check_of
from seqjax.checks import shown
from seqjax.errors import InputError, InputWarning
from seqjax.train.output import discard, say

Config = TypeVar("Config")
_FLAGS: dict[str, str] = {}  # the flags that the running command has parsed, by the dotted names of their settings


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
        141 after a closed pipe. A run that a signal stops ends by SystemExit, see `train_verb.exit_if_stopped`.
    """
    _FLAGS.clear()
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
        message = str(error)
        if isinstance(error, OSError) and error.filename is not None:
            message = f"{error.filename}: {error.strerror}"
        say(f"error: {as_flags(message)}", sys.stderr)
        return 2
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        reason = (str(error).splitlines() or ["too little memory"])[0][:150]
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in reason:
            raise
        say(f"error: out of memory: {reason}: give a smaller model or batch", sys.stderr)
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


def as_flags(message: str) -> str:
    """A message with the names of settings as the flags that a user types: model.hidden_size as --model.hidden-size.

    These are dotted names, and at the message's beginning the last part of a dotted name, such as `beam` of search.beam.
    """
    message = re.sub(r"(?<![\w./-])[a-z]\w*(\.[a-z]\w*)+(?![\w./])", lambda match: _FLAGS.get(match[0], match[0]), message)
    start = r"([A-Z]\w*\.)?([a-z]\w*)(?= (is|are|has|names|needs)\b| ['\"\d-])"  # a class of settings may stand before it
    name = re.match(start, message)
    if name:
        flags = [flag for path, flag in _FLAGS.items() if path.endswith(f".{name[2]}")]
        own = _FLAGS.get(name[2]) or (flags[0] if len(flags) == 1 else name[0])
        message = own + message[name.end() :]
    return message


def _flags_of(config_type: Any, path: str = "", flag: str = "--") -> Iterator[tuple[str, str]]:
    """The dotted name and the flag of each setting of a config, in groups with or without prefixes."""
    from tyro.conf import OmitArgPrefixes, Positional

    hints = typing.get_type_hints(config_type, include_extras=True)
    for name, hint in ((field.name, hints[field.name]) for field in dataclasses.fields(config_type)):
        marks = getattr(hint, "__metadata__", ())
        inner = typing.get_args(hint)[0] if marks else hint
        if dataclasses.is_dataclass(inner):
            yield from _flags_of(
                inner, f"{path}{name}.", flag if OmitArgPrefixes in marks else f"{flag}{name.replace('_', '-')}."
            )
        else:
            yield path + name, name.upper() if Positional in marks else flag + name.replace("_", "-")


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
        The config.

    Raises:
        InputError: an unknown flag, or a value that is wrong; the message names the flag.
    """
    import tyro

    options: dict[str, Any] = {} if default is None else {"default": default}
    _FLAGS.clear()
    _FLAGS.update(_flags_of(config_type))
    told = io.StringIO()
    try:
        with _wide(argv), contextlib.redirect_stderr(told):
            config = tyro.cli(config_type, args=list(argv), prog=program, config=(tyro.conf.AvoidSubcommands,), **options)
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise InputError(_in_one_line(told.getvalue(), argv)) from None
    _refuse_idle(config, default, argv)
    return checked(config)


def _refuse_idle(config: Any, default: Any, argv: Sequence[str]):
    """Raises InputError if a flag has no effect: it has no value, and takes none of the default's away, or needs another flag."""
    values, before = flatten(config), {} if default is None else flatten(default)
    given = {argument.partition("=")[0].replace("_", "-") for argument in argv}
    for path, flag in _FLAGS.items():
        if flag in given and values[path] == before.get(path, ()) == ():
            raise InputError(f"{flag} has no value: give at least one, or leave it out")
    for path, reason in idle(config):
        if _FLAGS[path] in given:
            raise InputError(f"{path} is given and has no effect: {reason}")


@contextlib.contextmanager
def _wide(argv: Sequence[str]) -> Iterator[None]:
    """A context in which the flag parser breaks no line of a message; its help is as wide as the terminal."""
    before = os.environ.get("COLUMNS")
    if not {"-h", "--help"} & set(argv):
        os.environ["COLUMNS"] = "10000"
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        if before is not None:
            os.environ["COLUMNS"] = before


def _in_one_line(box: str, argv: Sequence[str]) -> str:
    """The message in the box that the flag parser draws: below its title, parts between rules, of which some are help."""
    lines = [line.strip(" \u2502\u256d\u256e\u2570\u256f") for line in box.strip().splitlines()[1:]]  # without its frame
    parts = [" ".join(part.split()) for part in re.split(r"^[-\u2500]{9,}$", "\n".join(lines), flags=re.MULTILINE)]
    message = "; ".join(part for part in parts if part and not part.startswith(("For full", "Argument helptext")))
    if message.startswith("Missing from"):
        flags = re.findall(r"--[\w.-]+", message)
        return f"the flag {' and '.join(flags)} is missing: it has no default"
    place, _, reason = message.removeprefix("Error parsing ").partition(": ")
    if not message.startswith("Error parsing "):
        return message
    if not place.startswith("--"):  # refused by the config, or by a group of it
        name = re.match(r"\w+", reason)
        path = f"{place}.{name[0]}" if name else ""
        return _FLAGS[path] + reason.removeprefix(name[0]) if name and path in _FLAGS else reason
    expected = re.search(rf"Argument helptext: {re.escape(place)} (\S+)", " ".join(parts))
    values = itertools.takewhile(lambda argument: not argument.startswith("--"), _after(argv, place))
    right = expected[1].replace("{None}|", "None or ") if expected else reason
    return f"{place} is {' '.join(values)}, it must be {right.replace('INT', 'an integer').replace('FLOAT', 'a number')}"


def _after(argv: Sequence[str], flag: str) -> list[str]:
    """The arguments that follow a flag, its value after an equals sign among them."""
    for n in reversed(range(len(argv))):  # the last one counts
        name, equals, value = argv[n].partition("=")
        if name.replace("_", "-") == flag:
            return [value] if equals else [*argv[n + 1 :]]
    return []


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


def from_dict(default: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    """A nested dataclass with the values of a nested dict, as in config.json; other fields as in `default`.

    Args:
        default: the dataclass.
        values: of some of its fields.
        prefix: before the names of fields in messages.

    Raises:
        InputError: the dict has a field that the dataclass does not have, or a value of another type.

    Example:
        >>> from_dict(Program("a", {}), {"experiment": 3})
        Traceback (most recent call last):
        seqjax.errors.InputError: experiment is 3, it must be a string
    """
    fields, hints = {}, typing.get_type_hints(type(default))
    for name, value in values.items():
        if not hasattr(default, name):
            raise InputError(f"the config has {name!r}, which {type(default).__name__} does not have: another version wrote it")
        inner = getattr(default, name)
        if dataclasses.is_dataclass(inner):
            if not isinstance(value, Mapping):
                raise InputError(f"{prefix}{name} is {shown(value)}, it must be a group of settings")
            fields[name] = from_dict(inner, value, f"{prefix}{name}.")
            continue
        value, check = tuple(value) if isinstance(value, list) else value, check_of(hints[name])
        fields[name] = value if check is None else check(prefix + name, value)
    return dataclasses.replace(default, **fields)
