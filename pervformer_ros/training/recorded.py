# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A step recorded once as a CUDA graph, and replayed: a GPU need not wait for Python."""

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

WARM_UP = 3  # calls before the one that is recorded: libraries choose their kernels then


class Recorded:
    """A function of tensors, recorded at its first call.

    It must do the same whatever the tensors hold, read nothing back, and be called with the same
    shapes ever after. What it returns is overwritten by the next call.
    """

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None
        self._given: list[Any] = []
        self._returned: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """Return what the function makes of these arguments: tensors, in tuples and the like.

        Raises:
            ValueError: if one has another shape than at first.
        """
        leaves, structure = pytree.tree_flatten(arguments)
        if self._graph is None:
            self._given = [x.clone() if isinstance(x, torch.Tensor) else x for x in leaves]
            self._record(pytree.tree_unflatten(self._given, structure))
        assert self._graph is not None
        for mine, theirs in zip(self._given, leaves, strict=True):
            if isinstance(mine, torch.Tensor):
                if mine.shape != theirs.shape:
                    raise ValueError(
                        f"{tuple(theirs.shape)} is not {tuple(mine.shape)} as recorded"
                    )
                mine.copy_(theirs)
        self._graph.replay()
        return self._returned

    def _record(self, arguments: Any) -> None:
        # On a stream of its own: gradients are added up on the stream on which their weights were
        # first used, and the one that all else runs on cannot be recorded.
        gc.collect()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self._function(*arguments)
        torch.cuda.current_stream().wait_stream(aside)
        gc.collect()
        graph = torch.cuda.CUDAGraph()
        # Other threads bring the next batches meanwhile.
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="relaxed"):
            self._returned = self._function(*arguments)
        self._graph = graph
