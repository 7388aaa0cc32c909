"""A recurrent language model of any text.

python -m experiments.language_model demo
python -m experiments.language_model train --preset tiny [--any.flag value]
python -m experiments.language_model sample DIR --prompt "def " --temperature 0.8
python -m experiments.language_model eval DIR --split test
"""

import dataclasses
import re
import shlex
import sys
from pathlib import Path
from typing import Literal

import jax
import tyro

from experiments import command_line, training
from experiments.language_model.config import PRESETS, Config, Data, Sampling, build_model
from experiments.language_model.samples import Milestones, draw
from experiments.language_model.text import Text, ngram_name, read_text
from seqjax import metrics
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.loop import train_loop
from seqjax.train.mesh import data_mesh, describe
from seqjax.train.optim import make_optimizer
from seqjax.train.plots import curves
from seqjax.train.progress import Progress
from seqjax.train.runs.folder import Run, RunFolder, load_run
from seqjax.train.state import init_state
from seqjax.train.step import evaluate, make_eval_step, make_train_step
from seqjax.types import Params

EXPERIMENT = "language_model"
PROGRAM = command_line.program_of(EXPERIMENT)
DEMO_SAMPLE = Sampling(temperature=0.5, length=300)
FREE = ("loop", "run", "sample", "ngrams", "resume", "init_from")  # may differ when a run is resumed


def main(config: Config, *, preset: str = "custom") -> Run:
    """Trains a language model, or goes on with one (config.resume).

    Args:
        config: a preset, or what `dataclasses.replace` made of one.
        preset: its name.

    Returns:
        The run; its params are the best.

    Raises:
        InputError: text, sizes or folders that do not fit; told before anything is written.
    """
    data, mesh = config.data, data_mesh()
    text = read_text(data)
    stream = text.stream(data, config.seed)
    held_out = {split: text.batches(split, data) for split in ("valid", "test") if split in text.tokens}
    model = build_model(config.model, text.vocabulary)
    plan = config.loop.resolve(stream.steps_per_epoch)
    optimizer = make_optimizer(config.optimizer, steps=plan.steps, steps_per_epoch=stream.steps_per_epoch)
    start_from = training.initial_params(config, model, text.vocabulary)
    state = init_state(model, optimizer, batch_size=data.batch_size, seed=config.seed, params=start_from, mesh=mesh)
    train_step = make_train_step(model, optimizer, mesh=mesh, loss_scale=config.loss_scale)
    eval_step = make_eval_step(model, mesh=mesh)

    def score(params: Params, split: str = "valid") -> float:
        return evaluate(eval_step, model, params, held_out[split])

    draw(model, text.vocabulary, state.params, config.sample)  # what is wrong with it is told now
    names = {"experiment": EXPERIMENT, "vocabulary": text.vocabulary, "data": text.record}
    description = training.describe(config, preset, PRESETS, model=model, **names)
    run = training.open_run(config, description, free=FREE)
    report(text, state.params, describe(mesh, data.batch_size), plan.steps)
    references = text.ngram_losses(config.ngrams)
    with Checkpoints(run.checkpoints) as checkpoints, Progress(plan.steps) as progress:
        files = {"run": run, "checkpoints": checkpoints}
        state, position = training.begin(config, state, stream, plan, description=description, **files)
        samples = Milestones(model, text.vocabulary, config.sample, run, steps=plan.steps, done=int(state.step))
        samples.pass_by(int(state.step), state.params)
        work = {"position": position, "mesh": mesh, "evaluate": lambda params: {"loss": score(params)}}
        for event in train_loop(state, train_step, stream, plan, progress=progress, **work, **files):
            samples.pass_by(event.step, event.state.params)
            if event.kind in ("eval", "interrupted"):
                curves(run.read_metrics(), run.curves, title=f"{preset}: {text.record['source']}", references=references)

    if event.kind == "interrupted":
        print(f"stopped after step {event.step} of {plan.steps}; to go on: {PROGRAM} train --resume {run.dir}")
    else:
        best = load_run(run.dir).params
        losses = {"validation": score(best), **({"test": score(best, "test")} if "test" in text.tokens else {})}
        timing = {"steps": event.step, "seconds": event.figures["seconds"]}
        run.write_results(figures(losses, references, data) | timing | training.facts(config.seed, text.record, mesh))
    return load_run(run.dir)


def report(text: Text, params: Params, rows: str, steps: int):
    """What is about to be trained, on what."""
    record, weights = text.record, sum(leaf.size for leaf in jax.tree.leaves(params))
    source = "Python's standard library" if record["source"] == "stdlib" else record["source"]
    size = f"{record['characters']:,} characters in {record['files']:,} {'file' if record['files'] == 1 else 'files'}"
    print(f"text: {source}, {size}; {len(text.vocabulary):,} symbols")
    print(f"model: {weights:,} weights; {steps:,} steps")
    print(f"devices: {rows}", flush=True)


def figures(losses: dict[str, float], references: dict[str, float], data: Data) -> dict[str, float]:
    """Losses in nats per symbol, and as people quote them."""
    quoted, quote = ("perplexity", metrics.perplexity) if data.vocabulary == "word" else ("bits", metrics.bits)
    found = {f"{split}_loss": nats for split, nats in losses.items()}
    found |= {f"{split}_{quoted}": quote(nats) for split, nats in losses.items()}
    return found | {f"{model}_validation_loss": nats for model, nats in references.items()}


