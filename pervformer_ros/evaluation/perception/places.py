# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places: whether the descriptor of an image finds the image taken there before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_precision_recall_curve
from torchmetrics.functional.retrieval import retrieval_hit_rate

from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.geometry import Array

EVERY_S = 0.3
AGO_S = 20.0  # what was seen later than this is no revisit
REVISIT_M, REVISIT_DEG = 1.5, 20.0
RIGHT_M, RIGHT_DEG = 2.0, 30.0  # a found place no farther than this is the right one


@dataclass(frozen=True, slots=True)
class Query:
    """One image asked for its place.

    revisit: it was taken near an image that is long ago.
    right: the best of those is near; similarity: of the best.
    hit: torchmetrics' hit rate at 1, which is recall@1 of one query.
    """

    revisit: bool
    right: bool
    similarity: float
    hit: float


@dataclass(slots=True)
class PlaceBench:
    """Collects descriptors and true poses of a run."""

    stamps_ns: list[int] = field(default_factory=list)
    poses: list[Array] = field(default_factory=list)
    descriptors: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, stamp_ns: int, T_map_base: Array, descriptor: NDArray[np.float32]) -> None:
        """Take an image, or leave it out where the last one taken is too near in time."""
        if self.stamps_ns and stamp_ns - self.stamps_ns[-1] < EVERY_S * NANOSECONDS:
            return
        self.stamps_ns.append(stamp_ns)
        self.poses.append(T_map_base)
        self.descriptors.append(descriptor.astype(np.float32))

    def queries(self) -> list[Query]:
        """Return what became of every image that has others long before it."""
        seconds = np.array(self.stamps_ns) / NANOSECONDS
        asked = []
        for i in range(len(seconds)):
            past = int(np.searchsorted(seconds, seconds[i] - AGO_S, side="right"))
            if past:
                asked.append(self._ask(i, past))
        return asked

    def _ask(self, i: int, past: int) -> Query:
        similarity = np.stack(self.descriptors[:past]) @ self.descriptors[i]
        near = self._near(i, past, REVISIT_M, REVISIT_DEG)
        right = self._near(i, past, RIGHT_M, RIGHT_DEG)
        hit = retrieval_hit_rate(torch.from_numpy(similarity), torch.from_numpy(right), top_k=1)
        best = int(similarity.argmax())
        return Query(bool(near.any()), bool(right[best]), float(similarity[best]), float(hit))

    def _near(self, i: int, past: int, metres: float, degrees: float) -> NDArray[np.bool_]:
        """Return which of the first images (past,) show what image i shows, by their poses."""
        here, there = self.poses[i], np.stack(self.poses[:past])
        distance = np.linalg.norm(there[:, :3, 3] - here[:3, 3], axis=1)
        # The trace of a rotation is 1 + 2 cos of its angle.
        trace = (there[:, :3, :3] * here[:3, :3]).sum(axis=(1, 2))
        return np.asarray((distance <= metres) & (trace >= 1 + 2 * np.cos(np.radians(degrees))))


def recall_at_1(queries: Sequence[Query]) -> float | None:
    """Return the part of revisits whose best match is right, None without any."""
    hits = [q.hit for q in queries if q.revisit]
    return float(np.mean(hits)) if hits else None


def precision_recall(queries: Sequence[Query]) -> tuple[Array, Array]:
    """Return precision and recall (N,) over all thresholds of the best match's similarity.

    Accepting the best match of an image that is no revisit is a mistake, unless it is right all the
    same. Recall counts revisits.
    """
    scores = torch.tensor([(q.similarity + 1) / 2 for q in queries])
    right = torch.tensor([q.right for q in queries], dtype=torch.int64)
    precision, recall, _ = binary_precision_recall_curve(scores, right)
    findable = sum(q.revisit or q.right for q in queries)
    found = int(right.sum()) / max(findable, 1)
    return precision.numpy().astype(float), recall.numpy().astype(float) * found


def draw_precision_recall(curves: Mapping[str, Sequence[Query]], path: Path) -> None:
    """Write the curves, by name, as a picture."""
    figure = Figure((5.0, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, queries in curves.items():
        precision, recall = precision_recall(queries)
        axes.plot(recall, precision, lw=1.5, label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(alpha=0.25)
    figure.legend(frameon=False, loc="outside lower center")
    figure.savefig(path, dpi=120)
