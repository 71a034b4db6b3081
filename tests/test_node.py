"""The wire is not tied to Python: a subscriber in Node, written from docs/wire.md alone."""

import json
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from stream.endpoint import resolve
from stream.frame import Frame
from stream.pubsub import Publisher

NODE = Path(__file__).parent / "node"


def test_a_subscriber_in_node_reads_pictures_and_losses(tmp_path, monkeypatch):
    if shutil.which("node") is None or not (NODE / "node_modules" / "zeromq").is_dir():
        pytest.skip("needs Node and its zeromq: npm ci --prefix tests/node (.ci/run does it)")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with Publisher(resolve("tcp://127.0.0.1:*")) as publisher:
        command = ["node", "subscriber.mjs", publisher.address, "12"]
        child = subprocess.Popen(command, cwd=NODE, stdout=subprocess.PIPE, text=True)
        answer = []
        reader = threading.Thread(target=lambda: answer.append(child.communicate(timeout=60)[0]))
        reader.start()
        number = 0
        while reader.is_alive():
            planes = (np.full((5, 7), number % 256, np.uint8), *[np.full((3, 4), 9, np.uint8)] * 2)
            publisher.send(Frame(planes=planes, pts=2**53 + number), capture_ns=0)
            number += 1
            reader.join(0.002)
    assert child.returncode == 0
    seen = json.loads(answer[0])
    assert len(seen) == 12
    first = int(seen[0]["seq"])
    for row in seen:
        assert int(row["pts"]) == 2**53 + int(row["seq"]) and row["first"] == [int(row["seq"]) % 256, 9, 9]
    assert int(seen[-1]["seq"]) - first + 1 == 12 + sum(row["lost"] for row in seen)
