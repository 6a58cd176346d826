# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The map on disk: one safetensors file with all keyframes and the graph that holds them."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pervformer_ros.files import write_whole
from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import Array
from pervformer_ros.slam.factors import Edge, EdgeKind, Vertical
from pervformer_ros.slam.graph import PoseGraph
from pervformer_ros.slam.keyframe import Keyframe

FORMAT = "pervformer_ros map"
FORMAT_VERSION = "2"
KINDS = list(EdgeKind)


class MapError(ValueError):
    """A map that cannot be written or loaded; the text says why and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class SavedMap:
    """What a map is made of.

    keyframes: all of them, in order. Odometry of that time is of no use later and is left out.
    graph: their poses, and what holds them.
    is_level: whether the map's z axis is vertical.
    """

    keyframes: list[Keyframe]
    graph: PoseGraph
    is_level: bool

    def write(self, path: Path) -> None:
        """Write the file in one step: it is either the old one or the new one, never half.

        Raises:
            MapError: if there is nothing to write, or the place cannot be written to.
        """
        if not self.keyframes:
            raise MapError("the map is empty: drive until something has been seen, then save it")
        if not path.name:
            raise MapError(f"'{path}' names no file: give the path of the file to write")
        cameras = list(dict.fromkeys(k.camera for k in self.keyframes))
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "is_level": json.dumps(self.is_level),
            "cameras": json.dumps([asdict(camera) for camera in cameras]),
        }
        packed = _pack_keyframes(self.keyframes, cameras) | _pack_graph(self.graph)
        tensors = {name: np.ascontiguousarray(tensor) for name, tensor in packed.items()}
        data = save(tensors, header | {"sha256": _digest(header, tensors)})
        try:
            write_whole(path, data)
        except OSError as error:
            raise MapError(f"cannot write {path}: {error.strerror or error}") from error

    @classmethod
    def read(cls, path: Path) -> "SavedMap":
        """Read a file.

        Raises:
            MapError: if it is missing, damaged or of another version.
        """
        try:
            with safe_open(path, "numpy") as file:
                header = file.metadata() or {}
                found = header.get("format"), header.get("version")
                if found != (FORMAT, FORMAT_VERSION):
                    raise MapError(
                        f"{path} is no map of version {FORMAT_VERSION}: drive anew and save one "
                        "with this version of pervformer_ros"
                    )
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if header.pop("sha256") != _digest(header, tensors):
                raise MapError(f"{path} is damaged (its digest is another): load another one")
            cameras = [
                CameraModel(**{**c, "distortion": tuple(c["distortion"])})
                for c in json.loads(header["cameras"])
            ]
            graph = _unpack_graph(tensors)
            keyframes = _unpack_keyframes(tensors, cameras, graph.stamps_ns)
            return cls(keyframes, graph, bool(json.loads(header["is_level"])))
        except OSError as error:
            raise MapError(f"cannot read {path}: {error.strerror or error}") from error
        except MapError:
            raise
        except (SafetensorError, KeyError, IndexError, TypeError, ValueError) as error:
            raise MapError(f"{path} is damaged ({error}): load another one") from error


def _digest(header: dict[str, str], tensors: dict[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of all that is in the file but itself."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _pack_keyframes(keyframes: list[Keyframe], cameras: list[CameraModel]) -> dict[str, Array]:
    places = [k.place_descriptor for k in keyframes if len(k.place_descriptor)]
    return {
        "camera": np.array([cameras.index(k.camera) for k in keyframes]),
        "T_base_camera": np.stack([k.T_base_camera for k in keyframes]),
        "features": np.array([len(k) for k in keyframes]),
        "points": np.concatenate([k.points for k in keyframes]),
        "static_probability": np.concatenate([k.static_probability for k in keyframes]),
        "descriptors": np.concatenate([k.descriptors for k in keyframes]),
        "has_place": np.array([len(k.place_descriptor) > 0 for k in keyframes]),
        "place_descriptors": np.stack(places) if places else np.zeros((0, 0), np.float32),
        "looking_distance": np.array([k.looking_distance for k in keyframes]),
    }


def _unpack_keyframes(
    tensors: dict[str, NDArray[Any]], cameras: list[CameraModel], stamps_ns: NDArray[np.int64]
) -> list[Keyframe]:
    ends = np.cumsum(tensors["features"])[:-1]
    # Copies, so that a keyframe which is forgotten later gives its memory back.
    points, static, descriptors = (
        [part.copy() for part in np.split(tensors[name], ends)]
        for name in ("points", "static_probability", "descriptors")
    )
    has_place = np.flatnonzero(tensors["has_place"]).tolist()
    places = dict(zip(has_place, tensors["place_descriptors"], strict=True))
    nowhere = np.empty(0, np.float32)
    return [
        Keyframe(
            id=i,
            stamp_ns=int(stamp),
            camera=cameras[tensors["camera"][i]],
            T_base_camera=tensors["T_base_camera"][i],
            reading=None,
            points=points[i],
            static_probability=static[i],
            descriptors=descriptors[i],
            place_descriptor=places.get(i, nowhere).copy(),
            looking_distance=float(tensors["looking_distance"][i]),
        )
        for i, stamp in enumerate(stamps_ns)
    ]


def _pack_graph(graph: PoseGraph) -> dict[str, Array]:
    edges, verticals = graph.edges, graph.verticals
    return {
        "stamps_ns": graph.stamps_ns,
        "poses": graph.poses,
        "edge_ends": np.array([(e.first, e.second) for e in edges]).reshape(-1, 2),
        "edge_kind": np.array([KINDS.index(e.kind) for e in edges], int),
        "edge_pose": np.array([e.T_first_second for e in edges]).reshape(-1, 4, 4),
        "edge_covariance": np.array([e.covariance for e in edges]).reshape(-1, 6, 6),
        "vertical_keyframe": np.array([v.keyframe for v in verticals], int),
        "vertical_up": np.array([v.up for v in verticals]).reshape(-1, 3),
        "vertical_sigma": np.array([v.sigma for v in verticals], float),
    }


def _unpack_graph(tensors: dict[str, NDArray[Any]]) -> PoseGraph:
    edges = zip(
        tensors["edge_ends"].tolist(),
        tensors["edge_kind"].tolist(),
        tensors["edge_pose"],
        tensors["edge_covariance"],
        strict=True,
    )
    verticals = zip(
        tensors["vertical_keyframe"].tolist(),
        tensors["vertical_up"],
        tensors["vertical_sigma"].tolist(),
        strict=True,
    )
    stamps, poses = tensors["stamps_ns"], tensors["poses"]
    if poses.shape != (len(stamps), 4, 4) or not np.isfinite(poses).all():
        raise ValueError(f"{len(stamps)} keyframes have poses that are none")
    for name in ("edge_ends", "vertical_keyframe"):
        if not np.isin(tensors[name], np.arange(len(stamps))).all():
            raise ValueError(f"{name} names a keyframe that there is not")
    if not (tensors["vertical_sigma"] > 0).all():
        raise ValueError("an error of a vertical is not positive")
    return PoseGraph(
        np.arange(len(stamps)),
        stamps,
        poses,
        tuple(Edge(a, b, KINDS[kind], T, covariance) for (a, b), kind, T, covariance in edges),
        tuple(Vertical(*vertical) for vertical in verticals),
    )
