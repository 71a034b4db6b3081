"""Files that get their name only once they are complete, and stay one run's alone until then."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.errors import OutputError
from stream.media import probe, read_frames
from stream.mux import Writer
from stream.part import claim
from stream.plan import plan_output


def test_a_part_is_one_runs_alone_though_others_finish_meanwhile(tmp_path: Path) -> None:
    """Every run makes the part and gives it its name, at once with others that wait for nothing."""
    part, inside, most, done = tmp_path / "film.part.mkv", [0], [0], [0]

    def run() -> None:
        while done[0] < 300:
            try:
                with claim(part):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    part.write_bytes(b"film")
                    done[0] += 1
                    inside[0] -= 1
                    part.replace(tmp_path / "film.mkv")
            except OutputError:
                continue

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_result_that_came_meanwhile_is_not_overwritten_unasked(clip: Callable[..., Path], tmp_path: Path) -> None:
    info = probe(clip("grey.mkv"))
    first, second, third = (
        plan_output(info, tmp_path / "result.mkv", overwrite=overwrite) for overwrite in (False, False, True)
    )
    with Writer(first, info) as writer:
        for frame in read_frames(info.path):
            writer.write(frame)
    made = first.path.read_bytes()
    with pytest.raises(OutputError, match=r"result\.mkv: exists already, another run has just made it; -y"):
        Writer(second, info)
    assert first.path.read_bytes() == made and not first.part.exists()
    with Writer(third, info) as writer:
        for frame in read_frames(info.path):
            writer.write(frame)
