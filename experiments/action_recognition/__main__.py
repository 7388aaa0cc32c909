"""Actions in videos, poses and sensor signals.

python -m experiments.action_recognition train --preset tiny [--any.flag value]
python -m experiments.action_recognition evaluate DIR --split test [--ensemble DIR]
python -m experiments.action_recognition predict [DIR] clip.mp4
python -m experiments.action_recognition stream [DIR] FOLDER
python -m experiments.action_recognition folds --preset weizmann --data.path FOLDER --seeds 0 1 2
"""

import sys

from experiments import command_line
from experiments.action_recognition import inference
from experiments.action_recognition.config import PROGRAM, Config
from experiments.action_recognition.data import fold_names, load_actions
from experiments.action_recognition.model import bag_of_frames, build_model
from experiments.folds import run_folds
from experiments.recording import draw_timeline, pick_recording
from experiments.session import Session
from experiments.train_verb import run_training
from seqjax.train import Run
from seqjax.types import Params


def main(config: Config, *, preset: str = "custom") -> Run:
    """Trains a recogniser, or continues a run (config.resume).

    Args:
        config: a preset, or one changed by `dataclasses.replace`.
        preset: the name of the preset.

    Returns:
        The run, with its best weights.

    Raises:
        InputError: recordings, sizes or folders do not fit; nothing has been written then.
    """
    data, actions = config.data, load_actions(config.data)
    word, size = data.inputs, data.batch_size
    model = build_model(config.model, actions, word)
    names = {"program": PROGRAM, "preset": preset, "vocabulary": actions.classes, "data": actions.record}
    batches = {"batch_size": size, "seed": config.seed, "window": data.window, "augment": data.augmentation}
    session = Session(config, model, actions.stream(word, **batches), **names)

    def evaluate(params: Params) -> dict[str, float]:
        return session.evaluate(params, actions.batches("valid", word, batch_size=size))

    with session.open(*actions.summary()):
        for event in session.train(evaluate if "valid" in actions.splits else None):
            session.draw_curves(event)

    def measure(params: Params) -> dict:
        figures, folder = {}, session.folder
        for split in [split for split in ("valid", "test") if split in actions.splits]:
            scores, name = actions.score(model, params, split, batch_size=size), "validation" if split == "valid" else split
            figures |= {f"{name}_{figure}": value for figure, value in scores.figures().items()}
        recording = pick_recording(actions.splits, split, 0)  # the last split, test where there is one
        draw_timeline(model, params, recording, actions.classes.names, folder)
        figures |= scores.draw(folder, name)
        if config.bag_of_frames:
            seen = "frames" if "frames" in actions.inputs else word
            bag = bag_of_frames(config.model, actions, seen)
            scores = actions.score(bag, session.train_reference(bag, actions.stream(seen, **batches)), split, batch_size=size)
            figures |= {f"bag_of_frames_{name}_accuracy": scores.figures()["accuracy"]}
        return figures

    return session.finish(measure)


def train(argv: list[str]) -> Run | None:
    """Trains a preset, or continues a run: train --preset tiny [--any.flag value]; train --resume DIR."""
    return run_training(argv, PROGRAM, main)


def folds(argv: list[str]) -> dict:
    """Trains a preset on every fold of its data: folds --preset weizmann --data.path FOLDER --seeds 0 1 2 [--any.flag value]."""
    return run_folds(argv, PROGRAM, main, fold_names, "test_accuracy")


VERBS = {"train": train, "folds": folds} | inference.VERBS

if __name__ == "__main__":
    sys.exit(command_line.run_verbs(PROGRAM, VERBS, sys.argv[1:]))
