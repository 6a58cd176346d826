# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How the viewer's window is divided."""

import rerun.blueprint as rrb

from pervformer_ros.viewer.scene import CAMERA


def layout() -> rrb.Blueprint:
    """Return the image and the map side by side, events and probes below them."""
    picture = [f"{CAMERA}/{part}" for part in ("image", "masks", "objects")]
    seen = rrb.Tabs(
        rrb.Spatial2DView(origin=CAMERA, contents=picture, name="Objects"),
        rrb.Spatial2DView(
            origin=CAMERA, contents=[f"{CAMERA}/image", f"{CAMERA}/static_mask"], name="Moving"
        ),
        rrb.Spatial2DView(origin=CAMERA, contents=[f"{CAMERA}/depth"], name="Depth"),
        rrb.Spatial2DView(
            origin=CAMERA,
            contents=[f"{CAMERA}/{part}" for part in ("image", "attention", "probes")],
            name="Probes",
        ),
    )
    # Pictures in space would hide what is behind them; depth is a cloud there.
    flat = ("image", "static_mask", "masks", "objects", "probes", "attention")
    world = rrb.Spatial3DView(
        origin="map", contents=["map/**", *(f"- {CAMERA}/{part}" for part in flat)], name="Map"
    )
    told = rrb.TextLogView(origin="events", name="Events")
    probes = rrb.TimeSeriesView(origin="probes", name="Presence of probes")
    return rrb.Blueprint(
        rrb.Vertical(rrb.Horizontal(seen, world), rrb.Horizontal(told, probes), row_shares=[3, 1])
    )
