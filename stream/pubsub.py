"""ZeroMQ, and nothing else here knows it: Publisher, Subscriber, and the control socket's Responder and Requester.

    with Publisher(resolve("reel")) as publisher:
        publisher.send(frame, capture_ns=time.monotonic_ns())

    with Subscriber(resolve("reel", connect=True)) as subscriber:
        message = subscriber.receive(timeout_s=1)

A socket belongs to the thread that made it. Each object has a context of its own, so that closing one is complete.
"""

import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeAlias

import numpy as np
import zmq

from stream.endpoint import Endpoint
from stream.errors import InputError, OutputError
from stream.film import Info
from stream.frame import Frame
from stream.guard import ADDRESS, Guard
from stream.jpeg import encode_picture
from stream.keys import Pair, Security
from stream.ledger import Ledger
from stream.ring import Ring
from stream.wire import (
    FRAME,
    HEARTBEAT,
    JPEG,
    MAX_ASPECT,
    MAX_PARTS,
    MAX_RATE,
    Heartbeat,
    JpegMessage,
    Message,
    Part,
    Stamp,
    WireError,
    decode,
    encode_frame,
    encode_heartbeat,
    encode_jpeg,
)

HIGH_WATER: Final = 4
"""Messages that wait for a slow peer; ZeroMQ's default of 1000 is 6 GB at 1080p."""
BEAT_S: Final = 1.0
MAX_SUBSCRIPTION: Final = 64
"""Bytes that a subscriber may send at once; longer ones cost it the connection."""
MAX_STRANGERS: Final = 1000
"""Subscriptions to what doesn't exist that are borne before the socket is opened anew: each holds memory in ZeroMQ."""
MAX_PART: Final = 1 << 26
"""Bytes of a part that a subscriber takes unless told otherwise: 8-bit planes of up to 67 million pixels."""
MAX_REQUEST: Final = 4096
SILENCE_S = 5.0
"""Without even a heartbeat for so long a subscriber connects anew: ZeroMQ itself never does after a part too large."""
_LINGER_MS: Final = 1000
_GONE_S: Final = 0.1
_SLICE_S: Final = 0.1
Socket: TypeAlias = "zmq.Socket[bytes]"


