"""Reading films: what `probe` says, every picture and its time, damage, and inputs that are no films."""

import itertools
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import grey, grey_planes

from stream.container import MAX_PIXELS, is_url
from stream.errors import InputError, UsageError
from stream.ffmpeg import nvdec_opens
from stream.film import ReadTally
from stream.frame import ColorTags
from stream.media import probe, read_frames

Clip = Callable[..., Path]

PLANAR = [
    ("yuv420p", 8),
    ("yuv422p", 8),
    ("yuv444p", 8),
    ("yuv440p", 8),
    ("yuv411p", 8),
    ("yuv410p", 8),
    ("yuv420p10le", 10),
    ("yuv422p12le", 12),
    ("yuv444p16le", 16),
    ("gray", 8),
    ("gray10le", 10),
    ("gray12le", 12),
    ("gray16le", 16),
]


@pytest.mark.parametrize(("pix_fmt", "depth"), PLANAR)
def test_planes_of_a_lossless_film_are_bit_exact(clip: Clip, pix_fmt: str, depth: int) -> None:
    path = clip("reel.mkv", codec="ffv1", pix_fmt=pix_fmt, depth=depth, size=(34, 20), pts=range(3))
    frames = list(read_frames(path))
    assert [frame.depth for frame in frames] == [depth] * 3
    for number, frame in enumerate(frames):
        for plane, wanted in zip(frame.planes, grey_planes(pix_fmt, grey(number, 34, 20, depth)), strict=True):
            assert np.array_equal(plane, wanted)


def test_planes_are_views_of_the_decoders_memory(clip: Clip) -> None:
    frame = next(read_frames(clip("reel.mp4")))
    assert frame.luma.base is not None
    assert frame.luma.strides[0] > frame.width


def test_semiplanar_film_is_read_as_planes(clip: Clip) -> None:
    both = np.arange(32, dtype=np.uint8).reshape(4, 8)
    path = clip(
        "reel.nut", codec="rawvideo", pix_fmt="nv12", size=(8, 8), pts=[0], planes=lambda _: [grey(0, 8, 8), both]
    )
    (frame,) = read_frames(path)
    assert np.array_equal(frame.luma, grey(0, 8, 8))
    assert np.array_equal(frame.planes[1], both[:, 0::2])
    assert np.array_equal(frame.planes[2], both[:, 1::2])


def test_grey_rgb_film_is_full_range_luma(clip: Clip) -> None:
    def planes(number: int) -> list[np.ndarray]:
        return [grey(number, 16, 16)] * 3

    path = clip("reel.avi", codec="utvideo", pix_fmt="gbrp", size=(16, 16), pts=range(2), planes=planes)
    assert probe(path).rgb
    for number, frame in enumerate(read_frames(path)):
        assert len(frame.planes) == 1 and frame.tags.full_range
        assert np.array_equal(frame.luma, grey(number, 16, 16))


def test_colour_rgb_film_needs_a_matrix(clip: Clip) -> None:
    def planes(number: int) -> list[np.ndarray]:
        return [grey(number + shift, 16, 16) for shift in range(3)]

    path = clip("reel.avi", codec="utvideo", pix_fmt="gbrp", size=(16, 16), pts=range(2), planes=planes)
    with pytest.raises(UsageError, match="--luma bt601"):
        next(read_frames(path))
    frame = next(read_frames(path, luma="bt709"))
    green, blue, red = (plane.astype(float) for plane in planes(0))
    assert np.abs(frame.luma - (0.2126 * red + 0.7152 * green + 0.0722 * blue)).max() <= 0.501
    assert frame.tags.matrix == "bt709"


