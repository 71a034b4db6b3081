"""`verify` says yes to what was kept and no to each thing that was not."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from conftest import grey

from stream.frame import Frame
from stream.media import probe, read_frames
from stream.mux import Writer, plan_output
from stream.stills import read_pictures, write_pictures
from stream.verify import Comparison, verify

Clip = Callable[..., Path]


def copy(
    path: Path, target: Path, codec: str | None = "ffv1", change: Callable[[int, Frame], Frame | None] | None = None
) -> Path:
    """Writes the film anew; `change` may replace or drop (None) a frame by its number."""
    info = probe(path)
    with Writer(plan_output(info, target, codec=codec), info) as writer:
        for number, frame in enumerate(read_frames(path)):
            kept = change(number, frame) if change else frame
            if kept is not None:
                writer.write(kept)
    return target


def failed(comparison: Comparison) -> list[str]:
    return [check.name for check in comparison.checks if not check.ok]


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"pix_fmt": "gray16le", "codec": "ffv1", "depth": 16},
        {"context": {"color_range": 2, "sample_aspect_ratio": Fraction(16, 15)}, "rotation": 270},
        {
            "audio": ["aac", "flac"],
            "subtitles": "ass",
            "chapters": 3,
            "attachment": b"font",
            "metadata": {"TITLE": "Reel"},
        },
        {"options": {"flags": "+ildct+ilme", "x264-params": "bff=1"}, "context": {"field_order": 3}},
    ],
    ids=["plain", "grey of 16 bits", "full range, aspect and rotation", "with everything beside", "interlaced"],
)
def test_a_lossless_copy_is_proved(clip: Clip, tmp_path: Path, what: dict[str, Any]) -> None:
    path = clip("reel.mkv", **{"pts": range(12)} | what)
    comparison = verify(path, copy(path, tmp_path / "copy.mkv"))
    assert comparison.ok, comparison.lines()
    assert any("bit for bit the original's in all 12 frames" in line for line in comparison.lines())
    assert all(line.startswith("ok  ") for line in comparison.lines())


def test_a_lossy_copy_fails_unless_that_was_said(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", pts=range(12), codec="ffv1", audio=["flac"])
    target = copy(path, tmp_path / "copy.mkv", "libx264")
    comparison = verify(path, target)
    assert failed(comparison) == ["luma"]
    (luma,) = (line for line in comparison.lines() if "luma" in line)
    assert "not bit for bit" in luma and "PSNR" in luma and "-c ffv1" in luma
    assert verify(path, target, lossy=True).ok


def test_another_film_fails_even_where_loss_is_allowed(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", pts=range(5))
    other = clip(
        "other.mkv", pts=range(5), planes=lambda number: [255 - grey(number), *[np.full((24, 32), 128, np.uint8)] * 2]
    )
    assert failed(verify(path, other, lossy=True)) == ["luma"]


def test_one_sample_that_differs_is_found(clip: Clip, tmp_path: Path) -> None:
    def scratch(number: int, frame: Frame) -> Frame:
        luma = frame.luma.copy()
        luma[5, 7] ^= number == 6
        return Frame(planes=(luma,), tags=frame.tags, pts=frame.pts, time_base=frame.time_base)

    path = clip("reel.mkv", pts=range(10))
    comparison = verify(path, copy(path, tmp_path / "copy.mkv", change=scratch))
    assert failed(comparison) == ["luma"]
    assert any("1 of 10 frames differ, by at most 1 of 255" in line for line in comparison.lines())


def test_a_missing_frame_costs_itself_alone(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", pts=range(10))
    target = copy(path, tmp_path / "copy.mkv", change=lambda number, frame: None if number == 4 else frame)
    comparison = verify(path, target)
    assert failed(comparison) == ["frames"]
    assert any("10 in the original, 9 in the result: 1 missing, 0 extra" in line for line in comparison.lines())


def test_a_moved_frame_is_found(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mp4", pts=[10 * number for number in range(10)], time_base=Fraction(1, 250))
    other = clip("other.mp4", pts=[10 * number + (number == 5) for number in range(10)], time_base=Fraction(1, 250))
    comparison = verify(path, other, lossy=True)
    assert "times" in failed(comparison)
    assert any("largest difference 4.000 ms" in line for line in comparison.lines())


def test_lost_and_changed_streams_are_found(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", audio=["flac", "flac"], subtitles="subrip", chapters=2, attachment=b"font")
    bare = clip("bare.mkv", audio=["aac"], chapters=1)
    assert failed(verify(path, bare)) == [
        "stream 1 (audio)",
        "stream 2 (audio)",
        "stream 3 (subtitle)",
        "stream 4 (attachment)",
        "chapters",
    ]
    assert "added streams" in failed(verify(bare, path))


def test_changed_colour_tags_aspect_and_rotation_are_found(clip: Clip) -> None:
    path = clip("reel.mkv", context={"color_range": 2, "sample_aspect_ratio": Fraction(4, 3)}, rotation=90)
    other = clip("other.mkv")
    assert set(failed(verify(path, other))) == {"shape", "rotation", "colour tags"}


def test_reduced_depth_is_said(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", codec="ffv1", pix_fmt="gray16le", depth=16, size=(64, 48), pts=range(4))
    comparison = verify(path, copy(path, tmp_path / "copy.mkv", None))
    assert failed(comparison) == ["luma"]
    assert any("16 bits became 12" in line and "hevc" in line for line in comparison.lines())


def test_converted_subtitles_and_transport_streams_pass(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", pts=range(30), audio=["aac"], subtitles="subrip")
    comparison = verify(path, copy(path, tmp_path / "copy.mp4", "h264"), lossy=True)
    assert comparison.ok, comparison.lines()
    assert any("converted from srt to mov_text: 2 lines, the same text" in line for line in comparison.lines())
    sound = clip("sound.mp4", pts=range(30), audio=["aac"])
    comparison = verify(sound, copy(sound, tmp_path / "copy.ts", "h264"), lossy=True)
    assert comparison.ok, comparison.lines()
    assert any("later, as the container needs" in line for line in comparison.lines())


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("depth", [8, 16])
def test_pictures_are_proved_within_rgbs_rounding(tmp_path: Path, suffix: str, depth: int) -> None:
    path, target = tmp_path / "photo.png", tmp_path / f"colour{suffix}"
    cv2.imwrite(str(path), grey(1, depth=depth) // 2 + (1 << depth - 2))
    write_pictures(target, map(_tinted, read_pictures(path)))
    comparison = verify(path, target)
    assert comparison.ok, comparison.lines()
    cv2.imwrite(str(target), np.dstack([grey(1, depth=depth) // 2 + (1 << depth - 2) + 3] * 3))
    assert failed(verify(path, target)) == ["luma"]


def test_a_jpeg_result_is_lossy(tmp_path: Path) -> None:
    path, target = tmp_path / "photo.png", tmp_path / "colour.jpg"
    cv2.imwrite(str(path), grey(1) // 2 + 64)
    write_pictures(target, map(_tinted, read_pictures(path)))
    comparison = verify(path, target)
    assert failed(comparison) == ["luma"] and any(".png or .tif keeps luma" in line for line in comparison.lines())
    assert verify(path, target, lossy=True).ok


def _tinted(frame: Frame) -> Frame:
    chroma = np.full_like(frame.luma, (1 << frame.depth - 1) + 5)
    return frame.with_chroma(chroma, chroma, (0, 0))


def test_the_result_is_one_json_object(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", pts=range(3))
    found = verify(path, copy(path, tmp_path / "copy.mkv")).as_dict()
    assert found["ok"] is True and found["original"] == str(path)
    assert found["checks"][0] == {"name": "frames", "ok": True, "detail": "3 in both"}


def test_an_original_whose_sound_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "reel.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("flac", rate=48000)
        film = container.add_stream("libx264", rate=25)
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            picture = av.VideoFrame.from_ndarray(np.vstack([grey(number), np.full((24, 64), 128, np.uint8)]), "yuv420p")
            picture.pts = number
            container.mux(film.encode(picture))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 4608), np.int16), "s16", "stereo")
        frame.sample_rate = 48000
        container.mux(sound.encode(frame))
        container.mux([*film.encode(None), *sound.encode(None)])
    comparison = verify(path, copy(path, tmp_path / "copy.mkv"))
    assert comparison.ok, comparison.lines()
    assert "10 in both" in comparison.lines()[0]
