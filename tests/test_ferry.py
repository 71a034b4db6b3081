"""The double-buffered way to a device and back; on a CPU a thread of its own does the copying."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.ferry import SLOTS, Ferry

DEVICES = [
    torch.device("cpu"),
    pytest.param("cuda", marks=pytest.mark.gpu),
]


@pytest.fixture(params=DEVICES)
def ferry(request):
    ferry = Ferry(torch.device(request.param))
    yield ferry
    ferry.stop()


def arrays(seed):
    random = np.random.default_rng(seed)
    shapes = [tuple(random.integers(1, 40, random.integers(1, 4))) for _ in range(random.integers(1, 5))]
    kinds = [(np.uint8, 256), (np.uint16, 65536), (np.float32, 2)]
    made = []
    for shape in shapes:
        kind, top = kinds[random.integers(3)]
        made.append((random.random(shape) * top).astype(kind))
    return made


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12), st.integers(1, SLOTS))
@settings(max_examples=40, deadline=None)
def test_what_comes_back_is_what_went_whatever_is_on_its_way(seeds, ahead):
    ferry = Ferry(torch.device("cpu"))
    try:
        waiting, out = [], []
        for seed in seeds:
            waiting.append(ferry.down(ferry.up(arrays(seed))))
            if len(waiting) == ahead:
                out.append(waiting.pop(0)())
        out += [wait() for wait in waiting]
    finally:
        ferry.stop()
    for seed, found in zip(seeds, out, strict=True):
        for array, back in zip(arrays(seed), found, strict=True):
            assert array.dtype == back.dtype
            assert np.array_equal(array, back)


def test_downloads_that_nobody_waits_for_are_forgotten(ferry):
    for number in range(2 * SLOTS):
        ferry.down(ferry.up([np.full(10, number, np.uint8)]))
        ferry.forget()
    assert (ferry.down(ferry.up([np.full(10, 7, np.uint8)]))()[0] == 7).all()


def test_what_arrived_stays_while_the_buffers_are_used_again(ferry):
    first = ferry.down(ferry.up([np.full(1000, 1, np.uint8)]))()
    for number in range(2, 3 * SLOTS):
        ferry.down(ferry.up([np.full(1000, number, np.uint8)]))()
    assert (first[0] == 1).all()


def test_what_is_computed_travels_after_it_is_computed(ferry):
    waiting = []
    for number in range(SLOTS):
        (there,) = ferry.up([np.full((64, 64), number, np.float32)])
        for _ in range(50):
            there = there @ torch.eye(64, device=there.device) + 1
        waiting.append(ferry.down([there]))
    for number, wait in enumerate(waiting):
        assert (wait()[0] == number + 50).all()


def test_views_of_larger_pictures_travel(ferry):
    picture = np.arange(40 * 30, dtype=np.uint16).reshape(40, 30)
    (there,) = ferry.up([picture[1::2, :20]])
    assert np.array_equal(ferry.down([there.t()])()[0], picture[1::2, :20].T)


def test_nothing_is_lost_where_too_much_is_on_its_way(ferry):
    waiting = [ferry.down([torch.zeros(4, device=ferry.device)]) for _ in range(SLOTS)]
    with pytest.raises(RuntimeError, match="none was taken"):
        ferry.down([torch.zeros(4, device=ferry.device)])
    waiting.pop(1)()
    waiting.append(ferry.down([torch.ones(4, device=ferry.device)]))
    assert [int(wait()[0].sum()) for wait in waiting] == [0, 0, 4]


def test_a_download_that_finds_no_memory_takes_no_room_from_the_next(ferry, monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    made = torch.ones(4, device=ferry.device)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty", fail)
        for _ in range(2 * SLOTS):
            with pytest.raises(torch.OutOfMemoryError):
                ferry.down([made])
    assert int(ferry.down([made])()[0].sum()) == 4
