"""Clips whose motion is known exactly: photographs as layers that pan, zoom, pass each other and hide each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model import color
from train.measures import Clip, Motion

FRAMES = 60
SIDE = 256
"""Rows and columns of the view."""
HIDDEN = range(22, 36)
"""Frames in which the thing that comes back is out of sight."""
UNCOVERED = 4
"""A place counts as just uncovered for so many frames."""

Place = Callable[[int], tuple[float, float, float]]
"""Scale, and x and y in pixels of the view, of a layer's corner at a frame."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A photograph, or a piece of one, that moves as a whole."""

    picture: npt.NDArray[np.float32]
    """R'G'B' `[S, S, 3]` 0..1."""
    mask: npt.NDArray[np.bool_]
    """`[S, S]`: where it covers what is behind it."""
    place: Place


@dataclass(frozen=True, kw_only=True)
class Scene(Clip):
    """A clip made of layers, the first at the back; `motion` is exact, not estimated."""

    layers: Sequence[Layer]

    def motion(self, now: int, then: int) -> Motion:
        """Where the places of frame `now` were in frame `then`, at the size of `shown`."""
        owner, earlier = (_owners(self.layers, frame) for frame in (now, then))
        y, x = np.mgrid[0.5:SIDE, 0.5:SIDE]
        flow = np.zeros((2, SIDE, SIDE), np.float32)
        for number, layer in enumerate(self.layers):
            (scale, left, top), (old_scale, old_left, old_top) = layer.place(now), layer.place(then)
            moved = ((x - left) / scale * old_scale + old_left - x, (y - top) / scale * old_scale + old_top - y)
            flow[:, owner == number] = np.stack(moved)[:, owner == number]
        places = [np.floor(place + shift).astype(int) for place, shift in ((y, flow[1]), (x, flow[0]))]
        inside = (places[0] >= 0) & (places[0] < SIDE) & (places[1] >= 0) & (places[1] < SIDE)
        same = earlier[np.clip(places[0], 0, SIDE - 1), np.clip(places[1], 0, SIDE - 1)] == owner
        half = flow.reshape(2, SIDE // 2, 2, SIDE // 2, 2).mean((2, 4)) / 2
        seen = (inside & same).reshape(SIDE // 2, 2, SIDE // 2, 2).all((1, 3))
        whole = (owner.reshape(SIDE // 2, 2, SIDE // 2, 2).std((1, 3)) == 0) & seen
        return Motion(torch.from_numpy(half)[None], torch.from_numpy(whole)[None, None])

    def uncovered(self, now: int) -> Tensor:
        """bool `[H, W]`: places of the back that something covered a few frames ago."""
        owner = _owners(self.layers, now)
        before = _owners(self.layers, max(0, now - UNCOVERED))
        fresh = ((owner == 0) & (before > 0)).reshape(SIDE // 2, 2, SIDE // 2, 2).all((1, 3))
        return torch.from_numpy(fresh)


def _owners(layers: Sequence[Layer], frame: int) -> npt.NDArray[np.int64]:
    """`[SIDE, SIDE]`: the number of the layer that is seen."""
    owner = np.zeros((SIDE, SIDE), np.int64)
    for number, layer in enumerate(layers):
        mask = _place(layer.mask.astype(np.float32), layer.place(frame), cv2.INTER_NEAREST) > 0.5
        owner[mask] = number
    return owner


def _place(picture: npt.NDArray[np.float32], place: tuple[float, float, float], how: int) -> npt.NDArray[np.float32]:
    """The layer's picture in the view; nothing where the layer is not."""
    scale, left, top = place
    shift = (scale - 1) / 2  # OpenCV counts from the centres of samples
    matrix = np.array([[scale, 0, left + shift], [0, scale, top + shift]])
    return np.asarray(cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=how), np.float32)


def make_scene(name: str, layers: Sequence[Layer], *, frames: int) -> Scene:
    """Films the layers; colours are judged at the size of the network's chroma, half the view's."""
    pictures = []
    for frame in range(frames):
        view, owner = np.zeros((SIDE, SIDE, 3), np.float32), _owners(layers, frame)
        for number, layer in enumerate(layers):
            drawn = _place(layer.picture, layer.place(frame), cv2.INTER_LINEAR)
            view[owner == number] = drawn[owner == number]
        pictures.append(torch.from_numpy(view).permute(2, 0, 1))
    luma, chroma = color.split(torch.stack(pictures))
    shown, truth = (torch.nn.functional.avg_pool2d(x, 2) for x in (luma, chroma))
    return Scene(name=name, luma=luma, shown=shown, truth=truth, shots=[0] * frames, layers=layers)


def make_scenes(photos: Sequence[npt.NDArray[np.uint8]], *, frames: int = FRAMES) -> list[Scene]:
    """A pan with a zoom, cut-outs that pass, and a thing that is hidden and comes back; of four photographs."""
    back, other, thing, pillar = (enlarge(photo) for photo in photos[:4])
    side = back.shape[0]
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    disc, bar = x**2 + y**2 < 0.2, np.abs(x) < 0.3
    whole = np.ones((side, side), bool)
    middle = (SIDE - side) / 2

    def zoom(frame: int) -> tuple[float, float, float]:
        scale = 1 + 0.002 * frame
        return scale, middle * scale - 0.7 * frame + 25, middle * scale + 0.3 * frame - 10

    def drift(frame: int) -> tuple[float, float, float]:
        return 1.0, middle + 0.25 * frame - 9, middle

    def pass_by(frame: int) -> tuple[float, float, float]:
        return 1.0, middle + 90 * np.sin(0.09 * frame), middle + 20 * np.cos(0.09 * frame)

    def hide(frame: int) -> tuple[float, float, float]:
        away = np.interp(frame, (0, HIDDEN[0], HIDDEN[-1], FRAMES - 1), (0, 1, 1, 0.05))
        return 0.45, 88 * away - 5, 70.0

    def stand(frame: int) -> tuple[float, float, float]:
        return 1.0, middle + 30, middle

    ground = Layer(picture=back, mask=whole, place=drift)
    hidden = (
        Layer(picture=back, mask=whole, place=stand),
        Layer(picture=thing, mask=disc, place=hide),
        Layer(picture=pillar, mask=bar, place=stand),
    )
    made = {
        "known: pan and zoom": [Layer(picture=other, mask=whole, place=zoom)],
        "known: cut-out passes": [ground, Layer(picture=thing, mask=disc, place=pass_by)],
        "known: hidden and back": hidden,
    }
    return [make_scene(name, layers, frames=frames) for name, layers in made.items()]


def enlarge(photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """R'G'B' 0..1, 32 pixels more on every side than the view."""
    side = SIDE + 64
    large = cv2.resize(photo, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.float32) / np.float32(255)
