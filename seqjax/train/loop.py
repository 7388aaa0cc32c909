"""The training loop, as a generator: what an experiment does at each event stays in the experiment.

The loop puts each batch on the devices one step ahead, and waits for them only where an event is due.
"""

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from seqjax.errors import InputError
from seqjax.train import mesh as meshes
from seqjax.train.checkpoint import Checkpoints, position_of
from seqjax.train.optim import learning_rate, skipped
from seqjax.train.progress import Progress
from seqjax.train.runs.folder import RunFolder
from seqjax.train.state import TrainState
from seqjax.types import Params


class DivergedError(InputError):
    """The loss or a gradient is no longer finite."""


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How long to train, and how often to stop and look; the last step does all three.

    Args:
        steps: of the whole run, those before a resume included.
        log_every: steps between two log lines; only there, and at the others, does the loop wait for the devices.
        eval_every: steps between two evaluations.
        save_every: steps between two checkpoints.
        patience: early stopping: how many evaluations in a row may bring nothing better; None: any.
        monitor: the figure of an evaluation that tells what is better: "loss", "bleu".
        best: whether its "lowest" or its "highest" value is.
    """

    steps: int = 1000
    log_every: int = 50
    eval_every: int = 500
    save_every: int = 500
    patience: int | None = None
    monitor: str = "loss"
    best: Literal["lowest", "highest"] = "lowest"

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and value < 1:
                raise InputError(f"loop.{field.name} is {value}, it must be at least 1")
        if self.best not in ("lowest", "highest"):
            raise InputError(f'loop.best is {self.best!r}, it must be "lowest" or "highest"')


class Event(NamedTuple):
    """A place where the loop stops to look.

    Args:
        step: steps done.
        kind: what happened; "end" (the budget is used, or early stopping) and "interrupted" come last.
        figures: for "log" loss, smooth (nats per token), learning_rate, epoch, seconds, tokens_per_second (the
            loss's terms), skipped (steps that were); for "eval" those of `evaluate`, and best; for "end" and "interrupted"
            seconds, stopped_early (0 or 1) and best.
        state: valid until the loop goes on: the next step is given its memory.
    """

    step: int
    kind: Literal["log", "eval", "save", "end", "interrupted"]
    figures: dict[str, float]
    state: TrainState


def train_loop(
    state: TrainState,
    train_step: Callable[[TrainState, dict], TrainState],
    stream,
    config: LoopConfig,
    *,
    position: dict | None = None,
    mesh: Mesh | None = None,
    run: RunFolder | None = None,
    checkpoints: Checkpoints | None = None,
    evaluate: Callable[[Params], dict[str, float]] | None = None,
    progress: Progress | None = None,
) -> Iterator[Event]:
    """Trains up to `config.steps` steps and yields what happens.

    Ctrl-C and SIGTERM let the current step finish, save, and end the loop with "interrupted"; a second one kills.

    Args:
        state: of `init_state` or `resume`; donated.
        train_step: of `make_train_step`.
        stream: an endless iterable of batches, dicts of NumPy arrays [B, ...], with `steps_per_epoch`; where checkpoints
            are kept, its iterator has `get_state()` and `set_state(state)`, and it an `identity`, all of it what JSON takes.
        config: how long and how often.
        position: of `resume`: where in the stream to go on; None: at its beginning.
        mesh: the same as train_step's.
        run: gets a line of metrics at every log and evaluation; None: none are kept.
        checkpoints: gets "last" and, after the best evaluation so far, "best"; None: none are kept.
        evaluate: params to figures by name, `config.monitor` among them, losses in nats per token; None: no evaluation.
        progress: shown at every log and evaluation.

    Yields:
        Event.

    Raises:
        DivergedError: the loss or a gradient was not finite for longer than the optimizer skips; names the first such step
            and parameter. Nothing is saved over the last good checkpoint.
        InputError: the stream ends, or an evaluation lacks the monitored figure.

    Example:
        >>> import optax
        >>> from seqjax.cells.elman import Elman
        >>> from seqjax.data.text.language import TextStream
        >>> from seqjax.models.language_model import LanguageModel
        >>> from seqjax.train.state import init_state
        >>> from seqjax.train.step import make_train_step
        >>> model, optimizer = LanguageModel(vocabulary_size=3, cell=Elman(input_size=3, hidden_size=2)), optax.sgd(0.1)
        >>> stream = TextStream(tokens=np.arange(99) % 3, batch_size=2, length=4, start=None, seed=0)
        >>> state = init_state(model, optimizer, batch_size=2, seed=0)
        >>> for event in train_loop(state, make_train_step(model, optimizer), stream, LoopConfig(steps=4, log_every=2)):
        ...     print(event.step, event.kind)
        2 log
        4 log
        4 end
    """
    mesh = meshes.one_device(mesh)
    step, record = int(state.step), run.read_metrics() if run is not None else []
    best, waited = None, 0
    for line in record:  # early stopping's memory is the record itself
        if line["split"] == "validation":
            best, waited = _judge(best, waited, line.get(config.monitor), config)
    seconds = max([line.get("seconds", 0.0) for line in record], default=0.0)
    clock = _Clock(float(state.loss.weight), seconds)

    def put():
        batch = next(batches, None)
        if batch is None:
            raise InputError(f"the stream ends at step {step} of {config.steps}: it must have no end")
        return meshes.shard(mesh, batch)

    def out_of_patience():
        return config.patience is not None and waited >= config.patience

    def ending(kind: Literal["end", "interrupted"] = "end"):
        figures = {"seconds": clock.seconds(), "stopped_early": float(out_of_patience())}
        return Event(step, kind, figures | ({} if best is None else {"best": best}), state)

    with _Signals() as signals:
        if step >= config.steps or out_of_patience():
            yield ending()
            return
        batches = iter(stream)
        if position is not None:
            batches.set_state(position)
        batch = put()
        while True:
            state = train_step(state, batch)
            step += 1
            last = step >= config.steps
            log, look, save = (last or step % every == 0 for every in (config.log_every, config.eval_every, config.save_every))
            interrupted = signals.seen
            due = log or look or save or interrupted
            here = position_of(stream, batches) if due and checkpoints is not None else {}
            if not (last or interrupted):
                batch = put()  # before anything waits
            if not due:
                continue

            figures, weight = _read(state, step, checkpoints)  # waits
            if log:
                figures |= {"epoch": step / stream.steps_per_epoch} | clock.lap(weight)
                weight = 0.0
                state = state._replace(loss=meshes.replicate(mesh, jax.tree.map(np.zeros_like, jax.device_get(state.loss))))
                if run is not None:
                    run.append_metrics(step=step, split="train", **figures)
                if progress is not None:
                    progress.update(step, figures)
                yield Event(step, "log", figures, state)
            if look and evaluate is not None:
                found = {name: float(value) for name, value in evaluate(state.params).items()}
                if config.monitor not in found:
                    raise InputError(f"loop.monitor is {config.monitor!r}, the evaluation gives {', '.join(found) or 'nothing'}")
                best, waited = _judge(best, waited, found[config.monitor], config)
                figures = found | ({} if best is None else {"best": best})
                if run is not None:
                    run.append_metrics(step=step, split="validation", **figures)
                if progress is not None:
                    shown = [name for name in found if name in ("loss", config.monitor)]
                    progress.update(step, {f"validation_{name}": found[name] for name in shown})
                if not waited and checkpoints is not None:
                    checkpoints.save("best", state, here)
                yield Event(step, "eval", figures, state)
            interrupted = interrupted or signals.seen
            done = last or interrupted or out_of_patience()
            if (save or done) and checkpoints is not None:
                checkpoints.save("last", state, here)
                yield Event(step, "save", {}, state)
            if done:
                yield ending("interrupted" if interrupted and not last else "end")
                return
            clock.restart(weight)


def _judge(best: float | None, waited: int, value: float | None, config: LoopConfig) -> tuple[float | None, int]:
    """(the best value of the monitored figure, evaluations since) after one more; what is not finite is not better."""
    if value is None or not math.isfinite(value):
        return best, waited + 1
    better = best is None or (value < best if config.best == "lowest" else value > best)
    return (value, 0) if better else (best, waited + 1)


def _read(state: TrainState, step: int, checkpoints: Checkpoints | None) -> tuple[dict[str, float], float]:
    """The figures since the last log and the loss's weight, from the devices; raises where the parameters are lost."""
    wanted = {
        "loss": state.loss,
        "smooth": state.smooth,
        "learning_rate": learning_rate(state.opt_state),
        "skipped": skipped(state.opt_state),
        "trouble": state.trouble,
    }
    figures = jax.device_get({name: value for name, value in wanted.items() if value is not None})
    first, leaf, broken = figures.pop("trouble").tolist()
    if broken:
        raise DivergedError(_diagnosis(state.params, first, leaf, step, checkpoints))
    loss = figures.pop("loss")
    mean = float(loss.sum) / max(float(loss.weight), 1.0)
    return {"loss": mean} | {name: float(value) for name, value in figures.items()}, float(loss.weight)


def _diagnosis(params: Params, first: int, leaf: int, step: int, checkpoints: Checkpoints | None) -> str:
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(params)]
    what = f"the gradient of {names[leaf]}" if leaf >= 0 else "the loss or the update"
    kept = "nothing was saved before"
    if checkpoints is not None and checkpoints.step("last") is not None:
        kept = f"step {checkpoints.step('last')} is kept in {checkpoints.folder / 'last'}"
    return f"diverged: {what} is not finite since step {first + 1} (seen at step {step}); {kept}; lower the learning rate or clip"


class _Clock:
    """Seconds of training, also those before a resume, and the rate at which the loss's weight grows between two log steps."""

    def __init__(self, weight: float, before: float):
        self._start = time.monotonic() - before
        self.restart(weight)

    def seconds(self) -> float:
        return time.monotonic() - self._start

    def restart(self, weight: float):
        """Leaves out of the rate what was done since the step ended: evaluating, saving, the caller's own."""
        self._mark = (weight, time.monotonic())

    def lap(self, weight: float) -> dict[str, float]:
        first, start = self._mark
        return {"seconds": self.seconds(), "tokens_per_second": (weight - first) / max(time.monotonic() - start, 1e-9)}


class _Signals:
    """Takes note of the first Ctrl-C or SIGTERM; the second does what it always did."""

    seen = False

    def __enter__(self):
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, number, frame):
        self.seen = True
        self._restore()

    def _restore(self):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __exit__(self, *error):
        self._restore()
