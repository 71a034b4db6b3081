"""The coded pictures of one segment, in a file of their own (stream/packets.py), to be joined without coding again."""

from contextlib import AbstractContextManager

import av
import av.error
from av.packet import Packet
from av.video.stream import VideoStream

from stream.film import Info
from stream.frame import Frame, checksum
from stream.mux import Writer, clock_of
from stream.packets import Coded, PacketFile
from stream.part import GOES_ON, naming_failures
from stream.plan import Output


class SegmentWriter(Writer):
    """Codes the pictures of one segment as `Writer` would, into a file of their own; nothing goes along.

    Every segment begins with a picture that needs no other, and no picture needs one of another segment.
    """

    def __init__(self, output: Output, info: Info, file: PacketFile) -> None:
        self._output = output
        self._info = info
        self._clock = clock_of(output, info)
        self._first_pts = self._last_pts = self._last_dts = None
        self._frames = 0
        self._sums: dict[int, str] = {}
        self._file = file
        # Nothing is written to it; it makes the encoder what it will be in the finished film.
        self._container = av.open(f"none.{output.container}", "w", format=output.container)
        self._stream = self._add_encoder(self._container)

    def write(self, frame: Frame) -> None:
        """Codes one picture."""
        with self._naming_failures():
            packets = self._encode(frame)
            if self._output.lossless:  # what the proof is made of (stream/proof.py)
                self._sums[self.last_pts] = checksum(frame.luma)
            self._keep(packets)

    def close(self) -> None:
        """Codes what the encoder still holds."""
        with self._naming_failures():
            self._keep(self._flush())
        self._container.close()

    def _abandon(self) -> None:
        self._container.close()

    def _naming_failures(self) -> AbstractContextManager[None]:
        return naming_failures(self._file.path, av.error.FFmpegError, kept=GOES_ON)

    def _keep(self, packets: "list[Packet[VideoStream]]") -> None:
        for packet in packets:
            if packet.pts is None or packet.dts is None:
                raise ValueError(f"{packet = }; an encoder states both times")
            luma_md5 = self._sums.pop(packet.pts, "")
            self._file.write(Coded(packet.pts, packet.dts, packet.is_keyframe, bytes(packet), luma_md5))
