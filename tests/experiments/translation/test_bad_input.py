"""Every wrong input of the translation command: one readable line, exit code 2, nothing written, nothing touched."""

import shutil

import jax
import pytest

from experiments.groups import ScheduledSampling
from experiments.translation.config import Config, Data, Network, build_model
from experiments.translation.text import load_pairs
from seqjax.data.text.characters import CharacterVocabulary
from seqjax.decode import Search
from seqjax.errors import InputError
from seqjax.train import RunFolder
from tests.experiments.conftest import contents, refused
from tests.experiments.translation.conftest import PACE, SIZES, command, lines


@pytest.fixture
def here(pairs_folder, finished, without_attention):
    """The current folder, once the runs exist."""
    return pairs_folder


@pytest.fixture
def pairs_folder(nowhere):
    """The current folder, with good pairs and bad ones."""
    (nowhere / "good.tsv").write_text("".join(lines(20)))
    (nowhere / "empty.tsv").write_text("")
    (nowhere / "blank.tsv").write_text("\t\n\n" * 5)
    (nowhere / "columns.tsv").write_text("one\tun\ntwo\nthree\ttrois\n")
    (nowhere / "three.tsv").write_text("one\tun\tCC-BY\ntwo\tdeux\tCC-BY\n")
    (nowhere / "titles.tsv").write_text("English\tFrench\none\tun\n")
    (nowhere / "latin.tsv").write_bytes("one\tun\nnine\té\n".encode("latin-1"))
    (nowhere / "broken.tsv.gz").write_bytes(b"no gzip")
    (nowhere / "a.en").write_text("one\nfive\ntwo two\nnine nine nine nine nine\nseven seven\n")
    (nowhere / "a.fr").write_text("un\ncinq\nneuf neuf neuf neuf neuf\nsept sept\n")
    (nowhere / "kept").mkdir()
    (nowhere / "kept" / "notes.txt").write_text("mine")
    return nowhere


@pytest.fixture(scope="session")
def without_attention(run_once, train):
    """The folder of a run of another model, with another vocabulary."""
    flags = ["--model.attention", "none", "--data.vocabulary-size", 12, "--loop.steps", 1, "--search.beam", 1]
    return run_once("translation_without_attention", lambda folder: train(folder, *flags))[0]


GOOD = ["--data.train", "good.tsv"]
TRAIN = {  # one of each kind of message goes through the command
    "missing file": (["--data.train", "missing.tsv"], ["missing.tsv does not exist"]),
    "files of different line counts": (
        ["--data.train", "a.en", "a.fr"],
        ["a.en has 5 lines and a.fr has 4", "their lines diverge at line 3"],
    ),
    "a vocabulary that does not hold the letters": (
        [*GOOD, "--data.units", "bpe", "--data.vocabulary-size", 5],
        ["--data.vocabulary-size is 5"],
    ),
    "all words too rare": ([*GOOD, "--data.min-count", 999], ["--data.min-count 999", "loosen"]),
    "a third column": (
        ["--data.train", "three.tsv"],
        ["three.tsv has 3 columns in line 1", "choose two with --data.columns 1 2"],
    ),
    "a row of titles": (["--data.train", "titles.tsv"], ["titles of columns (English, French)", "--data.header skip"]),
    "words that BLEU does not know": ([*GOOD, "--data.bleu-tokenize", "th"], ["th", "13a", "zh", "char"]),
    "a single column": ([*GOOD, "--data.columns", "1"], ["columns"]),
    "unknown units": ([*GOOD, "--data.units", "syllable"], ["syllable", "bpe", "character"]),
    "no rows": ([*GOOD, "--data.batch-size", 0], ["--data.batch-size is 0"]),
    "no beam": ([*GOOD, "--search.beam", 0], ["beam is 0, it must be at least 1"]),
    "coverage without attention": (
        [*GOOD, "--model.attention", "none", "--search.coverage-penalty", 0.2],
        ["--search.coverage-penalty 0.2 needs attention"],
    ),
    "places that a source has not": (
        [*GOOD, "--model.attention", "location", "--model.places", 2, "--data.units", "character"],
        ["places", "max_length=2"],
    ),
    "one embedding for two vocabularies": (
        [*GOOD, "--model.tied", "all", "--data.vocabulary-size", 12],  # of each: they differ, though their sizes do not
        ["model.tied all needs one vocabulary", "--data.joint"],
    ),
    "unknown monitor": ([*GOOD, "--monitor", "meteor"], ["meteor", "bleu", "exact_match"]),
    "run folder that exists": ([*GOOD, "--run.dir", "kept"], ["kept exists"]),
    "weights of another vocabulary": ([*GOOD, "--init-from", "PLAIN"], ["its vocabulary is not that of these data"]),
    "another vocabulary": (
        ["--resume", "RUN", "--data.vocabulary-size", 12],
        ["cannot continue with another --data.vocabulary-size", "120", "12"],
    ),
    "another model": (["--resume", "RUN", "--model.hidden-size", 9], ["--model.hidden-size", "8", "9"]),
    "a seed of 67 bits": ([*GOOD, "--seed", 10**20], ["seed is 1000", "from 0 to 9223372036854775807"]),
}


