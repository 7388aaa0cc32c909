"""Optical flow between consecutive frames, by Farneback's method."""

import numpy as np

from seqjax.errors import InputError
from seqjax.extras import from_extra


def optical_flow(frames: np.ndarray, *, grid: tuple[int, int] | None = None, window: int | None = None) -> np.ndarray:
    """Optical flow from each frame to the next.

        frames[t + 1, y + v, x + u] ~ frames[t, y, x],   flow[t, y, x] = (u, v),   flow[T - 1] = 0

    Args:
        frames: uint8 [T, H, W, C], grey or RGB.
        grid: (h, w): the flow is averaged over h x w areas; None: one vector a pixel.
        window: the side of the area over which Farneback's method averages, in pixels; None: a tenth of the shorter side,
            from 7 to 15.

    Returns:
        float32 [T, h, w, 2]: u to the right and v down, in pixels of the frames.

    Raises:
        InputError: the frames are not uint8 [T, H, W, 1 or 3].

    Example:
        >>> frames = np.zeros((3, 32, 32, 1), np.uint8)
        >>> for t in range(3):
        ...     frames[t, 8:20, 8 + 2 * t : 20 + 2 * t] = np.add.outer(np.arange(12), np.arange(12))[..., None] * 10
        >>> flow = optical_flow(frames)
        >>> flow.shape, [round(float(u)) for u in flow[:, 14, 14, 0]]
        ((3, 32, 32, 2), [2, 2, 0])

    Farneback, Two-frame motion estimation based on polynomial expansion, 2003.
    """
    with from_extra("vision"):
        import cv2

    if frames.ndim != 4 or frames.dtype != np.uint8 or frames.shape[-1] not in (1, 3):
        raise InputError(f"frames are {frames.dtype} {list(frames.shape)}: optical flow reads uint8 [T, H, W, 1 or 3]")
    length, height, width = frames.shape[:3]
    window = window or int(np.clip(min(height, width) // 10, 7, 15))
    # [T, h, w, 2]
    flows = np.zeros((length, *(grid or (height, width)), 2), np.float32)
    before = None
    for t, frame in enumerate(frames):
        grey = frame[..., 0] if frame.shape[-1] == 1 else cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
        if before is not None:
            flow = cv2.calcOpticalFlowFarneback(before, grey, None, 0.5, 3, window, 3, 5, 1.1, 0)  # type: ignore[call-overload]
            flows[t - 1] = flow if grid is None else cv2.resize(flow, grid[::-1], interpolation=cv2.INTER_AREA)
        before = grey
    return flows
