import threading

import numpy as np
import pytest

from stream import pipeline
from stream.config import Settings
from stream.engine import Engine
from stream.frame import Frame
from stream.geometry import Geometry
from stream.metrics import Meter
from stream.runtime import Painted


class Grey:
    """A runtime of ten lines."""

    name = "grey"

    def start(self, luma, style=None):
        return lambda: Painted(np.zeros((len(luma), 2, luma.shape[2] // 2, luma.shape[3] // 2), np.float32), None)


def frames(count):
    for index in range(count):
        yield Frame(planes=(np.full((32, 32), index % 200, np.uint8),), pts=index)


def run(source, write, meter=None):
    meter = meter or Meter()
    engine = Engine(Grey(), Geometry.of(32, 32, short_side=32), settings=Settings(short_side=32), meter=meter)
    return pipeline.run(source, engine, write, meter=meter)


def test_every_frame_goes_through_in_order():
    written, meter = [], Meter()
    done = sum(1 for _ in run(frames(100), lambda frame: written.append(frame.pts), meter))
    assert done == 100
    assert written == list(range(100))
    assert {"decode", "prepare", "network", "steady", "chroma", "encode"} <= set(meter.seconds)


def test_the_source_never_runs_far_ahead():
    # The writer stands still: what was read is bounded by the two queues and the batches between them.
    gate, read = threading.Event(), []

    def counted():
        for frame in frames(1000):
            read.append(frame.pts)
            yield frame

    results = run(counted(), lambda frame: gate.wait())
    for _ in range(pipeline.DEPTH):
        next(results)
    assert len(read) <= 3 * pipeline.DEPTH + 4 * Settings().batch + Settings().lag
    gate.set()
    results.close()


def test_an_error_of_the_source_is_raised_here_and_what_came_before_is_written():
    def broken():
        yield from frames(10)
        raise OSError("the disk is gone")

    written = []
    with pytest.raises(OSError, match="the disk is gone"):
        list(run(broken(), lambda frame: written.append(frame.pts)))
    assert written == list(range(len(written)))


def test_an_error_of_the_writer_is_raised_here():
    def full(frame):
        if frame.pts == 5:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        list(run(frames(1000), full))


def test_an_error_of_the_network_ends_both_threads():
    class Broken(Grey):
        def start(self, luma, style=None):
            raise RuntimeError("no network")

    engine = Engine(Broken(), Geometry.of(32, 32, short_side=32), settings=Settings(short_side=32))
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="no network"):
        list(pipeline.run(frames(100), engine, lambda frame: None, meter=Meter()))
    assert threading.active_count() == before


def test_who_stops_early_gets_everything_written_that_was_handed_on():
    written = []
    results = run(frames(1000), lambda frame: written.append(frame.pts))
    got = [next(results).pts for _ in range(20)]
    results.close()
    assert written[:20] == got
