"""Films in segments: killed, resumed, refused; the result is always that of a run that nothing interrupted."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import THREADS, make_clip

from stream.colorize import Job, colorize
from stream.config import Settings
from stream.container import open_film
from stream.errors import InputError, KinochromeError, OutputError, ResourceError, UsageError
from stream.job import MANIFEST, JobFolder, folder_of, open_job
from stream.manifest import Manifest
from stream.media import probe, read_frames
from stream.packets import PacketFile
from stream.painter import processor
from stream.plan import plan_output
from stream.proof import proof_of
from stream.reel import Film

RATE = 3
SHOTS = (14, 72, 2, 3, 24)
"""Pictures of each shot: one is cut into pieces, two are shorter than a segment may be."""
SETTINGS = Settings(short_side=64, runtime="torch")
ROOT = Path(__file__).resolve().parent.parent
WITHOUT_GPU = {"CUDA_VISIBLE_DEVICES": ""}
"""For programs, which then run the reference on the CPU as the tests themselves do (conftest.py)."""


def scene(number: int) -> list[np.ndarray]:
    """Picture `number`: a texture of its shot's own that travels, with grain."""
    shot, first = 0, 0
    while number >= first + SHOTS[shot]:
        first, shot = first + SHOTS[shot], shot + 1
    random = np.random.default_rng(shot)
    wide = cv2.resize(random.integers(30, 220, (9, 24), np.uint8), (192, 72), interpolation=cv2.INTER_CUBIC)
    at = (number - first) % 120
    luma = np.clip(
        wide[8:56, at : at + 64].astype(int) + np.random.default_rng(number).integers(-4, 5, (48, 64)), 0, 255
    )
    return [luma.astype(np.uint8), *[np.full((24, 32), 128, np.uint8)] * 2]


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """38 s of film, with sound."""
    path = tmp_path_factory.mktemp("film") / "reel.mkv"
    how: dict[str, Any] = {"rate": Fraction(RATE), "time_base": Fraction(1, RATE)}
    return make_clip(path, planes=scene, pts=range(sum(SHOTS)), audio=["aac"], options={"g": "12"}, **how)


def pictures(path: Path) -> list[tuple[int | None, str]]:
    """Every picture's time and all its samples."""
    return [
        (frame.pts, hashlib.sha256(b"".join(plane.tobytes() for plane in frame.planes)).hexdigest())
        for frame in read_frames(path)
    ]


def packets(path: Path) -> list[tuple[int, int | None, bytes]]:
    """Every packet of every stream."""
    with open_film(path) as container:
        return [(packet.stream.index, packet.pts, bytes(packet)) for packet in container.demux() if packet.size]


def manifest_of(target: Path) -> Manifest:
    return Manifest.of_json((folder_of(target) / MANIFEST).read_text())


def start(film: Path, target: Path, *more: str, **options: Any) -> subprocess.Popen[str]:
    """The real program."""
    small = ("--short-side", "64", "--runtime", "torch", "--no-progress")
    command = (sys.executable, "-m", "stream", "colorize", str(film), "-o", str(target), *small, *more)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | WITHOUT_GPU, **pipes, **options)


