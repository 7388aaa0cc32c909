"""Clips of every format: the same frames, whole or a window at a time, and one line for each that cannot be read."""

import io
import tracemalloc
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image

from seqjax.data.video import UnreadableClip, clips, find_clips, load_clips, open_clip, video_files
from seqjax.errors import InputError

RATE = 10.0


def moving_square(length=12, height=32, width=48, channels=3):
    frames = np.full((length, height, width, channels), 30, np.uint8)
    for t in range(length):
        frames[t, 8:24, 2 * t : 2 * t + 16] = [220, 120, 40][:channels]
    return frames


def write_video(path, frames, code, rate=RATE):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), rate, frames.shape[2:0:-1])
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()


def write_images(folder, frames, form="png"):
    folder.mkdir(parents=True)
    for t, frame in enumerate(frames):
        Image.fromarray(frame.squeeze()).save(folder / f"{t}.{form}")


def write_zip(path, clips):
    with zipfile.ZipFile(path, "w") as archive:
        for name, frames in clips.items():
            for t, frame in enumerate(frames):
                data = io.BytesIO()
                Image.fromarray(frame).save(data, "png")
                archive.writestr(f"{name}/{t}.png".lstrip("/"), data.getvalue())


def write(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix
    if suffix in (".avi", ".mp4", ".mkv"):
        write_video(path, frames, {".avi": "MJPG", ".mp4": "mp4v", ".mkv": "FFV1"}[suffix])
    elif suffix == ".gif":
        images = [Image.fromarray(frame) for frame in frames]
        images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 / RATE))
    elif suffix == ".npy":
        np.save(path, frames)
    elif suffix == ".npz":
        np.savez_compressed(path, frames=frames, other=np.zeros(3), rate=RATE)
    elif suffix == ".zip":
        write_zip(path, {"": frames})
    else:
        write_images(path, frames)


FORMATS = {".avi": 12, ".mp4": 12, ".mkv": 0, ".gif": 4, ".npy": 0, ".npz": 0, ".zip": 0, "": 0}  # and the mean error allowed


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_format_gives_its_frames_whole_and_by_windows(suffix, tmp_path):
    frames = moving_square()
    path = tmp_path / f"clip{suffix}"
    write(path, frames)
    clip = open_clip(path)
    assert (clip.frames, clip.height, clip.width, clip.channels) == (12, 32, 48, 3)
    assert clip.rate == (RATE if suffix in (".avi", ".mp4", ".mkv", ".gif", ".npz") else None)
    whole = clip.read()
    assert whole.dtype == np.uint8 and whole.shape == frames.shape
    assert np.abs(whole.astype(int) - frames).mean() <= FORMATS[suffix]
    for begin, end, step in ((0, 1, 1), (3, 7, 1), (11, 12, 1), (2, 12, 3), (5, 5, 1)):
        np.testing.assert_array_equal(clip.read(begin, end, step=step), whole[begin:end:step])
    small = clip.read(4, 6, size=(16, 24), channels=1)
    assert small.shape == (2, 16, 24, 1)
    grey = whole[4:6].reshape(2, 16, 2, 24, 2, 3).mean((2, 4)) @ [0.299, 0.587, 0.114]
    assert np.abs(small[..., 0] - grey).max() < 2


def test_a_window_decodes_no_further(tmp_path, monkeypatch):
    frames = moving_square()
    for name in ("clip.avi", "clip.npz", "clip"):
        write(tmp_path / name, frames)
    write_images(tmp_path / "many", frames)
    decoded = []
    decode = video_files.VideoClip.decode

    def counted(clip, begin, end):
        for frame in decode(clip, begin, end):
            decoded.append(1)
            yield frame

    monkeypatch.setattr(video_files.VideoClip, "decode", counted)
    open_clip(tmp_path / "clip.avi").read(3, 6)
    assert len(decoded) == 3
    clip = open_clip(tmp_path / "many")
    (tmp_path / "many" / "9.png").write_bytes(b"cut off")
    assert clip.read(2, 9).shape == (7, 32, 48, 3)  # the image outside the window is not looked at
    with pytest.raises(UnreadableClip, match=r"frame 9\.png cannot be decoded"):
        clip.read(2, 10)


def test_a_window_of_a_large_array_needs_little_memory(tmp_path):
    path = tmp_path / "clip.npz"
    np.savez_compressed(path, frames=np.broadcast_to(np.arange(800, dtype=np.uint8)[:, None, None], (800, 160, 160)))  # 20 MB
    clip = open_clip(path)
    tracemalloc.start()
    frames = clip.read(780, 790)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frames[:, 5, 7, 0].tolist() == [n % 256 for n in range(780, 790)]
    assert most < 3e6


