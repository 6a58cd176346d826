# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Perceiver: numpy in, numpy out, one frame at a time. Everything outside `model/` talks to it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pervformer_ros.features import Keypoints
from pervformer_ros.model import decode
from pervformer_ros.model.corners import corner_contrast
from pervformer_ros.model.fit import Fit
from pervformer_ros.model.heads import Percept
from pervformer_ros.model.looks import Picture
from pervformer_ros.model.pervformer import MemoryState, PervFormer, VideoInput
from pervformer_ros.model.probes import ProbeUpdate, propose

Floats = NDArray[np.float32]
Array = NDArray[np.float64]


class StateError(ValueError):
    """A saved memory that does not fit the model; the text says what to do about it."""


@dataclass(frozen=True, slots=True, eq=False)
class DetectionArrays:
    """K objects, best first, in the pixels of the image that was given.

    box: (K, 4) left, top, right, bottom; the image spans [0, width] x [0, height].
    class_index: (K,) into the configuration's classes.
    score: (K,) in [0, 1].
    mask: (K, H, W) bool.
    embedding: (K, E) of unit length; the dot product tells individuals apart.
    motion: (K,) probability that it moves in the world.
    """

    box: Floats
    class_index: NDArray[np.int64]
    score: Floats
    mask: NDArray[np.bool_]
    embedding: Floats
    motion: Floats


@dataclass(frozen=True, slots=True, eq=False)
class ProbeArrays:
    """What the P probes say; it counts where `alive`.

    alive: (P,) bool, the probe holds an object.
    born: (P,) bool, it took a new object with this frame.
    presence, visible, motion: (P,) probabilities that the object exists, is seen, moves.
    class_probability: (P, C).
    box: (P, 4) left, top, right, bottom pixels; may reach outside the image.
    position: (P, 3) m in the camera's optical frame.
    attention: (P, rows, columns) where in the image it looks, in cells that share the image evenly:
        (h8, w8), or as much of that as shows the image. It sums to 1 where that is all.
    """

    alive: NDArray[np.bool_]
    born: NDArray[np.bool_]
    presence: Floats
    visible: Floats
    motion: Floats
    class_probability: Floats
    box: Floats
    position: Floats
    attention: Floats


@dataclass(frozen=True, slots=True, eq=False)
class PerceptArrays:
    """What the model says about one image, in that image's pixels.

    keypoints: best first; (0, 0) is the first pixel's centre.
    motion_probability: (H, W) float32, that what is seen there moves in the world.
    place_descriptor: (M,) float32 of unit length.
    update: what the probes should do with the next frame; hand it back with that.
    """

    detections: DetectionArrays
    keypoints: Keypoints
    motion_probability: Floats
    place_descriptor: Floats
    probes: ProbeArrays
    update: ProbeUpdate


