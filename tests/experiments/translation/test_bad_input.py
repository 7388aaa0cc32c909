"""Every wrong input of the translation command: one readable line, exit code 2, nothing written, nothing touched."""

import json
import shutil

import pytest

from tests.experiments.conftest import contents, refused
from tests.experiments.translation.conftest import PACE, SIZES, command, lines


@pytest.fixture
def here(nowhere, finished, without_attention):
    """A folder to stand in, with good pairs and bad ones."""
    (nowhere / "good.tsv").write_text("".join(lines(20)))
    (nowhere / "empty.tsv").write_text("")
    (nowhere / "blank.tsv").write_text("\t\n\n" * 5)
    (nowhere / "columns.tsv").write_text("one\tun\ntwo\nthree\ttrois\n")
    (nowhere / "latin.tsv").write_bytes("one\tun\nnine\té\n".encode("latin-1"))
    (nowhere / "broken.tsv.gz").write_bytes(b"no gzip")
    (nowhere / "a.en").write_text("one\nfive\ntwo two\nnine nine nine nine nine\nseven seven\n")
    (nowhere / "a.fr").write_text("un\ncinq\nneuf neuf neuf neuf neuf\nsept sept\n")
    (nowhere / "kept").mkdir()
    (nowhere / "kept" / "notes.txt").write_text("mine")
    return nowhere


@pytest.fixture(scope="session")
def without_attention(tmp_path_factory, train):
    """The folder of a run of another model, with another vocabulary."""
    folder = tmp_path_factory.mktemp("runs") / "plain"
    outcome = train(folder, "--model.attention", "none", "--data.vocabulary-size", 12, "--loop.steps", 1, "--search.beam", 1)
    assert outcome.code == 0, outcome.err
    return folder


