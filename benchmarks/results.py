"""Where results go and what every one of them says about its origin."""

import json
import platform
import time
from importlib import metadata
from pathlib import Path

from benchmarks.trial import Result, cores
from stream.ffmpeg import ffmpeg_facts
from train.evaluate import provenance

FOLDER = Path(__file__).parent / "results"
_TICKS = Path("/proc/stat")
_PACKAGES = ("kinochrome", "torch", "openvino", "av", "numpy", "opencv-python-headless")


def origin() -> Result:
    """Date, commit, machine and versions, and the share of the cores that other programs took just before."""
    versions = {package: _version(package) for package in _PACKAGES}
    versions |= {"python": platform.python_version(), "ffmpeg": ffmpeg_facts()[0]}
    return provenance() | {
        "versions": versions,
        "cores_used": cores(),
        "others_busy": _busy_share(),
    }


def _version(package: str) -> str:
    """Machines with a GPU may have only what the GPU's benchmark needs, and Kinochrome as a folder."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _busy_share() -> float | None:
    """Share of all cores that was not idle for half a second; None where the system doesn't tell."""
    if not _TICKS.is_file():
        return None
    before = _ticks()
    time.sleep(0.5)
    spent = [now - then for now, then in zip(_ticks(), before, strict=True)]
    idle = spent[3] + spent[4]  # idle, and waiting for a disk
    return round(1 - idle / max(1, sum(spent)), 3)


def _ticks() -> list[int]:
    return [int(number) for number in _TICKS.read_text().split("\n", 1)[0].split()[1:9]]


def save(result: Result, path: Path) -> None:
    """Writes a result whole, so that a page is never made of half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(path)
