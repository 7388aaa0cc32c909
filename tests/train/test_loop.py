import math
import os
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax.contracts import Model
from seqjax.errors import InputError
from seqjax.losses import Weighted
from seqjax.train import loop as loops
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.loop import IDLE, DivergedError, LoopConfig, train_loop
from seqjax.train.optim import OptimizerConfig
from seqjax.train.runs.description import describe_run
from seqjax.train.runs.folder import RunFolder
from seqjax.train.runs.load import load_run
from seqjax.train.state import init_state
from seqjax.train.step import make_train_step
from seqjax.train.weight_averages import averaged
from tests.train.toy import Bench, ToyStream


@pytest.fixture(autouse=True)
def heard():
    """Signals that the shell of a test in the background ignores."""
    ignored = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="module")
def bench():
    return Bench()


@pytest.fixture(scope="module")
def whole(bench, tmp_path_factory):
    """(folder, events, final state) of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, *bench.train(folder)


def record(folder):
    """The metrics without the wall clock."""
    clock = ("seconds", "examples_per_second", IDLE)
    return [{name: value for name, value in line.items() if name not in clock} for line in RunFolder(folder).read_metrics()]


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_events_and_record(bench, whole):
    folder, events, _ = whole
    assert [(event.step, event.kind) for event in events] == [
        (3, "save"),
        (4, "log"),
        (5, "eval"),
        (6, "save"),
        (8, "log"),
        (9, "save"),
        (10, "eval"),
        (12, "log"),
        (12, "eval"),
        (12, "save"),
        (12, "end"),
    ]
    losses, params = bench.losses(12)
    lines = record(folder)
    train = [line for line in lines if line["split"] == "train"]
    weights = [bench.stream.batch(n)["mask"].sum() for n in range(12)]
    means = [np.average(losses[n : n + 4], weights=weights[n : n + 4]) for n in (0, 4, 8)]
    np.testing.assert_allclose([line["loss"] for line in train], means, rtol=1e-6)
    assert [line["epoch"] for line in train] == [0.4, 0.8, 1.2] and train[-1]["skipped"] == 0
    validation = [line for line in lines if line["split"] == "validation"]
    assert validation[-1]["loss"] == bench.evaluate(params)["loss"] and validation[-1]["best"] == min(
        line["loss"] for line in validation
    )
    assert events[-1].figures["best"] == validation[-1]["best"] and events[-1].figures["stopped_early"] == 0


@pytest.mark.parametrize(
    ("number", "at"),
    [(signal.SIGINT, (4, "log")), (signal.SIGTERM, (5, "eval")), (signal.SIGHUP, (6, "save")), (signal.SIGUSR1, (9, "save"))],
)
def test_a_signal_saves_and_resuming_changes_no_number(bench, whole, tmp_path, number, at):
    def send(event):
        if (event.step, event.kind) == at:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    events, _ = bench.train(tmp_path / "run", on_event=send)
    # A signal at a save comes after the last check for signals, so one more step is done.
    assert (events[-1].step, events[-1].kind) == (at[0] + (at[1] == "save"), "interrupted")
    assert signal.getsignal(number) == before and events[-1].figures["signal"] == number
    events, final = bench.train(tmp_path / "run")
    assert events[-1].kind == "end"
    same(final, whole[2])
    assert record(tmp_path / "run") == record(whole[0])


def test_a_crash_goes_back_to_the_last_save_and_changes_no_number(bench, whole, tmp_path):
    def crash(event):
        if event.step == 8:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        bench.train(tmp_path / "run", on_event=crash)
    assert record(tmp_path / "run")[-1]["step"] == 8  # after the checkpoint of step 6
    same(bench.train(tmp_path / "run")[1], whole[2])
    assert record(tmp_path / "run") == record(whole[0])


def test_more_steps_go_on_from_the_last(bench, whole, tmp_path):
    bench.train(tmp_path / "run", steps=7)
    same(bench.train(tmp_path / "run", save_every=5)[1], whole[2])
    events, _ = bench.train(tmp_path / "run", steps=3)
    assert [(event.step, event.kind) for event in events] == [(12, "end")]


def test_a_second_signal_kills(bench, tmp_path):
    def twice(event):
        os.kill(os.getpid(), signal.SIGINT)
        while signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            time.sleep(0.001)  # two signals that come at once would count as one
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored if the tests run in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            bench.train(tmp_path / "run", on_event=twice)
    finally:
        signal.signal(signal.SIGINT, before)


def test_early_stopping_remembers_over_a_resume(bench, tmp_path):
    losses, options = [3.0, 1.0, 2.0, math.nan, 2.0, 0.0], {"steps": 100, "eval_every": 2, "patience": 3}

    def stop(event):
        if (event.step, event.kind) == (6, "eval"):
            os.kill(os.getpid(), signal.SIGINT)

    for name, on_event, first in (("whole", lambda event: None, 0), ("cut", stop, 0), ("cut", lambda event: None, 3)):
        feed = iter(losses[first:])
        events, _ = bench.train(
            tmp_path / name, on_event=on_event, evaluate=lambda params, feed=feed: {"loss": next(feed)}, **options
        )
        end = events[-1]
        if on_event is stop:
            assert (end.step, end.kind) == (6, "interrupted")
        else:
            assert (end.step, end.kind, end.figures["best"], end.figures["stopped_early"]) == (10, "end", 1.0, 1.0)
    assert record(tmp_path / "whole") == record(tmp_path / "cut")
    with Checkpoints(tmp_path / "cut" / "checkpoints", read_only=True) as checkpoints:
        assert (checkpoints.step("best"), checkpoints.step("last")) == (4, 10)
    events, _ = bench.train(tmp_path / "cut", **options)
    assert [(event.step, event.kind) for event in events] == [(10, "end")]


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "plateau", "decay": 0.5, "average": "asgd", "average_patience": 1, "accumulate": 2},
        {"average": "ema", "average_decay": 0.8, "frozen": ("*/recurrent",)},
    ],
)
def test_all_that_follows_the_evaluations_resumes_exactly(tmp_path, options):
    bench, feed = Bench(optimizer=OptimizerConfig(learning_rate=0.03, **options)), [3.0, 2.0, 4.0, 5.0, 1.0, 6.0, 7.0]
    finals, now, intervals = {}, {}, {"steps": 14, "eval_every": 2, "log_every": 1}

    def evaluate(params):  # as if the weights had these figures in turn, and their average a higher one
        now["weights"] += 1
        return {"loss": feed[now["evaluations"]] + (0.25 if now["weights"] == 2 else 0.0)}

    def stop(event):
        if event.kind == "eval":
            now.update(evaluations=now["evaluations"] + 1, weights=0)
            if event.step == now["stop"]:
                os.kill(os.getpid(), signal.SIGINT)

    for name, stops in (("whole", [None]), ("cut", [6, 10, None])):  # 6: the mean begins
        now.update(evaluations=0, weights=0)
        for now["stop"] in stops:
            finals[name] = bench.train(tmp_path / name, on_event=stop, evaluate=evaluate, **intervals)[1]
    same(finals["whole"], finals["cut"])
    assert record(tmp_path / "whole") == record(tmp_path / "cut")

    lines = [line for line in record(tmp_path / "whole") if line["split"] == "validation"]
    rates = [line["learning_rate"] for line in record(tmp_path / "whole") if line["split"] == "train"]
    average, raw = averaged(finals["whole"].opt_state), finals["whole"].params
    if options["average"] == "asgd":  # it begins at the third figure, with the evaluation of the weights alone before
        assert [line["averaged_loss"] - line["loss"] for line in lines] == [0.0] * 3 + [0.25] * 4
        np.testing.assert_allclose(rates[-1], 0.03 * 0.5**3, rtol=1e-6)  # the rates of steps 7, 9 and 13
        assert [n for n in range(1, 14) if rates[n] != rates[n - 1]] == [6, 8, 12]
    else:
        np.testing.assert_array_equal(raw["net"]["recurrent"], bench.state().params["net"]["recurrent"])
    best = min(range(7), key=lambda n: lines[n]["averaged_loss"])
    assert lines[-1]["best"] == lines[best]["averaged_loss"]

    shapes = jax.eval_shape(bench.model.init, jax.random.key(0))
    with Checkpoints(tmp_path / "cut" / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.step("best") == 2 * (best + 1)
        same(checkpoints.params(shapes, "last"), average)
        same(checkpoints.params(shapes, "last", raw=True), raw)
    assert not np.array_equal(average["net"]["out"], raw["net"]["out"])


@pytest.mark.parametrize(
    ("best", "scores", "best_step"), [("highest", [1.0, 3.0, math.nan, 2.0, 9.0], 4), ("lowest", [3.0, 1.0, 2.0, math.inf], 4)]
)
def test_the_monitored_figure_decides_over_a_resume_too(bench, tmp_path, best, scores, best_step):
    options = {"steps": 100, "eval_every": 2, "patience": 2, "monitor": "bleu", "best": best}

    def stop(event):
        if (event.step, event.kind) == (6, "eval"):
            os.kill(os.getpid(), signal.SIGINT)

    ended = []
    for name, on_event, first in (("whole", lambda event: None, 0), ("cut", stop, 0), ("cut", lambda event: None, 3)):
        feed = iter(scores[first:])
        figures = lambda params, feed=feed: {"loss": 5.0, "bleu": next(feed)}  # noqa: E731
        events, final = bench.train(tmp_path / name, on_event=on_event, evaluate=figures, **options)
        ended.append((events[-1], final))
    best_score = scores[best_step // 2 - 1]
    for event, _ in (ended[0], ended[2]):
        assert (event.step, event.kind, event.figures["best"], event.figures["stopped_early"]) == (8, "end", best_score, 1.0)
    same(ended[0][1], ended[2][1])
    assert record(tmp_path / "whole") == record(tmp_path / "cut")
    lines = [line for line in record(tmp_path / "cut") if line["split"] == "validation"]
    assert [line["bleu"] for line in lines] == [x if math.isfinite(x) else None for x in scores[:4]]
    assert lines[-1]["best"] == best_score and lines[-1]["loss"] == 5.0
    with Checkpoints(tmp_path / "cut" / "checkpoints", read_only=True) as checkpoints:
        assert (checkpoints.step("best"), checkpoints.step("last")) == (best_step, 8)


@pytest.mark.parametrize(
    ("figures", "best_step", "end"),
    [  # (bleu, loss) of each evaluation
        ([(0.0, 6.0), (0.0, 5.0), (0.0, 4.0), (0.0, 4.5), (0.0, 4.2)], 6, 10),  # a lower loss is an improvement
        ([(1.0, 6.0), (1.0, math.nan), (1.0, 7.0), (0.0, 1.0)], 2, 6),
        ([(1.0, None), (1.0, None), (1.0, None)], 6, 6),  # the latest, which does not count as an improvement
    ],
)
def test_of_equal_figures_the_lowest_loss_is_best_and_then_the_latest(bench, tmp_path, figures, best_step, end):
    feed = iter([{"bleu": bleu} | ({} if loss is None else {"loss": loss}) for bleu, loss in figures])
    options = {"steps": 100, "eval_every": 2, "patience": 2, "monitor": "bleu", "best": "highest"}
    events, _ = bench.train(tmp_path / "run", evaluate=lambda params: next(feed), **options)
    assert events[-1].step == end
    with Checkpoints(tmp_path / "run" / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.step("best") == best_step


def test_an_evaluation_without_the_monitored_figure_is_refused(bench):
    def train(**options):
        config = LoopConfig(steps=2, eval_every=2)
        list(
            train_loop(
                bench.state(), bench.step, bench.stream, config, evaluate=lambda params: {"loss": 1.0, "chrf": 2.0}, **options
            )
        )

    with pytest.raises(InputError, match=r"monitor is 'bleu', the evaluation gives loss, chrf"):
        train(monitor="bleu")
    with pytest.raises(InputError, match=r'best is \'high\', it must be "lowest" or "highest"'):
        train(best="high")


def test_the_rate_counts_the_losses_terms_between_the_stops(bench, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loops.time, "monotonic", lambda: now[0])

    def step(state, batch):
        now[0] += 1.0
        return bench.step(state, batch)

    def evaluate(params):
        now[0] += 50.0
        return {"loss": 0.0}

    config = LoopConfig(steps=8, log_every=4, eval_every=3, save_every=5)
    terms = [int(bench.stream.batch(n)["mask"].sum()) for n in range(8)]
    assert len(set(terms)) > 1
    for stop in (None, 5):  # a state from between two logs has some terms already
        state = bench.state()
        for n in range(stop or 0):
            state = bench.step(state, bench.stream.batch(n))
        events = train_loop(state, step, bench.stream, config, evaluate=evaluate, position={"data": {"next_index": stop or 0}})
        rates = [event.figures["examples_per_second"] for event in events if event.kind == "log"]
        expected = [terms[3], (terms[6] + terms[7]) / 2] if stop is None else [(terms[6] + terms[7]) / 2]
        assert rates == expected


def test_divergence_names_step_and_gradient_and_keeps_the_last_good_checkpoint(tmp_path):
    config = OptimizerConfig(learning_rate=0.03, max_nonfinite=2)
    bench = Bench(stream=ToyStream(bad=tuple(range(6, 100))), optimizer=config)
    with pytest.raises(DivergedError) as error:
        bench.train(tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    assert str(error.value) == (
        "diverged: the gradient of net/embedding has not been finite since step 7 (noticed at step 9); "
        f"step 6 is kept in {folder / 'last'}; lower the learning rate or clip"
    )
    assert isinstance(error.value, InputError)
    with Checkpoints(folder, read_only=True) as checkpoints:
        state, _ = checkpoints.restore("last", bench.state())
    assert int(state.step) == 6 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_a_few_steps_that_are_not_finite_are_skipped_and_counted(tmp_path):
    bench = Bench(stream=ToyStream(bad=(1, 5, 6)))
    events, final = bench.train(tmp_path / "run")
    assert events[-1].kind == "end" and record(tmp_path / "run")[-2]["skipped"] == 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(final))


class Root(Model):
    """loss = a + sqrt(b): finite at b = 0, where the gradient of b alone is not."""

    def init(self, key):
        return {"a": jnp.ones(()), "b": jnp.zeros(())}

    def apply(self, params, batch, *, state=None, key=None):
        return (), params["a"] + jnp.sqrt(params["b"]) * batch["x"].sum()

    def loss(self, outputs, batch):
        return Weighted(outputs, jnp.ones(()))


def endless(batch):
    class Stream:
        steps_per_epoch = 1

        def __iter__(self):
            while True:
                yield batch

    return Stream()


def test_the_gradient_that_is_not_finite_is_the_one_named_with_any_optimizer():
    model, optimizer = Root(), optax.sgd(0.1)
    state = init_state(model, optimizer, batch_size=1, seed=0)
    config = LoopConfig(steps=3, log_every=1)
    with pytest.raises(DivergedError, match=r"the gradient of b has not been finite since step 1 .*; nothing was saved before"):
        list(train_loop(state, make_train_step(model, optimizer), endless({"x": np.ones((1, 1), np.float32)}), config))


def test_nothing_waits_between_events_and_the_next_batch_is_put_ahead(bench, monkeypatch):
    done = []

    class Stream(ToyStream):
        def batch(self, n):
            done.append(f"batch {n}")
            return super().batch(n)

    def step(state, batch):
        done.append("step")
        return bench.step(state, batch)

    read, device_get = loops._read, jax.device_get
    monkeypatch.setattr(loops, "_read", lambda *args: (done.append("read"), read(*args))[1])
    monkeypatch.setattr(jax, "device_get", lambda tree: (done.append("get"), device_get(tree))[1])
    monkeypatch.setattr(jax, "block_until_ready", lambda tree: done.append("block"))
    for _ in train_loop(bench.state(), step, Stream(), LoopConfig(steps=4, log_every=2)):
        pass
    first = ["batch 0", "step", "batch 1", "step", "batch 2", "read"]
    assert done[: len(first)] == first
    rest = [what for what in done[len(first) :] if what != "get"]
    assert rest == ["step", "batch 3", "step", "read"]


def test_a_loop_needs_no_folder(bench):
    shown = []

    class Shown:
        def update(self, step, figures):
            shown.append((step, sorted(figures)))

        def compiling(self, program, batch, of):
            told.add((program, batch["tokens"].shape, of))

    told = set()
    config = LoopConfig(steps=4, log_every=2, eval_every=4, save_every=1)
    events = list(train_loop(bench.state(), bench.step, bench.stream, config, evaluate=bench.evaluate, progress=Shown()))
    assert [event.kind for event in events] == ["log", "log", "eval", "end"]
    assert [step for step, _ in shown] == [2, 4, 4] and shown[-1][1] == ["validation_loss"]
    assert told == {("training", (8, 6), 0)}


def test_a_stream_that_ends_is_refused(bench):
    class Short(ToyStream):
        def __iter__(self):
            return iter([self.batch(n) for n in range(3)])

    with pytest.raises(InputError, match="the stream ends at step 3 of 5"):
        list(train_loop(bench.state(), bench.step, Short(), LoopConfig(steps=5)))


@pytest.mark.parametrize(("field", "value"), [("steps", 0), ("log_every", -1), ("patience", 0)])
def test_wrong_budgets_are_named(field, value):
    with pytest.raises(InputError, match=f"loop.{field} is {value}, it must be at least 1"):
        LoopConfig(**{field: value})


def test_epochs_are_resolved_to_steps():
    assert LoopConfig(epochs=1.5).resolve(10) == (15, 50, 10, 10)
    assert LoopConfig(epochs=1.5, steps=7, eval_every=3).resolve(10) == (7, 50, 3, 10)
    for epochs in (0.0, -2.0, math.inf, math.nan):
        with pytest.raises(InputError, match=rf"loop.epochs is {epochs}, it must be above 0 and finite"):
            LoopConfig(epochs=epochs)
    with pytest.raises(InputError, match=r"loop.steps is 0, it must be at least 1"):
        LoopConfig(epochs=0.04).resolve(10)


def test_a_run_is_loaded_with_the_best_params(bench, tmp_path):
    losses = iter([1.0, 2.0, 3.0])
    best_params = []

    def keep(event):
        if event.kind == "eval" and event.figures["loss"] == 1.0:
            best_params.append(jax.tree.map(np.array, jax.device_get(event.state.params)))

    folder = tmp_path / "run"
    bench.train(folder, evaluate=lambda params: {"loss": next(losses)}, on_event=keep)
    run = RunFolder(folder)
    description = {"experiment": "toy", "preset": "tiny", "overrides": {}, "config": {"seed": 3}, "model": bench.model}
    run.write_config(describe_run(**description))
    run.write_results({"validation_loss": 1.0})
    loaded = load_run(str(folder))
    assert loaded.model == bench.model and loaded.vocabulary is None and loaded.config == {"seed": 3}
    assert loaded.results == {"validation_loss": 1.0} and [line["step"] for line in loaded.metrics] == [4, 5, 8, 10, 12, 12]
    same(best_params[0], jax.device_get(loaded.params))
    assert {"jax", "python", "optax"} <= run.read_config()["versions"].keys()
