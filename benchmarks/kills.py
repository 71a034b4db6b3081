"""Kill -9 at fifty random moments: is every film the one that nothing interrupted, and is nothing done twice?

    python -m benchmarks.kills                     # part of make soak; twenty minutes
    python -m benchmarks.kills --kills 5
    python -m benchmarks.kills --scans             # numbered pictures, from and to

Every killed run must leave what was finished as it was, nothing under the final name that isn't the whole film, and
the next one must go on. The last line on stdout is JSON.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import typer
from rich.console import Console

from benchmarks import clips, results
from benchmarks.trial import ROOT
from stream.colorize import Job, colorize
from stream.config import Settings
from stream.container import open_film
from stream.job import MANIFEST, folder_of
from stream.manifest import Manifest
from stream.media import read_frames
from stream.picture_list import read_list

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)
FRAMES: Final = 2016
"""The sample's pictures seven times: 84 s."""
SIZE: Final = (96, 64)
NAME: Final = "scan_{:05}.png"
SHORT_SIDE: Final = 32


class KillError(AssertionError):
    """Something was lost, or done twice."""


@dataclass(kw_only=True)
class Tally:
    """What the kills did."""

    kills: int = 0
    films: int = 0
    before_start: int = 0
    """Kills that hit the program before the first segment was begun."""
    while_joined: int = 0
    """And those that hit it once all segments were there."""
    kept: list[int] = field(default_factory=list)
    """Segments that were there after each kill."""


@app.command()
def main(
    kills: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 1,
    scans: Annotated[bool, typer.Option("--scans", help="A film of numbered pictures, coloured as such.")] = False,
    frames: Annotated[int, typer.Option(min=100, help="Of the film.")] = FRAMES,
    out: Annotated[Path | None, typer.Option(help="Where to write the result.")] = None,
) -> None:
    """Kills the program again and again."""
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kinochrome-kills-") as name:
        folder = Path(name)
        film = clips.make_film(folder / "film.mkv", grain=False, frames=frames, size=SIZE)
        if scans:
            film = _scan(film, folder / "scans")
        console.print("the film that nothing interrupts")
        begun_s = time.monotonic()
        job = Job(codec=None if scans else "ffv1")
        colorize(film, folder / f"whole{_end(film)}", settings=Settings(short_side=SHORT_SIDE), job=job)
        tally = pester(film, folder, kills, time.monotonic() - begun_s, random.Random(seed))
    result = {"question": "is anything lost or done twice by kill -9?", "kills": kills, "frames": frames}
    result |= {"of": "numbered pictures" if scans else "a film"}
    result |= results.origin() | {
        "films": tally.films,
        "before_start": tally.before_start,
        "while_joined": tally.while_joined,
        "segments_kept": tally.kept,
        "lost_or_made_twice": 0,
        "seconds": round(time.monotonic() - started_s),
    }
    if out or (kills >= 50 and frames == FRAMES):
        results.save(result, out or results.FOLDER / f"kills{'-scans' if scans else ''}.json")
    typer.echo(json.dumps(result))


def pester(film: Path, folder: Path, kills: int, whole_s: float, chance: random.Random) -> Tally:
    """Colours the film, killed at random moments, until there were enough; whole_s is how long it takes."""
    tally, whole = Tally(), _content(folder / f"whole{_end(film)}")
    while tally.kills < kills:
        target = folder / f"film-{tally.films}{_end(film)}"
        kept: dict[Path, int] = {}
        while not target.exists():
            process = _start(film, target)
            try:
                process.wait(_moment(process, target, whole_s, chance) if tally.kills < kills else None)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                tally.kills += 1
                kept = _check(target, kept, tally)
                console.print(f"kill {tally.kills}: {tally.kept[-1]} segments kept")
            else:
                if process.returncode:
                    raise KillError(
                        f"{process.returncode}: {(process.stderr.read() if process.stderr else b'').decode()}"
                    )
        if _content(target) != whole:
            raise KillError(f"{target}: is not the film that nothing interrupted")
        if (stray := _start(film, target).wait()) not in (0, 4) or folder_of(target).exists():
            raise KillError(f"{target}: something was left behind ({stray})")
        tally.films += 1
    return tally


def _moment(process: "subprocess.Popen[bytes]", target: Path, whole_s: float, chance: random.Random) -> float:
    """Seconds to wait before the kill: mostly from where the work has begun, for starting takes long as well."""
    if chance.random() < 0.2:
        return chance.uniform(0, whole_s)
    manifest = folder_of(target) / MANIFEST
    before = manifest.stat().st_mtime_ns if manifest.exists() else None
    while process.poll() is None and (not manifest.exists() or manifest.stat().st_mtime_ns == before):
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    return chance.uniform(0, 0.3 * whole_s)


def _start(film: Path, target: Path) -> "subprocess.Popen[bytes]":
    command = (sys.executable, "-m", "stream", "colorize", str(film), "-o", str(target))
    more = ("--short-side", str(SHORT_SIDE), "--no-progress", *(() if film.is_dir() else ("-c", "ffv1")))
    return subprocess.Popen((*command, *more), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _check(target: Path, before: dict[Path, int], tally: Tally) -> dict[Path, int]:
    """The segments that are finished, with the times of their files; those of before must be as they were."""
    manifest = folder_of(target) / MANIFEST
    if not manifest.exists():
        tally.before_start += 1
        tally.kept.append(0)
        if before and not target.exists():
            raise KillError(f"{target}: its finished segments are gone")
        return {}
    entries = Manifest.of_json(manifest.read_text()).entries
    lists = [path for path in folder_of(target).glob("*.segment") if int(path.stem) in entries]
    if len(lists) != len(entries) and not target.exists():
        raise KillError(f"{target}: {len(entries)} segments are said to be finished, {len(lists)} are there")
    found = {path: path.stat().st_mtime_ns for path in lists}
    part = target.with_name(f"{target.name}.part")
    if part.is_dir():
        finished = [noted for path in lists for noted in read_list(path)]
        found |= {part / NAME.format(noted.number): noted.mtime_ns for noted in finished}
        if lost := [noted for noted in finished if not noted.is_at(part / NAME.format(noted.number))]:
            raise KillError(f"{part}: {len(lost)} finished pictures are gone or not as they were")
    if not before.items() <= found.items() and not target.exists():
        raise KillError(f"{target}: a finished segment was made again")
    tally.while_joined += any(entry.next is None for entry in entries.values())
    tally.kept.append(len(entries))
    return found


def _end(film: Path) -> str:
    """Of the name of what is made of it."""
    return "" if film.is_dir() else ".mkv"


def _scan(film: Path, folder: Path) -> Path:
    """The film's pictures as numbered files."""
    folder.mkdir()
    for number, frame in enumerate(read_frames(film)):
        cv2.imwrite(str(folder / NAME.format(number)), frame.luma)
    return folder


def _content(path: Path) -> list[tuple[Any, ...]]:
    """Every packet, or every picture, byte for byte."""
    if path.is_dir():
        return [(picture.name, picture.read_bytes()) for picture in sorted(path.iterdir())]
    with open_film(path) as container:
        packets: Any = container.demux()
        return [(packet.stream.index, packet.pts, bytes(packet)) for packet in packets if packet.size]


if __name__ == "__main__":
    app()
