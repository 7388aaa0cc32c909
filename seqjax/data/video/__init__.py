"""Video: clips of many formats, optical flow, augmentation, rendered clips, and frames that arrive one at a time."""

from seqjax.data.video.augment import Augment
from seqjax.data.video.clips import Clip, UnreadableClip
from seqjax.data.video.flow import optical_flow
from seqjax.data.video.folders import load_clips
from seqjax.data.video.lazy import Flow, Frames, Kept, LazyClips, with_flow
from seqjax.data.video.places import find_clips, open_clip
from seqjax.data.video.rendered import render_series
from seqjax.data.video.sources import TimedFrame, clip_frames, flow_frames, folder_frames, image_frames, number_frames, raw_frames
from seqjax.data.video.tfds_clips import load_tfds

__all__ = [
    "Augment",
    "Clip",
    "Flow",
    "Frames",
    "Kept",
    "LazyClips",
    "TimedFrame",
    "UnreadableClip",
    "clip_frames",
    "find_clips",
    "flow_frames",
    "folder_frames",
    "image_frames",
    "load_clips",
    "load_tfds",
    "number_frames",
    "open_clip",
    "optical_flow",
    "raw_frames",
    "render_series",
    "with_flow",
]
