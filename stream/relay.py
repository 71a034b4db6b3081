"""Sends a recording on to a server, in a process of its own; the film comes as NUT on stdin.

python -P stream/relay.py flv rtmp://host/app/key 10 < film.nut

PyAV opens and ends outputs with Python's lock held and without a timeout: in the recorder's own process a server that
accepts and then says nothing would stop every other sink, the page and Ctrl-C with it. Imports nothing of ours.
"""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import av
import av.error
import av.logging

TIMEOUT_S: Final = 10.0
"""Without an answer for so long the server counts as gone, and this process ends."""
SILENT: Final = -signal.SIGALRM
"""The exit status that says so."""


def main(form: str, url: str, timeout_s: float) -> None:
    """Copies stdin's packets to `url` until they end."""
    # What FFmpeg logs becomes part of its exceptions; of their own these lines say too little to be shown.
    av.logging.set_level(av.logging.ERROR)
    logger = logging.getLogger("libav")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    # Ctrl-C and SIGTERM reach the whole group: the recorder then ends its film, and this process with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # SIGALRM's default ends the process wherever it hangs; a handler of Python's would wait for the lock.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    options = {"rtsp_transport": "tcp"} if form == "rtsp" else {}
    # All is in NUT's header: looking at more packets first would be lag.
    looks = {"protocol_whitelist": "pipe", "probesize": "32", "fpsprobesize": "0"}
    with av.open("pipe:0", format="nut", container_options=looks) as film:
        sink = av.open(url, "w", format=form, container_options=options)
        streams = [sink.add_stream_from_template(stream, opaque=True) for stream in film.streams]
        sink.metadata.update(film.metadata)
        try:
            with limited(timeout_s):
                sink.start_encoding()
            for packet in film.demux():
                if not packet.size:
                    continue
                # Looking so shortly it doesn't know the first one's; nothing here is out of order.
                packet.dts = packet.pts if packet.dts is None else packet.dts
                packet.stream = streams[packet.stream.index]
                # After a break of the source the times of its sound may step back by a packet.
                with limited(timeout_s), suppress(av.error.ArgumentError):
                    sink.mux(packet)
        finally:
            with limited(timeout_s):
                sink.close()


@contextmanager
def limited(timeout_s: float) -> Iterator[None]:
    """Ends the process if what is inside takes longer."""
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


def told(error: Exception) -> str:
    """The error in a line, with what FFmpeg logged about it."""
    logged = getattr(error, "log", None)
    reason = getattr(error, "strerror", None) or str(error)
    return " ".join(f"{reason}: {logged[2]}".split()) if logged else reason


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        sys.exit(told(error))
