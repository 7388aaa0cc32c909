"""Generated tasks: targets are right by oracles of their own, draws depend on the seed alone, wrong sizes are refused."""

import numpy as np
import pytest

from seqjax import InputError
from seqjax.data import synthetic
from seqjax.data.synthetic import TaskStream, task_batches, task_record
from seqjax.data.synthetic.tasks import Task
from seqjax.serial import from_json, registered, to_json

SMALL = {
    "Adding": synthetic.Adding(steps=7),
    "Agreement": synthetic.Agreement(longest=6),
    "Arithmetic": synthetic.Arithmetic(digits=3, distractors=2),
    "BinaryAddition": synthetic.BinaryAddition(bits=5),
    "Copy": synthetic.Copy(delay=4, length=3, alphabet=4),
    "Dyck": synthetic.Dyck(kinds=2, pairs=6, depth=3),
    "Fibonacci": synthetic.Fibonacci(steps=6),
    "MackeyGlass": synthetic.MackeyGlass(steps=5),
    "Spelling": synthetic.Spelling(),
    "Waves": synthetic.Waves(steps=6),
    "YearExtraction": synthetic.YearExtraction(),
}


def draw(task, rows=40, seed=0):
    return task.draw(np.random.default_rng(seed), rows)


def test_every_task_is_tried():
    assert sorted(SMALL) == sorted(set(registered(Task)) - {"Task", "Forecasting"})


@pytest.mark.parametrize("task", SMALL.values(), ids=SMALL)
def test_batches_have_the_words_and_dtypes_of_a_batch(task):
    batch = draw(task)
    word = "tokens" if task.symbols else "features"
    steps, lengths, target, mask = (batch[name] for name in (word, f"{word}_lengths", "target", "target_mask"))
    kinds = {"classes": (np.int32, ()), "flags": (np.bool_, (len(task.names),)), "values": (np.float32, (len(task.names),))}
    assert (target.dtype, target.shape) == (kinds[task.answers][0], (*steps.shape[:2], *kinds[task.answers][1]))
    assert steps.dtype == (np.int32 if task.symbols else np.float32) and lengths.dtype == np.int32 and mask.dtype == np.bool_
    assert steps.shape == (40, steps.shape[1], *[task.features][: not task.symbols]) and set(batch) == {
        word, f"{word}_lengths", "target", "target_mask"
    }  # fmt: skip
    real = np.arange(steps.shape[1]) < lengths[:, None]
    assert not mask[~real].any() and not steps[~real].any() and not target[~mask].any() and mask.any(axis=1).all()
    if task.symbols:
        assert steps.min() >= 0 and steps.max() < len(task.symbols)
    if task.answers == "classes":
        assert target.min() >= 0 and target.max() < len(task.names)
    assert from_json(to_json(task)) == task and task_record(task)["source"] == repr(task)


@pytest.mark.parametrize("task", SMALL.values(), ids=SMALL)
def test_a_batch_depends_on_the_seed_and_its_place_alone(task):
    stream = TaskStream(task=task, batch_size=3, seed=4)
    iterator = iter(stream)
    iterator.set_state({"next_index": 2})
    for word, array in next(iterator).items():
        np.testing.assert_array_equal(array, stream.batch(2)[word])
    other = TaskStream(task=task, batch_size=3, seed=5)
    evaluated = task_batches(task, batch_size=3, count=3, seed=4)
    if not isinstance(task, synthetic.Spelling):
        word = "tokens" if task.symbols else "features"
        drawn = [stream.batch(0), stream.batch(2), other.batch(2), evaluated[0], evaluated[2]]
        assert len({batch[word].tobytes() for batch in drawn}) == len(drawn)
    assert stream.identity != other.identity


def number(bits):
    return sum(int(bit) << place for place, bit in enumerate(bits))


def test_sums_are_right():
    task = synthetic.BinaryAddition(bits=20, shortest=3, delay=2)
    batch = draw(task)
    for xs, ys, length in zip(batch["features"], batch["target"], batch["features_lengths"], strict=True):
        one, two = number(xs[:, 0]), number(xs[:, 1])
        assert number(ys[2:length, 0]) == one + two and 3 <= length - 3 <= 20
    assert batch["features_lengths"].min() < batch["features_lengths"].max()


def test_exercises_are_right():
    task = SMALL["Arithmetic"]
    batch, negative = draw(task), 0
    for tokens, target, mask in zip(batch["tokens"], batch["target"], batch["target_mask"], strict=True):
        text = "".join(task.symbols[n] for n in tokens[: mask.nonzero()[0][0] + 1])
        exercise = "".join(character for character in text if not character.isalpha())
        answer = "".join(task.names[n] for n in target[mask])
        assert exercise.endswith("=") and answer.endswith(".")
        sign, rest = (-1, exercise[1:-1]) if exercise[0] == "-" else (1, exercise[:-1])
        operator = "+" if "+" in rest else "-"
        one, two = map(int, rest.split(operator))
        assert int(answer[:-1]) == sign * one + (two if operator == "+" else -two)
        negative += answer[0] == "-"
    assert 0 < negative < 40


