"""One LSTM or GRU layer over a batch: forward, and forward with the gradients of weights and inputs."""

from benchmarks.pictures import bars
from benchmarks.suites import Case, Selection, networks

TITLE = "one layer"
SHAPED = True
TABLES = ("ratio", "first call")
PICTURE = bars


def cases(selection: Selection) -> list[Case]:
    return networks(selection)
