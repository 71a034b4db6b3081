"""Do strokes boil? How much painted pictures change along the motion, with looks that ship.

Grain and flicker are new in every frame, so a painter who looks at each frame for itself draws other strokes each time.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks import scenes
from benchmarks.smoothers import LAG, NO_FRAME
from benchmarks.trial import Result
from model import color, motion, temporal
from stream import steady
from stream.config import Settings
from stream.metrics import Meter
from stream.runtime import Runtime, Style, open_runtime
from stream.shots import Marked, Picture
from stream.switch import NATURAL, available_looks, look_of
from train import measures
from train.measures import Clip, Motion

FRAMES = 30
LOOKS = 4
"""Of those that ship, spread over the list."""
_SETTLED = 12
"""Frames before the first pair that is judged: what comes later in a shot is most of it."""
_PAIRS = 8
WAYS = {"unsmoothed": None, "ours, causal": 0, "ours, fixed lag": LAG}
DEFINITION = (
    "root mean square change of L, a and b along the motion from frame to frame, Lab units at working size, frames "
    f"{_SETTLED} to {FRAMES} of grainy clips, mean over the looks; worst: the look with the largest share of its "
    "unsmoothed error; the film's own grain, half of which a painted film keeps, is not in it"
)


def make_scenes(photo: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], frames: int) -> list[scenes.Scene]:
    """A photograph that stands still, and one that is panned."""
    side = scenes.SIDE + 64
    layer = {"picture": scenes.enlarge(photo), "mask": np.ones((side, side), bool)}
    places = {"still": lambda frame: (1.0, -32.0, -32.0), "panned": lambda frame: (1.0, -1.5 * frame - 8, -32.0)}
    return [
        scenes.make_scene(f"known: {name}", [scenes.Layer(**layer, place=place)], frames=frames)
        for name, place in places.items()
    ]


def measure(clips: Sequence[Clip]) -> list[Result]:
    """A row for every clip: the error unsmoothed and smoothed, over some looks (of short clips one alone)."""
    names = [name for name in available_looks() if name != NATURAL]
    names = names[:: max(1, len(names) // LOOKS)][:LOOKS]
    return [_judge(clip, names if len(clip.luma) >= FRAMES else names[:1]) for clip in clips]


def _judge(clip: Clip, looks: Sequence[str]) -> Result:
    frames = len(clip.luma)
    runtime = open_runtime(Settings(threads=1), (clip.luma.shape[2], clip.luma.shape[3]), styled=True).runtime
    later = list(range(min(_SETTLED, frames - 1), frames))
    pairs = [(now, now - 1) for now in later[:: max(1, len(later) // _PAIRS)]]
    motions = [_at_full_size(_motion(clip, now, then)) for now, then in pairs]
    errors: dict[str, list[float]] = {name: [] for name in WAYS}
    for look in looks:
        given = list(_paint(clip, runtime, look))
        for name, lag in WAYS.items():
            errors[name].append(_error(given if lag is None else _hold(given, lag), pairs, motions))
    row: Result = {"clip": clip.name, "looks": list(looks), "error": {}, "share": {}, "worst": {}}
    for name, values in errors.items():
        shares = np.array(values) / np.array(errors["unsmoothed"])
        row["error"][name] = round(float(np.mean(values)), 4)
        row["share"][name] = round(float(shares.mean()), 4)
        row["worst"][name] = [looks[int(shares.argmax())], round(float(shares.max()), 4)]
    return row


def _motion(clip: Clip, now: int, then: int) -> Motion:
    if isinstance(clip, scenes.Scene):
        return clip.motion(now, then)
    return measures.find_motion(clip.shown[now : now + 1], clip.shown[then : then + 1])


def _at_full_size(found: Motion) -> Motion:
    """Motion at half the working size, for pictures at all of it."""
    return Motion(motion.double(found.flow), interpolate(found.seen.float(), scale_factor=2.0) > 0.5)


def _paint(clip: Clip, runtime: Runtime, name: str) -> Iterator[Picture]:
    """Every frame as the network paints it, grey in, colour and style out."""
    look = look_of(name)
    assert look is not None
    code = look.code_for(min(clip.luma.shape[2:]))
    guides = temporal.guide(clip.luma)
    for start in range(0, len(clip.luma), 4):
        painted = runtime.start(clip.luma[start : start + 4].numpy(), Style(code=code, chroma=None))()
        assert painted.luma is not None
        for offset in range(len(painted.chroma)):
            part, now = slice(offset, offset + 1), start + offset
            yield Picture(
                frame=NO_FRAME,
                guide=guides[now : now + 1],
                chroma=torch.from_numpy(painted.chroma[part]),
                styled_luma=torch.from_numpy(painted.luma[part]),
            )


def _hold(given: Sequence[Picture], lag: int) -> list[Picture]:
    marked = [Marked(picture, "same" if index else "cut") for index, picture in enumerate(given)]
    if lag:
        return list(steady.hold_ahead(marked, steady=Settings.steady, lag=lag, meter=Meter()))
    return list(steady.hold_online(marked, steady=Settings.steady, meter=Meter()))


def _error(pictures: Sequence[Picture], pairs: Sequence[tuple[int, int]], motions: Sequence[Motion]) -> float:
    found = []
    for (now, then), moved in zip(pairs, motions, strict=True):
        error = measures.warp_error(_lab(pictures[now]), _lab(pictures[then]), moved)
        if error is not None:
            found.append(error)
    return float(np.sqrt(np.mean(found))) * measures.AB_UNIT


def _lab(picture: Picture) -> Tensor:
    luma = picture.styled_luma
    assert luma is not None
    return measures.lab(color.join(luma, color.limit(luma, temporal.enlarge(picture.chroma))))
