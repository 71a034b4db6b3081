"""What a subscriber received and what it lost: by sequence numbers, and by heartbeats where no picture follows."""

from collections import Counter, deque
from dataclasses import dataclass, field

from stream.wire import FrameMessage, Heartbeat, JpegMessage, Message

_RECENT = 2000


@dataclass(kw_only=True)
class Ledger:
    """The account of one topic of one publisher. Whoever joins late has lost nothing that was sent before."""

    topic: str
    received: int = 0
    lost: int = 0
    repeated: int = 0
    """Numbers that had been seen, or were counted as lost."""
    restarts: int = 0
    """How often another stream took the place of the last one."""
    ended: bool = False
    """The publisher said that nothing follows."""
    stream: str | None = None
    last_seq: int | None = None
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    """From capture to here, of the most recent pictures of the same host."""
    looks: Counter[str] = field(default_factory=Counter)

    def note(self, message: Message, *, now_ns: int, boot: str) -> int:
        """Takes a message in; returns how many pictures turned out to be lost by it."""
        if isinstance(message, Heartbeat):
            self._follow(message.stream)
            self.ended = message.ended
            if self.topic not in message.last_seq:
                return 0
            return self._expect(message.last_seq[self.topic])
        return self._count(message, now_ns, boot)

    def _count(self, message: FrameMessage | JpegMessage, now_ns: int, boot: str) -> int:
        stamp = message.stamp
        self._follow(stamp.stream)
        if self.last_seq is not None and stamp.seq <= self.last_seq:
            self.repeated += 1
            return 0
        lost = self._expect(stamp.seq - 1)
        self.last_seq = stamp.seq
        self.received += 1
        if len(self.looks) < _RECENT:
            self.looks[stamp.look] += 1
        if boot and stamp.boot == boot:
            self.latencies_ms.append((now_ns - stamp.capture_ns) / 1e6)
        return lost

    def _follow(self, stream: str) -> None:
        if stream != self.stream:
            self.restarts += self.stream is not None
            self.stream, self.last_seq, self.ended = stream, None, False

    def _expect(self, seq: int) -> int:
        """Everything up to `seq` has been sent."""
        lost = 0 if self.last_seq is None else max(0, seq - self.last_seq)
        self.lost += lost
        self.last_seq = seq if self.last_seq is None else max(self.last_seq, seq)
        return lost

    def percentiles(self) -> dict[str, float] | None:
        """Latency in ms at 50, 95 and 99 % of the most recent pictures; None without any of this host."""
        return percentiles(self.latencies_ms)


def percentiles(values: "deque[float] | list[float]") -> dict[str, float] | None:
    """The values at 50, 95 and 99 %; None without any."""
    ordered = sorted(values)
    if not ordered:
        return None
    return {
        f"p{share}": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 2) for share in (50, 95, 99)
    }
