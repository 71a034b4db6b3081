"""How long after its capture is a picture published in colour, and what happens when pictures come too fast?

    python -m benchmarks.live                  # 640x480, 25 and 100 pictures a second and a style, 20 s each
    python -m benchmarks.live --minutes 10     # does anything grow?

Two processes over ipc: a session that plays a made film in real time, and a subscriber that reads the number drawn into
every picture. The last line on stdout is JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmarks import network, numbered, results, trial
from benchmarks.clips import pictures
from benchmarks.trial import ROOT, Result
from stream.config import Settings
from stream.endpoint import resolve
from stream.geometry import Geometry
from stream.ledger import percentiles
from stream.pubsub import Subscriber
from stream.wire import FrameMessage, Heartbeat

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)

SIZE = (640, 480)
RUNS = ((25, "natural"), (100, "natural"), (25, "starry"))
"""Pictures a second and look: a camera's pace, and more than the machine can colour. A style is laid over the picture
at a fifth of its strength: the work is the same at any, and the numbers stay legible.
"""
SECONDS = 20
DEFINITIONS = {
    "latency_ms": "from the picture's arrival in the reading thread to its receipt by the subscriber, all pictures but "
    "the first 10 received",
    "published": "to the moment it was handed to ZeroMQ",
    "accounted": "pictures received, dropped before the engine or in a lane, and lost by seq, over those played",
    "growth": "p50 of the last tenth over that of the first, and resident memory likewise",
    "cpu_ms": "CPU time of the whole session, reading and dropping included, for each picture that was coloured",
}


@app.command()
def main(
    minutes: Annotated[float | None, typer.Option(help="One long run at 25 a second.")] = None,
    seconds: Annotated[int, typer.Option(help="Of each short run.")] = SECONDS,
    as_json: Annotated[bool, typer.Option("--json", help="The JSON line alone.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where to write the result.")] = None,
) -> None:
    """Measures live colouring from capture to a subscriber."""
    console.quiet = as_json
    result: Result = {"question": "how old is a picture when it is published in colour?"} | results.origin()
    result |= {"size": f"{SIZE[0]}x{SIZE[1]}", "definitions": DEFINITIONS}
    plan = [(25, round(60 * minutes), "natural")] if minutes else [(rate, seconds, look) for rate, look in RUNS]
    convert()
    with tempfile.TemporaryDirectory(prefix="kinochrome-live-") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        result["rows"] = [measure(Path(folder), rate, length, look) for rate, length, look in plan]
    for row in result["rows"]:
        console.print(row)
    results.save(result, out or results.FOLDER / ("live-long.json" if minutes else "live.json"))
    typer.echo(json.dumps(result))


def convert() -> None:
    """Makes the engines, so that no run has to wait for them."""
    rows, columns = Geometry.of(*SIZE, short_side=Settings.short_side).padded
    trial.run(network.measure, runtime="openvino", rows=rows, columns=columns, styled=True, seconds=0.1)


def measure(folder: Path, rate: int, seconds: int, look: str) -> Result:
    """One run: a film at `rate` pictures a second."""
    console.print(f"{rate} pictures a second for {seconds} s, {look}")
    film = numbered.make(
        folder / f"{rate}.mkv", list(islice(pictures(SIZE), 100)), frames=min(65535, rate * seconds), rate=rate
    )
    command = [
        sys.executable,
        "-m",
        "stream",
        "live",
        str(film),
        "--realtime",
        "--no-web",
        "--json",
        "--publish",
        "bench",
        "--style",
        look,
        "--strength",
        "0.2",
    ]
    endpoint = resolve("bench")
    with Subscriber(endpoint) as subscriber:
        session = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started_s = time.monotonic()
        rows, memory, cpu = _receive(subscriber, session)
        report, _ = session.communicate(timeout=60)
    told: dict[str, Any] = json.loads(report)
    settled = [row for row in cpu if row[1] > 5] or cpu
    spent_s, done = settled[-1][0] - settled[0][0], max(1, settled[-1][1] - settled[0][1])
    return (
        {"look": look}
        | _account(rate, rows, memory, told, subscriber)
        | {
            "seconds": round(time.monotonic() - started_s, 1),
            "cpu_ms": round(1000 * spent_s / done, 1),
        }
    )


def _receive(
    subscriber: Subscriber, session: "subprocess.Popen[str]"
) -> tuple[list[tuple[int, float, float]], list[float], list[tuple[float, int]]]:
    """Number, ms to publication and ms to receipt of every picture; the session's memory in MB, once a second."""
    rows: list[tuple[int, float, float]] = []
    memory, cpu, next_s = [], [], 0.0
    while session.poll() is None or subscriber.ledger.received == 0:
        message = subscriber.receive(1.0)
        now_ns = time.monotonic_ns()
        if isinstance(message, FrameMessage):
            stamp = message.stamp
            ages = ((stamp.publish_ns - stamp.capture_ns) / 1e6, (now_ns - stamp.capture_ns) / 1e6)
            rows.append((numbered.read(message.frame.luma), *ages))
        elif isinstance(message, Heartbeat) and message.ended:
            break
        if session.poll() is None and now_ns / 1e9 > next_s:
            next_s = now_ns / 1e9 + 1
            memory.append(_resident_mb(session.pid))
            cpu.append((_cpu_s(session.pid), len(rows)))
        if session.poll() is not None and message is None:
            break
    return rows, memory, cpu


def _resident_mb(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _account(
    rate: int, rows: list[tuple[int, float, float]], memory: list[float], told: dict[str, Any], subscriber: Subscriber
) -> Result:
    numbers = [row[0] for row in rows]
    settled = rows[min(len(rows) - 1, 10) :]
    tenth = max(1, len(settled) // 10)
    first, last = (float(np.median([row[2] for row in part])) for part in (settled[:tenth], settled[-tenth:]))
    lane = told["sinks"]["zeromq"]
    accounted = len(rows) + told["frames_dropped"] + lane["dropped"] + subscriber.ledger.lost
    return {
        "rate": rate,
        "played": told["frames_in"],
        "received": len(rows),
        "fps": told["fps"],
        "dropped": told["frames_dropped"] + lane["dropped"],
        "lost": subscriber.ledger.lost,
        "accounted": f"{accounted} of {told['frames_in']}",
        "in_order": numbers == sorted(set(numbers)),
        "latency_ms": percentiles([row[2] for row in settled]),
        "published_ms": percentiles([row[1] for row in settled]),
        "longest_ms": round(max(row[2] for row in settled), 1),
        "growth": {
            "latency": round(last / first, 2),
            "first_mb": round(memory[len(memory) // 10]),
            "last_mb": round(memory[-1]),
        },
        "runtime": told["runtime"],
        "working_size": told["working_size"],
    }


if __name__ == "__main__":
    app()
