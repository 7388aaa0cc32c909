"""Settings out of their limits, in every experiment: refused by the config itself, in one line that names the flag."""

import dataclasses
import importlib
import re

import pytest

from experiments import command_line, limits
from experiments.command_line import as_flags, parse
from experiments.limits import Limits, checked
from experiments.runs import Compare
from experiments.sampling import Output, Sampling
from seqjax.errors import InputError

EXPERIMENTS = ("synthetic", "language_model", "translation", "sequence_classification", "action_recognition")


def default(experiment):
    """The first preset of an experiment."""
    return next(iter(importlib.import_module(f"experiments.{experiment}.config").PRESETS.values()))


def limited(config, prefix=""):
    """The dotted name of each setting that has limits or is a path, with its limits (None: a path) and its value."""
    for name, mark in limits._marks(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from limited(value, f"{prefix}{name}.")
        elif mark is not None:
            yield prefix + name, mark if isinstance(mark, Limits) else None, value


def with_setting(config, path, value):
    """A config with another value of a setting."""
    name, _, rest = path.partition(".")
    return dataclasses.replace(config, **{name: with_setting(getattr(config, name), rest, value) if rest else value})


def wrong_values(limit):
    """Values just outside some limits, and those that are no numbers; the empty path."""
    if limit is None:
        return ("",)
    low = limit.low if limit.above else limit.low - 1
    high = limit.high if limit.below else limit.high + 1 if limit.high < 2**64 else float("inf")
    return low, high, float("nan"), float("-inf")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_setting_out_of_its_limits_is_refused_by_its_name(experiment):
    config, tried = default(experiment), 0
    for path, limit, value in limited(config):
        for wrong in wrong_values(limit):
            given = (wrong,) * max(len(value), 1) if isinstance(value, tuple) else wrong
            with pytest.raises(InputError, match=rf"^{re.escape(path)} is ") as error:
                with_setting(config, path, given)
            assert "\n" not in str(error.value)
            tried += 1
    assert tried >= 40, tried  # malformed settings of this experiment alone


FLAGS = {  # one of each kind of message, as the flag parser, the config or a group of it gives it
    "below its limits": ("--model.hidden-size 0", "--model.hidden-size is 0, it must be from 1 to 1048576"),
    "not a number": ("--model.dropout nan", "--model.dropout is nan, it must be at least 0 and below 1"),
    "of several": ("--ngrams 2 0", "--ngrams is 2 0, each must be from 1 to 1000"),
    "a group's own rule": ("--optimizer.b1 2", "--optimizer.b1 is 2.0, it must be from 0 to 1"),
    "another group's": ("--loop.epochs 0", "--loop.epochs is 0.0, it must be above 0 and finite"),
    "a text": ("--sample.stop=", "--sample.stop has an empty text: give texts of at least one character"),
    "words for a number": ("--loop.steps=2 --loop.steps many", "--loop.steps is many, it must be None or an integer"),
    "too few values": ("--data.split 0.5 0.5", "Missing value for argument '--data.split'. Expected 3 values."),
    "an unknown word": ("--model.per mamba", "invalid choice 'mamba' for argument '--model.per'. Expected one of"),
    "an unknown flag": (
        "--model.hiden-size 3",
        "Unrecognized options: --model.hiden-size, 3; Perhaps you meant: --model.hidden-",
    ),
    "no value": ("--seeds --seed 1", "--seeds has no value: give at least one, or leave it out"),
    "an empty path": ("--run.dir=", "--run.dir is empty: give the path of a file or folder"),
    "a seed": ("--seed -1", "--seed is -1, it must be from 0 to 9223372036854775807"),
    "equal seeds": ("--seeds 1 1", "--seeds is 1 1, they must be different numbers"),
    "nothing to resume": ("--resume-if-there", "--resume-if-there continues the run in --run.dir: give that too"),
}


@pytest.mark.parametrize("case", FLAGS)
def test_a_wrong_flag_is_told_in_one_line_by_the_name_that_was_typed(case):
    flags, message = FLAGS[case]
    config = default("language_model")
    with pytest.raises(InputError) as error:
        parse(type(config), flags.split(), program="train", default=config)
    told = as_flags(str(error.value))
    assert told.startswith(message) and "\n" not in told, told


IDLE = {
    "sequence_classification": (
        "--model.head max --model.pool-size 3",
        "it needs --model.head slow or convolution, which is max",
    ),
    "action_recognition": ("--model.kind none --model.span 3", "it needs --model.kind multi_lstm, which is none"),
    "translation": ("--scheduled-sampling.over 0.5", "it needs --scheduled-sampling.decay linear or exponential or inverse"),
}


@pytest.mark.parametrize("experiment", IDLE)
def test_a_flag_that_needs_another_is_refused_without_it(experiment):
    (flags, message), config = IDLE[experiment], default(experiment)
    with pytest.raises(InputError) as error:
        parse(type(config), flags.split(), program="train", default=config)
    assert as_flags(str(error.value)).startswith(f"{flags.split()[-2]} is given and has no effect: {message}")
    assert dict(limits.idle(config))  # a preset may have such settings


def test_a_flag_without_values_takes_those_of_a_preset_away():
    config = default("language_model")
    assert config.ngrams and parse(type(config), ["--ngrams"], program="train", default=config).ngrams == ()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_settings_of_training_are_fields_of_the_data(experiment):
    data = type(default(experiment).data)
    assert set(data.OF_TRAINING) <= {field.name for field in dataclasses.fields(data)} - {"batch_size", *data.SOURCES}


def test_the_names_of_settings_become_flags_with_and_without_prefixes():
    parse(Compare, ["a"], program="compare")
    assert as_flags("figure 'x' is not there") == "--figure 'x' is not there"
    config = default("language_model")
    parse(type(config), [], program="train", default=config)
    told = "temperature is -1.0, model.hidden_size and a/model.hidden_size, length is 3"  # two flags end with length
    assert as_flags(told) == "--sample.temperature is -1.0, --model.hidden-size and a/model.hidden_size, length is 3"
    assert as_flags("length is 3") == "length is 3"
    assert command_line.parse(Sampling, ["--top-k", "3"], program="sample").top_k == 3
    assert as_flags("top_k is 3, model.hidden_size") == "--top-k is 3, model.hidden_size"  # not flags of this command


def test_a_path_may_begin_with_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    config = default("translation")
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, dir="~/run"), init_from="~/old")
    files = dataclasses.replace(config.data, train=("~/a.en", "/b.fr"), valid=(), vocabulary_from="~nobody-at-all/x")
    config = dataclasses.replace(config, data=files)
    assert (config.run.dir, config.init_from, config.data.train) == (
        "/home/ann/run",
        "/home/ann/old",
        ("/home/ann/a.en", "/b.fr"),
    )
    assert config.data.vocabulary_from == "~nobody-at-all/x"
    assert checked(Output(prompt_file="~/p", output="-")) == Output(prompt_file="/home/ann/p", output="-")
    assert parse(Compare, ["~/a", "b", "--out", "~/c"], program="compare") == Compare(("/home/ann/a", "b"), "/home/ann/c")
