"""Opening an engine is told and can be stopped, on a GPU too; here the device is the CPU, and TensorRT a stand-in."""

import sys
import threading
import time
import types

import pytest
import torch

from model import graphs
from stream import runtime as runtime_module
from stream import runtime_tensorrt
from stream.config import Settings
from stream.errors import EngineError, Interrupted
from stream.opening import Opening
from stream.runtime import Choice, find_release, load_generator, open_beside
from stream.runtime_gpu import open_torch
from stream.runtime_tensorrt import Flavour, TensorRtMaker
from stream.stop import OPENING

CPU = torch.device("cpu")
SIZE = (64, 96)


@pytest.fixture(scope="module")
def generator():
    return load_generator(find_release("kinochrome"))


def join_those_left():
    for thread in threading.enumerate():
        if thread.name == OPENING:
            thread.join(120)


@pytest.fixture(autouse=True)
def nobody_left():
    """Ending Python under a thread inside torch would abort it."""
    yield
    join_those_left()


class Impatient:
    """Asks for an end once something goes on beside."""

    def __init__(self):
        self.before = set(threading.enumerate())  # among them those that were left to themselves

    def check(self):
        if any(thread.name == OPENING for thread in set(threading.enumerate()) - self.before):
            raise Interrupted("enough", 2)


@pytest.fixture
def on_a_gpu(monkeypatch, generator):
    """`open_runtime` believes in a GPU, and opens what it would with torch there on the CPU."""

    def opened(settings, size, opening, *, styled):
        made = open_torch(generator, size, 1, opening=opening, styled=styled, device=CPU)
        return Choice(runtime=made, reason="asked for")

    monkeypatch.setattr(runtime_module, "on_gpu", lambda settings: True)
    monkeypatch.setattr(runtime_module, "_open_on_gpu", opened)


def test_what_is_done_beside_returns_and_raises_here():
    asked = []
    opening = Opening(check=lambda: asked.append(threading.current_thread()))
    assert opening.beside(lambda: time.sleep(0.3) or threading.current_thread().name) == OPENING
    assert set(asked) == {threading.current_thread()}
    with pytest.raises(EngineError, match="no room"):
        opening.beside(lambda: fail(EngineError("no room")))


def fail(error):
    raise error


@pytest.mark.parametrize(("styled", "kind"), [(False, "natural colour"), (True, "painted looks")])
def test_torch_on_a_gpu_says_that_it_prepares(on_a_gpu, styled, kind):
    told = []
    choice = open_beside(Settings(runtime="torch"), SIZE, styled=styled, tell=told.append)
    assert told == [f"preparing the network for {kind} at a working size of 96x64: some seconds, as every time with "
                    "torch on a GPU"]  # fmt: skip
    assert choice.runtime.name.startswith("torch")


def test_torch_on_a_gpu_can_be_stopped_while_it_prepares(on_a_gpu):
    large = (512, 768)  # what is prepared before anybody has asked can't be stopped
    with pytest.raises(Interrupted):
        open_beside(Settings(runtime="torch"), large, check=Impatient().check)


def test_the_export_of_a_graph_works_beside_and_can_be_left(generator):
    module, example = graphs.make("natural", generator), graphs.examples("natural", SIZE, 1, 128)
    made = []
    with pytest.raises(Interrupted):
        Opening(check=Impatient().check).beside(lambda: made.append(graphs.export("natural", module, example)))
    assert not made
    join_those_left()
    assert len(made) == 1


@pytest.fixture
def tensorrt(monkeypatch, tmp_path, nobody_left):
    """A TensorRT whose building goes on until it is told to end."""
    gate = threading.Event()

    def build(builder, name, module, example):
        gate.wait(30)
        return b"engine"

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "fakert", types.SimpleNamespace(__version__="1"))
    flavour = Flavour(label="TensorRT", package="numpy", module="fakert", extra="cuda")
    monkeypatch.setattr(runtime_tensorrt, "find_flavour", lambda: flavour)
    monkeypatch.setattr(runtime_tensorrt, "load_builder", lambda flavour: None)
    monkeypatch.setattr(runtime_tensorrt, "build", build)
    yield gate
    gate.set()


def test_building_an_engine_is_told_and_can_be_stopped(tensorrt, generator, tmp_path):
    told = []
    for _ in range(2):  # whoever stops leaves neither an engine nor a lock behind
        opening = Opening(tell=told.append, check=Impatient().check)
        maker = TensorRtMaker(find_release("kinochrome"), generator, SIZE, opening=opening, device=CPU)
        started_s = time.monotonic()
        with pytest.raises(Interrupted):
            maker.make("fused", 1)
        assert time.monotonic() - started_s < 5
    assert told == 2 * ["preparing the network for painted looks at a working size of 96x64: building a TensorRT "
                        "engine takes minutes, this once; it is kept for the next time"]  # fmt: skip
    assert not list(tmp_path.rglob("meta.json"))
