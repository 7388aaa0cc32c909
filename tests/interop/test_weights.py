"""Weights of PyTorch, Keras and Flax as parameters and back: equal outputs, exact weights, and refusals."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from seqjax import GRU, LSTM, MGU, Bidirectional, Chain, Dropout, Elman, InputError, Residual, Stack, unroll
from seqjax.interop import flax, keras, safetensors, torch

GOLDENS = dict(np.load(pathlib.Path(__file__).parent.parent / "goldens" / "interop.npz"))
XS = GOLDENS["xs"]
ZEROS = nnx.initializers.zeros
SIZES = {"input_size": 4, "hidden_size": 5}


def golden(case):
    """The weights of a case by their names, and its outputs."""
    weights = {name.removeprefix(f"{case}/"): array for name, array in GOLDENS.items() if name.startswith(f"{case}/")}
    return weights, weights.pop("ys")


TORCH = {
    "relu_without_bias": lambda: Stack.of(Elman, (4, 5, 5), dropout=0.5, activation="relu"),
    "gru": lambda: Bidirectional(GRU(**SIZES)),
    "lstm_projected": lambda: Chain((Bidirectional(LSTM(**SIZES, projection_size=2)),) * 4),
}
KERAS = {
    "relu": lambda: Elman(**SIZES, activation="relu"),
    "lstm_without_bias": lambda: LSTM(**SIZES),
    "gru_before": lambda: GRU(**SIZES, reset_after=False),
    "gru_both_ways": lambda: Bidirectional(GRU(**SIZES), merge="sum"),
}


@functools.partial(jax.jit, static_argnums=0)
def outputs(cell, params, xs):
    return unroll(cell, params, xs, backend="scan")[1]


@pytest.mark.parametrize("case", TORCH)
def test_torch_to_seqjax_to_torch(case, x64):
    """The weights are exact, but that of two biases which are added the sum and 0 return."""
    weights, ys = golden(f"torch/{case}")
    cell = TORCH[case]()
    params = torch.from_torch({f"rnn.{name}": a for name, a in weights.items()} | {"head": "left alone"}, cell, prefix="rnn.")
    np.testing.assert_allclose(outputs(cell, params, XS), ys, rtol=0, atol=1e-12)
    returned = torch.state_dict(params, cell, bias="without" not in case)
    assert returned.keys() == weights.keys()
    for name, array in weights.items():
        if name.startswith("bias"):
            keeps_both = np.arange(len(array)) >= 10 if case == "gru" else np.zeros(len(array), bool)
            both = weights[name.replace("_hh", "_ih")] + weights[name.replace("_ih", "_hh")]
            array = np.where(keeps_both, array, both if "_ih" in name else 0)
        np.testing.assert_array_equal(returned[name], array, err_msg=name, strict=True)


@pytest.mark.parametrize("case", KERAS)
def test_keras_to_seqjax_to_keras(case):
    weights, ys = golden(f"keras/{case}")
    weights, cell = list(weights.values()), KERAS[case]()
    params = keras.from_keras(weights, cell)
    np.testing.assert_allclose(outputs(cell, params, XS), ys, rtol=0, atol=1e-6)
    returned = keras.to_keras(params, cell, bias="without" not in case)
    again = keras.to_keras(keras.from_keras(returned, cell), cell, bias="without" not in case)
    for given, first, second in zip(weights, returned, again, strict=True):
        np.testing.assert_array_equal(first, second, strict=True)
        if given.shape != (2, 15):
            np.testing.assert_array_equal(first, given, strict=True)
        else:
            np.testing.assert_array_equal(first.sum(0), given.sum(0))
            assert not first[1, :10].any()


CELLS = {
    "SimpleCell": Elman(**SIZES),
    "LSTMCell": LSTM(**SIZES),
    "OptimizedLSTMCell": LSTM(**SIZES),
    "GRUCell": GRU(**SIZES),
    "MGUCell": MGU(**SIZES, form="flax"),
}


def random_like(tree, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), tree)


def params_of(cell, dtype=None):
    params = random_like(jax.eval_shape(cell.init, jax.random.key(0)), 0)
    return jax.tree.map(lambda a: jnp.asarray(np.asarray(a, dtype)), params)


def equal_trees(a, b):
    jax.tree.map(functools.partial(np.testing.assert_array_equal, strict=True), a, b)


def nnx_cell(name, size=4, **fields):
    """An NNX cell without values."""
    return nnx.eval_shape(lambda: getattr(nnx, name)(size, 5, rngs=nnx.Rngs(0), **fields))


@pytest.fixture(scope="module")
def outputs_of_flax():
    """{(library, name): (outputs of Flax, outputs of seqjax)}, compiled as one program."""
    made = {}
    for name, cell in CELLS.items():
        module = getattr(linen, name)(5)
        zeros = jax.eval_shape(lambda cell=cell: cell.initial_state(cell.init(jax.random.key(0)), (2,)))
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape), zeros)
        carry = tuple(zeros) if len(zeros) > 1 else zeros.h
        variables = random_like(jax.eval_shape(module.init, jax.random.key(0), carry, jnp.zeros((2, 4))), 1)
        made["linen", name] = (
            (lambda carry, x, m=module, v=variables: m.apply(v, carry, x)),
            carry,
            cell,
            flax.from_linen(variables, cell),
        )
        equal_trees(flax.to_linen(made["linen", name][-1], cell), variables)

        if not hasattr(nnx, name):
            continue
        cell_of_nnx = nnx_cell(name)
        nnx.update(cell_of_nnx, random_like(nnx.to_pure_dict(nnx.state(cell_of_nnx, nnx.Param)), 2))
        params = flax.from_nnx(cell_of_nnx, cell)
        made["nnx", name] = cell_of_nnx, carry, cell, params
        other = flax.to_nnx(params, cell, nnx.clone(cell_of_nnx))
        equal_trees(nnx.to_pure_dict(nnx.state(other, nnx.Param)), nnx.to_pure_dict(nnx.state(cell_of_nnx, nnx.Param)))

    @jax.jit
    def all_outputs(xs):
        pairs = {}
        for key, (step, carry, cell, params) in made.items():
            ys = []
            for t in range(xs.shape[1]):
                carry, y = step(carry, xs[:, t])
                ys.append(y)
            pairs[key] = jnp.stack(ys, 1), unroll(cell, params, xs, backend="scan")[1]
        return pairs

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return all_outputs(jnp.asarray(XS[:, :2], jnp.float32))


@pytest.mark.parametrize(
    ("library", "name"), [(lib.__name__.split(".")[-1], n) for lib in (linen, nnx) for n in CELLS if hasattr(lib, n)]
)
def test_flax_equals_seqjax(library, name, outputs_of_flax):
    """The weights that return, to_linen(from_linen(variables)), were equal when the fixture made them."""
    theirs, ours = outputs_of_flax[library, name]
    assert np.abs(theirs).max() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


def test_quirks_of_flax_over_sequences():
    """Linen's RNN returns reversed outputs in the order in which it read, and goes on over the padding."""
    cell, xs, lengths = Elman(**SIZES), jnp.asarray(XS, jnp.float32), jnp.array([3, 1])
    params = params_of(cell)
    variables = {"params": {"cell": flax.to_linen(params, cell)["params"]}}

    @jax.jit
    def all_outputs():
        run = lambda **options: linen.RNN(linen.SimpleCell(5)).apply(variables, xs, **options)  # noqa: E731
        theirs = run(reverse=True), run(reverse=True, keep_order=True), run(seq_lengths=lengths)
        return theirs, unroll(cell, params, xs, reverse=True)[1], unroll(cell, params, xs, lengths=lengths)[1]

    with jax.numpy_rank_promotion("allow"):
        (reversed_ys, kept_ys, padded_ys), backward, padded = all_outputs()
    np.testing.assert_allclose(reversed_ys[:, ::-1], backward, rtol=0, atol=2e-6)
    np.testing.assert_allclose(kept_ys, backward, rtol=0, atol=2e-6)
    real = np.arange(3) < np.asarray(lengths)[:, None]
    np.testing.assert_allclose(padded_ys[real], padded[real], rtol=0, atol=2e-6)
    assert not padded[~real].any() and np.abs(padded_ys[~real]).min() > 1e-3


