"""The language model's command, verb by verb, through its real entry point."""

import dataclasses
import itertools
import json
import pathlib
import re
import shlex
import shutil

import jax
import numpy as np
import pytest

import seqjax
from experiments import command_line
from experiments.language_model.config import PRESETS, Config
from seqjax.probabilistic import ngram
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.runs.folder import RunFolder
from tests.experiments.conftest import contents, evaluation_of, results_of
from tests.experiments.language_model.conftest import PACE, SIZES, command, words


def symbols_of(run, text, split):
    """The symbols of a split, recomputed: 80, 10 and 10 per cent of the characters, in order."""
    content = text.read_text()
    first, second = round(0.8 * len(content)), round(0.9 * len(content))
    part = {"train": content[:first], "valid": content[first:second], "test": content[second:]}[split]
    return np.array([run.vocabulary.start, *run.vocabulary.encode(part)])


def loss_of(run, params, symbols):
    """Nats per symbol in one pass of one row."""
    _, logits = run.model.apply(params, {"tokens": symbols[None, :-1]})
    picked = jax.nn.log_softmax(logits)[0, np.arange(len(symbols) - 1), symbols[1:]]
    return -float(picked.mean())


# train


def test_train_writes_every_file_of_a_run(finished, text):
    folder, outcome = finished
    assert outcome.out.splitlines()[-1] == str(folder)
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "results.json",
        "samples.jsonl",
        "curves.png",
        "checkpoints",
    }
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best", "last"}
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")

    config = json.loads((folder / "config.json").read_text())
    assert (config["experiment"], config["preset"]) == ("language_model", "tiny")
    assert config["config"]["model"]["hidden_size"] == config["overrides"]["model.hidden_size"] == 8
    assert config["overrides"]["data.path"] == str(text)
    assert config["config"]["data"]["vocabulary"] == "character" and "data.vocabulary" not in config["overrides"]
    assert config["model"]["type"] == "LanguageModel" and config["vocabulary"]["type"] == "CharacterVocabulary"
    assert config["data"]["characters"] == len(text.read_text()) and config["versions"]["jax"] == jax.__version__

    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "train"] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if line["split"] == "validation"] == [2, 4]
    assert {"loss", "learning_rate", "epoch", "tokens_per_second", "seconds"} <= lines[0].keys()


def test_train_says_what_it_does(finished, text):
    _, outcome = finished
    head = outcome.out[: outcome.out.index("--- after 0 of")]
    assert "preset tiny" in head and "--model.hidden-size 8" in head
    assert f"{text}, {len(text.read_text()):,} characters in 1 file" in head
    assert "devices: 1 device, 2 rows each" in head
    assert "step 4/4" in outcome.err and "validation" in outcome.err


@pytest.mark.slow
def test_results_are_flat_and_are_those_of_the_best_weights(finished, text):
    folder, _ = finished
    results, run = results_of(folder), seqjax.load_run(folder)
    assert all(isinstance(value, int | float | str) for value in results.values())
    assert results["steps"] == 4 and results["seed"] == 0 and results["seconds"] > 0
    assert "cpu" in results["device"] and jax.__version__ in results["versions"]
    for name, split in (("validation", "valid"), ("test", "test")):
        expected = loss_of(run, run.params, symbols_of(run, text, split))
        assert results[f"{name}_loss"] == pytest.approx(expected, abs=1e-4)
        assert results[f"{name}_bits"] == pytest.approx(expected / np.log(2), abs=1e-4)
    best = min(line["loss"] for line in run.metrics if line["split"] == "validation")
    assert results["validation_loss"] == pytest.approx(best, abs=1e-5)


def test_results_hold_the_ngram_models(finished, text):
    folder, _ = finished
    results, run = results_of(folder), seqjax.load_run(folder)
    train, valid = symbols_of(run, text, "train"), symbols_of(run, text, "valid")
    for order, name in ((2, "bigram"), (3, "trigram"), (5, "5gram")):
        counted = ngram.fit(train, order=order, vocabulary_size=len(run.vocabulary), start=run.vocabulary.start)
        expected = ngram.cross_entropy(counted, valid)
        assert results[f"{name}_validation_loss"] == pytest.approx(expected, abs=1e-6)


