# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The lives of probes in a stream: which object each holds when, and what it should say.

Births come as they come from detections: one frame late, with a box that is a bit off, sometimes
where there is nothing. A probe keeps its object while that is seen or could come back, says so, and
is released some frames after it should have let go.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.training.segments import Segment

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Values = Any

BORN_PIXELS = 100  # an object that shows fewer is not detected
SEEN_PIXELS = 40  # one that shows fewer is hidden
MISSED = 0.2  # chance that a detection does not come
JITTER = 0.08  # of a birth's box, in box sizes
FALSE_BIRTHS = 0.03  # a frame
FALSE_LIFE = (3, 10)  # frames
HOLD = 15.0  # s that an unseen object is kept
AFTERLIFE = 6  # frames between "should let go" and being released
FARTHEST = 15.0  # m; beyond it an unseen object is let go


class ProbeTargets(NamedTuple):
    """Of T frames and P probes: arrays, in a batch tensors with B before these axes."""

    birth: Values  # bool (T, P)
    birth_box: Values  # float32 (T, P, 4) centre x, y, width, height as fractions of the image
    release: Values  # bool (T, P)
    alive: Values  # bool (T, P)
    body: Values  # int64 (T, P) body index + 1, 0 = a false birth
    presence: Values  # float32 (T, P) 1 = the object should be remembered
    visible: Values  # float32 (T, P)
    category: Values  # int64 (T, P)
    box: Values  # float32 (T, P, 4) as birth_box
    box_valid: Values  # bool (T, P)
    position: Values  # float32 (T, P, 3) m in the camera frame
    motion: Values  # float32 (T, P)

    def between(self, start: int, stop: int) -> "ProbeTargets":
        """Return the frames from start to before stop."""
        return ProbeTargets(*(x[start:stop] for x in self))

    @classmethod
    def none(cls, frames: int) -> "ProbeTargets":
        """Return the targets of a model without probes."""
        return cls.empty(frames, 0)

    @classmethod
    def empty(cls, frames: int, probes: int) -> "ProbeTargets":
        """Return the targets of probes that are all free."""
        n = (frames, probes)
        no, zero, whole = (np.zeros(n, t) for t in (bool, np.float32, np.int64))
        four, three = np.zeros((*n, 4), np.float32), np.zeros((*n, 3), np.float32)
        arrays = (no, four, no, no, whole, zero, zero, whole, four, no, three, zero)
        return cls(*(a.copy() for a in arrays))


def live(
    rng: Generator,
    segment: Segment,
    clock: Floats,
    hidden: Bools,
    K: Array,
    T_map_camera: Array,
    probes: int,
) -> ProbeTargets:
    """Let the probes of a stream live.

    Args:
        rng: draws delays, jitter and false births.
        segment: the stream.
        clock: (L,) seconds.
        hidden: (L, H, W) what the model is not shown.
        K: of the window.
        T_map_camera: (L, 4, 4), mirrored where the stream is.
        probes: P.
    """
    frames, recording = segment.frames, segment.recording
    out = ProbeTargets.empty(len(frames), probes)
    pixels, boxes = _seen(segment, hidden)
    pixels *= segment.window.shrink**2  # of the whole image
    owner = np.zeros(probes, np.int64)  # body + 1; 0 = free, -1 = a false birth
    ends = np.zeros(probes, np.int64)  # frame at which a false birth or an afterlife is over
    last_seen = np.zeros(probes)
    for t in range(len(frames)):
        _release(out, t, owner, ends)
        if t:
            _bear(rng, out, t, owner, ends, last_seen, clock, pixels[t - 1], boxes[t - 1])
        mirrored = np.array([-1.0 if segment.mirrored else 1.0, 1.0, 1.0])
        inside = transform_points(invert(T_map_camera[t]), recording.centre[frames[t]] * mirrored)
        for p in np.flatnonzero(owner):
            out.alive[t, p] = True
            if owner[p] < 0:
                continue
            i = owner[p] - 1
            seen = pixels[t, i] >= SEEN_PIXELS
            last_seen[p] = clock[t] if seen else last_seen[p]
            far = np.linalg.norm(inside[i]) > FARTHEST
            keep = clock[t] - last_seen[p] < HOLD and not (far and not seen)
            if not keep and not ends[p]:
                ends[p] = t + AFTERLIFE
            if seen:
                ends[p] = 0
            out.body[t, p], out.category[t, p] = i + 1, recording.classes[i]
            out.presence[t, p], out.visible[t, p] = keep or seen, seen
            out.position[t, p] = inside[i]
            out.motion[t, p] = recording.moving[frames[t], i]
            box = boxes[t, i] if seen else _outline(segment, frames[t], i, K, T_map_camera[t])
            if box is not None:
                out.box[t, p], out.box_valid[t, p] = box, True
    return out