def wait_for_segments(process: subprocess.Popen[str], target: Path, count: int) -> dict[Path, int]:
    """Waits until so many segments are done; their files and when each was written."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (folder_of(target) / MANIFEST).exists() and len(manifest_of(target).entries) >= count:
            break
    return {path: path.stat().st_mtime_ns for path in folder_of(target).glob("*.segment")}


@pytest.mark.parametrize("codec", ["ffv1", "libx264"])
def test_segments_make_the_same_film_as_one_go(film: Path, tmp_path: Path, codec: str) -> None:
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    colorize(film, whole, settings=SETTINGS, job=Job(codec=codec, segments=False))
    report = colorize(film, cut, settings=SETTINGS, job=Job(codec=codec))
    assert report.frames_out == sum(SHOTS) and report.exit_code == 0
    proofs = {".framemd5"} if codec == "ffv1" else set()
    left = {film.name + end for film in (whole, cut) for end in ("", ".json", *proofs)}
    assert {path.name for path in tmp_path.iterdir()} == left
    if codec == "ffv1":
        assert pictures(cut) == pictures(whole)
        assert proof_of(cut).read_text() == proof_of(whole).read_text()
    else:
        assert [pts for pts, _ in pictures(cut)] == [pts for pts, _ in pictures(whole)]
    sounds = [[packet for packet in packets(path) if packet[0]] for path in (whole, cut)]
    assert sounds[0] == sounds[1] != []


def test_killed_three_times_it_is_the_film_that_nothing_interrupted(film: Path, tmp_path: Path) -> None:
    whole, target = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    colorize(film, whole, settings=SETTINGS, job=Job(codec="ffv1"))
    kept: dict[Path, int] = {}
    for count in (1, 2, 4):
        process = start(film, target, "-c", "ffv1")
        done = wait_for_segments(process, target, count)
        process.kill()
        process.communicate()
        assert kept.items() <= done.items() and not target.exists()
        kept = {path: when for path, when in done.items() if int(path.stem) in manifest_of(target).entries}
        assert len(kept) >= count
    process = start(film, target, "-c", "ffv1", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "goes on after" in err
    assert 0 < json.loads(out)["frames_before"] < json.loads(out)["frames_out"] == sum(SHOTS)
    assert packets(target) == packets(whole)
    assert not folder_of(target).exists() and not list(tmp_path.glob("*.part*"))


def stop_after(count: int) -> Callable[[int, int | None], None]:
    """A progress that fails when so many frames are done."""

    def progress(done: int, expected: int | None) -> None:
        if done == count:
            raise KinochromeError("stopped")

    return progress


@pytest.fixture
def begun(film: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A film and its result, of which some segments are done."""
    source, target = tmp_path / "reel.mkv", tmp_path / "colour.mkv"
    source.write_bytes(film.read_bytes())
    with pytest.raises(KinochromeError, match="stopped"):
        colorize(source, target, settings=SETTINGS, job=Job(codec="ffv1"), progress=stop_after(70))
    assert len(manifest_of(target).entries) >= 2
    return source, target


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "libx264"), (".ts", "libx264"), (".mov", "libx264"), (".mkv", "libx265")]
)
def test_every_container_gets_the_same_film_in_the_end(film: Path, tmp_path: Path, suffix: str, codec: str) -> None:
    whole, target = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    colorize(film, whole, settings=SETTINGS, job=Job(codec=codec))
    with pytest.raises(KinochromeError, match="stopped"):
        colorize(film, target, settings=SETTINGS, job=Job(codec=codec), progress=stop_after(70))
    assert colorize(film, target, settings=SETTINGS, job=Job(codec=codec)).frames_before > 0
    assert packets(target) == packets(whole)
    assert len(pictures(target)) == sum(SHOTS)


def test_a_film_whose_clock_ticks_once_a_frame_goes_on_as_well(tmp_path: Path) -> None:
    how: dict[str, Any] = {"codec": "mpeg4", "rate": Fraction(RATE), "time_base": Fraction(1, RATE)}
    avi = make_clip(tmp_path / "reel.avi", planes=scene, pts=range(sum(SHOTS)), **how)
    results = {name: tmp_path / f"{name}.mp4" for name in ("one go", "whole", "cut")}
    colorize(avi, results["one go"], settings=SETTINGS, job=Job(segments=False))
    colorize(avi, results["whole"], settings=SETTINGS)
    with pytest.raises(KinochromeError, match="stopped"):
        colorize(avi, results["cut"], settings=SETTINGS, progress=stop_after(70))
    assert colorize(avi, results["cut"], settings=SETTINGS).frames_before > 0
    assert packets(results["cut"]) == packets(results["whole"])
    times = {name: [frame.time_s for frame in read_frames(path)] for name, path in results.items()}
    assert times["one go"] == times["whole"] == times["cut"] == [number / RATE for number in range(sum(SHOTS))]


def test_what_changed_is_said_and_fresh_starts_over(begun: tuple[Path, Path]) -> None:
    source, target = begun
    again: dict[str, Any] = {"settings": SETTINGS, "job": Job(codec="ffv1")}
    for other, words in (
        ({"settings": Settings(short_side=64, runtime="torch", saturation=0.9)}, "saturation 1.0, not 0.9"),
        ({"job": Job(codec="libx264")}, "codec ffv1, not libx264"),
    ):
        with pytest.raises(UsageError, match=f"{words}.*--fresh"):
            colorize(source, target, **again | other)
    manifest = manifest_of(target)
    manifest.engine["processor"] = "another one"
    manifest.made_with["weights"] = "0" * 64
    path = folder_of(target) / MANIFEST
    path.write_text(manifest.as_json())
    with pytest.raises(UsageError, match="weights 0000"):
        colorize(source, target, **again)
    manifest.made_with["weights"] = json.loads(path.read_text())["made_with"]["weights"]


def test_all_runtimes_work_in_segments_and_nvenc_does_not(film: Path, tmp_path: Path) -> None:
    info = probe(film)
    output = plan_output(info, tmp_path / "colour.mkv", codec="libx264")
    asked = Film(source=film, info=info, output=output, settings=replace(SETTINGS, runtime="tensorrt"), look=None)
    assert asked.worthwhile
    assert not replace(asked, output=replace(output, codec="h264_nvenc")).resumable
    with pytest.raises(UsageError, match="can't be worked on in segments"):
        colorize(film, tmp_path / "other.mkv", settings=replace(SETTINGS, lag=0), job=Job(segments=True))