class Perceiver:
    """Runs a model on images of any size. It keeps no memory: that is passed in and handed back.

    An image is scaled alike along both axes and padded to the model's size, see `Fit`.
    """

    def __init__(
        self,
        model: PervFormer,
        device: str | torch.device = "cpu",
        threads: int | None = None,
        score_threshold: float = 0.3,
    ):
        """Take a model into service.

        Args:
            model: trained or not; it is moved to the device.
            device: of torch, such as "cpu" or "cuda".
            threads: CPU threads of this whole process, or None for torch's own choice.
            score_threshold: detections below it are not reported.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.score_threshold = score_threshold

    @torch.inference_mode()
    def init_state(self) -> MemoryState:
        """Return the empty memory."""
        return self.model.init_state(1)

    @torch.inference_mode()
    def perceive(
        self,
        rgb: NDArray[np.uint8],
        depth: Floats | None,
        dt_s: float,
        state: MemoryState,
        update: ProbeUpdate | None = None,
        reset: bool = False,
        K: Array | None = None,
        T_now_before: Array | None = None,
    ) -> tuple[PerceptArrays, MemoryState]:
        """Perceive one image.

        Args:
            rgb: (H, W, 3) uint8 of any size.
            depth: (H, W) float32 metres aligned to rgb, 0 = none; or None.
            dt_s: seconds since the frame before.
            state: the memory after that frame, or `init_state()`.
            update: what that frame proposed for the probes, or None to leave them as they are.
            reset: True where nothing that was seen before counts any more.
            K: (3, 3) intrinsics of rgb in pixels, or None where unknown.
            T_now_before: (4, 4) moves points from the camera of the frame before to this one's, or
                None where unknown. With both, what the camera's own motion explains is known.

        Returns:
            The percept and the memory after this frame; `state` itself is left as it was.

        Raises:
            ValueError: if the images do not fit each other, or dt_s is no time span.
        """
        _check_images(rgb, depth)
        if not 0.0 <= dt_s < math.inf:
            raise ValueError(f"dt_s is {dt_s}: give the seconds since the frame before")
        if reset:
            state, update = self.init_state(), None
        if update is None:
            update = ProbeUpdate.none(1, self.model.config.probes, self.device)
        fit = Fit(rgb.shape[:2], self.model.config.image_size)
        small = _resize(rgb, fit)
        inverse_depth, valid = self._inverse(depth, fit)
        frame = VideoInput(
            rgb=self._on_device(small).permute(2, 0, 1)[None].float() / 255.0,
            inverse_depth=inverse_depth,
            depth_valid=valid,
            camera=self._camera(K, fit),
            ego=self._ego(K, T_now_before),
            dt=torch.tensor([dt_s], dtype=torch.float32, device=self.device),
            reset=torch.zeros(1, dtype=torch.bool, device=self.device),
            birth=update.birth,
            birth_box=update.birth_box,
            release=update.release,
        )
        percept, state = self.model.step(frame, state)
        contrast = self._on_device(corner_contrast(small))[None, None]
        picture = Picture(*frame[:3], percept.cells, percept.mask_prototypes)
        return self._report(percept, picture, contrast, update, fit), state

    def state_to_arrays(self, state: MemoryState) -> dict[str, NDArray[np.generic]]:
        """Return a memory as arrays that can be saved."""
        return {name: x.cpu().numpy().copy() for name, x in state._asdict().items()}

    def state_from_arrays(self, arrays: Mapping[str, NDArray[np.generic]]) -> MemoryState:
        """Return the memory that `state_to_arrays` turned into arrays.

        Raises:
            StateError: if it is not one of this model.
        """
        empty = self.init_state()._asdict()
        if set(arrays) != set(empty):
            raise StateError(
                f"a saved memory has {sorted(empty)}, not {sorted(arrays)}: save it again"
            )
        for name, x in self.state_to_arrays(MemoryState(**empty)).items():
            found = arrays[name]
            if found.shape != x.shape or found.dtype != x.dtype:
                raise StateError(
                    f"the saved memory's {name} is {found.dtype} {found.shape}, this model's is "
                    f"{x.dtype} {x.shape}: load it with the checkpoint it was saved with"
                )
        return MemoryState(
            **{name: torch.tensor(array, device=self.device) for name, array in arrays.items()}
        )

    def _inverse(self, depth: Floats | None, fit: Fit) -> tuple[Tensor, Tensor]:
        """Return inverse depth and its validity (1, 1, H, W) in the model's size."""
        if depth is None:
            none = torch.zeros(1, 1, *fit.model, device=self.device)
            return none, none
        rows, columns = fit.nearest()
        metres = self._on_device(fit.pad(depth[rows][:, columns]))[None, None]
        valid = torch.isfinite(metres) & (metres > 0)
        return 1.0 / metres.masked_fill(~valid, 1.0), valid.float()

    def _on_device(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _camera(self, K: Array | None, fit: Fit) -> Tensor:
        """Return the intrinsics (1, 4) for the model's image."""
        height, width = fit.model
        if K is None:
            return torch.tensor([[width, width, width / 2, height / 2]], device=self.device)
        return torch.tensor(fit.intrinsics(K)[None], dtype=torch.float32, device=self.device)

    def _ego(self, K: Array | None, T_now_before: Array | None) -> Tensor:
        """Return the camera's motion (1, 3, 4), zeros where it is unknown."""
        if K is None or T_now_before is None:
            return torch.zeros(1, 3, 4, device=self.device)
        return torch.tensor(T_now_before[None, :3], dtype=torch.float32, device=self.device)

    def _report(
        self, percept: Percept, picture: Picture, contrast: Tensor, update: ProbeUpdate, fit: Fit
    ) -> PerceptArrays:
        heads = self.model.heads
        detections = decode.detections(
            percept,
            self.score_threshold,
            fit=fit,
            look_again=partial(heads.boxes, picture),
            recognise=partial(heads.identity, picture),
        )
        return PerceptArrays(
            detections=_detection_arrays(detections, fit),
            keypoints=_keypoint_arrays(decode.keypoints(percept, contrast, fit=fit), fit),
            motion_probability=_array(decode.motion_probability(percept, fit)[0]),
            place_descriptor=_array(percept.place[0]),
            probes=_probe_arrays(percept, update, fit),
            update=propose(detections, percept),
        )


def _check_images(rgb: NDArray[np.uint8], depth: Floats | None) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"rgb is {rgb.dtype} {rgb.shape}: give (H, W, 3) uint8")
    if depth is None:
        return
    if depth.dtype != np.float32 or depth.shape != rgb.shape[:2]:
        raise ValueError(
            f"depth is {depth.dtype} {depth.shape}: give float32 metres, aligned to colour "
            f"{rgb.shape[:2]}"
        )


