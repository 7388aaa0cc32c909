"""Every peer computes what seqjax computes, from the same weights: outputs, last states, gradients, a training step, symbols."""

import functools

import jax
import numpy as np
import pytest

from benchmarks import harness, peers, suites
from benchmarks.harness import REFERENCE, Pace
from benchmarks.network import FORMS, Network, make_data, make_weights
from benchmarks.peers import LayerTask
from benchmarks.suites import RESET_BEFORE, compete, decode, language_model, translation
from experiments.translation.config import Network as Sizes
from seqjax.errors import InputError

OTHERS = [name for name in peers.NAMES if name != REFERENCE]
QUICK = Pace(rounds=1, slice=1e-9, idle=0.0)

# The libraries' own warnings and promotions of ranks and dtypes are allowed.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("implicit_promotion")]


@pytest.fixture(autouse=True)
def implicit_ranks():
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(params=OTHERS)
def peer(request):
    if not peers.installed(request.param):
        pytest.skip(f"needs {peers.NAMES[request.param][0]} (the extra `bench`); not here")
    return request.param


NETWORKS = {  # with and without lengths; the first that a peer has
    "lstm": [(Network("lstm", 5, 4, layers=2, bidirectional=True), False), (Network("lstm", 5, 7), False)],
    "gru": [(Network("gru", 5, 7), True), (Network("gru", 5, 7), False)],
}


@pytest.mark.parametrize("cell", NETWORKS)
def test_peer_computes_what_seqjax_computes(peer, cell):
    for network, lengths in NETWORKS[cell]:
        works, missing = compete(LayerTask(network, steps=6, rows=3, mode="training", lengths=lengths), (peer,))
        if peer not in missing:
            break
    assert peer not in missing
    records = harness.measure(works, QUICK)  # raises where anything differs
    assert 0 <= records[peer]["difference"] < 1e-4
    form = peers.load(peer).gru if network.cell == "gru" else "after"
    assert records[peer]["against"] == (RESET_BEFORE if form == "before" else REFERENCE)
    values = works[peer].values(works[peer].call())
    assert "gradient of weights layer 0 recurrent_kernel" in values and "gradient of inputs" in values
    assert ("last state" in values) == lengths
    assert all(np.abs(array).max() > 0 for array in values.values())


@pytest.mark.parametrize("task", ["language_model", "decode"])
def test_peer_models_language_as_seqjax_does(peer, task):
    network = Network("lstm", 5, 7, layers=2)
    tasks = {"language_model": language_model.TrainingTask(network, 11, 6, 3), "decode": decode.DecodingTask(network, 11, 3, 8)}
    works, missing = suites.compete_in(task, tasks[task], (peer,))
    if peer in missing:
        pytest.skip(f"{peer} {missing[peer]}")
    records = harness.measure(works, QUICK)
    assert records[peer]["difference"] < 1e-4


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize(("tied", "end_bias"), [("none", -1.0), ("all", 0.75)])
def test_peer_translates_as_seqjax_does(peer, tied, end_bias, width):
    sizes = Sizes(hidden_size=7, embedding_size=5, tied=tied, dropout=0.5)
    task = translation.TranslationTask(sizes, 12, rows=6, width=width, length=8, end_bias=end_bias)
    works, missing = suites.compete_in("translate", task, (peer,))
    if peer in missing:
        pytest.skip(f"{peer} {missing[peer]}")
    records = harness.measure(works, QUICK)
    assert records[peer]["difference"] < 1e-4
    ended = works[peer].values(works[peer].call())["tokens"] == task.end
    assert len(set(ended.sum(axis=1))) == 1 + (end_bias > 0)  # some rows are done before others


def test_nothing_ends_where_translation_is_timed():
    task = translation.TranslationTask(Sizes(hidden_size=7, embedding_size=5), 12, rows=6, width=3, length=8)
    works, _ = suites.compete_in("translate", task, ())
    values = works[REFERENCE].values(works[REFERENCE].call())
    assert values["tokens"].shape == (6, 8) and (values["tokens"] > task.start).all()


def test_translation_is_measured_on_the_presets():
    names = {str(case) for case in translation.cases(suites.Selection(("torch",)))}
    assert len(names) == 8 and "multi30k beam 5 64 rows 5000 20,256,256" in names and "tiny greedy 1 row 120 20,64,128" in names


def test_a_wrong_weight_is_found(monkeypatch):
    linen = peers.load("linen")
    make = linen.recurrent

    def wrong(network, weights):
        model = make(network, weights)
        return model._replace(weights=jax.tree.map(lambda a: a + np.float32(0.01) * (a.ndim == 1), model.weights))

    monkeypatch.setattr(linen, "recurrent", wrong)
    works, _ = compete(LayerTask(Network("lstm", 5, 7), 6, 3, "forward"), ("linen",))
    with pytest.raises(InputError, match="linen does not compute what seqjax computes: outputs"):
        harness.measure(works, QUICK)


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_a_form(form):
    (weights,) = make_weights(Network("gru", 5, 7, form=form))[0]
    assert ("recurrent_bias" in weights) == (form != "before")
    assert form != "unbiased" or not weights["recurrent_bias"].any()
    assert all(array.any() for name, array in weights.items() if name != "recurrent_bias")


def test_lengths_are_spread_and_padding_has_no_gradient():
    data = make_data(Network("lstm", 2, 3), steps=16, rows=4, lengths=True)
    assert sorted(data.lengths) == [4, 8, 12, 16]
    for row, length in enumerate(data.lengths):
        assert not data.cotangent[length:, row].any() and data.cotangent[:length, row].all()


def test_every_peer_gets_the_same_weights(monkeypatch):
    drawn = []
    draw = functools.partial(make_weights, seed=0)
    monkeypatch.setattr(peers, "make_weights", lambda network: drawn.append(draw(network)) or drawn[-1])
    compete(LayerTask(Network("lstm", 5, 7), 6, 3, "forward"), ("linen", "nnx"))
    first, *others = (weights[0][0] for weights in drawn)
    assert len(others) == 2
    for other in others:
        assert all((first[name] == other[name]).all() for name in first)