def test_quirks_of_flax():
    """Linen's LSTM forgets at first; the GRU of NNX has no bias inside of its reset gate, which its docstring shows."""
    assert not linen.LSTMCell(5).bias_init(jax.random.key(0), (5,)).any()
    gru, module = GRU(**SIZES), nnx_cell("GRUCell")
    nnx.update(module, random_like(nnx.to_pure_dict(nnx.state(module, nnx.Param)), 0))
    params = flax.from_nnx(module, gru)
    assert not params["recurrent_bias"].any()
    with pytest.raises(InputError, match=r"^nnx.GRUCell has no recurrent bias of gate n, and in params it is not 0$"):
        flax.to_nnx(params | {"recurrent_bias": jnp.ones(5)}, gru, module)
    assert flax.to_linen(params | {"recurrent_bias": jnp.ones(5)}, gru)["params"]["hn"]["bias"].tolist() == [1] * 5


def test_safetensors_keep_names_and_dtypes(tmp_path):
    cell = LSTM(**SIZES)
    params = params_of(cell, jnp.bfloat16)
    path = tmp_path / "lstm.safetensors"
    safetensors.save(path, torch.state_dict(params, cell, prefix="a.") | {"other": np.arange(6.0).reshape(2, 3).T})
    arrays = safetensors.load(path)
    assert arrays["other"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert arrays["a.weight_ih_l0"].shape == (20, 4)
    equal_trees(torch.from_torch(arrays, cell, prefix="a."), params)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"^{path} is damaged, or no safetensors file: "):
        safetensors.load(path)