def test_samples_are_of_one_prompt_before_at_a_tenth_at_a_third_and_at_the_end(finished):
    folder, outcome = finished
    samples = RunFolder(folder).read_samples()
    assert [sample["step"] for sample in samples] == [0, 1, 2, 4]
    assert all(sample["text"].startswith("the") and len(sample["text"]) == 3 + 12 for sample in samples)
    assert len({sample["text"] for sample in samples}) > 1  # it learned something, and the key is the same
    assert all(f"--- after {sample['step']} of 4 steps ---\n{sample['text']}\n\n" in outcome.out for sample in samples)


def test_a_run_without_a_folder_gets_one_and_is_the_latest(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = command("train", "--data.path", text, *SIZES, *PACE, "--loop.steps", 1, "--preset=modern_lstm")
    assert outcome.code == 0, outcome.err
    last = outcome.out.splitlines()[-1]
    assert re.fullmatch(r"runs/language_model/modern_lstm-\d{8}-\d{6}", last)
    assert (tmp_path / "runs/language_model/latest").resolve() == (tmp_path / last).resolve()
    assert command("sample", "--length", 3).code == 0  # the latest run is the default


@pytest.mark.slow
def test_bytes_are_a_vocabulary_too(train, tmp_path):
    outcome = train(tmp_path / "run", "--data.vocabulary", "byte", "--loop.steps", 1)
    assert outcome.code == 0, outcome.err
    results = results_of(tmp_path / "run")
    assert results["test_bits"] == pytest.approx(results["test_loss"] / np.log(2))
    sampled = command("sample", tmp_path / "run", "--prompt", "caf\u00e9", "--argmax", "--length", 2)
    assert sampled.code == 0 and sampled.out.startswith("caf\u00e9")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["min_char_rnn", "karpathy_lstm", "zaremba_small"])
def test_the_recipes_of_papers_train(preset, text, tmp_path):
    small = ["--data.length", 5, "--data.batch-size", min(PRESETS[preset].data.batch_size, 4), "--model.hidden-size", 4]
    if PRESETS[preset].model.embedding_size is not None:
        small += ["--model.embedding-size", 4]
    flags = ["--data.path", text, *small, "--loop.steps", 1, "--sample.length", 3, "--run.dir", tmp_path / "run"]
    outcome = command("train", "--preset", preset, *flags)
    assert outcome.code == 0, outcome.err
    results = results_of(tmp_path / "run")
    assert np.isfinite(results["test_loss"])
    if preset == "zaremba_small":  # words
        assert results["test_perplexity"] == pytest.approx(np.exp(results["test_loss"]))
        sampled = command("sample", tmp_path / "run", "--length", 5)  # without a start symbol, a sample follows a line's end
        assert sampled.code == 0, sampled.err
        assert len(re.findall(r"\S+|\n", sampled.out[:-1])) == 5


# sample


@pytest.fixture(scope="module")
def draw(finished):
    """A function of flags that returns the text printed by `sample`."""

    def sample(*flags):
        outcome = command("sample", finished[0], "--length", 15, *flags)
        assert outcome.code == 0, outcome.err
        return outcome.out.removesuffix("\n")

    return sample


def test_sample_goes_on_from_the_prompt(draw):
    sampled = draw("--prompt", "two birds ")
    assert sampled.startswith("two birds ") and len(sampled) == len("two birds ") + 15
    assert len(draw("--prompt", "a", "--length", 4)) == 5
    assert len(draw()) == 15  # a document's beginning


def test_sample_draws_by_its_seed(draw):
    hot = ["--temperature", 1.5]
    assert draw(*hot, "--seed", 3) == draw(*hot, "--seed", 3)
    assert len({draw(*hot, "--seed", seed) for seed in range(4)}) == 4


