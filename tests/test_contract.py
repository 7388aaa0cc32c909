"""The laws for the whole catalogue, and cells that break a law, which `check_cell` must catch."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

from seqjax import LSTM, CompositeCell, Elman, InputError, from_json, to_json
from seqjax.cells.elman import ElmanState
from seqjax.cells.lstm import LSTMState
from seqjax.compose import Stack
from seqjax.contracts import Cell
from seqjax.products import product
from seqjax.testing import check_cell
from tests.catalog import CATALOG, SLOW, check_options

GOLDEN_TREES = pathlib.Path(__file__).parent / "goldens" / "parameter_trees.json"


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in CATALOG])
def test_laws(name):
    check_cell(CATALOG[name], **check_options(name), report=print)


@pytest.mark.parametrize("name", CATALOG)
def test_json(name):
    cell = CATALOG[name]
    restored = from_json(json.loads(json.dumps(to_json(cell))))
    assert restored == cell
    assert hash(restored) == hash(cell)


@pytest.mark.parametrize("name", CATALOG)
def test_parameter_tree(name):
    """Saved parameters depend on these names, shapes and dtypes. To change one, edit the golden by hand."""
    params = jax.eval_shape(CATALOG[name].init, jax.random.key(0))
    tree = {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(params)
    }
    assert tree == json.loads(GOLDEN_TREES.read_text())[name]


def test_json_is_read_in_a_fresh_process(as_user):
    text = json.dumps(to_json(CATALOG["chain"]))
    done = as_user("-c", f"import json, seqjax; print(seqjax.from_json(json.loads({text!r})))")
    assert done.stdout.strip() == str(CATALOG["chain"]), done.stderr


def test_a_cell_of_a_user_that_is_not_registered_is_refused_by_name():
    with pytest.raises(InputError, match=r"type BatchLeak is not registered: call seqjax\.register\(BatchLeak\) once"):
        to_json(Stack((BatchLeak(input_size=2, hidden_size=3),)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchLeak(Elman):
    """Adds the mean over the batch to every row."""

    def recur(self, params, state, z, *, dot=product, context=None):
        state, y = super().recur(params, state, z, dot=dot, context=context)
        leak = 0.1 * jnp.broadcast_to(state.h.mean(0, keepdims=True), state.h.shape) if state.h.ndim == 2 else 0 * state.h
        return ElmanState(state.h + leak), y


@dataclasses.dataclass(frozen=True, kw_only=True)
class DtypeChange(Elman):
    """Its state takes on the dtype of the parameters."""

    def recur(self, params, state, z, *, dot=product, context=None):
        state, y = super().recur(params, state, z, dot=dot, context=context)
        return ElmanState(state.h.astype(params["recurrent_kernel"].dtype)), y


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundedBias(Elman):
    """Its projection rounds the bias to the dtype of the kernel, in long sequences only."""

    def project(self, params, xs):
        narrow = params["input_kernel"].dtype if xs.size > 10_000 else params["bias"].dtype
        return super().project(params | {"bias": params["bias"].astype(narrow)}, xs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeighbourProject(Elman):
    """Its projection reads the preceding step."""

    def project(self, params, xs):
        zs = super().project(params, xs)
        return zs + 0.1 * jnp.roll(zs, 1, axis=0) if zs.ndim > 1 else zs


@dataclasses.dataclass(frozen=True)
class PaddingLeak(CompositeCell):
    """Runs its cell as if no step were masked."""

    cell: Cell

    @property
    def input_shape(self):
        return self.cell.input_shape

    def init(self, key):
        return self.cell.init(key)

    def initial_state(self, params, batch_shape=(), *, context=None, key=None):
        return self.cell.initial_state(params, batch_shape, context=context, key=key)

    def project(self, params, xs):
        return self.cell.project(params, xs)

    def recur(self, params, state, z, *, dot=product, context=None):
        return self.cell.recur(params, state, z, dot=dot, context=context)

    def unroll(self, params, xs, state, *, mask=None, **options):
        return Stack((self.cell,)).unroll({"0": params}, xs, (state,), **options)[0][0], xs[..., :1]


@dataclasses.dataclass(frozen=True)
class MaskIgnored(PaddingLeak):
    """As PaddingLeak, with the right outputs."""

    def unroll(self, params, xs, state, *, mask=None, **options):
        (state,), ys = Stack((self.cell,)).unroll({"0": params}, xs, (state,), **options)
        return state, ys


@dataclasses.dataclass(frozen=True)
class LooksAhead(PaddingLeak):
    """Its outputs are centred over the steps of the whole sequence."""

    def unroll(self, params, xs, state, **options):
        (state,), ys = Stack((self.cell,)).unroll({"0": params}, xs, (state,), **options)
        return state, ys - jnp.broadcast_to(ys.mean(1, keepdims=True), ys.shape) if ys.shape[1] else ys


@dataclasses.dataclass(frozen=True, kw_only=True)
class HashedByIdentity(Elman):
    """Two equal cells have different hashes, so it is not a value."""

    __hash__ = object.__hash__


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransposesItsKernel(Elman):
    """Every step transposes the recurrent kernel, inside a function of its own."""

    def recur(self, params, state, z, *, dot=product, context=None):
        transposed = jax.jit(jnp.transpose)(params["recurrent_kernel"])
        return super().recur(params | {"recurrent_kernel": transposed}, state, z, dot=dot, context=context)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneBuffer(LSTM):
    """Its state begins with one array twice."""

    def initial_state(self, params, batch_shape=(), *, context=None, key=None):
        zeros = jnp.zeros((*batch_shape, self.hidden_size))
        return LSTMState(zeros, zeros)


SIZES = {"input_size": 2, "hidden_size": 3}


@pytest.mark.parametrize(
    ("cell", "law"),
    [
        (BatchLeak(**SIZES), "row"),  # caught by whichever law compares rows first
        (DtypeChange(**SIZES), r"state of one step with bfloat16 parameters: .* is bfloat16\[3, 3\], was float32\[3, 3\]"),
        (TransposesItsKernel(**SIZES), r"parameters: a step makes a transpose of float32\[3,3\]"),
        (RoundedBias(**SIZES), r"mixed precision: \['bias'\] is float32, rounded to bfloat16"),
        (NeighbourProject(**SIZES), "project treats each row alone"),
        (PaddingLeak(Elman(**SIZES)), "whole sequence == step by step"),
        (MaskIgnored(Elman(**SIZES)), "padding"),
        (LooksAhead(Elman(**SIZES)), "no step sees a later one"),
        (OneBuffer(**SIZES), r"donation: \.h of initial_state is an array that stands elsewhere too"),
        (HashedByIdentity(**SIZES), "value: a copy is not equal"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Cell) else "",
)
def test_wrong_cells_are_caught(cell, law):
    with pytest.raises(AssertionError, match=law) as error:
        check_cell(cell)
    assert f"for {cell}" in error.value.__notes__[0]


def test_a_quick_check_names_each_law_and_takes_no_gradient():
    laws = []
    check_cell(CATALOG["elman"], quick=True, report=laws.append)
    assert "law: causal" in laws
    assert "law: step" not in laws
