"""Keys of seeds."""

import jax
import pytest

from seqjax.errors import InputError
from seqjax.noise import key_of


def test_no_two_seeds_have_equal_keys():
    seeds = (0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**33, 2**63 - 1)
    assert len({tuple(jax.random.key_data(key_of(seed)).tolist()) for seed in seeds}) == len(seeds)
    assert jax.random.key_data(key_of(7)).tolist() == jax.random.key_data(jax.random.key(7)).tolist()


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_63_bits_is_refused(seed):
    with pytest.raises(InputError, match=f"seed is {seed}, it must be from 0 to {2**63 - 1}"):
        key_of(seed)
