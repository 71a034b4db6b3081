"""Clips that the tests make for themselves with PyAV: every picture has a known grey and known noise."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

# Spinning OpenMP threads steal the cores from codec threads; must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import av
import av.filter
import numpy as np
import numpy.typing as npt
import pytest
import torch
from av.subtitles.subtitle import SubtitleSet

Planes = Sequence[npt.NDArray[Any]]

THREADS = torch.get_num_threads()

ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+
[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1
[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def grey(number: int, width: int = 64, height: int = 48, depth: int = 8) -> npt.NDArray[Any]:
    """Picture `number` of every clip, [height, width]: its own grey level with noise on the left half."""
    noise = np.random.default_rng(number)
    top = (1 << depth) - 1
    picture = np.full((height, width), top * (number * 13 % 200 + 28) // 255, np.uint16)
    half = max(1, width // 2)
    picture[:, :half] = noise.integers(0, top + 1, (height, half))
    return picture.astype(np.uint8 if depth == 8 else np.uint16)


def video_frame(pix_fmt: str, planes: Planes) -> av.VideoFrame:
    """FFmpeg's picture with these very bytes; each plane [H, W] or [H, samples of a line]."""
    height, width = planes[0].shape
    if pix_fmt in ("yuyv422", "uyvy422", "ya8"):
        width //= 2
    if pix_fmt in ("rgb24", "bgr24", "rgb48le"):
        width //= 3
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, samples in zip(frame.planes, planes, strict=True):
        lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        data = np.ascontiguousarray(samples).view(np.uint8).reshape(samples.shape[0], -1)
        lines[: data.shape[0], : data.shape[1]] = data
    return frame


