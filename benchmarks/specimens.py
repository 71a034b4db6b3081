"""Small films and scans with one property each, for `benchmarks.fidelity`."""

import io
import struct
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.error
import av.filter
import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from av.codec.context import Flags
from av.subtitles.subtitle import SubtitleSet

from stream import dpx, notes
from stream.media import probe, read_frames
from stream.mux import Writer, plan_output
from stream.notes import Notes, described

SOURCES: Final = {
    # Format -> codec of 8-bit films, of sound, of subtitles.
    "mkv": ("libx264", "flac", "subrip"),
    "mp4": ("libx264", "aac", "mov_text"),
    "mov": ("libx264", "pcm_s16le", "mov_text"),
    "avi": ("mpeg4", "libmp3lame", None),
    "mpg": ("mpeg2video", "mp2", None),
    "ts": ("libx264", "aac", None),
    "webm": ("libvpx-vp9", "libopus", "webvtt"),
}
_RATE: Final = 25
_SIZE: Final = (96, 64)
# What other sample formats are coded with, by format; without an entry there is no such film.
_DEEP: Final = {
    "mkv": {"yuv420p10le": "libx265", "gray16le": "ffv1", "yuva420p": "ffv1", "": "ffv1"},
    "mp4": {"yuv420p10le": "libx265", "yuv422p10le": "libx264", "yuv422p12le": "libx265", "": "libx264"},
    "mov": {"yuv420p10le": "libx265", "yuv422p10le": "prores_ks", "yuv422p12le": "libx265", "": "libx264"},
    "avi": {"gray16le": "ffv1", "yuva420p": "ffv1", "": "ffv1"},
    "mpg": {"yuv422p": "mpeg2video"},
    "ts": {"yuv420p10le": "libx265", "yuv422p10le": "libx264", "yuv422p12le": "libx265", "": "libx264"},
    "webm": {"yuv422p": "libvpx-vp9", "yuv444p": "libvpx-vp9", "yuva420p": "libvpx-vp9"},
}
_HDR: Final = (
    "hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
)
_ASS: Final = (
    b"[Script Info]\nScriptType: v4.00+\n[Events]\n"
    b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)
_QUIET: Final = {"libx265": {"x265-params": "log-level=none"}}
_NEUTRAL: Final = 128


def make_specimen(path: Path, **what: Any) -> Path | None:  # noqa: ANN401  (see `_Specimen`)
    """Writes a film with what is asked for; None where its format or FFmpeg has no such thing."""
    try:
        if what.get("cover") and path.suffix in (".mp4", ".mov"):  # PyAV attaches covers to Matroska alone
            return _remuxed(make_specimen(path.with_suffix(".mkv"), **what), path)
        _Specimen(path, **what).write()
    except (ValueError, KeyError, av.error.FFmpegError, NotImplementedError):
        return None
    return path


def _remuxed(film: Path | None, path: Path) -> Path | None:
    if film is None:
        return None
    info = probe(film)
    with Writer(plan_output(info, path), info) as writer:
        for frame in read_frames(film):
            writer.write(frame)
    return path


