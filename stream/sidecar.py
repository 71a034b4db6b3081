"""The JSON beside a result, NAME.EXT.json: where its colours come from, and what tells whether it is what is asked now.

{"provenance": ..., "created": ..., "settings": ..., "source": ..., "made_with": ..., "report": ...}
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stream.config import Settings
from stream.job import is_unchanged, say_changes
from stream.metrics import Report
from stream.packets import digest
from stream.part import belongs, finish_part, naming_failures, part_of, seal, sidecar_of
from stream.proof import name_proof
from stream.runtime import find_release, version
from stream.sequence import parse_pattern
from stream.shotlist import ShotList

PROVENANCE = "colours are machine-made"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a result was made of, and how."""

    source: dict[str, Any]
    """What `job.describe_source` says of it."""
    made_with: dict[str, Any]
    """All that changes the pictures (`Film.recipe`)."""
    settings: Settings
    shots: ShotList | None = None
    """What a person wanted of each shot."""


def provenance(settings: Settings) -> str:
    """What every result says of its colours."""
    release = find_release(settings.weights)
    painted = "" if settings.style is None else f", repainted in the style {Path(settings.style).name!r}"
    painted += f" at strength {settings.strength:g}" if painted else ""
    return f"{PROVENANCE}{painted}; Kinochrome {version()}, weights {release.name} {release.sha256[:12]}"


def result_of(target: Path) -> Path:
    """What lies there once a film was written to `target`: the file, or the folder of numbered pictures."""
    pattern = parse_pattern(target)
    return target if pattern is None else pattern.folder


def prepare_sidecar(result: Path, made: Path, report: Report, origin: Origin) -> None:
    """Puts on the disk what a later archivist needs to know about these colours, before they get their name.

    made: where they lie, complete; `name_sidecar` does the rest once they are at `result`.
    """
    shots = origin.shots
    content = {
        "provenance": provenance(origin.settings),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made.stat().st_mtime)),
        "settings": asdict(origin.settings),
        "source": origin.source,
        "made_with": origin.made_with,
        "report": report.as_dict(),
    } | ({} if shots is None else {"shots": [asdict(shot) | {"digest": shot.digest} for shot in shots.shots]})
    part = part_of(sidecar_of(result))
    with naming_failures(part):
        part.write_text(json.dumps(content, indent=1) + "\n")
        seal(part, made)


def name_sidecar(result: Path) -> None:
    """Gives what belongs to a result that has got its name theirs: its proof, and in the end its sidecar.

    Where a run was killed just before, the next one does it; a part of another result is left alone.
    """
    if not result.name:  # a folder such as "."; the plan says what is wrong with it
        return
    sidecar = sidecar_of(result)
    if belongs(part_of(sidecar), result):
        name_proof(result)
        with naming_failures(sidecar):
            finish_part(part_of(sidecar), sidecar)


def read_sidecar(result: Path) -> dict[str, Any]:
    """What lies beside a result; nothing where that can't be read."""
    try:
        content = json.loads(sidecar_of(result).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def say_difference(sidecar: Mapping[str, Any], made_with: Mapping[str, Any]) -> str:
    """How a result was made otherwise than it would be now, in words; "" where it is what is asked.

    made_with: what it would be made with. A style is told from another one by its code alone where shots have looks.
    """
    if "made_with" not in sidecar:
        return "nothing beside it says how it was made"
    now = dict(made_with) | ({"style_code": sidecar["made_with"].get("style_code")} if "shots" in sidecar else {})
    changed = say_changes(sidecar["made_with"], now)
    return changed and f"was made with {changed}"


def is_same_source(sidecar: Mapping[str, Any], source: Path) -> bool:
    """Whether the film is the one that the result was made of; one that was copied or touched is read to be sure."""
    made_of = sidecar.get("source", {})
    if is_unchanged({**made_of, "path": str(source)}):
        return True
    sha256 = made_of.get("sha256")
    return sha256 is not None and source.stat().st_size == made_of.get("size") and digest(source) == sha256
