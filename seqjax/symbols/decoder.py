"""The part that language models and encoder-decoders share: symbols in, a cell, the next symbol's logits out."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.checks import check_array
from seqjax.contracts import Cell
from seqjax.initializers import embedding_table
from seqjax.recurrence.arguments import Embedded
from seqjax.symbols.embedding import read_symbols
from seqjax.symbols.readout import init_readout, read_out_symbols, silence
from seqjax.tables import look_up
from seqjax.types import Array, Key, Params, State

LOOKED_UP = 512  # the largest vocabulary that one product before decoding projects in less time than a product at each step


@dataclasses.dataclass(frozen=True, kw_only=True)
class SymbolDecoder:
    """An embedding, a cell and a readout.

        e_t = E[y_{t-1}];  state_t, h_t = cell(state_{t-1}, e_t);  p(y_t) = softmax(W h_t + b)

    Args:
        size: V, symbols of the vocabulary.
        cell: reads E features, or V without an embedding.
        embedding_size: E; None: the cell reads symbols one-hot.
        output_size: H, features of the readout's input.
        tied: whether W is the embedding transposed.
        silent: symbols that are never emitted.
    """

    size: int
    cell: Cell
    embedding_size: int | None
    output_size: int
    tied: bool
    silent: tuple[int, ...]

    def init(self, k_cell: Key, k_embedding: Key, k_projection: Key) -> Params:
        """`cell`; `projection`: `kernel` [H, V] (absent if tied) and `bias` [V]; `embedding` [V, E]."""
        projection = init_readout(k_projection, self.output_size, self.size, tied=self.tied)
        params = {"cell": self.cell.init(k_cell), "projection": projection}
        if self.embedding_size is None:
            return params
        return params | {"embedding": embedding_table(k_embedding, (self.size, self.embedding_size))}

    def inputs(self, params: Params, tokens: Array, **dropout) -> tuple[Params | Embedded, Any]:
        """The cell's parameters and inputs for reading tokens [B, T]; options as in `read_symbols`."""
        if self.embedding_size is None:
            return params["cell"], tokens
        return read_symbols(self.cell, params["cell"], params["embedding"], tokens, **dropout)

    def look_up(self, params: Params) -> Any:
        """The cell's projections of every symbol and of zeros, leaves [V + 1, ...]; () if `advance` should project each."""
        if self.embedding_size is None or self.size > LOOKED_UP:
            return ()
        return self.cell.project(params["cell"], jnp.pad(params["embedding"], ((0, 1), (0, 0))))

    def advance(self, params: Params, symbols: Any, state: State, token: Array, *, context=None) -> tuple[State, Any]:
        """Reads one symbol of each row.

        Args:
            params: from `init`.
            symbols: from `look_up`, or ().
            state: leaves [B, ...].
            token: integer [B].
            context: the cell's context.

        Returns:
            (state, the cell's output).
        """
        rows = next((leaf.shape[0] for leaf in jax.tree.leaves(state)), "B")
        token = jnp.asarray(check_array("token", token, "integer", rows))
        if isinstance(symbols, tuple) and not symbols:
            x = token if self.embedding_size is None else look_up(params["embedding"], token)
            z = self.cell.project(params["cell"], x)
        else:
            z = jax.tree.map(lambda rows: look_up(rows, token, last_is_outside=True), symbols)
        return self.cell.recur(params["cell"], state, z, context=context)

    def logits(self, params: Params, hs: Array) -> Array:
        """Logits [..., V] of outputs [..., H], float32 or wider."""
        return read_out_symbols(params["projection"], hs, params["embedding"] if self.tied else None)

    def emit(self, params: Params, h: Array) -> Array:
        """`logits`, and -inf for the symbols that are never emitted."""
        return silence(self.logits(params, h), self.silent)
