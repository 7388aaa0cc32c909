"""The verbs that use a trained translator, through their real entry point."""

import contextlib
import gzip
import io
import json
import re
import shutil
import struct
import sys

import jax
import numpy as np
import pytest

import seqjax
from experiments import command_line
from experiments.translation import inference
from experiments.weights import Weights
from seqjax.data.splits import hashed_split
from seqjax.decode import Search, TextSearch
from seqjax.metrics import sentence_chrf
from seqjax.models.seq2seq import Seq2Seq
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.runs.folder import RunFolder
from tests.experiments.conftest import contents, evaluation_of, refused, results_of
from tests.experiments.translation.conftest import command

LINES = ["<fr> one two three", "", "<de> nine", "  ", "<fr> seven five"]
LIKE_TRAINING = ["--beam", 2, "--max-length", 6]


def as_text(lines):
    return "".join(f"{line}\n" for line in lines)


def succeeded(*arguments, stdin=""):
    outcome = command(*arguments, stdin=stdin.encode())
    assert outcome.code == 0, outcome.err
    return outcome.out


def n_best_of(text):
    """{line: [(translation, score), ...]}."""
    outputs = {}
    for line in text.splitlines():
        number, translation, score = re.fullmatch(r"(\d+) \|\|\| (.*) \|\|\| (-?\d+\.\d{4})", line).groups()
        outputs.setdefault(int(number), []).append((translation, float(score)))
    return outputs


def read_by_hand(run, source, symbols):
    """(log-probability, attention weights [T, S]) of an output, computed step by step."""
    ids = run.vocabulary[0].encode(source)
    memory, state, token = run.model.start(run.params, {"source": ids[None], "source_lengths": np.array([len(ids)])})
    nats, weights = 0.0, []
    for symbol in symbols:
        state, logits, of_step = run.model.attend(run.params, memory, state, token)
        nats += float(jax.nn.log_softmax(logits)[0, symbol])
        weights.append(np.asarray(of_step)[0])
        token = np.array([symbol], np.int32)
    return nats, np.array(weights)


# translate


@pytest.mark.slow
def test_a_file_standard_input_and_line_by_line_give_the_same(finished, nowhere):
    (nowhere / "in.txt").write_text("\ufeff" + as_text(LINES))
    (nowhere / "in.txt.gz").write_bytes(gzip.compress(as_text(LINES).replace("\n", "\r\n").encode()))
    translate = ["translate", finished[0], "--max-length", 6, "--min-length", 2, "--beam", 2]
    outputs = succeeded(*translate, stdin=as_text(LINES))
    assert outputs.count("\n") == len(LINES) and [not line for line in outputs.splitlines()] == [False, True, False, True, False]
    for name in ("in.txt", "in.txt.gz"):
        assert succeeded(*translate, "--input", name) == outputs
    assert "".join(succeeded(*translate, stdin=f"{line}\n") for line in LINES) == outputs
    assert succeeded(*translate, stdin="") == ""
    assert succeeded(*translate, stdin=LINES[0]) == outputs.splitlines()[0] + "\n"


def test_the_n_best_are_numbered_scored_and_in_order(finished):
    flags = ["--beam", 4, "--n-best", 3, "--length-penalty", 0.5]
    n_best = n_best_of(succeeded("translate", finished[0], *flags, stdin=as_text(LINES)))
    assert [*n_best] == [0, 1, 2, 3, 4] and n_best[1] == n_best[3] == [("", 0.0)]
    first = succeeded("translate", finished[0], *flags[:2], *flags[4:], stdin=as_text(LINES)).splitlines()
    for n in (0, 2, 4):
        scores = [score for _, score in n_best[n]]
        assert len(scores) == 3 and scores == sorted(scores, reverse=True) and n_best[n][0][0] == first[n]


@pytest.mark.slow
def test_no_translation_of_a_line_is_given_twice(finished):
    flags = ["--n-best", 3, "--max-length", 6]
    groups = ["--beam", 6, "--groups", 3, "--diversity", 0]  # each finds the same two
    for search, count in ((groups, 2), (["--method", "sample", "--temperature", 1e-3], 1)):
        for outputs in n_best_of(succeeded("translate", finished[0], *flags, *search, stdin=as_text(LINES[::2]))).values():
            assert len({text for text, _ in outputs}) == len(outputs) == count


