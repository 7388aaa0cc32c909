"""Training a translator through the real command: its files, exact resumption, and the number of compilations."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import scipy.special

import seqjax
from experiments import command_line
from experiments.groups import ScheduledSampling
from experiments.translation.config import PRESETS, Config, Data
from experiments.translation.figures import pair_scores
from experiments.translation.text import load_pairs
from experiments.written import chosen_monitor
from seqjax.data.splits import SPLITS
from seqjax.data.text.pairs import Pair
from seqjax.data.text.subwords import RESERVED
from seqjax.data.text.tags import by_tag
from seqjax.decode import Hypothesis
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.runs.folder import RunFolder
from tests.catalog import leaving
from tests.experiments.conftest import Interrupt, contents, figures_of, results_of
from tests.experiments.translation.conftest import command, lines

COMPILED = "/jax/core/compile/backend_compile_duration"  # also recorded for hits in the persistent cache


def pairs_of(path):
    return [tuple(line.split("\t")) for line in path.read_text().splitlines()]


def loss_of(run, pairs, silent=None):
    """Nats per target symbol, the end included, a pair at a time; `silent` symbols are those that are never written."""
    silent = [run.model.start_symbol, *run.model.forbidden] if silent is None else silent
    apply, nats, count = jax.jit(run.model.apply), 0.0, 0
    for source, target in pairs:
        read = run.vocabulary[0].encode(source)
        written = np.append(run.vocabulary[1].encode(target), np.int32(run.vocabulary[1].end))
        lengths = {"source_lengths": np.array([len(read)]), "target_lengths": np.array([len(written)])}
        _, outputs = apply(run.params, {"source": read[None], "target": written[None]} | lengths)
        logits = np.array(outputs.logits)
        logits[..., silent] = -np.inf
        log_p = logits[0] - scipy.special.logsumexp(logits[0], axis=-1, keepdims=True)
        nats -= float(log_p[np.arange(len(written)), written].sum())
        count += len(written)
    return nats / count


# The files of a run.


def test_train_writes_every_file_of_a_run(finished, files):
    folder, outcome = finished
    assert outcome.out.splitlines()[-1] == str(folder)
    written = {"config.json", "metrics.jsonl", "results.json", "samples.jsonl", "curves.png", "checkpoints"}
    assert {path.name for path in folder.iterdir()} == written
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    config = json.loads((folder / "config.json").read_text())
    assert (config["experiment"], config["preset"], config["model"]["type"]) == ("translation", "tiny", "Seq2Seq")
    assert [v["type"] for v in config["vocabulary"]] == ["WordVocabulary", "WordVocabulary"]
    assert config["overrides"]["data.train"] == [str(files / "train.tsv")]
    record = figures_of(folder)
    assert [line["step"] for line in record if line["split"] == "train"] == [1, 2, 3, 4]
    assert [line["step"] for line in record if line["split"] == "validation"] == [2, 4]
    assert "40 train, 10 valid, 8 test; 15 and 22 symbols" in outcome.out and "warning" not in outcome.out
    told = [line for line in outcome.err.splitlines() if line.startswith("compiling ")]
    assert told[0] == "compiling training: 4 x 4"
    for program in ("evaluation", "translation (greedy)", "translation (beam)"):
        assert sum(line.startswith(f"compiling {program}") for line in told) == 1, told


def test_results_are_those_of_the_best_weights(finished, files):
    folder, _ = finished
    results, run = results_of(folder), seqjax.load_run(folder)
    assert all(isinstance(value, int | float | str) for value in results.values())
    assert (results["steps"], results["seed"]) == (4, 0) and results["bleu_signature"].startswith("nrefs:1|")
    for name, split in (("validation", "valid"), ("test", "test")):
        assert results[f"{name}_loss"] == pytest.approx(loss_of(run, pairs_of(files / f"{split}.tsv")), abs=1e-5)
        assert results[f"{name}_perplexity"] == pytest.approx(np.exp(results[f"{name}_loss"]))
    record = [line["loss"] for line in run.metrics if line["split"] == "validation"]
    as_trained = loss_of(run, pairs_of(files / "valid.tsv"), silent=[])  # the training loss excludes no symbol
    assert min(record) == pytest.approx(as_trained, abs=1e-5) and record[1] > record[0] + 0.01


def test_results_have_the_figures_of_every_language_and_the_lowest_exact_match(finished, files):
    import sacrebleu

    folder, _ = finished
    results, pairs = results_of(folder), pairs_of(files / "test.tsv")
    source = "".join(f"{source}\n" for source, _ in pairs).encode()
    outcome = command("translate", folder, "--beam", 2, "--max-length", 6, stdin=source)
    outputs, targets = outcome.out.splitlines(), [target for _, target in pairs]
    assert outcome.code == 0 and len(outputs) == len(targets) == 8
    assert results["test_chrf"] == pytest.approx(sacrebleu.corpus_chrf(outputs, [targets]).score, abs=1e-9)
    of_german = [(o, t) for o, (s, t) in zip(outputs, pairs, strict=True) if s.startswith("<de>")]
    assert results["test_chrf_de"] == pytest.approx(
        sacrebleu.corpus_chrf([o for o, _ in of_german], [[t for _, t in of_german]]).score, abs=1e-9
    )
    assert {f"test_{figure}_{to}" for figure in ("bleu", "chrf", "exact_match") for to in ("fr", "de")} <= results.keys()

    def scored(texts, pairs, cut=False):
        return pair_scores([Hypothesis(text, 0.0, (), cut) for text in texts], pairs, "13a")

    scores = scored(["deux", "un", "deux"], [Pair("<fr> two", "deux"), Pair("<fr> one", "un"), Pair("<de> two", "zwei")])
    assert (scores["exact_match_fr"], scores["exact_match_de"], scores["exact_match"]) == (1.0, 0.0, 0.0)
    assert scored(["deux"], [Pair("<fr> two", "deux")]).keys() == {"bleu", "chrf", "exact_match", "cut"}
    blank = scored(["wrong", "", "", "un"], [Pair("<fr> two", "deux"), Pair("", ""), Pair("", ""), Pair("<fr> one", "un")], True)
    assert (blank["exact_match"], blank["cut"]) == (0.5, 1.0)  # blank lines are not right answers


def test_samples_are_the_greedy_translations_of_each_evaluation(finished, files):
    folder, _ = finished
    samples = RunFolder(folder).read_samples()
    assert [sample["step"] for sample in samples] == [2] * 8 + [4] * 8
    pairs = [(sample["source"], sample["target"]) for sample in samples]
    assert pairs == 2 * pairs_of(files / "valid.tsv")[:8]
    source = "".join(f"{source}\n" for source, _ in pairs_of(files / "valid.tsv")).encode()
    greedy = command("translate", folder, "--beam", 1, "--max-length", 6, "--checkpoint", "last", stdin=source)
    assert greedy.out.splitlines()[:8] == [sample["output"] for sample in samples[8:]]


@pytest.mark.slow
def test_pairs_left_out_or_cut_are_counted(train, nowhere):
    (nowhere / "pairs.tsv").write_text("".join(lines(8)) + "\tvide\n<fr> one two three four five\tun deux trois quatre cinq\n")
    outcome = train("run", "--data.train", "pairs.tsv", "--data.max-length", 4, "--loop.steps", 1, "--search.beam", 1)
    assert outcome.code == 0, outcome.err
    assert "1 training pairs with an empty side were left out" in outcome.out
    assert "1 training pairs longer than 4 symbols were left out" in outcome.out
    results = results_of(nowhere / "run")
    assert (results["data_empty"], results["data_over_long"], results["data_train_pairs"]) == (1, 1, 17)

    for rule, counts in (("drop", (16, 1)), ("cut", (17, 1))):
        sources = dict.fromkeys(SPLITS, ("pairs.tsv",)) | {"units": "word", "joint": False}
        text = load_pairs(Data(**sources, max_length=4, over_long=rule))
        source, target, over_long, _ = text.encoded["train"]
        assert (max(map(len, source)), max(map(len, target))) == (4, 4)
        assert (len(source), over_long) == counts
        assert max(map(len, text.encoded["valid"].source)) == 6  # pairs to measure are never left out or cut


def test_bleu_counts_words_by_its_flag_and_targets_without_spaces_are_monitored_by_chrf(capsys):
    chinese = ["\u4f60\u597d\u5417"] * 3
    assert chosen_monitor("auto", chinese, "13a") == "chrf"
    warning = (
        "the targets have hardly any spaces, so that BLEU with tokenisation 13a says little of them: --data.bleu-tokenize zh"
    )
    assert warning in capsys.readouterr().err
    assert chosen_monitor("bleu", chinese, "none") == "bleu" and "warning" in capsys.readouterr().err
    for texts, rule in ((chinese, "zh"), (["three small words", "two words"], "13a")):
        assert chosen_monitor("auto", texts, rule) == "bleu" and not capsys.readouterr().err


def test_what_would_be_equal_once_prepared_is_in_one_split(nowhere):
    rows = [f"{n}\t{case}{n % 40}\n" for n in range(400) for case in ("Ab", "ab")]
    (nowhere / "pairs.tsv").write_text("".join(rows))
    with open("pairs.tsv", "a") as file:
        file.writelines(f"x\t{form}\n" for form in ("e\u0301t\u00e9", "\u00c9te\u0301"))  # one word in two of Unicode's forms
    text = load_pairs(Data(train=("pairs.tsv",), swap=True, lowercase=True))
    sources = [{pair.source for pair in text.pairs[split]} for split in ("train", "valid", "test")]
    assert sum(map(len, sources)) == 41 == len(set.union(*sources))
    assert text.record["swapped"] and text.pairs["train"][0].target.isdigit()


def test_the_literal_name_of_a_special_symbol_begins_a_text_as_any_word(nowhere):
    (nowhere / "pairs.tsv").write_text("".join(f"{name} two\tdeux\n" for name in ("<fr>", *RESERVED)))
    text = load_pairs(Data(train=("pairs.tsv",), valid=("pairs.tsv",), test=("pairs.tsv",)))
    assert text.vocabularies[0].symbols == ("<fr>",) and not by_tag(text.pairs["test"])
    assert len(text.encoded["train"].source) == 5


# Resuming.


@pytest.fixture(scope="module")
def watched(tmp_path_factory, train):
    """Two equal runs that monitor BLEU with little patience: (uninterrupted, stopped after step 2)."""
    flags = ["--monitor", "bleu", "--loop.steps", 6, "--loop.eval-every", 1, "--loop.patience", 2]
    flags += ["--scheduled-sampling.decay", "linear", "--optimizer.learning-rate", 0.5, "--optimizer.warmup-steps", 0]
    runs = tmp_path_factory.mktemp("runs")
    assert train(runs / "whole", *flags).code == 0
    with pytest.MonkeyPatch.context() as patch:
        Interrupt(patch, 2)
        outcome = train(runs / "stopped", *flags)
    assert outcome.code == 143 and f"train --resume {runs / 'stopped'}" in outcome.out
    assert not (runs / "stopped" / "results.json").exists() and figures_of(runs / "stopped")[-1]["step"] == 2
    return runs / "whole", runs / "stopped"


@pytest.mark.slow
def test_resume_alone_goes_on_to_the_figures_and_the_early_stop_of_an_uninterrupted_run(watched, tmp_path):
    uninterrupted, stopped = watched
    shutil.copytree(stopped, tmp_path / "run")
    outcome = command("train", "--resume", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    record = figures_of(tmp_path / "run")
    assert record == figures_of(uninterrupted) and record[-1]["step"] < 6  # BLEU did not rise, nor did the loss fall
    assert (tmp_path / "run" / "samples.jsonl").read_text() == (uninterrupted / "samples.jsonl").read_text()
    ours, theirs = (results_of(folder) for folder in (tmp_path / "run", uninterrupted))
    for results in (ours, theirs):
        assert results.pop("seconds") > 0 and results.pop("device_idle_share") >= 0 and results.pop("sha256")
    assert ours == theirs
    runs = (seqjax.load_run(folder) for folder in (tmp_path / "run", uninterrupted))
    for leaf, other in zip(*(jax.tree.leaves(run.params) for run in runs), strict=True):
        np.testing.assert_array_equal(leaf, other)


@pytest.mark.slow
def test_a_run_that_is_lengthened_keeps_its_scheduled_sampling(watched, tmp_path):
    shutil.copytree(watched[1], tmp_path / "run")
    for steps in (3, 7, 8):
        outcome = command("train", "--resume", tmp_path / "run", "--loop.steps", steps, "--loop.patience", 99)
        assert outcome.code == 0, outcome.err
        with Checkpoints(RunFolder(tmp_path / "run").checkpoints, read_only=True) as checkpoints:
            assert checkpoints.step("last") == steps
        assert json.loads((tmp_path / "run" / "config.json").read_text())["planned_steps"] == 6


@pytest.mark.slow
def test_init_from_takes_the_weights_and_nothing_else(finished, train, tmp_path):
    before = contents(finished[0])
    flags = ["--optimizer.learning-rate", 1e-30, "--loop.steps", 1, "--init-from", finished[0]]
    outcome = train(tmp_path / "run", *flags)
    assert outcome.code == 0, outcome.err
    ours, theirs = seqjax.load_run(tmp_path / "run"), seqjax.load_run(finished[0])
    for leaf, source in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
        np.testing.assert_allclose(leaf, source, rtol=0, atol=1e-12)
    assert ours.results["test_loss"] == pytest.approx(theirs.results["test_loss"], abs=1e-6)
    assert contents(finished[0]) == before


def test_nothing_is_compiled_once_all_shapes_were_seen(train, tmp_path, monkeypatch):
    compiled, marks, append = [], {}, RunFolder.append_metrics

    def count(event, seconds, **_):
        if event == COMPILED:
            compiled.append(seconds)

    def mark(self, **line):
        append(self, **line)
        if line["split"] == "validation":
            marks[line["step"]] = len(compiled)

    monkeypatch.setattr(RunFolder, "append_metrics", mark)
    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        pace = ["--loop.steps", 30, "--loop.log-every", 1, "--loop.eval-every", 10, "--loop.save-every", 10]
        assert train(tmp_path / "run", *pace).code == 0
        lines = [f"<fr> {' '.join(english)}\n" for english in (["one"], ["two", "six"], ["nine"] * 7, ["four"] * 15)]
        spoken = [line.replace("<fr>", "<de>") for line in reversed(lines)]
        flags = ["translate", tmp_path / "run", "--beam", 3]
        assert command(*flags, stdin="".join(lines).encode()).code == 0
        compiled_before = len(compiled)
        assert command(*flags, stdin="".join(spoken).encode()).code == 0
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    assert marks.keys() == {10, 20, 30} and marks[10] > 0
    assert marks[10] == marks[20] == marks[30]
    assert len(compiled) == compiled_before > marks[30]


# Configurations.

ENDS = {"linear": 0.0, "exponential": 0.5, "inverse_sigmoid": 0.5}


@pytest.mark.parametrize("decay", ENDS)
def test_a_schedule_begins_with_true_symbols_and_reaches_its_end_after_its_share_of_the_run(decay):
    schedule = ScheduledSampling(decay=decay, over=0.5).schedule(1000)
    assert schedule is not None
    chances = [schedule.probability(step) for step in range(0, 1001, 50)]
    assert chances[0] > 0.98 and chances == sorted(chances, reverse=True)
    assert chances[10] == pytest.approx(ENDS[decay], abs=1e-3)
    held = ScheduledSampling(decay=decay, over=0.5, lowest=0.75).schedule(1000)
    assert held is not None and held.probability(500) == pytest.approx(0.75) and held.probability(10_000) == 0.75


KINDS = {  # flags, and the types that the config must then name
    "sutskever": ("--preset sutskever", ["LSTM"]),
    "bahdanau": (
        "--preset bahdanau --model.coverage --model.coverage-loss 0.5 --data.units unigram",
        ["Additive", "SubwordVocabulary"],
    ),
    "luong": (
        "--preset luong --model.tied all --model.embedding-size 8 --model.per sequence --data.units bpe",
        ["General", "SubwordVocabulary"],
    ),
    "dot": (
        "--model.attention dot --model.merge sum --model.bridge none --model.tied target --model.embedding-size 8 "
        "--model.cell elman --model.no-input-feeding --model.label-smoothing 0.1 --data.units character --data.lowercase "
        "--data.bleu-tokenize char",
        ["Dot", "CharacterVocabulary"],
    ),
    "location": ("--model.attention location --model.places 6 --model.bridge none", ["Location"]),
    "several heads": ("--model.attention dot --model.heads 2 --search.method mbr --search.samples 2", ["MultiHead"]),
    "local": ("--model.attention general --model.window 1 --model.order before --search.method sample", ["Local", "General"]),
}
SAMPLING = ("linear", "exponential", "inverse_sigmoid")


@pytest.mark.slow
@pytest.mark.parametrize("kind", leaving("dot", of=KINDS))
def test_every_configuration_trains_and_translates(kind, train, nowhere):
    (nowhere / "pairs.tsv").write_text("<fr> one two\tun du\n<fr> two one\tdu un\n" * 4)  # of one length: one shape to compile
    files = [part for name in ("train", "valid", "test") for part in (f"--data.{name}", "pairs.tsv")]
    flags, types = KINDS[kind]
    n = list(KINDS).index(kind)
    sampling = ["--scheduled-sampling.decay", SAMPLING[n % 3], "--scheduled-sampling.per", ("token", "sequence")[n % 2]]
    search = ["--search.beam", 5 if "--search.method" in flags else 1]  # 5: the default, which every method takes
    outcome = train("run", *files, *flags.split(), *sampling, *search, "--data.vocabulary-size", 60, "--loop.steps", 2)
    assert outcome.code == 0, outcome.err
    results, config = results_of(nowhere / "run"), (nowhere / "run" / "config.json").read_text()
    assert all(np.isfinite(results[name]) for name in ("validation_loss", "test_loss", "test_chrf"))
    assert all(f'"type": "{name}"' in config for name in types)
    translated = command("translate", "run", "--to", "fr", stdin=b"one two\n\n")
    assert translated.code == 0 and len(translated.out.splitlines()) == 2, translated.err


@pytest.mark.slow
def test_a_reply_of_a_class_is_one_of_the_lines(train, nowhere):
    (nowhere / "replies.tsv").write_text("how are you\tfine, thanks\nwhat is it\tI do not know\nwho are you\tfine, thanks\n" * 3)
    files = [part for name in ("train", "valid", "test") for part in (f"--data.{name}", "replies.tsv")]
    flags = ["--preset", "reply_class", "--optimizer.warmup-steps", 0, "--optimizer.learning-rate", 0.1]
    outcome = train("run", *files, *flags, "--loop.steps", 20, "--loop.eval-every", 20)
    assert outcome.code == 0, outcome.err
    assert results_of(nowhere / "run")["test_exact_match"] == 1.0
    answered = command("translate", "run", stdin=b"what is it\nwho are you\n")
    assert answered.out == "I do not know\nfine, thanks\n"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_config_comes_back_from_json(preset):
    plain = json.loads(json.dumps(dataclasses.asdict(PRESETS[preset])))
    assert command_line.from_dict(Config(), plain) == PRESETS[preset]
