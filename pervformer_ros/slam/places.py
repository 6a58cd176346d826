# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which keyframes may show the place that a view shows, wherever the robot believes it is.

By votes: the strongest features of the view are looked for in the keyframes. Where there are more
of these than can be asked, place descriptors choose: one matrix product over thousands of keyframes
takes less than a millisecond, so nothing cleverer is needed.
"""

import numpy as np

from pervformer_ros.slam.keyframe import Keyframe
from pervformer_ros.slam.matching import match
from pervformer_ros.slam.view import View

# So many features vote, and so many keyframes are asked.
VOTERS = 100
ASKED = 120
MIN_VOTES = 8
VOTE_SIMILARITY = 0.5
VOTE_RATIO = 0.9


def alike(view: View, keyframes: list[Keyframe], count: int) -> list[Keyframe]:
    """Return at most `count` of the keyframes that look most like the view, the likeliest first."""
    if not keyframes:
        return []
    asked = _shortlist(view, keyframes)
    strongest = view.descriptors[np.argsort(-view.score, kind="stable")[:VOTERS]]
    votes = [
        len(match(k.descriptors, strongest, min_similarity=VOTE_SIMILARITY, max_ratio=VOTE_RATIO))
        for k in asked
    ]
    order = np.argsort(votes, kind="stable")[::-1]
    return [asked[i] for i in order[:count] if votes[i] >= MIN_VOTES]


def _shortlist(view: View, keyframes: list[Keyframe]) -> list[Keyframe]:
    """Return those that look most alike as a whole, or evenly spread ones where nothing tells."""
    if len(keyframes) <= ASKED:
        return keyframes
    size = len(view.place_descriptor)
    if not size or any(len(keyframe.place_descriptor) != size for keyframe in keyframes):
        return keyframes[:: -(-len(keyframes) // ASKED)]
    described = np.stack([keyframe.place_descriptor for keyframe in keyframes])
    order = np.argsort(-(described @ view.place_descriptor), kind="stable")
    return [keyframes[i] for i in np.sort(order[:ASKED])]