# Refusals.


def random_weights(cell):
    return torch.state_dict(params_of(cell), cell)


LSTM_WEIGHTS = {"weight_ih_l0": (20, 4), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,)}
LSTM_TEXT = r"LSTM\(input_size=4, hidden_size=5\)"


def of_torch(cell, prefix="", **shapes):
    """from_torch with zeros of the shapes of LSTM_WEIGHTS, some of them changed; None leaves one out."""
    shapes = {prefix + name: shape for name, shape in (LSTM_WEIGHTS | shapes).items() if shape is not None}
    return torch.from_torch({name: np.zeros(shape) for name, shape in shapes.items()}, cell)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: of_torch(c, weight_hh_l0=None), rf"the state dict lacks 'weight_hh_l0', which {LSTM_TEXT} has: it holds \["),
        (lambda c: of_torch(c, bias_hh_l0=None), "the state dict lacks 'bias_hh_l0'"),
        (
            lambda c: of_torch(c, weight_ih_l1=(20, 5)),
            f"the state dict holds 'weight_ih_l1', which {LSTM_TEXT} does not have: it has",
        ),
        (
            lambda c: of_torch(c, weight_hh_l0=(5, 20)),
            rf"weight_hh_l0 is float64\[5, 20\], {LSTM_TEXT} has \[20, 5\]: it is transposed",
        ),
        (
            lambda c: of_torch(c, weight_ih_l0=(15, 4)),
            r"weight_ih_l0 is float64\[15, 4\], .*: 3 gates of 5 units, not 4 \(i, f, g, o\)",
        ),
        (lambda c: of_torch(c, weight_ih_l0=(20, 7)), rf"weight_ih_l0 is float64\[20, 7\], {LSTM_TEXT} has \[20, 4\]"),
        (lambda c: of_torch(c, bias_ih_l0=()), r"bias_ih_l0 is float64\[\], .* has \[20\]"),
        (lambda c: of_torch(c, prefix="a.rnn."), r"the state dict has no weight_ih_l0: give prefix='a.rnn.'"),
        (lambda c: torch.from_torch({}, c), r"the state dict has no weight_ih_l0"),
        (lambda c: torch.from_torch({"weight_ih_l0": "a"}, c), r"the state dict lacks 'weight_hh_l0'"),
        (
            lambda c: torch.from_torch({n: np.zeros(s, int) for n, s in LSTM_WEIGHTS.items()}, c),
            r"weight_ih_l0 is int64\[20, 4\], it must be an array of floating weights",
        ),
        (lambda c: torch.from_torch([1], c), r"from_torch reads a module of PyTorch or a state dict, not a list"),
        (lambda c: of_torch(LSTM), r"the weights are those of a cell or a layer, not of the class LSTM: give LSTM\(\.\.\.\)"),
        (
            lambda c: of_torch(Residual(LSTM(4, 4))),
            r"PyTorch has no Residual: Elman, LSTM, GRU can be exchanged, alone or in a deep network",
        ),
        (lambda c: of_torch(Dropout(0.5)), r"Dropout\(0.5, per='step', noisy\) has no weights"),
        (lambda c: of_torch(LSTM(4, 6, heads=2)), r"PyTorch has no LSTM with heads=2"),
        (lambda c: of_torch(GRU(4, 5, reset_after=False)), r"PyTorch has no GRU with reset_after=False"),
        (lambda c: of_torch(Bidirectional(c, merge="sum")), r"PyTorch has no Bidirectional with merge='sum'"),
        (
            lambda c: of_torch(Stack.of(LSTM, (4, 5, 6))),
            r"one module of PyTorch has equal layers, and layer 1 is LSTM\(.*size=6.* where LSTM\(.*hidden_size=5",
        ),
        (lambda c: torch.state_dict({"bias": 1}, c), r"params lacks 'input_kernel'"),
        (
            lambda c: torch.state_dict(params_of(c), c, bias=False),
            r"PyTorch has no recurrent bias of gate i, and in params it is not 0",
        ),
        (
            lambda c: torch.state_dict(params_of(c), Stack((c, c)), one_step=True),
            r"Stack has several cells, and a module of PyTorch for one step has one",
        ),
        (
            lambda c: jax.eval_shape(lambda p: torch.state_dict(p, c), params_of(c)),
            r"PyTorch: the parameters are traced, and weights are values: translate them outside of jit",
        ),
        (lambda c: torch.cell_of(c), r"cell_of reads an nn.RNN, LSTM or GRU of PyTorch, or one of their cells, not a LSTM"),
        (
            lambda c: keras.from_keras([np.zeros((4, 20))], c),
            r"the weights are 1 arrays, LSTM has 3, or 2 without biases: a kernel, a recurrent kernel and a bias",
        ),
        (
            lambda c: keras.from_keras([np.zeros((20, 4)), np.zeros((5, 20))], c),
            r"weights\[0\] \(kernel\) is float64\[20, 4\], .* has \[4, 20\]: it is transposed",
        ),
        (
            lambda c: keras.from_keras([np.zeros((4, 15)), np.zeros((5, 15)), np.zeros(15)], GRU(4, 5)),
            r"weights\[2\] \(bias\) is float64\[15\], GRU.* has two rows of biases: one bias is that of reset_after=False",
        ),
        (
            lambda c: keras.from_keras([np.zeros((4, 15)), np.zeros((5, 15)), np.zeros((2, 15))], GRU(4, 5, reset_after=False)),
            r"weights\[2\] \(bias\) is float64\[2, 15\], GRU.* has \[15\]",
        ),
        (lambda c: keras.from_keras("ab", c), r"from_keras reads a layer of Keras or the list of its weights, not a str"),
        (lambda c: keras.cell_of(3), r"cell_of reads a SimpleRNN, LSTM, GRU or Bidirectional of Keras, not a int"),
        (lambda c: flax.from_linen({"params": {"ii": {"kernel": np.zeros((4, 5))}}}, c), r"variables lacks 'hi/kernel'"),
        (
            lambda c: flax.from_linen({"cell": {}}, Stack((c,))),
            r"Flax's cells are exchanged one by one: give each cell of the Stack",
        ),
        (
            lambda c: flax.from_nnx(nnx_cell("GRUCell"), c),
            rf"an nnx.GRUCell is a GRU, its weights were asked for as {LSTM_TEXT}",
        ),
        (
            lambda c: flax.from_nnx(nnx_cell("SimpleCell", residual=True), Elman(4, 5)),
            r"the module has residual=True, Elman.* does not add h",
        ),
        (
            lambda c: flax.from_nnx(nnx_cell("SimpleCell"), Elman(4, 5, activation="relu")),
            r"the module has activation_fn=tanh, Elman.* computes something else",
        ),
        (
            lambda c: flax.to_nnx(
                params_of(c), c, nnx.LSTMCell(3, 5, kernel_init=ZEROS, recurrent_kernel_init=ZEROS, rngs=nnx.Rngs(0))
            ),
            r"ii/kernel is float32\[3, 5\], .* has \[4, 5\]",
        ),
        (lambda c: torch.from_torch({1: np.ones(3)}, c), r"the state dict has no weight_ih_l0: it holds \['1'\]"),
        (lambda c: torch.from_torch(random_weights(GRU(4, 5)), c), r"weight_ih_l0 is float32\[15, 4\]"),
        (lambda c: keras.to_keras({}, Elman(4, 5, activation="gelu")), "Keras has no Elman with activation='gelu'"),
        (lambda c: flax.from_linen(linen.LSTMCell(5), c), "variables is LSTMCell.*, it must be a dict"),
        (lambda c: flax.to_linen({}, Bidirectional(c)), "Flax's cells are exchanged one by one: give each cell of the Bidirect"),
        (lambda c: flax.as_nnx(c, rngs=0), r"rngs is 0: give nnx.Rngs\(0\), or nnx.Rngs\(params=0, dropout=1\)"),
        (lambda c: flax.as_nnx(c, rngs=nnx.Rngs(params=0)), r"rngs has no stream 'dropout': give nnx.Rngs\(0\)"),
        (
            lambda c: flax.as_linen(c).apply({"params": params_of(c)}, jnp.ones((2, 3, 4)), key=jax.random.key(0)),
            'a module of Flax draws its noise from the rng "dropout": it takes no key',
        ),
        (lambda c: flax.as_linen(c).apply({}, jnp.ones((2, 3, 4))), "params lacks 'bias': it holds"),
        (lambda c: flax.as_linen(c).apply({}, 2, method="start"), "params lacks 'bias': it holds"),
        (
            lambda c: flax.as_linen(Bidirectional(c)).apply({"params": params_of(Bidirectional(c))}, (), XS[:, 0], method="step"),
            "Bidirectional is a layer that reads whole sequences: it has no step",
        ),
        (lambda c: safetensors.save("a", [1]), r"arrays is \[1\], it must be a dict"),
        (
            lambda c: safetensors.save("a", {"k": jax.random.key(0)}),
            r"arrays holds 'k': key<fry>\[\], it must hold numbers or flags",
        ),
        (lambda c: safetensors.save("a", {"__metadata__": np.ones(2)}), r"arrays holds '__metadata__'"),
        (lambda c: safetensors.save(3, {}), "the path is 3, it must be a text or a Path"),
        (lambda c: safetensors.load("no_such_file"), "no_such_file cannot be read: No such file or directory"),
        (lambda c: flax.from_nnx({}, c), r"NNX's cells are nnx.LSTMCell, .*, not a dict"),
        (
            lambda c: flax.as_linen(LSTM),
            r"a module of Flax is made of a cell or a layer, not of the class LSTM: give LSTM\(\.\.\.\)",
        ),
    ],
)
def test_refusals_are_one_line(call, message):
    with pytest.raises(InputError, match=f"^{message}") as caught:
        call(LSTM(**SIZES))
    assert "\n" not in str(caught.value)
