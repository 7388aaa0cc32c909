"""A training session: the steps that all experiments share, so that the `main` of each shows only its own.

session = Session(config, model, stream, ...)         # refuses a wrong config; nothing is written yet
with session.open("text: ..."):                       # creates the run's folder, or resumes it
    for event in session.train(evaluate):             # the training loop
        ...
return session.finish(measure)                        # measures the best weights, writes results.json
"""

import contextlib
import dataclasses
import itertools
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

import jax

from experiments import command_line
from experiments.changes import named_changes
from experiments.limits import Count, FilePath, Seed, checked
from experiments.provenance import paths_of, places_of, refuse_changed
from seqjax import train as training
from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.serial import to_json
from seqjax.train.mesh import check_rows, describe, shard
from seqjax.train.output import say
from seqjax.types import Params
from seqjax.writing import CannotWriteError

CHANGEABLE = {"changeable": True}  # the metadata of a field that may differ when a run is resumed


@dataclasses.dataclass(frozen=True)
class Folder:
    """The folder of the run."""

    dir: FilePath | None = None  # a new folder; None: runs/<experiment>/<preset>-<time>


@dataclasses.dataclass(frozen=True)
class Training:
    """The training flags of every experiment, whose Config inherits them.

    A field whose metadata is CHANGEABLE may differ when a run is resumed.
    """

    optimizer: training.OptimizerConfig = dataclasses.field(default_factory=training.OptimizerConfig)
    loop: training.LoopConfig = dataclasses.field(default_factory=training.LoopConfig, metadata=CHANGEABLE)
    monitor: str = "loss"  # the validation figure that chooses the best weights and drives early stopping
    keep: Count = 1  # number of regular checkpoints to keep, e.g. for averaging
    run: Folder = dataclasses.field(default_factory=Folder, metadata=CHANGEABLE)
    seed: Seed = 0
    seeds: tuple[Seed, ...] = dataclasses.field(default=(), metadata=CHANGEABLE)  # a run for each, in folders in run.dir
    precision: Literal["float32", "bfloat16"] = "float32"  # of the model's products in training; the weights stay float32
    resume: FilePath | None = dataclasses.field(default=None, metadata=CHANGEABLE)  # a run folder to continue
    resume_if_there: bool = dataclasses.field(default=False, metadata=CHANGEABLE)  # continue the run in run.dir if there is one
    change: tuple[str, ...] = dataclasses.field(default=(), metadata=CHANGEABLE)  # settings that --resume may change, by name
    init_from: FilePath | None = dataclasses.field(default=None, metadata=CHANGEABLE)  # a run folder, for the first weights

    def __post_init__(self):
        vars(self).update(vars(checked(self)))  # paths without ~
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds is {' '.join(map(str, self.seeds))}, they must be different numbers")
        if self.resume_if_there and self.run.dir is None:
            raise InputError("--resume-if-there continues the run in --run.dir: give that too")

    @property
    def resumes(self) -> str | None:
        """The folder of the run to continue; None for a new run."""
        if self.resume is None and self.resume_if_there and training.RunFolder(self.run.dir).exists():
            return self.run.dir
        return self.resume


