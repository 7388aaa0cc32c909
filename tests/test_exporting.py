"""Exported programs: loaded where seqjax cannot be imported, they give the library's results."""

import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax
from seqjax import GRU, LSTM, InputError, Stack, export, plain, register, truncated, unroll
from seqjax.attention import Attentive, General
from seqjax.compose import Dropout
from seqjax.models import LanguageModel, Seq2Seq, Symbols
from seqjax.noise import Noise

RUN = """
import pathlib, pickle, sys
sys.modules["seqjax"] = None  # importing it fails
import jax
for path in sorted(pathlib.Path(".").glob("*.jax")):
    arguments = pickle.loads(path.with_suffix(".in").read_bytes())
    results = jax.export.deserialize(bytearray(path.read_bytes())).call(*arguments)
    path.with_suffix(".out").write_bytes(pickle.dumps(jax.device_get(results)))
"""


def _shapes(tree, **sizes):
    """The types of arrays, with symbols in place of sizes."""
    names = jax.export.symbolic_shape(", ".join(sizes))
    symbols = dict(zip(sizes.values(), names, strict=True))
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct([symbols.get(n, n) for n in a.shape], a.dtype), tree)


def test_programs_run_without_seqjax_and_equal_the_library(tmp_path, as_user):
    import pickle

    rng = np.random.default_rng(0)
    lstm, gru = LSTM(input_size=3, hidden_size=4), GRU(input_size=3, hidden_size=4)
    params = lstm.init(jax.random.key(0))
    xs, lengths = rng.normal(size=(9, 11, 3)).astype(np.float32), np.arange(9, dtype=np.int32)
    language = LanguageModel(vocabulary_size=5, cell=Stack((gru, Dropout(0.1))), embedding_size=3, start_symbol=1)
    attention = General(query_size=4, memory_size=4)
    decoder = Attentive(cell=gru, attention=attention, output_size=4)
    encoder = Symbols(size=7, embedding_size=3, cell=gru)
    translator = Seq2Seq(encoder=encoder, decoder=decoder, target_size=6, embedding_size=3, start_symbol=1, end_symbol=2)
    of_language, of_translator = language.init(jax.random.key(1)), translator.init(jax.random.key(2))
    tokens = rng.integers(0, 5, (9, 11)).astype(np.int32)
    prompts = {"tokens": tokens, "tokens_lengths": lengths}
    sources = {"source": tokens, "source_lengths": lengths}
    programs = {
        "unroll": (lambda xs, lengths: unroll(lstm, params, xs, lengths=lengths), xs, lengths),
        "step": (lambda s, x: lstm.step(params, s, x), lstm.initial_state(params, (9,)), xs[:, 0]),
        "language": (lambda *a: language.step(of_language, *a), *language.start(of_language, prompts)),
        "translator": (lambda *a: translator.step(of_translator, *a), *translator.start(of_translator, sources)),
        "reads": (lambda batch: translator.start(of_translator, batch), sources),
    }
    expected = {}
    for name, (function, *arguments) in programs.items():
        program = export(function, *_shapes(arguments, rows=9, steps=11))
        (tmp_path / f"{name}.jax").write_bytes(program.serialize())
        (tmp_path / f"{name}.in").write_bytes(pickle.dumps(jax.device_get(plain(tuple(arguments)))))
        expected[name] = plain(jax.jit(function)(*arguments))
    done = as_user("-c", RUN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in programs:
        results = pickle.loads((tmp_path / f"{name}.out").read_bytes())
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), results, expected[name])


@pytest.mark.slow
@pytest.mark.parametrize("window", [pytest.param(None, marks=pytest.mark.slow), 3])
def test_chunks_of_an_unknown_number_of_steps(window):
    cell = LSTM(input_size=3, hidden_size=4)
    params = cell.init(jax.random.key(0))

    def gradients(params, xs):
        def total(params, xs):
            state, ys = unroll(cell, params, xs, remat=3) if window is None else truncated(cell, params, xs, window=window)
            return (ys**2).sum() + state.c.sum()

        return jax.grad(total, (0, 1))(params, xs)

    xs = np.sin(np.arange(42.0, dtype=np.float32)).reshape(2, 7, 3)
    results = export(gradients, *_shapes((params, xs), rows=2, steps=7)).call(params, xs)
    expected = jax.jit(gradients)(params, xs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), results, expected)


HOMES = tuple(f"seqjax.{home}" for home in ("attention", "cells", "compose", "layers", "models", "train.state", "weighted"))


def test_every_named_tuple_that_a_state_or_result_holds_can_be_serialised():
    unregistered = []
    for info in pkgutil.walk_packages(seqjax.__path__, "seqjax."):
        module = importlib.import_module(info.name)
        for name, kind in vars(module).items():
            own = inspect.isclass(kind) and issubclass(kind, tuple) and kind.__module__ == info.name
            if own and info.name.startswith(HOMES) and not name.startswith("_"):
                try:
                    seqjax.serial.registered_name(kind)
                except InputError:
                    unregistered.append(f"{info.name}.{name}")
    assert not unregistered


def test_states_with_noise_and_of_a_user_are_serialised():
    from typing import NamedTuple

    class Doubled(NamedTuple):
        both: tuple

    register(Doubled)
    state = Doubled((Noise.off((2,)), jnp.ones(2)))
    program = jax.export.export(jax.jit(lambda s: s))(state)
    loaded = jax.export.deserialize(program.serialize())
    assert jax.tree.structure(loaded.call(state)) == jax.tree.structure(state)
