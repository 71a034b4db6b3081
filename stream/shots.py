"""Where a film's shots begin: what smoothing must not reach across.

Files are read a few frames ahead: PySceneDetect's detectors on small copies of our own frames, so that nothing is
decoded twice. Live has the frame before and nothing else.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from model import temporal
from model.anchor import Memory
from stream.frame import Frame

if TYPE_CHECKING:
    from scenedetect.detectors import AdaptiveDetector

Mark: TypeAlias = Literal["same", "cut", "alone"]
"""A frame goes on with the shot, begins one, or is a flash in the middle of one."""

FLASH = 2
"""A disturbance of at most so many frames, after which the shot goes on, is a flash and no cut."""
_SURROUNDINGS = 2
AHEAD = FLASH + _SURROUNDINGS
"""Frames that are looked ahead in a file."""
LEAD = 2 * _SURROUNDINGS + 4
"""Frames before a place that the marks behind it depend on, with room to spare: the detector remembers five changes."""
CHANGE = 20.0
"""Mean change of luma in eight-bit levels, the least that can be a cut. Measured on Nosferatu, a newsreel, a Chaplin
short and the sample film: 27 and more at cuts; an iris gives 18, a shaken camera 23 over many frames, which the
adaptive detector passes over."""


class Carry(NamedTuple):
    """What a shot's later pictures need to know of its earlier ones, where the film is cut into segments in between."""

    state: temporal.State
    memory: Memory
    pictures: int
    """Pictures of the shot so far, flashes not among them."""
    notes: tuple[temporal.Past | None, ...] = ()
    """What the pictures after the first ones of the next segment said about them when those before were finished."""


class Seam(NamedTuple):
    """Here a segment of the film begins, which can be worked on by itself."""

    carry: Carry | None
    """None where a shot begins as well."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A frame and what the network said about it; a batch of one, or of two fields."""

    frame: Frame
    guide: Tensor
    """float `[F, 1, h, w]` from `temporal.guide`."""
    chroma: Tensor
    """float `[F, 2, h, w]`, Cb Cr, -0.5..0.5."""
    styled_luma: Tensor | None = None
    """float `[F, 1, H, W]` 0..1, or None in the natural look."""
    luma: npt.NDArray[np.float32] | None = None
    """float `[F, 1, H, W]` 0..1: what the network saw, where it was repainted."""
    sketch: Tensor | None = None
    """The guide on the host, where the guide itself lies on another device: cuts are found there."""
    look: int = 0
    """Changes whenever another look, or another strength of it, is put on."""
    detail: float = 1.0
    """Share of the frame's fine detail that a repainted one keeps."""
    seam: Seam | None = None
    """A segment begins with this picture."""

    @property
    def outline(self) -> Tensor:
        """The guide, where the host can look at it without waiting."""
        return self.guide if self.sketch is None else self.sketch


class Marked(NamedTuple):
    """A picture and where it stands in its shot."""

    picture: Picture
    mark: Mark


def mark_online(pictures: Iterable[Picture]) -> Iterator[Marked]:
    """Marks each picture at once, by the one before."""
    before: Picture | None = None
    for picture in pictures:
        yield Marked(picture, "same" if before is not None and goes_on(before, picture) else "cut")
        before = picture


def mark_ahead(pictures: Iterable[Picture], *, lead: int = 0, midst: bool = False) -> Iterator[Marked]:
    """Marks each picture when AHEAD more were seen: cuts that stand out from their surroundings, and flashes apart.

    lead: so many pictures at the beginning are not marked; they are what the first ones are compared with. LEAD of them
    make the marks those of the whole film. midst: the first picture that is marked goes on with a shot.
    """
    source = _find_cuts(pictures)
    for _ in islice(source, lead):
        pass
    window = deque(islice(source, FLASH + 1))
    shot: Picture | None = None  # the last picture of the shot that goes on
    if midst and window:
        shot = window.popleft()[0]
        yield Marked(shot, "same")
        window.extend(islice(source, 1))
    while window:
        picture, cut = window[0]
        flash = _flash_length(shot, [each for each, _ in window]) if cut and shot is not None else 0
        for _ in range(flash):
            yield Marked(window.popleft()[0], "alone")
            window.extend(islice(source, 1))
        if flash:
            picture, cut = window[0][0], False
        yield Marked(picture, "cut" if cut or shot is None else "same")
        shot = picture
        window.popleft()
        window.extend(islice(source, 1))


def in_one(marked: Iterable[Marked], *, midst: bool = False) -> Iterator[Marked]:
    """The same pictures, said by somebody to be one shot: what looks like a cut in it is none.

    midst: the first picture goes on with the shot.
    """
    for number, (picture, mark) in enumerate(marked):
        yield Marked(picture, "cut" if not (number or midst) else "same" if mark == "cut" else mark)


def goes_on(before: Picture, picture: Picture) -> bool:
    """Whether both show the same shot, as far as the two tell."""
    if not _same_size(before, picture):
        return False
    return not bool(temporal.is_cut(picture.outline[:1], before.outline[:1]).item())


def _same_size(before: Picture, picture: Picture) -> bool:
    """Whether guides can be compared: a film may change from whole frames to fields and back, from frame to frame."""
    return before.guide.shape[1:] == picture.guide.shape[1:]


def _flash_length(shot: Picture, window: Sequence[Picture]) -> int:
    """How many pictures at the start of the window interrupt a shot that then goes on; 0 where it does not."""
    if goes_on(shot, window[0]):
        return 0  # a cut to something alike
    return next((length for length, picture in enumerate(window) if length and goes_on(shot, picture)), 0)


def _find_cuts(pictures: Iterable[Picture]) -> Iterator[tuple[Picture, bool]]:
    """Each picture, and whether it shows another shot than the one before."""
    from scenedetect import FrameTimecode  # here, so that what looks for no cuts, as benchmarks of a GPU, does without

    detector = _new_detector()
    waiting: deque[tuple[int, Picture, bool]] = deque()
    found: set[int] = set()
    before: Picture | None = None
    for number, picture in enumerate(pictures):
        if before is not None and not _same_size(before, picture):
            detector = _new_detector()  # it compares pictures of one size
        # The detector wants B, G, R and a time; frames are counted, so that a variable frame rate changes nothing.
        small = (255 * picture.outline[0, 0]).round().byte().cpu().numpy()
        found.update(
            cut.frame_num for cut in detector.process_frame(FrameTimecode(number, 25.0), np.dstack([small] * 3))
        )
        waiting.append((number, picture, before is None or _clearly_cut(before, picture)))
        before = picture
        if len(waiting) > _SURROUNDINGS:
            index, ready, clear = waiting.popleft()
            yield ready, clear or index in found
            found.discard(index)
    for index, ready, clear in waiting:
        yield ready, clear or index in found


def _new_detector() -> "AdaptiveDetector":
    from scenedetect.detectors import AdaptiveDetector

    return AdaptiveDetector(luma_only=True, min_scene_len=1, min_content_val=CHANGE, window_width=_SURROUNDINGS)


def _clearly_cut(before: Picture, picture: Picture) -> bool:
    """A cut that two frames are enough for: among many cuts none stands out."""
    if not _same_size(before, picture):
        return True
    change = (picture.outline[:1] - before.outline[:1]).abs().mean().item()
    return 255 * change >= CHANGE and not goes_on(before, picture)
