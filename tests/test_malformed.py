"""Malformed inputs to Python functions: each gets one line that names what was given and what would be right."""

import dataclasses
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax
from seqjax import (
    GRU,
    LSTM,
    Bidirectional,
    Cell,
    Center,
    Chain,
    Convolution,
    Dense,
    Dropout,
    Elman,
    Feedforward,
    InputError,
    RecurrentDropout,
    Residual,
    Stack,
    Standardize,
    explain,
    last,
    masked_max,
    masked_mean,
    truncated,
    unroll,
)  # fmt: skip
from seqjax.attention import Additive, Attentive, Dot
from seqjax.contracts import product
from seqjax.recurrence.arguments import Embedded
from seqjax.testing import check_cell


def zeros(cell):
    """Parameters of zeros: nothing is compiled."""
    return jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), jax.eval_shape(cell.init, jax.random.key(0)))


B, T, D, H = 2, 5, 3, 4
CELL = LSTM(input_size=D, hidden_size=H)
GRU_CELL = GRU(input_size=D, hidden_size=H)
P, G = zeros(CELL), zeros(GRU_CELL)
XS, TOKENS = np.ones((B, T, D), np.float32), np.zeros((B, T), np.int32)
SHAPE = jax.ShapeDtypeStruct(XS.shape, XS.dtype)
ATTENTIVE = Attentive(cell=GRU_CELL, attention=Dot(query_size=H, memory_size=H), output_size=H, input_feeding=False)
VALUES, REAL = np.ones((B, 6, H), np.float32), np.ones((B, 6), bool)
MEMORY = ATTENTIVE.remember({}, VALUES, REAL)
ARRAY = np.zeros(H, np.float32)


def state(*shape):
    """An LSTM's state of zeros."""
    return seqjax.LSTMState(np.zeros(shape, np.float32), np.zeros(shape, np.float32))


def run(cell=CELL, params=P, xs=XS, *arguments, **options):
    """A call of `unroll` with one argument changed."""
    return unroll(cell, params, xs, *arguments, **options)


def without(name):
    """The parameters but one."""
    return {key: value for key, value in P.items() if key != name}


@dataclasses.dataclass(frozen=True)
class Own(Cell):
    """A user's cell whose state, or whose step, is wrong in some way."""

    fault: str = ""
    input_shape = (D,)

    def init(self, key):
        return {"recurrent_kernel": jnp.eye(D)}

    def initial_state(self, params, batch_shape=(), *, context=None, key=None):
        shape = (D,) if self.fault == "no rows" else (*batch_shape, D)
        return {"h": jnp.zeros(shape, jnp.bfloat16 if self.fault == "half" else jnp.float32)}

    def recur(self, params, state, z, *, dot=product, context=None):
        kernel = params["recurrent_kernel"].astype(jnp.float32)
        h = z.astype(jnp.float32) + state["h"].astype(jnp.float32) @ kernel
        if self.fault == "one result":
            return h
        new = {"h": h[..., :1]} if self.fault == "narrow" else {"h": h}
        return (h, new) if self.fault == "swapped" else (new, h)


OWN = zeros(Own())


def own(fault):
    """A call of `unroll` with a user's cell."""
    return unroll(Own(fault), OWN, XS)