def read(**fields):
    return load_pairs(Data(**({"train": ("good.tsv",), "units": "word", "joint": False} | fields)))


def build(**fields):
    sizes = {"hidden_size": 8, "embedding_size": 4}
    return build_model(Network(**(sizes | fields)), "token", *2 * [CharacterVocabulary.from_text("one two")])


CONFIGS = {  # the others are raised by the same functions that the command calls
    "empty file": (lambda: read(train=("empty.tsv",)), "empty.tsv: the train split is empty"),
    "nothing but empty lines": (lambda: read(train=("blank.tsv",)), "blank.tsv: the train split is empty"),
    "no tab": (lambda: read(train=("columns.tsv",)), "columns.tsv has 1 column in line 2.*a source, a tab and a target"),
    "text that is not UTF-8": (lambda: read(train=("latin.tsv",)), "latin.tsv is not UTF-8 text.*0xe9.*line 2"),
    "a damaged archive": (lambda: read(train=("broken.tsv.gz",)), "broken.tsv.gz cannot be unpacked"),
    "three files": (lambda: read(train=("a.en", "a.fr", "a.de")), "data.train names 3 files"),
    "one file and two": (lambda: read(test=("a.en", "a.fr")), "data.test names 2 files, data.train 1"),
    "a test alone": (lambda: read(train=(), test=("good.tsv",)), "without data.train"),
    "files and a data set": (lambda: read(tfds="x/y"), "data.tfds x/y and files are both given"),
    "all too long": (lambda: read(max_length=2, units="character"), "no pair to encode.*longer than 2"),
    "no share for validation": (lambda: read(split=(1, 0, 0)), "the valid split is empty .*or other shares .split 0.6 0.2 0.2"),
    "columns that there are not": (lambda: read(columns=("1", "3")), "good.tsv has 2 columns in line 1, too few for columns 1 3"),
    "a coverage of words": (lambda: read(character_coverage=0.99), "--data.character-coverage is for sub-words, not for word"),
    "no length": (lambda: read(max_length=0), "max_length is 0.*at least 2"),
    "cut to nothing": (lambda: read(max_length=1), "max_length is 1.*at least 2"),
    "joint vocabulary of two kinds": (lambda: read(joint=True, target_units="line"), "joint.*word and line.*--data.no-joint"),
    "heads without attention": (lambda: build(attention="none", heads=2), "model.heads.*model.attention is none"),
    "heads of additive attention": (lambda: build(heads=2), "model.heads is 2.*model.attention is additive"),
    "heads that do not divide": (lambda: build(attention="dot", heads=3), "heads.*3"),
    "a window of several heads": (
        lambda: build(attention="dot", heads=2, window=1),
        "Local needs an attention that gives scores.*MultiHead",
    ),
    "coverage of dot attention": (lambda: build(attention="general", coverage=True), "coverage needs additive"),
    "dot of other sizes": (lambda: build(attention="dot"), "8 units.*16 features.*model.merge sum"),
    "a bridge between unlike states": (
        lambda: jax.eval_shape(build(bridge="final").init, jax.random.key(0)),
        'bridge="final".*they must be equal',
    ),
    "no layers": (lambda: Config(model=Network(decoder_layers=0)), "model.decoder_layers is 0"),
    "a schedule over nothing": (lambda: Config(scheduled_sampling=ScheduledSampling(over=0.0)), "scheduled_sampling.over is 0"),
    "nothing to monitor": (lambda: Config(monitor_pairs=0), "monitor_pairs is 0, it must be from 1 to"),
    "no checkpoint kept": (lambda: Config(keep=0), "keep is 0, it must be from 1 to"),
    "options of draws without draws": (lambda: Search(top_k=3), "top_k is 3 and does nothing under method beam"),
    "groups that do not divide the beam": (lambda: Search(beam=5, groups=2), "beam is 5.*multiple of groups, 2"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_is_refused_before_anything_is_written(case, pairs_folder):
    make, message = CONFIGS[case]
    before = contents(pairs_folder)
    with pytest.raises(InputError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
    assert contents(pairs_folder) == before


def placed(arguments, finished, without_attention):
    return [{"RUN": finished[0], "PLAIN": without_attention}.get(part, part) for part in arguments]


def untouched(here, *runs):
    return [contents(folder) for folder in (here, *runs)]


@pytest.mark.parametrize("case", TRAIN)
def test_train_refuses(case, here, finished, without_attention):
    flags, messages = TRAIN[case]
    before = untouched(here, finished[0], without_attention)
    settings = [] if "--resume" in flags else [*SIZES, *PACE]
    refused(command("train", *settings, *placed(flags, finished, without_attention)), *messages)
    assert untouched(here, finished[0], without_attention) == before
    assert not (here / "runs").exists()


LATIN = "one\nnine é\n".encode("latin-1")
OTHERS = {
    "unknown verb": (["paint"], ["unknown verb 'paint'", "train, translate, evaluate, score, attention"]),
    "no run": (["translate", "missing"], ["missing is not a run folder"]),
    "no file": (["translate", "RUN", "--input", "missing.txt"], ["missing.txt does not exist"]),
    "a file that is not UTF-8": (["translate", "RUN", "--input", "latin.tsv"], ["latin.tsv is not UTF-8 text", "line 2"]),
    "standard input that is not UTF-8": (["translate", "RUN"], ["standard input is not UTF-8 text: byte 0xe9 in line 2"]),
    "options of draws without draws": (
        ["translate", "RUN", "--temperature", 0.5],
        ["temperature is 0.5 and does nothing under method beam: give method sample or mbr"],
    ),
    "an argument that is not UTF-8": (["translate", "RUN", "--to", "caf\udce9"], [r"the argument 'caf\udce9' is not UTF-8"]),
    "more of the best than beams": (["translate", "RUN", "--beam", 2, "--n-best", 3], ["--n-best is 3 and beam 2"]),
    "a language it does not know": (["translate", "RUN", "--to", "it"], ["--to it", "has no <it>"]),
    "attention of a model without": (["attention", "PLAIN", "--source", "one"], ["this model has no attention"]),
    "copying without attention": (["translate", "PLAIN", "--unknown", "copy"], ["unknown is copy", "no attention"]),
    "attention to nothing": (["attention", "RUN", "--source", "  "], ["the source is empty"]),
    "a picture in no folder": (["attention", "RUN", "--source", "<fr> one", "--out", "no/a.png"], ["no/a.png"]),
    "an ensemble of other symbols": (["translate", "RUN", "--ensemble", "PLAIN"], ["its vocabularies are not those"]),
    "more checkpoints than there are": (["translate", "RUN", "--average", 3], ["keeps 2 checkpoints", "an average of 3"]),
    "streaming of beams": (["translate", "RUN", "--stream"], ["method beam of width 5", "give method greedy or sample"]),
    "streaming of many": (["translate", "RUN", "--stream", "--beam", 1, "--n-best", 2], ["--n-best is 2"]),
    "scores of uneven files": (["score", "RUN", "--data.test", "a.en", "a.fr"], ["a.en has 5 lines and a.fr has 4"]),
    "pairs of three files": (["evaluate", "RUN", "--data.test", "a.en", "a.fr", "a.de"], ["data.test names 3 files: give two"]),
    "no pair to score": (["score", "RUN", "--data.test", "empty.tsv"], ["--data.test empty.tsv: there is no pair in it"]),
    "a folder of pairs": (["score", "RUN", "--data.test", "kept"], ["kept is a folder: give a UTF-8 text file"]),
    "pairs without a tab": (["evaluate", "RUN", "--data.test", "columns.tsv"], ["columns.tsv has 1 column in line 2"]),
    "a name in another folder": (["evaluate", "RUN", "--name", "../../x"], ["--name ../../x is not a plain file name"]),
    "an unknown split": (["evaluate", "RUN", "--split", "dev"], ["dev", "train", "valid", "test"]),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_verbs_refuse(case, here, finished, without_attention):
    arguments, messages = OTHERS[case]
    before = untouched(here, finished[0], without_attention)
    refused(command(*placed(arguments, finished, without_attention), stdin=LATIN), *messages)
    assert untouched(here, finished[0], without_attention) == before


def test_vocabularies_that_are_not_the_model_s_are_refused(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    config = folder.read_config()
    config["vocabulary"][0]["words"].pop()
    folder.write_config(config)
    message = "its vocabularies have [14, 22] symbols, its model [15, 22]"
    refused(command("translate", tmp_path / "run", stdin=b"<fr> one\n"), f"{tmp_path / 'run'}: {message}")


def test_a_beam_wider_than_the_vocabulary_finds_what_there_is(finished):
    outcome = command("translate", finished[0], "--beam", 40, "--n-best", 40, "--max-length", 1, stdin=b"<fr> one\n")
    assert outcome.code == 0, outcome.err
    rows = [line.split(" ||| ") for line in outcome.out.splitlines()]
    assert len({text for _, text, _ in rows}) == len(rows) == 20  # of 22 symbols two, pad and start, are never written
    assert all(float(score) > -100 for _, _, score in rows)


def test_in_a_fresh_process_too(as_user, tmp_path):
    done = as_user("-m", "experiments.translation", "train", "--data.train", "missing.tsv", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: missing.tsv does not exist: give a UTF-8 text file\n")
    assert not list(tmp_path.iterdir())
