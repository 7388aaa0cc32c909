"""Segments of clips: frames by hand, and one line for each that does not fit."""

import json

import numpy as np
import pytest

from seqjax.data.series import Segment, read_segments, segment_targets
from seqjax.data.video import load_clips
from seqjax.errors import InputError

NAMES = ("one/a.avi", "two/a.avi", "two/b.avi")
CLASSES = ("jump", "run")


def targets(*segments, every=1, lengths=(10, 10, 10), rates=(5.0, 5.0, None), ignored=()):
    made = [Segment(*segment) for segment in segments]
    return segment_targets(made, NAMES, lengths, rates, CLASSES, every=every, ignored=ignored)


def test_a_frame_belongs_to_the_segment_that_holds_its_time():
    rng = np.random.default_rng(0)
    for _ in range(50):
        times = np.sort(rng.uniform(0, 2, 4).round(2))
        if len(set(times)) < 4:
            continue
        every = int(rng.integers(1, 4))
        length = -(-10 // every)
        made = targets(("one/a.avi", *times[2:], "jump"), ("one/a.avi", *times[:2], "run"), every=every, lengths=(length,) * 3)[0]
        seconds = np.arange(length) * every / 5
        expected = [1 if times[0] <= s < times[1] else 0 if times[2] <= s < times[3] else -1 for s in seconds.round(6)]
        assert made.tolist() == expected


def test_segments_that_touch_share_no_frame():
    made = targets(("b", 0, 4, "run", True), ("two/b", 4, 10, "jump", True))
    assert made[2].tolist() == [1] * 4 + [0] * 6 and (made[0] == -1).all() and made[0].dtype == np.int32


def test_a_clip_that_was_skipped_may_have_segments():
    assert (np.concatenate(targets(("bad", 0, 99, "run"), ignored=["two/bad.avi"])) == -1).all()


@pytest.mark.parametrize(
    ("segments", "line"),
    [
        ([("one/a.avi", 0, 1.5, "run"), ("one/a.avi", 1.0, 2.0, "jump")], r"1 to 2 s \(jump\) overlaps .* 0 to 1.5 s \(run\)"),
        ([("one/a.avi", 0.2, 1.5, "run"), ("one/a.avi", 0, 2.0, "jump")], r"0 to 2 s \(jump\) overlaps .* 0.2 to 1.5 s"),
        ([("one/a.avi", 1.5, 1.0, "run")], "1.5 to 1 s .* ends at or before its begin"),
        ([("one/a.avi", 1.5, 2.1, "run")], "ends beyond the clip, which ends at 2"),
        ([("b", 5, 11, "run", True)], "ends beyond the clip, which ends at 10"),
        ([("c", 0, 1, "run")], "c is not among the clips"),
        ([("a.avi", 0, 1, "run")], "a.avi fits 2 clips: name its folder too"),
        ([("b", 0, 1, "run")], "is in seconds, but two/b.avi states no frame rate"),
        ([("b", 0, 1, "walk", True)], "unknown class: the classes are jump, run"),
    ],
)
def test_what_does_not_fit_is_refused(segments, line):
    with pytest.raises(InputError, match=line):
        targets(*segments)


def test_csv_and_json_hold_the_same(tmp_path):
    rows = [{"clip": "a.avi", "begin": 0.5, "end": 2, "class": "run"}, {"clip": "b", "begin": 3, "end": 4.25, "class": "jump"}]
    (tmp_path / "s.json").write_text(json.dumps(rows))
    (tmp_path / "s.csv").write_text("class,clip, begin,end\nrun,a.avi,0.5,2\n\njump,b,3,4.25\n", "utf-8-sig")
    assert read_segments(tmp_path / "s.json") == read_segments(tmp_path / "s.csv")
    (tmp_path / "f.csv").write_text("clip,begin_frame,end_frame,class\na,3,9,run\n")
    assert read_segments(tmp_path / "f.csv") == [Segment("a", 3, 9, "run", True)]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("s.csv", "clip,begin,end\na,1,2\n", r"s\.csv, segment 1 lacks class"),
        ("s.csv", "clip,begin,end,class\na,1,2,run\na,x,2,run\n", "segment 2 has begin 'x'"),
        ("s.csv", "clip,begin,end,class\na,1,nan,run\n", "has end 'nan': it must be a number of at least 0"),
        ("s.csv", "clip,begin,end,class\na,-1,2,run\n", "has begin '-1'"),
        ("s.json", "{", r"s\.json cannot be read"),
        ("s.json", "{}", "holds no list"),
        ("s.json", "[3]", "segment 1 is no object"),
    ],
)
def test_a_broken_file_is_refused(name, text, line, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=line):
        read_segments(tmp_path / name)


def test_segments_become_the_targets_of_clips(tmp_path):
    np.savez(tmp_path / "a.npz", frames=np.zeros((8, 4, 4), np.uint8), rate=4.0)
    np.save(tmp_path / "b.npy", np.zeros((6, 4, 4), np.uint8))
    table = tmp_path / "segments.csv"
    table.write_text("clip,begin,end,class\na,0.5,1.5,run\n")
    series = load_clips(tmp_path, segments=table, every=2)
    assert series.labels is None and series.classes.names == ("run",) and series.targets is not None
    assert [target.tolist() for target in series.targets] == [[-1, 0, 0, -1], [-1, -1, -1]]
    table.write_text("clip,begin,end,class\nb,0.5,1.5,run\n")
    with pytest.raises(InputError, match=r"b\.npy states no frame rate"):
        load_clips(tmp_path, segments=table)
    assert load_clips(tmp_path, segments=table, rate=2.0).rate is None  # the clips' rates differ