def test_what_can_not_be_taken_up_again_says_so_beforehand(film: Path, tmp_path: Path) -> None:
    told: list[str] = []
    report = colorize(film, tmp_path / "live.mkv", settings=replace(SETTINGS, lag=0), tell=told.append)
    words = "made in one go, because nothing is looked at ahead (lag 0): after an interruption the work begins anew"
    assert told == [words] and words in report.notices
    (tmp_path / "scans").mkdir()
    colorize(film, tmp_path / "scans" / "%04d.png", settings=SETTINGS, tell=told.append)
    assert f"works in segments kept in {tmp_path / 'scans.part'}" in told[1] and len(told) == 2


def test_another_source_is_noticed_although_it_looks_the_same(begun: tuple[Path, Path]) -> None:
    source, target = begun
    before, data = source.stat(), bytearray(source.read_bytes())
    data[-100] ^= 1
    source.write_bytes(data)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(UsageError, match=r"is not the film.*--fresh"):
        colorize(source, target, settings=SETTINGS, job=Job(codec="ffv1"))
    assert colorize(source, target, settings=SETTINGS, job=Job(codec="ffv1", fresh=True)).frames_before == 0
    assert target.exists() and not folder_of(target).exists()


def test_another_processor_goes_on_only_if_it_may(begun: tuple[Path, Path]) -> None:
    source, target = begun
    manifest = manifest_of(target)
    manifest.engine["processor"] = "another one"
    (folder_of(target) / MANIFEST).write_text(manifest.as_json())
    with pytest.raises(UsageError, match=r"processor another one, not .*--allow-mixed"):
        colorize(source, target, settings=SETTINGS, job=Job(codec="ffv1"))
    manifest.engine["processor"] = processor()
    (folder_of(target) / MANIFEST).write_text(manifest.as_json())
    others = replace(SETTINGS, threads=THREADS + 1)  # torch rounds otherwise with another number
    with pytest.raises(UsageError, match=rf"runtime torch .*, not torch .*, {others.threads} threads: .*--allow-mixed"):
        colorize(source, target, settings=others, job=Job(codec="ffv1"))
    assert colorize(source, target, settings=others, job=Job(codec="ffv1", mixed=True)).frames_before > 0


def test_a_segment_that_is_lost_or_damaged_is_made_again(film: Path, begun: tuple[Path, Path]) -> None:
    source, target = begun
    folder = folder_of(target)
    first, *_, last = sorted(folder.glob("*.segment"))
    first.unlink()
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(data)
    with pytest.raises(ResourceError, match="was damaged on the disk"):
        colorize(source, target, settings=SETTINGS, job=Job(codec="ffv1"))
    colorize(source, target, settings=SETTINGS, job=Job(codec="ffv1"))
    whole = target.with_name("whole.mkv")
    colorize(source, whole, settings=SETTINGS, job=Job(codec="ffv1", segments=False))
    assert pictures(target) == pictures(whole)


def test_a_state_that_is_damaged_costs_the_segment_before_it(begun: tuple[Path, Path]) -> None:
    source, target = begun
    (carry,) = folder_of(target).glob("*.carry")
    data = bytearray(carry.read_bytes())
    data[-1] ^= 1
    carry.write_bytes(data)
    before = sum(entry.end - entry.start for entry in manifest_of(target).entries.values())
    assert colorize(source, target, settings=SETTINGS, job=Job(codec="ffv1")).frames_before < before
    whole = target.with_name("whole.mkv")
    colorize(source, whole, settings=SETTINGS, job=Job(codec="ffv1", segments=False))
    assert pictures(target) == pictures(whole)


def test_a_second_run_of_the_same_job_is_refused(begun: tuple[Path, Path]) -> None:
    source, target = begun
    process = start(source, target, "-c", "ffv1")
    try:
        wait_for_segments(process, target, len(manifest_of(target).entries) + 1)
        with pytest.raises(OutputError, match="another run is at work on it"):
            colorize(source, target, settings=SETTINGS, job=Job(codec="ffv1"))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130 and "the same command goes on" in err
    finally:
        process.kill()


def test_a_source_that_grows_is_refused_in_the_end(begun: tuple[Path, Path]) -> None:
    source, target = begun

    def grow(done: int, expected: int | None) -> None:
        if done:  # not yet while the network is prepared
            with source.open("ab") as file:
                file.write(b"more")

    with pytest.raises(InputError, match="was changed while it was read"):
        colorize(source, target, settings=SETTINGS, job=Job(codec="ffv1"), progress=grow)
    assert not target.exists()