def test_brackets_nest():
    task = SMALL["Dyck"]
    batch = draw(task)
    closes, deepest = dict(zip(")]", "([", strict=True)), 0
    for tokens, target, length in zip(batch["tokens"], batch["target"], batch["tokens_lengths"], strict=True):
        stack = []
        for token, may in zip(tokens[:length], target, strict=False):
            symbol = task.symbols[token]
            if symbol in closes:
                assert stack.pop() == closes[symbol]
            else:
                stack.append(symbol)
            deepest = max(deepest, len(stack))
            expected = set("([" if len(stack) < 3 else "") | ({")]"["([".index(stack[-1])]} if stack else {"."})
            assert {name for name, is_set in zip(task.names, may, strict=True) if is_set} == expected
        assert not stack
    assert deepest == 3


LANGUAGES = {"France": "French", "Spain": "Spanish", "Italy": "Italian", "Germany": "German", "Japan": "Japanese"}
LANGUAGES |= {"China": "Chinese", "Russia": "Russian", "Poland": "Polish", "Greece": "Greek", "Turkey": "Turkish"}


def test_agreement_names_the_first_country():
    task = SMALL["Agreement"]
    batch = draw(task)
    for tokens, target, mask, length in zip(
        batch["tokens"], batch["target"], batch["target_mask"], batch["tokens_lengths"], strict=True
    ):
        words = [task.symbols[n] for n in tokens[:length]]
        assert words[:4] == ["I", "grew", "up", "in"] and words[-3:] == ["I", "speak", "fluent"] and mask.sum() == 1
        country, language = words[4], task.names[target[length - 1]]
        assert LANGUAGES[country] == language
        assert all(words[n - 1] == "visited" for n in range(5, length) if words[n] in LANGUAGES)


@pytest.mark.parametrize("positions", [(2, 6), (3, 4, 5, 7, 8)])
def test_years_stand_at_their_positions(positions):
    task = synthetic.YearExtraction(positions=positions)
    batch, seen = draw(task, 200), set()
    for tokens, target, mask, length in zip(
        batch["tokens"], batch["target"], batch["target_mask"], batch["tokens_lengths"], strict=True
    ):
        words = [task.symbols[n] for n in tokens[:length]]
        [place] = [n for n, word in enumerate(words, 1) if word.isdigit()]
        assert words[place - 1] == task.names[target[length - 1]] and words[place - 2] == "in" and words.count("to") == 1
        assert mask.nonzero()[0].tolist() == [length - 1]
        seen.add(place)
    assert seen == set(positions)


def test_numbers_follow_their_laws():
    waves = synthetic.Waves(steps=3000, components=3)
    assert 0.9 < draw(waves, 20)["features"].std() < 1.1
    glass = draw(synthetic.MackeyGlass(steps=300), 20)["features"]
    assert np.abs(glass).max() < 0.8 and abs(glass.mean()) < 0.05 and glass.std() > 0.1
    adding = draw(synthetic.Adding(steps=9), 50)
    np.testing.assert_allclose(adding["target"].sum((1, 2)), adding["features"].prod(-1).sum(1), rtol=1e-6)
    assert (adding["features"][..., 1].sum(1) == 2).all() and set(adding["features_lengths"]) == set(range(2, 10))


WRONG = {
    "no step": (lambda: synthetic.Adding(steps=1), "Adding has steps=1, it must be at least 2"),
    "a fraction": (lambda: synthetic.Adding(steps=2.5), "Adding.steps is 2.5, it must be an integer"),
    "no digit": (lambda: synthetic.BinaryAddition(bits=0), "BinaryAddition has bits=0"),
    "a negative delay": (lambda: synthetic.BinaryAddition(delay=-1), "BinaryAddition has delay=-1"),
    "shortest above": (lambda: synthetic.Dyck(pairs=3, shortest=4), "Dyck has shortest=4 above pairs=3"),
    "five kinds": (lambda: synthetic.Dyck(kinds=5), "Dyck has kinds=5, it must be at most 4"),
    "one letter": (lambda: synthetic.Spelling(word="a"), "Spelling has word='a'"),
    "a probability": (lambda: synthetic.Agreement(visits=1.5), "Agreement has visits=1.5"),
    "a period": (lambda: synthetic.Waves(shortest=2.0), "Waves has periods from 2.0 to 40.0"),
    "no place": (lambda: synthetic.YearExtraction(positions=(1, 2)), "YearExtraction has positions=(1, 2)"),
    "no symbol": (lambda: synthetic.Copy(alphabet=0), "Copy has alphabet=0"),
    "19 digits": (lambda: synthetic.Arithmetic(digits=19), "digits is 19, it must be at most 18"),
    "no task": (lambda: TaskStream(task=3, batch_size=1, seed=0), "task is 3, it must be a Task"),
    "no row": (lambda: TaskStream(task=SMALL["Copy"], batch_size=0, seed=0), "batch size 0"),
    "a negative seed": (lambda: task_batches(SMALL["Copy"], batch_size=1, count=1, seed=-1), "seed -1"),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG)
def test_wrong_tasks_are_refused(make, message):
    with pytest.raises(InputError) as refusal:
        make()
    assert message in str(refusal.value) and "\n" not in str(refusal.value)