@pytest.mark.slow
def test_attention_by_location_knows_lines_up_to_its_places(train, nowhere):
    location = ["--model.attention", "location", "--model.places", 6, "--loop.steps", 1, "--search.beam", 1]
    assert train("run", *location).code == 0
    fits = "<fr> one two three four five"  # six symbols, in batches that are eight wide
    assert succeeded("translate", "run", stdin=f"{fits}\n").count("\n") == 1
    refused(
        command("translate", "run", stdin=f"{fits}\n{fits} six\n".encode()),
        "line 2 has 7 symbols, the model's attention by location has 6 places",
    )


def test_to_puts_the_language_before_every_line(finished):
    translated = succeeded("translate", finished[0], "--to", "de", stdin="one two\n\nnine\n")
    assert translated == succeeded("translate", finished[0], stdin="<de> one two\n\n<de> nine\n")


def test_what_is_typed_is_answered_line_by_line(finished):
    typed, flags = as_text(LINES[:3]), ["--beam", 1, "--max-length", 6]
    outcome = command("translate", finished[0], *flags, typed=typed.encode())
    answers = succeeded("translate", finished[0], *flags, stdin=typed).splitlines()
    assert (outcome.code, outcome.out.splitlines(), outcome.err.count("> ")) == (0, answers, 4)  # prompts are not on stdout
    wrong = command("translate", finished[0], *flags, typed="\u00e9\n".encode("latin-1"))
    assert (wrong.code, wrong.err.splitlines()[1:]) == (2, ["> error: the typed line is not UTF-8 text: byte 0xe9"])


def test_streamed_lines_are_answered_as_they_come(finished, monkeypatch):
    answered = []

    class Pipe(io.BytesIO):
        def readline(self, *_):
            answered.append(out.getvalue().count("\n"))
            return super().readline()

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(b"<fr> one\n<fr> two\n")))
    with contextlib.redirect_stdout(io.StringIO()) as out:
        inference.translate([str(finished[0]), "--stream", "--beam", "1", "--max-length", "2"])
    assert answered == [0, 1, 2]


def test_a_translation_does_not_depend_on_the_other_lines(finished):
    run = seqjax.load_run(finished[0])
    decoder = run.params["decoder"]
    bias = decoder["projection"]["bias"].at[run.vocabulary[1].end].set(-1e3)  # so that every output is as long as it may be
    params = run.params | {"decoder": decoder | {"projection": decoder["projection"] | {"bias": bias}}}
    translate = TextSearch(run.model, params, run.vocabulary, Search(beam=1))
    [[alone]] = translate(["<fr> one"])
    [beside], _ = translate(["<fr> one", f"<fr>{20 * ' two'}"])
    assert beside.tokens == alone.tokens and len(alone.tokens) == 24


def test_lines_unlike_those_of_training_are_counted(finished):
    lines = ["<fr> one", "", "<fr> zebra", "two", f"<de>{100 * ' two'}", "zebra"]
    outcome = command("translate", finished[0], "--beam", 1, "--max-length", 1, stdin=as_text(lines).encode())
    message = "2 of unknown symbols only, 1 longer than 100 symbols, 2 without <de> or <fr> at their beginning"
    cut = "warning: 5 of 6 outputs were cut at their limit of length, which --max-length changes\n"
    assert (outcome.code, outcome.err) == (0, f"{cut}warning: lines unlike those of training: {message}\n")
    outcome = command("translate", finished[0], "--to", "fr", "--max-length", 1, "--min-length", 1, stdin=b"one\n")
    assert "unlike" not in outcome.err