GOOD = ["--data.train", "good.tsv"]
TRAIN = {
    "missing file": (["--data.train", "missing.tsv"], ["missing.tsv does not exist"]),
    "empty file": (["--data.train", "empty.tsv"], ["empty.tsv: the train split is empty"]),
    "nothing but empty lines": (["--data.train", "blank.tsv"], ["blank.tsv: the train split is empty"]),
    "no tab": (["--data.train", "columns.tsv"], ["columns.tsv has 1 column in line 2", "a source, a tab and a target"]),
    "files of different line counts": (
        ["--data.train", "a.en", "a.fr"],
        ["a.en has 5 lines and a.fr has 4", "their lines diverge at line 3"],
    ),
    "text that is not UTF-8": (["--data.train", "latin.tsv"], ["latin.tsv is not UTF-8 text", "0xe9", "line 2"]),
    "a damaged archive": (["--data.train", "broken.tsv.gz"], ["broken.tsv.gz cannot be unpacked"]),
    "three files": (["--data.train", "a.en", "a.fr", "a.de"], ["data.train names 3 files"]),
    "one file and two": ([*GOOD, "--data.test", "a.en", "a.fr"], ["data.test names 2 files, data.train 1"]),
    "a test alone": (["--data.test", "good.tsv"], ["without data.train"]),
    "files and a data set": ([*GOOD, "--data.tfds", "x/y"], ["data.tfds x/y and files are both given"]),
    "all too long": ([*GOOD, "--data.max-length", 2, "--data.units", "character"], ["no pair to encode", "longer than 2"]),
    "cut to nothing": ([*GOOD, "--data.max-length", 1], ["max_length is 1", "at least 2"]),
    "a vocabulary that does not hold the letters": (
        [*GOOD, "--data.units", "bpe", "--data.vocabulary-size", 5],
        ["--data.vocabulary-size is 5"],
    ),
    "all words too rare": ([*GOOD, "--data.min-count", 999], ["--data.min-count 999", "loosen"]),
    "joint vocabulary of two kinds": (
        [*GOOD, "--data.joint", "--data.target-units", "line"],
        ["joint", "word and line", "--data.no-joint"],
    ),
    "unknown units": ([*GOOD, "--data.units", "syllable"], ["syllable", "bpe", "character"]),
    "no rows": ([*GOOD, "--data.batch-size", 0], ["batch size 0", "at least 1"]),
    "no beam": ([*GOOD, "--search.beam", 0], ["beam is 0, it must be at least 1"]),
    "groups that do not divide the beam": (
        [*GOOD, "--search.beam", 5, "--search.groups", 2],
        ["beam is 5", "multiple of groups, 2"],
    ),
    "groups of one beam": ([*GOOD, "--search.beam", 1, "--search.groups", 3], ["beam is 1", "multiple of groups, 3"]),
    "a penalty of one beam": ([*GOOD, "--search.beam", 1, "--search.length-penalty", -1], ["length_penalty is -1"]),
    "a negative penalty": ([*GOOD, "--search.length-penalty", -1], ["length_penalty is -1", "at least 0"]),
    "coverage without attention": (
        [*GOOD, "--model.attention", "none", "--search.coverage-penalty", 0.2],
        ["coverage_penalty 0.2 needs attention"],
    ),
    "copying without attention": (
        [*GOOD, "--model.attention", "none", "--search.unknown", "copy"],
        ["unknown is copy", "no attention"],
    ),
    "heads without attention": (
        [*GOOD, "--model.attention", "none", "--model.heads", 2],
        ["model.heads", "model.attention is none"],
    ),
    "heads of additive attention": ([*GOOD, "--model.heads", 2], ["model.heads is 2", "model.attention is additive"]),
    "heads that do not divide": ([*GOOD, "--model.attention", "dot", "--model.heads", 3], ["heads", "3"]),
    "a window of several heads": (
        [*GOOD, "--model.attention", "dot", "--model.heads", 2, "--model.window", 1],
        ["Local needs an attention that gives scores", "MultiHead"],
    ),
    "coverage of dot attention": ([*GOOD, "--model.attention", "general", "--model.coverage"], ["coverage is for additive"]),
    "dot of other sizes": ([*GOOD, "--model.attention", "dot"], ["8 units", "16 features", "model.merge sum"]),
    "places that a source has not": (
        [*GOOD, "--model.attention", "location", "--model.places", 2, "--data.units", "character"],
        ["places", "max_length=2"],
    ),
    "a bridge between unlike states": ([*GOOD, "--model.bridge", "final"], ['bridge="final"', "they must be equal"]),
    "no layers": ([*GOOD, "--model.decoder-layers", 0], ["model.decoder_layers is 0"]),
    "one embedding for two vocabularies": (
        [*GOOD, "--model.tied", "all", "--data.vocabulary-size", 12],  # of each: they differ, though their sizes do not
        ["model.tied all needs one vocabulary", "--data.joint"],
    ),
    "a schedule over nothing": (
        [*GOOD, "--scheduled-sampling.decay", "linear", "--scheduled-sampling.over", 0],
        ["scheduled_sampling.over is 0"],
    ),
    "nothing to monitor": ([*GOOD, "--monitor-pairs", 0], ["monitor_pairs is 0, it must be at least 1"]),
    "no checkpoint kept": ([*GOOD, "--keep", 0], ["keep is 0, it must be at least 1"]),
    "unknown monitor": ([*GOOD, "--monitor", "meteor"], ["meteor", "bleu", "exact_match"]),
    "no steps": ([*GOOD, "--loop.steps", 0], ["loop.steps is 0"]),
    "run folder that exists": ([*GOOD, "--run.dir", "kept"], ["kept exists"]),
    "resume of nothing": (["--resume", "kept"], ["nothing to resume", "kept"]),
    "weights of nothing": ([*GOOD, "--init-from", "kept"], ["kept is no run folder"]),
    "weights of another vocabulary": ([*GOOD, "--init-from", "PLAIN"], ["its vocabulary is not this text's"]),
    "another vocabulary": (
        ["--resume", "RUN", "--data.vocabulary-size", 12],
        ["cannot go on with another data.vocabulary_size", "120", "12"],
    ),
    "another model": (["--resume", "RUN", "--model.hidden-size", 9], ["model.hidden_size", "8", "9"]),
    "no draws": ([*GOOD, "--search.method", "mbr", "--search.samples", 0], ["samples is 0"]),
    "a temperature below 0": ([*GOOD, "--search.method", "sample", "--search.temperature", -1], ["temperature is -1.0"]),
    "options of draws without draws": (
        [*GOOD, "--search.top-k", 3],
        ["top_k is 3 and does nothing under method beam", "give method sample or mbr"],
    ),
    "a seed of 67 bits": ([*GOOD, "--seed", 10**20], ["seed is 1000", "from 0 to 9223372036854775807"]),
    "unknown preset": ([*GOOD, "--preset", "huge"], ["unknown preset 'huge'", "tiny, multi30k"]),
}


