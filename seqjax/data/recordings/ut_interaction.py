"""UT-Interaction: 120 clips of two people, as features of a convolutional network, pooled optical flow, and small frames."""

from collections.abc import Sequence

import numpy as np

from seqjax.data.array_files import digest_of, file_in, npz_arrays, parts_of
from seqjax.data.labels import Labels
from seqjax.data.series import Series
from seqjax.data.series.parts import Parts
from seqjax.errors import InputError

INPUTS = ("features", "flow", "frames")
FEATURE, FLOW = 0.57, 1.32  # deviations over all clips, rounded
ARRAYS = ("set", "sequence", "segment", "label", "length", "label_names", "feature", "feature_step", "flow", "flow_step")


def load(
    folder,
    *,
    inputs: Sequence[str] = ("features", "flow"),
    sets: Sequence[int] = (1, 2),
    grid: tuple[int, int] | None = None,
) -> Series:
    """The clips, ten steps a second; the usual test leaves one sequence out, within each set.

    The sizes of the clips, which tell something of their class, are not read.

    Args:
        folder: holds clips.npz, and for "frames" frames_72.zip. clips.npz has `set`, `sequence`, `segment`, `label` and `length`,
            int [clips], `label_names`, and of all clips' steps, one after the other, `feature` int8 [steps, D] (times
            `feature_step`) and `flow` int8 [steps, h, w, 2] (times `flow_step`: pixels a step). The zip has
            set<1 or 2>/<sequence>_<segment>_<label>/<frame>.jpg.
        inputs: a choice of "features" (divided by 0.57, their deviation), "flow" (by 1.32) and "frames".
        sets: a choice of 1 and 2.
        grid: (h, w) that the flow is averaged to, of which the file's are multiples; None: as in the file.

    Returns:
        A `Series` of `features` float32 [T, D], `flow` float32 [T, h, w, 2] and `frames` uint8 [T, 72, 72, 3], read when they are
        needed, with a class a clip. A group is a sequence, "set1-01"; the published splits are "set1-01/train", "set1-01/test",
        and so on: the other sequences of that set train.

    Raises:
        InputError: a file is missing or has other arrays, the zip's clips are not those of clips.npz, a choice is not known, or
            the grid does not divide the flow's.

    Ryoo and Aggarwal, UT-Interaction Dataset, ICPR contest on Semantic Description of Human Activities, 2010.
    """
    if not inputs or not set(inputs) <= set(INPUTS) or not sets or not set(sets) <= {1, 2}:
        raise InputError(f"inputs are {tuple(inputs)}, sets {tuple(sets)}: choose of {', '.join(INPUTS)}, and of 1 and 2")
    path = file_in(folder, "clips.npz", what="UT-Interaction")
    arrays = npz_arrays(path, ARRAYS)
    kept = np.flatnonzero(np.isin(arrays["set"], sets))
    ids = [[int(arrays[name][n]) for name in ("set", "sequence", "segment", "label")] for n in kept]
    groups = [f"set{s}-{sequence:02d}" for s, sequence, *_ in ids]
    read, paths = {}, [path]
    for word, array, deviation in (("features", "feature", FEATURE), ("flow", "flow", FLOW)):
        if word in inputs:
            clips, scale = parts_of(path, arrays[array], arrays["length"]), np.float32(arrays[f"{array}_step"] / deviation)
            read[word] = [clips[n] * scale for n in kept]
    if grid is not None and "flow" in read:
        read["flow"] = [_averaged(flow, grid) for flow in read["flow"]]
    if "frames" in inputs:
        paths.append(file_in(folder, "frames_72.zip", what="UT-Interaction"))
        read["frames"] = _frames(
            paths[1], [f"set{s}/{sequence:02d}_{segment:02d}_{label}" for s, sequence, segment, label in ids]
        )
    splits = {}
    for group in dict.fromkeys(groups):
        splits[f"{group}/train"] = np.array([n for n, other in enumerate(groups) if other != group and other[:4] == group[:4]])
        splits[f"{group}/test"] = np.array([n for n, other in enumerate(groups) if other == group])
    return Series(
        inputs={word: read[word] for word in inputs},
        lengths=arrays["length"][kept],
        classes=Labels(names=tuple(map(str, arrays["label_names"]))),
        labels=arrays["label"][kept],
        names=tuple(f"{group} {segment:02d}" for group, (_, _, segment, _) in zip(groups, ids, strict=True)),
        groups=tuple(groups),
        rate=10.0,
        record={"source": "UT-Interaction", "sha256": digest_of(paths), "clips": len(kept), "inputs": ",".join(inputs)},
        splits=splits,
    )


def _averaged(flow: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Flow [T, H, W, 2], averaged to [T, h, w, 2]."""
    length, height, width, _ = flow.shape
    if min(grid) < 1 or height % grid[0] or width % grid[1]:
        raise InputError(
            f"the flow has {height} x {width} places, and {grid[0]} x {grid[1]} do not divide them: give another grid"
        )
    return flow.reshape(length, grid[0], height // grid[0], grid[1], width // grid[1], 2).mean(axis=(2, 4))


def _frames(path, names: list[str]) -> Parts:
    """The frames of the zip's clips in the order of some names, decoded when they are needed."""
    from seqjax.data.video import load_clips

    clips = load_clips(path, label=r"_(\d+)$")
    missing = [name for name in names if name not in clips.names]
    if missing:
        raise InputError(f"{path} has no clip {missing[0]}, which clips.npz has: give the zip that belongs to it")
    return Parts(clips.inputs["frames"], [clips.names.index(name) for name in names])
