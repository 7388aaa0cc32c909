"""The picture of attention weights: its size and its squares follow the weights."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from seqjax.errors import InputError
from seqjax.inspect import heat_map


def picture(tmp_path, weights, source, target):
    heat_map(weights, source, target, tmp_path / "map.png", title="$\\pair$ \u4e8c")
    return imread(io.BytesIO((tmp_path / "map.png").read_bytes()))[..., :3]


def test_darkness_follows_the_weights(tmp_path):
    words = [f"w{n}" for n in range(4)]
    one, none = (picture(tmp_path, weights, words, words) for weights in (np.eye(4), np.zeros((4, 4))))
    assert one.shape == none.shape
    dark = [(image.mean(axis=2) < 0.1).sum() for image in (one, none)]
    assert dark[0] > dark[1] + 0.05 * one[..., 0].size  # a quarter of the squares' area is black


def test_a_longer_pair_makes_a_larger_picture(tmp_path):
    short = picture(tmp_path, np.ones((2, 2)) / 2, ["a", "b"], ["c", "d"])
    long = picture(tmp_path, np.ones((30, 2)) / 2, ["a", "b"], ["c"] * 30)
    assert long.shape[0] > 2 * short.shape[0]


@pytest.mark.parametrize("symbols", [["\u2581deux", "\u2581cent"], ["$x$", "\n"], ["", "a" * 60], ["\u4e8c", "\u0926\u094b"]])
def test_any_symbol_can_be_shown(symbols, tmp_path):
    assert picture(tmp_path, np.eye(2), symbols, symbols).ndim == 3


def test_weights_of_another_shape_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"weights have shape \(2, 3\), 2 target and 2 source symbols need \(2, 2\)"):
        heat_map(np.zeros((2, 3)), ["a", "b"], ["c", "d"], tmp_path / "map.png")
