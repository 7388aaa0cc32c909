"""Translation of sentences, or replies to questions, learned from pairs.

python -m experiments.translation train --preset tiny [--any.flag value]
echo "<fr> ninety-seven" | python -m experiments.translation translate DIR --beam 5
python -m experiments.translation evaluate DIR --split test
python -m experiments.translation score DIR --pairs FILE
python -m experiments.translation attention DIR --source "<de> ninety-seven"
"""

import dataclasses
import sys

import jax

from experiments import command_line, training
from experiments.translation import inference
from experiments.translation.config import PRESETS, Config, Data, build_model
from experiments.translation.judge import Judge
from experiments.translation.text import Text, changed, origin, read_text
from seqjax.data.text.buckets import Buckets
from seqjax.decode import TextSearch
from seqjax.errors import InputError
from seqjax.metrics import text_signatures
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.loop import train_loop
from seqjax.train.mesh import data_mesh, describe
from seqjax.train.optim import make_optimizer
from seqjax.train.plots import curves
from seqjax.train.progress import Progress
from seqjax.train.runs.folder import Run, RunFolder, load_run
from seqjax.train.state import init_state
from seqjax.train.step import make_train_step
from seqjax.types import Params

EXPERIMENT = "translation"
PROGRAM = inference.PROGRAM
FREE = ("loop", "run", "search", "monitor_pairs", "resume", "init_from")  # may differ when a run is resumed


def main(config: Config, *, preset: str = "custom") -> Run:
    """Trains an encoder-decoder, or goes on with one (config.resume).

    Args:
        config: a preset, or what `dataclasses.replace` made of one.
        preset: its name.

    Returns:
        The run; its params are the best.

    Raises:
        InputError: pairs, sizes or folders that do not fit; told before anything is written.
    """
    data, mesh = config.data, data_mesh()
    for name in ("monitor_pairs", "keep"):
        if getattr(config, name) < 1:
            raise InputError(f"{name} is {getattr(config, name)}, it must be at least 1")
    begun = RunFolder(config.resume).read_config() if config.resume else {}
    text = read_text(data)
    refuse_changed(config, begun, text.record)
    model = build_model(config.model, config.scheduled_sampling.per, *text.vocabularies)
    source, target, _ = text.encoded["train"]
    stream = Buckets(source=source, target=target, batch_size=data.batch_size, seed=config.seed)
    plan = config.loop.resolve(
        stream.steps_per_epoch, monitor=config.monitor, best="lowest" if config.monitor == "loss" else "highest"
    )
    planned = planned_steps(begun, plan.steps, stream.steps_per_epoch)
    stream = dataclasses.replace(stream, teacher_forcing=config.scheduled_sampling.schedule(planned))
    optimizer = make_optimizer(config.optimizer, steps=plan.steps, steps_per_epoch=stream.steps_per_epoch)
    start_from = training.initial_params(config, model, text.vocabularies)
    state = init_state(model, optimizer, batch_size=data.batch_size, seed=config.seed, params=start_from, mesh=mesh)
    train_step = make_train_step(model, optimizer, mesh=mesh)
    judge = Judge(text, model, config.search, batch_size=data.batch_size, mesh=mesh, shapes=stream.shapes)
    longest = max(len(row) for split in text.encoded.values() for row in split.source)
    TextSearch(model, state.params, text.vocabularies, config.search).check(longest=longest)  # what is done at the end

    def watch(params: Params) -> dict[str, float]:
        return judge.watch(params, config.monitor_pairs)

    names = {"experiment": EXPERIMENT, "vocabulary": text.vocabularies, "data": text.record}
    description = training.describe(config, preset, PRESETS, model=model, **names) | {"planned_steps": planned}
    run = training.open_run(config, description, free=FREE)
    report(text, data, state.params, describe(mesh, data.batch_size), plan.steps)
    with Checkpoints(run.checkpoints, keep=config.keep) as checkpoints, Progress(plan.steps) as progress:
        files = {"run": run, "checkpoints": checkpoints}
        state, position = training.begin(config, state, stream, plan, description=description, **files)
        work = {"position": position, "mesh": mesh, "evaluate": watch, "progress": progress}
        for event in train_loop(state, train_step, stream, plan, **work, **files):
            if event.kind == "eval":
                run.write_samples(judge.sample(event.step))
            if event.kind in ("eval", "interrupted"):
                curves(run.read_metrics(), run.curves, title=f"{preset}: {text.record['source']}", monitor=config.monitor)

    if event.kind == "interrupted":
        print(f"stopped after step {event.step} of {plan.steps}; to go on: {PROGRAM} train --resume {run.dir}")
    else:
        best = load_run(run.dir).params
        found = judge.final(best, "valid") | (judge.final(best, "test") if "test" in text.pairs else {})
        timing = {"steps": event.step, "seconds": event.figures["seconds"]}
        run.write_results(found | timing | text_signatures() | training.facts(config.seed, text.record, mesh))
        print("\n".join(f"{name} {value:.4f}" for name, value in found.items()))
    return load_run(run.dir)


def refuse_changed(config: Config, begun: dict, record: dict):
    """Raises where a run would go on with files that no longer hold what it was begun with.

    Args:
        config: other files than the run's are refused later, by the name of their flag.
        begun: the run's description; empty for a new run.
        record: of the pairs as they are now.
    """
    others = changed(begun.get("data", {}), record)
    if others and command_line.from_dict(Data(), begun["config"]["data"]) == config.data:
        what = origin(config.data, record, others)
        raise InputError(f"{what} has changed since {config.resume} was begun: put it back to go on, or begin a new run")


def planned_steps(begun: dict, steps: int, steps_per_epoch: int) -> int:
    """The steps that a run was first given, which scheduled sampling stays laid out over when it gets more or fewer."""
    if not begun:
        return steps
    loop = command_line.from_dict(training.Loop(), begun["config"]["loop"])
    return begun.get("planned_steps", loop.resolve(steps_per_epoch).steps)


def report(text: Text, data: Data, params: Params, rows: str, steps: int):
    """What is about to be trained, on what."""
    record, weights = text.record, sum(leaf.size for leaf in jax.tree.leaves(params))
    counts = ", ".join(f"{len(pairs):,} {split}" for split, pairs in text.pairs.items())
    print(f"pairs: {record['source']}, {counts}; {' and '.join(f'{len(v):,}' for v in text.vocabularies)} symbols")
    rule = f"longer than {data.max_length} symbols were {'cut' if data.over_long == 'cut' else 'left out'}"
    for what, count in (("with an empty side were left out", record["empty"]), (rule, record["over_long"])):
        if count:
            print(f"  {count:,} training pairs {what}")
    print(f"model: {weights:,} weights; {steps:,} steps")
    print(f"devices: {rows}", flush=True)


def train(argv: list[str]) -> Run:
    """Trains a preset, or goes on with a run: train --preset tiny [--any.flag value]; train --resume DIR."""
    config, preset = training.read_config(argv, PRESETS, program=f"{PROGRAM} train")
    run = main(config, preset=preset)
    print(run.dir)
    return run


VERBS = {"train": train} | inference.VERBS

if __name__ == "__main__":
    sys.exit(command_line.run_verbs(PROGRAM, VERBS, sys.argv[1:]))