def _seen(segment: Segment, hidden: Bools) -> tuple[NDArray[np.int64], Floats]:
    """Return how many pixels show each body (L, B) and their boxes (L, B, 4)."""
    frames, recording = segment.frames, segment.recording
    bodies = len(recording.classes)
    pixels = np.zeros((len(frames), bodies), np.int64)
    boxes = np.zeros((len(frames), bodies, 4), np.float32)
    height, width = hidden.shape[1:]
    for t, frame in enumerate(frames):
        instance = segment.see(recording.instance[frame])
        shown = np.where(hidden[t], 0, instance)
        counts = np.bincount(shown.ravel(), minlength=bodies + 1)[1 : bodies + 1]
        pixels[t] = counts
        # The box of what is hidden on purpose is that of what is behind.
        for i, place in enumerate(find_objects(shown.astype(np.int32), bodies)):
            if place is not None:
                boxes[t, i] = _box(place, height, width)
    return pixels, boxes


def _box(place: tuple[slice, ...], height: int, width: int) -> Floats:
    down, across = place
    x = (across.start + across.stop) / 2 / width
    y = (down.start + down.stop) / 2 / height
    return np.array(
        [x, y, (across.stop - across.start) / width, (down.stop - down.start) / height], np.float32
    )


def _outline(
    segment: Segment, frame: int, body: int, K: Array, T_map_camera: Array
) -> Floats | None:
    """Return the box of a body that is not seen, from its pose; None if it is out of view."""
    recording = segment.recording
    ends = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3), axis=-1).reshape(-1, 3) * recording.size[body]
    corners = transform_points(recording.T_map_object[frame, body], ends)
    if segment.mirrored:
        corners = corners * (-1.0, 1.0, 1.0)
    corners = transform_points(invert(T_map_camera), corners)
    if corners[:, 2].min() < 0.2:
        return None
    uv = corners[:, :2] / corners[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2] + 0.5
    size = np.array(segment.window.shape[::-1])
    low, high = np.clip(uv.min(0) / size, 0, 1), np.clip(uv.max(0) / size, 0, 1)
    if (high - low).min() < 0.01:
        return None
    return np.concatenate([(low + high) / 2, high - low]).astype(np.float32)


def _release(out: ProbeTargets, t: int, owner: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
    over = (owner != 0) & (ends > 0) & (ends <= t)
    out.release[t] = over
    owner[over] = ends[over] = 0


def _bear(
    rng: Generator,
    out: ProbeTargets,
    t: int,
    owner: NDArray[np.int64],
    ends: NDArray[np.int64],
    last_seen: NDArray[np.float64],
    clock: Floats,
    pixels: NDArray[np.int64],
    boxes: Floats,
) -> None:
    """Give free probes the objects that were seen in the frame before and have none."""
    new = [i for i in np.flatnonzero(pixels >= BORN_PIXELS) if i + 1 not in owner]
    births = [(i + 1, boxes[i]) for i in new if rng.random() >= MISSED]
    if rng.random() < FALSE_BIRTHS:
        size = rng.uniform(0.05, 0.4, 2)
        births.append((-1, np.concatenate([rng.uniform(size / 2, 1 - size / 2), size])))
    free = rng.permutation(np.flatnonzero((owner == 0) & ~out.release[t]))
    for p, (body, box) in zip(free, births, strict=False):
        owner[p], last_seen[p] = body, clock[t]
        ends[p] = t + rng.integers(*FALSE_LIFE) if body < 0 else 0
        noise = rng.normal(0, JITTER, 4) * np.tile(box[2:], 2)
        out.birth[t, p] = True
        out.birth_box[t, p] = np.clip(box + noise, 0.01, 0.99)
