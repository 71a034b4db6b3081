"""Films on a Ray cluster of real node processes: whoever dies, the film is the local one, and nothing is left."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("ray", reason="Ray isn't installed; pip install 'kinochrome[cluster]' runs the tests of clusters")

from ray.cluster_utils import Cluster
from test_archive import RATE, ROOT, SETTINGS, SHOTS, WITHOUT_GPU, film, manifest_of, packets, wait_for_segments
from test_segments import contents, scans, told

from stream import cli, cluster
from stream import runtime as runtime_module
from stream.cluster import Share, shares
from stream.colorize import Job, colorize
from stream.job import folder_of
from stream.media import probe
from stream.packets import read_coded
from stream.plan import plan_output
from stream.reel import Film
from stream.runtime import Choice, find_release, load_generator
from stream.runtime_gpu import GpuRuntime, TorchMaker
from stream.scan import plan
from stream.sequence_writer import plan_sequence
from stream.source import probe as probe_any
from stream.stop import Stop
from stream.worker import Order, Worker, know

__all__ = ["film", "scans"]

ONE_CORE = replace(SETTINGS, threads=1)
"""As a node works, which has one: torch's last bits show with how many threads it worked."""


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workers put what they need for a while."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def nodes(scratch: Path) -> Iterator[Cluster]:
    """Three machines of one core each, all of them this one."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  (its name; 15 starves the workers beside any other program)
    os.environ["TMPDIR"] = str(scratch)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    machine = {"num_cpus": 1, "num_gpus": 0, "env_vars": WITHOUT_GPU}
    cluster = Cluster(initialize_head=True, head_node_args=machine | {"include_dashboard": False})
    for _ in range(2):
        cluster.add_node(**machine)
    try:
        yield cluster
    finally:
        cluster.shutdown()
        del os.environ["TMPDIR"]


def start(film: Path, target: Path, address: str, *more: str) -> subprocess.Popen[str]:
    """The real program."""
    small = ("--short-side", "64", "--runtime", "torch", "--no-progress", "--cluster", address)
    command = (sys.executable, "-m", "stream", "colorize", str(film), "-o", str(target), *small, *more)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | WITHOUT_GPU, **pipes)


def workers(parent: int | None = None) -> list[int]:
    """The processes of our actors; those of one node's."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            of_node = parent is None or f"PPid:\t{parent}\n" in (path / "status").read_text()
            if of_node and b"ray::Worker" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def test_a_node_dies_and_the_film_is_the_local_one(film: Path, tmp_path: Path, nodes: Cluster, scratch: Path) -> None:
    whole, target = tmp_path / "whole.mkv", tmp_path / "colour.mkv"
    colorize(film, whole, settings=ONE_CORE, job=Job(codec="ffv1"))
    process = start(film, target, nodes.address, "-c", "ffv1")
    wait_for_segments(process, target, 1)
    assert process.poll() is None and manifest_of(target).entries, process.communicate()[1]
    raylet = nodes.list_all_nodes()[-1].all_processes["raylet"][0].process
    killed = workers(raylet.pid)
    for pid in (raylet.pid, *killed):
        os.kill(pid, signal.SIGKILL)
    assert len(killed) == 1
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert f"{sum(SHOTS)} of {sum(SHOTS)} frames" in out
    assert packets(target) == packets(whole)
    assert not folder_of(target).exists() and not list(tmp_path.glob("*.part*"))
    deadline = time.monotonic() + 30
    while workers() and time.monotonic() < deadline:
        os.sched_yield()
    assert workers() == []
    assert not list(scratch.glob("kinochrome-*"))


def test_scans_become_the_local_pictures_although_the_program_was_killed(
    scans: Path, tmp_path: Path, nodes: Cluster
) -> None:
    whole, target = tmp_path / "whole", tmp_path / "colour"
    colorize(scans, whole, settings=ONE_CORE, job=Job(rate=Fraction(RATE)))
    process = start(scans, target, nodes.address, "--rate", str(RATE))
    wait_for_segments(process, target, 1)
    process.kill()
    _, err = process.communicate()
    assert manifest_of(target).entries and not target.exists(), err
    process = start(scans, target, nodes.address, "--rate", str(RATE))
    _, err = process.communicate(timeout=240)
    assert process.returncode == 5 and "goes on after" in err, err  # numbers are missing
    assert contents(target) == contents(whole) and told(target) == told(whole)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "whole.json", "colour", "colour.json"}


def test_a_machine_that_does_not_see_the_pictures_says_so(scans: Path, tmp_path: Path) -> None:
    info, folder = probe_any(scans), tmp_path / "colour.part.d"
    output = plan_sequence(info, tmp_path / "colour")
    asked = Film(source=scans, info=info, output=output, settings=SETTINGS, look=None).absolute()
    worker = Worker(threads=1)
    known = know(asked)
    assert worker.find(asked, known | {"pictures": "others"}, "no token") == (
        f"it doesn't see the pictures {scans} as they are"
    )
    assert worker.find(asked, known, "no token") == f"it can't write into {tmp_path / 'colour.part'}"
    for made in (folder, output.part):
        made.mkdir()
    (folder / "token").touch()
    assert worker.find(asked, known, str(folder / "token")) == ""


