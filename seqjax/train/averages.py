"""Averages of checkpoints."""

import jax
import numpy as np

from seqjax.annotations import public
from seqjax.errors import InputError
from seqjax.train.checkpoint import Checkpoints
from seqjax.types import Params


@public
def average(checkpoints: Checkpoints, target: Params, n: int, *, raw: bool = False) -> Params:
    """The mean of the parameters of the last n checkpoints, summed in float64.

        mean = (theta[1] + ... + theta[n]) / n

    Args:
        checkpoints: the checkpoints of a run that keeps at least n.
        target: a tree of the same structure and shapes, e.g. `jax.eval_shape(model.init, jax.random.key(0))`.
        n: the number of checkpoints, at least 1.
        raw: average the parameters themselves, even where the optimizer kept an average of them.

    Returns:
        NumPy arrays, in the dtypes in which they were saved.

    Raises:
        InputError: there are fewer than n checkpoints, or one is damaged or has another structure.

    Example:
        >>> import optax, tempfile
        >>> from seqjax.cells.elman import Elman
        >>> from seqjax.models.language_model import LanguageModel
        >>> from seqjax.train.state import init_state
        >>> model = LanguageModel(vocabulary_size=3, cell=Elman(input_size=3, hidden_size=2))
        >>> state = init_state(model, optax.sgd(0.1), batch_size=2, seed=0)
        >>> with Checkpoints(tempfile.mkdtemp()) as checkpoints:
        ...     checkpoints.save("last", state, {})
        ...     mean = average(checkpoints, state.params, 1)
        >>> jax.tree.all(jax.tree.map(np.array_equal, mean, state.params))
        True
    """
    steps = checkpoints.steps("last")
    if not 1 <= n <= len(steps):
        count = f"{checkpoints.folder / 'last'} keeps {len(steps)} checkpoints"
        raise InputError(f"{count}: an average of {n} is not possible, choose 1 to {len(steps)}")
    dtypes, total = None, None
    for step in steps[-n:]:
        params = checkpoints.params(target, "last", step=step, raw=raw)
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
        total = wide if total is None else jax.tree.map(np.add, total, wide)
        dtypes = jax.tree.map(lambda leaf: leaf.dtype, params)
    return jax.tree.map(lambda leaf, dtype: (leaf / n).astype(dtype), total, dtypes)