def test_any_text_can_be_printed_in_any_locale(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert command_line.run_verbs("program", {"say": lambda _: print("dreißig")}, ["say"]) == 0
    stdout.flush()
    assert stdout.buffer.getvalue() == "dreißig\n".encode()


def test_streaming_is_greedy_or_the_first_draw(finished):
    for flags in (["--beam", 1], ["--method", "sample", "--temperature", 2.0, "--seed", 3]):
        outputs = succeeded("translate", finished[0], *flags, stdin=f"{LINES[0]}\n")
        assert succeeded("translate", finished[0], *flags, "--stream", stdin=f"{LINES[0]}\n") == outputs


@pytest.mark.slow
def test_draws_go_by_the_seed_and_the_temperature(finished):
    def drawn(*flags):
        return succeeded("translate", finished[0], "--method", "sample", "--max-length", 6, *flags, stdin=f"{LINES[0]}\n")

    assert drawn("--seed", 3) == drawn("--seed", 3)
    assert len({drawn("--seed", seed, "--temperature", 3.0) for seed in range(5)}) == 5
    greedy = succeeded("translate", finished[0], "--beam", 1, "--max-length", 6, stdin=f"{LINES[0]}\n")
    assert {drawn("--top-k", 1), drawn("--top-p", 1e-6), drawn("--min-p", 1.0), drawn("--temperature", 0.0)} == {greedy}
    [several] = n_best_of(drawn("--n-best", 4, "--typical-p", 0.9)).values()
    assert [score for _, score in several] == sorted((score for _, score in several), reverse=True) and len(several) == 4


def test_minimum_bayes_risk_takes_the_draw_that_is_most_like_the_others(finished):
    flags = ["--max-length", 6, "--seed", 1, "--temperature", 2.0]
    line = f"{LINES[0]}\n"
    [draws] = n_best_of(succeeded("translate", finished[0], "--method", "sample", "--n-best", 6, *flags, stdin=line)).values()
    texts = [text for text, _ in draws]
    assert len(set(texts)) > 2
    expected = {text: np.mean([sentence_chrf(text, other) for other in texts]) for text in texts}
    [chosen] = n_best_of(
        succeeded("translate", finished[0], "--method", "mbr", "--samples", 6, "--n-best", 6, *flags, stdin=line)
    ).values()
    assert dict(chosen) == pytest.approx(expected, abs=1e-4) and len(chosen) == len(expected)
    assert [score for _, score in chosen] == pytest.approx(sorted(expected.values(), reverse=True), abs=1e-4)


@pytest.mark.slow
def test_unknown_words_are_marked_or_copied_from_where_the_model_looked(train, nowhere):
    (nowhere / "names.tsv").write_text(
        "".join(f"<{to}> name{n} is here\tje suis nom{n}\n" for n in range(9) for to in ("fr", "de"))
    )
    files = [part for name in ("train", "valid", "test") for part in (f"--data.{name}", "names.tsv")]
    flags = ["--data.min-count", 3, "--optimizer.learning-rate", 0.05, "--optimizer.warmup-steps", 0, "--loop.steps", 12]
    outcome = train("run", *files, *flags, "--loop.eval-every", 12, "--search.unknown", "copy", "--search.beam", 1)
    assert outcome.code == 0, outcome.err
    line = "<fr> Zoë   was here"
    marked = succeeded("translate", "run", "--beam", 1, stdin=f"{line}\n").removesuffix("\n")
    assert "<unk>" in marked
    run = seqjax.load_run("run")
    symbols = [
        run.vocabulary[1].unknown if word == "<unk>" else int(run.vocabulary[1].encode(word)[0]) for word in marked.split()
    ]
    _, weights = read_by_hand(run, line, symbols)
    words, before = [], None
    for word, looked in zip(marked.split(), weights.argmax(axis=1), strict=True):
        copied = int(looked) if word == "<unk>" else None
        if copied is None or copied != before:
            words.append(word if copied is None else line.split()[copied])
        before = copied
    assert succeeded("translate", "run", "--beam", 1, "--unknown", "copy", stdin=f"{line}\n") == " ".join(words) + "\n"
    assert json.loads((nowhere / "run" / "config.json").read_text())["config"]["search"]["unknown"] == "copy"


# evaluate


def test_evaluate_writes_its_own_files_and_leaves_the_rest(finished, files, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    before, results = contents(tmp_path / "run"), results_of(tmp_path / "run")
    out = succeeded("evaluate", tmp_path / "run", *LIKE_TRAINING, "--n-best", 2)
    name = f"eval-test-{results['data_sha256'][:8]}"
    assert out.splitlines()[-1] == str(tmp_path / "run" / f"{name}.json")
    figures = evaluation_of(tmp_path / "run", "test")
    measured = [name for name in results if name.startswith("test_")]
    alone = [map(float, line.split()) for line in succeeded("score", finished[0], "--data.test", files / "test.tsv").splitlines()]
    nats, symbols = map(sum, zip(*alone, strict=True))
    assert figures["test_loss"] == pytest.approx(-nats / symbols, abs=1e-4)
    assert {name: figures[name] for name in measured} == pytest.approx(
        {name: results[name] for name in measured}, rel=1e-6, abs=1e-6
    )
    assert (figures["checkpoint"], figures["search_beam"], figures["bleu_signature"]) == ("best", 2, results["bleu_signature"])
    after = contents(tmp_path / "run")
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {f"{name}.json", f"{name}.txt", f"{name}.nbest"}

    sources = [line.split("\t")[0] for line in (files / "test.tsv").read_text().splitlines()]
    assert (tmp_path / "run" / f"{name}.txt").read_text() == succeeded(
        "translate", finished[0], *LIKE_TRAINING, stdin=as_text(sources)
    )
    n_best = n_best_of((tmp_path / "run" / f"{name}.nbest").read_text())
    assert n_best == n_best_of(succeeded("translate", finished[0], *LIKE_TRAINING, "--n-best", 2, stdin=as_text(sources)))


def test_evaluate_measures_other_pairs_and_other_weights(finished, files, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    flags = [*LIKE_TRAINING, "--data.test", files / "test.tsv"]
    succeeded("evaluate", tmp_path / "run", *flags, "--name", "mine")
    mine = evaluation_of(tmp_path / "run", "mine")
    assert mine["test_loss"] == pytest.approx(results_of(finished[0])["test_loss"], abs=1e-6)
    assert {name: mine[name] for name in mine if name.startswith("data_")}.keys() == {"data_source", "data_pairs", "data_sha256"}
    assert (mine["data_source"], mine["data_pairs"]) == (str(files / "test.tsv"), 8)
    succeeded("evaluate", tmp_path / "run", *flags, "--checkpoint", "last")
    last = evaluation_of(tmp_path / "run", "test-last")
    assert last["checkpoint"] == "last" and abs(last["test_loss"] - mine["test_loss"]) > 1e-3


def test_files_that_have_changed_are_reported_and_a_run_is_not_resumed_with_them(finished, files, nowhere):
    shutil.copytree(finished[0], "run")
    for name in ("train.tsv", "valid.tsv", "test.tsv"):
        shutil.copy(files / name, name)
    folder = RunFolder("run")
    folder.write_config(json.loads(json.dumps(folder.read_config()).replace(f"{files}/", f"{nowhere}/")))
    assert "warning" not in command("evaluate", "run", *LIKE_TRAINING).err
    with open("test.tsv", "a") as file:
        file.write("<fr> one\tun\n")
    outcome = command("evaluate", "run", *LIKE_TRAINING)
    message = f"warning: {nowhere / 'test.tsv'} (test) has changed since run was trained: the figures are of other data"
    assert outcome.code == 0 and outcome.err.splitlines()[0] == message
    assert "warning" not in command("evaluate", "run", *LIKE_TRAINING, "--split", "valid").err
    shutil.copy("test.tsv", "train.tsv")
    before = contents(nowhere)
    message = f"error: {nowhere / 'train.tsv'} {nowhere / 'test.tsv'} (train, test) is not what run was started with"
    refused(command("train", "--resume", "run", "--loop.steps", 6), f"{message}: restore it to continue, or start a new run")
    refused(command("train", "--resume", "run", "--data.train", "other.tsv"), "other.tsv does not exist")
    assert contents(nowhere) == before


# score


@pytest.mark.slow
def test_score_is_the_log_probability_of_each_pair(finished, nowhere):
    run = seqjax.load_run(finished[0])
    pairs = [("<fr> one two", "deux un"), ("<de> nine", ""), ("", "eins"), ("<de> six five three", "acht acht acht acht")]
    (nowhere / "a").write_text(as_text(source for source, _ in pairs))
    (nowhere / "b").write_text(as_text(target for _, target in pairs))
    rows = [line.split("\t") for line in succeeded("score", finished[0], "--data.test", "a", "b").splitlines()]
    assert [int(length) for _, length in rows] == [3, 1, 2, 5]  # the end included
    for (source, target), (nats, _) in zip(pairs, rows, strict=True):
        symbols = [*run.vocabulary[1].encode(target).tolist(), run.vocabulary[1].end]
        if source:
            assert float(nats) == pytest.approx(read_by_hand(run, source, symbols)[0], abs=2e-4)


def test_a_line_is_scored_alone_as_among_others(finished, nowhere):
    rows = [f"<fr> {n}\tun\n" for n in range(99)]
    held_out = next(row for row in rows if hashed_split(row.split("\t")[0], (0.9, 0, 0.1)) == "test")
    for name, held in (("one.tsv", [held_out]), ("both.tsv", ["\t\n", held_out])):
        (nowhere / name).write_text("".join(held))
    alone, both = (succeeded("score", finished[0], "--data.test", name).splitlines() for name in ("one.tsv", "both.tsv"))
    assert alone == both[1:] and len(both) == 2


def test_the_score_of_a_translation_is_the_search_s_own(finished, nowhere):
    n_best = n_best_of(
        succeeded("translate", finished[0], "--beam", 5, "--n-best", 5, "--length-penalty", 0, stdin=f"{LINES[0]}\n")
    )
    (nowhere / "pairs.tsv").write_text("".join(f"{LINES[0]}\t{text}\n" for text, _ in n_best[0] if text))
    scored = [float(line.split("\t")[0]) for line in succeeded("score", finished[0], "--data.test", "pairs.tsv").splitlines()]
    assert scored == pytest.approx([score for text, score in n_best[0] if text], abs=2e-4) and len(scored) > 2


# attention


def size_of(png):
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">II", png[16:24])


@pytest.mark.slow
def test_attention_draws_the_weights_of_every_symbol_written(finished, nowhere, monkeypatch):
    drawn, draw = [], inference.heat_map
    monkeypatch.setattr(inference, "heat_map", lambda *args, **more: drawn.append(args) or draw(*args, **more))
    run, source = seqjax.load_run(finished[0]), "<de> six five three one"
    out = succeeded("attention", finished[0], "--source", source, "--target", "eins drei", "--out", "pair.png")
    assert out == "eins drei\npair.png\n"
    [(weights, read, written, _)] = drawn
    assert (read, written) == (source.split(), ["eins", "drei", "end"])
    symbols = [*run.vocabulary[1].encode("eins drei").tolist(), run.vocabulary[1].end]
    np.testing.assert_allclose(weights, read_by_hand(run, source, symbols)[1], atol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)

    out = succeeded("attention", finished[0], "--source", "<de> six", *LIKE_TRAINING)
    assert out == succeeded("translate", finished[0], *LIKE_TRAINING, stdin="<de> six\n") + "attention.png\n"
    (wide, _), (narrow, _) = (size_of((nowhere / name).read_bytes()) for name in ("pair.png", "attention.png"))
    assert len(drawn[1][1]) == 2 and wide > narrow > 100


# Several weights as one.


def test_the_average_is_the_mean_of_the_last_checkpoints(finished, nowhere):
    shapes = jax.eval_shape(seqjax.load_run(finished[0]).model.init, jax.random.key(0))
    with Checkpoints(RunFolder(finished[0]).checkpoints, read_only=True) as checkpoints:
        assert checkpoints.steps("last") == [2, 4]
        last = checkpoints.params(shapes, "last")
    best = seqjax.load_run(finished[0]).params  # of step 2
    average = Weights(dir=str(finished[0]), average=2).load(Seq2Seq, vocabularies=2)
    for mean, *leaves in zip(*map(jax.tree.leaves, (average.params, last, best)), strict=True):
        np.testing.assert_allclose(mean, (leaves[0] + np.asarray(leaves[1])) / 2, atol=1e-6)
    averaged = succeeded("translate", finished[0], "--average", 2, "--n-best", 2, stdin=f"{LINES[0]}\n")
    assert averaged != succeeded("translate", finished[0], "--n-best", 2, stdin=f"{LINES[0]}\n")


@pytest.mark.slow
@pytest.mark.parametrize("averaging", ["probability", "log"])
def test_an_ensemble_of_equal_runs_is_the_run(averaging, finished, files, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    ensemble = ["--ensemble", tmp_path / "run", "--averaging", averaging]
    flags = [tmp_path / "run", "--beam", 3, "--n-best", 3]
    one = n_best_of(succeeded("translate", *flags, stdin=as_text(LINES)))
    two = n_best_of(succeeded("translate", *flags, *ensemble, stdin=as_text(LINES)))
    assert {n: [text for text, _ in best] for n, best in one.items()} == {
        n: [text for text, _ in best] for n, best in two.items()
    }
    assert [s for best in one.values() for _, s in best] == pytest.approx([s for best in two.values() for _, s in best], abs=2e-4)
    if averaging == "log":
        return
    alone = succeeded("score", tmp_path / "run", "--data.test", files / "test.tsv")
    assert succeeded("score", tmp_path / "run", "--data.test", files / "test.tsv", *ensemble) == alone
    succeeded("evaluate", tmp_path / "run", *LIKE_TRAINING, *ensemble)
    figures = evaluation_of(tmp_path / "run", "test-ensemble2")
    nats, symbols = zip(*(map(float, line.split("\t")) for line in alone.splitlines()), strict=True)
    assert figures["test_loss"] == pytest.approx(-sum(nats) / sum(symbols), abs=1e-4)
    assert figures["test_chrf"] == results_of(finished[0])["test_chrf"] and figures["ensemble"] == [str(tmp_path / "run")]
