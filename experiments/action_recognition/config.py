"""The config of an action recogniser, and the presets. Every field is a flag: --model.hidden-size 64."""

import dataclasses
from typing import Annotated, ClassVar, Literal

from experiments.command_line import Program
from experiments.groups import Augmentation, OverTime, PerStep, Pooled
from experiments.limits import FilePath, Natural, Needs, Positive, Rate, Share, Size, Weight
from experiments.session import Training
from seqjax.data.recordings import MIRRORS
from seqjax.errors import InputError
from seqjax.train import LoopConfig, OptimizerConfig


@dataclasses.dataclass(frozen=True)
class Data:
    """The clips or recordings, their splits and their batches."""

    SOURCES: ClassVar = ("path", "recordings", "tfds", "rendered", "segments")  # a flag for one replaces the run's others
    PATHS: ClassVar = ("path", "segments")  # fields that name files or folders
    OF_TRAINING: ClassVar = ("window", "augment")  # fields that evaluation has no use for

    rendered: Literal["clips", "long"] = "clips"  # moving figures, drawn here: one action a clip, or several
    path: FilePath | None = None  # a folder or zip of clips by class, features likewise or as .npz, or the folder of `recordings`
    recordings: Literal["hapt", "hapt_windows", "jhmdb", "salads", "ut_interaction", "weizmann"] | None = None  # published data
    tfds: str | None = None  # a video data set of tensorflow-datasets, e.g. ucf101
    segments: FilePath | None = None  # a CSV or JSON of the actions in the clips of `path`: a class for every frame
    inputs: Literal["frames", "flow", "features"] = "frames"  # the part of the data that the model reads
    size: tuple[Size, Size] | None = None  # height and width of the frames; None: those of the clips (rendered: 32 32)
    grey: bool = False  # read clips without colours
    grid: tuple[Size, Size] | None = None  # height and width that the flow is averaged to
    rate: Positive | None = None  # frames a second of clips that state none
    label: str | None = None  # a regular expression for the class in a clip's name; None: its folder
    group: str | None = None  # likewise for the person or video, which no two splits share; None: every clip by itself
    unreadable: Literal["skip", "refuse"] = "skip"  # clips that cannot be read are named and counted, or refused
    count: tuple[Size, Size, Size] = (600, 120, 240)  # rendered clips to train, validate and test
    every: Size = 1  # keep one of so many steps; of HAPT: the mean of so many
    motion: bool = False  # of HAPT: read the fast part of both sensors too, on a logarithmic scale
    classes: tuple[str, ...] = ()  # the classes to tell apart; others are left out. Empty: all
    cut: tuple[Size, Size] | None = None  # cut recordings into clips of so many steps, one every so many
    window: Size | None = None  # train on random windows of at most so many steps
    augment: Augmentation = dataclasses.field(default_factory=Augmentation)  # of training clips
    split: tuple[Share, Share, Share] = (0.7, 0.1, 0.2)  # shares of the groups in train, valid and test
    fold: Natural | None = None  # the test split: the n-th published one or group; `split` still says how much is valid
    batch_size: Size = 16

    @property
    def augmentation(self) -> Augmentation:
        """`augment`, with the mirror image of the features.

        Raises:
            InputError: features are to be flipped whose mirror image is not known.
        """
        if self.inputs != "features" or not self.augment.flip:
            return self.augment
        if self.recordings not in MIRRORS:
            raise InputError(f"--data.augment.flip: of features, it knows the mirror image of {' and '.join(MIRRORS)} only")
        return dataclasses.replace(self.augment, mirror=MIRRORS[self.recordings]())


@dataclasses.dataclass(frozen=True)
class Network(PerStep, OverTime, Pooled):
    """The encoder of a step, the network over time, and the head of a clip."""

    hidden_size: Size = 64
    balanced: bool = False  # weigh the losses of the classes by one over their frequency
    smoothing: Rate = 0.0  # label smoothing
    focal: Weight | None = None  # the exponent of the focal loss; None: cross-entropy
    ranking: Literal["none", "score", "margin"] = "none"  # of frames: L_s or L_m of Ma, Sigal and Sclaroff 2016
    ranking_weight: Annotated[Weight, Needs("ranking", ("score", "margin"))] = 1.0


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """Actions in clips, or in the frames of longer recordings."""

    data: Data = Data()
    model: Network = Network()
    monitor: Literal["loss", "accuracy"] = "accuracy"  # of the validation split
    bag_of_frames: bool = False  # train a classifier without order too, for comparison