def test_several_samples_are_drawn_together_after_a_prompt_from_a_file(draw, finished, tmp_path):
    flags = ["sample", finished[0], "--length", 15, "--samples", 3, "--temperature", 1.5]
    shown = command(*flags, "--prompt", "old ").out
    texts = re.split(r"--- sample \d ---\n", shown.removesuffix("\n"))
    assert texts[0] == "" and len(set(texts[1:])) == 3 and all(text.startswith("old ") for text in texts[1:])
    texts = [text.removesuffix("\n") for text in texts[1:]]
    assert [len(text) for text in texts] == [4 + 15] * 3
    written = tmp_path / "samples.jsonl"
    outcome = command(*flags, "--prompt-file", "-", "--output", written, "--stop", texts[1][9:11], stdin=b"old \n")
    assert (outcome.code, outcome.out) == (0, f"{written}\n"), outcome.err
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert [line["prompt"] for line in lines] == ["old "] * 3
    assert lines[1]["text"] == "old " + texts[1][4:].split(texts[1][9:11])[0]
    assert all(text.startswith(line["text"]) for line, text in zip(lines, texts, strict=True))
    assert command(*flags, "--output", written).code == 2
    one = draw("--prompt", "old ", "--temperature", 1.5)
    assert draw("--prompt", "old ", "--temperature", 1.5, "--stop", one[8:10], "zzz") == "old " + one[4:].split(one[8:10])[0]


@pytest.mark.slow
def test_argmax_is_what_every_sharpening_ends_in(draw):
    argmax = draw("--argmax", "--prompt", "old ")
    for flags in (["--temperature", 0], ["--temperature", 1e-6], ["--top-k", 1], ["--top-p", 1e-6]):
        for seed in (0, 1):
            assert draw(*flags, "--prompt", "old ", "--seed", seed) == argmax
    loose = {draw("--prompt", "old ", "--seed", seed, "--temperature", 2.0) for seed in range(4)}
    assert argmax not in loose and len(loose) == 4


@pytest.mark.slow
def test_top_k_keeps_the_likeliest(draw, finished):
    run = seqjax.load_run(finished[0])
    _, logits = run.model.apply(run.params, {"tokens": np.array([[run.vocabulary.start]])})
    ranked = [i for i in np.argsort(-logits[0, 0]) if i != run.vocabulary.start]
    likeliest = {run.vocabulary.decode([i]) for i in ranked[:3]}
    first = {draw("--top-k", 3, "--length", 1, "--seed", seed, "--temperature", 50) for seed in range(40)}
    assert first == likeliest


# evaluate


