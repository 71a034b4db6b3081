"""What does the wire cost: 1080p at 60 pictures a second between two processes over ipc?

    python -m benchmarks.transport
    python -m benchmarks.transport --seconds 60

PUSH/PULL loses nothing, XPUB says what it lost; a stopped subscriber slows nobody; twenty that come and go leave
nothing behind. The last line on stdout is JSON.
"""

import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmarks import results
from benchmarks.trial import ROOT, Result
from stream.endpoint import resolve
from stream.frame import Frame
from stream.ledger import percentiles
from stream.pubsub import Publisher, Subscriber

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)

SIZE = (1920, 1080)
RATE = 60
SUBSCRIBERS = 20
DEFINITIONS = {
    "bare": "a Unix socket between two processes and nothing else: the floor",
    "latency_ms": "from before the planes are copied into the ring until the subscriber has checked the message",
    "send_ms": "wall time of Publisher.send at 50, 95 and 99 %, and the longest",
    "growth_mb": "resident memory of the publisher, last less first; a queue of 4 and a ring of 12 pictures are 50 MB",
    "unnoticed": "pictures sent while subscribed that were neither received nor counted as lost",
}
_READER = """
import json, sys, time
from stream.endpoint import resolve
from stream.pubsub import Subscriber
with Subscriber(resolve(sys.argv[1], connect=True)) as subscriber:
    print("ready", flush=True)
    while not subscriber.ledger.ended:
        subscriber.receive(20)
    ledger = subscriber.ledger
    told = {"received": ledger.received, "lost": ledger.lost, "latency_ms": ledger.percentiles()}
    print(json.dumps(told | {"rejected": subscriber.rejected.total()}), flush=True)
"""
_BARE_READER = """
import json, socket, struct, sys, time
size, link = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
buffer, ages = memoryview(bytearray(size)), []
print("ready", flush=True)
while True:
    filled = 0
    while filled < size and (count := link.recv_into(buffer[filled:])):
        filled += count
    if filled < size:
        break
    ages.append((time.monotonic_ns() - struct.unpack_from("<q", buffer)[0]) / 1e6)
print(json.dumps(ages), flush=True)
"""