# name: (a call, what was given, what would be right), the two as they stand in the message
PARAMS = {
    "params of a GRU": (lambda: run(params=G), "candidate_kernel", "bias, input_kernel, recurrent_kernel"),
    "params of another size": (lambda: run(params=zeros(LSTM(D, 7))), "float32[28]", "float32[16]"),
    "params of another input": (lambda: run(params=zeros(LSTM(9, H))), "float32[9, 16]", "float32[3, 16]"),
    "params None": (lambda: run(params=None), "None", "a dict of bias"),
    "params wrapped": (lambda: run(params={"params": P}), "lacks 'bias'", "LSTM has bias"),
    "params lack a name": (lambda: run(params=without("bias")), "lacks 'bias'", "LSTM has bias"),
    "params with one more": (lambda: run(params=P | {"gain": ARRAY}), "'gain'", "bias, input_kernel"),
    "params of lists": (lambda: run(params=P | {"bias": [0.0] * 16}), "[float 0.0", "float32[16]"),
    "params of integers": (lambda: run(params=P | {"bias": np.zeros(16, int)}), "int64[16]", "float32[16]"),
    "params a list": (lambda: run(params=[P]), "[{", "a dict of bias"),
    "params of a number": (lambda: run(params=P | {"bias": 0.0}), "float 0.0", "float32[16]"),
    "params of a stack": (lambda: run(Stack((CELL, CELL)), {"0": P}), "lacks '1'", "0, 1"),
    "params inside a stack": (lambda: run(Stack((CELL, Dense(H, 2))), {"0": P, "1": P}), "params['1']", "bias, kernel"),
    "params of one direction": (lambda: run(Bidirectional(CELL), {"forward": P}), "lacks 'backward'", "backward, forward"),
    "an embedded kernel": (
        lambda: run(params=P | {"input_kernel": np.zeros((5, 16), np.float32)}, xs=TOKENS), "float32[5, 16]", "float32[3, 16]"),
    "params for explain": (lambda: explain(CELL, G, XS), "candidate_kernel", "bias, input_kernel"),
    "params for truncated": (lambda: truncated(CELL, G, XS, window=2), "candidate_kernel", "bias, input_kernel"),
    "params for nothing": (lambda: run(Dropout(0.1, input_shape=(D,)), None), "None", "no parameters"),
}  # fmt: skip
INPUTS = {
    "features": (lambda: run(xs=XS[..., :2]), "(2,)", "(3,)"),
    "rank 4": (lambda: run(xs=XS[None]), "(1, 2, 5, 3) of rank 4", "[B, T, 3] or [T, 3] of rank 3 or 2"),
    "tokens of rank 3": (lambda: run(xs=XS.astype(int)), "integer tokens has shape (2, 5, 3)", "[B, T] or [T] of rank 2 or 1"),
    "bools": (lambda: run(xs=XS > 0), "bool", "floating features or integer tokens"),
    "complex": (lambda: run(xs=XS * 1j), "complex", "floating features or integer tokens"),
    "strings": (lambda: run(xs=["abc"]), "'abc'", "an array of numbers"),
    "ragged": (lambda: run(xs=[[[0.0] * 3], []]), "[[[0.0, 0.0, 0.0]], []]", "one length"),
    "a dict": (lambda: run(xs={"x": XS}), "{'x'", "an array of numbers"),
    "a shape": (lambda: run(xs=SHAPE), "float32[2, 5, 3]", "explain"),
    "a token too large": (lambda: run(xs=TOKENS + D), "token 3", "0 to 2"),
    "a token below 0": (lambda: run(xs=TOKENS - 1), "token -1", "0 to 2"),
    "a token past int32": (lambda: run(xs=TOKENS.astype(np.int64) + 2**32), "4294967296", "0 to 2"),
    "a real token among padding": (lambda: run(xs=[[0, 9, 9], [9, 9, 9]], lengths=[1, 1]), "token 9", "0 to 2"),
    "a token of Dense": (lambda: run(Dense(D, 2), zeros(Dense(D, 2)), TOKENS - 5), "token -5", "0 to 2"),
    "a token past the table": (
        lambda: run(params=Embedded(P | {"input_kernel": np.zeros((7, 16), np.float32)}, 7), xs=TOKENS + 7), "token 7", "0 to 6"),
    "xs of a stack's part": (lambda: run(Stack((CELL, Dense(5, 2))), {"0": P, "1": zeros(Dense(5, 2))}), "(4,)", "(5,)"),
    "a pair in a stack": (
        lambda: run(Stack((ATTENTIVE, Dense(H, 2))), {"0": zeros(ATTENTIVE), "1": zeros(Dense(H, 2))}, context=MEMORY),
        "Attended(output", "Dense reads one array"),
    "a pair of directions": (
        lambda: run(Bidirectional(ATTENTIVE, merge="sum"), zeros(Bidirectional(ATTENTIVE)), context=MEMORY),
        "Attended(output", "one array"),
    "unequal directions": (
        lambda: run(Bidirectional(CELL, LSTM(D, 2), merge="sum"), {"forward": P, "backward": zeros(LSTM(D, 2))}),
        "(2, 5, 2)", "equal outputs"),
    "a residual": (lambda: run(Residual(CELL)), "(2, 5, 3)", "(2, 5, 4)"),
}  # fmt: skip
STEPS = {
    "lengths of floats": (lambda: run(lengths=[1.0, 2.0]), "float64", "integer dtype"),
    "lengths of three rows": (lambda: run(lengths=[1, 2, 3]), "(3,)", "(2,)"),
    "lengths too long": (lambda: run(lengths=[1, 6]), "lengths holds 6", "between 0 and the 5 steps"),
    "lengths below 0": (lambda: run(lengths=[-1, 5]), "lengths holds -1", "between 0 and the 5 steps"),
    "lengths of words": (lambda: run(lengths=["a", "b"]), "['a', 'b']", "an array of numbers"),
    "lengths and mask": (lambda: run(lengths=[1, 2], mask=np.ones((B, T), bool)), "lengths and mask", "one of them"),
    "lengths as a mask": (lambda: run(mask=[1, 2]), "int64", "bool"),
    "mask of floats": (lambda: run(mask=np.ones((B, T))), "float64", "bool"),
    "mask of 4 steps": (lambda: run(mask=np.ones((B, 4), bool)), "(2, 4)", "(2, 5)"),
    "mask as lists": (lambda: run(mask=[[True] * 4] * B), "(2, 4)", "(2, 5)"),
    "mask ragged": (lambda: run(mask=[[True], [True, False]]), "[[True], [True, False]]", "one length"),
    "reset transposed": (lambda: run(reset=np.ones((T, B), bool)), "(5, 2)", "(2, 5)"),
    "reset of integers": (lambda: run(reset=[[0] * T] * B), "int64", "bool"),
    "reset of a layer": (lambda: run(Center(input_size=D), {}, reset=np.ones((B, T), bool)), "Center", "a row of its own"),
    "unbatched lengths": (lambda: run(xs=XS[0], lengths=[3]), "lengths has shape (1,)", "it must be ()"),
    "remat a bool": (lambda: run(remat=True), "True", "'sqrt'"),
    "remat 0": (lambda: run(remat=0), "remat=0", "at least 1"),
    "remat of a word": (lambda: run(remat="all"), "'all'", "'sqrt'"),
    "reverse of a word": (lambda: run(reverse="False"), "'False'", "True or False"),
    "collect": (lambda: run(collect="all"), "'all'", "'states' or 'gates'"),
    "collect a list": (lambda: run(collect=["states"]), "['states']", "'states' or 'gates'"),
    "backend": (lambda: run(backend="gpu"), "'gpu'", "'auto'"),
    "backend a list": (lambda: run(backend=["fused"]), "['fused']", "'auto'"),
    "window a bool": (lambda: truncated(CELL, P, XS, window=True), "True", "at least 1"),
    "window of half a step": (lambda: truncated(CELL, P, XS, window=2.5), "2.5", "at least 1"),
    "truncated of a layer": (lambda: truncated(Bidirectional(CELL), {}, XS, window=2), "Bidirectional", "cells"),
    "an option of explain": (lambda: explain(CELL, P, XS, length=3), "explain has no argument 'length'", "lengths, mask"),
    "an option of truncated": (lambda: truncated(CELL, P, XS, window=2, length=3), "truncated has no argument", "lengths, mask"),
    "a key of a number": (lambda: run(key=3), "key is 3", "jax.random.key(seed)"),
    "an old key": (lambda: run(key=np.zeros(2, np.uint32)), "uint32[2]", "jax.random.key(seed)"),
    "keys of three rows": (lambda: run(key=jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 3))), "(3,)", "(2,)"),
}
STATES = {
    "state an array": (lambda: run(CELL, P, XS, ARRAY), "float32[4]", "LSTMState(c=float32[2, 4]"),
    "state of three rows": (lambda: run(CELL, P, XS, state(3, H)), "float32[3, 4]", "float32[2, 4]"),
    "state of a batch": (lambda: run(CELL, P, XS[0], state(1, H)), "float32[1, 4]", "float32[4]"),
    "state of a list": (lambda: run(CELL, P, XS, list(state(B, H))), "[float32[2, 4]", "LSTMState("),
    "state of one part": (lambda: run(CELL, P, XS, (state(B, H).c,)), "(float32[2, 4])", "LSTMState("),
    "state of integers": (lambda: run(GRU_CELL, G, XS, (np.zeros((B, H), int),)), "int32[2, 4]", "float32[2, 4]"),
    "state of words": (lambda: run(GRU_CELL, G, XS, ("zero",)), "'zero'", "arrays"),
    "context of one row": (
        lambda: run(ATTENTIVE, zeros(ATTENTIVE), context=jax.tree.map(lambda a: a[:1], MEMORY)), "1 rows", "xs has 2"),
    "context of a number": (lambda: run(context=3.0), "without rows", "[2, ...]"),
    "no memory": (lambda: run(ATTENTIVE, zeros(ATTENTIVE)), "NoneType", "remember"),
    "memory of a batch": (lambda: run(ATTENTIVE, zeros(ATTENTIVE), XS[0], context=MEMORY), "batch shape (2,)", "have ()"),
    "a mask of floats": (lambda: ATTENTIVE.remember({}, VALUES, REAL * -1e9), "float64", "bool"),
    "a mask of lengths": (lambda: ATTENTIVE.remember({}, VALUES, [6, 3]), "int64", "bool"),
    "a mask of 7 places": (lambda: ATTENTIVE.remember({}, VALUES, np.ones((B, 7), bool)), "bool[2, 7]", "bool[2, 6]"),
    "values of 5 features": (lambda: ATTENTIVE.remember({}, VALUES[..., :3], REAL), "[2, 6, 3]", "[..., S, 4]"),
    "a state without rows": (lambda: own("no rows"), "float32[3]", "(2,)"),
    "a state of bfloat16": (lambda: own("half"), "float32[2, 3]", "bfloat16[2, 3]"),
    "a state that narrows": (lambda: own("narrow"), "float32[2, 1]", "float32[2, 3]"),
    "state and output swapped": (lambda: own("swapped"), "float32[2, 3]", "(state, y)"),
    "a step of one result": (lambda: own("one result"), "float32[2, 3]", "(state, y)"),
}  # fmt: skip
VALUES_OF_FIELDS = {
    "a class for a cell": (lambda: run(LSTM), "the class LSTM", "LSTM(...)"),
    "a dict for a cell": (lambda: run(P), "a dict", "a Cell"),
    "a cell of any input": (lambda: run(Dropout(0.1), {}), "any shape", "input_shape"),
    "a seed for init": (lambda: CELL.init(0), "LSTM.init is 0", "jax.random.key(seed)"),
    "a seed for a layer's init": (lambda: Bidirectional(CELL).init(0), "Bidirectional.init is 0", "jax.random.key(seed)"),
    "check of a class": (lambda: check_cell(LSTM), "the class LSTM", "LSTM(...)"),
    "check of parameters": (lambda: check_cell(P), "a dict", "a Cell"),
    "a stack of one": (lambda: Stack(CELL), "a LSTM", "Stack((cell, ...))"),
    "a stack of two": (lambda: Stack(CELL, CELL), "too many", "cells"),
    "a stack of classes": (lambda: Stack((LSTM,)), "the class LSTM", "LSTM(...)"),
    "a stack of nothing": (lambda: Stack(()), "no cells", "at least one"),
    "a stack of a layer": (lambda: Stack((Bidirectional(CELL),)), "Bidirectional", "Chain"),
    "a type that is a cell": (lambda: Stack.of(CELL, (3, 4)), "a LSTM", "a type of cells"),
    "sizes of one number": (lambda: Stack.of(LSTM, 3), "sizes=3", "at least one hidden size"),
    "a chain of one": (lambda: Chain(CELL), "a LSTM", "Chain((part, ...))"),
    "a chain of models": (lambda: Chain((P,)), "a dict", "cells and layers"),
    "directions of a class": (lambda: Bidirectional(LSTM), "the class LSTM", "cells"),
    "a residual of parameters": (lambda: Residual(P), "a dict", "a cell"),
    "an unknown merge": (lambda: Bidirectional(CELL, merge="max"), "'max'", "'concat'"),
    "a bias array": (lambda: LSTM(D, H, forget_bias=ARRAY), "float32[4]", "one number"),
    "a complex bias": (lambda: LSTM(D, H, forget_bias=np.complex64(1j)), "forget_bias", "a number"),
    "a size of 0": (lambda: LSTM(D, 0), "hidden_size=0", "positive integer"),
    "a size of half": (lambda: GRU(2.5, H), "2.5", "an integer"),
    "a bool for a size": (lambda: Dense(True, 2), "True", "an integer"),
    "heads": (lambda: GRU(D, H, heads=3), "heads=3", "hidden_size=4"),
    "an unknown field": (lambda: LSTM(D, hidden=H), "hidden", "hidden_size"),
    "too many fields": (lambda: LSTM(D, H, 1.0), "too many", "forget_bias"),
    "a word for a flag": (lambda: GRU(D, H, reset_after="no"), "'no'", "True or False"),
    "a rate of 1": (lambda: Dropout(1.0), "1.0", "below 1"),
    "a rate of words": (lambda: RecurrentDropout(CELL, "half"), "'half'", "a number"),
    "a list for a choice": (lambda: Elman(D, H, activation=["relu"]), "['relu']", "a string"),
    "widths of one number": (lambda: Convolution(input_size=D, features=2, widths=3), "widths is 3", "a tuple"),
    "no module": (lambda: Feedforward(CELL, input_shape=(D,)), "LSTM", "flax.linen.Module"),
    "means of words": (lambda: Standardize(("a",), (1.0,)), "'a'", "a number"),
    "dropout of nothing": (lambda: run(RecurrentDropout(Own(), 0.5), OWN), "Own.recur", "dot(h, kernel)"),
    "dropout of Dense": (lambda: run(RecurrentDropout(Dense(D, 2), 0.5), zeros(Dense(D, 2))), "Dense.recur", "dot(h, kernel)"),
    "split of no gates": (lambda: Dense(D, 2).split({}), "Dense", "gates"),
    "attention of another size": (
        lambda: Attentive(cell=CELL, attention=Additive(query_size=9, memory_size=H, hidden_size=2), output_size=2),
        "query_size is 9", "gives (4,)"),
}  # fmt: skip
OVER_STEPS = {
    "last of rank 2": (lambda: last(np.ones((T, H))), "(5, 4)", "[B, T] or [T, H]"),
    "masked_mean of rank 2": (lambda: masked_mean(np.ones((T, H))), "(5, 4)", "[B, T] or [T, H]"),
    "masked_max of rank 2": (lambda: masked_max(np.ones((T, H))), "(5, 4)", "[B, T] or [T, H]"),
    "one length for a batch": (lambda: last(XS, lengths=3), "(2, 5, 3)", "batched=False"),
    "last of no steps": (lambda: last(np.ones(())), "shape ()", "T, ...]"),
    "a mean of integers": (lambda: masked_mean(TOKENS, lengths=[1, 1]), "int32", "floating"),
    "a maximum of bools": (lambda: masked_max(TOKENS > 0, lengths=[1, 1]), "bool", "integer"),
    "lengths of last": (lambda: last(XS, lengths=[1, 9]), "lengths holds 9", "the 5 steps"),
    "an unbatched layer": (lambda: Center(input_size=D).apply({}, XS[0]), "(5, 3)", "rank 3"),
}
CASES = PARAMS | INPUTS | STEPS | STATES | VALUES_OF_FIELDS | OVER_STEPS


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_malformed_input_gets_one_line_that_names_both_sides(case):
    call, given, right = case
    with pytest.raises(InputError) as error:
        call()
    message = str(error.value)
    assert given in message and right in message, message
    assert "\n" not in message and len(message) < 200, message


def test_the_frames_below_the_public_function_are_hidden():
    for call in (lambda: run(CELL, P, XS, ARRAY), lambda: run(params=G), lambda: explain(CELL, P, XS, lengths=[9, 9])):
        with pytest.raises(InputError) as error:
            call()
        below = [frame.name for frame in traceback.extract_tb(error.value.__traceback__)]
        assert below[-2:] == [below[-2], "__exit__"] and below[-2] in ("unroll", "explain")
        assert error.value.__cause__ is None and error.value.__suppress_context__
        assert not hasattr(error.value, "__notes__")


@dataclasses.dataclass(frozen=True)
class Counting(Dense):
    """A cell whose outputs are integers."""

    def recur(self, params, state, z, *, dot=product, context=None):
        return state, z.astype(jnp.int32)


LAWS = {"dot": (Own(), "dot: recur has params.*recurrent_kernel"), "output": (Counting(D, 2), "output: .*int32")}


@pytest.mark.parametrize(("cell", "message"), LAWS.values(), ids=LAWS)
def test_check_cell_names_the_law(cell, message):
    with pytest.raises(AssertionError, match=message):
        check_cell(cell, quick=True)