def train(argv: list[str]) -> Run:
    """Trains a preset, or goes on with a run: train --preset tiny [--any.flag value]; train --resume DIR."""
    config, preset = training.read_config(argv, PRESETS, program=f"{PROGRAM} train")
    run = main(config, preset=preset)
    print(run.dir)
    return run


@dataclasses.dataclass(frozen=True)
class Sample(Sampling):
    """Draws from a run's best weights."""

    dir: tyro.conf.Positional[str] = "runs/language_model/latest"  # a run folder


def sample(argv: list[str]):
    """Draws from a run: sample DIR --prompt "def " --temperature 0.8."""
    config = command_line.parse(Sample, argv, program=f"{PROGRAM} sample")
    show(load_run(config.dir), config)


def show(run: Run, config: Sampling):
    """Prints a sample as it is drawn."""
    for piece in draw(run.model, run.vocabulary, run.params, config):
        print(piece, end="", flush=True)
    print()


@dataclasses.dataclass(frozen=True)
class Other:
    """Another text than the run's own."""

    path: str | None = None  # a UTF-8 file, or a folder of them
    corpus: Literal["stdlib", "pydoc"] | None = None
    tfds: str | None = None  # a text of tensorflow-datasets by name


@dataclasses.dataclass(frozen=True)
class Eval:
    """Measures a run's weights on its own text, or on another."""

    dir: tyro.conf.Positional[str] = "runs/language_model/latest"  # a run folder
    split: Literal["train", "valid", "test", "all"] = "test"
    checkpoint: Literal["best", "last"] = "best"
    data: Other = Other()


def evaluate_run(argv: list[str]):
    """Measures a run: eval DIR [--data.path F] [--split test]; writes eval-<name>.json."""
    config = command_line.parse(Eval, argv, program=f"{PROGRAM} eval")
    run, folder = load_run(config.dir), RunFolder(config.dir)
    data, other = command_line.from_dict(Data(), run.config["data"]), dataclasses.asdict(config.data)
    if any(other.values()):
        data = dataclasses.replace(data, **{name: value or getattr(Data, name) for name, value in other.items()})
    text = read_text(data, run.vocabulary)
    params, batches = run.params, text.batches(config.split, data)
    if config.checkpoint == "last":
        with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
            params = checkpoints.params(jax.eval_shape(run.model.init, jax.random.key(0)), "last")
    mesh = data_mesh(jax.local_devices()[:1])
    loss = evaluate(make_eval_step(run.model, mesh=mesh), run.model, params, batches)
    split = "validation" if config.split == "valid" else config.split
    found = (
        figures({split: loss}, {}, data)
        | {"checkpoint": config.checkpoint}
        | training.facts(run.config["seed"], text.record, mesh)
    )
    source = [re.sub(r"\W+", "-", Path(text.record["source"]).name)] if any(other.values()) else []
    name = "-".join([*source, config.split, *(["last"] if config.checkpoint == "last" else [])])
    path = folder.write_evaluation(name, found)
    print("\n".join(f"{figure} {value:.4f}" for figure, value in found.items() if isinstance(value, float)))
    print(path)


def demo(argv: list[str]) -> Run:
    """Trains the tiny preset and shows how it learns, beside count models: demo [--data.path F]."""
    base = PRESETS["tiny"]
    config = command_line.parse(Config, argv, program=f"{PROGRAM} demo", default=dataclasses.replace(base, sample=DEMO_SAMPLE))
    is_python = config.data.corpus == "stdlib" and config.data.path is config.data.tfds is None
    if is_python and not config.sample.prompt:  # another text may not know such a word
        config = dataclasses.replace(config, sample=dataclasses.replace(config.sample, prompt="def "))
    run = main(config, preset="tiny")
    if not run.results:
        return run
    rows = {name: run.results[f"{name}_validation_loss"] for name in map(ngram_name, config.ngrams)}
    rows["ours"] = run.results["validation_loss"]
    print(f"\nloss on {run.results['data_valid_characters']:,} characters kept for validation, per {config.data.vocabulary}:")
    for name, nats in rows.items():
        print(f"  {name:8} {nats:.3f} nats  {metrics.bits(nats):.3f} bits")
    for temperature in (0.5, 1.0):
        print(f"\n--- temperature {temperature} ---")
        show(run, dataclasses.replace(config.sample, temperature=temperature))
    prompt = f" --prompt {shlex.quote(config.sample.prompt)}" if config.sample.prompt else ""
    loop = config.loop
    longer = f"--loop.epochs {2 * loop.epochs:g}" if loop.steps is None else f"--loop.steps {2 * loop.steps}"
    print("\nTo try next:")
    print(f"  {PROGRAM} sample {run.dir}{prompt} --temperature 0.8")
    print(f"  {PROGRAM} eval {run.dir} --split test")
    print(f"  {PROGRAM} train --resume {run.dir} {longer}")
    return run


VERBS = {"train": train, "sample": sample, "eval": evaluate_run, "demo": demo}

if __name__ == "__main__":
    sys.exit(command_line.run_verbs(PROGRAM, VERBS, sys.argv[1:]))
