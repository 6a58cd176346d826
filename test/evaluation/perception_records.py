# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Records made by hand: a few objects in a row of frames, and what somebody said of them."""

from dataclasses import replace

import numpy as np

from pervformer_ros.evaluation.perception.records import Claims, Record, Truth, as_boxes

FRAMES_PER_S = 10


def box(left, top=20, size=20):
    return [left, top, left + size, top + size]


def frame(t, things, said=None, claimed=None):
    """One frame.

    things: (id, label, pixels, box or None, position) of what is true.
    said: (id, label, box) of what is detected and published, by default what is seen truly.
    claimed: (id, box or None, position) of what is remembered, by default the truth.
    """
    truth = Truth(
        id=np.array([t[0] for t in things], np.int64),
        label=np.array([t[1] for t in things], np.str_),
        pixels=np.array([t[2] for t in things], np.int64),
        box=np.array([_or_nan(t[3]) for t in things], np.float32).reshape(-1, 4),
        position=np.array([t[4] for t in things], float).reshape(-1, 3),
    )
    if said is None:
        said = [(t[0], t[1], t[3]) for t in things if t[2] >= 150]
    if claimed is None:
        claimed = [(t[0], t[3] if t[2] >= 150 else None, t[4]) for t in things]
    boxes = as_boxes(
        [s[0] for s in said], [s[1] for s in said], [s[2] for s in said], [1] * len(said)
    )
    claims = Claims(
        np.array([c[0] for c in claimed], np.int64),
        np.array([_or_nan(c[1]) for c in claimed], float).reshape(-1, 4),
        np.array([c[2] for c in claimed], float).reshape(-1, 3),
    )
    return Record(
        stamp_ns=10**9 + t * 10**9 // FRAMES_PER_S,
        truth=truth,
        detections=boxes,
        published=boxes,
        claims={"probes": claims, "published": claims},
    )


def renamed(record, names):
    """The same frame, with published ids replaced."""
    old = record.published
    new = replace(old, id=np.array([names.get(i, i) for i in old.id.tolist()], np.int64))
    claims = record.claims["published"]
    ids = np.array([names.get(i, i) for i in claims.id.tolist()], np.int64)
    return replace(
        record, published=new, claims={**record.claims, "published": replace(claims, id=ids)}
    )


def _or_nan(corners):
    return [np.nan] * 4 if corners is None else corners