class Session:
    """The training of one run, from its config to its results.

    Args:
        config: the experiment's config.
        model: the model to train.
        stream: the training batches.
        program: the experiment's command line.
        preset: the name of the preset that the config is based on.
        vocabulary: the run's vocabulary or vocabularies, of registered types; None: the model reads no symbols.
        data: the record of the data, a flat dict.
        facts: further entries of config.json.
        loss_scale: see `make_train_step`.

    Raises:
        InputError: sizes or initial weights do not fit, or the data of a resumed run have changed.
    """

    def __init__(
        self,
        config: Training,
        model: Model,
        stream,
        *,
        program: command_line.Program,
        preset: str,
        vocabulary=None,
        data: Mapping[str, Any],
        facts: Mapping[str, Any] | None = None,
        loss_scale: Literal["mean", "sum"] = "mean",
    ):
        if config.seeds:
            raise InputError("seeds is given, and this trains one run: the verb train and experiments.repeats train several")
        self.config, self.model, self.stream, self.preset = config, model, stream, preset
        self.mesh, self.plan = training.data_mesh(), config.loop.resolve(stream.steps_per_epoch)
        self._program, self._vocabulary, self._data = program, vocabulary, data
        self._progress: training.Progress | None = None
        self._zeros = 0  # the number of evaluations of the last warning of zeros
        self._drawn, self._drawing = -math.inf, 0.0  # when curves.png was last drawn, and the seconds that it took
        self._before = training.RunFolder.resume(config.resumes).read_config() if config.resumes else None
        if self._before is not None:  # its weights came from there
            origin = self._before.get("paths", {}).get("init_from") or self._before["config"].get("init_from")
            if config.resume and config.init_from:
                raise InputError(
                    "--resume and --init-from are both given: a resumed run has weights already, give one of the two"
                )
            self.config = config = dataclasses.replace(config, init_from=origin)
        self._changes = named_changes(config, self._before)
        epoch = stream.steps_per_epoch
        optimizer = training.make_optimizer(config.optimizer, steps=self.plan.steps, steps_per_epoch=epoch)
        start = {"params": self._initial_params(), "batch": stream.batch(0), "mesh": self.mesh}
        self.state = training.init_state(model, optimizer, batch_size=stream.batch_size, seed=config.seed, **start)
        check_rows(self.mesh, stream.batch_size, parts=config.optimizer.accumulate)
        self._options: dict[str, Any] = {"mesh": self.mesh, "accumulate": config.optimizer.accumulate}
        self._options |= {"dtype": None if config.precision == "float32" else config.precision, "loss_scale": loss_scale}
        self._step = training.make_train_step(model, optimizer, **self._options)
        self._eval_step = training.make_eval_step(model, mesh=self.mesh)
        self._description = training.describe_run(
            experiment=program.experiment,
            preset=preset,
            overrides=command_line.differences(config, program.presets[preset]) if preset in program.presets else {},
            config=dataclasses.asdict(dataclasses.replace(config, resume=None, resume_if_there=False, change=())),
            model=model,
            vocabulary=vocabulary,
            data=data,
            paths=paths_of(config),
            changes=[*(self._before or {}).get("changes", []), *self._changes],
            **(facts or {}),
        )
        changeable = [field.name for field in dataclasses.fields(config) if field.metadata.get("changeable")]
        self._free = (*changeable, *places_of(config))
        if self._before is not None:
            free = (*self._free, *(change["setting"] for change in self._changes))
            with training.RunFolder(config.resumes).config_blamed():
                training.check_same_run(self._before, self._description, free=free, parts=())
                refuse_changed(config, self._before, data)
                training.check_same_run(self._before, self._description, free=free)

    @contextlib.contextmanager
    def open(self, *report: str) -> Iterator["Session"]:
        """Creates or resumes the run's folder, and prints a summary of the run.

        Args:
            report: lines about the data, for the summary.

        Raises:
            InputError: the new folder exists already, or the resumed run has other settings or is past `loop.steps`.
        """
        config, steps, position, resumed = self.config, self.plan.steps, None, self.config.resumes
        if resumed:
            self.folder = training.RunFolder.resume(resumed)
        else:
            self.folder = training.RunFolder.create(config.run.dir, experiment=self._program.experiment, preset=self.preset)
        weights = sum(leaf.size for leaf in jax.tree.leaves(self.state.params))
        lines, warmup = (*report, f"model: {weights:,} weights; {steps:,} steps"), config.optimizer.warmup_steps
        if warmup >= steps:
            rate = f"{config.optimizer.learning_rate:g}"
            lines += (f"warning: --optimizer.warmup-steps {warmup:,} outlasts the run: the learning rate never reaches {rate}",)
        say("\n".join((*lines, f"devices: {describe(self.mesh, self.stream.batch_size)}")), sys.stdout)
        options: dict[str, Any] = {"keep": config.keep, "hashes": training.hashes_of(self._description, free=self._free)}
        with self.folder.owned(), training.Checkpoints(self.folder.checkpoints, **options) as checkpoints:
            if checkpoints.places():
                done = checkpoints.places()[0].step
                if steps < done:
                    raise InputError(f"loop.steps is {steps}, but the run is at step {done} already: give more steps")
                changed = bool(self._changes)
                self.state, position = training.resume(checkpoints, self.state, self.stream, self.folder, changed=changed)
                self._record_changes(int(self.state.step))
                self.folder.write_config(self._description)  # only once all checks have passed
            else:
                if resumed and self.folder.read_results():
                    raise InputError(f"{self.folder.dir} has ended, but its checkpoints are gone: start a new run")
                self.folder.trim(0)
                self.folder.write_config(self._description)
                start = training.position_of(self.stream, iter(self.stream)) | {"files": self.folder.sums()}
                checkpoints.save("recent", self.state, start)  # so that a full or read-only disk is found now
                checkpoints.wait()
            self.done, self._position, self._checkpoints = int(self.state.step), position, checkpoints
            yield self

    def _record_changes(self, step: int):
        """Tells of the settings that this resumption changes, and notes them in metrics.jsonl and config.json."""
        for change in self._changes:
            say(f"{change['setting']} changes after step {step:,}: {change['from']} to {change['to']}", sys.stdout)
            self.folder.append_metrics(step=step, split="change", **{change["setting"]: change["to"]})
        earlier = self._description["changes"][: -len(self._changes) or None]
        self._description["changes"] = [*earlier, *(change | {"step": step} for change in self._changes)]

    def train(self, evaluate: Callable[[Params], dict[str, float]] | None) -> Iterator[training.Event]:
        """Trains: yields every event, once it has been recorded and shown.

        Args:
            evaluate: a function of params that returns the validation figures, `config.monitor` among them; None: there is no
                validation split, and the last weights are the best.
        """
        best = "lowest" if self.config.monitor == "loss" else "highest"
        outputs: dict[str, Any] = {"run": self.folder, "checkpoints": self._checkpoints, "position": self._position}
        evaluation: dict[str, Any] = {"evaluate": evaluate, "monitor": self.config.monitor, "best": best, "unit": self.model.unit}
        with training.Progress(self.plan.steps, unit=self.model.unit) as progress:
            self._progress = progress
            options = {"mesh": self.mesh, "progress": progress} | outputs | evaluation
            for event in training.train_loop(self.state, self._step, self.stream, self.config.loop, **options):
                self.last = event
                if event.kind == "end" or (event.kind == "eval" and event.step < self.plan.steps):
                    self._warn_of_zeros(event)
                yield event

    def compiling(self, program: str, batch: Mapping[str, Any]):
        """Says that a program is compiled, if it meets a batch of new shapes during or after training."""
        if self._progress is not None:
            self._progress.compiling(program, batch)

    def _warn_of_zeros(self, event: training.Event, early: int = 3):
        """Prints a warning after `early` evaluations, and at the end, if the monitored figure has always been 0."""
        name = self.config.monitor
        values = [line.get(name) for line in self.folder.read_metrics() if line["split"] == "validation"]
        due = len(values) != self._zeros and (event.kind == "end" or len(values) == early)
        if values and not any(values) and due:
            self._zeros = len(values)
            times = f"in all {len(values)} evaluations" if len(values) > 1 else "in the one evaluation"
            self.say(f"warning: {name} was 0 {times}: the best weights are those of the lowest validation loss")

    def evaluate(self, params: Params, batches) -> dict[str, float]:
        """The model's figures over some batches, {name: mean}."""
        notice = partial(self.compiling, "evaluation")
        return training.evaluate(self._eval_step, self.model, params, batches, notice=notice)

    def train_reference(self, model: Model, stream=None) -> Params:
        """Trains another model for as many steps by the same optimizer, and keeps no files of it.

        Args:
            model: a model to compare with.
            stream: its training batches; None: those of the session.

        Returns:
            Its parameters after the last step.
        """
        stream = stream or self.stream
        epoch, batches = stream.steps_per_epoch, iter(stream)
        optimizer = training.make_optimizer(self.config.optimizer, steps=self.plan.steps, steps_per_epoch=epoch)
        start = {"batch_size": stream.batch_size, "batch": stream.batch(0), "mesh": self.mesh}
        state = training.init_state(model, optimizer, seed=self.config.seed, **start)
        step = training.make_train_step(model, optimizer, **self._options)
        for batch in itertools.islice(batches, self.plan.steps):
            self.compiling("the reference", batch)
            state = step(state, shard(self.mesh, batch))
        return state.params

    def draw_curves(self, event: training.Event, references: dict[str, float] | None = None):
        """Draws curves.png after evaluations and at the end; `references`: losses to compare with, by name.

        Drawing takes at most a hundredth of the time, and a picture that cannot be written ends no run.
        """
        start, ended = time.monotonic(), event.kind in ("interrupted", "end")
        due = event.kind == "eval" and event.step < self.plan.steps and start - self._drawn > 100 * self._drawing
        if not (ended or due):
            return
        title, options = f"{self.preset}: {self._data['source']}", {"monitor": self.config.monitor, "unit": self.model.unit}
        try:
            training.curves(self.folder.read_metrics(), self.folder.curves, title=title, references=references, **options)
        except CannotWriteError as error:
            self.say(f"warning: {error}")
        self._drawn = time.monotonic()
        self._drawing = self._drawn - start

    def say(self, text: str):
        """Prints a line on stderr, above the progress."""
        if self._progress is not None:
            self._progress.say(text)
        else:
            say(text, sys.stderr)

    def show(self, text: str):
        """Prints a text of the model on stdout."""
        if self._progress is not None:
            self._progress.show(text)
        else:
            say(text, sys.stdout)

    def finish(self, measure: Callable[[Params], dict[str, Any]]) -> training.Run:
        """Writes results.json and returns the run; after an interruption, prints the command that resumes it instead.

        Args:
            measure: a function of the best weights that returns the final figures.
        """
        if self.last.kind == "interrupted":
            command = f"{self._program} train --resume {shlex.quote(os.path.abspath(self.folder.dir))}"
            say(f"stopped after step {self.last.step} of {self.plan.steps}; to continue: {command}", sys.stdout)
            run = training.load_run(self.folder.dir)
            return dataclasses.replace(run, stopped_by=int(self.last.figures["signal"]))
        with self.folder.owned():
            run = training.load_run(self.folder.dir)
            figures = measure(run.params)
            say("\n".join(f"{name} {value:.4f}" for name, value in figures.items() if isinstance(value, float)), sys.stdout)
            timing = {"steps": self.last.step, "seconds": self.last.figures["seconds"]}
            timing |= {name: self.last.figures[name] for name in (training.IDLE,) if name in self.last.figures}
            self.folder.write_results(figures | timing | facts(self.config.seed, self._data, self.mesh))
        return dataclasses.replace(run, results=self.folder.read_results())

    def _initial_params(self) -> Params | None:
        """The weights of another run (--init-from); None if no run is named, or the run has checkpoints of its own."""
        config = self.config
        if config.init_from is None:
            return None
        if config.resumes:
            with training.Checkpoints(training.RunFolder(config.resumes).checkpoints, read_only=True) as checkpoints:
                if checkpoints.places():
                    return None  # they are not needed any more
        folder = training.RunFolder(config.init_from)
        description = folder.read_config()
        with folder.config_blamed():
            if description["vocabulary"] != to_json(self._vocabulary):
                reason = "its vocabulary is not that of these data, so its weights belong to other symbols or classes"
                takes_another = hasattr(getattr(config, "data", None), "vocabulary_from")
                remedy = f": give --data.vocabulary-from {config.init_from}" if takes_another else ""
                raise InputError(f"--init-from {config.init_from}: {reason}{remedy}")
        with training.Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
            try:
                return checkpoints.params(jax.eval_shape(self.model.init, jax.random.key(0)))
            except InputError as error:
                raise InputError(f"--init-from {config.init_from}: its weights do not fit this model: {error}") from None


