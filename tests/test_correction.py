"""Films with a list of shots, in segments: resumed, corrected, and what was not changed is not made again."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from test_archive import (
    RATE,
    SHOTS,
    film,
    manifest_of,
    packets,
    pictures,
    start,
    stop_after,
    wait_for_segments,
)

from stream import cli
from stream.archive import Cluster
from stream.batch import Batch
from stream.colorize import Job, colorize
from stream.config import Settings
from stream.errors import KinochromeError, OutputError, UsageError
from stream.frame import Frame
from stream.job import MANIFEST, folder_of
from stream.metrics import Report
from stream.proof import proof_of
from stream.shelf import Task, find_tasks
from stream.shotlist import Shot, ShotList
from stream.stop import Stop
from stream.verify import verify

__all__ = ["film"]

SETTINGS = Settings(short_side=32, runtime="torch")
FRAMES = sum(SHOTS)
FFV1 = Job(codec="ffv1")
AGAIN = Job(codec="ffv1", overwrite=True)


def list_of(*shots: Shot) -> ShotList:
    return ShotList(shots=shots)


def draw(path: Path, seed: int) -> Path:
    """A picture in colour."""
    random = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(random, (160, 160), interpolation=cv2.INTER_CUBIC))
    return path


@pytest.fixture
def corrected(tmp_path: Path) -> ShotList:
    """The film's own cuts, and each shot otherwise; that of 24 s in natural colour."""
    still = draw(tmp_path / "still.png", 1)
    return list_of(
        Shot(first=0, look="starry"),
        Shot(first=14, saturation=0.5),
        Shot(first=86, grey=True),
        Shot(first=88, reference=str(still)),
        Shot(first=91),
    )


def other(shots: ShotList, number: int, **changes: Any) -> ShotList:
    """The same list with a shot changed."""
    return replace(
        shots, shots=(*shots.shots[:number], replace(shots.shots[number], **changes), *shots.shots[number + 1 :])
    )


def make(film: Path, target: Path, shots: ShotList | None, job: Job = FFV1, **more: Any) -> Report:
    return colorize(film, target, shots=shots, **{"settings": SETTINGS, "job": job} | more)


def segments(target: Path) -> dict[int, tuple[int, int]]:
    """The first frame of every segment, and which file it is."""
    found = {int(path.stem): path.stat() for path in folder_of(target).glob("*.segment")}
    return {number: (stat.st_ino, stat.st_mtime_ns) for number, stat in found.items()}


def whole(film: Path, folder: Path, shots: ShotList, settings: Settings = SETTINGS) -> list[tuple[int | None, str]]:
    """The pictures of a run in one go."""
    report = make(film, folder / "whole.mkv", shots, replace(AGAIN, segments=False), settings=settings)
    assert "made in one go: a corrected list makes all shots again" in report.notices
    return pictures(folder / "whole.mkv")


PAINTED = replace(SETTINGS, style="starry", source_colours=True)
LISTS = {
    "long and grey, or painted": (SETTINGS, [Shot(first=0), Shot(first=14, grey=True), Shot(first=86, look="starry")]),
    "cuts elsewhere": (SETTINGS, [Shot(first=0), Shot(first=7), Shot(first=40)]),
    "not steady": (replace(SETTINGS, steady=0.0, batch=3), [Shot(first=0), Shot(first=5), Shot(first=30)]),
    "untouched": (PAINTED, [Shot(first=0), Shot(first=14, strength=0.0), Shot(first=86)]),
}


@pytest.mark.parametrize("name", LISTS)
def test_segments_make_the_film_of_one_go(film: Path, tmp_path: Path, name: str) -> None:
    settings, shots = LISTS[name]
    target = tmp_path / "colour.mkv"
    with pytest.raises(KinochromeError, match="stopped"):
        make(film, target, list_of(*shots), settings=settings, progress=stop_after(90))
    report = make(film, target, list_of(*shots), settings=settings)
    assert 30 < report.frames_before < FRAMES == report.frames_out
    assert pictures(target) == whole(film, tmp_path, list_of(*shots), settings)
    begun = sorted(segments(target))
    assert {shot.first for shot in shots} <= set(begun)
    assert max(end - begin for begin, end in zip(begun, [*begun[1:], FRAMES], strict=True)) <= 10 * RATE + 1