def test_evaluate_writes_its_own_file_and_leaves_the_rest(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    before, results = contents(tmp_path / "run"), results_of(tmp_path / "run")
    written = set()
    for split, name in (("test", "test"), ("valid", "validation")):
        outcome = command("evaluate", tmp_path / "run", "--split", split)
        assert (outcome.code, outcome.err) == (0, "")
        *lines, path = outcome.out.splitlines()
        printed = [f"{name}_{figure}" for figure in ("loss", "bits", "bits_per_character", "unknown_share")]
        assert path == str(tmp_path / "run" / f"eval-{split}-{results['data_sha256'][:8]}.json")
        written.add(pathlib.Path(path).name)
        figures = json.loads(pathlib.Path(path).read_text())
        assert lines == [f"{figure} {figures[figure]:.4f}" for figure in printed]
        assert figures[f"{name}_loss"] == pytest.approx(results[f"{name}_loss"], abs=1e-6)
        assert figures["checkpoint"] == "best" and figures["seed"] == 0
    after = contents(tmp_path / "run")
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == written


def test_evaluate_measures_the_last_weights_too(finished, text, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    assert command("evaluate", tmp_path / "run", "--checkpoint", "last").code == 0
    run, folder = seqjax.load_run(finished[0]), RunFolder(finished[0])
    with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
        last = checkpoints.params(run.params, "last")
    expected = loss_of(run, last, symbols_of(run, text, "test"))
    figures = evaluation_of(tmp_path / "run", "test-last")
    assert figures["test_loss"] == pytest.approx(expected, abs=1e-4)
    assert abs(figures["test_loss"] - results_of(finished[0])["test_loss"]) > 1e-3  # they are not the best


@pytest.mark.slow
def test_evaluate_reads_another_text(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    other = tmp_path / "other.txt"
    other.write_text(words(100, seed=1) + "QUITE OTHER SYMBOLS")  # outside the vocabulary: unknown, and counted
    outcome = command("evaluate", tmp_path / "run", "--data.path", other, "--split", "all", "--name", "mine")
    assert outcome.code == 0, outcome.err
    figures = evaluation_of(tmp_path / "run", "mine")
    run = seqjax.load_run(finished[0])
    content, ids = other.read_text(), []
    for begin, end in itertools.pairwise(round(share * len(content)) for share in (0, 0.8, 0.9, 1)):
        ids.append(np.array([run.vocabulary.start, *run.vocabulary.encode(content[begin:end])]))
    losses = [(loss_of(run, run.params, part), len(part) - 1) for part in ids]
    unknown = sum((part == run.vocabulary.unknown).sum() for part in ids)
    count = sum(count for _, count in losses)
    assert figures["all_unknown_share"] == pytest.approx(unknown / count) and unknown > 9
    # An unknown symbol costs what Good and Turing's estimate says, whatever the weights.
    known = figures["all_known_loss"]
    unseen = results_of(finished[0])["data_unseen_probability"]
    expected = ((count - unknown) * (known - np.log1p(-unseen)) - unknown * np.log(unseen)) / count
    assert figures["all_loss"] == pytest.approx(expected, abs=1e-5)
    masked = []
    for part in ids:
        _, logits = run.model.apply(run.params, {"tokens": part[None, :-1]})
        nats = -jax.nn.log_softmax(logits)[0, np.arange(len(part) - 1), part[1:]]
        masked += nats[part[1:] != run.vocabulary.unknown].tolist()
    assert known == pytest.approx(np.mean(masked), abs=1e-4)
    assert figures["data_source"] == str(other)


@pytest.mark.slow
def test_an_average_and_an_ensemble_are_measured_and_sampled(finished, text, tmp_path):
    run = seqjax.load_run(finished[0])
    with Checkpoints(RunFolder(finished[0]).checkpoints, read_only=True) as checkpoints:
        last = checkpoints.params(run.params, "last")
    shutil.copytree(finished[0], tmp_path / "run")
    assert command("evaluate", tmp_path / "run", "--ensemble", finished[0]).code == 0  # equal members: the run itself
    twice = evaluation_of(tmp_path / "run", "test-ensemble2")
    assert twice["test_loss"] == pytest.approx(results_of(finished[0])["test_loss"], abs=1e-5)
    assert twice["ensemble"] == [str(finished[0])]
    flags = ["--prompt", "the", "--length", 9]
    assert (
        command("sample", finished[0], *flags, "--ensemble", tmp_path / "run").out == command("sample", finished[0], *flags).out
    )

    shutil.rmtree(tmp_path / "run" / "checkpoints" / "best")  # so that the second member has the last weights
    assert command("evaluate", tmp_path / "run", "--ensemble", finished[0], "--split", "valid").code == 0
    symbols = symbols_of(run, text, "valid")
    p = []
    for params in (last, run.params):
        _, logits = run.model.apply(params, {"tokens": symbols[None, :-1]})
        p.append(np.exp(jax.nn.log_softmax(logits)[0, np.arange(len(symbols) - 1), symbols[1:]]))
    figures = evaluation_of(tmp_path / "run", "valid-ensemble2")
    assert figures["validation_loss"] == pytest.approx(-np.log(np.mean(p, axis=0)).mean(), abs=1e-4)


# load_run


THREE_LINES = """
import sys
import jax
import numpy as np
import seqjax
from seqjax import decode
run = seqjax.load_run(sys.argv[1])
prompt = {"tokens": run.vocabulary.encode("the")[None], "tokens_lengths": np.array([3])}
sampled = decode.sample(run.model, run.params, prompt, max_length=15, key=jax.random.key(4))
print(run.vocabulary.decode(np.asarray(sampled.tokens[0])))
assert "experiments" not in sys.modules
"""


def test_a_fresh_process_loads_a_run_and_samples_in_three_lines(finished, draw, as_user, tmp_path):
    done = as_user("-c", THREE_LINES, finished[0], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.removesuffix("\n") == draw("--prompt", "the", "--temperature", 1, "--seed", 4).removeprefix("the")


# demo


@pytest.mark.slow
def test_demo_shows_how_it_learns(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = command("demo", "--data.path", text, *SIZES, "--loop.steps", 12, "--loop.log-every", 1, "--sample.length", 20)
    assert outcome.code == 0, outcome.err
    out = outcome.out
    (folder,) = (path for path in (tmp_path / "runs/language_model").iterdir() if path.name != "latest")
    folder = folder.relative_to(tmp_path)
    tour = [f"text: {text}, ", "model: ", "devices: 1 device, 2 rows each", "--- after 0 of 12", "--- after 2 of 12"]
    tour += ["--- after 4 of 12", "--- after 12 of 12", "  bigram ", "  trigram ", "  5gram ", "  ours "]
    tour += ["--- temperature 0.5 ---", "--- temperature 1.0 ---", f"sample {folder}", f"evaluate {folder}", f"--resume {folder}"]
    places = [out.find(part) for part in tour]
    assert -1 not in places and places == sorted(places), dict(zip(tour, places, strict=True))
    for name, key in (("bigram", "bigram_validation_loss"), ("5gram", "5gram_validation_loss"), ("ours", "validation_loss")):
        nats = results_of(folder)[key]
        assert re.search(rf"  {name} +{nats:.3f} nats  {nats / np.log(2):.3f} bits\n", out)
    last = re.search(r"after 12 of 12 steps ---\n(.*?)\n\n", out, re.DOTALL)[1]
    assert f"--- temperature 0.5 ---\n{last}\n" in out  # the same prompt, key and temperature

    tries = re.findall(r"^  \S*python\S* -m experiments.language_model (.*)$", out, re.MULTILINE)
    assert [line.split()[0] for line in tries] == ["sample", "evaluate", "train"]
    for line in tries:
        tried = command(*shlex.split(line))
        assert tried.code == 0, tried.err
    assert results_of(folder)["steps"] == 24


def test_the_demo_begins_a_definition_in_python_and_a_document_elsewhere(monkeypatch):
    from experiments.language_model import __main__ as program

    class Enough(Exception):
        pass

    def stop(config, **_):
        raise Enough(config.sample.prompt)

    monkeypatch.setattr(program, "main", stop)
    python, short = ["--data.length", "9"], ["--sample.length", "9"]
    for flags, prompt in (
        ([*python, *short], "def "),
        (["--data.corpus", "pydoc"], ""),
        (["--sample.prompt", "class "], "class "),
    ):
        with pytest.raises(Enough, match=f"^{prompt}$"):
            program.demo(flags)


# The parts of a command line.


def test_flags_override_the_preset():
    config = command_line.parse(Config, ["--model.hidden-size", "7"], program="p", default=PRESETS["zaremba_small"])
    expected = dataclasses.replace(PRESETS["zaremba_small"].model, hidden_size=7)
    assert config == dataclasses.replace(PRESETS["zaremba_small"], model=expected)
    assert command_line.differences(config, PRESETS["zaremba_small"]) == {"model.hidden_size": 7}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_config_comes_back_from_json(preset):
    plain = json.loads(json.dumps(dataclasses.asdict(PRESETS[preset])))
    assert command_line.from_dict(Config(), plain) == PRESETS[preset]


def test_help_names_the_verbs(capsys):
    assert command("--help").code == 0
    assert command().code == 2
    for verb in ("train", "evaluate", "sample", "demo"):
        assert f"  {verb}" in command("--help").out
