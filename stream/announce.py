"""What a person is told of a job before it and after it, in lines."""

import shutil
from pathlib import Path
from typing import Final

from stream.job import JobFolder
from stream.plan import SEQUENCE
from stream.reel import Film
from stream.segments import segments_of

# Bytes of a picture's sample, at most, on grainy film: x264 and x265 at crf 16; ffv1 comes near the raw samples.
_LOSSY_BYTES: Final = 0.15


def scratch_need(film: Film) -> int:
    """Bytes that the segments and the film joined from them take together, at most; numbered pictures aren't joined."""
    info, output = film.info, film.output
    frames = info.expected_frames or 0
    if output.container == SEQUENCE:
        return frames * info.width * info.height * (3 if output.depth == 8 else 6)
    samples = info.width * info.height * (1 + 2 / (1 << sum(output.subsampling)))
    return 2 * round(frames * samples * ((output.depth + 7) // 8 if output.lossless else _LOSSY_BYTES))


def say_begin(film: Film, folder: JobFolder) -> str:
    """How much room the work will take, or where it goes on."""
    shots = len(folder.begun.shots)
    changed = f"{folder.changed} of {shots} shots changed; " if folder.changed else ""
    if folder.frames:
        expected = film.info.expected_frames or "unknown"
        return f"{changed}goes on after {folder.frames} of {expected} frames, kept in {kept_in(film, folder)}"
    free = shutil.disk_usage(folder.path).free
    need = scratch_need(film)
    words = f"{changed}works in segments kept in {kept_in(film, folder)}: at most about {_size(need)} there "
    words += "and for the result, " if segments_of(film).where is None else "until they are the result, "
    return words + f"{_size(free)} are free" + ("; that may not be enough" if need > free else "")


def say_one_go(film: Film) -> str:
    """That a film of some length can't be taken up again, and why; "" for others."""
    if not film.lasts or not film.obstacle:
        return ""
    return f"made in one go, because {film.obstacle}: after an interruption the work begins anew"


def kept_in(film: Film, folder: JobFolder) -> Path:
    """Where a person finds the segments."""
    return segments_of(film).where or folder.path


def say_kept(film: Film, folder: JobFolder) -> str:
    """Why the folder stays."""
    what = "what belongs to which segment stays" if segments_of(film).where else "the segments stay"
    return (
        f"{what} in {folder.path} ({_size(folder.bytes)}): with a corrected list of shots and -y the same "
        "command makes only the shots again that were changed; remove the folder once the film is right"
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"
