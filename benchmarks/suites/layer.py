"""One LSTM or GRU layer over a batch: forward, and forward with the gradients of weights and inputs."""

from benchmarks.pictures import bars
from benchmarks.suites import Case, Choice, networks

TITLE = "one layer"
SHAPED = True
TABLES = ("ratio", "first call")
PICTURE = bars


def cases(choice: Choice) -> list[Case]:
    return networks(choice)