def test_a_corrected_shot_alone_is_made_again(film: Path, tmp_path: Path, corrected: ShotList) -> None:
    target, seen, told = tmp_path / "colour.mkv", list[Frame](), list[str]()
    first = make(film, target, corrected)
    assert pictures(target) == whole(film, tmp_path, corrected)
    assert any(f"stay in {folder_of(target)}" in line and "remove the folder" in line for line in first.notices)
    before = segments(target)
    assert {0, 14, 86, 88, 91} < set(before)
    changed = other(corrected, 3, saturation=0.4)
    report = make(film, target, changed, AGAIN, see=seen.append, tell=told.append)
    assert (report.frames_before, len(seen), report.frames_out) == (FRAMES - 3, 3, FRAMES)
    assert f"1 of 5 shots changed; goes on after {FRAMES - 3} of {FRAMES} frames" in told[0]
    after = segments(target)
    assert {number for number in before if after.get(number) != before[number]} == {88}
    assert pictures(target) == whole(film, tmp_path, changed)
    sidecar = json.loads((tmp_path / "colour.mkv.json").read_text())
    assert [shot["digest"] for shot in sidecar["shots"]] == [shot.digest for shot in changed.shots]


def test_a_moved_cut_costs_its_two_neighbours(film: Path, tmp_path: Path, corrected: ShotList) -> None:
    target, seen = tmp_path / "colour.mkv", list[Frame]()
    make(film, target, corrected)
    before, moved = segments(target), other(corrected, 3, first=89)
    make(film, target, moved, AGAIN, see=seen.append)
    after = segments(target)
    assert {number for number in before if number in after and after[number] != before[number]} == {86}
    assert (len(seen), before.keys() - after.keys(), after.keys() - before.keys()) == (5, {88}, {89})
    assert pictures(target) == whole(film, tmp_path, moved)


