"""Looks: styles as codes, named ones that come with the weights, and those read off a picture somebody gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from model import color, weights
from model.generator import STRIDE, Generator
from model.style import EXEMPLAR_SIDE
from model.weights import Release
from stream.errors import InputError, UsageError
from stream.stills import read_pictures, rgb_of

EXEMPLAR_LONGEST = 2 * EXEMPLAR_SIDE


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """A style to paint in."""

    name: str
    """Of the look, or the path of the picture."""
    title: str
    """For people: what it was read off."""
    code: npt.NDArray[np.float32]
    """`[S]`, as the style encoder gives it."""


def named_looks(release: Release) -> list[Look]:
    """The looks that come with a release."""
    codes = weights.load_looks(release) if release.looks else {}
    return [Look(name=name, title=release.looks[name], code=code.numpy()) for name, code in codes.items()]


def find_look(style: str, release: Release, generator: Callable[[], Generator]) -> Look:
    """The look that `style` means: a picture if it has a dot or a slash, else a named one.

    generator: makes the network that reads a picture; named looks need none.

    Raises UsageError where there is none of this name, InputError where the picture can't be read.
    """
    if "fused" not in release.graphs:
        raise UsageError(f"the weights {release.name!r} know natural colour alone; {style!r} needs others")
    if "." in style or "/" in style:
        return read_look(Path(style), generator())
    found = {look.name: look for look in named_looks(release)}
    if style not in found:
        raise UsageError(
            f"no look named {style!r}; there are {', '.join(found)}, or give a picture's path: ./{style}.jpg"
        )
    return found[style]


def read_look(path: Path, generator: Generator) -> Look:
    """The look of a picture."""
    if not path.is_file():
        raise InputError(f"{path}: the style's picture is not there")
    frame = next(iter(read_pictures(path, luma="bt601", keep_colour=True)))
    return Look(name=str(path), title=f"after {path.name}", code=code_of(rgb_of(frame, 8), generator))


@torch.inference_mode()
def code_of(picture: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], generator: Generator) -> npt.NDArray[np.float32]:
    """The code `[S]` of a picture, RGB uint8 `[H, W, 3]`."""
    rgb = torch.from_numpy(exemplar(picture)).permute(2, 0, 1)[None].float() / 255
    device = next(generator.parameters()).device
    luma, chroma = color.split(rgb.to(device))
    return np.asarray(generator.encode(luma, chroma)[0].cpu().numpy(), np.float32)


def exemplar(picture: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """The picture at the encoder's size: short side 128, the middle of very long ones, sides multiples of 32."""
    height, width = picture.shape[:2]
    scale = EXEMPLAR_SIDE / min(height, width)
    size = [max(EXEMPLAR_SIDE, round(side * scale)) for side in (width, height)]
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)
    rows, columns = (min(EXEMPLAR_LONGEST, side // STRIDE * STRIDE) for side in small.shape[:2])
    top, left = (small.shape[0] - rows) // 2, (small.shape[1] - columns) // 2
    return np.ascontiguousarray(small[top : top + rows, left : left + columns])
