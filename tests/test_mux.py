"""Writing films: luma bit for bit, times, tags, and everything beside the pictures."""

import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from conftest import grey

from stream.colorize import Job, colorize
from stream.config import Settings
from stream.errors import OutputError, UsageError
from stream.ffmpeg import encoder_opens
from stream.film import Info, ReadTally
from stream.frame import Frame
from stream.media import probe, read_frames
from stream.mux import Output, Writer, plan_output
from stream.planes import reduction

Clip = Callable[..., Path]


def coloured(frame: Frame, output: Output) -> Frame:
    """The frame with chroma ramps, as the engine would hand it on."""
    step_x, step_y = output.subsampling
    shape = (-(-frame.height >> step_y), -(-frame.width >> step_x))
    top = (1 << frame.depth) - 1
    ramp = np.linspace(top * 0.3, top * 0.7, shape[0] * shape[1]).reshape(shape).astype(frame.luma.dtype)
    return frame.with_chroma(ramp, ramp[::-1], output.subsampling)


def transcode(path: Path, target: Path, codec: str | None = None, **plan: Any) -> tuple[Info, Output]:
    info = probe(path)
    output = plan_output(info, target, codec=codec, **plan)
    with Writer(output, info, metadata={"comment": "colours are machine-made"}) as writer:
        for frame in read_frames(path):
            writer.write(coloured(frame, output))
    return info, output


def packets(path: Path) -> dict[int, list[tuple[Fraction, bytes]]]:
    """(time, payload) of every packet by stream."""
    found: dict[int, list[tuple[Fraction, bytes]]] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                found.setdefault(packet.stream_index, []).append((packet.pts * packet.time_base, bytes(packet)))
    return found