def grey_planes(pix_fmt: str, luma: npt.NDArray[Any]) -> Planes:
    """`luma` with neutral chroma for any planar Y'CbCr format, alone for grey ones."""
    if pix_fmt.startswith("gray"):
        return [luma]
    steps = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "440": (1, 2), "411": (4, 1), "410": (4, 4)}
    step_x, step_y = next(steps[key] for key in steps if key in pix_fmt)
    bits = "".join(filter(str.isdigit, pix_fmt.split("p", 1)[1])) or "8"
    shape = (-(-luma.shape[0] // step_y), -(-luma.shape[1] // step_x))
    return [luma, *[np.full(shape, 1 << int(bits) - 1, luma.dtype)] * 2]


def make_clip(
    path: Path,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (64, 48),
    depth: int = 8,
    pts: Iterable[int] = range(10),
    time_base: Fraction = Fraction(1, 25),
    rate: Fraction = Fraction(25),
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    planes: Callable[[int], Planes] | None = None,
    context: dict[str, Any] | None = None,
    rotation: float | None = None,
    audio: Sequence[str] = (),
    subtitles: str | None = None,
    chapters: int = 0,
    attachment: bytes | None = None,
    cover: bytes | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Writes a clip; picture n is `planes(n)`, or `grey(n)` with neutral chroma.

    `context` sets attributes of the encoder (color_range, sample_aspect_ratio, field_order, ...).
    """
    width, height = size
    times = list(pts)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {}, time_base=time_base)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = time_base
        for name, value in (context or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        sounds = [_add_sound(container, name, number) for number, name in enumerate(audio)]
        texts = _add_subtitles(container, subtitles) if subtitles else None
        if attachment is not None:
            container.add_attachment("font.ttf", "application/x-truetype-font", attachment)
        if cover is not None:
            container.add_attachment("cover.png", "image/png", cover)
        end_s = float((times[-1] + 1) * time_base) if times else 0.0
        if chapters:
            container.set_chapters([_chapter(number, end_s / chapters) for number in range(chapters)])
        container.metadata.update(metadata or {})
        container.start_encoding()
        marked = _field_marker(stream, time_base, (context or {}).get("field_order", 0))
        for number, time in enumerate(times):
            content = planes(number) if planes else grey_planes(pix_fmt, grey(number, width, height, depth))
            frame = video_frame(pix_fmt, content)
            frame.pts, frame.time_base = time, time_base
            for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
                setattr(frame, name, (context or {}).get(name, getattr(frame, name)))
            container.mux(stream.encode(marked(frame)))
        container.mux(stream.encode(None))
        for number, sound in enumerate(sounds):
            _write_sound(container, sound, number, end_s)
        if texts is not None:
            _write_subtitles(container, texts)
    return path


def _field_marker(stream: Any, time_base: Fraction, field_order: int) -> Callable[[av.VideoFrame], av.VideoFrame]:
    """Marks pictures as their container is marked: encoders go by the picture, and PyAV can't set that."""
    if field_order < 2:
        return lambda frame: frame
    graph = av.filter.Graph()
    source = graph.add_buffer(template=stream, time_base=time_base)
    marker = graph.add("setfield", "mode=tff" if field_order == 2 else "mode=bff")
    graph.link_nodes(source, marker, graph.add("buffersink")).configure()

    def mark(frame: av.VideoFrame) -> av.VideoFrame:
        graph.vpush(frame)
        return graph.vpull()

    return mark


def _add_sound(container: Any, codec: str, number: int) -> Any:
    stream = container.add_stream(codec, rate=48000)
    stream.metadata["language"] = ("deu", "eng", "fra")[number]
    stream.disposition = 1 if number == 0 else 0
    return stream


def _write_sound(container: Any, stream: Any, number: int, seconds: float) -> None:
    size = stream.codec_context.frame_size or 1024
    for start in range(0, max(size, int(seconds * 48000)), size):
        phase = (start + np.arange(size)) * (440 * (number + 1)) * 2 * np.pi / 48000
        tone = np.sin(phase) * 0.25
        kind = stream.codec_context.format.name
        scale, number_type = {"flt": (1, np.float32), "s16": (1 << 15, np.int16), "s32": (1 << 31, np.int32)}[kind[:3]]
        samples = (tone * scale).astype(number_type)
        shape = np.stack([samples, samples]) if kind.endswith("p") else np.repeat(samples, 2)[None]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(shape), kind, "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _add_subtitles(container: Any, codec: str) -> Any:
    stream = container.add_stream(codec)
    stream.codec_context.subtitle_header = ASS_HEADER
    stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
    stream.metadata["language"] = "deu"
    return stream


def _write_subtitles(container: Any, stream: Any) -> None:
    for number, start_ms in enumerate((40, 200)):
        text = f"{number},0,Default,,0,0,0,,Zeile {number}".encode()
        packet = stream.codec_context.encode_subtitle(SubtitleSet.create(text=text, start=0, end=100))
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = start_ms
        packet.duration = 100
        container.mux(packet)


def _chapter(number: int, seconds: float) -> dict[str, Any]:
    start, end = round(number * seconds * 1000), round((number + 1) * seconds * 1000)
    return {
        "id": number + 1,
        "start": start,
        "end": end,
        "time_base": Fraction(1, 1000),
        "metadata": {"title": f"Act {number}"},
    }


@cache
def _gpu_test() -> Callable[[], bool]:
    import torch  # most tests do without

    return torch.cuda.is_available


def pytest_runtest_setup(item: pytest.Item) -> None:
    """GPU tests skip without a GPU, and fail where somebody says that there should be one. No other test sees one, so
    that "torch" is the reference on the CPU whatever the machine.
    """
    wanted = item.get_closest_marker("gpu") is not None
    if not wanted and "torch" not in sys.modules:
        return
    is_available = _gpu_test()
    sys.modules["torch"].cuda.is_available = is_available if wanted else lambda: False
    if not wanted or is_available():
        return
    if os.environ.get("FAIL_WITHOUT_CUDA") == "1":
        pytest.fail("FAIL_WITHOUT_CUDA=1, and torch finds no CUDA GPU")
    pytest.skip("no CUDA GPU")


@pytest.fixture(autouse=True)
def as_many_threads_as_a_program_has() -> None:
    """Whatever a test or the fixture of a session left behind: the network's last bits depend on it, and what is made
    here is compared with what programs make.
    """
    torch.set_num_threads(THREADS)


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    """Makes a clip in the test's own folder: `clip("reel.mkv", audio=["aac"])`, with what `make_clip` offers."""
    return lambda name, **what: make_clip(tmp_path / name, **what)
