"""Encoders of images and frames."""

from seqjax.vision.encoders import ConvNet, frame_encoder

__all__ = ["ConvNet", "frame_encoder"]