FILMS = [
    ("h264 yuv420p", {"codec": "libx264"}),
    ("full range", {"codec": "libx264", "context": {"color_range": 2}}),
    ("mjpeg yuvj420p", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    ("mjpeg yuvj422p", {"codec": "mjpeg", "pix_fmt": "yuvj422p"}),
    ("grey", {"codec": "ffv1", "pix_fmt": "gray"}),
    ("limited grey", {"codec": "ffv1", "pix_fmt": "gray", "context": {"color_range": 1}}),
    ("grey 10", {"codec": "ffv1", "pix_fmt": "gray10le", "depth": 10}),
    ("grey 16", {"codec": "ffv1", "pix_fmt": "gray16le", "depth": 16}),
    ("4:2:2", {"codec": "ffv1", "pix_fmt": "yuv422p"}),
    ("4:4:4", {"codec": "ffv1", "pix_fmt": "yuv444p"}),
    ("4:1:1", {"codec": "ffv1", "pix_fmt": "yuv411p"}),
    ("10 bit", {"codec": "ffv1", "pix_fmt": "yuv420p10le", "depth": 10}),
    ("4:2:2 12 bit", {"codec": "ffv1", "pix_fmt": "yuv422p12le", "depth": 12}),
    ("1x1", {"codec": "ffv1", "size": (1, 1)}),
    ("17x15", {"codec": "ffv1", "size": (17, 15)}),
    ("16x16", {"codec": "ffv1", "size": (16, 16)}),
    ("a single picture", {"codec": "ffv1", "pts": [0]}),
]


@pytest.mark.parametrize("what", [what for _, what in FILMS], ids=[name for name, _ in FILMS])
def test_ffv1_keeps_luma_bit_for_bit(clip: Clip, tmp_path: Path, what: dict[str, Any]) -> None:
    path = clip("reel.mkv", **{"pts": range(4)} | what)
    info, output = transcode(path, tmp_path / "colour.mkv", "ffv1")
    assert output.lossless and not output.notices
    pairs = list(zip(read_frames(path), read_frames(output.path), strict=True))
    for before, after in pairs:
        assert after.depth == before.depth
        assert np.array_equal(after.luma, before.luma)
        wanted = coloured(before, output)
        assert all(np.array_equal(*both) for both in zip(after.planes, wanted.planes, strict=True))
    assert probe(output.path).tags.full_range is info.tags.full_range


@pytest.mark.parametrize("name", ["colour.mkv", "colour.mp4", "colour.mov"])
def test_every_picture_keeps_its_time(clip: Clip, tmp_path: Path, name: str) -> None:
    pts = [0, 3, 4, 9, 100, 101, 250, 251, 252, 260]
    path = clip("reel.mp4", pts=pts, time_base=Fraction(1, 600), audio=["aac"])
    _, output = transcode(path, tmp_path / name)
    times = [frame.pts * frame.time_base for frame in read_frames(output.path)]
    clock = Fraction(1, 1000) if name.endswith("mkv") else None
    wanted = [Fraction(time, 600) for time in pts]
    assert times == ([round(time / clock) * clock for time in wanted] if clock else wanted)


def test_a_film_of_24000_1001_keeps_its_times_in_mp4(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mov", pts=range(50), rate=Fraction(24000, 1001), time_base=Fraction(1001, 24000))
    _, output = transcode(path, tmp_path / "colour.mp4")
    assert [frame.pts * frame.time_base for frame in read_frames(output.path)] == [
        Fraction(1001 * number, 24000) for number in range(50)
    ]
    assert probe(output.path).frame_rate == Fraction(24000, 1001)


def test_transport_stream_moves_all_streams_alike(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mp4", pts=range(30), audio=["aac"])
    _, output = transcode(path, tmp_path / "colour.ts")
    moved = [
        {after - before for (before, _), (after, _) in zip(sorted(old), sorted(new), strict=True)}
        for old, new in zip(packets(path).values(), packets(output.path).values(), strict=True)
    ]
    shift = min(moved[0])
    assert all(abs(difference - shift) <= Fraction(1, 45000) for differences in moved for difference in differences)


@pytest.mark.parametrize(
    ("source", "target"),
    [("a.mkv", "b.mkv"), ("a.mp4", "b.mp4"), ("a.mkv", "b.mov"), ("a.mp4", "b.mkv"), ("a.mkv", "b.mp4")],
)
def test_two_sound_tracks_go_along_packet_for_packet(clip: Clip, tmp_path: Path, source: str, target: str) -> None:
    path = clip(source, pts=range(60), audio=["aac", "ac3"])
    _, output = transcode(path, tmp_path / target)
    before, after = packets(path), packets(output.path)
    for index in (1, 2):
        assert [payload for _, payload in after[index]] == [payload for _, payload in before[index]]
        for (old, _), (new, _) in zip(before[index], after[index], strict=True):
            assert abs(old - new) <= Fraction(1, 1000)
    languages = ["ger" if target.endswith("mov") else "deu", "eng"]
    assert [(other.codec, other.language) for other in probe(output.path).others] == list(
        zip(["aac", "ac3"], languages, strict=True)
    )
    with av.open(str(output.path)) as container:
        assert [bool(stream.disposition & 1) for stream in container.streams.audio] == [True, False]


def test_matroska_keeps_subtitles_chapters_attachment_cover_and_tags(clip: Clip, tmp_path: Path) -> None:
    path = clip(
        "reel.mkv",
        pts=range(20),
        audio=["flac"],
        subtitles="ass",
        chapters=3,
        attachment=b"the bytes of a font",
        cover=_png(),
        metadata={"title": "Reel", "ARCHIVE_ID": "A-17"},
    )
    info, output = transcode(path, tmp_path / "colour.mkv")
    assert not output.notices
    assert probe(output.path).others == info.others
    before, after = packets(path), packets(output.path)
    assert {index: after[index] for index in (1, 2)} == {index: before[index] for index in (1, 2)}
    with av.open(str(path)) as old, av.open(str(output.path)) as new:
        assert new.chapters() == old.chapters()
        (attachment,) = new.streams.attachments
        assert (attachment.name, attachment.mimetype) == ("font.ttf", "application/x-truetype-font")
        assert attachment.data == b"the bytes of a font"
        cover = next(stream for stream in new.streams.video if stream.index != 0)
        assert bytes(next(new.demux(cover))) == _png()
        assert new.metadata["title"] == "Reel" and new.metadata["ARCHIVE_ID"] == "A-17"
        assert new.metadata["COMMENT"] == "colours are machine-made"


def test_a_cover_goes_from_matroska_to_mp4_and_back(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", pts=range(5), audio=["aac"], cover=_png())
    for target in (tmp_path / "colour.mp4", tmp_path / "again.mkv", tmp_path / "third.mkv"):
        _, output = transcode(path, target)
        assert not output.notices
        (cover,) = (other for other in probe(target).others if other.cover)
        assert packets(target).get(cover.index, [(0, _png())])[0][1] == _png()
        with av.open(str(target)) as container:
            assert bytes(next(container.demux(container.streams[cover.index]))) == _png()
        assert len(packets(target)[1]) == len(packets(path)[1])
        path = target


def _png() -> bytes:
    frame = av.VideoFrame.from_ndarray(np.zeros((8, 8, 3), np.uint8), "rgb24")
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 8, 8, "rgb24", Fraction(1, 25)
    return bytes(encoder.encode(frame)[0])


@pytest.mark.parametrize(("source", "target"), [("a.mp4", "b.mp4"), ("a.mov", "b.mov"), ("a.mkv", "b.mp4")])
def test_mp4_keeps_chapters_and_tags(clip: Clip, tmp_path: Path, source: str, target: str) -> None:
    path = clip(source, pts=range(20), chapters=2, audio=["aac"], metadata={"title": "Reel", "ARCHIVE_ID": "A-17"})
    with av.open(str(path)) as container:
        tags = {key.lower() for key in container.metadata}
    _, output = transcode(path, tmp_path / target)
    with av.open(str(path)) as old, av.open(str(output.path)) as new:
        assert [(chapter["start"] * chapter["time_base"], chapter["metadata"]) for chapter in new.chapters()] == [
            (chapter["start"] * chapter["time_base"], chapter["metadata"]) for chapter in old.chapters()
        ]
        assert new.metadata["title"] == "Reel"
        assert new.metadata["comment"] == "colours are machine-made"
        assert ("archive_id" in tags) == ("archive_id" in {key.lower() for key in new.metadata})


@pytest.mark.parametrize(
    ("source", "codec", "target", "converted"),
    [
        ("a.mkv", "subrip", "b.mkv", "srt"),
        ("a.mkv", "ass", "b.mkv", "ssa"),
        ("a.mp4", "mov_text", "b.mp4", "mov_text"),
        ("a.mkv", "subrip", "b.mp4", "mov_text"),
        ("a.mp4", "mov_text", "b.mkv", "srt"),
        ("a.mkv", "ass", "b.mov", "mov_text"),
    ],
)
def test_text_subtitles_are_copied_or_converted(
    clip: Clip, tmp_path: Path, source: str, codec: str, target: str, converted: str
) -> None:
    path = clip(source, pts=range(20), subtitles=codec)
    _, output = transcode(path, tmp_path / target)
    assert bool(output.notices) == ((codec == "mov_text") is target.endswith("mkv"))
    with av.open(str(output.path)) as container:
        (stream,) = container.streams.subtitles
        assert stream.codec_context.name == converted and stream.language in ("deu", "ger")
        lines = [
            (packet.pts * packet.time_base, packet.duration * packet.time_base, rect.dialogue)
            for packet in container.demux(stream)
            if packet.size
            for rect in stream.decode(packet)
        ]
    assert lines == [
        (Fraction(40, 1000), Fraction(100, 1000), b"Zeile 0"),
        (Fraction(200, 1000), Fraction(100, 1000), b"Zeile 1"),
    ]


def test_what_the_container_cannot_hold_is_left_out_with_a_notice(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", pts=range(5), audio=["flac"], attachment=b"font", chapters=1)
    _, output = transcode(path, tmp_path / "colour.ts")
    assert len(output.notices) == 3
    assert "stream 1 (audio deu flac) is left out: mpegts can't hold it" in output.notices
    with pytest.raises(OutputError, match="--strict"):
        plan_output(probe(path), tmp_path / "strict.ts", strict=True)


@pytest.mark.parametrize(
    ("name", "codec"),
    [(f"colour.{kind}", codec) for kind in ("mkv", "mp4", "mov") for codec in ("libx264", "libx265", "ffv1")][:-1],
)
def test_colour_tags_aspect_and_rotation_are_kept(clip: Clip, tmp_path: Path, name: str, codec: str) -> None:
    context = {
        "color_range": 2,
        "colorspace": 6,
        "color_primaries": 5,
        "color_trc": 6,
        "sample_aspect_ratio": Fraction(16, 15),
    }
    path = clip("reel.mp4", context=context, rotation=90, options={"chroma_sample_location": "topleft"})
    info, output = transcode(path, tmp_path / name, codec)
    after = probe(output.path)
    assert after.tags == info.tags or codec == "ffv1"  # ffv1 and mov have no field for the place of chroma
    assert after.tags.full_range and after.tags.matrix == "bt601" and after.matrix_number == 6
    assert (after.tags.primaries, after.tags.transfer) == (5, 6)
    assert after.pixel_aspect == Fraction(16, 15)
    assert after.display_matrix == info.display_matrix


@pytest.mark.parametrize("codec", ["libx264", "ffv1"])
@pytest.mark.parametrize("top_first", [True, False])
def test_interlaced_films_stay_interlaced(clip: Clip, tmp_path: Path, codec: str, top_first: bool) -> None:
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1" if top_first else "bff=1"}
    path = clip("reel.mkv", pts=range(6), options=options, context={"field_order": 2 if top_first else 3})
    info, output = transcode(path, tmp_path / "colour.mkv", codec)
    assert info.interlaced and info.top_field_first is top_first
    after = probe(output.path)
    assert after.interlaced and after.top_field_first is top_first
    assert all(frame.interlaced for frame in read_frames(output.path))


@pytest.mark.parametrize(
    ("what", "codec", "pix_fmt", "words"),
    [
        ({}, "libx264", "yuv420p", None),
        ({"pix_fmt": "gray", "codec": "ffv1"}, "libx264", "yuv420p", None),
        ({"pix_fmt": "yuv422p"}, "libx264", "yuv422p", None),
        ({"pix_fmt": "yuv410p", "codec": "ffv1"}, "libx264", "yuv420p", None),
        ({"size": (1, 1), "codec": "ffv1"}, "libx264", "yuv444p", "can't code 1x1 in 4:2:0"),
        ({"size": (17, 15), "codec": "ffv1"}, "libx264", "yuv444p", "can't code 17x15 in 4:2:0"),
        ({"pix_fmt": "yuv420p10le", "depth": 10}, "libx265", "yuv420p10le", None),
        ({"pix_fmt": "yuv422p12le", "depth": 12, "codec": "ffv1"}, "libx265", "yuv422p12le", None),
        ({"pix_fmt": "gray16le", "depth": 16, "codec": "ffv1"}, "libx265", "yuv420p12le", "from 16 to 12 bits"),
        ({"pix_fmt": "gray10le", "depth": 10, "codec": "ffv1", "size": (17, 33)}, "libx265", "yuv444p10le", "17x33"),
        ({"pix_fmt": "gray16le", "depth": 16, "codec": "ffv1", "size": (9, 7)}, "libx264", "yuv444p10le", "too small"),
    ],
)
def test_default_codec_follows_depth_and_size(
    clip: Clip, tmp_path: Path, what: dict[str, Any], codec: str, pix_fmt: str, words: str | None
) -> None:
    path = clip("reel.mkv", **{"pts": range(3)} | what)
    info, output = transcode(path, tmp_path / "colour.mkv")
    assert (output.codec, output.pix_fmt) == (codec, pix_fmt)
    assert (words in " ".join(output.notices)) if words else not output.notices
    after = probe(output.path)
    assert (after.pix_fmt.replace("yuvj", "yuv"), after.width, after.height) == (pix_fmt, info.width, info.height)
    assert after.tags.full_range is info.tags.full_range
    for before, coded in zip(read_frames(path), read_frames(output.path), strict=True):
        reduced = before.luma.astype(float) / (1 << before.depth - coded.depth)
        assert np.abs(reduced - coded.luma).mean() < (1 << coded.depth) * 0.02


@pytest.mark.parametrize(("name", "codec"), [("h264", "libx264"), ("hevc", "libx265"), ("ffv1", "ffv1")])
def test_codecs_have_their_usual_names(clip: Clip, tmp_path: Path, name: str, codec: str) -> None:
    assert plan_output(probe(clip("reel.mkv")), tmp_path / "colour.mkv", codec=name).codec == codec


@pytest.mark.parametrize("full_range", [True, False])
def test_reduced_luma_is_the_nearest_value(full_range: bool) -> None:
    table = reduction(10, 8, full_range=full_range, chroma=False)
    assert table.dtype == np.uint8 and len(table) == 1024
    exact = np.arange(1024) * (255 / 1023 if full_range else 1 / 4)
    assert np.abs(table - exact.clip(0, 255)).max() <= 0.5
    assert reduction(10, 8, full_range=full_range, chroma=True)[512] == 128


def test_output_that_must_not_be_written_is_refused(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", audio=["flac"])
    info = probe(path)
    existing = tmp_path / "existing.mkv"
    existing.write_bytes(b"precious")
    link = tmp_path / "link.mkv"
    link.symlink_to(path)
    refused: list[tuple[Path, type[Exception], str]] = [
        (existing, OutputError, "-y overwrites it"),
        (path, UsageError, "is the input itself"),
        (link, UsageError, "is the input itself"),
        (tmp_path / "nowhere" / "colour.mkv", OutputError, "doesn't exist"),
        (tmp_path / "colour.xyz", OutputError, "names no film format"),
        (tmp_path / "colour", OutputError, "no extension"),
    ]
    for target, kind, words in refused:
        with pytest.raises(kind, match=words):
            plan_output(info, target)
    with pytest.raises(UsageError, match="is the input itself"):
        plan_output(info, path, overwrite=True)
    with pytest.raises(UsageError, match="the codecs are libx264"):
        plan_output(info, tmp_path / "colour.mkv", codec="divx")
    with pytest.raises(UsageError, match="can't hold ffv1"):
        plan_output(info, tmp_path / "colour.ts", codec="ffv1")
    assert existing.read_bytes() == b"precious"
    plan_output(info, existing, overwrite=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(clip: Clip, tmp_path: Path) -> None:
    info = probe(clip("reel.mkv"))
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="no permission"):
        plan_output(info, locked / "colour.mkv")


@pytest.mark.parametrize("name", ["colour.mkv", "colour.mp4", "colour.ts"])
def test_an_interrupted_film_keeps_a_part_that_plays(clip: Clip, tmp_path: Path, name: str) -> None:
    path = clip("reel.mkv", pts=range(50), audio=["aac"])
    info = probe(path)
    output = plan_output(info, tmp_path / name)
    with pytest.raises(KeyboardInterrupt), Writer(output, info) as writer:
        for number, frame in enumerate(read_frames(path)):
            if number == 30:
                raise KeyboardInterrupt
            writer.write(coloured(frame, output))
    assert writer.frames == 30 and writer.position_s == pytest.approx(29 / 25)
    assert not output.path.exists()
    assert len(list(read_frames(output.part))) == 30
    sound = packets(output.part)[1]
    assert float(sound[-1][0] - sound[0][0]) == pytest.approx(30 / 25, abs=0.1)


@pytest.mark.parametrize("name", ["colour.mkv", "colour.mp4"])
def test_a_killed_process_loses_seconds_not_the_film(clip: Clip, tmp_path: Path, name: str) -> None:
    path = clip("reel.mkv", size=(160, 120), pts=range(200), audio=["aac"])
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from stream.media import probe, read_frames\n"
        "from stream.mux import Writer, plan_output\n"
        "info = probe(sys.argv[1])\n"
        "output = plan_output(info, Path(sys.argv[2]))\n"
        "writer = Writer(output, info)\n"
        "for number, frame in enumerate(read_frames(sys.argv[1])):\n"
        "    writer.write(frame)\n"
        "    if number == 180:\n"
        "        os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path), str(tmp_path / name)], check=False)
    assert done.returncode == 9
    tally = ReadTally()
    frames = list(read_frames((tmp_path / name).with_suffix(".part" + Path(name).suffix), tally=tally))
    assert len(frames) > 180 - 75


@pytest.mark.parametrize(("name", "codec", "limit"), [("colour.mkv", "ffv1", 500_000), ("colour.mp4", "h264", 600_000)])
def test_a_full_disk_is_named_and_the_part_is_kept(
    clip: Clip, tmp_path: Path, name: str, codec: str, limit: int
) -> None:
    path = clip("reel.mkv", size=(320, 240), pts=range(80))
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from stream.errors import ResourceError\n"
        "from stream.media import probe, read_frames\n"
        "from stream.mux import Writer, plan_output\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))\n"
        "info = probe(sys.argv[1])\n"
        "output = plan_output(info, Path(sys.argv[2]), codec=sys.argv[3])\n"
        "try:\n"
        "    with Writer(output, info) as writer:\n"
        "        for frame in read_frames(sys.argv[1]):\n"
        "            writer.write(frame)\n"
        "except ResourceError as error:\n"
        "    print(error.exit_code, writer.frames, error)\n"
    )
    target = tmp_path / name
    command = [sys.executable, "-c", code, str(path), str(target), codec, str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    exit_code, frames, message = done.stdout.split(maxsplit=2)
    assert exit_code == "6" and 0 < int(frames) <= 80
    assert "the file-size limit is reached" in message and message.count("\n") == 1 and not done.stderr
    assert not target.exists()
    assert 0 < len(list(read_frames(target.with_suffix(f".part{target.suffix}")))) <= int(frames)


def test_a_film_without_pictures_is_not_written(clip: Clip, tmp_path: Path) -> None:
    info = probe(clip("reel.mkv"))
    output = plan_output(info, tmp_path / "colour.mkv")
    with pytest.raises(OutputError, match="no picture came"), Writer(output, info):
        pass
    assert not output.path.exists()


def test_a_grey_frame_is_written_with_neutral_chroma(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", codec="ffv1", pix_fmt="gray10le", depth=10, pts=range(2))
    info = probe(path)
    output = plan_output(info, tmp_path / "same.mkv", codec="ffv1")
    with Writer(output, info) as writer:
        for frame in read_frames(path):
            writer.write(frame)
    for number, frame in enumerate(read_frames(output.path)):
        assert np.array_equal(frame.luma, grey(number, depth=10))
        assert all((plane == 512).all() for plane in frame.planes[1:])


def test_chroma_of_another_subsampling_is_a_mistake(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv")
    info = probe(path)
    output = plan_output(info, tmp_path / "colour.mkv")
    frame = next(read_frames(path))
    chroma = np.zeros_like(frame.luma)
    with pytest.raises(ValueError, match="the output needs"), Writer(output, info) as writer:
        writer.write(frame.with_chroma(chroma, chroma, (0, 0)))


def test_times_that_fall_on_one_tick_stay_apart(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mp4", pts=[0, 1, 2, 3, 40], time_base=Fraction(1, 9000))
    _, output = transcode(path, tmp_path / "colour.mkv")
    assert [frame.pts for frame in read_frames(output.path)] == [0, 1, 2, 3, 4]


def test_sound_is_interleaved_with_the_pictures(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", size=(160, 120), pts=range(150), audio=["flac"])
    _, output = transcode(path, tmp_path / "colour.mkv")
    with av.open(str(output.path)) as container:
        last = {0: 0.0, 1: 0.0}
        for packet in container.demux():
            if packet.size and packet.dts is not None:
                last[packet.stream_index] = float(packet.dts * packet.time_base)
                assert abs(last[0] - last[1]) < 1.0


@pytest.mark.parametrize("target", ["colour.mp4", "colour.mov"])
def test_sound_of_a_transport_stream_goes_into_mp4(clip: Clip, tmp_path: Path, target: str) -> None:
    path = clip("reel.ts", pts=range(30), audio=["aac"])
    _, output = transcode(path, tmp_path / target)
    adts_header = 7
    before, after = packets(path)[1], packets(output.path)[1]
    assert [payload for _, payload in after] == [payload[adts_header:] for _, payload in before]
    assert max(abs(old - new) for (old, _), (new, _) in zip(before, after, strict=True)) < Fraction(1, 10000)


@pytest.mark.parametrize("target", ["colour.mp4", "colour.mkv"])
def test_sound_of_avi_goes_along_without_named_channels(clip: Clip, tmp_path: Path, target: str) -> None:
    path = clip("reel.avi", codec="mpeg4", options={"bf": "2"}, pts=range(20), audio=["pcm_s16le", "libmp3lame"])
    _, output = transcode(path, tmp_path / target)
    assert not output.notices
    assert b"".join(payload for _, payload in packets(output.path)[1]) == b"".join(
        payload for _, payload in packets(path)[1]
    )
    assert len(list(read_frames(output.path))) == len(list(read_frames(path)))


def test_sound_that_quicktime_refuses_is_left_out(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", pts=range(5), audio=["libopus"])
    _, output = transcode(path, tmp_path / "colour.mov")
    assert output.notices == ("stream 1 (audio deu opus) is left out: mov can't hold it",)


def test_remarks_go_where_mp4_has_a_field(clip: Clip, tmp_path: Path) -> None:
    path = clip(
        "reel.mp4", pts=range(3), metadata={"title": "Reel", "comment": "nitrate", "creation_time": "1922-03-04"}
    )
    info = probe(path)
    output = plan_output(info, tmp_path / "colour.mp4")
    with Writer(output, info, metadata={"kinochrome": "machine-made"}) as writer:
        for frame in read_frames(path):
            writer.write(frame)
    with av.open(str(output.path)) as container:
        assert container.metadata["title"] == "Reel"
        assert container.metadata["comment"] == "nitrate; kinochrome: machine-made"


def test_wide_pixels_survive_again_and_again(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mp4", pts=range(3), context={"sample_aspect_ratio": Fraction(16, 15)})
    for target in (tmp_path / "once.mkv", tmp_path / "twice.mkv"):
        transcode(path, target, "ffv1")
        assert probe(target).pixel_aspect == Fraction(16, 15)
        with av.open(str(target)) as container:
            assert "title" not in container.streams.video[0].metadata
        path = target


def test_transparency_is_left_out_with_a_notice(clip: Clip, tmp_path: Path) -> None:
    def planes(number: int) -> list[np.ndarray]:
        return [grey(number), *[np.full((24, 32), 128, np.uint8)] * 2, grey(number + 50)]

    path = clip("reel.mkv", codec="ffv1", pix_fmt="yuva420p", pts=range(3), planes=planes)
    _, output = transcode(path, tmp_path / "colour.mkv", "ffv1")
    assert output.notices == ("the transparency (alpha) is left out",)
    for before, after in zip(read_frames(path), read_frames(output.path), strict=True):
        assert np.array_equal(before.luma, after.luma)


def test_prores_keeps_fields_and_raises_depth(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", codec="ffv1", pts=range(4), context={"field_order": 3})
    info, output = transcode(path, tmp_path / "colour.mov", "prores")
    assert (output.codec, output.pix_fmt, output.notices) == ("prores_ks", "yuv422p10le", ())
    after = probe(output.path)
    assert (after.codec, after.interlaced, after.top_field_first) == ("prores", True, False)
    for before, coded in zip(read_frames(path), read_frames(output.path), strict=True):
        assert np.abs(4.0 * before.luma - coded.luma).mean() < 16
    with pytest.raises(UsageError, match="can't hold prores_ks"):
        plan_output(info, tmp_path / "colour.mp4", codec="prores")


def test_films_in_fields_beyond_8_bits_go_to_x264(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", codec="ffv1", pix_fmt="yuv422p10le", depth=10, pts=range(4), context={"field_order": 2})
    info, output = transcode(path, tmp_path / "colour.mkv")
    assert (output.codec, output.pix_fmt, output.notices) == ("libx264", "yuv422p10le", ())
    assert probe(output.path).interlaced and probe(output.path).top_field_first
    asked = plan_output(info, tmp_path / "other.mkv", codec="hevc")
    assert "x265 can't mark fields" in asked.notices[0]


@pytest.mark.parametrize("order", [2, 4])
def test_the_pictures_own_mark_says_which_field_comes_first(clip: Clip, order: int) -> None:
    """FFmpeg's program writes 4 (coded top first, swapped) into containers of films whose top field comes first."""
    path = clip("reel.mkv", codec="ffv1", pts=range(3), context={"field_order": 2})
    data = path.read_bytes()
    written = b"\x9a\x81\x01\x9d\x81\x01"  # FlagInterlaced 1, FieldOrder 1
    assert data.count(written) == 1
    path.write_bytes(data.replace(written, written[:-1] + bytes([{2: 1, 4: 9}[order]])))
    assert probe(path).top_field_first


LIGHT = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"


@pytest.mark.parametrize(
    ("name", "codec"), [("c.mkv", "ffv1"), ("c.mkv", None), ("c.mp4", None), ("c.mkv", "h264"), ("c.mov", "prores")]
)
def test_hdr_metadata_goes_along(clip: Clip, tmp_path: Path, name: str, codec: str | None) -> None:
    path = clip(
        "reel.mkv",
        codec="libx265",
        pix_fmt="yuv420p10le",
        depth=10,
        pts=range(3),
        options={"x265-params": f"log-level=none:hdr10=1:{LIGHT}"},
        context={"color_primaries": 9, "color_trc": 16, "colorspace": 9, "sample_aspect_ratio": Fraction(4, 3)},
    )
    info, output = transcode(path, tmp_path / name, codec)
    assert info.light is not None and info.light.content == (1000, 400)
    assert info.light.primaries[0] == (Fraction(17, 25), Fraction(8, 25))
    after = probe(output.path)
    assert (after.pixel_aspect == Fraction(4, 3) and after.tags == info.tags) or codec in ("ffv1", "prores")
    if codec == "prores":
        assert after.light is None and "screen and light (HDR) is left out" in output.notices[0]
        return
    assert after.light is not None and after.light.content == (1000, 400)
    before = [float(part) for point in info.light.primaries for part in point]
    assert [float(part) for point in after.light.primaries for part in point] == pytest.approx(before, abs=1e-6)
    with av.open(str(output.path)) as container:
        assert "title" not in container.streams.video[0].metadata


def test_a_data_track_goes_along_in_transport_streams(tmp_path: Path) -> None:
    path = tmp_path / "reel.ts"
    with av.open(str(path), "w") as container:
        film, data = container.add_stream("libx264", rate=25), container.add_data_stream("klv")
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            picture = av.VideoFrame.from_ndarray(np.vstack([grey(number), np.full((24, 64), 128, np.uint8)]), "yuv420p")
            picture.pts = number
            container.mux(film.encode(picture))
        packet = av.Packet(b"\x06\x0e\x2b\x34" * 8)
        packet.stream, packet.time_base, packet.pts, packet.dts = data, Fraction(1, 25), 1, 1
        container.mux([*film.encode(None), packet])
    _, output = transcode(path, tmp_path / "colour.ts")
    assert not output.notices
    assert [payload for _, payload in packets(output.path)[1]] == [b"\x06\x0e\x2b\x34" * 8]


def test_a_transport_stream_that_must_begin_later_says_so(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", pts=range(6), options={"bf": "0"})
    info = probe(path)
    with Writer(plan_output(info, tmp_path / "colour.ts"), info) as writer:
        for frame in read_frames(path):
            writer.write(frame)
    assert writer.moved_s == pytest.approx(next(read_frames(tmp_path / "colour.ts")).time_s)
    assert writer.moved_s > 0


@pytest.mark.parametrize(("suffix", "why"), [(".avi", "stores no times"), (".webm", "VP9"), (".mpg", "MPEG-2 alone")])
def test_formats_that_are_only_read_say_why(clip: Clip, tmp_path: Path, suffix: str, why: str) -> None:
    with pytest.raises(OutputError, match=rf"{why}.*write colour\.mkv"):
        plan_output(probe(clip("reel.mkv")), tmp_path / f"colour{suffix}")


@pytest.mark.parametrize("codec", ["h264_nvenc", "hevc_nvenc"])
def test_nvenc_is_refused_where_it_does_not_open_and_writes_a_film_where_it_does(clip, tmp_path, codec):
    info = probe(clip("reel.mkv", size=(256, 256)))
    if not encoder_opens(codec):
        with pytest.raises(UsageError, match="libx264 does without"):
            plan_output(info, tmp_path / "out.mkv", codec=codec)
        return
    output = plan_output(info, tmp_path / "out.mkv", codec=codec)
    with Writer(output, info) as writer:
        for frame in read_frames(info.path):
            writer.write(frame)
    assert len(list(read_frames(tmp_path / "out.mkv"))) == 10


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_film_shorter_than_what_x265_reorders_has_its_times(clip, tmp_path, count):
    film, out = clip("film.mkv", pts=range(count)), tmp_path / "out.mov"
    colorize(film, out, settings=Settings(short_side=64, runtime="torch"), job=Job(codec="libx265"))
    with av.open(str(out)) as container:
        times = [(packet.pts, packet.dts) for packet in container.demux(video=0) if packet.size]
    assert len(times) == count and all(dts <= pts for pts, dts in times)
    assert [dts for _, dts in times] == sorted({dts for _, dts in times})
