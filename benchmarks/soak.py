"""A hundred thousand hostile messages at every socket: nothing crashes, friends are served, memory stays bounded.

python -m benchmarks.soak                      # make soak; minutes
python -m benchmarks.soak --messages 2000
"""

import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
import zmq
from rich.console import Console
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from benchmarks import results
from benchmarks.trial import Result
from stream.control import Controls
from stream.endpoint import resolve
from stream.frame import Frame
from stream.preview import Preview
from stream.pubsub import Publisher, Requester, Responder, Subscriber
from stream.switch import Setting
from stream.wire import FrameMessage, Stamp, encode_frame

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)
PICTURE: Final = Frame(planes=(np.zeros((48, 64), np.uint8),))
MOST_MB: Final = 100.0
"""More growth than this over a part is a failure."""


class SoakError(AssertionError):
    """A socket that did not stand it."""


@app.command()
def main(
    messages: Annotated[int, typer.Option(min=100, help="At each socket.")] = 100_000,
    out: Annotated[Path | None, typer.Option(help="Where to write the result.")] = None,
) -> None:
    """Sends nonsense to everything that listens."""
    result: Result = {"question": "what do hostile peers do?", "messages": messages} | results.origin()
    with tempfile.TemporaryDirectory(prefix="kinochrome-soak-") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        for part in (publisher, subscriber, control, websocket):
            before, started_s = _resident_mb(), time.monotonic()
            told = part(messages)
            row = told | {"growth_mb": round(_resident_mb() - before, 1), "s": round(time.monotonic() - started_s, 1)}
            console.print(part.__name__, row)
            if row["growth_mb"] > MOST_MB:
                raise SoakError(f"{part.__name__}: memory grew by {row['growth_mb']} MB")
            result[part.__name__] = row
    if out or messages >= 100_000:
        results.save(result, out or results.FOLDER / "soak.json")
    typer.echo(json.dumps(result))


def _nonsense(chance: random.Random) -> list[bytes]:
    """Random bytes, or a good message with something wrong in it."""
    stamp = Stamp(stream="a" * 32, seq=chance.randrange(9), capture_ns=1, publish_ns=2, wall_ns=3)
    parts = [bytes(part) for part in encode_frame(stamp, PICTURE)]
    kind = chance.randrange(6)
    if kind == 0:
        return [chance.randbytes(chance.randrange(300)) for _ in range(chance.randrange(1, 9))]
    if kind == 1:
        return parts[: chance.randrange(1, len(parts))]
    if kind == 2:
        return [parts[0], parts[1].replace(b'"width":64', b'"width":%d' % chance.randrange(65, 10**9)), parts[2]]
    if kind == 3:
        return [parts[0], parts[1].replace(b"kinochrome/1", b"kinochrome/%d" % chance.randrange(2, 99)), parts[2]]
    if kind == 4:
        return [parts[0], b"[" * 5000, parts[2]]
    return [parts[0], parts[1], parts[2] + b"x" * chance.randrange(1, 5000)]


def publisher(messages: int) -> Result:
    """Subscriptions to nothing, and messages where only subscriptions belong."""
    chance = random.Random(1)
    with Publisher(resolve("tcp://127.0.0.1:*")) as victim, Subscriber(resolve(victim.address, connect=True)) as friend:
        sent = 0
        while sent < messages:
            with zmq.Context() as context, context.socket(zmq.XSUB) as peer:
                peer.linger = 0
                peer.connect(victim.address)
                for _ in range(min(2000, messages - sent)):
                    peer.send(b"\x01" + chance.randbytes(chance.randrange(60)))
                    sent += 1
                    if sent % 50 == 0:
                        victim.listeners("frame")
                        friend.receive(0)
        _must(lambda: _served(victim, friend), "the friend is no longer served")
        return {"sent": sent, "rejected": victim.counts["rejected"], "reopened": victim.counts["reopened"]}


def _served(victim: Publisher, friend: Subscriber) -> bool:
    victim.send(PICTURE, capture_ns=time.monotonic_ns())
    return isinstance(friend.receive(0.05), FrameMessage)


def subscriber(messages: int) -> Result:
    """Everything that a publisher could send."""
    chance = random.Random(2)
    with zmq.Context() as context, context.socket(zmq.PUSH) as peer:
        peer.linger = 0
        port = peer.bind_to_random_port("tcp://127.0.0.1")
        with Subscriber(resolve(f"push+tcp://127.0.0.1:{port}", connect=True)) as victim:
            for _ in range(messages):
                while not peer.poll(0, zmq.POLLOUT):
                    victim.receive(0.001)
                peer.send_multipart(_nonsense(chance))
            _must(lambda: victim.receive(0.05) is None and victim.rejected.total() == messages, "not all was rejected")
            return {"sent": messages, "rejected": victim.rejected.total(), "received": victim.ledger.received}


def control(messages: int) -> Result:
    """Requests of every kind, with and without an envelope."""
    chance, controls = random.Random(3), Controls(Setting())
    with _serving(controls) as address, Requester(resolve(address, connect=True)) as friend:
        with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
            peer.linger = 0
            peer.connect(address)
            for number in range(messages):
                parts = _nonsense(chance)
                if number % 2 == 0:
                    # One too large costs the connection and a second to come back: a few of them are enough.
                    peer.send_multipart(parts if number % 2000 == 0 else [part[:4000] for part in parts])
                    continue
                _ask(peer, [b"", parts[-1][:4000]])
        if not friend.ask({"v": 1, "op": "state"}, timeout_s=30)[0]["ok"]:
            raise SoakError("the friend is no longer answered")
        return {"sent": messages, "rejected": controls.rejected}


def _ask(peer: "zmq.Socket[bytes]", parts: list[bytes]) -> None:
    """Every request with an envelope is answered; once more where a message too large before it cost the connection."""
    for _ in range(30):
        peer.send_multipart(parts)
        if peer.poll(1000):
            while peer.poll(0):
                peer.recv_multipart()
            return
    raise SoakError("a request was not answered")


@contextmanager
def _serving(controls: Controls) -> Iterator[str]:
    finished = threading.Event()
    with Responder(resolve("tcp://127.0.0.1:*")) as responder:
        thread = threading.Thread(target=responder.serve, args=(controls.answer, lambda: not finished.is_set()))
        thread.start()
        try:
            yield responder.address
        finally:
            finished.set()
            thread.join()


def websocket(messages: int) -> Result:
    """Nonsense at the page's WebSocket: each connection is sent away after fifty of them."""
    chance, controls = random.Random(4), Controls(Setting())
    controls.numbers = dict
    page, sent, connections = Preview(controls), 0, 0
    try:
        while sent < messages:
            connections += 1
            try:
                with connect(f"ws://127.0.0.1:{page.port}/ws", close_timeout=1) as peer:
                    sent += _pester(peer, chance)
            except (ConnectionClosed, InvalidStatus, OSError):
                continue
        with connect(f"ws://127.0.0.1:{page.port}/ws") as friend:
            if not json.loads(friend.recv(timeout=30))["ok"]:
                raise SoakError("the friend is no longer served")
    finally:
        page.close()
    return {"sent": sent, "rejected": controls.rejected, "connections": connections}


def _pester(peer: ClientConnection, chance: random.Random) -> int:
    """Messages sent until the connection was closed."""
    sent = 0
    try:
        for _ in range(60):
            peer.send(chance.randbytes(chance.randrange(300)) if chance.randrange(2) else '{"v": 1, "op": "x"}')
            sent += 1
    except ConnectionClosed:
        return sent
    return sent


def _must(condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise SoakError(failure)


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    app()
