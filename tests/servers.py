"""Servers as small as they can be: HTTP, RTSP and RTMP that send one film, and a player that FFmpeg makes listen."""

import io
import re
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

import av


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def is_listening(port):
    """Looked up and not tried: a listener of FFmpeg's takes one connection, and that would be ours."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)


class Listener:
    """A player that waits for whoever sends: FFmpeg as the server."""

    def __init__(self, url, port, **options):
        self.times, self.lumas, self.sounds, self.error = [], [], 0, None
        self.pictures, self.heard = [], []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._play, args=(url, options))
        self._thread.start()
        while not is_listening(port):
            assert self._thread.is_alive(), self.error
            time.sleep(0.01)

    def _play(self, url, options):
        try:
            with av.open(url, options=options, timeout=(20, 5)) as film:
                for packet in film.demux():
                    if self._stopped.is_set():
                        return
                    if packet.stream.type == "audio" and packet.size:
                        self.sounds += 1
                        self.heard.append((float((packet.pts or 0) * packet.time_base), bytes(packet)))
                    for frame in packet.decode() if packet.stream.type == "video" else ():
                        self.pictures.append((frame.time, frame.to_ndarray()[: frame.height]))
                        self.times.append(frame.time)
                        self.lumas.append(int(frame.to_ndarray()[frame.height - 1, frame.width - 1]))
        except OSError as error:
            self.error = error  # RTMP ends so when the sender hangs up

    def die(self):
        """Hangs up with the next packet."""
        self._stopped.set()
        self.wait()

    def wait(self):
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextmanager
def serving(talk, port=0):
    """A TCP server whose every connection is `talk(connection, dead)`; all break when it dies."""
    dead, listener, talks, open_ones = threading.Event(), socket.create_server(("127.0.0.1", port)), [], []

    def work(connection):
        with connection, suppress(OSError):
            talk(connection, dead)

    def take():
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_ones.append(connection)
                talks.append(threading.Thread(target=work, args=(connection,)))
                talks[-1].start()

    taker = threading.Thread(target=take)
    taker.start()
    try:
        yield listener.getsockname()[1]
    finally:
        dead.set()
        for one in (listener, *open_ones):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (taker, *talks):
            thread.join()


def http(film):
    """Sends the file, slowly, as a stream that never ends."""
    data = Path(film).read_bytes()

    def talk(connection, dead):
        while b"\r\n\r\n" not in connection.recv(4096):
            pass
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
        for start in range(0, len(data), 4096):
            connection.sendall(data[start : start + 4096])
            if dead.wait(0.01):
                return
        dead.wait(30)

    return talk


def download(film, *, ranges=True, length=True, breaks=0, refuses=0, then=None):
    """Sends the file as servers of files do; `breaks` times it hangs up in the middle of what was asked for, and says
    nothing to the `refuses` that come then. then: another file, which it has from the second request on.
    """
    asked = chain([film], repeat(then or film))
    trouble = ["break"] * breaks + ["refuse"] * refuses
    return _files(lambda path: Path(next(asked)).read_bytes(), ranges=ranges, length=length, trouble=trouble)


def folder(root):
    """Sends the files of a folder."""
    return _files(lambda path: (Path(root) / path.lstrip("/")).read_bytes())


def _files(read, *, ranges=True, length=True, trouble=()):
    troubles = iter(trouble)

    def talk(connection, dead):
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += connection.recv(4096)
        trouble = next(troubles, "")
        if trouble == "refuse":
            return
        data, begin = read(asked.split()[1].decode()), re.search(rb"(?i)range: bytes=(\d+)-", asked)
        start = int(begin[1]) if begin and ranges else 0
        lines = ["HTTP/1.1 206 Partial Content" if start else "HTTP/1.1 200 OK", "Connection: close"]
        lines += [f"Content-Length: {len(data) - start}"] if length else []
        lines += [f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}"] if start else []
        lines += ["Accept-Ranges: bytes"] if ranges else []
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        connection.sendall(data[start : (start + len(data)) // 2] if trouble == "break" else data[start:])

    return talk


def rtsp(film):
    """Plays the film's pictures over RTSP, interleaved in the one connection, at their own pace."""
    with av.open(str(film)) as opened:
        packets = [bytes(packet) for packet in opened.demux(video=0) if packet.size]

    def talk(connection, dead):
        asked = connection.makefile("rb")
        while (line := asked.readline().decode()).strip():
            verb, url, _ = line.split()
            heads = dict(one.decode().strip().split(": ", 1) for one in iter(asked.readline, b"\r\n"))
            lines, body = [f"CSeq: {heads['CSeq']}", "Session: 1"], ""
            if verb == "DESCRIBE":
                body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                body += "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:0\r\n"
                lines += ["Content-Type: application/sdp", f"Content-Base: {url}/", f"Content-Length: {len(body)}"]
            if verb == "SETUP":
                lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            connection.sendall(("\r\n".join(["RTSP/1.0 200 OK", *lines, "", ""]) + body).encode())
            if verb == "PLAY":
                break
        sequence = 0
        for number, packet in enumerate(packets):
            units = [unit for unit in packet.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
            for unit in units:
                last = 0x80 if unit is units[-1] else 0
                data = struct.pack(">BBHII", 0x80, last | 96, sequence & 0xFFFF, number * 3600, 7) + unit
                connection.sendall(struct.pack(">BBH", 0x24, 0, len(data)) + data)
                sequence += 1
            if dead.wait(0.02):
                return

    return talk


def rtmp(film):
    """Plays the film over RTMP, at its own pace."""
    flv = io.BytesIO()
    with av.open(str(film)) as opened, av.open(flv, "w", format="flv") as made:
        stream = made.add_stream_from_template(opened.streams.video[0])
        for packet in opened.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    tags = list(_tags(flv.getvalue()))

    def talk(connection, dead):
        heard = b""
        while len(heard) < 1537:
            heard += connection.recv(1537 - len(heard))
        connection.sendall(b"\x03" + bytes(1536) + heard[1:])  # zeros: a server too old to sign its answer
        connection.sendall(_message(1, struct.pack(">I", 1 << 20)))  # chunks as large as they come
        heard = b""
        info = {"level": "status", "code": "NetStream.Play.Start"}
        for word, answer, then in (
            (b"connect", "_result", ({}, {"level": "status", "code": "NetConnection.Connect.Success"})),
            (b"createStream", "_result", (None, 1.0)),
            (b"\0\4play", "onStatus", (None, info)),
        ):
            while word not in heard or len(heard) < heard.index(word) + len(word) + 9:
                heard += connection.recv(4096)
            rest = heard[heard.index(word) + len(word) + 1 :]
            number = 0.0 if answer == "onStatus" else struct.unpack(">d", rest[:8])[0]
            connection.sendall(_message(20, b"".join(map(_amf, (answer, number, *then)))))
        for kind, time_ms, data in tags:
            connection.sendall(_message(kind, data, time_ms))
            if dead.wait(0.02):
                return

    return talk


def _tags(flv):
    at = 13
    while at < len(flv):
        kind, size, time_ms = flv[at], int.from_bytes(flv[at + 1 : at + 4]), int.from_bytes(flv[at + 4 : at + 7])
        yield kind, time_ms, flv[at + 11 : at + 11 + size]
        at += 15 + size


def _message(kind, data, time_ms=0):
    head = b"\x03" + time_ms.to_bytes(3) + len(data).to_bytes(3) + bytes([kind]) + (1).to_bytes(4, "little")
    return head + data


def _amf(value):
    if value is None:
        return b"\5"
    if isinstance(value, float):
        return b"\0" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"\2" + struct.pack(">H", len(value)) + value.encode()
    inner = b"".join(struct.pack(">H", len(name)) + name.encode() + _amf(one) for name, one in value.items())
    return b"\3" + inner + b"\0\0\t"
