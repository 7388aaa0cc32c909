"""Training: optimizers, a donated state, jitted steps over devices, checkpoints, run folders, and a loop that yields events."""

from seqjax.train.averages import average
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.evaluation import evaluate, make_eval_step
from seqjax.train.loop import IDLE, DivergedError, Event, LoopConfig, train_loop
from seqjax.train.mesh import data_mesh
from seqjax.train.optim import OptimizerConfig, make_optimizer
from seqjax.train.plots import curves
from seqjax.train.progress import Progress
from seqjax.train.resuming import position_of, resume
from seqjax.train.runs.description import check_same_run, describe_run, hashes_of
from seqjax.train.runs.folder import RunFolder
from seqjax.train.runs.load import Run, load_run
from seqjax.train.state import TrainState, init_state
from seqjax.train.step import make_train_step

__all__ = [
    "IDLE",
    "Checkpoints",
    "DivergedError",
    "Event",
    "LoopConfig",
    "OptimizerConfig",
    "Progress",
    "Run",
    "RunFolder",
    "TrainState",
    "average",
    "check_same_run",
    "curves",
    "data_mesh",
    "describe_run",
    "evaluate",
    "hashes_of",
    "init_state",
    "load_run",
    "make_eval_step",
    "make_optimizer",
    "make_train_step",
    "position_of",
    "resume",
    "train_loop",
]


def __dir__():
    return __all__
