"""The GPU's runtimes on a GPU, and what they say without one. `make gpu` runs the tests marked gpu."""

import gc
import os
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from model import graphs
from stream import cache, runtime_tensorrt
from stream.captured import KEPT, Captured
from stream.config import Settings
from stream.engine_gpu import engine_for
from stream.errors import EngineError
from stream.frame import Frame
from stream.geometry import Geometry
from stream.numbered import first_needed
from stream.opening import Opening
from stream.runtime import (
    GOLDEN_MEAN,
    GOLDEN_P999,
    PAINTED_MEAN,
    PAINTED_P999,
    Style,
    TorchRuntime,
    difference,
    find_release,
    golden_frames,
    golden_style,
    load_generator,
    open_reference,
    open_runtime,
)
from stream.runtime_tensorrt import (
    FILE,
    FLAVOURS,
    TensorRtMaker,
    find_flavour,
    load_builder,
    load_runner,
    what_is_missing,
)
from stream.seams import Start, pack, unpack

SIZE = (128, 224)
CPU = torch.device("cpu")
RTX = FLAVOURS[1]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.mark.skipif(find_flavour() is not None, reason="TensorRT is installed")
def test_without_tensorrt_the_error_says_what_to_install():
    with pytest.raises(EngineError, match=r"kinochrome\[cuda\].*kinochrome\[rtx\]"):
        open_runtime(Settings(runtime="tensorrt"), SIZE)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.skipif(find_flavour() is None, reason="TensorRT is not installed")
def test_without_a_gpu_the_error_says_so():
    with pytest.raises(EngineError, match="no CUDA GPU"):
        open_runtime(Settings(runtime="tensorrt"), SIZE)


def test_without_a_gpu_functions_are_simply_called():
    calls = []
    captured = Captured(lambda x, *, by: calls.append(by) or x * by, torch.device("cpu"))
    assert captured(torch.ones(2), by=3).tolist() == [3, 3]
    assert calls == [3]


class Library:
    """A TensorRT that takes no engine."""

    __version__ = "9.9"

    class Logger:
        ERROR = 0

        def __init__(self, level):
            pass

    class Runtime:
        def __init__(self, logger):
            pass

        def deserialize_cuda_engine(self, content):
            return None


