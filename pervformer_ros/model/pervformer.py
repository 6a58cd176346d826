# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""PervFormer: patch tokens and memory probes, through blocks of time, space and channels."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pervformer_ros.model.blocks import NORM_EPS, Block, RecurrentState
from pervformer_ros.model.config import PervFormerConfig, create_config
from pervformer_ros.model.egomotion import HALF, carry, change, shrink
from pervformer_ros.model.heads import Heads, Percept
from pervformer_ros.model.pointing import Sight, sight
from pervformer_ros.model.probes import ProbeTokens, alive_after, alive_through
from pervformer_ros.model.stems import MAX_INVERSE_DEPTH, ConvStem, PatchStem

# No motion is believed to have gone on unseen for longer than this.
LONGEST_GUESS_S = 0.5


class VideoInput(NamedTuple):
    """What the model is given; axes (B, T, ...) for `forward` and (B, ...) for `step`."""

    rgb: Tensor  # (..., 3, H, W) in [0, 1]
    inverse_depth: Tensor  # (..., 1, H, W) 1/m, read where depth is valid
    depth_valid: Tensor  # (..., 1, H, W) 1 where there is depth, 0 where there is none
    camera: Tensor  # (..., 4) fx, fy, cx, cy in pixels of this image
    # (..., 3, 4) moves points from the camera of the frame before to this one's; zeros = unknown
    ego: Tensor
    dt: Tensor  # (...) s since the frame before
    reset: Tensor  # (...) bool: nothing before this frame belongs to it
    birth: Tensor  # (..., P) bool: the probe takes the object at birth_box, and forgets its last
    birth_box: Tensor  # (..., P, 4) centre x, y, width, height as fractions of the image
    release: Tensor  # (..., P) bool: the probe is free again

    def at(self, t: int) -> "VideoInput":
        """Return frame t of a clip, for `step`."""
        return VideoInput(*(x[:, t] for x in self))

    def between(self, start: int, stop: int) -> "VideoInput":
        """Return the frames [start, stop) of a clip."""
        return VideoInput(*(x[:, start:stop] for x in self))


class MemoryState(NamedTuple):
    """Everything that is remembered from frame to frame; its size never changes."""

    h: Tensor  # (L, B, N, R) float32, of the recurrences
    conv: Tensor  # (L, B, K - 1, N, R) float32, the last inputs of the convolutions
    fresh: Tensor  # (B,) bool: nothing has been seen yet
    alive: Tensor  # (B, P) bool: the probe holds an object
    position: Tensor  # (B, P, 3) m in the camera frame, float32, of the probes' objects
    seen: Tensor  # (B, 2, H/2, W/2) float32, grey and inverse depth of the last frame


class Encoded(NamedTuple):
    """What goes into the trunk and what comes out, with axes as in VideoInput."""

    tokens: Tensor  # (..., N, D)
    features: Tensor  # (..., N, D)
    skip: Tensor  # (..., C, h8, w8) from the stem
    alive: Tensor  # (..., P) bool
    seen: Sight
    anew: Tensor  # (..., P) bool: the probe's past ends before this frame