def test_a_film_that_a_machine_lacks_is_sent_there_and_leaves_nothing(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    info = probe(film)
    whole = Film(
        source=film,
        info=info,
        output=plan_output(info, tmp_path / "colour.mkv", codec="ffv1"),
        settings=SETTINGS,
        look=None,
    )
    first = next(plan(whole, lambda frames: frames))
    worker, data = Worker(threads=1), film.read_bytes()
    made = []
    for blocks in ((data,), (data[:1000], data[1000:])):  # another film takes the place of the one before
        assert not worker.find(whole, {"ends": "of another film"}, "no token") and not worker.has_film()
        for block in blocks:
            worker.receive(block)
        worker.prepare(whole)
        made.append(worker.make(Order(planned=first, carry=None), "000000000.segment"))
    assert made[0].data is not None and made[0].sha256 == made[1].sha256
    assert made[0].sha256 == hashlib.sha256(made[0].data).hexdigest() and len(made[0].data) == made[0].size
    worker.find(whole, {}, "")  # lets the last one go
    assert not list(scratch.iterdir())


def test_an_address_that_does_not_answer_is_one_line(
    film: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        for where, code in ((address, 6), ("nonsense", 2)):
            assert cli.run(["colorize", str(film), "-o", "colour.mkv", "--cluster", where], Stop()) == code
            err = capfd.readouterr().err
            assert err.count("\n") == 1 and where in err
    assert not list(tmp_path.glob("colour*"))


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n"], ids=["silent", "another program"])
def test_an_address_where_not_ray_listens_is_one_line_soon(
    film: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], answer: bytes
) -> None:
    def greet() -> None:
        with suppress(OSError), ExitStack() as held:  # until the server is shut
            while True:
                connection = held.enter_context(server.accept()[0])
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        listening = threading.Thread(target=greet)
        listening.start()
        where, started = f"127.0.0.1:{server.getsockname()[1]}", time.monotonic()
        assert cli.run(["colorize", str(film), "-o", str(tmp_path / "colour.mkv"), "--cluster", where], Stop()) == 6
        assert time.monotonic() - started < 10
        server.shutdown(socket.SHUT_RDWR)
        listening.join()
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and where in err and "no Ray cluster answers there" in err
    assert not list(tmp_path.glob("colour*"))


def test_every_gpu_makes_a_worker_and_without_one_every_few_cores() -> None:
    big, small = {"CPU": 16.0, "GPU": 4.0}, {"CPU": 2.0}
    assert shares(big, 4, gpus=True) == [Share(4, 1)] * 4
    assert shares(big, 4, gpus=False) == [Share(4, 0)] * 4
    assert shares(small, 4, gpus=True) == [Share(2, 0)]
    assert shares({"CPU": 1.0, "GPU": 2.0}, 4, gpus=True) == [Share(0, 1)] * 2
    assert shares({"memory": 1e9}, 4, gpus=True) == []


class Hired:
    """A class of actors as Ray makes them, that are only written down."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def options(self, **asked: Any) -> "Hired":
        self.asked.append((asked["num_cpus"], asked["num_gpus"]))
        return self

    def remote(self, threads: int, *, gpu: bool) -> None:
        assert threads >= 1 and gpu == bool(self.asked[-1][1])


@pytest.mark.parametrize(("gpus", "asked"), [(True, [(0, 1), (0, 1), (4, 0)]), (False, [(4, 0), (1, 0)])])
def test_workers_with_a_gpu_come_first(
    monkeypatch: pytest.MonkeyPatch, gpus: bool, asked: list[tuple[int, int]]
) -> None:
    machines = [{"CPU": 4.0}, {"CPU": 1.0, "GPU": 2.0}]
    nodes = [{"Alive": True, "NodeID": 56 * str(number), "Resources": each} for number, each in enumerate(machines)]
    hired = Hired()
    monkeypatch.setattr(cluster.ray, "nodes", lambda: nodes)
    monkeypatch.setattr(cluster.ray, "remote", lambda worker: hired)
    assert cluster.RayCluster(4, gpus=gpus).size == len(asked)
    assert hired.asked == asked


def test_a_worker_with_a_gpu_makes_the_segments_of_one_go(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is the CPU, as in test_engine_gpu.py."""
    generator, device = load_generator(find_release("kinochrome")), torch.device("cpu")
    info, target = probe(film), tmp_path / "colour.mkv"
    whole = Film(source=film, info=info, output=plan_output(info, target, codec="ffv1"), settings=SETTINGS, look=None)
    opened = []

    def open_gpu(*_: object, **__: object) -> Choice:
        opened.append(GpuRuntime(TorchMaker(generator, whole.geometry.padded, device), device, 8))
        return Choice(runtime=opened[-1], reason="for the test")

    monkeypatch.setattr(runtime_module, "open_runtime", open_gpu)
    worker = Worker(threads=1)
    for _ in range(2):  # the engine stays for the next film
        identity = worker.prepare(whole)
    assert len(opened) == 1 and "FP16" in identity["runtime"]
    carry, data, carried = None, [], 0
    for planned in plan(whole, lambda frames: frames):
        assert (carry is not None) == planned.place.carried
        made = worker.make(Order(planned=planned, carry=carry), "000000000.segment")
        carry, carried = made.carry, carried + planned.place.carried
        (tmp_path / "one.segment").write_bytes(made.data or b"")
        data += [packet.data for packet in read_coded(tmp_path / "one.segment")]
    assert carried > 1
    colorize(film, target, settings=SETTINGS, job=Job(codec="ffv1", segments=False))
    assert data == [packet for stream, _, packet in packets(target) if stream == 0]