@pytest.fixture
def library(monkeypatch, tmp_path):
    """TensorRT-RTX as installed, on a CPU, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(runtime_tensorrt, "find_flavour", lambda: RTX)
    monkeypatch.setattr(runtime_tensorrt.metadata, "version", lambda package: "2.11.0")
    monkeypatch.setitem(sys.modules, RTX.module, Library)
    monkeypatch.setattr(runtime_tensorrt, "load_builder", lambda flavour: None)
    monkeypatch.setattr(runtime_tensorrt, "build", lambda *given: b"engine")


def maker(**more):
    release = find_release("kinochrome")
    return TensorRtMaker(release, load_generator(release), (64, 96), opening=Opening(), **({"device": CPU} | more))


def load_graph(monkeypatch, *, spoilt=0.0):
    """Has every engine loaded as the natural graph itself, its chroma wrong by so much."""
    module = graphs.make("natural", load_generator(find_release("kinochrome")))

    def run(luma):
        with torch.inference_mode():
            return (module(luma) + spoilt,)

    monkeypatch.setattr(runtime_tensorrt, "Loaded", lambda content, trt: run)


def test_an_engine_that_was_just_built_and_is_refused_is_told_in_a_line(library):
    with pytest.raises(EngineError, match=r"just built.*GPU memory.*--runtime torch") as caught:
        maker().make("natural", 2)
    assert "\n" not in str(caught.value)


def test_an_engine_that_differs_is_refused_until_it_is_pruned(library, monkeypatch):
    load_graph(monkeypatch, spoilt=0.1)
    for _ in range(2):
        with pytest.raises(EngineError, match=r"differs from the reference.*kinochrome cache prune --damaged"):
            maker().make("natural", 2)
    lenient = maker(lenient=True)
    assert lenient.make("natural", 2)
    assert "differs" in lenient.notices[0]
    (entry,) = cache.prune(float("inf"), damaged=True)
    assert entry.state == "refused"
    load_graph(monkeypatch)
    assert maker().make("natural", 2)
    assert [entry.state for entry in cache.entries()] == ["ok"]


def test_other_code_is_another_engine(library, monkeypatch):
    key = maker().key("natural", 2)
    assert cache.code(runtime_tensorrt.__file__) in key.facts
    monkeypatch.setattr(cache, "code", lambda runtime: "code of tomorrow")
    assert maker().key("natural", 2) != key


def test_a_maker_numbers_its_device(library, monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    for device in (None, torch.device("cuda")):
        assert maker(device=device).device == torch.device("cuda", 0)


@pytest.mark.parametrize("load", [load_builder, load_runner])
def test_libraries_that_are_missing_are_told_in_a_line(monkeypatch, load):
    def fail(name):
        raise OSError("libnvinfer.so.10: cannot open shared object file\nTraceback")

    monkeypatch.setitem(sys.modules, "tensorrt.plugin", None)
    monkeypatch.setattr(runtime_tensorrt, "import_module", fail)
    with pytest.raises(EngineError, match=r"libnvinfer.*kinochrome\[rtx\].*--runtime torch") as caught:
        load(RTX)
    assert "\n" not in str(caught.value)


def runtimes():
    return ["torch", *(["tensorrt"] if not what_is_missing() else [])]


@pytest.fixture(scope="module", params=["torch", "tensorrt"])
def runtime(request):
    if request.param not in runtimes():
        pytest.skip(what_is_missing())
    return open_runtime(Settings(runtime=request.param), SIZE, styled=True).runtime


@pytest.mark.gpu
class TestEveryRuntimeOnAGpu:
    def test_agrees_with_the_reference(self, runtime):
        luma = golden_frames(SIZE)
        reference = TorchRuntime(load_generator(find_release("kinochrome")), torch.device("cpu"))
        mean, p999 = difference(runtime.start(luma)().chroma, reference.start(luma)().chroma)
        assert mean <= GOLDEN_MEAN
        assert p999 <= GOLDEN_P999
        style = golden_style(luma, 128)
        for given in (style, Style(code=style.code, chroma=None)):
            for made, right in zip(runtime.start(luma, given)(), reference.start(luma, given)(), strict=True):
                mean, p999 = difference(made, right)
                assert mean <= PAINTED_MEAN
                assert p999 <= PAINTED_P999

    def test_any_number_of_pictures_is_the_same(self, runtime):
        luma = np.resize(golden_frames(SIZE), (2 * runtime.batch + 1, 1, *SIZE))
        whole = runtime.start(luma)().chroma
        for index in (0, runtime.batch, 2 * runtime.batch):
            alone = runtime.start(luma[index : index + 1])().chroma
            assert np.abs(alone - whole[index : index + 1]).max() * 224 < 0.5

    @pytest.mark.parametrize("lag", [0, 24])
    def test_a_film_is_the_one_that_the_cpu_makes(self, runtime, lag):
        geometry = Geometry(content=SIZE, padded=SIZE)
        frames = film(40)
        found = list(engine_for(runtime, geometry, settings=Settings(lag=lag)).run(frames))
        wanted = list(engine_for(open_reference(Settings()), geometry, settings=Settings(lag=lag)).run(frames))
        assert [frame.pts for frame in found] == list(range(40))
        for made, right in zip(found, wanted, strict=True):
            apart = np.abs(made.planes[1].astype(int) - right.planes[1])
            assert apart.mean() < 0.5
            assert np.quantile(apart, 0.999) <= 3

    def test_from_a_seam_on_it_is_the_film_of_one_go(self, runtime):
        engine = engine_for(runtime, Geometry(content=SIZE, padded=SIZE))
        frames = [replace(frame, time_base=Fraction(1, 4)) for frame in film(90)]
        whole, parts = list(engine.run(frames)), list(engine.run_segments(frames, Start()))
        number = next(number for number, (_, seam) in enumerate(parts) if seam is not None and seam.carry is not None)
        first, carry = first_needed(number, 4), unpack(pack(parts[number][1].carry))
        rest = engine.run_segments(frames[first:], Start(lead=number - first, carry=carry, number=number))
        for (made, _), right in zip(rest, whole[number:], strict=True):
            assert all(map(np.array_equal, made.planes, right.planes))

    def test_ten_thousand_frames_take_no_more_memory_than_a_thousand(self, runtime):
        engine = engine_for(runtime, Geometry(content=SIZE, padded=SIZE), settings=Settings())
        held, found = film(60), []
        for count in (1000, 9000):  # the first thousand warm up: they record, choose and allocate
            for _ in engine.run(held[number % 60] for number in range(count)):
                pass
            gc.collect()
            torch.cuda.synchronize()
            found.append((torch.cuda.memory_allocated() / 1e6, torch.cuda.memory_reserved() / 1e6, resident_mb()))
        assert all(after <= 1.02 * before + 8 for before, after in zip(*found, strict=True)), found


def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def film(count):
    scene = (16 + 219 * golden_frames((SIZE[0], SIZE[1] + count))[0, 0]).astype(np.uint8)
    return [Frame(planes=(np.ascontiguousarray(scene[:, at : at + SIZE[1]]),), pts=at) for at in range(count)]


@pytest.mark.gpu
def test_a_recording_gives_new_memory_every_time_and_forgets_the_oldest():
    captured = Captured(lambda x, by: (x * by, x.sum()), torch.device("cuda"))
    first, total = captured(torch.ones(4, device="cuda"), 2.0)
    captured(torch.full((4,), 5.0, device="cuda"), 2.0)
    assert first.tolist() == [2, 2, 2, 2]
    assert total.item() == 4
    for by in range(2 * KEPT):
        assert captured(torch.ones(4, device="cuda"), float(by))[0].tolist() == [by] * 4
    assert len(captured._recordings) == KEPT


@pytest.mark.gpu
def test_a_kept_engine_is_loaded_a_damaged_one_is_built_again(home):
    if what_is_missing():
        pytest.skip(what_is_missing())
    opened = [open_runtime(Settings(runtime="tensorrt", lag=0), (64, 96)) for _ in range(2)]
    assert not any(choice.notices for choice in opened)
    (entry,) = [entry for entry in cache.entries() if "64x96" in entry.facts]
    assert entry.state == "ok"
    content = bytearray((entry.folder / FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (entry.folder / FILE).write_bytes(content)
    (notice,) = open_runtime(Settings(runtime="tensorrt", lag=0), (64, 96)).notices
    assert "is damaged" in notice
    assert "built again" in notice


@pytest.mark.gpu
def test_bytes_that_tensorrt_refuses_are_no_engine():
    if what_is_missing():
        pytest.skip(what_is_missing())
    trt = __import__(find_flavour().module)
    with pytest.raises(runtime_tensorrt.EngineRefusedError):
        runtime_tensorrt.Loaded(bytes(1000), trt)
