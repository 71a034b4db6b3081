"""Functions of tensors recorded once as CUDA graphs and then replayed: a launch instead of hundreds.

On a device that has no graphs the function is simply called, so that the same code runs everywhere.
"""

from collections.abc import Callable, Hashable
from typing import Any, Generic, ParamSpec, TypeVar, cast

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

P = ParamSpec("P")
T = TypeVar("T")
KEPT = 16
"""Recordings of one function at most: each has memory of its own, and somebody may play with a slider."""
_WARM_UP = 3  # libraries choose their algorithms and allocate in the first calls, which a recording must not hold


class Captured(Generic[P, T]):
    """A function whose tensors have the same shapes call after call; what is no tensor is part of the recording.

    What it returns is new memory every time. The function may neither wait for the device nor keep tensors.
    """

    def __init__(self, function: Callable[P, T], device: torch.device) -> None:
        self.function = function
        self._device = device
        self._recordings: dict[Hashable, _Recording] = {}

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result; recorded at the first call with these shapes."""
        if self._device.type != "cuda":
            return self.function(*args, **kwargs)
        leaves, shape = pytree.tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        key = (str(shape), tuple(_signature(leaf) for leaf in leaves))
        with torch.inference_mode():
            recording = self._recordings.pop(key, None) or _Recording(self.function, leaves, shape)
            self._recordings[key] = recording  # the last one used is the last in the dict
            if len(self._recordings) > KEPT:
                del self._recordings[next(iter(self._recordings))]
            return cast(T, recording.replay(tensors))


def _signature(leaf: object) -> Hashable:
    return (leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else repr(leaf)


class _Recording:
    """One graph with its own memory for what goes in and what comes out."""

    def __init__(self, function: Callable[..., Any], leaves: list[Any], shape: pytree.TreeSpec) -> None:
        given = [leaf.contiguous().clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._inputs = [leaf for leaf in given if isinstance(leaf, Tensor)]
        args, kwargs = pytree.tree_unflatten(given, shape)
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                function(*args, **kwargs)
        torch.cuda.current_stream().wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        # The ferry's streams go on copying meanwhile: only this thread's own mistakes end the recording.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            made = function(*args, **kwargs)
        self._outputs, self._shape = pytree.tree_flatten(made)

    def replay(self, tensors: list[Tensor]) -> object:
        for kept, given in zip(self._inputs, tensors, strict=True):
            kept.copy_(given)
        self._graph.replay()
        copies = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in self._outputs]
        return pytree.tree_unflatten(copies, self._shape)
