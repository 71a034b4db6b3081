"""What can be switched while the engine runs, and how it is put on: look, strength, steadiness, saturation."""

from dataclasses import dataclass, replace
from functools import lru_cache

from stream.config import NATURAL as NATURAL
from stream.config import Settings
from stream.engine import Engine
from stream.errors import UsageError
from stream.looks import Look, find_look
from stream.public import public_look
from stream.runtime import find_release, load_generator


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What can be switched while running."""

    look: str = NATURAL
    strength: float = 1.0
    """0 (natural) to 1; of looks that have one."""
    steady: float = 0.8
    """0 (off) to 1."""
    saturation: float = 1.0
    """0 to 2."""


RANGES = {"strength": (0.0, 1.0), "steady": (0.0, 1.0), "saturation": (0.0, 2.0)}


def available_looks() -> tuple[str, ...]:
    """The looks that this release can give, the default first."""
    return (NATURAL, *find_release(Settings.weights).looks)


def has_strength(look: str) -> bool:
    """Whether strength changes anything in this look: in the natural one it doesn't."""
    return look != NATURAL


def check_look(name: str) -> str:
    """The name, or UsageError with those that exist. Pages and sockets may ask for these alone, never for a file."""
    if name not in available_looks():
        raise UsageError(f"no look named {name[:40]!r}; there are {', '.join(available_looks())}")
    return name


@lru_cache(maxsize=32)
def look_of(name: str) -> Look | None:
    """The look of a name, read once; None is the natural one. Names alone: it may be a peer who asks."""
    if check_look(name) == NATURAL:
        return None
    release = find_release(Settings.weights)
    return find_look(name, release, lambda: load_generator(release))


def look_to_begin_with(asked: str) -> tuple[str, Look | None]:
    """The name that others may know, and the look: of a name, or of a picture's path, which the command line may give.

    A picture is read here, once: nothing that runs later knows its path.
    """
    if "." not in asked and "/" not in asked:
        return asked, look_of(asked)
    release = find_release(Settings.weights)
    look = find_look(asked, release, lambda: load_generator(release))
    name = public_look(asked)
    return (f"./{name}" if name in available_looks() else name), look


def apply(engine: Engine, setting: Setting, look: Look | None) -> None:
    """Puts the setting on, between two frames; look: what `setting.look` names."""
    engine.settings = replace(engine.settings, steady=setting.steady, saturation=setting.saturation)
    engine.restyle(look, setting.strength)