def boot_id() -> str:
    """Tells hosts and their boots apart: monotonic clocks start at a boot. Empty where the system doesn't say."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.is_file() else ""


def new_pair() -> Pair:
    """A fresh CURVE key pair."""
    public, secret = zmq.curve_keypair()
    return Pair(public=public.decode(), secret=secret.decode())


def _bind(socket: Socket, endpoint: Endpoint) -> str:
    """Binds, for the owner alone where the socket is a file; returns the address with its real port."""
    endpoint.check_free()
    mask = os.umask(0o177)
    try:
        socket.bind(endpoint.address)
    except zmq.ZMQError as error:
        raise OutputError(f"{endpoint}: can't be opened ({error.strerror}); choose another endpoint") from error
    finally:
        os.umask(mask)
    return str(socket.get_string(zmq.LAST_ENDPOINT))


class _Peer:
    """What all four share: a context, a socket, keys, and closing."""

    def __init__(self, kind: int, security: Security, endpoint: Endpoint, *, binds: bool) -> None:
        # Keys are read before anything is opened, so that a wrong one leaves nothing open.
        self._pair = security.pair()
        self._server = security.server() if self._pair and not binds else None
        allowed = security.allowed() if self._pair and binds else None
        self._context = zmq.Context()
        self._kind = kind
        # Only where an address asks for it: with it a name would be looked up as IPv6 first.
        self._six = "[" in endpoint.address
        self._guard = None
        if allowed is not None:
            door = self._context.socket(zmq.REP)
            door.bind(ADDRESS)
            self._guard = Guard(door, allowed)
        self._socket = self._make()

    @property
    def encrypted(self) -> bool:
        """Keys protect the link."""
        return self._pair is not None

    def _make(self) -> Socket:
        socket: Socket = self._context.socket(self._kind)
        socket.set(zmq.IPV6, self._six)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, HIGH_WATER)
        socket.set(zmq.RCVHWM, HIGH_WATER)
        # A peer that has gone without a word (a cable, a suspended laptop) is let go of.
        socket.set(zmq.HEARTBEAT_IVL, 5000)
        socket.set(zmq.HEARTBEAT_TIMEOUT, 15000)
        if self._pair is not None:
            socket.set(zmq.CURVE_PUBLICKEY, self._pair.public.encode())
            socket.set(zmq.CURVE_SECRETKEY, self._pair.secret.encode())
            if self._server is None:
                socket.set(zmq.CURVE_SERVER, 1)
            else:
                socket.set(zmq.CURVE_SERVERKEY, self._server.encode())
        return socket

    def close(self) -> None:
        """Lets go of the socket; what is still queued has a second."""
        if not self._context.closed:
            self._socket.close()
            if self._guard is not None:
                self._guard.close()
            self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Publisher(_Peer):
    """Sends pictures to whoever listens: planes on one topic, JPEG on the other, each only where it is asked for."""

    def __init__(self, endpoint: Endpoint, *, security: Security | None = None, look: str = "natural") -> None:
        self._pushes = endpoint.kind == "push"
        super().__init__(zmq.PUSH if self._pushes else zmq.XPUB, security or Security(), endpoint, binds=True)
        self._endpoint = endpoint
        try:
            self.address = self._open(endpoint)
        except OutputError:
            self.close()
            raise
        self.stream = uuid.uuid4().hex
        self.look = look
        self.rate: Fraction | None = None
        """What subscribers are told of the pictures, beside the look (stream/wire.py, Stamp)."""
        self.pixel_aspect = Fraction(1)
        self.counts: Counter[str] = Counter()
        """sent, copied (no buffer was free), dropped (nobody took it in time), rejected, reopened."""
        self._boot = boot_id()
        self._seq = {FRAME: -1, JPEG: -1}
        self._asked: Counter[bytes] = Counter()
        self._strangers = 0
        self._next_beat = time.monotonic()
        self._ring = Ring()

    def _open(self, endpoint: Endpoint) -> str:
        self._socket.set(zmq.LINGER, _LINGER_MS)
        if self._pushes:
            self._socket.set(zmq.IMMEDIATE, 1)  # nothing is queued for a consumer that isn't there yet
        else:
            self._socket.set(zmq.XPUB_VERBOSER, 1)
            # CURVE's greeting counts too, and has 257 bytes beside its metadata.
            self._socket.set(zmq.MAXMSGSIZE, 1024 if self.encrypted else MAX_SUBSCRIPTION)
            self._socket.set(zmq.RCVHWM, MAX_STRANGERS)
        address = _bind(self._socket, endpoint)
        if endpoint.path is not None:
            endpoint.path.chmod(0o600)
        return address

    def describe(self, info: Info) -> None:
        """What subscribers are told of the source of the pictures that follow."""
        rate, aspect = info.frame_rate, info.pixel_aspect
        self.rate = rate if rate is not None and 0 < rate <= MAX_RATE else None
        self.pixel_aspect = aspect if Fraction(1, MAX_ASPECT) <= aspect <= MAX_ASPECT else Fraction(1)

    def listeners(self, topic: str) -> bool:
        """Whether anybody wants this topic."""
        if self._pushes:
            return topic == (JPEG if self.encrypted else FRAME)
        self._hear()
        return any(count > 0 and topic.encode().startswith(asked) for asked, count in self._asked.items())

    def send(self, frame: Frame, *, capture_ns: int, timeout_s: float = 0.0) -> bool:
        """Publishes a picture; PUSH waits up to `timeout_s` for room, XPUB never does.

        False: PUSH's consumer did not take it. Send it again, or `skip` it.
        """
        taken = True
        for topic in (FRAME, JPEG):
            if not self._pushes:
                self._seq[topic] += 1
            if not self.listeners(topic):
                continue
            if self._pushes:
                if not self._socket.poll(round(timeout_s * 1000), zmq.POLLOUT):
                    self.counts["dropped"] += 1
                    taken = False
                    continue
                self._seq[topic] += 1
            self._ship(self._encode(topic, frame, capture_ns))
            self.counts["sent"] += 1
        self.beat()
        return taken

    def skip(self) -> None:
        """Gives up the picture that PUSH's consumer did not take: its number is used up, so that the gap shows."""
        self._seq[JPEG if self.encrypted else FRAME] += 1

    def _encode(self, topic: str, frame: Frame, capture_ns: int) -> list[Part]:
        stamp = Stamp(
            stream=self.stream,
            seq=self._seq[topic],
            capture_ns=capture_ns,
            publish_ns=time.monotonic_ns(),
            wall_ns=time.time_ns(),
            boot=self._boot,
            look=self.look,
            rate=self.rate,
            pixel_aspect=self.pixel_aspect,
        )
        if topic == FRAME:
            return encode_frame(stamp, frame)
        jpeg, (width, height) = encode_picture(frame)
        stamp_now = Stamp(**{**vars(stamp), "publish_ns": time.monotonic_ns(), "wall_ns": time.time_ns()})
        message = JpegMessage(
            stamp=stamp_now, width=width, height=height, pts=frame.pts, time_base=frame.time_base, jpeg=jpeg
        )
        return encode_jpeg(message)

    def _ship(self, parts: list[Part]) -> None:
        """Sends without copying: the payload goes into a buffer that stays untouched until ZeroMQ lets go of it."""
        head, payload = parts[:2], parts[2:]
        buffer = self._ring.take(sum(len(part) for part in payload))
        if buffer is None:
            self.counts["copied"] += 1
            self._socket.send_multipart(parts, copy=True, flags=zmq.DONTWAIT)
            return
        at, messages = 0, []
        for part in payload:
            view = buffer.view[at : at + len(part)]
            view[:] = np.frombuffer(part, np.uint8)
            messages.append(zmq.Frame(view.data, track=True))
            at += len(part)
        for part in head:
            self._socket.send(part, flags=zmq.SNDMORE | zmq.DONTWAIT)
        for number, message in enumerate(messages):
            more = zmq.SNDMORE if number + 1 < len(messages) else 0
            self._socket.send(message, flags=more | zmq.DONTWAIT, copy=False)
        trackers = [message.tracker for message in messages]
        buffer.busy = lambda: not all(tracker.done for tracker in trackers)

    def beat(self, *, ended: bool = False) -> None:
        """Sends a heartbeat if one is due."""
        now = time.monotonic()
        if now < self._next_beat and not ended:
            return
        self._next_beat = now + BEAT_S
        beat = Heartbeat(
            stream=self.stream,
            last_seq=dict(self._seq),
            publish_ns=time.monotonic_ns(),
            wall_ns=time.time_ns(),
            boot=self._boot,
            ended=ended,
        )
        if self._pushes and not self._socket.poll(0, zmq.POLLOUT):
            return
        if self._pushes or self.listeners(HEARTBEAT):
            self._socket.send_multipart(encode_heartbeat(beat), flags=zmq.DONTWAIT)

    def _hear(self) -> None:
        """Takes in who subscribed to what. Anything else that peers send is rejected and counted."""
        while True:
            try:
                parts = self._socket.recv_multipart(flags=zmq.DONTWAIT)
            except zmq.Again:
                return
            word = parts[0]
            known = any(topic.encode().startswith(word[1:]) for topic in (FRAME, JPEG, HEARTBEAT))
            if len(parts) != 1 or word[:1] not in (b"\0", b"\1") or not known:
                self.counts["rejected"] += 1
                self._strangers += 1
                if self._strangers > MAX_STRANGERS:
                    self._reopen()
                    return
            else:
                self._asked[word[1:]] += 1 if word[:1] == b"\1" else -1

    def _reopen(self) -> None:
        """Drops every connection and with them what hostile ones made ZeroMQ hold; friends come back by themselves."""
        self.counts["reopened"] += 1
        self._strangers = 0
        self._asked.clear()
        self._socket.close(linger=0)
        self._socket = self._make()
        # The port that was given for tcp://...:* has to be the same again, and is free a moment later.
        endpoint = Endpoint(address=self.address, kind=self._endpoint.kind)
        deadline = time.monotonic() + 5
        # Where ZeroMQ removes the file it does so last, and a new one made before would go with it; 4.3.5 leaves it.
        gone_by = time.monotonic() + _GONE_S
        while endpoint.path is not None and endpoint.path.exists() and time.monotonic() < gone_by:
            time.sleep(0.005)
        while True:
            try:
                self._open(endpoint)
                return
            except OutputError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def close(self) -> None:
        """Says that nothing follows, and lets go."""
        if not self._context.closed and hasattr(self, "_ring"):
            with suppress(zmq.ZMQError):
                self.beat(ended=True)
        super().close()


