"""The contact sheet of a film: one picture of each shot as it will be coloured, with its number, time code and look."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from stream.frame import Frame
from stream.part import check_target, claim, finish_part, naming_failures, part_of
from stream.stills import rgb_of

Tile = npt.NDArray[np.uint8]

CELL = 320
"""Width and greatest height of a picture on the sheet."""
COLUMNS = 5
PAGE = 100
"""Shots on a page; more go to OUT-2.png and so on."""
_LINE, _MARGIN = 19, 6
_PAPER, _INK, _FAINT = (32, 32, 32), (240, 240, 240), (160, 160, 160)


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """A shot on the sheet."""

    frame: Frame
    turns: int
    """Quarter turns counter-clockwise by which the film is shown."""
    aspect: float
    """Width of a pixel over its height."""
    lines: tuple[str, str]
    """Number and time code; what is done with it."""


def pages_of(path: Path, shots: int) -> list[Path]:
    """The files that a sheet of so many shots takes."""
    more = range(2, -(-shots // PAGE) + 1)
    return [path, *(path.with_name(f"{path.stem}-{number}{path.suffix}") for number in more)]


def draw_sheet(path: Path, cells: Sequence[Cell], *, source: Path, overwrite: bool) -> list[Path]:
    """Writes the sheet as PNG pages and names them."""
    pages = pages_of(path, len(cells))
    for page in pages:
        check_target(page, source=source, overwrite=overwrite)
    for number, page in enumerate(pages):
        tiles = [_tile(cell) for cell in cells[number * PAGE : (number + 1) * PAGE]]
        height = max(tile.shape[0] for tile in tiles)
        tiles = [np.pad(tile, ((0, height - len(tile)), (0, 0), (0, 0)), constant_values=_PAPER[0]) for tile in tiles]
        tiles += [np.full_like(tiles[0], _PAPER[0])] * (-len(tiles) % min(COLUMNS, len(tiles)))
        across = min(COLUMNS, len(tiles))
        sheet = np.vstack([np.hstack(tiles[at : at + across]) for at in range(0, len(tiles), across)])
        part = part_of(page)
        with naming_failures(part), claim(part):
            part.write_bytes(cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())
            finish_part(part, page)
    return pages


def _tile(cell: Cell) -> Tile:
    rgb = np.rot90(np.asarray(rgb_of(cell.frame, 8), np.uint8), cell.turns)
    aspect = 1 / cell.aspect if cell.turns % 2 else cell.aspect
    width, height = rgb.shape[1] * aspect, rgb.shape[0]
    scale = CELL / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_AREA)
    tile = np.full((size[1] + 2 * _LINE + 2 * _MARGIN, CELL + 2 * _MARGIN, 3), _PAPER, np.uint8)
    left = _MARGIN + (CELL - size[0]) // 2
    tile[_MARGIN : _MARGIN + size[1], left : left + size[0]] = shown
    for line, (text, ink) in enumerate(zip(cell.lines, (_INK, _FAINT), strict=True)):
        where = (_MARGIN + 2, _MARGIN + size[1] + _LINE * (line + 1) - 4)
        cv2.putText(tile, _short(text), where, cv2.FONT_HERSHEY_SIMPLEX, 0.45, ink, 1, cv2.LINE_AA)
    return tile


def _short(text: str) -> str:
    """What fits under a picture, in the letters that OpenCV draws."""
    plain = "".join(letter if " " <= letter <= "~" else "_" for letter in text)
    return plain if len(plain) <= 40 else plain[:37] + "..."
