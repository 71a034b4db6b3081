"""The shots of a film as a person may correct them: `shots.toml`, read, checked and written.

    kinochrome shots reel.mkv --toml shots.toml     # found by the program, one [[shot]] each
    kinochrome colorize reel.mkv --shots shots.toml -o reel-colour.mkv

A shot reaches to the next one's first frame. What it doesn't say is as the command line says.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from stream.config import NATURAL, Settings
from stream.errors import InputError, UsageError
from stream.part import check_target, claim, finish_part, naming_failures, part_of

_HEAD: Final = {"film": str, "frames": int, "duration_s": float}
_SAME_DURATION_S: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One shot, and what a person wants of it; None leaves it to the command line."""

    first: int
    """Number of its first frame, counted from 0."""
    look: str | None = None
    """Painted in this style: a named look, or a picture's path; "natural" is none."""
    reference: str | None = None
    """A picture whose colours it takes; the luma stays the film's."""
    strength: float | None = None
    """How much of the look or of the reference's colours, 0 to 1."""
    saturation: float | None = None
    """Factor on its colours, 0 to 2."""
    grey: bool = False
    """Left in black and white."""

    def paints(self, general: Settings) -> bool:
        """Its luma is repainted, with what the command line says in `general`."""
        own = self.settings(general)
        return not self.grey and self.reference is None and own.style is not None and own.strength > 0

    @property
    def digest(self) -> str:
        """SHA-256 over all that is wanted of it, a reference's or look's picture by its content, and not where it lies:
        two shots with the same digest look alike, and one whose digest changed must be done again.
        """
        wanted = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "first"}
        for name in ("look", "reference"):
            if wanted[name] is not None and is_path(wanted[name]):
                wanted[name] = hashlib.sha256(_bytes_of(Path(wanted[name]))).hexdigest()
        return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()

    def settings(self, general: Settings) -> Settings:
        """What the command line says, with what this shot says in its place."""
        own: dict[str, Any] = {}
        if self.saturation is not None:
            own["saturation"] = self.saturation
        if self.strength is not None:
            own["strength"] = self.strength
        if self.reference is not None:
            own["style"] = self.reference
        elif self.look is not None:
            own["style"] = None if self.look == NATURAL else self.look
        return replace(general, **own)


_WORDS: Final = {each.name: each.type for each in fields(Shot)}
_RANGES: Final = {"strength": (0.0, 1.0), "saturation": (0.0, 2.0)}


@dataclass(frozen=True, kw_only=True)
class ShotList:
    """All shots of a film, in their order; the first one begins at frame 0."""

    shots: tuple[Shot, ...]
    film: str = ""
    """The film's name, for people."""
    frames: int | None = None
    """Frames that it had when the list was made."""
    duration_s: float | None = None
    """Its duration by its header."""

    def spans(self) -> Iterator[tuple[Shot, int | None]]:
        """Each shot and the first frame behind it; None at the film's end."""
        return zip(self.shots, [*(shot.first for shot in self.shots[1:]), None], strict=True)

    def first_of(self, number: int) -> int:
        """The first frame of the shot that frame `number` belongs to."""
        return max(shot.first for shot in self.shots if shot.first <= number)

    def check_film(self, name: str, duration_s: float | None) -> None:
        """UsageError where the list is another film's."""
        if self.duration_s and duration_s and abs(self.duration_s - duration_s) > _SAME_DURATION_S:
            raise UsageError(
                f"the list of shots is of a film of {self.duration_s:g} s ({self.film}), and {name} has "
                f"{duration_s:g} s; write a list of this film: kinochrome shots FILM --toml NEW.toml"
            )

    def beyond(self, frames: int) -> list[str]:
        """A line on shots that a film of so many frames never reached."""
        late = [number for number, shot in enumerate(self.shots, 1) if shot.first >= frames]
        return [f"the film ended after {frames} frames, before shot {late[0]} of the list"] if late else []


def is_path(style: str) -> bool:
    """A picture rather than a named look."""
    return "." in style or "/" in style


def read_shots(path: Path) -> ShotList:
    """The list in a file; pictures are looked for beside it. UsageError names the line and key that can't be right."""
    try:
        text = path.read_text("utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{path}: the list of shots can't be read ({error.strerror})") from error
    except ValueError as error:  # of TOML or of UTF-8
        raise UsageError(f"{path}: no valid TOML ({error})") from error
    return _Reading(path, text).take(content)


