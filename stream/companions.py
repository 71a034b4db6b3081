"""The other streams of a film: sound, subtitles, attachments and data go along, packet for packet."""

from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
import av.error
from av.audio.codeccontext import AudioCodecContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import DataStream, Discard, Disposition, Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream

from stream.container import open_film, read_packets
from stream.part import FULL
from stream.plan import Copied

# QuickTime knows these languages by their bibliographic code alone (ISO 639-2/B).
_QUICKTIME_LANGUAGES = {
    "deu": "ger",
    "nld": "dut",
    "isl": "ice",
    "ell": "gre",
    "zho": "chi",
    "sqi": "alb",
    "hye": "arm",
}
_CHANNELS = {1: "mono", 2: "stereo"}


class Companions:
    """The other streams of the film on their way from the input to the output."""

    def __init__(self, path: str, source: InputContainer | None, target: OutputContainer) -> None:
        """source: opened from `path`; None where the pictures come without any other stream."""
        self._path = path
        self._source = source
        self._target = target
        self._streams: dict[int, Stream] = {}
        self._converted: dict[int, tuple[SubtitleCodecContext, SubtitleCodecContext]] = {}
        self._packets: Iterator[Packet[Stream]] | None = None
        self._next: Packet[Stream] | None = None
        self.lost = 0

    def add(self, stream: Stream, fate: Copied) -> None:
        """Declares the output's stream for one of the input's."""
        if fate.how == "attachment":
            self._attach(stream)
            return
        if fate.how == "subtitles":
            copy = self._convert(stream, fate.codec)
        elif isinstance(stream, DataStream):
            copy = self._target.add_data_stream(stream.name)
        else:
            copy = self._target.add_stream_from_template(stream, opaque=True)
            _name_channels(copy)
        copy.metadata.update(stream.metadata)
        if self._target.format.name == "mov" and stream.language in _QUICKTIME_LANGUAGES:
            copy.metadata["language"] = _QUICKTIME_LANGUAGES[stream.language]
        copy.disposition = stream.disposition
        self._streams[stream.index] = copy

    def _attach(self, stream: Stream) -> None:
        if stream.type == "attachment":
            self._target.add_stream_from_template(stream)
            return
        # FFmpeg shows a picture attached to a Matroska file as a video stream of one packet.
        with open_film(self._path) as film:  # by itself: FFmpeg can't seek back to sound that begins before 0
            picture = bytes(next(read_packets(film, (film.streams[stream.index],))))
        kind = stream.codec_context.name
        name = stream.metadata.get("filename", f"cover.{kind.replace('mjpeg', 'jpg')}")
        mime = stream.metadata.get("mimetype", f"image/{kind.replace('mjpeg', 'jpeg')}")
        self._target.add_attachment(name, mime, picture)

    def _convert(self, stream: Stream, codec: str) -> Stream:
        decoder = cast(SubtitleCodecContext, stream.codec_context)
        decoder.open(strict=False)
        copy = cast(SubtitleStream, self._target.add_stream(codec))
        copy.codec_context.subtitle_header = decoder.subtitle_header
        copy.codec_context.time_base = copy.time_base = stream.time_base or Fraction(1, 1000)
        self._converted[stream.index] = (decoder, copy.codec_context)
        return copy

    def advance(self, until_s: float | None) -> None:
        """Writes what comes up to this time; None: all the rest."""
        if not self._streams or self._source is None:
            return
        if self._packets is None:
            for stream in self._source.streams:
                if stream.index not in self._streams:
                    stream.discard = Discard.all
            wanted = [self._source.streams[index] for index in self._streams]
            self._packets = (packet for packet in read_packets(self._source, wanted) if packet.size)
            self._next = next(self._packets, None)
        while self._next is not None and (until_s is None or _time_s(self._next) <= until_s):
            self._write(self._next)
            self._next = next(self._packets, None)

    def _write(self, packet: "Packet[Stream]") -> None:
        index = packet.stream_index
        if index in self._converted:
            converted = self._convert_packet(packet)
            if converted is None:
                return
            packet = converted
        packet.stream = self._streams[index]
        try:
            self._target.mux(packet)
        except av.error.FFmpegError as error:
            if error.errno in FULL:
                raise
            self.lost += 1

    def _convert_packet(self, packet: "Packet[Stream]") -> "Packet[Stream] | None":
        decoder, encoder = self._converted[packet.stream_index]
        text = decoder.decode2(packet)
        if text is None or not len(text):
            return None  # mp4 fills the pauses between subtitles with empty packets
        converted = encoder.encode_subtitle(text)
        converted.time_base = packet.time_base
        converted.pts = converted.dts = packet.pts
        converted.duration = packet.duration
        return converted

    def close(self) -> None:
        """Lets go of the input."""
        if self._source is not None:
            self._source.close()


def goes_into_fragments(stream: Stream) -> bool:
    """Not AAC with the headers of transport streams, which is refused; nor a cover, which leaves an empty track."""
    context = stream.codec_context
    headers = context is not None and context.name == "aac" and not context.extradata
    return not headers and not stream.disposition & Disposition.attached_pic


def _name_channels(stream: Stream) -> None:
    """AVI and others say how many channels there are and not which; mp4 refuses that."""
    context = stream.codec_context
    if isinstance(context, AudioCodecContext) and context.layout.name == f"{context.channels} channels":
        context.layout = _CHANNELS.get(context.channels, context.layout.name)


def _time_s(packet: "Packet[Stream]") -> float:
    """When the packet is due; a cover has no time and comes first."""
    time = packet.dts if packet.dts is not None else packet.pts
    return float(time * packet.time_base) if time is not None else float("-inf")