class Milestones:
    """Samples before training, after a tenth and a third of it, and at its end, printed and added to samples.jsonl.

    They are drawn where the loop logs or evaluates, so that a run that was interrupted has those of an uninterrupted one.

    Args:
        sample: a function of params that returns a text.
        session: an open session; a resumed run keeps its earlier samples.
    """

    def __init__(self, sample: Callable[[Params], str], session: Session):
        self._sample, self._session, self._steps = sample, session, session.plan.steps
        steps = [0, *(math.ceil(share * self._steps) for share in (0.1, 1 / 3, 1.0))]
        drawn = max((line["step"] for line in session.folder.read_samples()), default=-1)
        self._due = [step for step in steps if step > drawn]
        if not session.done:
            self._draw(0, session.state.params)

    def pass_by(self, event: training.Event):
        """Draws a sample if a milestone has been passed."""
        if event.kind in ("log", "eval"):
            self._draw(event.step, event.state.params)

    def _draw(self, step: int, params: Params):
        remaining = [due for due in self._due if due > step]
        if len(remaining) < len(self._due):
            self._due, text = remaining, self._sample(jax.device_get(params))
            self._session.show(f"--- after {step} of {self._steps} steps ---\n{text}\n")
            self._session.folder.append_sample(step=step, text=text)


def facts(seed: int, data: Mapping[str, Any], mesh) -> dict[str, Any]:
    """The provenance of a result: seed, device, versions, and the record of the data."""
    devices = f"{mesh.size} x {mesh.devices.flat[0].device_kind}"
    versions = f"python {sys.version.split()[0]}, jax {jax.__version__}"
    return {"seed": seed, "device": devices, "versions": versions} | {f"data_{name}": fact for name, fact in data.items()}
