"""What a live session can be told while it runs, by its page and by its control socket: the same words for both.

{"v": 1, "op": "set", "steady": 0.5}  ->  {"v": 1, "ok": true, "state": {...}}
"""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from fractions import Fraction
from typing import Any, Final, cast

from stream.errors import UsageError
from stream.frame import Frame
from stream.jpeg import encode_png
from stream.switch import NATURAL, RANGES, Setting, available_looks, check_look, has_strength

VERSION: Final = 1
MAX_REQUEST: Final = 4096
OPS: Final = ("state", "set", "pause", "snapshot")


class Controls:
    """The session's setting; changed by any thread, read by the engine's between two frames."""

    def __init__(self, setting: Setting, *, readonly: bool = False) -> None:
        """readonly: nothing can be switched, as where another program's stream is watched."""
        self._readonly = readonly
        self._lock = threading.Lock()
        self._setting = setting
        self._first = setting.look
        self._snapping = threading.Lock()
        self._paused = threading.Event()
        self.rejected = 0
        """Requests that were no good."""
        self.last: Frame | None = None
        """The last coloured picture."""
        self.pixel_aspect = Fraction(1)
        """Of its pixels, width by height."""
        self.numbers: Callable[[], dict[str, Any]] = dict
        """The session's figures."""

    @property
    def setting(self) -> Setting:
        """What holds for the next frame."""
        with self._lock:
            return self._setting

    @property
    def paused(self) -> bool:
        """The picture is held."""
        return self._paused.is_set()

    def state(self) -> dict[str, Any]:
        """The setting, what it can be changed to, and the session's figures."""
        if self._readonly:
            return {"readonly": True, "paused": False, "looks": {}, "numbers": self.numbers()}
        setting = self.setting
        shown: dict[str, Any] = asdict(setting)
        if not has_strength(setting.look):
            del shown["strength"]
        names = dict.fromkeys((*available_looks(), self._first))  # the one that it began with may be a picture
        looks = {name: {"strength": has_strength(name)} for name in names}
        return shown | {"paused": self.paused, "looks": looks, "numbers": self.numbers()}

    def answer(self, request: bytes | str) -> tuple[dict[str, Any], bytes | None]:
        """The reply to a request in JSON, and a PNG where one was asked for. Never raises for what a peer sends."""
        try:
            attachment = self._obey(_parse(request))
        except UsageError as error:
            self.rejected += 1
            return {"v": VERSION, "ok": False, "error": str(error)}, None
        return {"v": VERSION, "ok": True, "state": self.state()}, attachment

    def _obey(self, request: dict[str, Any]) -> bytes | None:
        op = request["op"]
        if self._readonly and op in ("set", "pause"):
            raise UsageError("nothing can be switched here: the stream is another program's")
        if op == "set":
            self._change(request)
        elif op == "pause":
            _only(request, {"on"})
            if type(request.get("on")) is not bool:
                raise UsageError("pause needs on, true or false")
            (self._paused.set if request["on"] else self._paused.clear)()
        elif op == "snapshot":
            _only(request, set())
            return self._snapshot()
        else:
            _only(request, set())
        return None

    def _snapshot(self) -> bytes:
        picture = self.last
        if picture is None:
            raise UsageError("there is no picture yet")
        # A large one takes the core that the engine needs for half a second: never several at once.
        if not self._snapping.acquire(blocking=False):
            raise UsageError("another snapshot is being made; ask again")
        try:
            return encode_png(picture, pixel_aspect=self.pixel_aspect)
        finally:
            self._snapping.release()

    def give_up(self, look: str) -> None:
        """Goes back to the natural look unless another one has been chosen meanwhile: this one can't be had."""
        with self._lock:
            if self._setting.look == look:
                self._setting = replace(self._setting, look=NATURAL)

    def _change(self, request: dict[str, Any]) -> None:
        _only(request, {"look", *RANGES})
        with self._lock:
            changed = self._setting
            if "look" in request:
                if not isinstance(request["look"], str):
                    raise UsageError("look must be a name")
                # The first one may be a picture; it is a name here, and the session holds what it names.
                known = request["look"] == self._first
                changed = replace(changed, look=self._first if known else check_look(request["look"]))
            for name, (low, high) in RANGES.items():
                if name not in request:
                    continue
                value = request[name]
                if type(value) not in (int, float) or not low <= value <= high:
                    raise UsageError(f"{name} {str(value)[:20]!r}; {low:g} to {high:g} is allowed")
                if name == "strength" and not has_strength(changed.look):
                    raise UsageError(f"the look {changed.look} has no strength")
                changed = replace(changed, **cast(dict[str, Any], {name: float(value)}))
            self._setting = changed


def _parse(request: bytes | str) -> dict[str, Any]:
    if len(request) > MAX_REQUEST:
        raise UsageError(f"a request of {len(request)} bytes; at most {MAX_REQUEST} are allowed")
    try:
        parsed = json.loads(request)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the request is no JSON ({type(error).__name__})") from error
    if not isinstance(parsed, dict):
        raise UsageError("the request is no JSON object")
    if type(parsed.get("v")) is not int or parsed["v"] != VERSION:
        raise UsageError(f"v must be {VERSION}")
    if not isinstance(parsed.get("op"), str) or parsed["op"] not in OPS:
        raise UsageError(f"op must be one of {', '.join(OPS)}")
    return parsed


def _only(request: dict[str, Any], allowed: set[str]) -> None:
    strange = set(request) - allowed - {"v", "op"}
    if strange:
        known = ", ".join(sorted(allowed)) or "nothing"
        raise UsageError(f"{request['op']} takes {known} beside v and op, not {sorted(strange)[0][:40]!r}")
