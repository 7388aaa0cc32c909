"""The training loop, a generator of events: the experiment decides what to do at each.

The loop puts each batch on the devices one step ahead, and waits for the devices only when an event is due.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, cast

import jax
import numpy as np
from jax.sharding import Mesh

from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.train import mesh as meshes
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.optim import learning_rate, observe, skipped
from seqjax.train.progress import Progress
from seqjax.train.resuming import position_of
from seqjax.train.runs.folder import RunFolder
from seqjax.train.signals import Signals
from seqjax.train.standing import Standing
from seqjax.train.state import TrainState
from seqjax.train.weight_averages import find_average
from seqjax.types import Params

IDLE = "device_idle_share"  # upper bound on the share of training time, without evaluations and saves, spent on waiting
AVERAGED = "averaged_"  # prefix of the figures of the averaged weights


class DivergedError(InputError):
    """The loss or a gradient is no longer finite."""


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """The length of training, and the intervals of logs, evaluations and checkpoints; the last step does all three.

    The loop waits for the devices only where it logs, evaluates or saves.

    Args:
        epochs: the number of passes over the training data.
        steps: the length of the whole run in steps, including those before a resume; None: given by epochs.
        log_every: steps between two logs.
        eval_every: steps between two evaluations; None: an epoch.
        save_every: steps between two checkpoints; None: an epoch.
        save_minutes: minutes after which a checkpoint is written between two of those; None: never.
        patience: for early stopping, consecutive evaluations without improvement before the run stops; None: never stop.

    Raises:
        InputError: epochs is not above 0 and finite, save_minutes is not above 0, or another field is below 1 or above 2**31 - 1.

    Example:
        >>> LoopConfig(steps=1000, eval_every=100, patience=3).log_every
        50
    """

    epochs: float = 10.0
    steps: int | None = None
    log_every: int = 50
    eval_every: int | None = None
    save_every: int | None = None
    save_minutes: float | None = 15.0
    patience: int | None = None

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int):
                _check_steps(f"loop.{field.name}", value)
        if not 0 < self.epochs < math.inf:
            raise InputError(f"loop.epochs is {self.epochs}, it must be above 0 and finite")
        if self.save_minutes is not None and not self.save_minutes > 0:
            raise InputError(f"loop.save_minutes is {self.save_minutes}, it must be above 0")

    def resolve(self, steps_per_epoch: int) -> "Plan":
        """The plan of a run, with every interval in steps.

        Args:
            steps_per_epoch: steps of one pass over the training data.

        Raises:
            InputError: the epochs amount to less than one step, or to more than 2**31 - 1.

        Example:
            >>> LoopConfig(epochs=2.5).resolve(10)
            Plan(steps=25, log_every=50, eval_every=10, save_every=10)
        """
        steps = round(self.epochs * steps_per_epoch) if self.steps is None else self.steps
        _check_steps("loop.steps", steps)
        return Plan(steps, self.log_every, self.eval_every or steps_per_epoch, self.save_every or steps_per_epoch)


def _check_steps(name: str, value: int):
    if not 1 <= value < 2**31:
        raise InputError(f"{name} is {value}, it must be at least 1" + ("" if value < 1 else f" and at most {2**31 - 1}"))


class Plan(NamedTuple):
    """A LoopConfig with every number in steps."""

    steps: int
    log_every: int
    eval_every: int
    save_every: int


class Event(NamedTuple):
    """A pause of the loop.

    Args:
        step: the number of steps done.
        kind: the reason for the event; the last is "end" (all steps done, or early stopping) or "interrupted".
        figures: for "log" the model's figures (loss in nats per unit), smooth, learning_rate, epoch, seconds, <unit>s_per_second
            (terms of the loss), skipped (the number of skipped steps so far); for "eval" those returned by `evaluate`, and best;
            for "end" and "interrupted" seconds, stopped_early (0 or 1) and best; for "interrupted" also the number of the signal.
        state: the state; valid until the loop continues, since the next step donates it.
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
    monitor: str = "loss",
    best: Literal["lowest", "highest"] = "lowest",
    unit: str = Model.unit,
    progress: Progress | None = None,
) -> Iterator[Event]:
    """Train for the configured number of steps and yield an Event at every log, evaluation and checkpoint.

    An optimizer that keeps an average of the weights has it evaluated beside them: its figures are "averaged_loss" and so on, and
    the best weights are then chosen by the average's monitored figure.

    After Ctrl-C, SIGTERM or another of `signals.NAMES` the loop finishes the current step, saves, and ends with "interrupted"; a
    second signal kills.

    Args:
        state: returned by `init_state` or `resume`; donated.
        train_step: returned by `make_train_step`.
        stream: an endless iterable of batches, dicts of NumPy arrays [B, ...], with `steps_per_epoch`. With checkpoints, its
            iterator has `get_state()` and `set_state(state)`, and the stream an `identity`, serialisable as JSON.
        config: the length of training and the intervals.
        position: the position in the run to start from, returned by `resume`; None: its beginning.
        mesh: the mesh of train_step; None: one device.
        run: the folder to which each log and evaluation adds a line of metrics; None: no metrics are kept.
        checkpoints: written at every save ("last"; "recent" between two regular ones) and after the best evaluation so far
            ("best"); None: nothing is saved.
        evaluate: a function of params that returns figures by name, `monitor` among them; None: no evaluation.
        monitor: the validation figure that chooses the best weights: "loss", "bleu" ...; ties go to the lowest validation
            loss, then to the latest.
        best: "lowest" or "highest", the better value of the monitored figure.
        unit: the unit of the loss, see `Model.unit`.
        progress: updated at every log and evaluation.

    Yields:
        Event.

    Raises:
        DivergedError: the loss or a gradient was not finite for more steps than the optimizer skips; the message names the
            first such step and parameter. The last good checkpoint is not overwritten.
        InputError: the stream ends, an evaluation lacks the monitored figure, or `best` is not one of its two values.

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
    if best not in ("lowest", "highest"):
        raise InputError(f'best is {best!r}, it must be "lowest" or "highest"')
    mesh, plan = meshes.one_device(mesh), config.resolve(stream.steps_per_epoch)
    step, before = int(state.step), position or {}
    prefix = "" if find_average(state.opt_state) is None else AVERAGED
    standing = Standing(monitor, best, before.get("standing"), prefix=prefix)
    held: dict[str, float] = {}  # the figures of the best weights on disk, which may be those of a later step
    if before and checkpoints is not None and checkpoints.step("best") is not None:
        held = checkpoints.record("best")["figures"]
    clock = _Clock(float(state.loss.weight), before.get("seconds", 0.0), f"{unit}s_per_second")
    saved = time.monotonic()

    def put():
        batch = next(batches, None)
        if batch is None:
            raise InputError(f"the stream ends at step {step} of {plan.steps}: it must be endless")
        return meshes.shard(mesh, batch)

    def out_of_patience():
        return config.patience is not None and standing.since >= config.patience

    def ending(kind: Literal["end", "interrupted"] = "end"):
        figures = {"seconds": clock.seconds(), "stopped_early": float(out_of_patience())} | clock.idle()
        if signals.received is not None:
            figures["signal"] = float(signals.received)
        return Event(step, kind, figures | standing.figures, state)

    def save_to(folder: Literal["last", "best", "recent"], **options):
        if checkpoints is not None:
            place = position_now | {"standing": standing.state, "files": run.sums() if run is not None else {}}
            checkpoints.save(folder, state, place, **options)

    with Signals() as signals:
        if step >= plan.steps or out_of_patience():
            yield ending()
            return
        batches = iter(stream)
        if position is not None:
            batches.set_state(position["data"])
        batch = put()
        while True:
            if progress is not None:
                progress.compiling("training", batch, of=len(getattr(stream, "shapes", ())))
            state = train_step(state, batch)
            step += 1
            last = step >= plan.steps
            log, measure, save = (last or step % every == 0 for every in (plan.log_every, plan.eval_every, plan.save_every))
            interrupted = signals.received is not None
            timed = config.save_minutes is not None and time.monotonic() - saved >= 60 * config.save_minutes
            due = log or measure or save or timed or interrupted
            position_now = position_of(stream, batches, seconds=clock.seconds()) if due and checkpoints is not None else {}
            if not (last or interrupted):
                with clock.making_input(state):
                    batch = put()  # before waiting for the devices
            if not due:
                continue

            figures, weight = _read(state, step, checkpoints)  # waits for the devices
            if log:
                figures |= {"epoch": step / stream.steps_per_epoch} | clock.lap(weight)
                weight = 0.0
                zeros = jax.tree.map(np.zeros_like, jax.device_get(state.figures))
                state = state._replace(figures=meshes.replicate(mesh, zeros))
                if run is not None:
                    run.append_metrics(step=step, split="train", **figures)
                if progress is not None:
                    progress.update(step, figures)
                yield Event(step, "log", figures, state)
            if measure and evaluate is not None:
                measured = _measure(evaluate, state)
                if monitor not in measured:
                    raise InputError(f"monitor is {monitor!r}, the evaluation gives {', '.join(measured) or 'nothing'}")
                is_best = standing.judge(step, measured)
                state = state._replace(opt_state=observe(state.opt_state, standing.latest))
                figures = measured | standing.figures
                if run is not None:
                    run.append_metrics(step=step, split="validation", **figures)
                if progress is not None:
                    shown = [name for name in measured if name in ("loss", monitor, standing.monitor)]
                    progress.update(step, {f"validation_{name}": measured[name] for name in shown})
                if is_best and standing.reaches(measured, held):
                    held = standing.state["best"]
                    save_to("best", figures=held)
                yield Event(step, "eval", figures, state)
            interrupted = interrupted or signals.received is not None
            regular = save or last or out_of_patience()
            done = last or interrupted or out_of_patience()
            if (regular or timed or interrupted) and checkpoints is not None:
                save_to("last" if regular else "recent")
                saved = time.monotonic()
                yield Event(step, "save", {}, state)
            if done:
                yield ending("interrupted" if interrupted and not last else "end")
                return
            clock.restart(weight)


def _measure(evaluate: Callable[[Params], dict[str, float]], state: TrainState) -> dict[str, float]:
    """The figures of the parameters, and those of their average if the optimizer keeps one."""
    measured = {name: float(value) for name, value in evaluate(state.params).items()}
    kept = find_average(state.opt_state)
    if kept is None:
        return measured
    of_average = evaluate(kept.average) if int(kept.count) else measured  # without a term it is the parameters
    return measured | {AVERAGED + name: float(value) for name, value in of_average.items()}


def _read(state: TrainState, step: int, checkpoints: Checkpoints | None) -> tuple[dict[str, float], float]:
    """The figures since the last log, and the weight of the loss; raises if the parameters are no longer finite."""
    values = {
        "sums": state.figures,
        "smooth": state.smooth,
        "learning_rate": learning_rate(state.opt_state),
        "skipped": skipped(state.opt_state),
        "trouble": state.trouble,
    }
    figures = jax.device_get({name: value for name, value in values.items() if value is not None})
    first, leaf, broken = figures.pop("trouble").tolist()
    if broken:
        raise DivergedError(_diagnosis(state.params, first, leaf, step, checkpoints))
    sums = figures.pop("sums")
    names = sorted(sums, key=lambda name: name != "loss")  # the loss first
    means = {name: float(sums[name].sum) / max(float(sums[name].weight), 1.0) for name in names}
    return means | {name: float(value) for name, value in figures.items()}, float(sums["loss"].weight)


def _diagnosis(params: Params, first: int, leaf: int, step: int, checkpoints: Checkpoints | None) -> str:
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(params)]
    what = f"the gradient of {names[leaf]}" if leaf >= 0 else "the loss or the update"
    saved = "nothing was saved before"
    if checkpoints is not None and checkpoints.step("last") is not None:
        saved = f"step {checkpoints.step('last')} is kept in {checkpoints.folder / 'last'}"
    when = f"has not been finite since step {first + 1} (noticed at step {step})"
    return f"diverged: {what} {when}; {saved}; lower the learning rate or clip"


class _Clock:
    """Seconds of training, including those before a resume, and the rate at which the weight of the loss grows between logs."""

    def __init__(self, weight: float, before: float, rate: str):
        self._start, self._rate = time.monotonic() - before, rate
        self._waited = self._timed = 0.0  # seconds of idle devices, and of the intervals that were measured
        self.restart(weight)

    def seconds(self) -> float:
        return time.monotonic() - self._start

    def restart(self, weight: float):
        """Restarts the rate's interval, so that time spent evaluating, saving and in the caller is not counted."""
        self._mark, self._waiting = (weight, time.monotonic()), 0.0

    @contextlib.contextmanager
    def making_input(self, state: TrainState) -> Iterator[None]:
        """Counts the time as idle if the devices have finished the step before the next batch is there."""
        begin = time.monotonic()
        yield
        if cast(Any, state.step).is_ready():
            self._waiting += time.monotonic() - begin

    def lap(self, weight: float) -> dict[str, float]:
        first, start = self._mark
        seconds = max(time.monotonic() - start, 1e-9)
        self._waited, self._timed = self._waited + self._waiting, self._timed + seconds
        return {"seconds": self.seconds(), self._rate: (weight - first) / seconds, IDLE: self._waiting / seconds}

    def idle(self) -> dict[str, float]:
        """The share of the time between logs in which the devices waited for input; {} if nothing was logged."""
        return {IDLE: self._waited / self._timed} if self._timed else {}