def test_a_long_shot_killed_in_its_midst_goes_on(film: Path, tmp_path: Path) -> None:
    target, toml = tmp_path / "colour.mkv", tmp_path / "shots.toml"
    toml.write_text("[[shot]]\nfirst = 0\n[[shot]]\nfirst = 10\nsaturation = 0.7\n")
    shots = list_of(Shot(first=0), Shot(first=10, saturation=0.7))
    more = ("-c", "ffv1", "--short-side", "32", "--shots", str(toml))
    process = start(film, target, *more)
    wait_for_segments(process, target, 3)
    process.kill()
    process.communicate()
    kept = manifest_of(target).entries
    assert any(entry.next is not None and entry.next.carried for entry in kept.values())
    process = start(film, target, *more, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["frames_before"] == sum(entry.end - entry.start for entry in kept.values())
    assert pictures(target) == whole(film, tmp_path, shots)


def test_a_correction_that_is_interrupted_goes_on(film: Path, tmp_path: Path, corrected: ShotList) -> None:
    target = tmp_path / "colour.mkv"
    make(film, target, corrected)
    changed = other(other(corrected, 1, saturation=0.9), 4, look="starry")
    with pytest.raises(KinochromeError, match="stopped"):
        make(film, target, changed, AGAIN, progress=stop_after(14 + 5 + 60))
    assert 14 in manifest_of(target).entries and 91 not in manifest_of(target).entries
    back = other(changed, 4, look=None)  # and the list changes again meanwhile
    make(film, target, back, AGAIN)
    assert pictures(target) == whole(film, tmp_path, back)
    named = {f"{start:09d}.segment" for start in manifest_of(target).entries}
    assert {path.name for path in folder_of(target).iterdir()} == named | {MANIFEST, "lock"}


def test_an_unchanged_list_is_not_made_again(film: Path, tmp_path: Path, corrected: ShotList) -> None:
    target = tmp_path / "colour.mkv"
    made, before = make(film, target, corrected), (target.stat().st_mtime_ns, segments(target))
    sidecar = json.loads((tmp_path / "colour.mkv.json").read_text())
    for job in (FFV1, AGAIN):
        assert make(film, target, corrected, job).frames_out == made.frames_out
    assert json.loads((tmp_path / "colour.mkv.json").read_text())["created"] == sidecar["created"]
    for wrong in ({"job": FFV1, "shots": other(corrected, 2, grey=False)}, {"job": replace(FFV1, fresh=True)}):
        with pytest.raises(OutputError, match="-y overwrites it"):
            make(film, target, **cast(Any, {"shots": corrected} | wrong))
    for job, shots, words in (
        (Job(codec="libx264", overwrite=True), corrected, "codec ffv1, not libx264"),
        (AGAIN, None, "shots of a list, not found by the program"),
    ):
        with pytest.raises(UsageError, match=f"{words}.*--fresh"):
            make(film, target, shots, job)
    assert (target.stat().st_mtime_ns, segments(target)) == before
    target.unlink()
    assert make(film, target, corrected, AGAIN).frames_before == FRAMES


def test_another_picture_under_the_same_name_is_a_change(film: Path, tmp_path: Path, corrected: ShotList) -> None:
    target = tmp_path / "colour.mkv"
    make(film, target, corrected)
    draw(tmp_path / "still.png", 2)
    assert make(film, target, corrected, AGAIN).frames_before == FRAMES - 3


def test_the_proof_follows_the_list(film: Path, tmp_path: Path, corrected: ShotList) -> None:
    target = tmp_path / "colour.mkv"
    make(film, target, corrected)
    assert not proof_of(target).exists()
    natural = other(corrected, 0, look=None)
    make(film, target, natural, AGAIN)
    assert verify(film, target).ok and proof_of(target).exists()
    make(film, target, corrected, AGAIN)
    assert not proof_of(target).exists()


def test_another_runtime_of_a_shot_that_stays_is_told(film: Path, tmp_path: Path, corrected: ShotList) -> None:
    target = tmp_path / "colour.mkv"
    make(film, target, corrected)
    manifest = manifest_of(target)
    manifest.shots = (replace(manifest.shots[0], runtime="another one"), *manifest.shots[1:])
    (folder_of(target) / MANIFEST).write_text(manifest.as_json())
    with pytest.raises(UsageError, match=r"runtime another one, not torch.*--allow-mixed"):
        make(film, target, other(corrected, 2, grey=False), AGAIN)
    assert make(film, target, other(corrected, 0, look=None), AGAIN).frames_before == FRAMES - SHOTS[0]


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx265"), (".ts", "libx264")])
def test_many_short_shots_in_every_codec(film: Path, tmp_path: Path, suffix: str, codec: str) -> None:
    target, fresh, job = tmp_path / f"colour{suffix}", tmp_path / f"fresh{suffix}", Job(codec=codec, overwrite=True)
    firsts = (0, 1, 2, 4, 7, 11, 12, 13, 30)
    shots = list_of(*(Shot(first=first, grey=True) for first in firsts))
    make(film, target, shots, job)
    shots = other(shots, 3, grey=False)
    report = make(film, target, shots, job)
    assert any("all streams come" in notice for notice in report.notices) == (suffix == ".ts")
    assert make(film, target, shots, job).notices == report.notices  # of a film that is there
    make(film, fresh, shots, job)
    assert packets(target) == packets(fresh)
    assert len(pictures(target)) == FRAMES


def test_a_cluster_takes_no_list(film: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="--shots and --cluster can't both be"):
        make(film, tmp_path / "colour.mkv", list_of(Shot(first=0)), Job(cluster=cast(Cluster, object())))
    assert cli.run(["colorize", str(film), "--shots", "shots.toml", "--cluster", "local"], Stop()) == 2
    assert "without --cluster this machine makes the film" in capfd.readouterr().err


def work(job: Job, tasks: Sequence[Task], out: Path, settings: Settings = SETTINGS) -> list[str]:
    batch = Batch(settings, job, out)
    batch.work(tasks)
    return [f"{row.status}: {row.message}" for row in batch.summary.rows]


def test_a_batch_leaves_what_was_corrected_by_hand(film: Path, tmp_path: Path) -> None:
    shelf, out = tmp_path / "shelf", tmp_path / "shelf" / "colour"
    out.mkdir(parents=True)
    (shelf / "reel.mkv").write_bytes(film.read_bytes())
    make(shelf / "reel.mkv", out / "reel.mkv", list_of(Shot(first=0, grey=True)))
    make(shelf / "reel.mkv", shelf / "grey.mkv", list_of(Shot(first=0, grey=True)))
    (shelf / "grey.mkv").unlink()
    tasks = find_tasks(shelf, out, patterns=("*.mkv", "*.segment"))
    assert [task.source.name for task in tasks] == ["reel.mkv"]
    assert work(FFV1, tasks, out) == ["skipped: done before"]
    before = (out / "reel.mkv").stat().st_mtime_ns
    (refused,) = work(AGAIN, tasks, out, replace(SETTINGS, saturation=0.5))
    assert re.match(r"failed: .*from a list of shots; remove .*reel.part.mkv.d to replace it", refused)
    assert (out / "reel.mkv").stat().st_mtime_ns == before