class PervFormer(nn.Module):
    """The model. It keeps nothing between calls: the memory is an argument and a result."""

    def __init__(self, config: PervFormerConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.stem = ConvStem(config) if config.stem == "conv" else PatchStem(config)
        self.position = nn.Parameter(torch.randn(config.patches, width) * width**-0.5)
        self.class_token = nn.Parameter(torch.zeros(width)) if config.class_token else None
        self.probes = ProbeTokens(config) if config.probes else None
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(width, NORM_EPS)
        self.heads = Heads(config, self.stem.skip_channels)
        # The layout in which CPUs and GPUs convolve fastest, and tokens are a view.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def init_state(self, batch: int = 1) -> MemoryState:
        """Return the empty memory of `batch` videos, on the device of the weights."""
        config, device = self.config, self.position.device
        sizes = (config.depth, batch, config.tokens, config.lru_width)
        return MemoryState(
            h=torch.zeros(sizes, dtype=torch.float32, device=device),
            conv=torch.zeros(
                (*sizes[:2], config.conv_width - 1, *sizes[2:]), dtype=torch.float32, device=device
            ),
            fresh=torch.ones(batch, dtype=torch.bool, device=device),
            alive=torch.zeros(batch, config.probes, dtype=torch.bool, device=device),
            position=torch.zeros(batch, config.probes, 3, device=device),
            seen=torch.zeros(
                batch, 2, *(size // HALF for size in config.image_size), device=device
            ),
        )

    def forward(self, clip: VideoInput, state: MemoryState) -> tuple[Percept, MemoryState]:
        """Perceive a clip in parallel over its frames; no frame sees a later one.

        Args:
            clip: axes (B, T, ...), T at least 1.
            state: the memory before the clip, from `init_state` or a call before.
        """
        encoded, state = self.encode(clip, state)
        batch = clip.dt.shape
        features, skip, alive = (x.flatten(0, 1) for x in encoded[1:4])
        seen = Sight(*(x.flatten(0, 1) for x in encoded.seen))
        percept = self.heads(clip.rgb.flatten(0, 1), features, skip, alive, seen)
        percept = Percept(*(torch.unflatten(x, 0, batch) for x in percept))
        positions = []
        for t in range(batch[1]):
            position = self._carry(percept.at(t), encoded.anew[:, t], clip.at(t), state.position)
            state = state._replace(position=position)
            positions.append(position)
        return percept._replace(probe_position=torch.stack(positions, dim=1)), state

    def step(self, frame: VideoInput, state: MemoryState) -> tuple[Percept, MemoryState]:
        """Perceive one frame, to the same numbers as `forward`.

        Args:
            frame: axes (B, ...).
            state: the memory before the frame.
        """
        encoded, state = self.encode_step(frame, state)
        percept: Percept = self.heads(frame.rgb, *encoded[1:5])
        position = self._carry(percept, encoded.anew, frame, state.position)
        return percept._replace(probe_position=position), state._replace(position=position)

    def encode(self, clip: VideoInput, state: MemoryState) -> tuple[Encoded, MemoryState]:
        """Run a clip through stem and trunk, without the heads."""
        fresh = torch.cat([state.fresh[:, None], torch.zeros_like(clip.reset[:, 1:])], dim=1)
        reset = (clip.reset | fresh)[..., None]  # (B, T, 1)
        alive = alive_through(state.alive, reset, clip.birth, clip.release)
        rgb, inverse_depth, valid, camera, ego, birth, birth_box = (
            x.flatten(0, 1) for x in (*clip[:5], clip.birth, clip.birth_box)
        )
        rgb, inverse_depth, valid = self._images(rgb, inverse_depth, valid)
        now = torch.unflatten(shrink(rgb, inverse_depth), 0, alive.shape[:2])
        before = torch.cat([state.seen[:, None], now[:, :-1]], dim=1)
        changed = change(now.flatten(0, 1), before.flatten(0, 1), ego, camera)
        changed = changed.masked_fill(self._anew(reset).flatten()[:, None, None, None], 0.0)
        images = (rgb, inverse_depth, valid, changed)
        tokens, skip = self._tokens(*images, birth, birth_box, alive.flatten(0, 1))
        x = tokens = torch.unflatten(tokens, 0, alive.shape[:2])
        elapsed, forget = self._elapsed(clip.dt), self._forget(reset, clip.birth | clip.release)
        states = []
        for block, h, conv in zip(self.blocks, state.h, state.conv, strict=True):
            x, after = block(x, elapsed, forget, RecurrentState(h, conv))
            states.append(after)
        skip = torch.unflatten(skip, 0, alive.shape[:2])
        seen = sight(inverse_depth, valid, camera)
        seen = Sight(*(torch.unflatten(x, 0, alive.shape[:2]) for x in seen))
        anew = forget[..., self.config.tokens - self.config.probes :]
        after_clip = MemoryState(*_stack(states), alive.new_zeros(len(alive)), alive[:, -1],
                                 state.position, now[:, -1])  # fmt: skip
        return Encoded(tokens, self.norm(x), skip, alive, seen, anew), after_clip

    def encode_step(self, frame: VideoInput, state: MemoryState) -> tuple[Encoded, MemoryState]:
        """Run one frame through stem and trunk, without the heads."""
        reset = (frame.reset | state.fresh)[:, None]  # (B, 1)
        alive = alive_after(state.alive, reset, frame.birth, frame.release)
        rgb, inverse_depth, valid = self._images(*frame[:3])
        now = shrink(rgb, inverse_depth)
        changed = change(now, state.seen, frame.ego, frame.camera)
        changed = changed.masked_fill(self._anew(reset)[..., None, None], 0.0)
        images = (rgb, inverse_depth, valid, changed)
        tokens, skip = self._tokens(*images, frame.birth, frame.birth_box, alive)
        x = tokens
        elapsed, forget = self._elapsed(frame.dt), self._forget(reset, frame.birth | frame.release)
        states = []
        for block, h, conv in zip(self.blocks, state.h, state.conv, strict=True):
            x, after = block.step(x, elapsed, forget, RecurrentState(h, conv))  # type: ignore[operator]
            states.append(after)
        anew = forget[..., self.config.tokens - self.config.probes :]
        after = MemoryState(
            *_stack(states), alive.new_zeros(len(alive)), alive, state.position, now
        )
        seen = sight(inverse_depth, valid, frame.camera)
        return Encoded(tokens, self.norm(x), skip, alive, seen, anew), after

    def _images(
        self, rgb: Tensor, inverse_depth: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the images in the weights' type; depth counts only where it is valid."""
        dtype = self.position.dtype
        seen = valid > 0.5
        inverse_depth = inverse_depth.clamp(0.0, MAX_INVERSE_DEPTH).masked_fill(~seen, 0.0)
        return rgb.to(dtype), inverse_depth.to(dtype), seen.to(dtype)

    def _carry(self, percept: Percept, anew: Tensor, frame: VideoInput, position: Tensor) -> Tensor:
        """Return the positions (B, P, 3) of the probes' objects in one frame."""
        seen = torch.sigmoid(percept.visible.float())
        gain = (torch.sigmoid(percept.probe_gain.float()) * seen).masked_fill(anew, 1.0)
        # Nobody knows how long what is out of sight goes on as it went: it is taken to rest.
        velocity = percept.probe_velocity.float() * seen[..., None]
        measured = percept.probe_position.float()
        # After a pause nobody knows how it went on meanwhile.
        dt = frame.dt.float().clamp(0.0, LONGEST_GUESS_S)
        return carry(measured, gain, velocity, frame.ego.float(), dt, position)

    def _tokens(
        self,
        rgb: Tensor,
        inverse_depth: Tensor,
        valid: Tensor,
        changed: Tensor,
        birth: Tensor,
        birth_box: Tensor,
        alive: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the trunk's input (M, N, D) and the stem's features (M, C, h8, w8)."""
        grid, skip = self.stem(rgb, inverse_depth, valid, changed.to(rgb.dtype))
        tokens = [grid.flatten(2).transpose(1, 2) + self.position]
        if self.class_token is not None:
            tokens.insert(0, self.class_token.expand(len(rgb), 1, -1))
        if self.probes is not None:
            tokens.append(self.probes(grid, alive, birth, birth_box))
        return torch.cat(tokens, dim=1), skip

    def _elapsed(self, dt: Tensor) -> Tensor:
        """Return time in units of dt_ref, float32; it never runs backwards."""
        return dt.float().clamp(min=0.0) / self.config.dt_ref

    def _anew(self, reset: Tensor) -> Tensor:
        """Return where nothing that was seen before counts: everywhere without recurrence."""
        return reset if self.config.recurrence else torch.ones_like(reset)

    def _forget(self, reset: Tensor, changed: Tensor) -> Tensor:
        """Return which tokens (..., N) drop their past, from (..., 1) and probes (..., P)."""
        reset = self._anew(reset)
        still = self.config.tokens - self.config.probes
        return torch.cat([reset.expand(*reset.shape[:-1], still), reset | changed], dim=-1)


def _stack(states: list[RecurrentState]) -> tuple[Tensor, Tensor]:
    """Return h and conv of a MemoryState, from the states of the blocks."""
    h, conv = (torch.stack(x) for x in zip(*states, strict=True))
    return h, conv


def forget_patches(state: MemoryState) -> MemoryState:
    """Return a memory in which all tokens but the probes begin anew; the last frame stays."""
    return _emptied(state, slice(0, state.h.shape[2] - state.alive.shape[1]))


def forget_probes(state: MemoryState) -> MemoryState:
    """Return a memory in which the probes' own rows are empty; all other tokens keep theirs."""
    emptied = _emptied(state, slice(state.h.shape[2] - state.alive.shape[1], None))
    return emptied._replace(position=torch.zeros_like(state.position))


def _emptied(state: MemoryState, tokens: slice) -> MemoryState:
    h, conv = state.h.clone(), state.conv.clone()
    h[:, :, tokens] = 0.0
    conv[:, :, :, tokens] = 0.0
    return state._replace(h=h, conv=conv)


def create_model(name: str, **overrides: Any) -> PervFormer:
    """Return an untrained model: "tiny", "small" or "base", with fields of the config overridden.

    `probes=0` is the variant "no_probes" (TRecViT), `recurrence=False` is "per_frame".

    Raises:
        ValueError: if there is no such name, field, or combination.
    """
    return PervFormer(create_config(name, **overrides))


def state_bytes(state: MemoryState) -> int:
    """Return how many bytes a memory takes; it is the same after every frame."""
    return sum(x.numel() * x.element_size() for x in state)