@app.command()
def main(
    seconds: Annotated[float, typer.Option(help="Of each part; the target of the churn is 60.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="The JSON line alone.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where to write the result.")] = None,
) -> None:
    """Measures the wire."""
    console.quiet = as_json
    result: Result = {"question": "what does the wire cost at 1080p60?"} | results.origin()
    result |= {"size": f"{SIZE[0]}x{SIZE[1]}", "rate": RATE, "seconds": seconds, "definitions": DEFINITIONS}
    with tempfile.TemporaryDirectory(prefix="kinochrome-wire-") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        result["bare"] = bare(seconds)
        result["push"] = pass_on("push+wire", seconds)
        result["xpub"] = pass_on("wire", seconds)
        result["stopped"] = pass_on("stopped", seconds, stopped=True)
        result["churn"] = churn(seconds)
    for name in ("bare", "push", "xpub", "stopped", "churn"):
        console.print(name, result[name])
    results.save(result, out or results.FOLDER / "transport.json")
    typer.echo(json.dumps(result))


def _pictures() -> list[Frame]:
    noise = np.random.default_rng(3)
    width, height = SIZE
    shapes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    return [Frame(planes=tuple(noise.integers(0, 256, shape, np.uint8) for shape in shapes)) for _ in range(4)]


def bare(seconds: float) -> Result:
    """The floor: as many bytes at the same pace through a Unix socket and nothing else, one process to another."""
    picture = bytearray(b"".join(plane.tobytes() for plane in _pictures()[0].planes))
    ours, theirs = socket.socketpair()
    with ours:
        command = [sys.executable, "-c", _BARE_READER, str(len(picture)), str(theirs.fileno())]
        reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[theirs.fileno()])
        theirs.close()
        if reader.stdout is None:
            raise RuntimeError("the reader has no output")
        reader.stdout.readline()
        due_s, sends = time.monotonic(), []
        for _ in range(round(seconds * RATE)):
            time.sleep(max(0.0, due_s - time.monotonic()))
            before_ns = time.monotonic_ns()
            struct.pack_into("<q", picture, 0, before_ns)
            ours.sendall(picture)
            sends.append((time.monotonic_ns() - before_ns) / 1e6)
            due_s += 1 / RATE
    output, _ = reader.communicate(timeout=30)
    ages = json.loads(output)
    return {
        "sent": len(sends),
        "received": len(ages),
        "lost": len(sends) - len(ages),
        "unnoticed": 0,
        "latency_ms": percentiles(ages),
        "send_ms": (percentiles(sends) or {}) | {"longest": round(max(sends), 1)},
        "growth_mb": 0.0,
    }


def pass_on(name: str, seconds: float, *, stopped: bool = False) -> Result:
    """Publishes to one other process; `stopped`: which is halted in the middle."""
    frames, sends = _pictures(), []
    where = resolve(name)
    with Publisher(where) as publisher:
        reader = subprocess.Popen([sys.executable, "-c", _READER, name], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if reader.stdout is None:
            raise RuntimeError("the reader has no output")
        reader.stdout.readline()
        while where.kind == "pub" and not publisher.listeners("frame"):
            time.sleep(0.01)
        memory = [_resident_mb()]
        started_s = due_s = time.monotonic()
        for number in range(round(seconds * RATE)):
            if stopped and number == round(seconds * RATE / 4):
                os.kill(reader.pid, signal.SIGSTOP)
            time.sleep(max(0.0, due_s - time.monotonic()))
            before_ns = time.monotonic_ns()
            publisher.send(frames[number % 4], capture_ns=before_ns, timeout_s=5.0)
            sends.append((time.monotonic_ns() - before_ns) / 1e6)
            due_s += 1 / RATE
            if number % RATE == RATE // 2:
                memory.append(_resident_mb())
        wall_s = time.monotonic() - started_s
        if stopped:
            os.kill(reader.pid, signal.SIGCONT)
        told = _finish(publisher, reader)
        counts = dict(publisher.counts)
    sent = round(seconds * RATE)
    return told | {
        "sent": sent,
        "fps": round(sent / wall_s, 1),
        "unnoticed": sent - told["received"] - told["lost"],
        "send_ms": (percentiles(sends) or {}) | {"longest": round(max(sends), 1)},
        "copied": counts.get("copied", 0),
        "growth_mb": round(memory[-1] - memory[1], 1),
    }


def _finish(publisher: Publisher, reader: "subprocess.Popen[str]") -> dict[str, Any]:
    """Says that nothing follows until the reader has heard it; what the reader tells."""
    deadline = time.monotonic() + 30
    while reader.poll() is None and time.monotonic() < deadline:
        publisher.beat(ended=True)
        time.sleep(0.05)
    reader.kill()
    output, _ = reader.communicate()
    told: dict[str, Any] = json.loads(output)
    return told


def churn(seconds: float) -> Result:
    """Twenty subscribers that join and leave at random, each with an account of its own."""
    finished, accounts = threading.Event(), list[tuple[int, int, int]]()
    small = [_third(frame) for frame in _pictures()]
    with Publisher(resolve("churn")) as publisher:
        threads = [
            threading.Thread(target=_come_and_go, args=(seed, finished, accounts)) for seed in range(SUBSCRIBERS)
        ]
        for thread in threads:
            thread.start()
        memory, handles, end_s, number = [], [], time.monotonic() + seconds, 0
        while time.monotonic() < end_s:
            publisher.send(small[number % 4], capture_ns=time.monotonic_ns())
            number += 1
            time.sleep(1 / RATE)
            if number % RATE == 0:
                memory.append(_resident_mb())
                handles.append(len(list(Path("/proc/self/fd").iterdir())))
        finished.set()
        for thread in threads:
            thread.join()
        deadline = time.monotonic() + 10
        while publisher.listeners("frame") and time.monotonic() < deadline:
            time.sleep(0.05)
        left = publisher.listeners("frame")
    third = max(1, len(memory) // 3)
    return {
        "visits": len(accounts),
        "sent": number,
        "received": sum(account[1] for account in accounts),
        "lost": sum(account[2] for account in accounts),
        "unnoticed": sum(due - received - lost for due, received, lost in accounts),
        "growth_mb": round(max(memory[-third:]) - max(memory[third : 2 * third] or memory), 1),
        "handles": [min(handles), max(handles)],
        "subscriptions_left": left,
    }


def _come_and_go(seed: int, finished: threading.Event, accounts: list[tuple[int, int, int]]) -> None:
    """One visitor after the other; for each what was due, what came and what was counted as lost."""
    chance = random.Random(seed)
    while not finished.is_set():
        with Subscriber(resolve("churn", connect=True)) as subscriber:
            leave_s = time.monotonic() + chance.uniform(0.05, 2)
            first: int | None = None
            ledger = subscriber.ledger
            while time.monotonic() < leave_s and not finished.is_set():
                if subscriber.receive(0.1) is not None and first is None:
                    first = (ledger.last_seq or 0) - ledger.received
            if first is not None and ledger.last_seq is not None:
                accounts.append((ledger.last_seq - first, ledger.received, ledger.lost))


def _third(frame: Frame) -> Frame:
    """A corner of a third of the size: twenty readers in one process are what is tested, not copying."""
    width, height = SIZE[0] // 3, SIZE[1] // 3
    shapes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    planes = zip(frame.planes, shapes, strict=True)
    return Frame(
        planes=tuple(np.ascontiguousarray(plane[:rows, :columns], np.uint8) for plane, (rows, columns) in planes)
    )


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    app()
