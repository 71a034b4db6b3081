"""All looks on one frame, as a sheet to choose from: `kinochrome looks --sheet out.png`."""

from fractions import Fraction
from functools import reduce
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from model.weights import Release
from stream import media, stills
from stream.config import Settings
from stream.demo import find_samples
from stream.engine import Engine
from stream.errors import InputError, UsageError
from stream.frame import Frame
from stream.geometry import Geometry
from stream.looks import Look, named_looks
from stream.part import check_target, claim, finish_part, naming_failures, part_of
from stream.runtime import TorchRuntime, load_generator

Picture = npt.NDArray[np.uint8]

CELL = 384
"""Width of a picture on the sheet."""
COLUMNS = 4
_CAPTION = 30
_PAPER, _INK = (32, 32, 32), (240, 240, 240)
_SAMPLE_FRAME, _LATEST = 40, 1500


def draw_looks(release: Release, target: Path, source: Path | None, *, overwrite: bool = False) -> None:
    """Writes a PNG: the frame as it is, in natural colour, and in every named look (grey in, colour and style out).

    source: a film, of which a frame from its middle is shown, or a picture; None takes the sample film.
    """
    if target.suffix.lower() != ".png":
        raise UsageError(f"--sheet {target}: a sheet is a PNG; name it {target.with_suffix('.png').name}")
    check_target(target, source=source or "", overwrite=overwrite)
    frame, shape, rotation = _pick(source or find_samples() / "reel.mkv")
    settings = Settings(steady=0.0, batch=1, runtime="torch", short_side=256)
    geometry = Geometry.of(
        frame.width, frame.height, short_side=settings.short_side, pixel_aspect=shape, rotation=rotation
    )
    runtime = TorchRuntime(load_generator(release), torch.device("cpu"))
    looks: list[Look | None] = [None, *named_looks(release)]
    tiles = [_tile(Frame(planes=(frame.luma,), depth=frame.depth, tags=frame.tags), geometry, "black and white")]
    for look in looks:
        engine = Engine(runtime, geometry, subsampling=(0, 0), settings=settings, look=look)
        tiles += [_tile(painted, geometry, look.name if look else "natural") for painted in engine.run([frame])]
    blank = np.full_like(tiles[0], _PAPER[0])
    tiles += [blank] * (-len(tiles) % COLUMNS)
    sheet = np.vstack([np.hstack(tiles[at : at + COLUMNS]) for at in range(0, len(tiles), COLUMNS)])
    part = part_of(target)
    with naming_failures(part), claim(part):
        part.write_bytes(cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())
        finish_part(part, target)


def _pick(source: Path) -> tuple[Frame, Fraction, int]:
    """A picture, or a film's frame at its middle, after a minute at the latest; its pixels' shape and its rotation."""
    if stills.is_still(source):
        return next(stills.read_pictures(source, luma="bt601")), Fraction(1), 0
    info = media.probe(source, luma="bt601")
    wanted = min((info.expected_frames or 2 * _SAMPLE_FRAME) // 2, _LATEST)
    frames = media.read_frames(source, luma="bt601", deinterlace=bool(info.interlaced))
    frame = reduce(lambda _, later: later, islice(frames, wanted + 1), None)
    if frame is None:
        raise InputError(f"{source}: no picture could be decoded")
    return frame, info.pixel_aspect, info.rotation


def _tile(frame: Frame, geometry: Geometry, caption: str) -> Picture:
    rgb = np.rot90(np.asarray(stills.rgb_of(frame, 8), np.uint8), geometry.turns)
    rows, columns = geometry.content
    height = round(CELL * rows / columns)
    shown = np.asarray(cv2.resize(rgb, (CELL, height), interpolation=cv2.INTER_AREA), np.uint8)
    tile = np.full((height + _CAPTION, CELL, 3), _PAPER, np.uint8)
    tile[:height] = shown
    return np.asarray(cv2.putText(tile, caption, (8, height + 21), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA))
