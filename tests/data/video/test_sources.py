"""Frames that arrive one at a time: the same as a clip's, in order, with times; and one line where a stream is broken."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from seqjax.data.video import (
    clip_frames,
    flow_frames,
    folder_frames,
    image_frames,
    number_frames,
    open_clip,
    optical_flow,
    raw_frames,
)
from seqjax.errors import InputError


def pictures(length=5):
    return np.random.default_rng(0).integers(0, 255, (length, 10, 14, 3), np.uint8)


def encoded(frame, form, **options):
    data = io.BytesIO()
    Image.fromarray(frame).save(data, form, **options)
    return data.getvalue()


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a pipe does."""

    def __init__(self, data, most):
        self.data, self.place, self.most = data, 0, most

    def read(self, count=-1):
        count = self.most if count < 0 else min(count, self.most)
        piece = self.data[self.place : self.place + count]
        self.place += len(piece)
        return piece


def test_a_clip_one_frame_at_a_time(tmp_path):
    np.savez(tmp_path / "clip.npz", frames=pictures(), rate=4.0)
    np.save(tmp_path / "clip.npy", pictures())
    timed = list(clip_frames(tmp_path / "clip.npz", size=(5, 7), grey=True))
    assert [frame.seconds for frame in timed] == [0, 0.25, 0.5, 0.75, 1]
    expected = open_clip(tmp_path / "clip.npz").read(size=(5, 7), channels=1)
    np.testing.assert_array_equal(np.stack([frame.values for frame in timed]), expected)
    np.save(tmp_path / "grey.npy", pictures()[..., :1])
    colours = next(clip_frames(tmp_path / "grey.npy", rate=1)).values
    np.testing.assert_array_equal(colours, np.repeat(pictures()[0, ..., :1], 3, -1))
    assert [frame.seconds for frame in clip_frames(tmp_path / "clip.npy", rate=2)][:2] == [0, 0.5]
    with pytest.raises(InputError, match=r"clip\.npy states no frame rate"):
        next(clip_frames(tmp_path / "clip.npy"))


def test_flow_one_frame_at_a_time_is_that_of_the_clip(tmp_path):
    frames = np.stack([np.roll(pictures(1)[0], 2 * t, 1) for t in range(5)])
    np.savez(tmp_path / "clip.npz", frames=frames, rate=4.0)
    timed = list(flow_frames(clip_frames(tmp_path / "clip.npz", size=(20, 28), grey=True), grid=(5, 7)))
    expected = optical_flow(open_clip(tmp_path / "clip.npz").read(size=(20, 28), channels=1), grid=(5, 7))
    np.testing.assert_array_equal(np.stack([frame.values for frame in timed]), expected)
    assert [frame.seconds for frame in timed] == [0, 0.25, 0.5, 0.75, 1] and np.abs(expected).max() > 0.5


@pytest.mark.parametrize("most", [1, 7, 100, 10**6])
@pytest.mark.parametrize("form", ["png", "jpeg", "progressive", "mixed"])
def test_images_one_after_another(form, most):
    frames = pictures()
    kinds = {"mixed": ["png", "jpeg"] * 3, "progressive": ["jpeg"] * 5}.get(form, [form] * 5)
    options = {"progressive": True} if form == "progressive" else {}
    files = [encoded(frame, kind, **options) for frame, kind in zip(frames, kinds, strict=False)]
    thumbnail = encoded(frames[0][:4, :4], "jpeg")  # a JPEG within a segment of another is not its end
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    files = [data[:2] + segment + data[2:] if data[:2] == b"\xff\xd8" else data for data in files]
    timed = list(image_frames(Trickle(b"".join(files), most), rate=10))
    expected = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int) for data in files]
    assert len(timed) == 5 and math.isclose(timed[4].seconds, 0.4)
    for frame, image in zip(timed, expected, strict=True):
        assert np.abs(frame.values - image).max() <= 3  # two decoders of JPEG may differ by rounding


