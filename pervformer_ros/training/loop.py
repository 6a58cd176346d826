# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The training run: resumable, logged, the same for the same seed; one process or several."""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pervformer_ros.model import PervFormer, create_model, load_model, save_model
from pervformer_ros.model.pervformer import MemoryState
from pervformer_ros.training.learner import Learner
from pervformer_ros.training.losses import total
from pervformer_ros.training.recorded import Recorded
from pervformer_ros.training.streams import Batch, batches, each, in_background
from pervformer_ros.training.workers import StreamPlan, echoed_batches

RUN_FILE = "run.pt"
WEIGHTS_FILE = "model.safetensors"
LOG_EVERY = 10  # steps
SAVE_EVERY_S = 20.0  # but no round is cut in two
WARM_UP = 100  # steps


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What is learned, from what, and for how long.

    shards: folder of the training data.
    out: folder of the run: its state, weights and logs.
    variant: "full", "no_probes" (TRecViT) or "per_frame".
    window: (height, width) that is looked through; the whole image for probes and places.
    shrink: by how much what is seen there is made smaller: 2 learns the first things far sooner.
    rounds: in each, all streams begin anew.
    streams: at once, in each process. segment: frames of a stream. chunk: frames that are learned
    from at once; the state is carried from one to the next.
    init: weights to begin with, as far as they fit; of several files the first that has one counts.
    only_points: learn keypoints and descriptors, and nothing else; otherwise all but these. Places
    are learned afterwards (places.py).
    hours: stop after so long, however far it is; the schedule follows the clock then.
    workers: processes that prepare streams beside this one, so that a GPU need not wait for them;
    kept: then, how many of the last ones are drawn from. Such runs are not repeatable to the bit.
    graphs: record a step as a CUDA graph.
    """

    shards: Path
    out: Path
    model: str = "small"
    variant: str = "full"
    window: tuple[int, int] = (240, 320)
    shrink: int = 1
    rounds: int = 1000
    streams: int = 8
    segment: int = 64
    chunk: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    clip_norm: float = 5.0
    average: float = 0.99
    seed: int = 0
    init: tuple[Path, ...] = ()
    device: str = "cpu"
    bf16: bool = True
    hours: float | None = None
    only_points: bool = False
    workers: int = 0
    kept: int = 256
    graphs: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be run (ValueError)."""
        if self.segment % self.chunk:
            raise ValueError(
                f"a segment of {self.segment} frames is no whole number of chunks of {self.chunk}: "
                "change one of both"
            )
        if self.hours is not None and not self.hours > 0:
            raise ValueError(f"{self.hours} hours are no time to train: give more, or none")
        if self.graphs and torch.device(self.device).type != "cuda":
            raise ValueError(f"CUDA graphs need a GPU, and device is '{self.device}'")
        try:
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"device '{self.device}' cannot be used: {error}") from error

    def settled(self) -> dict[str, Any]:
        """Return what cannot change while a run goes on, by name."""
        paths = [path.name for path in self.init]
        return {**{name: getattr(self, name) for name in SETTLED}, "init": paths}


# What a run that goes on must have in common with how it began; its length and pace may change.
SETTLED = (
    "model", "variant", "window", "shrink", "streams", "segment", "chunk", "seed", "only_points",
)  # fmt: skip

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "no_probes": {"probes": 0},
    "per_frame": {"recurrence": False},
}