class Subscriber(_Peer):
    """Receives what a Publisher sends; whatever else arrives is rejected and counted."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        security: Security | None = None,
        topic: str | None = None,
        max_part: int = MAX_PART,
    ) -> None:
        pulls = endpoint.kind == "push"
        super().__init__(zmq.PULL if pulls else zmq.SUB, security or Security(), endpoint, binds=False)
        self.topic = topic or (JPEG if self.encrypted else FRAME)
        self.ledger = Ledger(topic=self.topic)
        self.rejected: Counter[str] = Counter()
        self.reconnects = 0
        self._boot = boot_id()
        self._endpoint = endpoint
        self._heard = time.monotonic()
        self._socket.set(zmq.MAXMSGSIZE, max_part)
        if not pulls:
            # Heartbeats second: once they come, the pictures they speak of come too.
            self._socket.subscribe(self.topic)
            self._socket.subscribe(HEARTBEAT)
        try:
            self._socket.connect(endpoint.address)
        except zmq.ZMQError as error:
            self.close()
            raise InputError(f"{endpoint}: can't be connected to ({error.strerror})") from error

    def receive(self, timeout_s: float) -> Message | None:
        """The next message that is whole; None when none came in time. Pictures and heartbeats are in the ledger."""
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            if not self._socket.poll(round(1000 * min(left_s, SILENCE_S))):
                if time.monotonic() - self._heard > SILENCE_S:
                    self._connect_anew()
                if left_s > SILENCE_S:
                    continue
                return None
            self._heard = time.monotonic()
            parts = self._take_parts()
            try:
                message = decode(parts)
            except WireError as error:
                self.rejected[str(error)[:60] if len(self.rejected) < 100 else "others"] += 1
                continue
            if isinstance(message, Heartbeat) or message.stamp.seq >= 0:
                self.ledger.note(message, now_ns=time.monotonic_ns(), boot=self._boot)
            return message

    def _connect_anew(self) -> None:
        self._heard = time.monotonic()
        self.reconnects += 1
        with suppress(zmq.ZMQError):  # there may be nothing left to disconnect
            self._socket.disconnect(self._endpoint.address)
        self._socket.connect(self._endpoint.address)

    def _take_parts(self) -> list[Part]:
        """The parts of a message; of too many only the first are kept."""
        parts: list[Part] = []
        while True:
            part = self._socket.recv(copy=False)
            if len(parts) <= MAX_PARTS:
                parts.append(part.buffer)
            if not part.more:
                return parts


class Answer(Protocol):
    """What a control request is answered with."""

    def __call__(self, request: bytes) -> tuple[dict[str, Any], bytes | None]:
        """A JSON object, and bytes that go with it or None."""


class Responder(_Peer):
    """The control socket: one JSON request, one JSON reply (stream/control.py says which)."""

    def __init__(self, endpoint: Endpoint, *, security: Security | None = None) -> None:
        super().__init__(zmq.REP, security or Security(), endpoint, binds=True)
        self._socket.set(zmq.MAXMSGSIZE, MAX_REQUEST)
        self._socket.set(zmq.LINGER, _LINGER_MS)
        try:
            self.address = _bind(self._socket, endpoint)
        except OutputError:
            self.close()
            raise

    def serve(self, answer: Answer, wanted: Callable[[], bool]) -> None:
        """Answers until `wanted` says no."""
        while wanted():
            if not self._socket.poll(round(_SLICE_S * 1000)):
                continue
            try:
                # Not waiting: REP says that it can be read before it throws away a request without an envelope.
                parts = self._socket.recv_multipart(flags=zmq.DONTWAIT)
            except zmq.Again:
                continue
            reply, attachment = answer(parts[0] if len(parts) == 1 else b"")
            message = [json.dumps(reply).encode()] + ([] if attachment is None else [attachment])
            self._socket.send_multipart(message)


class Requester(_Peer):
    """The other side of the control socket."""

    def __init__(self, endpoint: Endpoint, *, security: Security | None = None) -> None:
        super().__init__(zmq.REQ, security or Security(), endpoint, binds=False)
        self._socket.set(zmq.REQ_RELAXED, 1)
        self._socket.set(zmq.REQ_CORRELATE, 1)
        self._socket.connect(endpoint.address)

    def ask(self, request: dict[str, Any], *, timeout_s: float = 5.0) -> tuple[dict[str, Any], bytes | None]:
        """The reply and what goes with it; InputError when none comes in time."""
        self._socket.send(json.dumps(request).encode())
        if not self._socket.poll(round(timeout_s * 1000)):
            raise InputError(f"no answer from the control socket within {timeout_s:g} s; is kinochrome live running?")
        parts = self._socket.recv_multipart()
        return json.loads(parts[0]), parts[1] if len(parts) > 1 else None