def test_a_short_source_that_grows_is_refused_as_well(tmp_path: Path) -> None:
    source, target = make_clip(tmp_path / "film.mkv", pts=range(40)), tmp_path / "colour.mkv"

    def grow(done: int, expected: int | None) -> None:
        if done:  # not yet while the network is prepared
            with source.open("ab") as file:
                file.write(b"more")

    with pytest.raises(InputError, match="was changed while it was read"):
        colorize(source, target, settings=SETTINGS, job=Job(segments=False), progress=grow)
    assert not target.exists()


def test_a_pipe_is_refused_and_nothing_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "film.mkv")
    with pytest.raises(InputError, match="is a pipe"):
        colorize(tmp_path / "film.mkv", tmp_path / "colour.mkv", settings=SETTINGS)


def test_a_full_disk_is_said_and_the_same_command_goes_on(film: Path, tmp_path: Path) -> None:
    target = tmp_path / "colour.mkv"
    whole = tmp_path / "whole.mkv"
    colorize(film, whole, settings=SETTINGS, job=Job(codec="ffv1"))
    # Room for each segment and not for the film that is joined from them.
    room = whole.stat().st_size // 2
    process = start(
        film, target, "-c", "ffv1", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode == 6 and "file-size limit" in err and not target.exists()
    assert colorize(film, target, settings=SETTINGS, job=Job(codec="ffv1")).frames_before == sum(SHOTS)
    assert packets(target) == packets(whole)


def test_a_job_that_was_done_but_for_the_tidying_up_is_tidied_up(begun: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = begun
    saved = tmp_path / "saved"
    folder_of(target).rename(saved)
    colorize(source, target, settings=SETTINGS, job=Job(codec="ffv1"))
    # As a kill right after the film got its name leaves it.
    report = json.loads(target.with_name(target.name + ".json").read_text())["report"]
    target.with_name(target.name + ".json").unlink()
    saved.rename(folder_of(target))
    manifest = manifest_of(target)
    manifest.finished = report
    (folder_of(target) / MANIFEST).write_text(manifest.as_json())
    before = target.stat().st_mtime_ns
    assert colorize(source, target, settings=SETTINGS, job=Job(codec="ffv1")).frames_out == sum(SHOTS)
    assert target.stat().st_mtime_ns == before and target.with_name(target.name + ".json").exists()
    assert not folder_of(target).exists()


def test_what_lay_there_before_is_never_taken_for_the_new_film(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, again = tmp_path / "colour.mkv", Job(codec="ffv1", overwrite=True)
    paler = replace(SETTINGS, saturation=0.5)
    colorize(film, target, settings=SETTINGS, job=again)
    before = packets(target)

    def stop(part: Path, path: Path) -> None:
        part.unlink()  # by the next run, killed as soon as it had begun
        raise KinochromeError("stopped")

    with monkeypatch.context() as patch, pytest.raises(KinochromeError, match="stopped"):
        patch.setattr("stream.mux.finish_part", stop)
        colorize(film, target, settings=paler, job=again)
    assert manifest_of(target).finished is not None and packets(target) == before
    colorize(film, target, settings=paler, job=again)
    assert packets(target) != before and not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("text", ["{", "null"])
def test_a_manifest_that_cant_be_read_is_said_and_fresh_starts_over(clip: Any, tmp_path: Path, text: str) -> None:
    film, target = clip("reel.mkv", pts=range(4)), tmp_path / "colour.mkv"
    folder_of(target).mkdir()
    (folder_of(target) / MANIFEST).write_text(text)
    with pytest.raises(OutputError, match=r"can't be read .*; --fresh starts over"):
        colorize(film, target, settings=SETTINGS)
    colorize(film, target, settings=SETTINGS, job=Job(fresh=True))
    assert target.exists() and not folder_of(target).exists()


def test_a_full_disk_is_named_and_what_is_abandoned_takes_no_room(tmp_path: Path) -> None:
    file = tmp_path / "0.segment"
    Path(f"{file}.part").symlink_to("/dev/full")
    unfinished = PacketFile(file)
    unfinished.abandon()  # what it still held found no room
    assert not list(tmp_path.iterdir())
    folder = JobFolder(tmp_path)
    folder.manifest = Manifest(source={}, made_with={}, engine={}, encoder_threads=1)
    Path(tmp_path / f"{MANIFEST}.part").symlink_to("/dev/full")
    with pytest.raises(ResourceError, match=rf"{MANIFEST}.part: the disk is full; .* goes on where it was"):
        folder.save()


def test_a_lock_that_was_taken_away_before_it_was_ours_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "colour.part.mkv.d"

    def late(handle: int, how: int) -> None:
        if path.exists():  # the other run has let go of the lock, and ends
            shutil.rmtree(path)

    with monkeypatch.context() as patch:
        patch.setattr("stream.job.fcntl.flock", late)
        with pytest.raises(OutputError, match="has just finished it"), open_job(path):
            pass
    with open_job(path) as folder:
        assert folder.manifest is None