class Trainer:
    """One training run. Where torchrun started several processes, their gradients are averaged."""

    def __init__(self, config: TrainConfig):
        self.config = config
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        if config.graphs and self.world > 1:
            raise ValueError("CUDA graphs are for one process: leave out --graphs")
        torch.manual_seed(config.seed)
        model = create_model(config.model, **VARIANTS[config.variant])
        self._before: list[dict[str, Any]] = []
        for path in reversed(config.init):
            first = load_model(path)
            adopt(model, first.model)
            self._before.insert(0, dict(first.info.card))
        if self._before:
            shrink = self._before[0].get("training", {}).get("shrink", 1)
            rescale_boxes(model, shrink / config.shrink)
        self.model = model.to(config.device)
        self.average = create_model(config.model, **VARIANTS[config.variant]).to(config.device)
        self.average.load_state_dict(model.state_dict())
        seen = config.window[0] // config.shrink, config.window[1] // config.shrink
        self.learner = Learner(self.model, seen)
        # Neither hears of the other: together they would only be slower. What looks again, and
        # places, are learned later.
        self.model.requires_grad_(not config.only_points)
        self.model.heads.points.requires_grad_(config.only_points)
        self.model.heads.boxes.requires_grad_(False)
        self.model.heads.identity.requires_grad_(False)
        self.model.heads.place.requires_grad_(False)
        self._gradients = Recorded(self._grade) if config.graphs else self._grade
        self.optimisers = _optimisers(self.model, config.learning_rate, config.weight_decay)
        self.round = self.step = self.frames = 0
        self.seconds = 0.0
        self._resume()

    def run(self, report: Callable[[int, int, dict[str, float]], None]) -> None:
        """Train to the end; `report` is called with (round, rounds, losses) now and then."""
        config = self.config
        config.out.mkdir(parents=True, exist_ok=True)
        log = self._log()
        started, before = time.monotonic(), self.seconds
        state: MemoryState | None = None
        sums: dict[str, Tensor] = {}
        saved = -math.inf
        steps = math.ceil(config.segment / config.chunk)
        for number, index, batch in in_background(self._batches):
            self.seconds = before + time.monotonic() - started
            share = self._share(number + index / steps)
            if share >= 1.0:
                break
            if index == 0:
                state = self.learner.init_state(config.streams)
            assert state is not None
            batch = each(lambda x: x.to(config.device), batch)
            losses, state = self._learn(batch, state, share)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value / LOG_EVERY
            if self.step % LOG_EVERY == 0:
                means = {name: float(value) for name, value in sums.items()}
                if log is not None:
                    for name, mean in means.items():
                        log.add_scalar(name, mean, self.step)
                report(number, config.rounds, means)
                sums = {}
            if index == steps - 1:
                self.round = number + 1
                if time.monotonic() - saved > SAVE_EVERY_S:
                    self._save()
                    saved = time.monotonic()
        self._save()
        if log is not None:
            log.close()

    def _learn(
        self, batch: Batch, state: MemoryState, share: float
    ) -> tuple[dict[str, Tensor], MemoryState]:
        """Take one step on one chunk."""
        config = self.config
        rate = config.learning_rate * min(1.0, (self.step + 1) / WARM_UP)
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        found, state = self._gradients(batch, state)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        self.frames += batch.dt.numel() * self.world
        decay = min(config.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            mine, theirs = (tuple(m.parameters()) for m in (self.average, self.model))
            torch._foreach_lerp_(mine, theirs, 1 - decay)
        return found | {"rate": torch.tensor(rate)}, state

    def _grade(self, batch: Batch, state: MemoryState) -> tuple[dict[str, Tensor], MemoryState]:
        """Work out the gradients of one chunk; nothing is read back: a GPU would be waited for."""
        config = self.config
        kind = torch.device(config.device).type
        precision = torch.autocast(kind, torch.bfloat16) if config.bf16 else nullcontext()
        look = self.learner.points if config.only_points else self.learner
        with precision:
            said, state = look(batch, state)
        losses = self.learner.losses(batch, said)
        self.model.zero_grad(set_to_none=True)
        total(losses).backward()
        self._share_gradients()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        for p in self.model.parameters():
            if p.grad is not None:
                p.grad.nan_to_num_(0.0, 0.0, 0.0)
        found = {name: value.detach() for name, value in losses.items()}
        return found | {"norm": norm}, MemoryState(*(x.detach() for x in state))

    def _share_gradients(self) -> None:
        if self.world == 1:
            return
        learned = [p for p in self.model.parameters() if p.requires_grad]
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in learned]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        sizes = [g.numel() for g in gradients]
        for p, g, part in zip(learned, gradients, flat.split(sizes), strict=True):
            p.grad = part.view_as(g)

    def _share(self, done: float) -> float:
        """Return how much of the run is over: of its rounds, or of its time. All agree on it."""
        share = done / self.config.rounds
        if self.config.hours is not None:
            share = max(share, self.seconds / (3600 * self.config.hours))
        if self.world > 1:
            agreed = torch.tensor(share, device=self.config.device)
            dist.broadcast(agreed, 0)
            share = float(agreed)
        return share

    def _batches(self) -> Any:
        c, seed, model = self.config, self.config.seed * 1000 + self.rank, self.model.config
        if c.workers:
            plan = StreamPlan(
                c.shards, [seed, self.round], c.segment, c.chunk, c.window, model, c.shrink,
                c.only_points,
            )  # fmt: skip
            run = self.round, c.rounds, c.streams
            return echoed_batches(plan, *run, c.workers, c.kept, c.device)
        return batches(
            c.shards, seed, self.round, c.rounds, c.streams, c.segment, c.chunk, c.window, model,
            c.shrink, c.only_points,
        )  # fmt: skip

    def _log(self) -> Any:
        if self.rank:
            return None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
        return SummaryWriter(str(self.config.out / "log"), purge_step=self.step)

    def _save(self) -> None:
        """Write the run's state and the averaged weights; what was there stays until they are."""
        if self.rank:
            return
        out = self.config.out
        scratch = out / f".{RUN_FILE}"
        torch.save(
            {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimisers": [o.state_dict() for o in self.optimisers],
                "round": self.round,
                "step": self.step,
                "frames": self.frames,
                "seconds": self.seconds,
                "settled": self.config.settled(),
            },
            scratch,
        )
        scratch.replace(out / RUN_FILE)
        save_model(out / WEIGHTS_FILE, self.average, trained=True, card=self.card())

    def card(self) -> dict[str, Any]:
        """Return what is to be known about the weights; `before`: those it began with."""
        c = self.config
        names = sorted(path.stem for path in c.shards.glob("*.npz"))
        seeds = sorted({int(name.split("-")[1]) for name in names})
        # Where folders lie on this machine is nobody's business.
        settings = {k: _without_machine(v) for k, v in asdict(c).items()}
        return {
            "data": f"simulated warehouse, {len(names)} shards",
            "seeds": f"{seeds[0]} to {seeds[-1]}",
            "steps": self.step,
            "date": date.today().isoformat(),
            "frames": self.frames,
            "hours": round(self.seconds / 3600, 3),
            "processes": self.world,
            "training": settings,
            "before": self._before,
        }

    def _resume(self) -> None:
        path = self.config.out / RUN_FILE
        if not path.exists():
            return
        settled = self.config.settled()
        try:
            run = torch.load(path, map_location=self.config.device, weights_only=True)
            begun = run.get("settled", settled)
        except (UnpicklingError, RuntimeError, EOFError, AttributeError) as error:
            raise ValueError(f"{path} is damaged: use another --out") from error
        if changed := [name for name in settled if begun.get(name) != settled[name]]:
            was = ", ".join(f"{name} {begun.get(name)}" for name in changed)
            raise ValueError(f"{path.parent} was begun with {was}: use another --out")
        try:
            self.model.load_state_dict(run["model"])
            self.average.load_state_dict(run["average"])
        except RuntimeError as error:
            raise ValueError(f"{path} is of another version: use another --out") from error
        for optimiser, state in zip(self.optimisers, run["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        self.round, self.step, self.frames = run["round"], run["step"], run["frames"]
        self.seconds = run["seconds"]


def _without_machine(value: Any) -> Any:
    """Return a setting with the last two parts of each path alone."""
    if isinstance(value, tuple):
        return [_without_machine(v) for v in value]
    return "/".join(value.parts[-2:]) if isinstance(value, Path) else value


def adopt(model: PervFormer, other: PervFormer) -> list[str]:
    """Take over all weights of another model that fit; return the names of those that do not."""
    theirs = other.state_dict()
    mine = model.state_dict()
    fitting = {k: v for k, v in theirs.items() if k in mine and mine[k].shape == v.shape}
    model.load_state_dict({**mine, **fitting})
    return sorted(set(mine) - set(fitting))


def rescale_boxes(model: PervFormer, factor: float) -> None:
    """Make all boxes so much larger, in cells: for weights that were trained on smaller images."""
    patches = model.heads.patches
    names = list(patches.sizes)
    start = sum(patches.sizes[name] for name in names[: names.index("box")])
    with torch.no_grad():
        patches.out.bias[start : start + patches.sizes["box"]] += math.log(factor)


def _optimisers(model: nn.Module, rate: float, decay: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the trunk, AdamW for all else.

    Muon (Jordan 2024) orthogonalises each step; scaled as AdamW's steps are (Liu 2025), both take
    the same learning rate. Convolutions, norms, biases, learned tokens, the recurrence's decay
    rates and last layers are AdamW's; of these, weights of layers alone decay.

    Raises:
        ValueError: if PyTorch is too old to have Muon.
    """
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(
            f"training needs torch.optim.Muon, and PyTorch {torch.__version__} has none: "
            "install 2.9 or newer"
        )
    hidden: list[Tensor] = []
    weights: list[Tensor] = []
    rest: list[Tensor] = []
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        if p.ndim == 2 and name.startswith("blocks.") and name.endswith(".weight"):
            hidden.append(p)
        else:
            (weights if p.ndim >= 2 and name.endswith((".weight", ".w")) else rest).append(p)
    groups = [{"params": weights, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, rate, (0.9, 0.98))
    if not hidden:
        return [adamw]
    return [torch.optim.Muon(hidden, rate, decay, adjust_lr_fn="match_rms_adamw"), adamw]
