"""Video data sets of tfds: one prepared here from images, read lazily; and the lines for what cannot be read."""

import numpy as np
import pytest
from PIL import Image

from seqjax.data.video import load_tfds
from seqjax.errors import InputError

tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed")
COUNTS = {"train": 3, "validation": 1, "test": 2}


def frame(split, n, t):
    rng = np.random.default_rng((len(split), n, t))
    return rng.integers(0, 255, (8, 12, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data folder of a data set of a sequence of images and a class, prepared without TensorFlow."""
    images = tmp_path_factory.mktemp("images")

    class MovingNoise(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            video = tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3)))
            label = tfds.features.ClassLabel(names=["hop", "run"])
            features = tfds.features.FeaturesDict({"clip": video, "kind": label})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split, count) for split, count in COUNTS.items()}

        def _generate_examples(self, split, count):
            for n in range(count):
                paths = []
                for t in range(n + 2):
                    paths.append(str(images / f"{split}_{n}_{t}.png"))
                    Image.fromarray(frame(split, n, t)).save(paths[-1])
                yield n, {"clip": paths, "kind": n % 2}

    data = tmp_path_factory.mktemp("tfds")
    MovingNoise(data_dir=str(data), file_format="array_record").download_and_prepare()
    return data


def test_a_prepared_data_set_is_a_series(folder):
    series = load_tfds("moving_noise", data_dir=str(folder), rate=10.0, every=2)
    assert series.classes.names == ("hop", "run") and len(series) == 6 and series.rate == 5.0
    assert {split: len(rows) for split, rows in series.splits.items()} == {"train": 3, "valid": 1, "test": 2}
    assert series.labels is not None and series.record["source"] == "tfds:moving_noise"
    for split, rows in series.splits.items():
        stored = "validation" if split == "valid" else split
        wholes = {n: np.stack([frame(stored, n, t) for t in range(n + 2)])[::2] for n in range(COUNTS[stored])}
        for row in rows:  # tfds shuffles the examples
            frames = series.inputs["frames"][int(row)]
            (match,) = [n for n, whole in wholes.items() if whole.shape == frames.shape and (whole == frames).all()]
            assert series.labels[row] == match % 2
    again = load_tfds("moving_noise", data_dir=str(folder), keep=0, size=(4, 6), grey=True, flow=True, grid=(2, 3))
    longest = int(again.lengths.argmax())
    assert again.inputs["frames"].read(longest, 1, 3).shape == (2, 4, 6, 1)
    assert again.inputs["flow"][longest].shape == (4, 2, 3, 2)


def test_what_cannot_be_read_is_one_line(folder, tmp_path, capfd):
    with pytest.raises(InputError, match="tfds video no_such_video cannot be read: Dataset no_such_video not found"):
        load_tfds("no_such_video", data_dir=str(tmp_path))
    with tfds.testing.mock_data(), pytest.raises(InputError, match="its features are image, label, and one video"):
        load_tfds("mnist")
    with pytest.raises(InputError, match=r"tfds video ucf101 cannot be read: .*(pip install 'seqjax\[tfds-tf\]'|a folder)"):
        load_tfds("ucf101", data_dir=str(tmp_path))
    assert capfd.readouterr() == ("", "")
