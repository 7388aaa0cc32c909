"""The picture of attention weights: its size and its squares follow the weights."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from seqjax.errors import InputError
from seqjax.inspect import heat_map, image_maps


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


def test_attention_over_time_has_an_axis_of_seconds(tmp_path):
    weights = np.zeros((3, 400))
    weights[[0, 1, 2], [10, 200, 390]] = 1.0
    heat_map(weights, 0.01, ["a", "b", "c"], tmp_path / "map.png", title="4 seconds")
    assert (tmp_path / "map.png").read_bytes()[1:4] == b"PNG"
    for source, target, message in (
        (0.01, ["a"], r"weights have shape \(3, 400\), 1 target symbols need \(1, S\)"),
        (0.0, ["a", "b", "c"], "the source is 0 seconds a place"),
    ):
        with pytest.raises(InputError, match=message):
            heat_map(weights, source, target, tmp_path / "other.png")


def test_an_image_is_bright_where_the_decoder_looked(tmp_path):
    weights, image = np.zeros((1, 4)), np.full((40, 40, 3), 255, np.uint8)
    weights[0, 0] = 1.0  # the upper left
    image_maps(weights, image, ["dog"], tmp_path / "map.png")
    drawn = imread(io.BytesIO((tmp_path / "map.png").read_bytes()))[..., :3].mean(axis=2)
    rows, columns = (slice(size // 4, size // 3) for size in drawn.shape)
    below, right = (slice(-(size // 4), -(size // 6)) for size in drawn.shape)
    assert drawn[rows, columns].mean() > drawn[below, right].mean() + 0.3
    for options, message in (
        ({"grid": (1, 3)}, r"weights have shape \(1, 4\), 1 symbols and a grid of 1 x 3 places need \(1, 3\)"),
        ({"image": np.zeros(3)}, r"the image has shape \(3,\), it must be \[H, W, 3\] or \[H, W\]"),
    ):
        with pytest.raises(InputError, match=message):
            image_maps(**{"weights": weights, "image": image, "target": ["dog"], "path": tmp_path / "x.png"} | options)