class _Specimen:
    """A film of ten frames or so, and what it shall have."""

    def __init__(self, path: Path, **what: Any) -> None:  # noqa: ANN401  (the keys of PROPERTIES)
        self._path = path
        self._kind = path.suffix[1:]
        self._what = what
        self._pts: Iterable[int] = what.get("pts", range(10))
        pix_fmt = "yuva420p" if what.get("alpha") else "yuv420p10le" if what.get("light") else "yuv420p"
        self._pix_fmt = str(what.get("pix_fmt", pix_fmt))
        film, self._sound, self._text = SOURCES[self._kind]
        table = _DEEP[self._kind]
        self._codec = film if self._pix_fmt == "yuv420p" else table.get(self._pix_fmt, table.get("", ""))
        if what.get("size") and self._kind in ("mkv", "avi"):
            self._codec = "ffv1"
        if not self._codec or (what.get("fields") and self._codec in ("libvpx-vp9", "libx265")):
            raise ValueError("no such film")

    def write(self) -> None:
        """All of it."""
        what = self._what
        options = {"avoid_negative_ts": "disabled"} if self._kind == "mkv" else {}
        options |= {"movflags": "use_metadata_tags"} if self._kind in ("mp4", "mov") and "tags" in what else {}
        with av.open(str(self._path), "w", container_options=options) as container:
            films = [self._film(container) for _ in range(int(what.get("films", 1)))]
            sounds = [self._add_sound(container, number) for number in range(int(what.get("audio", 0)))]
            text = self._add_text(container) if what.get("subtitles") else None
            data = container.add_data_stream("klv") if what.get("data") else None
            if "attachment" in what:
                container.add_attachment("font.ttf", "application/x-truetype-font", what["attachment"])
            if what.get("cover"):
                container.add_attachment(
                    "cover.png", "image/png", cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
                )
            if what.get("chapters"):
                container.set_chapters([_chapter(number) for number in range(2)])
            container.metadata.update(what.get("tags", {}))
            container.start_encoding()
            for film in films:
                self._write_film(container, film)
            for number, sound in enumerate(sounds):
                _write_sound(container, sound, number)
            if text is not None:
                _write_text(container, text)
            if data is not None:
                packet = av.Packet(b"\x06\x0e\x2b\x34" * 8)
                packet.stream, packet.time_base, packet.pts, packet.dts = data, Fraction(1, _RATE), 1, 1
                container.mux(packet)

    def _film(self, container: Any) -> Any:  # noqa: ANN401  (PyAV's)
        what = self._what
        if what.get("light"):
            self._codec = "libx265"
        options = {"x265-params": f"log-level=none:{_HDR}"} if what.get("light") else _QUIET.get(self._codec, {})
        options = options | ({"bf": "0"} if min(self._pts) < 0 else {})
        options |= {"chroma_sample_location": what["chroma_location"]} if "chroma_location" in what else {}
        stream = container.add_stream(self._codec, rate=_RATE, options=options)
        stream.width, stream.height = what.get("size", _SIZE)
        stream.pix_fmt = self._pix_fmt
        context = stream.codec_context
        context.time_base = stream.time_base = Fraction(1, _RATE)
        for name, value in self._context().items():
            setattr(context, name, value)
        if "fields" in what:
            context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        if "rotation" in what:
            stream.set_display_rotation(what["rotation"])
        if "timecode" in what:
            stream.metadata["timecode"] = what["timecode"]
        return stream

    def _context(self) -> dict[str, Any]:
        """What the encoder is told."""
        what = self._what
        told: dict[str, Any] = {}
        if "aspect" in what:
            told["sample_aspect_ratio"] = what["aspect"]
        if "colours" in what:
            told |= dict(zip(("colorspace", "color_primaries", "color_trc"), what["colours"], strict=True))
        if what.get("full_range"):
            told["color_range"] = 2
        if "fields" in what:
            told["field_order"] = 2 if what["fields"] == "tff" else 3
        return told

    def _write_film(self, container: Any, stream: Any) -> None:  # noqa: ANN401
        mark = _marker(stream, self._what.get("fields"))
        for number, pts in enumerate(self._pts):
            frame = _frame(number, stream.width, stream.height, self._pix_fmt)
            frame.pts, frame.time_base = pts, Fraction(1, _RATE)
            if "colours" in self._what:
                frame.colorspace, frame.color_primaries, frame.color_trc = self._what["colours"]
            if self._what.get("full_range"):
                frame.color_range = 2
            container.mux(stream.encode(mark(frame)))
        container.mux(stream.encode(None))

    def _add_sound(self, container: Any, number: int) -> Any:  # noqa: ANN401
        stream = container.add_stream(self._sound, rate=48000)
        stream.metadata["language"] = ("deu", "eng")[number]
        return stream

    def _add_text(self, container: Any) -> Any:  # noqa: ANN401
        if self._text is None:
            raise ValueError("no subtitles in this format")
        stream = container.add_stream(self._text)
        stream.codec_context.subtitle_header = _ASS
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        return stream


def _frame(number: int, width: int, height: int, pix_fmt: str) -> av.VideoFrame:
    """A moving ramp with noise; neutral chroma."""
    noise = np.random.default_rng(number).integers(0, 24, (height, width))
    ramp = (np.add.outer(2 * np.arange(height), np.arange(width)) + 5 * number) % 180 + 32
    frame = av.VideoFrame(width, height, pix_fmt)
    bits = frame.format.components[0].bits
    for index, plane in enumerate(frame.planes):
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        samples = lines if bits == 8 else lines.view(np.uint16)
        if index in (0, 3):
            samples[:height, :width] = (ramp + noise) << (bits - 8)
        else:
            samples[...] = _NEUTRAL << (bits - 8)
    return frame


