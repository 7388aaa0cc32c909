"""The training of every cell, by the backend that `auto` takes beside the plain scan."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

import seqjax
from benchmarks.harness import REFERENCE, SUMS, JaxWork, Values, Work
from benchmarks.pictures import bars
from benchmarks.suites import Case, Entries, Selection
from seqjax.recurrence.backends import Backend

TITLE = "training of every cell: the plain scan's time relative to that of `auto`"
SHAPED = True
TABLES = ("ratio", "time")
PICTURE = functools.partial(bars, measure="above 1 `auto` is faster; whiskers: quartiles", compares_cells=True)

SHAPES = ((128, 32, 128, 128), (50, 100, 128, 256))
VARIANTS = {
    "LSTM": {},
    "no input gate": {"input_gate": False},
    "no forget gate": {"forget_gate": False},
    "no output gate": {"output_gate": False},
    "no input activation": {"input_activation": "linear"},
    "no output activation": {"output_activation": "linear"},
    "coupled gates": {"coupled": True},
    "peepholes": {"peepholes": True},
    "gate recurrence": {"gate_recurrence": True},
    "LSTM, layer norm": {"layer_norm": True},
}


def projected(input_size: int, hidden_size: int) -> seqjax.LSTM:
    """An LSTM with a projection to half of its units."""
    return seqjax.LSTM(input_size, hidden_size, projection_size=max(hidden_size // 2, 1))


CELLS = {name: functools.partial(seqjax.LSTM, **fields) for name, fields in VARIANTS.items()} | {
    "projection": projected,
    "multiplicative LSTM": seqjax.MultiplicativeLSTM,
    "sLSTM": seqjax.SLSTM,
    "GRU": seqjax.GRU,
    "GRU, reset before": functools.partial(seqjax.GRU, reset_after=False),
    "GRU, layer norm": functools.partial(seqjax.GRU, layer_norm=True),
    "MGU": seqjax.MGU,
    "MUT1": seqjax.MUT1,
    "MUT2": seqjax.MUT2,
    "MUT3": seqjax.MUT3,
    "recurrent highway": seqjax.RecurrentHighway,
    "Elman": seqjax.Elman,
    "IndRNN": seqjax.IndRNN,
    "minGRU": seqjax.MinGRU,
    "minLSTM": seqjax.MinLSTM,
    "SRU": seqjax.SRU,
    "QRNN": seqjax.QRNN,
    "LRU": seqjax.LRU,
    "RG-LRU": seqjax.RGLRU,
    "S4D": seqjax.S4D,
    "time delay": seqjax.TimeDelay,
}
ADDS_ITS_INPUT = ("MUT1", "MUT2")  # so that D = H


def cases(selection: Selection) -> list[Case]:
    selected = []
    for T, B, D, H in (selection.shapes or SHAPES) if "training" in selection.modes else ():
        for name, make in CELLS.items():
            cell = make(input_size=H if name in ADDS_ITS_INPUT else D, hidden_size=H)
            facts = {"cell": name, "mode": "training", "T": T, "B": B, "D": D, "H": H}
            selected.append(Case(facts, functools.partial(build, cell, T, B, selection.dtype)))
    return selected


def build(cell: seqjax.Cell, steps: int, rows: int, dtype: str) -> Entries:
    random = np.random.default_rng(0)

    def draw(shape, scale=1.0):
        return jnp.asarray(scale * random.standard_normal(shape), dtype)

    forms = jax.eval_shape(cell.init, jax.random.key(0))
    params = jax.tree.map(lambda a: draw(a.shape, a.shape[-2] ** -0.5 if a.ndim > 1 else 0.1), forms)
    xs = draw((rows, steps, *(cell.input_shape or ())))
    ys = jax.eval_shape(lambda: seqjax.unroll(cell, params, xs)[1])
    cotangent = draw(ys.shape, 1 / math.sqrt(steps))

    def values(out) -> Values:
        ys, of_params, of_xs = out
        named = {"outputs": ys, "gradient of inputs": of_xs}
        named |= {f"{SUMS} {jax.tree_util.keystr(path)}": a for path, a in jax.tree.leaves_with_path(of_params)}
        return {name: np.asarray(a, np.float32) for name, a in named.items()}

    def work(backend: Backend) -> JaxWork:
        def training(params, xs, cotangent):
            ys, pull = jax.vjp(lambda params, xs: seqjax.unroll(cell, params, xs, backend=backend)[1], params, xs)
            return ys, *pull(cotangent)

        return JaxWork(function=training, args=(params, xs, cotangent), values=values)

    works: dict[str, Work] = {REFERENCE: work("auto"), 'backend="scan"': work("scan")}
    return works, {}
