"""Turns pictures as their film says that they are to be shown: telephones film sideways and write down by how much."""

from dataclasses import replace
from typing import Final, cast

import cv2
import numpy as np

from stream.film import Info
from stream.frame import Frame, Plane

_AS_IT_IS: Final = (1, 0, 0, 1)


def is_upright(info: Info) -> bool:
    """Whether the film's pictures lie as they are to be shown."""
    return _signs(info) == _AS_IT_IS


def upright_info(info: Info) -> Info:
    """What the film is once its pictures have been turned."""
    if _signs(info)[0]:
        return replace(info, rotation=0, display_matrix=None)
    return replace(
        info,
        rotation=0,
        display_matrix=None,
        width=info.height,
        height=info.width,
        subsampling=info.subsampling and info.subsampling[::-1],
        pixel_aspect=1 / info.pixel_aspect,
        interlaced=False,
    )


def upright(frame: Frame, info: Info) -> Frame:
    """The film's picture, turned; `info` is that of the film as it lies. Fields that end up in columns are none."""
    across, down, right, below = _signs(info)
    planes = tuple(
        _flip(plane, across, below) if across else _flip(cv2.transpose(plane), right, down) for plane in frame.planes
    )
    if across:
        return replace(frame, planes=planes)
    return replace(frame, planes=planes, subsampling=frame.subsampling[::-1], interlaced=False)


def _flip(plane: "cv2.typing.MatLike", across: int, down: int) -> Plane:
    """Mirrored where the sign is negative; rows without gaps."""
    return cast(Plane, np.ascontiguousarray(plane[::down, ::across]))


def _signs(info: Info) -> tuple[int, int, int, int]:
    """The display matrix (ISO 14496-12, 6.2.2) as signs: where x goes across and down, where y goes.

    What is turned by other angles than quarters is left as it lies.
    """
    matrix = info.display_matrix
    if matrix is None:
        return _AS_IT_IS
    turn = (matrix[0], matrix[1], matrix[3], matrix[4])
    signs = tuple((number > 0) - (number < 0) for number in turn)
    straight = signs[1:3] == (0, 0) and signs[0] * signs[3] != 0
    sideways = signs[::3] == (0, 0) and signs[1] * signs[2] != 0
    return (signs[0], signs[1], signs[2], signs[3]) if straight or sideways else _AS_IT_IS
