"""50 Salads, as published with Temporal Convolutional Networks: a support vector machine's scores of every frame."""

import numpy as np

from seqjax.data.array_files import digest_of, file_in, mat_variables
from seqjax.data.labels import Labels
from seqjax.data.series import Series
from seqjax.errors import InputError

SPLITS = range(1, 6)


def load(folder) -> Series:
    """The 50 videos, each with the scores of the frame classifier that was not trained on it.

    Split_k.mat holds the ten test videos of split k and no others. The training data of split k are the videos of the other four
    files: scores of classifiers that had not seen them either, but of other classifiers, so that their scales differ a little.

    Args:
        folder: holds Split_1.mat to Split_5.mat with S, one float array [T, C] a video, Y, its frames' classes from 0, and P, the
            classifier's own answer.

    Returns:
        A `Series` of `features` float32 [T, C], 2 S + 2, nearly of mean 0 and deviation 1, with a class a step; published splits
        "1/train" to "5/test"; the record has `frame_classifier_accuracy`, that of P, over the frames of a split, a mean of the
        splits. The files give neither names of classes nor people nor a rate: classes are "action 0" ..., and a group is a video.

    Raises:
        InputError: a file is missing or has other variables, or a video's sizes do not fit each other.

    Lea, Flynn, Vidal, Reiter and Hager, Temporal Convolutional Networks for Action Segmentation and Detection, 2017; Stein and
    McKenna, Combining Embedded Accelerometers with Computer Vision for Recognizing Food Preparation Activities, 2013.
    """
    paths = [file_in(folder, f"Split_{k}.mat", what="50 Salads' scores") for k in SPLITS]
    features, targets, names, split_of = [], [], [], []
    right: dict[int, list[np.ndarray]] = {k: [] for k in SPLITS}  # a bool a frame
    for k, path in zip(SPLITS, paths, strict=True):
        variables = mat_variables(path, ("S", "Y", "P"))
        videos = [np.ravel(variables[name]) for name in "SYP"]
        if len({len(side) for side in videos}) > 1:
            raise InputError(f"{path} has {', '.join(str(len(side)) for side in videos)} videos in S, Y, P: give one of each")
        for n, (scores, target, predicted) in enumerate(zip(*videos, strict=True), 1):
            target, predicted = np.ravel(target), np.ravel(predicted)
            if np.ndim(scores) != 2 or not len(scores) == len(target) == len(predicted):
                sizes = f"S {np.shape(scores)}, Y {target.shape} and P {predicted.shape}"
                raise InputError(f"{path}, video {n} has {sizes}: give [frames, classes], and one class a frame")
            features.append((2 * scores + 2).astype(np.float32))
            targets.append(target.astype(np.int64))
            names.append(f"split {k} video {n}")
            split_of.append(k)
            right[k].append(target == predicted)
    places = np.array(split_of)
    splits = {}
    for k in SPLITS:
        splits[f"{k}/train"], splits[f"{k}/test"] = np.flatnonzero(places != k), np.flatnonzero(places == k)
    return Series(
        inputs={"features": features},
        lengths=np.array([len(scores) for scores in features]),
        classes=Labels(names=tuple(f"action {n}" for n in range(features[0].shape[1]))),
        targets=tuple(targets),
        names=tuple(names),
        record={
            "source": "50 Salads scores",
            "sha256": digest_of(paths),
            "videos": len(names),
            "frame_classifier_accuracy": float(np.mean([np.concatenate(right[k]).mean() for k in SPLITS])),
        },
        splits=splits,
    )
