"""The whole recipe: stage after stage, each from the one before; and which of them go on where they were stopped.

python -m train all --photos DIR --paintings DIR --backbones DIR --minutes 240
"""

from dataclasses import replace
from pathlib import Path

from model.generator import Generator
from stream.errors import UsageError
from train import checkpoint, stages
from train.config import RECIPE
from train.loop import StopRequest
from train.sheets import Sheet
from train.sitting import Sitting, console, pick_device


def run(sitting: Sitting, minutes: float, *, start: Path | None, stop: StopRequest) -> None:
    """Trains all stages within a budget; those that are done already are passed over.

    Raises UsageError or ValueError before the first stage begins where any of them lacks what it needs.
    """
    if sitting.pairs is None:
        console.print("no --pairs: style learns without a teacher; the other phases fill its time")
        sitting = replace(sitting, taught=False)
    first = next(iter(RECIPE))
    resume = (sitting.run / first / "checkpoint.pt").is_file()
    check_start(sitting.run / first, start, resume=resume)
    check_needs(sitting, start)
    for stage, share in RECIPE.items():
        kept = sitting.run / stage / "checkpoint.pt"
        if stage != first:
            assert start is not None
            resume = goes_on(kept, start)
            if kept.is_file() and not resume:
                console.print(
                    f"{stage}: {start} changed since this stage began; the stage starts anew from it", soft_wrap=True
                )
        sitting.train(stage, minutes * share, start=start, resume=resume, stop=stop)
        stop.check("the same command goes on")
        start = kept


def check_needs(sitting: Sitting, start: Path | None) -> None:
    """Puts every stage together and draws nothing: what a later one lacks is said before hours are spent."""
    stages.starting_point(start)
    Sheet(sitting.samples, tuple(sitting.films or ()), sitting.exemplars)
    for stage in RECIPE:
        stages.build(sitting.config(stage), sitting.sources, Generator(), pick_device())


def goes_on(kept: Path, start: Path) -> bool:
    """Whether a stage's checkpoint was trained from `start` as that is now."""
    if not kept.is_file():
        return False
    origin = checkpoint.origin(kept)
    # Checkpoints of earlier versions don't tell what they started from; their times do.
    return origin == checkpoint.fingerprint(start) if origin else start.stat().st_mtime <= kept.stat().st_mtime


def check_start(folder: Path, start: Path | None, *, resume: bool) -> None:
    """Refuses to train over an earlier run, and to go on with one that `start` has no part in."""
    kept = folder / "checkpoint.pt"
    if not kept.is_file():
        return
    if not resume:
        raise UsageError(f"{kept}: there already; go on with --resume, or name another --run")
    if start is not None and checkpoint.origin(kept) != checkpoint.fingerprint(start):
        raise UsageError(
            f"--start {start}: {kept} did not start from it; leave --start out to go on, or name another --run"
        )
