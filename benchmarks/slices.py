"""One column of pixels through time: x is time, so colours that flicker are stripes and colours that hold are lines."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.clips import SAMPLE
from benchmarks.smoothers import LAG, ours
from model import color
from stream.config import Settings
from stream.media import read_frames
from stream.runtime import open_runtime
from train.films import working_planes
from train.measures import Clip

FILM = "nosferatu_1922"
"""In the public domain, so that its picture may be shown."""
_START, _FRAMES = 75, 150
_SAMPLE_START, _SAMPLE_FRAMES = 178, 38
_GAP = 6
_SIZE = (900, 200)


def draw(path: Path, films: Sequence[Path]) -> None:
    """Before and after, of Nosferatu where `films` has it, else of the sample film; below as colour alone, doubled."""
    found = [film for source in films for film in (source, *source.rglob("*")) if film.stem == FILM]
    if found:
        clip = _read(found[0], _START, _FRAMES)
    else:
        clip = _read(SAMPLE.with_name("reel.mkv"), _SAMPLE_START, _SAMPLE_FRAMES)
    size = (clip.luma.shape[2], clip.luma.shape[3])
    runtime = open_runtime(Settings(threads=1), size).runtime
    batches = (clip.luma[start : start + 4].numpy() for start in range(0, len(clip.luma), 4))
    with torch.inference_mode():
        before = torch.from_numpy(
            np.concatenate([runtime.start(np.ascontiguousarray(each))().chroma for each in batches])
        )
        after = ours(clip, before, lag=LAG)
    column = clip.shown.shape[3] * 2 // 5
    flat = torch.full_like(clip.shown, 0.6)
    strips = [_strip(clip.shown, chroma, column) for chroma in (before, after)]
    strips += [_strip(flat, 2 * chroma, column) for chroma in (before, after)]
    gap = np.full((_GAP, _SIZE[0], 3), 32, np.uint8)
    sheet = np.vstack([part for strip in strips for part in (strip, gap)][:-1])
    done, data = cv2.imencode(".jpg", sheet[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 88))
    assert done
    path.write_bytes(data.tobytes())


def _read(film: Path, start: int, frames: int) -> Clip:
    planes = [working_planes(frame, 256) for frame in islice(read_frames(film), start, start + frames)]
    luma = torch.stack([plane[0] for plane in planes])
    shown = torch.nn.functional.avg_pool2d(luma, 2)
    return Clip(name=film.stem, luma=luma, shown=shown, truth=None, shots=[0] * len(luma))


def _strip(luma: Tensor, chroma: Tensor, column: int) -> npt.NDArray[np.uint8]:
    """R'G'B' `[H, W, 3]` of one column of every frame, beside each other."""
    part = slice(column, column + 1)
    rgb = color.join(luma[..., part], color.limit(luma[..., part], chroma[..., part]))
    picture = (255 * rgb[..., 0]).round().byte().permute(2, 0, 1).numpy()
    return np.asarray(cv2.resize(picture, _SIZE, interpolation=cv2.INTER_NEAREST), np.uint8)
