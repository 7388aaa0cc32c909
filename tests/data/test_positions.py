"""Positions in streams: integers of at least 0, and nothing else."""

import numpy as np
import pytest

from seqjax import InputError
from seqjax.data.labels import Labels
from seqjax.data.series import Series, SeriesStream
from seqjax.data.synthetic import Copy, TaskStream
from seqjax.data.text.buckets import Buckets
from seqjax.data.text.language import TextStream

ROWS = [np.ones(2, np.int32)] * 2
SERIES = Series(
    inputs={"features": [np.ones((2, 1))] * 2},
    lengths=np.array([2, 2]),
    classes=Labels(names=("odd", "even")),
    names=("1", "2"),
    labels=np.array([0, 1]),
)
STREAMS = {
    "tasks": TaskStream(task=Copy(delay=4), batch_size=1, seed=0),
    "text": TextStream(tokens=np.arange(9), batch_size=2, length=2, start=0, seed=0),
    "pairs": Buckets(source=ROWS, target=ROWS, batch_size=2, seed=0, shapes=((2, 2),)),
    "series": SeriesStream(series=SERIES, batch_size=2, seed=0, shapes=(2,)),
}


@pytest.mark.parametrize("index", [-1, "x", 0.5, None])
@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_a_position_that_is_none_is_refused(stream, index):
    assert len(stream.batch(np.int64(0))) > 0
    with pytest.raises(InputError, match=f"^the position of a batch is {index!r}, it must be an integer of at least 0"):
        stream.batch(index)
