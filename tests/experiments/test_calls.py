"""Cells by the call that makes one."""

import pytest

from experiments.calls import make
from experiments.groups import Recurrent
from experiments.networks import Network, Shape, build_model
from seqjax import GRU, LSTM, MGU, Bidirectional, Chain, Dropout, Elman, InputError, Residual, Stack, Zoneout
from seqjax.contracts import Cell, SequenceLayer
from seqjax.models import Features
from seqjax.serial import registered

SIZES = {"input_size": 4, "hidden_size": 4}


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("GRU", GRU(4, 4)),
        (" lstm( forget_bias = -1.5 ) ", LSTM(4, 4, forget_bias=-1.5)),
        ("Elman(hidden_size=2, recurrent_init='identity')", Elman(4, 2, recurrent_init="identity")),
        ("Residual(GRU)", Residual(GRU(4, 4))),
        ("Stack((GRU, lstm(heads=2)))", Stack((GRU(4, 4), LSTM(4, 4, heads=2)))),
    ],
)
def test_a_call_makes_a_cell(text, cell):
    assert make(text, Cell, SequenceLayer, flag="--model.cell", **SIZES) == cell


def test_every_registered_cell_is_made_or_refused_in_one_line():
    made = set()
    for name in registered(Cell, SequenceLayer):
        try:
            assert type(make(name, Cell, SequenceLayer, flag="--model.cell", **SIZES)).__name__ == name
            made.add(name)
        except InputError as error:
            assert "\n" not in str(error) and (f"{name} lacks" in str(error) or "adds its input" in str(error)), error
    assert made >= {"Elman", "LSTM", "GRU", "MGU", "MUT1", "IndRNN", "SLSTM", "MinGRU", "LRU", "S4D"}


WRONG = {
    "Zoneout": "Zoneout lacks cell, rate: write Zoneout(cell=...)",
    "GRUU": "--model.cell: GRUU is not known: did you mean GRU?",
    "Pooling(3)": "Pooling is not known",
    "xyzzy": "xyzzy is not known: it must be one of",
    "LSTM(forget_bais=1)": "LSTM has no field forget_bais: did you mean forget_bias?",
    "LSTM(zzz=1)": "LSTM has no field zzz: it has input_size",
    "LSTM(": "'LSTM(' cannot be read: give a name or a call, such as 'LSTM'",
    "": "'' cannot be read",
    "3": "'3' is no name of a type",
    "LSTM(1, 2, 3)": "LSTM has 3 arguments without a name",
    "LSTM(**{})": "LSTM has an argument twice or with a star",
    "LSTM(heads=1, heads=2)": "LSTM has an argument twice or with a star",
    "LSTM(hidden_size=99999999999)": "99999999999 is too large: the largest integer is 1048576",
    "LSTM[0]": "'LSTM[0]' is no name of a type: give a name or a call, such as 'LSTM'",
    "-" * 5000 + "1": "cannot be read: give a name or a call",
    "LSTM(forget_bias=1+x)": "1 + x is no plain value",
    "LSTM(forget_bias='a')": "forget_bias",
    "Elman(recurrent_init='random')": "recurrent_init='random'",
    "__import__('os').getcwd()": "is no plain value",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_wrong_calls_are_refused_in_one_line(text, message):
    with pytest.raises(InputError) as refusal:
        make(text, Cell, SequenceLayer, flag="--model.cell", **SIZES)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_every_experiment_takes_any_cell_that_gives_as_many_features_as_it_has_units():
    network = Recurrent(cell="Zoneout(mgu, 0.1)", hidden_size=4, dropout=0.2, per="sequence")
    lower, upper = (Zoneout(MGU(size, 4), 0.1) for size in (3, 4))
    assert network.stack(3, 2) == Stack((lower, Dropout(0.2, per="sequence"), upper))
    assert Recurrent(cell="lstm", hidden_size=4).stack(3, 2) == Stack.of(LSTM, sizes=(3, 4, 4))
    assert Recurrent(cell="gru", hidden_size=4).both_ways(3, 2) == Chain((Bidirectional(GRU(3, 4)), Bidirectional(GRU(8, 4))))
    with pytest.raises(InputError, match=r"--model.cell LSTM\(projection_size=2\) gives 2 features, model.hidden_size is 4"):
        Recurrent(cell="LSTM(projection_size=2)", hidden_size=4).stack(3, 1)
    with pytest.raises(InputError, match=r"--model\.cell: Bidirectional is not known"):  # sees the whole sequence
        Recurrent(cell="Bidirectional(GRU)").stack(3, 1)


VALUES = Shape(3, False, ("sum",), "values")


def test_networks_are_built_of_their_parts():
    config = Network(cell="GRU", hidden_size=5, layers=2, dropout=0.1, input_dropout=0.2, encoded_size=4)
    encoder = build_model(config, VALUES).encoder
    assert isinstance(encoder, Features)
    names = [type(part).__name__ for part in encoder.cell.cells]
    assert names == ["Dropout", "Dense", "GRU", "Dropout", "GRU"] and encoder.output_size == 5


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        ({"delay": 1}, VALUES, "--model.delay is 1"),
        ({"input_dropout": 0.5}, Shape(3, True, ("a",), "classes"), "--model.input-dropout is 0.5"),
        ({"cell": "GRU(input_size=7)"}, VALUES, "GRU(input_size=7) reads (7,), it must read vectors of 3 features"),
        ({"hidden_size": 0}, VALUES, "hidden_size=0"),
    ],
)
def test_networks_that_do_not_fit_are_refused(fields, shape, message):
    with pytest.raises(InputError) as refusal:
        build_model(Network(**fields), shape)
    assert message in str(refusal.value)