def test_frames_without_compression():
    frames = pictures()
    timed = list(raw_frames(Trickle(frames.tobytes(), 50), size=(10, 14), rate=2))
    np.testing.assert_array_equal(np.stack([frame.values for frame in timed]), frames)
    assert [frame.seconds for frame in timed] == [0, 0.5, 1, 1.5, 2]
    with pytest.raises(InputError, match="ends within frame 4, after 415 of 420 bytes"):
        list(raw_frames(Trickle(frames.tobytes()[:-5], 50), size=(10, 14)))


def test_lines_of_numbers():
    timed = list(number_frames(["1 2\t3\n", "\n", "4;5, 6e-1\n"], rate=50))
    assert [frame.values.tolist() for frame in timed] == [[1, 2, 3], [4, 5, np.float32(0.6)]]
    assert timed[1].seconds == 0.02 and timed[0].values.dtype == np.float32
    for lines, line in (
        (["1 2", "1 x"], "line 2: could not convert"),
        (["1 2", "", "nan 1"], "line 3 holds nan: give finite numbers"),
        (["1 2", "1"], "line 2 holds 1 numbers, it must hold 2"),
    ):
        with pytest.raises(InputError, match=line):
            list(number_frames(lines))
    with pytest.raises(InputError, match="it must hold 3"):
        list(number_frames(["1 2"], width=3))


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"GIF89a", "holds 47 49 46 38 where a JPEG or PNG should begin"),
        (encoded(pictures()[0], "png")[:-4], "ends within image 0"),
        (encoded(pictures()[0], "jpeg") + encoded(pictures()[0], "jpeg")[:90], "ends within image 1"),
        (b"\xff\xd8\xff\xd9", "image 0 of the stream cannot be decoded"),
    ],
)
def test_a_broken_stream_of_images_is_refused(data, line):
    with pytest.raises(InputError, match=line):
        list(image_frames(io.BytesIO(data)))


class Watched:
    """A clock whose waits write the next files into a folder."""

    def __init__(self, steps):
        self.now, self.steps = 0.0, list(steps)

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        if self.steps:
            for path, data in self.steps.pop(0):
                path.write_bytes(data)


def test_a_folder_that_fills(tmp_path):
    files = [(tmp_path / f"{n}.png", encoded(frame, "png")) for n, frame in enumerate(pictures(12))]
    late = (tmp_path / "3b.png", files[3][1])
    half = (files[11][0], files[11][1][:-20])
    (tmp_path / "notes.txt").write_text("not an image")
    steps = [files[:2], [files[9], files[10]], [late], [half], [], [half], [files[11]]]
    watched = Watched(steps)
    timed = list(folder_frames(tmp_path, clock=watched.clock, sleep=watched.sleep, poll=0.5, patience=3))
    images = [pictures(12)[n] for n in (0, 1, 9, 10, 11)]
    np.testing.assert_array_equal(np.stack([frame.values for frame in timed]), images)
    assert [frame.seconds for frame in timed] == [0, 0, 0.5, 0.5, 3.0]  # since the first one's arrival
    assert watched.now == 3.5 + 3
    rated = folder_frames(tmp_path, clock=watched.clock, sleep=watched.sleep, patience=1, rate=10, size=(5, 7), grey=True)
    timed = list(rated)
    assert [round(frame.seconds, 6) for frame in timed] == [0, 0.1, 0.2, 0.3, 0.4, 0.5] and timed[0].values.shape == (5, 7, 1)


def test_a_broken_image_in_a_folder_is_named(tmp_path):
    (tmp_path / "0.png").write_bytes(encoded(pictures()[0], "png")[:-20])
    watched = Watched([])
    with pytest.raises(InputError, match=r"0\.png cannot be decoded as an image, and does not grow any more"):
        list(folder_frames(tmp_path, clock=watched.clock, sleep=watched.sleep))
    with pytest.raises(InputError, match="is no folder"):
        list(folder_frames(tmp_path / "none"))