def _marker(stream: Any, fields: str | None) -> Callable[[av.VideoFrame], av.VideoFrame]:  # noqa: ANN401
    """Marks pictures as interlaced, which PyAV can't."""
    if fields is None:
        return lambda frame: frame
    graph = av.filter.Graph()
    source = graph.add_buffer(template=stream, time_base=Fraction(1, _RATE))
    graph.link_nodes(source, graph.add("setfield", f"mode={fields}"), graph.add("buffersink")).configure()

    def mark(frame: av.VideoFrame) -> av.VideoFrame:
        graph.vpush(frame)
        return graph.vpull()

    return mark


def _write_sound(container: Any, stream: Any, number: int) -> None:  # noqa: ANN401
    size = stream.codec_context.frame_size or 1024
    kind = stream.codec_context.format.name
    sample = {"flt": np.float32, "s16": np.int16, "s32": np.int32}[kind[:3]]
    for start in range(0, 19200, size):
        tone = np.sin((start + np.arange(size)) * (number + 1) / 20) * 0.25
        samples = (tone * (1 if sample is np.float32 else np.iinfo(sample).max)).astype(sample)  # type: ignore[type-var]
        shape = np.stack([samples, samples]) if kind.endswith("p") else np.repeat(samples, 2)[None]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(shape), kind, "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _write_text(container: Any, stream: Any) -> None:  # noqa: ANN401
    for number, start_ms in enumerate((40, 200)):
        text = f"{number},0,Default,,0,0,0,,Zeile {number}".encode()
        packet = stream.codec_context.encode_subtitle(SubtitleSet.create(text=text, start=0, end=100))
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = start_ms
        packet.duration = 100
        container.mux(packet)


def _chapter(number: int) -> Any:  # noqa: ANN401  (PyAV's)
    start, end = number * 200, (number + 1) * 200
    return {
        "id": number + 1,
        "start": start,
        "end": end,
        "time_base": Fraction(1, 1000),
        "metadata": {"title": f"Act {number}"},
    }


def make_scans(folder: Path, kind: str, *, depth: int) -> Path | None:
    """Five grey pictures of a kind, numbered 86400 to 86405 with a gap; None where the kind has no such depth."""
    if depth not in {"dpx": (8, 10, 12, 16), "jpg": (8,)}.get(kind, (8, 16)):
        return None
    folder.mkdir(parents=True)
    for number in (86400, 86401, 86402, 86404, 86405):
        (folder / f"scan_{number:07}.{kind}").write_bytes(_scan(number, kind, depth))
    return folder


def _scan(number: int, kind: str, depth: int) -> bytes:
    luma = _frame(number - 86400, *_SIZE, "gray" if depth == 8 else f"gray{depth}le").to_ndarray()
    grey: npt.NDArray[Any] = luma.astype(np.uint8 if depth == 8 else np.uint16)
    rgb = np.dstack([grey] * 3)
    name = f"scan_{number:07}.{kind}"
    if kind == "dpx":
        head = bytearray(dpx.write(rgb, depth, None, name)[:2048])
        head[1628:1636] = np.array([2, 1], ">u4").tobytes()
        head[1724:1728] = np.array([18.0], ">f4").tobytes()
        head[1920:1924] = bytes.fromhex("01000000")
        return dpx.write(rgb, depth, dpx.read_header(bytes(head) + bytes(64), name), name)
    noted = Notes(exif=described(Notes(), "Scanner 7"), icc=icc_profile(), dpi=(2400.0, 2400.0))
    if kind == "tif":
        return _tiff(grey, noted)
    kinds = [cv2.IMAGE_METADATA_EXIF, cv2.IMAGE_METADATA_ICCP]
    chunks = [np.frombuffer(each, np.uint8) for each in (noted.exif, noted.icc)]
    coded = cv2.imencodeWithMetadata(f".{kind}", rgb, kinds, chunks)[1].tobytes()
    return notes.with_dpi(coded, noted.dpi)


def icc_profile(space: bytes = b"RGB ") -> bytes:
    """The smallest ICC profile that libpng takes: a header of four bytes' colour space and no tags."""
    head = struct.pack(">I4sI4s4s4s12x4s", 132, b"none", 0x02400000, b"mntr", space, b"XYZ ", b"acsp")
    light = struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)  # D50
    return (head.ljust(68, b"\0") + light).ljust(132, b"\0")


def _tiff(grey: npt.NDArray[Any], noted: Notes) -> bytes:
    held = io.BytesIO()
    with tifffile.TiffWriter(held) as writer:
        writer.write(grey, photometric="minisblack", metadata=None, **notes.tiff_options(noted, ""))
    return held.getvalue()