def test_probe_tells_what_the_film_is(clip: Clip) -> None:
    path = clip(
        "reel.mkv",
        size=(64, 48),
        pts=range(20),
        rate=Fraction(24000, 1001),
        time_base=Fraction(1001, 24000),
        audio=["aac", "flac"],
        subtitles="subrip",
        chapters=2,
        attachment=b"font",
        context={"sample_aspect_ratio": Fraction(4, 3)},
        rotation=90,
    )
    info = probe(path)
    assert (info.container, info.codec, info.pix_fmt) == ("matroska,webm", "h264", "yuv420p")
    assert (info.width, info.height, info.depth, info.subsampling) == (64, 48, 8, (1, 1))
    assert info.time_base == Fraction(1, 1000)
    assert info.pixel_aspect == Fraction(4, 3)
    assert info.rotation == 90 and info.display_matrix is not None
    assert info.interlaced is False
    assert [(other.kind, other.codec, other.language) for other in info.others] == [
        ("audio", "aac", "deu"),
        ("audio", "flac", "eng"),
        ("subtitle", "srt", "deu"),
        ("attachment", "", None),
    ]
    assert info.chapters == 2
    assert info.duration_s == pytest.approx(20 * 1001 / 24000, abs=0.002)
    assert info.expected_frames == 20


@pytest.mark.parametrize(("size", "matrix"), [((1024, 576), "bt601"), ((1280, 528), "bt709"), ((720, 578), "bt709")])
def test_untagged_films_get_the_matrix_of_their_size(clip: Clip, size: tuple[int, int], matrix: str) -> None:
    info = probe(clip("reel.mp4", size=size, pts=[0], options={"preset": "ultrafast"}))
    assert info.tags.matrix == matrix and not info.tagged
    assert info.tags == ColorTags(matrix=info.tags.matrix, chroma_location=1)


def test_tags_of_the_film_are_kept(clip: Clip) -> None:
    context = {"color_range": 2, "colorspace": 9, "color_primaries": 9, "color_trc": 16}
    options = {"chroma_sample_location": "topleft"}
    info = probe(clip("reel.mkv", pix_fmt="yuv420p10le", depth=10, context=context, options=options))
    assert info.tags == ColorTags(full_range=True, matrix="bt2020", primaries=9, transfer=16, chroma_location=3)
    assert info.tagged and info.matrix_number == 9


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "color_range", "full"),
    [
        ("libx264", "yuv420p", 1, False),
        ("libx264", "yuv420p", 0, False),
        ("libx264", "yuv420p", 2, True),
        ("mjpeg", "yuvj420p", 0, True),
        ("ffv1", "gray", 0, True),
        ("ffv1", "gray", 2, True),
        ("libx264", "gray", 1, False),
    ],
)
def test_range_is_full_for_yuvj_grey_and_pc(clip: Clip, codec: str, pix_fmt: str, color_range: int, full: bool) -> None:
    path = clip("reel.mkv", codec=codec, pix_fmt=pix_fmt, pts=[0], context={"color_range": color_range})
    assert probe(path).tags.full_range is full


def test_times_of_a_variable_rate_are_kept(clip: Clip) -> None:
    pts = [0, 3, 4, 9, 100, 101, 250]
    path = clip("reel.mp4", pts=pts, time_base=Fraction(1, 600))
    assert [frame.pts * frame.time_base for frame in read_frames(path)] == [Fraction(time, 600) for time in pts]


def test_a_film_without_times_gets_them_from_its_rate(clip: Clip) -> None:
    path = clip("reel.h264", options={"bf": "0", "preset": "ultrafast"})
    tally = ReadTally()
    times = [frame.pts * frame.time_base for frame in read_frames(path, tally=tally)]
    assert len(times) == 10
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


def test_tally_of_a_sound_film_is_clean(clip: Clip) -> None:
    tally = ReadTally()
    frames = list(read_frames(clip("reel.mp4", pts=range(30)), tally=tally))
    assert tally == ReadTally(frames=30)
    assert len(frames) == 30


