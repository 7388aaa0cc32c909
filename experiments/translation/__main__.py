"""Translation of sentences, or replies to questions, learned from pairs.

python -m experiments.translation train --preset tiny [--any.flag value]
echo "<fr> ninety-seven" | python -m experiments.translation translate DIR --beam 5
python -m experiments.translation evaluate DIR --split test
python -m experiments.translation score DIR --data.test FILE
python -m experiments.translation attention DIR --source "<de> ninety-seven"
"""

import dataclasses
import sys
from functools import partial

from experiments import command_line
from experiments.session import Session
from experiments.train_verb import run_training
from experiments.translation import inference
from experiments.translation.config import PROGRAM, Config, build_model
from experiments.translation.figures import pair_scores, split_figures
from experiments.translation.text import load_pairs
from experiments.vocabularies import earlier_vocabulary
from experiments.written import chosen_monitor
from seqjax.data.text.buckets import Buckets
from seqjax.data.text.limits import OutputLimit
from seqjax.decode import Hypothesis, TextSearch
from seqjax.metrics import text_signatures
from seqjax.train import Run, RunFolder
from seqjax.types import Params

SHOWN = 8  # translations that each evaluation adds to samples.jsonl


def main(config: Config, *, preset: str = "custom") -> Run:
    """Trains an encoder-decoder, or continues a run (config.resume).

    Args:
        config: a preset, or one changed by `dataclasses.replace`.
        preset: the name of the preset.

    Returns:
        The run, with its best weights.

    Raises:
        InputError: pairs, sizes or folders do not fit; nothing has been written then.
    """
    data, text = config.data, load_pairs(config.data, earlier_vocabulary(config, count=2))
    targets = [pair.target for pair in text.pairs["train"]]
    config = dataclasses.replace(config, monitor=chosen_monitor(config.monitor, targets, data.bleu_tokenize))
    signatures, limit = text_signatures(tokenize=data.bleu_tokenize), OutputLimit.from_record(text.record)
    model = build_model(config.model, config.scheduled_sampling.per, *text.vocabularies)
    source, target, *_ = text.encoded["train"]
    stream = Buckets(source=source, target=target, batch_size=data.batch_size, seed=config.seed)
    planned = config.loop.resolve(stream.steps_per_epoch).steps
    if config.resumes:  # a lengthened run keeps its schedule
        planned = RunFolder(config.resumes).read_config("planned_steps")["planned_steps"]
    stream = dataclasses.replace(stream, teacher_forcing=config.scheduled_sampling.schedule(planned))
    names = {"program": PROGRAM, "preset": preset, "vocabulary": text.vocabularies, "data": text.record}
    session = Session(config, model, stream, facts={"planned_steps": planned}, **names)
    shapes = {"batch_size": data.batch_size, "shapes": stream.shapes}
    longest = max(len(row) for split in text.encoded.values() for row in split.source)
    TextSearch(model, session.state.params, text.vocabularies, config.search).check(longest=longest)  # refuses invalid options

    def translate(params: Params, pairs, search) -> list[Hypothesis]:
        options = {"limit": limit, "notice": partial(session.compiling, f"translation ({search.method})")}
        n_best = TextSearch(model, params, text.vocabularies, search, **options)([pair.source for pair in pairs])
        return [hypotheses[0] for hypotheses in n_best]

    monitored, outputs = text.pairs["valid"][: config.monitor_pairs], []

    def evaluate(params: Params) -> dict[str, float]:
        outputs[:] = translate(params, monitored, config.search.as_greedy())
        return session.evaluate(params, text.batches("valid", **shapes)) | pair_scores(outputs, monitored, data.bleu_tokenize)

    with session.open(*text.summary(data)):
        for event in session.train(evaluate):
            if event.kind == "eval":
                for pair, output in zip(monitored[:SHOWN], outputs, strict=False):
                    session.folder.append_sample(step=event.step, **pair._asdict(), output=output.text)
            session.draw_curves(event)

    def measure(params: Params) -> dict:
        figures = {}
        for split in ("valid", "test"):
            if split in text.pairs:
                translations = translate(params, text.pairs[split], config.search)
                rule = data.bleu_tokenize, "--search.max-length"
                figures |= split_figures(model, params, text, split, translations, *rule, **shapes)
        return figures | signatures

    return session.finish(measure)


def train(argv: list[str]) -> Run | None:
    """Trains a preset, or continues a run: train --preset tiny [--any.flag value]; train --resume DIR."""
    return run_training(argv, PROGRAM, main)


VERBS = {"train": train} | inference.VERBS

if __name__ == "__main__":
    sys.exit(command_line.run_verbs(PROGRAM, VERBS, sys.argv[1:]))
