"""Automata read off states: the machine of binary addition, machines with states to merge, noise, wrong shapes."""

import numpy as np
import pytest

from seqjax import InputError
from seqjax.data.synthetic import BinaryAddition
from seqjax.inspect import extract_automaton


def addition(noise=0.0, copies=1):
    """States (carry, digit, a number that means nothing) of an adder, what it read and what it printed."""
    rng, batch = np.random.default_rng(0), BinaryAddition(bits=12, shortest=12, delay=0).draw(np.random.default_rng(1), 60)
    digits = batch["features"].astype(int)
    printed = batch["target"][..., 0].astype(int)
    carry, states = np.zeros(60, int), []
    for t in range(digits.shape[1]):
        carry = (digits[:, t].sum(axis=-1) + carry) // 2
        states.append(np.stack([carry, printed[:, t], 3 * rng.integers(0, copies, 60)], axis=-1))
    states = np.stack(states, axis=1) + noise * rng.normal(size=(60, digits.shape[1], 3))
    return states, 2 * digits[..., 0] + digits[..., 1], printed


@pytest.mark.parametrize(("noise", "copies"), [(0.0, 1), (0.03, 1), (0.0, 3), (0.03, 2)])
def test_the_adder_has_four_states(noise, copies):
    states, inputs, outputs = addition(noise, copies)
    machine = extract_automaton(states, inputs, outputs, clusters=16)
    assert machine.agreement == 1 and sorted(machine.outputs.tolist()) == [0, 0, 1, 1]
    digit, state = machine.outputs, int(machine.members[0, 0])
    for t in range(1, inputs.shape[1]):  # the machine adds
        state = machine.transitions[state, inputs[0, t]]
        assert (state, digit[state]) == (machine.members[0, t], outputs[0, t])
    by_digits = machine.transitions[:, 1]
    np.testing.assert_array_equal(by_digits, machine.transitions[:, 2])  # 0 + 1 is 1 + 0
    assert machine.visits.sum() == states.shape[0] * states.shape[1] and (np.diff(machine.visits) <= 0).all()


def test_padding_is_no_state():
    states, inputs, outputs = addition()
    mask = np.arange(states.shape[1])[None] < np.arange(1, 61)[:, None]
    states[~mask], inputs[~mask], outputs[~mask] = 99.0, 3, 1
    machine = extract_automaton(states, inputs, outputs, mask=mask)
    assert len(machine.outputs) == 4 and machine.agreement == 1 and (machine.members[~mask] == -1).all()


def test_what_is_not_determined_agrees_less():
    states, inputs, outputs = addition()
    machine = extract_automaton(states[..., 1:], inputs, outputs)  # the carry is hidden
    assert 0.5 < machine.agreement < 0.95


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3), (2, 3), (2, 3)), "states"),
        (((2, 3, 1), (2, 4), (2, 3)), "inputs"),
        (((2, 1, 1), (2, 1), (2, 1)), "no sequence has two steps"),
    ],
)
def test_wrong_shapes_are_refused(shapes, message):
    states, inputs, outputs = (np.zeros(shape, int) for shape in shapes)
    with pytest.raises(InputError, match=message):
        extract_automaton(states.astype(float), inputs, outputs)


@pytest.mark.parametrize(
    ("least", "options", "message"),
    [
        ((-1, 0), {}, "inputs holds -1, it must be at least 0"),
        ((0, -2), {}, "outputs holds -2, it must be at least 0"),
        ((0, 0), {"clusters": 0}, "clusters is 0, it must be at least 1"),
        ((0, 0), {"seed": -1}, "seed is -1, it must be at least 0"),
    ],
)
def test_wrong_values_are_refused(least, options, message):
    inputs, outputs = (np.full((2, 3), value) for value in least)
    with pytest.raises(InputError, match=message):
        extract_automaton(np.zeros((2, 3, 1)), inputs, outputs, **options)
