import io

import pytest

from seqjax.train.plots import curves
from seqjax.train.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_there_are_plain_lines_at_intervals(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    with Progress(100, stream=stream, unit="token") as progress:
        for step in range(0, 101, 10):
            progress.update(step, {"loss": 2.0 - step / 100, "tokens_per_second": 12345.6})
            progress.update(step, {"validation_loss": 1.5}) if step == 50 else None
            now[0] += 3.0
    assert stream.getvalue().splitlines() == [
        "step 40/100  12,346 tokens/s  loss 1.600  0:18 left",
        "step 80/100  12,346 tokens/s  loss 1.200  validation 1.500  0:06 left",
        "step 100/100  12,346 tokens/s  loss 1.000  validation 1.500",
    ]


def test_every_validation_figure_is_shown():
    stream = io.StringIO()
    with Progress(10, stream=stream) as progress:
        progress.update(10, {"loss": 1.0, "validation_loss": 1.5, "validation_exact_match": 0.25, "learning_rate": 0.1})
    assert stream.getvalue() == "step 10/10  loss 1.000  validation 1.500  validation exact match 0.250\n"


def test_on_a_terminal_there_is_a_bar():
    stream = Terminal()
    with Progress(100, stream=stream, unit="token") as progress:
        progress.update(50, {"loss": 1.25, "validation_loss": 1.5, "tokens_per_second": 1000.0})
    shown = stream.getvalue()
    assert "50/100" in shown and "loss 1.250" in shown and "validation 1.500" in shown and "1,000 tokens/s" in shown


@pytest.mark.parametrize("references", [None, {"bigram": 2.4, "trigram": 1.9}])
def test_curves(tmp_path, references):
    metrics = [
        {"step": 1, "split": "train", "loss": 3.0},
        {"step": 2, "split": "train", "loss": None},
        {"step": 2, "split": "validation", "loss": 2.5},
    ]
    curves(metrics, tmp_path / "curves.png", title="a run", references=references)
    curves([], tmp_path / "empty.png", title="nothing yet", references=references)
    for name in ("curves.png", "empty.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("scores", "panels"), [([10.0, None, 30.0], 2), ([None], 1)])
def test_a_monitored_figure_has_a_separate_panel(tmp_path, monkeypatch, scores, panels):
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (drawn.append(self), save(self, *args, **kw))[1])
    metrics = [{"step": n, "split": "validation", "loss": 2.0, "bleu": score} for n, score in enumerate(scores)]
    curves(metrics, tmp_path / "curves.png", title="a run", monitor="bleu")
    axes = drawn[0].axes
    assert len(axes) == panels and [ax.get_xlabel() for ax in axes] == [""] * (panels - 1) + ["steps"]
    if panels == 2:
        assert axes[1].lines[0].get_ydata().tolist() == [10.0, 30.0] and axes[1].get_ylabel() == "validation bleu"
