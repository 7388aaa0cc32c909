"""Polyphonic music as piano rolls: the notes that sound at each moment."""

import dataclasses

import numpy as np

from seqjax.checks import as_path, check_integers, check_rules
from seqjax.data.array_files import digest_of, mat_variables
from seqjax.data.labels import Labels
from seqjax.data.series import Series
from seqjax.errors import InputError

LOWEST = 21  # MIDI's number of a piano's lowest key
PARTS = ("traindata", "validdata", "testdata")


def load(path) -> Series:
    """The pieces of a file, with its published split.

    Args:
        path: a .mat file with `traindata`, `validdata` and `testdata`, cell arrays of rolls [T, 88] of zeros and ones: such
            as JSB_Chorales.mat and Nottingham.mat.

    Returns:
        A `Series` without labels; its input is `features` uint8 [T, 88], 1 where a key sounds. The classes are the keys, by MIDI
        number.

    Raises:
        InputError: the file is missing, has other variables, or a roll is not [T, 88] of zeros and ones.

    Boulanger-Lewandowski, Bengio, Vincent 2012 (the data); Bai, Kolter, Koltun 2018 (the files).
    """
    path = as_path(path)
    variables, rolls, splits = mat_variables(path, PARTS), [], {}
    for part in PARTS:
        pieces = [np.asarray(piece) for piece in np.ravel(variables[part])]
        for number, piece in enumerate(pieces):
            if piece.ndim != 2 or piece.shape[1] != 88 or not len(piece) or not np.isin(piece, (0, 1)).all():
                raise InputError(f"{path}: {part}[{number}] has shape {piece.shape}, it must be [T, 88] of zeros and ones")
        splits[part.removesuffix("data")] = np.arange(len(rolls), len(rolls) + len(pieces))
        rolls += [piece.astype(np.uint8) for piece in pieces]
    return Series(
        inputs={"features": rolls},
        lengths=np.array([len(roll) for roll in rolls]),
        classes=Labels(names=tuple(str(LOWEST + key) for key in range(88))),
        names=tuple(f"{split} {number}" for split, places in splits.items() for number in range(len(places))),
        record={"source": path.name, "sha256": digest_of([path])},
        splits=splits,
    )


@dataclasses.dataclass(frozen=True)
class Transposed:
    """Training pieces moved up or down by a number of semitones at random, as far as every note keeps its key.

    Args:
        most: the largest number of semitones.

    Raises:
        InputError: a number below 0, or no integer.
    """

    most: int

    def __post_init__(self):
        check_integers(most=self.most)
        check_rules(self, most=(self.most >= 0, "at least 0"))

    def __call__(self, inputs: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """One piece, moved at random."""
        keys = np.flatnonzero(inputs["features"].any(axis=0))
        low, high = (int(keys[0]), 87 - int(keys[-1])) if len(keys) else (0, 0)
        shift = int(rng.integers(-min(self.most, low), min(self.most, high), endpoint=True))
        return inputs | {"features": np.roll(inputs["features"], shift, axis=1)}
