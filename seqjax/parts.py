"""The parts of composite cells and layers: their parameters, initial states and input shapes."""

import jax

from seqjax import noise
from seqjax.types import Array, Key, Params, Shape, State


def embed_part(part, params: Params, name: str, table: Array) -> Params | None:
    """A composite's parameters, with those of the part that reads its input embedded; None if that part cannot embed."""
    embedded = part.embed(params.get(name, {}), table)
    return None if embedded is None else params | {name: embedded}


def init_parts(parts, key: Key) -> Params:
    """Parameters of several parts: {"0": ..., "1": ...}; a part without parameters has no entry."""
    keys = jax.random.split(key, len(parts))
    params = {str(i): part.init(k) for i, (part, k) in enumerate(zip(parts, keys, strict=True))}
    return {name: part_params for name, part_params in params.items() if part_params}


def initial_states(parts, params: Params, batch_shape: Shape, context, key: Key | None) -> tuple[State, ...]:
    """Initial states of several parts; one key sets all their noise."""
    states = tuple(part.initial_state(params.get(str(i), {}), batch_shape, context=context) for i, part in enumerate(parts))
    return states if key is None else noise.reseed(states, key)


def shape_of_first(parts) -> Shape | None:
    """The input shape of the first part that has one."""
    return next((part.input_shape for part in parts if part.input_shape is not None), None)