def test_silhouettes_and_floats_are_scaled(tmp_path):
    mask = np.random.default_rng(0).random((3, 4, 5)) < 0.5
    np.save(tmp_path / "mask.npy", mask)
    np.save(tmp_path / "share.npy", mask / 2)
    np.testing.assert_array_equal(open_clip(tmp_path / "mask.npy").read()[..., 0], mask * 255)
    np.testing.assert_array_equal(open_clip(tmp_path / "share.npy").read()[..., 0], mask * 128)
    np.save(tmp_path / "wrong.npy", mask * np.nan)
    with pytest.raises(InputError, match=r"wrong\.npy holds floats outside 0 to 1"):
        open_clip(tmp_path / "wrong.npy").read()


def tagged(path, old, new):
    path.write_bytes(path.read_bytes().replace(old, new))


def test_what_cannot_be_read_is_named(tmp_path):
    frames = moving_square(4)
    for name in ("unknown.avi", "cut.mp4", "fine.avi", "fine.mkv", "fine.mp4"):
        write(tmp_path / name, frames)
    tagged(tmp_path / "unknown.avi", b"MJPG", b"ZZZZ")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "cut.mp4").read_bytes()[:60])
    (tmp_path / "none.mp4").write_bytes(b"")
    (tmp_path / "text.avi").write_bytes(b"no video at all")
    (tmp_path / "broken.zip").write_bytes(b"PK no")
    np.save(tmp_path / "still.npy", np.zeros((0, 4, 4), np.uint8))
    np.save(tmp_path / "flat.npy", np.zeros((4, 4), np.uint8))
    np.save(tmp_path / "wide.npy", np.zeros((4, 4, 4), np.int64))
    (tmp_path / "pickle.npy").write_bytes(b"\x80\x04")
    np.savez(tmp_path / "two.npz", a=np.zeros(2), b=np.zeros(2))
    lines = {
        "unknown.avi": "its codec is ZZZZ",
        "cut.mp4": "cannot be opened as a video",
        "none.mp4": "is empty",
        "text.avi": "cannot be opened as a video",
        "broken.zip": "is not a zip",
        "still.npy": "holds no frame",
        "flat.npy": r"holds uint8 \[4, 4\]",
        "wide.npy": "holds int64",
        "pickle.npy": "cannot be read as an array",
        "two.npz": "holds a.npy, b.npy: name the array of frames 'frames'",
    }
    for name, line in lines.items():
        with pytest.raises(UnreadableClip, match=f"{name} .*{line}|{name}.*{line}"):
            open_clip(tmp_path / name)
    codes = {name: video_files.codec_of(tmp_path / name) for name in ("fine.avi", "fine.mkv", "fine.mp4", "text.avi")}
    assert codes == {"fine.avi": "MJPG", "fine.mkv": "V_FFV1", "fine.mp4": "mp4v", "text.avi": None}


def test_a_file_cut_off_has_the_frames_that_are_there(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (12, 32, 48, 3), np.uint8)
    path = tmp_path / "clip.avi"
    write(path, frames)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = open_clip(path)
    assert 3 <= clip.frames <= 8
    assert clip.read(clip.frames - 2).shape[0] == 2


def test_frames_of_changing_size_are_refused_by_name(tmp_path):
    write_images(tmp_path / "walk" / "a", moving_square(3))
    Image.fromarray(moving_square(1)[0, :20]).save(tmp_path / "walk" / "a" / "10.png")
    with pytest.raises(InputError, match=r"frame 10\.png is 20x48, 0\.png is 32x48"):
        load_clips(tmp_path, size=(8, 8), unreadable="skip")


def corpus(root):
    frames = moving_square()
    for name in ("train/run/v_g01_a.avi", "train/walk/v_g02_b", "test/run/v_g03_c.npz", "test/walk/v_g03_d.gif"):
        write(root / name, frames[: 6 if "test" in name else 12])
    return frames


def test_a_folder_by_class(tmp_path):
    frames = corpus(tmp_path)
    (tmp_path / "train" / "walk" / "empty").mkdir()
    (tmp_path / "train" / "walk" / "notes.txt").write_text("not a clip")
    (tmp_path / "test" / "run" / "bad.mp4").write_bytes(b"bad")
    series = load_clips(tmp_path, size=(16, 24), grey=True, group=r"_(g\d+)_", rate=10)
    assert series.classes.names == ("run", "walk")
    assert series.names == ("test/run/v_g03_c.npz", "test/walk/v_g03_d.gif", "train/run/v_g01_a.avi", "train/walk/v_g02_b")
    assert series.labels is not None and series.labels.tolist() == [0, 1, 0, 1]
    assert series.lengths.tolist() == [6, 6, 12, 12] and series.rate == RATE
    assert series.groups == ("g03", "g03", "g01", "g02")
    assert {split: rows.tolist() for split, rows in series.splits.items()} == {"train": [2, 3], "test": [0, 1]}
    assert series.record["skipped"] == 2 and "bad.mp4" in series.record["skipped_clips"]
    clip = open_clip(tmp_path / "train/walk/v_g02_b")
    np.testing.assert_array_equal(series.inputs["frames"][3], clip.read(size=(16, 24), channels=1))
    assert series.inputs["frames"][0].shape == (6, 16, 24, 1) and frames.shape[0] == 12
    with pytest.raises(UnreadableClip, match=r"bad\.mp4"):
        load_clips(tmp_path, size=(16, 24), unreadable="refuse")