def _resize(rgb: NDArray[np.uint8], fit: Fit) -> NDArray[np.uint8]:
    """Return colour in the model's size, black where it does not show the image."""
    height, width = fit.content
    if rgb.shape[:2] != fit.content:
        # Averaging areas makes blocks of what is enlarged.
        smaller = rgb.shape[0] >= height and rgb.shape[1] >= width
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=how), np.uint8)
    # A copy in any case: images from messages are often read-only, or have negative strides.
    return fit.pad(rgb)


def _array(x: Tensor) -> Floats:
    return x.float().cpu().numpy()


def _detection_arrays(found: decode.Detections, fit: Fit) -> DetectionArrays:
    valid = found.valid[0]
    box = fit.boxes_within(_array(found.box[0][valid]))
    return DetectionArrays(
        box=box,
        class_index=found.class_index[0][valid].cpu().numpy(),
        score=_array(found.score[0][valid]),
        mask=_enlarge_masks(_array(found.mask[0][valid]), box, fit),
        embedding=_array(found.embedding[0][valid]),
        motion=_array(found.motion[0][valid]),
    )


def _enlarge_masks(masks: Floats, box: Floats, fit: Fit) -> NDArray[np.bool_]:
    """Return masks (K, h4, w4) in the image's size, bilinearly, inside their boxes alone."""
    enlarged = np.zeros((len(masks), *fit.image), np.bool_)
    down, across = fit.bilinear(fit.image, masks.shape[1:])
    for mask, (left, top, right, bottom), out in zip(masks, box, enlarged, strict=True):
        rows = slice(math.floor(top), math.ceil(bottom))
        columns = slice(math.floor(left), math.ceil(right))
        out[rows, columns] = down[rows] @ mask @ across[columns].T > 0.5
    return enlarged


def _keypoint_arrays(found: decode.Keypoints, fit: Fit) -> Keypoints:
    count = int(found.valid.sum())  # valid ones come first: they are sorted by score
    return Keypoints(
        uv=fit.pixels(_array(found.uv[0, :count])),
        score=_array(found.score[0, :count]),
        descriptors=_array(found.descriptors[0, :count]).astype(np.float16),
    )


def _probe_arrays(percept: Percept, update: ProbeUpdate, fit: Fit) -> ProbeArrays:
    box = decode.centre_to_corners(percept.probe_box[0])
    attention = _array(percept.probe_attention[0])
    down, across = fit.bilinear(fit.cells(attention.shape[1:]), attention.shape[1:])
    return ProbeArrays(
        alive=percept.alive[0].cpu().numpy(),
        born=update.birth[0].cpu().numpy(),
        presence=_array(torch.sigmoid(percept.presence[0])),
        visible=_array(torch.sigmoid(percept.visible[0])),
        motion=_array(torch.sigmoid(percept.probe_motion[0])),
        class_probability=_array(torch.softmax(percept.probe_classes[0], dim=-1)),
        box=fit.boxes(_array(box)),
        position=_array(percept.probe_position[0]),
        attention=down @ attention @ across.T,
    )
