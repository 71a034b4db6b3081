"""Looks: styles as codes, named ones that come with the weights, and those read off a picture somebody gives."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from model import color, weights
from model.generator import STRIDE, Generator
from model.style import EXEMPLAR_SIDES, exemplar_side
from model.weights import Release
from stream.errors import InputError, UsageError
from stream.media import read_frames
from stream.stills import is_still, read_pictures, rgb_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """A style to paint in."""

    name: str
    """Of the look, or the path of the picture."""
    title: str
    """For people: what it was read off."""
    codes: npt.NDArray[np.float32]
    """`[K, S]`, as the style encoder gives them for each of `EXEMPLAR_SIDES`; or one for pictures of all sizes."""

    def code_for(self, short_side: int) -> npt.NDArray[np.float32]:
        """The code `[S]` for a working size: strokes are as large beside the picture as in the exemplar."""
        found: npt.NDArray[np.float32] = self.codes[
            EXEMPLAR_SIDES.index(exemplar_side(short_side)) if len(self.codes) > 1 else 0
        ]
        return found


def named_looks(release: Release) -> list[Look]:
    """The looks that come with a release."""
    codes = weights.load_looks(release) if release.looks else {}
    return [Look(name=name, title=release.looks[name], codes=each.numpy()) for name, each in codes.items()]


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
    if path.is_dir():
        raise InputError(f"{path}: is a folder; a style is read off one picture: {path}/NAME.jpg")
    if not path.is_file():
        raise InputError(f"{path}: the style's picture is not there")
    if not is_still(path) and len(list(islice(read_frames(path, luma="bt601"), 2))) > 1:
        raise InputError(f"{path}: is a film; a style is read off a picture: take one of its frames")
    frame = next(iter(read_pictures(path, luma="bt601", keep_colour=True)))
    picture = rgb_of(frame, 8)
    codes = np.stack([code_of(picture, generator, side) for side in EXEMPLAR_SIDES])
    return Look(name=str(path), title=f"after {path.name}", codes=codes)


@torch.inference_mode()
def code_of(
    picture: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], generator: Generator, side: int
) -> npt.NDArray[np.float32]:
    """The code `[S]` of a picture, RGB uint8 `[H, W, 3]`, looked at with this short side."""
    rgb = torch.from_numpy(exemplar(picture, side)).permute(2, 0, 1)[None].float() / 255
    device = next(generator.parameters()).device
    luma, chroma = color.split(rgb.to(device))
    return np.asarray(generator.encode(luma, chroma)[0].cpu().numpy(), np.float32)


def exemplar(picture: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], side: int) -> npt.NDArray[np.uint8]:
    """The picture as the encoder looks at it: with this short side, the middle of very long ones, multiples of 32."""
    height, width = picture.shape[:2]
    scale = side / min(height, width)
    size = [max(side, round(length * scale)) for length in (width, height)]
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)
    rows, columns = (min(2 * side, length // STRIDE * STRIDE) for length in small.shape[:2])
    top, left = (small.shape[0] - rows) // 2, (small.shape[1] - columns) // 2
    return np.ascontiguousarray(small[top : top + rows, left : left + columns])
