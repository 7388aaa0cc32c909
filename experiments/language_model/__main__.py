"""A recurrent language model of any text.

python -m experiments.language_model demo
python -m experiments.language_model train --preset tiny [--any.flag value]
python -m experiments.language_model evaluate DIR --split test
python -m experiments.language_model sample DIR --prompt "def " --temperature 0.8
"""

import dataclasses
import shlex
import sys
from dataclasses import field
from typing import Literal

from tyro.conf import OmitArgPrefixes

from experiments import command_line
from experiments.language_model.config import PRESETS, PROGRAM, Config, Data, build_model
from experiments.language_model.text import load_text
from experiments.ngram_models import ngram_losses, ngram_name
from experiments.provenance import warn_if_changed
from experiments.sampling import Output, Sampling, draw, draw_several
from experiments.session import Milestones, Session
from experiments.train_verb import exit_if_stopped, run_training
from experiments.vocabularies import earlier_vocabulary
from experiments.weights import Weights, latest, parse_verb
from seqjax import metrics
from seqjax.models.language_model import LanguageModel
from seqjax.train import Run, make_eval_step
from seqjax.train import evaluate as sum_figures
from seqjax.train.output import is_terminal, visible

DEMO_SAMPLE = Sampling(temperature=0.5, length=300)


def main(config: Config, *, preset: str = "custom") -> Run:
    """Trains a language model, or continues a run (config.resume).

    Args:
        config: a preset, or one changed by `dataclasses.replace`.
        preset: the name of the preset.

    Returns:
        The run, with its best weights.

    Raises:
        InputError: text, sizes or folders do not fit; nothing has been written then.
    """
    data, text = config.data, load_text(config.data, earlier_vocabulary(config))
    held_out = {split: text.held_out(split, data) for split in ("valid", "test") if split in text.encoded.tokens}
    model = build_model(config.model, text.vocabulary)
    names = {"program": PROGRAM, "preset": preset, "vocabulary": text.vocabulary, "data": text.record}
    session = Session(config, model, text.stream(data, config.seed), loss_scale=config.loss_scale, **names)
    draw(model, text.vocabulary, session.state.params, config.sample)  # refuses invalid options before training

    def loss_of(params):
        return lambda batches: session.evaluate(params, batches)["loss"]

    with session.open(*text.summary()):
        references = ngram_losses(text.tokens("train"), text.tokens("valid"), text.vocabulary, config.ngrams, config.ngram_limit)
        samples = Milestones(lambda params: "".join(draw(model, text.vocabulary, params, config.sample)), session)
        for event in session.train(lambda params: {"loss": held_out["valid"].loss(loss_of(params))}):
            samples.pass_by(event)
            session.draw_curves(event, references)

    def measure(params) -> dict[str, float]:
        figures = {name: value for split in held_out.values() for name, value in split.figures(loss_of(params)).items()}
        return figures | {f"{name}_validation_loss": nats for name, nats in references.items()}

    return session.finish(measure)


def train(argv: list[str]) -> Run | None:
    """Trains a preset, or continues a run: train --preset tiny [--any.flag value]; train --resume DIR."""
    return run_training(argv, PROGRAM, main)


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measures weights on their run's text, or on another text."""

    weights: OmitArgPrefixes[Weights] = field(default_factory=latest(PROGRAM))
    data: Data = field(default_factory=Data)
    split: Literal["train", "valid", "test", "all"] = "test"
    name: str | None = None  # name of the file to write; None: the split and the weights


def evaluate(argv: list[str]):
    """Measures a run: evaluate DIR [--data.path F] [--split test]; writes eval-<name>-<hash of the text>.json."""
    config, is_other = parse_verb(Evaluate, argv, program=f"{PROGRAM} evaluate", data=Data())
    loaded = config.weights.load(LanguageModel)
    text = load_text(config.data, loaded.run.vocabulary, trained=loaded.run.data)
    if not is_other:
        warn_if_changed(loaded.run, config.data, text.record, config.split)
    step = make_eval_step(loaded.model)
    held_out = text.held_out(config.split, config.data)
    figures = held_out.figures(lambda batches: sum_figures(step, loaded.model, loaded.params, batches)["loss"])
    loaded.write(loaded.name(config.split, config.name, text.record), figures, {}, text.record)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Draws samples."""

    weights: OmitArgPrefixes[Weights] = field(default_factory=latest(PROGRAM))
    sampling: OmitArgPrefixes[Sampling] = field(default_factory=Sampling)
    output: OmitArgPrefixes[Output] = field(default_factory=Output)


def sample(argv: list[str]):
    """Draws from a run: sample DIR --prompt "def " --temperature 0.8 [--samples 5]."""
    config = command_line.parse(Sample, argv, program=f"{PROGRAM} sample")
    sampling, output, loaded = config.output.with_prompt(config.sampling), config.output, config.weights.load(LanguageModel)
    network = loaded.model, loaded.run.vocabulary, loaded.params
    if output.samples > 1 or output.output is not None:
        output.write(draw_several(*network, sampling, output.samples), sampling.prompt)
    else:
        show(*network, sampling)


def show(model, vocabulary, params, config: Sampling):
    """Prints a sample as it is drawn."""
    terminal = is_terminal(sys.stdout)
    for text in draw(model, vocabulary, params, config):
        print(visible(text) if terminal else text, end="", flush=True)
    print()


def demo(argv: list[str]) -> Run:
    """Trains the tiny preset, shows samples as it learns, and compares it with n-gram models: demo [--data.path F]."""
    base = dataclasses.replace(PRESETS["tiny"], sample=DEMO_SAMPLE)
    config = command_line.parse(Config, argv, program=f"{PROGRAM} demo", default=base)
    is_python = config.data.corpus == "stdlib" and config.data.path is config.data.tfds is None
    if is_python and not config.sample.prompt:  # other texts may lack the word
        config = dataclasses.replace(config, sample=dataclasses.replace(config.sample, prompt="def "))
    run = main(config, preset="tiny")
    exit_if_stopped(run)
    folder = shlex.quote(run.dir)
    rows = {name: run.results.get(f"{name}_validation_loss") for name in map(ngram_name, config.ngrams)}
    rows["ours"] = run.results["validation_loss"]
    print(f"\nloss on {run.results['data_valid_characters']:,} validation characters, per {config.data.vocabulary}:")
    for name, nats in ((name, nats) for name, nats in rows.items() if nats is not None):
        print(f"  {name:8} {nats:.3f} nats  {metrics.bits(nats):.3f} bits")
    for temperature in (0.5, 1.0):
        print(f"\n--- temperature {temperature} ---")
        show(run.model, run.vocabulary, run.params, dataclasses.replace(config.sample, temperature=temperature))
    prompt = f" --prompt {shlex.quote(config.sample.prompt)}" if config.sample.prompt else ""
    loop = config.loop
    longer = f"--loop.epochs {2 * loop.epochs:g}" if loop.steps is None else f"--loop.steps {2 * loop.steps}"
    print("\nTo try next:")
    print(f"  {PROGRAM} sample {folder}{prompt} --temperature 0.8")
    print(f"  {PROGRAM} evaluate {folder} --split test")
    print(f"  {PROGRAM} train --resume {folder} {longer}")
    return run


VERBS = {"train": train, "evaluate": evaluate, "sample": sample, "demo": demo}

if __name__ == "__main__":
    sys.exit(command_line.run_verbs(PROGRAM, VERBS, sys.argv[1:]))