def test_every_other_frame_halves_the_rate(tmp_path):
    write(tmp_path / "run" / "a.npz", moving_square(7))
    series = load_clips(tmp_path, every=2)
    assert series.lengths.tolist() == [4] and series.rate == RATE / 2
    whole = open_clip(tmp_path / "run" / "a.npz").read()
    np.testing.assert_array_equal(series.inputs["frames"][0], whole[::2])
    np.testing.assert_array_equal(series.inputs["frames"].read(0, 1, 4), whole[2:7:2])


def test_a_zip_of_clip_folders(tmp_path):
    frames = moving_square(4)
    write_zip(tmp_path / "all.zip", {"set1/10_b": frames, "set1/9_a": frames[:2], "set2/3_a": frames[:3]})
    series = load_clips(tmp_path / "all.zip", label=r"_(\w)$", group="set.")
    assert series.names == ("set1/9_a", "set1/10_b", "set2/3_a") and series.groups == ("set1", "set1", "set2")
    assert series.classes.names == ("a", "b") and series.labels is not None and series.labels.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(series.inputs["frames"].read(1, 1, 3), frames[1:3])
    assert [place.name for place in find_clips(tmp_path)] == ["set1/9_a", "set1/10_b", "set2/3_a"]


def test_flow_beside_the_frames_and_kept_clips(tmp_path):
    write(tmp_path / "run" / "a.npy", moving_square(6))
    series = load_clips(tmp_path, size=(32, 48), grey=True, flow=True, grid=(4, 6), keep=0)
    kept = load_clips(tmp_path, size=(32, 48), grey=True, flow=True, grid=(4, 6))
    whole = series.inputs["flow"][0]
    assert whole.shape == (6, 4, 6, 2) and not whole[-1].any() and np.abs(whole[0]).max() > 0.5
    np.testing.assert_array_equal(series.inputs["flow"].read(0, 2, 5), whole[2:5])
    shapes = [load_clips(tmp_path, size=(32, 48), flow=True, grid=grid).identity for grid in (None, (4, 6), (2, 3))]
    assert len({str(identity) for identity in shapes}) == 3
    for _ in range(2):
        np.testing.assert_array_equal(kept.inputs["flow"].read(0, 2, 5), whole[2:5])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"size": (8, 8), "unreadable": "maybe"}, "unreadable is 'maybe'"),
        ({}, "give the size that all are resized to"),
        ({"size": (8, 8), "group": "person(.)"}, r"group 'person\(\.\)' matches nothing in the name run/a.npy"),
        ({"size": (8, 8), "group": "("}, "not a regular expression"),
        ({"size": (8, 8), "segments": "none.csv"}, "none.csv is missing"),
    ],
)
def test_wrong_options_are_refused(arguments, line, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 8, 8), np.uint8))
    (tmp_path / "run").mkdir()
    for name, side in (("a", 8), ("b", 9)):
        np.save(tmp_path / "run" / f"{name}.npy", np.zeros((3, side, side), np.uint8))
    with pytest.raises(InputError, match=r"a\.npy lies in no folder of a class"):
        load_clips(tmp_path, size=(8, 8))
    (tmp_path / "a.npy").unlink()
    with pytest.raises(InputError, match=line):
        load_clips(tmp_path, **arguments)


def test_a_missing_rate_is_refused_or_given(tmp_path, monkeypatch):
    write(tmp_path / "run" / "a.avi", moving_square(3))
    monkeypatch.setattr(video_files, "RATE", -1)  # a property that OpenCV does not know is 0, as an unknown rate is
    with pytest.raises(InputError, match=r"a\.avi states no frame rate"):
        load_clips(tmp_path)
    assert load_clips(tmp_path, rate=12).rate == 12


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="holds no clip"):
        load_clips(tmp_path)
    with pytest.raises(InputError, match="is missing"):
        load_clips(tmp_path / "none")
    (tmp_path / "run" / "a").mkdir(parents=True)
    with pytest.raises(UnreadableClip, match="holds no image"):
        load_clips(tmp_path)
    with pytest.raises(InputError, match="frames 2 to 1"):
        np.save(tmp_path / "a.npy", np.zeros((3, 8, 8), np.uint8))
        open_clip(tmp_path / "a.npy").read(2, 1)


def test_the_digest_is_of_the_content(tmp_path):
    digests = {}
    for place in ("here", "there"):
        write(tmp_path / place / "run" / "a.npy", moving_square(3))
        digests[place] = load_clips(tmp_path / place).record["sha256"]
    assert digests["here"] == digests["there"]
    np.save(tmp_path / "there" / "run" / "a.npy", moving_square(3) + 1)
    assert load_clips(tmp_path / "there").record["sha256"] != digests["here"]
    assert clips.file_digest(tmp_path / "here/run/a.npy") == clips.file_digest(tmp_path / "here/run/a.npy")