CLIPS = OptimizerConfig(name="adam", learning_rate=3e-3, schedule="cosine", warmup_steps=50, clip_norm=1.0)
SMALL = OptimizerConfig(name="adam", learning_rate=3e-3, weight_decay=0.01, schedule="cosine", warmup_steps=20, clip_norm=1.0)
INTERACTIONS = Data(recordings="ut_interaction", grid=(5, 5), split=(1.0, 0.0, 0.0), batch_size=18)
BOTH_WAYS = Network(cell="gru", hidden_size=32, bidirectional=True, dropout=0.5, smoothing=0.1)
TILTED = Augmentation(rotation=5.0, scale=0.1, speed=0.2)  # a phone worn and a person moving otherwise
SENSORS = Data(recordings="hapt_windows", inputs="features", every=2, motion=True, augment=TILTED, split=(0.85, 0.15, 0.0))
PRESETS = {
    # Rendered clips of moving figures and digits: minutes on two cores, nothing to download. The model reads their motion.
    "tiny": Config(
        data=Data(inputs="flow", grid=(16, 16), count=(1200, 120, 240)),
        model=Network(cell="gru", encoder="conv", average="linear", gain="linear"),
        optimizer=CLIPS,
        loop=LoopConfig(epochs=6),
        bag_of_frames=True,
    ),
    # The presets below read published data from --data.path. Their clips are few, so networks are small and dropout is high.
    "hapt": Config(  # windows of 128 samples at 50 Hz (64 means of two) of six basic activities; published split of subjects
        data=dataclasses.replace(SENSORS, cut=(64, 32), batch_size=64),
        model=Network(kind="dilated_tcn", hidden_size=32, layers=4, width=5, head="mean", dropout=0.3, smoothing=0.1),
        optimizer=SMALL,
        loop=LoopConfig(epochs=8),
    ),
    # HAPT, whole recordings at 10 Hz, twelve activities; a model that sees no later step, so that it can follow a stream.
    "hapt_segments": Config(
        data=Data(recordings="hapt", inputs="features", every=5, window=600, split=(0.85, 0.15, 0.0), batch_size=8),
        model=Network(layers=2, dropout=0.3),
        optimizer=SMALL,
        loop=LoopConfig(epochs=80, eval_every=50),
    ),
    # Weizmann silhouettes, ten actions: folds leave one person out. Without validation people: the length is fixed.
    "weizmann": Config(
        data=Data(recordings="weizmann", inputs="features", window=32, split=(1.0, 0.0, 0.0)),
        model=Network(standardize=True, input_dropout=0.3, encoder="dense", cell="gru", bidirectional=True, dropout=0.5),
        optimizer=dataclasses.replace(SMALL, weight_decay=0.05),
        loop=LoopConfig(epochs=40),
    ),
    # JHMDB poses, 14 classes, three splits.
    "jhmdb": Config(
        data=Data(recordings="jhmdb", inputs="features", split=(1.0, 0.0, 0.0), batch_size=32),
        model=Network(input_dropout=0.2, encoder="dense", bidirectional=True, head="mean", dropout=0.5, smoothing=0.1),
        optimizer=SMALL,
        loop=LoopConfig(epochs=24),
    ),
    # 50 Salads, scores of a frame classifier in, five splits.
    "salads": Config(
        data=Data(recordings="salads", inputs="features", split=(1.0, 0.0, 0.0), batch_size=8),
        model=Network(input_dropout=0.3, encoder="dense", layers=2, bidirectional=True, dropout=0.5, smoothing=0.1),
        optimizer=dataclasses.replace(SMALL, weight_decay=0.1),
        loop=LoopConfig(epochs=25),
    ),
    # UT-Interaction, six interactions of two people: folds leave one sequence out in each set. Features of frames.
    "ut_interaction": Config(
        data=dataclasses.replace(INTERACTIONS, inputs="features"),
        model=dataclasses.replace(BOTH_WAYS, center=True, input_dropout=0.5, head="local", pool_windows=3),
        optimizer=SMALL,
        loop=LoopConfig(epochs=60),
    ),
    # The same interactions by their optical flow. `evaluate` fuses both.
    "ut_interaction_flow": Config(
        data=dataclasses.replace(INTERACTIONS, inputs="flow"),
        model=dataclasses.replace(BOTH_WAYS, encoder="dense", input_dropout=0.3, average="linear", gain="linear"),
        optimizer=SMALL,
        loop=LoopConfig(epochs=60),
    ),
}

PROGRAM = Program("action_recognition", PRESETS)