@pytest.mark.parametrize("name", ["reel.mp4", "reel.mkv"])
def test_a_film_cut_in_the_middle_is_called_truncated(clip: Clip, name: str) -> None:
    path = clip(
        name, size=(160, 120), pts=range(75), container_options={"movflags": "faststart"} if "mp4" in name else {}
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    tally = ReadTally()
    frames = list(read_frames(path, tally=tally))
    assert 0 < len(frames) < 60
    assert tally.truncated
    assert tally.missing_s == pytest.approx((75 - len(frames)) / 25, abs=0.1)


@pytest.mark.parametrize("name", ["reel.mp4", "reel.mkv", "reel.ts"])
def test_a_film_that_begins_late_is_not_truncated(clip: Clip, name: str) -> None:
    tally = ReadTally()
    frames = list(read_frames(clip(name, pts=range(100, 130)), tally=tally))
    assert tally == ReadTally(frames=30)
    if not name.endswith("ts"):  # whose muxer moves all times
        assert frames[0].time_s == pytest.approx(4)


def test_sound_longer_than_the_pictures_is_no_truncation(clip: Clip, tmp_path: Path) -> None:
    path = clip("reel.mkv", pts=[0, 1, 2, 50], audio=["flac"])
    tally = ReadTally()
    list(read_frames(path, tally=tally))
    assert not tally.truncated


def test_flipped_bytes_cost_only_the_pictures_they_hit(clip: Clip) -> None:
    path = clip("reel.mkv", size=(160, 120), pts=range(60), options={"g": "10"})
    data = bytearray(path.read_bytes())
    for position in np.random.default_rng(3).integers(len(data) // 3, len(data) // 2, 40):
        data[position] ^= 0x55
    path.write_bytes(data)
    tally = ReadTally()
    frames = list(read_frames(path, tally=tally))
    assert tally.frames == len(frames) >= 40
    assert tally.frames_damaged + tally.frames_lost + tally.packets_damaged > 0
    assert len(frames) + tally.frames_lost >= 58
    assert sum(frame.damaged for frame in frames) == tally.frames_damaged


def _splice(first: Path, second: Path, path: Path) -> Path:
    """Two MPEG-2 elementary streams in a row: the picture really changes in the middle."""
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


def test_a_film_that_changes_its_size_is_refused_where_it_does(clip: Clip, tmp_path: Path) -> None:
    first = clip("a.m2v", codec="mpeg2video", size=(64, 48), pts=range(10))
    second = clip("b.m2v", codec="mpeg2video", size=(96, 64), pts=range(40))
    frames = read_frames(_splice(first, second, tmp_path / "both.m2v"))
    with pytest.raises(InputError, match="no longer 64x48 yuv420p but 96x64"):
        list(frames)


def test_stray_pictures_of_another_size_count_as_lost(clip: Clip, tmp_path: Path) -> None:
    first = clip("a.m2v", codec="mpeg2video", size=(64, 48), pts=range(10))
    second = clip("b.m2v", codec="mpeg2video", size=(96, 64), pts=range(5))
    tally = ReadTally()
    frames = list(read_frames(_splice(first, second, tmp_path / "both.m2v"), tally=tally))
    assert len(frames) >= 9  # FFmpeg's decoder drops the last picture before it changes
    assert len(frames) + tally.frames_lost == 15
    assert {(frame.width, frame.height) for frame in frames} == {(64, 48)}


def test_deinterlacing_keeps_count_and_times(clip: Clip) -> None:
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    path = clip("reel.mkv", pts=range(12), options=options, context={"field_order": 2})
    woven = list(read_frames(path))
    assert probe(path).interlaced and woven[0].interlaced and woven[0].top_field_first
    progressive = list(read_frames(path, deinterlace=True))
    assert [frame.time_s for frame in progressive] == pytest.approx([frame.time_s for frame in woven])
    assert not any(frame.interlaced for frame in progressive)
    assert not np.array_equal(progressive[3].luma, woven[3].luma)


def test_deinterlacing_leaves_progressive_pictures_alone(clip: Clip) -> None:
    path = clip("reel.mkv", pts=range(5))
    for woven, plain in zip(read_frames(path, deinterlace=True), read_frames(path), strict=True):
        assert np.array_equal(woven.luma, plain.luma)


def test_inputs_that_are_no_films_get_one_line(clip: Clip, tmp_path: Path) -> None:
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    empty = tmp_path / "empty.mp4"
    empty.touch()
    text = tmp_path / "text.mp4"
    text.write_text("this is no film\n" * 100)
    unfinished = tmp_path / "unfinished.mp4"
    unfinished.write_bytes(clip("whole.mp4").read_bytes()[:2000])
    expected = {
        tmp_path / "missing.mp4": "no such file",
        folder: "is a folder",
        empty: "is empty",
        text: "can't read it as a film",
        unfinished: "has no index",
    }
    for path, words in expected.items():
        with pytest.raises(InputError, match=words) as caught:
            probe(path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
        assert caught.value.exit_code == 3


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="has no film in it, only audio"):
        probe(path)


def test_a_film_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(InputError):
        probe(path)


def test_unknown_codec_is_named(clip: Clip) -> None:
    path = clip("reel.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(InputError, match="no decoder"):
        probe(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_film_that_may_not_be_read_is_refused(clip: Clip) -> None:
    path = clip("reel.mp4")
    path.chmod(0)
    with pytest.raises(InputError, match="can't be opened"):
        probe(path)


def test_only_explicit_addresses_open_network_protocols(clip: Clip, tmp_path: Path) -> None:
    assert is_url("https://example.org/reel.mp4") and is_url("rtsp://camera")
    assert not is_url("reel.mp4") and not is_url("http:reel.mp4") and not is_url(Path("http://x"))
    odd = tmp_path / "http:reel.mp4"
    clip("reel.mp4").rename(odd)
    assert probe(odd).width == 64
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError):
        probe(playlist)


@pytest.mark.parametrize("side", [12000, 30000])
def test_a_bomb_is_refused_within_little_memory(tmp_path: Path, side: int) -> None:
    """A picture of 12000x12000 in 2 kB: refused by its header, before the decoder asks for 144 MB."""
    path = tmp_path / "bomb.mov"
    assert side * side > MAX_PIXELS
    with av.open(str(path), "w") as container:
        stream = container.add_mux_stream("png", rate=25, width=side, height=side, time_base=Fraction(1, 1000))
        packet = av.Packet(_png_header(side, side))
        packet.pts = packet.dts = 0
        packet.stream = stream
        container.mux(packet)
    code = (
        "import resource, sys\n"
        "from stream.errors import ResourceError\n"
        "from stream.media import probe\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    probe(sys.argv[1])\n"
        "except ResourceError as error:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error.exit_code, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    growth_kib, exit_code, message = done.stdout.split(maxsplit=2)
    assert exit_code == "6" and f"{side}x{side}" in message
    assert int(growth_kib) < 20_000


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(bytes(width + 1) * 100)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_closing_the_generator_early_lets_go_of_the_file(clip: Clip) -> None:
    frames = read_frames(clip("reel.mp4"))
    next(frames)
    frames.close()
    with pytest.raises(StopIteration):
        next(frames)


@pytest.mark.skipif(nvdec_opens(), reason="there is such a card")
def test_nvdec_without_a_card_is_refused_with_what_to_do(clip):
    with pytest.raises(UsageError, match="leave it out"):
        next(read_frames(clip("reel.mkv"), nvdec=True))


@pytest.mark.gpu
def test_nvdec_decodes_the_same_planes(clip):
    if not nvdec_opens():
        pytest.skip("the card has no decoder")
    reel = clip("reel.mkv", size=(256, 256), pts=range(20))
    for hard, soft in zip(read_frames(reel, nvdec=True), read_frames(reel), strict=True):
        assert hard.pts == soft.pts
        for found, wanted in zip(hard.planes, soft.planes, strict=True):
            assert np.array_equal(found, wanted)