def placed(arguments, finished, without_attention):
    return [{"RUN": finished[0], "PLAIN": without_attention}.get(part, part) for part in arguments]


def untouched(here, *runs):
    return [contents(folder) for folder in (here, *runs)]


@pytest.mark.parametrize("case", TRAIN)
def test_train_refuses(case, here, finished, without_attention):
    flags, told = TRAIN[case]
    before = untouched(here, finished[0], without_attention)
    settings = [] if "--resume" in flags else [*SIZES, *PACE]
    refused(command("train", *settings, *placed(flags, finished, without_attention)), *told)
    assert untouched(here, finished[0], without_attention) == before
    assert not (here / "runs").exists()


LATIN = "one\nnine é\n".encode("latin-1")
OTHERS = {
    "unknown verb": (["paint"], ["unknown verb 'paint'", "train, translate, evaluate, score, attention"]),
    "no run": (["translate", "missing"], ["missing is no run folder"]),
    "no file": (["translate", "RUN", "--input", "missing.txt"], ["missing.txt does not exist"]),
    "a file that is not UTF-8": (["translate", "RUN", "--input", "latin.tsv"], ["latin.tsv is not UTF-8 text", "line 2"]),
    "standard input that is not UTF-8": (["translate", "RUN"], ["standard input is not UTF-8 text: byte 0xe9 in line 2"]),
    "no beam": (["translate", "RUN", "--beam", 0], ["beam is 0, it must be at least 1"]),
    "a negative beam": (["translate", "RUN", "--beam", -3], ["beam is -3"]),
    "groups that do not divide the beam": (
        ["translate", "RUN", "--beam", 4, "--groups", 3],
        ["beam is 4", "multiple of groups, 3"],
    ),
    "groups of one beam": (["translate", "RUN", "--beam", 1, "--groups", 3], ["beam is 1", "multiple of groups, 3"]),
    "options of draws without draws": (
        ["translate", "RUN", "--temperature", 0.5],
        ["temperature is 0.5 and does nothing under method beam: give method sample or mbr"],
    ),
    "draws of no choice": (["evaluate", "RUN", "--method", "sample", "--samples", 4], ["samples is 4", "give method mbr"]),
    "a seed of 67 bits": (["translate", "RUN", "--method", "sample", "--seed", 10**20], ["seed is 1000", "from 0 to"]),
    "an argument that is not UTF-8": (["translate", "RUN", "--to", "caf\udce9"], [r"the argument 'caf\udce9' is not UTF-8"]),
    "more of the best than beams": (["translate", "RUN", "--beam", 2, "--n-best", 3], ["n_best is 3 and beam 2"]),
    "none of the best": (["translate", "RUN", "--n-best", 0], ["n_best is 0"]),
    "no room": (["translate", "RUN", "--max-length", 0], ["max_length is 0"]),
    "longer than the room": (
        ["translate", "RUN", "--max-length", 3, "--min-length", 4],
        ["min_length is 4", "at most max_length, 3"],
    ),
    "a language it does not know": (["translate", "RUN", "--to", "it"], ["--to it", "has no <it>"]),
    "attention of a model without": (["attention", "PLAIN", "--source", "one"], ["this model has no attention"]),
    "copying without attention": (["translate", "PLAIN", "--unknown", "copy"], ["unknown is copy", "no attention"]),
    "coverage without attention": (["translate", "PLAIN", "--coverage-penalty", 1], ["coverage_penalty 1.0 needs attention"]),
    "attention to nothing": (["attention", "RUN", "--source", "  "], ["the source is empty"]),
    "a picture in no folder": (["attention", "RUN", "--source", "<fr> one", "--out", "no/a.png"], ["no/a.png"]),
    "an ensemble of other symbols": (["translate", "RUN", "--ensemble", "PLAIN"], ["its vocabularies are not those"]),
    "more checkpoints than there are": (["translate", "RUN", "--average", 3], ["keeps 2 checkpoints", "an average of 3"]),
    "an average of none": (["translate", "RUN", "--average", 0], ["an average of 0"]),
    "streaming of beams": (["translate", "RUN", "--stream"], ["method beam of width 5", "give method greedy or sample"]),
    "streaming with a penalty": (
        ["translate", "RUN", "--stream", "--beam", 1, "--coverage-penalty", 1],
        ["method beam of width 1 with a coverage_penalty"],
    ),
    "streaming of many": (["translate", "RUN", "--stream", "--beam", 1, "--n-best", 2], ["n_best is 2"]),
    "nothing to score": (["score", "RUN"], ["nothing to score", "--pairs"]),
    "scores of uneven files": (["score", "RUN", "--pairs", "a.en", "a.fr"], ["a.en has 5 lines and a.fr has 4"]),
    "pairs of three files": (["evaluate", "RUN", "--pairs", "a.en", "a.fr", "a.de"], ["--pairs names 3 files: give two"]),
    "no pair to score": (["score", "RUN", "--pairs", "empty.tsv"], ["--pairs empty.tsv: there is no pair in it"]),
    "a folder of pairs": (["score", "RUN", "--pairs", "kept"], ["kept is a folder: give a UTF-8 text file"]),
    "pairs without a tab": (["evaluate", "RUN", "--pairs", "columns.tsv"], ["columns.tsv has 1 column in line 2"]),
    "a name in another folder": (["evaluate", "RUN", "--name", "../../x"], ["--name ../../x is no plain file name"]),
    "an unknown split": (["evaluate", "RUN", "--split", "dev"], ["dev", "train", "valid", "test"]),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_verbs_refuse(case, here, finished, without_attention):
    arguments, told = OTHERS[case]
    before = untouched(here, finished[0], without_attention)
    refused(command(*placed(arguments, finished, without_attention), stdin=LATIN), *told)
    assert untouched(here, finished[0], without_attention) == before


def test_vocabularies_that_are_not_the_model_s_are_refused(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    config["vocabulary"][0]["words"].pop()
    path.write_text(json.dumps(config))
    told = "its vocabularies have [14, 22] symbols, its model [15, 22]"
    refused(command("translate", tmp_path / "run", stdin=b"<fr> one\n"), f"{tmp_path / 'run'}: {told}")


def test_a_beam_wider_than_the_vocabulary_finds_what_there_is(finished):
    outcome = command("translate", finished[0], "--beam", 40, "--n-best", 40, "--max-length", 1, stdin=b"<fr> one\n")
    assert outcome.code == 0, outcome.err
    found = [line.split(" ||| ") for line in outcome.out.splitlines()]
    assert len({text for _, text, _ in found}) == len(found) == 20  # of 22 symbols two, pad and start, are never written
    assert all(float(score) > -100 for _, _, score in found)


def test_in_a_fresh_process_too(as_user, tmp_path):
    done = as_user("-m", "experiments.translation", "train", "--data.train", "missing.tsv", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: missing.tsv does not exist: give a UTF-8 text file\n")
    assert not list(tmp_path.iterdir())