class _Reading:
    """Checks what a file says, key by key."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()

    def take(self, content: Mapping[str, Any]) -> ShotList:
        for key in content:
            if key not in (*_HEAD, "shot"):
                raise self._refusal(None, key, f"no key that is known; {', '.join((*_HEAD, '[[shot]]'))} are")
        head = {key: self._typed(None, key, content[key], kind) for key, kind in _HEAD.items() if key in content}
        tables = content.get("shot", [])
        if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
            raise self._refusal(None, "shot", "no shots; each one is a table [[shot]] with first = NUMBER")
        shots = [self._shot(number, table) for number, table in enumerate(tables, 1)]
        for number, (before, shot) in enumerate(zip([None, *shots], shots, strict=False), 1):
            if before is None and shot.first != 0:
                raise self._refusal(number, "first", f"{shot.first}; the first shot begins at frame 0")
            if before is not None and shot.first <= before.first:
                raise self._refusal(number, "first", f"{shot.first}; the shot before begins at {before.first}")
        frames = head.get("frames")
        if frames is not None and shots[-1].first >= frames:
            raise self._refusal(
                len(shots), "first", f"{shots[-1].first}; the film has {frames} frames, 0 to {frames - 1}"
            )
        return ShotList(shots=tuple(shots), **head)

    def _shot(self, number: int, table: Mapping[str, Any]) -> Shot:
        if "first" not in table:
            raise self._refusal(number, None, "first is missing: the number of its first frame")
        found: dict[str, Any] = {}
        for key, value in table.items():
            if key not in _WORDS:
                raise self._refusal(number, key, f"no key that is known; {', '.join(_WORDS)} are")
            kind = next(kind for kind in (bool, int, float, str) if kind.__name__ in str(_WORDS[key]))
            found[key] = self._typed(number, key, value, kind)
            low, high = _RANGES.get(key, (0, float("inf")))
            if kind in (int, float) and not low <= found[key] <= high:
                allowed = f"{low:g} to {high:g}" if key in _RANGES else "0 or more"
                raise self._refusal(number, key, f"{value}; {allowed} is allowed")
        self._check_pictures(number, found)
        wanted = {key for key in ("look", "reference") if key in found} | ({"grey"} if found.get("grey") else set())
        if len(wanted) > 1:
            raise self._refusal(number, max(wanted), f"{' and '.join(sorted(wanted))} can't both be; keep one")
        return Shot(**found)

    def _check_pictures(self, number: int, found: dict[str, Any]) -> None:
        for key in ("look", "reference"):
            value = found.get(key)
            if value is None or (key == "look" and not is_path(value)):
                continue
            picture = self._path.parent / value
            if not picture.is_file():
                raise self._refusal(number, key, f'"{value}"; there is no such picture beside the list')
            found[key] = str(picture) if is_path(str(picture)) else f"./{picture}"

    def _typed(self, number: int | None, key: str, value: object, kind: type) -> Any:  # noqa: ANN401  (the kind asked for)
        fits = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
        if not fits:
            names = {bool: "true or false", int: "a whole number", float: "a number", str: 'a text in "quotes"'}
            raise self._refusal(number, key, f"{value!r}; {names[kind]} is needed")
        return kind(value)

    def _refusal(self, number: int | None, key: str | None, reason: str) -> UsageError:
        """The mistake in a line that says where: file, line, shot and key."""
        line = self._line_of(number, key)
        where = f"{self._path}" + (f", line {line}" if line else "") + (f", shot {number}" if number else "")
        return UsageError(
            f"{where}: {f'{key} = ' if key and key in (*_WORDS, *_HEAD) else f'{key}: ' if key else ''}{reason}"
        )

    def _line_of(self, number: int | None, key: str | None) -> int | None:
        """Line, from 1, of a key in the head (None) or in a shot, or of the shot's own line; None if not found."""
        heads = [at for at, line in enumerate(self._lines) if re.match(r"\s*\[\[\s*shot\s*\]\]", line)]
        bounds = [0, *heads, len(self._lines)]
        if number is not None and number > len(heads):
            return None
        start, end = bounds[number or 0], bounds[(number or 0) + 1]
        if key is None:
            return start + 1
        pattern = re.compile(rf"""\s*\[*\s*["']?{re.escape(key)}["']?\s*[=\].]""")
        return next(
            (at + 1 for at in range(start, end) if pattern.match(self._lines[at])), start + 1 if number else None
        )


def write_shots(path: Path, shots: ShotList, remarks: Mapping[int, str], *, source: Path, overwrite: bool) -> None:
    """Writes a list for people to edit; `remarks` stand beside the shot's first frame."""
    check_target(path, source=source, overwrite=overwrite)
    part = part_of(path)
    with naming_failures(part), claim(part):
        part.write_text(_text_of(shots, remarks), "utf-8")
        finish_part(part, path)


def _text_of(shots: ShotList, remarks: Mapping[int, str]) -> str:
    lines = [
        "# The shots of a film, to be corrected by hand, then:",
        "#   kinochrome colorize FILM --shots THIS_FILE -o OUT",
        "# and after another correction the same with -y: it makes the shots again that were changed, and no others.",
        "# A shot reaches to the next one's first frame (frames count from 0). Take a [[shot]] away, and the one",
        "# before goes on; put one in, and there is a cut. In each one may stand, without the #:",
        '#   look = "starry"            # painted like a named look (kinochrome looks) or a picture beside this file',
        '#   reference = "still.jpg"    # takes the colours of a picture; the luma stays the film\'s',
        "#   strength = 0.8             # how much of the look or reference, 0 to 1",
        "#   saturation = 0.7           # paler or stronger colours, 0 to 2",
        "#   grey = true                # left in black and white",
        "",
        f"film = {_quoted(shots.film)}",
    ]
    lines += [f"frames = {shots.frames}"] if shots.frames is not None else []
    lines += [f"duration_s = {float(shots.duration_s)}"] if shots.duration_s is not None else []
    for shot in shots.shots:
        lines += [
            "",
            "[[shot]]",
            f"first = {shot.first}" + (f"  # {remarks[shot.first]}" if shot.first in remarks else ""),
        ]
        for each in fields(Shot):
            value = getattr(shot, each.name)
            if each.name != "first" and value is not None and value is not False:
                lines.append(f"{each.name} = {_quoted(value) if isinstance(value, str) else str(value).lower()}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML basic string; TOML's escapes are JSON's, and names that are no UTF-8 lose the bytes that aren't."""
    return json.dumps(text.encode(errors="replace").decode(), ensure_ascii=False).replace("\x7f", "\\u007F")


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
