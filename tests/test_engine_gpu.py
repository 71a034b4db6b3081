"""The engine whose planes lie on a device: here the device is the CPU, and the graphs run in FP16 as on a GPU."""

import copy
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from model import temporal
from model.graphs import Fused, Natural
from stream import numbered, painter
from stream import runtime as runtime_module
from stream.colorize import Job, colorize
from stream.config import Settings
from stream.engine import Engine
from stream.engine_gpu import GpuEngine, _each, engine_for
from stream.errors import EngineError, KinochromeError, ResourceError
from stream.ferry import SLOTS
from stream.frame import ColorTags, Frame
from stream.geometry import Geometry
from stream.job import folder_of
from stream.looks import Look
from stream.media import read_frames
from stream.opening import Opening
from stream.runtime import (
    Choice,
    TorchRuntime,
    difference,
    find_release,
    golden_frames,
    golden_style,
    load_generator,
    open_reference,
)
from stream.runtime_gpu import LARGEST_BATCH, Checked, GpuRuntime, TorchMaker, check, choose_batch, indexed, ran_out
from stream.seams import Start, pack, unpack
from stream.shots import LEAD
from stream.steady import Online

CPU = torch.device("cpu")
GEOMETRY = Geometry.of(96, 64, short_side=64)
SIZE = GEOMETRY.padded


@pytest.fixture(scope="module")
def generator():
    return load_generator(find_release("kinochrome"))


@pytest.fixture(scope="module")
def runtime(generator):
    return GpuRuntime(TorchMaker(generator, SIZE, CPU), CPU, 4, ("natural", "fused"))


class Exact:
    """A maker of the graphs in float32: then all that is left to differ is the work on planes."""

    name = "exact"

    def __init__(self, generator):
        self.notices = []
        self._modules = {"natural": Natural(generator, torch.float32), "fused": Fused(generator, torch.float32)}

    def make(self, graph, batch):
        def run(*given):
            made = self._modules[graph](*given)
            return made if isinstance(made, tuple) else (made,)

        return run


@pytest.fixture(scope="module")
def exact(generator):
    return GpuRuntime(Exact(generator), CPU, 4, ("natural", "fused"))


@pytest.fixture(scope="module")
def reference(generator):
    return TorchRuntime(generator, CPU)


@pytest.fixture(scope="module")
def look(generator):
    code = golden_style(golden_frames(SIZE), generator.config.code_size).code
    return Look(name="golden", title="golden", codes=code[None])


def film(count, size=(64, 96), depth=8, coloured=False, **more):
    """Pictures in motion with a cut in the middle."""
    scenes = golden_frames((size[0], size[1] + 40))[:, 0]
    made = []
    for number in range(count):
        scene = scenes[0 if number < count / 2 else 2][:, number : number + size[1]]
        kind = np.uint8 if depth == 8 else np.uint16
        low, high = 16 << (depth - 8), 235 << (depth - 8)
        planes = [(low + scene * (high - low)).astype(kind)]
        if coloured:
            half = planes[0][::2, ::2]
            planes += [np.full_like(half, 150 << (depth - 8)), np.full_like(half, 100 << (depth - 8))]
        made.append(Frame(planes=tuple(planes), depth=depth, pts=number, **more))
    return made


def both(runtime, reference, frames, look=None, subsampling=(1, 1), geometry=GEOMETRY, **settings):
    """What the GPU's engine and the CPU's make of the same frames."""
    more = {"subsampling": subsampling, "settings": Settings(**settings), "look": look}
    return [list(engine_for(each, geometry, **more).run(frames)) for each in (runtime, reference)]


def compare(found, wanted, *, most, mean, planes=(1, 2)):
    assert [frame.pts for frame in found] == [frame.pts for frame in wanted]
    for made, right in zip(found, wanted, strict=True):
        for number in planes:
            assert made.planes[number].dtype == right.planes[number].dtype
            apart = np.abs(made.planes[number].astype(int) - right.planes[number].astype(int)) / 2 ** (made.depth - 8)
            assert np.quantile(apart, 0.999) <= most
            assert apart.mean() <= mean


@pytest.mark.parametrize("lag", [0, 6])
@pytest.mark.parametrize("count", [1, 3, 4, 5, 19])
def test_every_frame_comes_out_in_order_as_the_cpu_makes_it(runtime, reference, lag, count):
    frames = film(count)
    found, wanted = both(runtime, reference, frames, lag=lag)
    assert [frame.pts for frame in found] == list(range(count))
    assert all(made.luma is frame.luma for made, frame in zip(found, frames, strict=True))
    compare(found, wanted, most=2, mean=0.2)


CASES = {
    "ten bits, 4:2:2": ({"depth": 10}, {"subsampling": (1, 0)}),
    "sixteen bits, full range": ({"depth": 16, "tags": ColorTags(full_range=True, matrix="bt709")}, {}),
    "fields": ({"interlaced": True}, {}),
    "fields, 4:2:2": ({"interlaced": True}, {"subsampling": (1, 0)}),
    "fields of odd height": ({"interlaced": True, "size": (65, 96)}, {"subsampling": (0, 0)}),
    "4:4:4": ({}, {"subsampling": (0, 0)}),
    # In 16 bits: OpenCV enlarges 8 bits to 8 bits, and how far that moves the colours is the network's business.
    "an odd size": ({"size": (63, 95), "depth": 16}, {"subsampling": (0, 0)}),
    "turned": ({}, {"geometry": Geometry.of(96, 64, short_side=64, rotation=90)}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_film(case, exact, reference):
    made, asked = CASES[case]
    found, wanted = both(exact, reference, film(3, **made), **asked)
    assert found[0].planes[1].shape == found[0].chroma_shape
    compare(found, wanted, most=2, mean=0.2)  # OpenCV looks up at 1/32 of a sample


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("source_colours", [False, True])
def test_looks_are_painted_as_the_cpu_paints_them(exact, reference, look, interlaced, source_colours):
    frames = film(3, coloured=source_colours, interlaced=interlaced)
    found, wanted = both(exact, reference, frames, look, source_colours=source_colours, strength=0.9)
    assert np.abs(found[0].luma.astype(int) - frames[0].luma).mean() > 1
    compare(found, wanted, most=3, mean=0.3, planes=(0, 1, 2))


def test_fields_and_whole_pictures_may_alternate(exact, reference):
    frames = [*film(2), *film(2, interlaced=True), *film(1)]
    found, wanted = both(exact, reference, frames, steady=0.0)
    compare(found, wanted, most=1, mean=0.05)


def test_live_takes_single_frames(exact, reference, look):
    engines = [engine_for(each, GEOMETRY, settings=Settings(lag=0)) for each in (exact, reference)]
    past = [Online(), Online()]
    for number, frame in enumerate(film(6)):
        for engine in engines:
            engine.restyle(look if number >= 4 else None)
        found, wanted = (engine.one(frame, online) for engine, online in zip(engines, past, strict=True))
        compare([found], [wanted], most=3 if number >= 4 else 1, mean=0.3 if number >= 4 else 0.05)


def test_the_engine_is_chosen_by_where_the_planes_lie(runtime, reference):
    assert isinstance(engine_for(runtime, GEOMETRY), GpuEngine)
    assert type(engine_for(reference, GEOMETRY)) is Engine


def test_a_batch_of_any_length_is_cut_and_filled_up(runtime, reference):
    luma = golden_frames(SIZE)
    for count in (1, 3, 4, 7, 9):
        pictures = np.resize(luma, (count, *luma.shape[1:]))
        found, wanted = runtime.start(pictures)(), reference.start(pictures)()
        assert found.chroma.shape == wanted.chroma.shape
        assert difference(found.chroma, wanted.chroma)[1] <= 2


def test_the_graphs_pass_the_golden_frames(runtime, generator):
    for graph in ("natural", "fused"):
        assert check(runtime, generator, SIZE, graph)["mean_levels"] < 0.5


def test_a_graph_that_differs_is_refused(generator):
    wrong = copy.deepcopy(generator)
    with torch.no_grad():
        wrong.chroma_head.bias += 0.05
    with pytest.raises(EngineError, match="differs from the reference"):
        check(GpuRuntime(TorchMaker(wrong, SIZE, CPU), CPU, 4), generator, SIZE, "natural")


class Spoiling:
    """A maker whose programs are wrong at one place in the batch, or in one size of batch."""

    name = "spoiling"

    def __init__(self, generator, *, place=0, batch=4):
        self._maker, self.notices = TorchMaker(generator, SIZE, CPU), []
        self._place, self._batch = place, batch

    def make(self, graph, batch):
        program = self._maker.make(graph, batch)

        def run(*given):
            made = [part.clone() for part in program(*given)]
            if batch == self._batch:
                made[0][self._place] += 0.1
            return tuple(made)

        return run


@pytest.mark.parametrize("graph", ["natural", "fused"])
def test_a_graph_that_is_wrong_at_one_place_in_the_batch_is_refused(generator, graph):
    for place in (0, 5, 7):
        runtime = GpuRuntime(Spoiling(generator, place=place, batch=8), CPU, 8, (graph,))
        with pytest.raises(EngineError, match="differs from the reference"):
            check(runtime, generator, SIZE, graph)


def test_what_is_made_again_after_a_halving_is_checked_again(generator):
    maker = Checked(Spoiling(generator, batch=2), generator, SIZE, CPU, opening=Opening())
    runtime = GpuRuntime(maker, CPU, 4)
    runtime.halve(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(EngineError, match="differs from the reference"):
        runtime.start(golden_frames(SIZE))()


def test_a_device_without_a_number_is_the_current_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert indexed(torch.device("cuda")) == torch.device("cuda", 3)
    assert indexed(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert indexed(CPU) == CPU
    assert GpuRuntime(Exact(load_generator(find_release("kinochrome"))), torch.device("cuda"), 1).device.index == 3


def test_styles_need_a_runtime_opened_for_them(generator, look):
    runtime = GpuRuntime(TorchMaker(generator, SIZE, CPU), CPU, 2)
    with pytest.raises(EngineError, match="styled=True"):
        list(engine_for(runtime, GEOMETRY, look=look).run(film(1)))


class Failing:
    """A maker whose programs fail as a GPU does: from the call on, or on batches beyond what fits."""

    name = "failing"

    def __init__(self, generator, error, *, after=0, fits=0):
        self._maker = TorchMaker(generator, SIZE, CPU)
        self.notices = []
        self._error, self._after, self._fits, self.calls = error, after, fits, 0

    def make(self, graph, batch):
        program = self._maker.make(graph, batch)

        def run(*given):
            self.calls += 1
            if batch > self._fits and self.calls > self._after:
                raise self._error
            return program(*given)

        return run


LACKS = (
    torch.OutOfMemoryError("CUDA out of memory"),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
)


def test_what_says_that_memory_ran_out_is_told_from_the_rest():
    assert all(map(ran_out, LACKS))
    assert not ran_out(torch.AcceleratorError("CUDA error: unspecified launch failure"))
    assert not ran_out(RuntimeError("3 downloads are on their way and none was taken"))


@pytest.mark.parametrize("error", LACKS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("after", [0, 2])
def test_out_of_memory_halves_the_batch_says_so_and_loses_no_frame(generator, reference, after, error):
    maker = Failing(generator, error, after=after, fits=2)
    runtime = GpuRuntime(maker, CPU, 8)
    found, wanted = both(runtime, reference, film(21))
    assert runtime.batch == 2
    assert [notice for notice in runtime.notices if "batches of 2 frames" in notice]
    compare(found, wanted, most=3, mean=0.5)


def test_no_memory_for_a_single_frame_is_an_error_that_says_what_to_do(generator):
    runtime = GpuRuntime(Failing(generator, torch.OutOfMemoryError("CUDA out of memory")), CPU, 4)
    with pytest.raises(ResourceError, match="--short-side"):
        list(engine_for(runtime, GEOMETRY).run(film(3)))


@pytest.mark.parametrize("error", LACKS, ids=lambda error: type(error).__name__)
def test_where_smaller_batches_spare_nothing_the_memory_is_named(runtime, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(temporal, "include", fail)
    with pytest.raises(ResourceError, match="not enough GPU memory"):
        list(engine_for(runtime, GEOMETRY).run(film(8)))


def test_colours_that_are_no_numbers_are_refused(generator):
    broken = copy.deepcopy(generator)
    with torch.no_grad():
        broken.chroma_head.bias += float("nan")
    with pytest.raises(EngineError, match="no numbers"):
        list(engine_for(GpuRuntime(TorchMaker(broken, SIZE, CPU), CPU, 2), GEOMETRY).run(film(3)))


def test_a_lost_gpu_is_named_and_the_part_file_plays(clip, monkeypatch, generator, tmp_path):
    reel, target = clip("reel.mkv", size=(96, 64), pts=range(60)), tmp_path / "colour.mkv"
    lost = Failing(generator, torch.AcceleratorError("CUDA error: device lost"), after=10)
    runtime = GpuRuntime(lost, CPU, 4)
    monkeypatch.setattr(runtime_module, "open_runtime", lambda *_, **__: Choice(runtime=runtime, reason="for the test"))
    with pytest.raises(EngineError, match="the GPU was lost"):
        colorize(reel, target, settings=Settings(short_side=64, lag=6))
    assert not target.exists()
    (part,) = Path(tmp_path).glob("colour.part.mkv")
    written = list(read_frames(part))
    assert 0 < len(written) < 60
    for made, original in zip(written[:3], read_frames(reel), strict=False):
        assert made.pts == original.pts


def test_a_film_goes_through_from_file_to_file(clip, monkeypatch, runtime, tmp_path):
    reel, target = clip("reel.mkv", size=(96, 64), pts=range(30)), tmp_path / "colour.mkv"
    monkeypatch.setattr(runtime_module, "open_runtime", lambda *_, **__: Choice(runtime=runtime, reason="for the test"))
    report = colorize(reel, target, settings=Settings(short_side=64))
    assert (report.frames_in, report.frames_out, report.exit_code) == (30, 30, 0)
    assert "FP16" in report.runtime


class Tally:
    """How many pictures each piece of work had."""

    def __init__(self):
        self.counts = []

    def __call__(self, key, plane):
        self.counts.append(len(plane))
        return (plane + key,)


def test_planes_are_worked_on_in_batches_of_one_size_whatever_their_number():
    for count in (1, 4, 5, 11):
        work = Tally()
        items = [(number % 2, (torch.full((2, 3), float(number)),)) for number in range(count)]
        made = [plane for (plane,) in _each(items, work, 4)]
        assert set(work.counts) == {4}
        assert [plane[0, 0].item() for plane in made] == [number + number % 2 for number in range(count)]


def long_film(count=90, cut=74, **more):
    """Four pictures a second in motion: segments begin with the pictures 32 and 64, in the midst of a shot, and at the
    cut.
    """
    scenes = golden_frames((64, 96 + count))[:, 0]
    made = []
    for number in range(count):
        luma = 16 + 219 * scenes[0 if number < cut else 2][:, number : number + 96]
        made.append(Frame(planes=(luma.astype(np.uint8),), pts=number, time_base=Fraction(1, 4), **more))
    return made


def equal(made, right):
    return made.pts == right.pts and all(map(np.array_equal, made.planes, right.planes))


SEGMENTED = {
    "natural": ({}, {}),
    "painted": ({}, {"style": "golden", "strength": 0.9}),
    "fields": ({"interlaced": True}, {}),
    "not steady": ({}, {"steady": 0.0}),
}


@pytest.mark.parametrize("case", SEGMENTED)
def test_from_any_seam_on_it_is_the_film_of_one_go(runtime, look, case):
    kind, asked = SEGMENTED[case]
    frames, settings = long_film(**kind), Settings(**asked)
    engine = engine_for(runtime, GEOMETRY, settings=settings, look=look if settings.style else None)
    whole = list(engine.run(frames))
    parts = list(engine.run_segments(frames, Start()))
    assert all(equal(made, right) for (made, _), right in zip(parts, whole, strict=True))
    seams = [number for number, (_, seam) in enumerate(parts) if seam is not None]
    assert len(seams) > 2
    assert (parts[32][1] is not None and parts[32][1].carry is not None) == bool(settings.steady)
    for number in seams[1:]:
        carry, first = parts[number][1].carry, numbered.first_needed(number, settings.batch)
        carry = None if carry is None else unpack(pack(carry))
        rest = list(engine.run_segments(frames[first:], Start(lead=number - first, carry=carry, number=number)))
        assert all(equal(made, right) for (made, _), right in zip(rest, whole[number:], strict=True))
        assert [number + at for at, (_, seam) in enumerate(rest) if seam is not None] == [
            seam for seam in seams if seam >= number
        ]


def test_work_that_is_left_in_the_middle_leaves_the_buffers_free(exact):
    engine, frames = engine_for(exact, GEOMETRY), long_film(40, 40)
    for _ in range(2 * SLOTS):
        work = engine.run_segments(frames, Start())
        next(work)
        work.close()
    assert len(list(engine.run_segments(frames, Start()))) == 40


def test_a_film_that_is_left_in_the_middle_leaves_the_buffers_free(exact):
    engine, frames = engine_for(exact, GEOMETRY), long_film(40, 40)
    for _ in range(2 * SLOTS):
        work = engine.run(frames)
        next(work)
        work.close()
    assert len(list(engine.run(frames))) == 40


def test_out_of_memory_makes_no_other_segments_unless_they_may_be_mixed(generator):
    def engine(after):
        maker = Failing(generator, torch.OutOfMemoryError("CUDA out of memory"), after=after, fits=2)
        return engine_for(GpuRuntime(maker, CPU, 8), GEOMETRY)

    for after in (0, 3):
        with pytest.raises(ResourceError, match=r"batches of 8 frames.*--allow-mixed"):
            list(engine(after).run_segments(film(40), Start()))
        mixed = engine(after)
        assert len(list(mixed.run_segments(film(40), Start(mixed=True)))) == 40
        assert mixed.batch == 2
        assert mixed.notices


def scene(number):
    """Picture `number` of a pan over a minute's view."""
    luma = 16 + 219 * golden_frames((64, 200))[0, 0][:, number : number + 96]
    return [luma.astype(np.uint8), *[np.full((32, 48), 128, np.uint8)] * 2]


def stop_at(number):
    def progress(done, expected):
        if done == number:
            raise KinochromeError("stopped")

    return progress


@pytest.fixture
def panned(clip):
    """24 s in one shot."""
    rate = {"rate": Fraction(4), "time_base": Fraction(1, 4)}
    return clip("reel.mkv", size=(96, 64), pts=range(96), planes=scene, codec="ffv1", **rate)


def test_what_was_interrupted_goes_on_and_is_the_film_of_one_go(panned, monkeypatch, generator, tmp_path):
    runtime = GpuRuntime(TorchMaker(generator, SIZE, CPU), CPU, 8)
    monkeypatch.setattr(runtime_module, "open_runtime", lambda *_, **__: Choice(runtime=runtime, reason="for the test"))
    target, settings = tmp_path / "colour.mkv", Settings(short_side=64)
    cut = {"settings": settings, "job": Job(codec="ffv1", segments=True)}
    for number in (50, 85):
        with pytest.raises(KinochromeError, match="stopped"):
            colorize(panned, target, progress=stop_at(number), **cut)
    assert list(folder_of(target).glob("*.carry"))
    report = colorize(panned, target, **cut)
    assert 0 < report.frames_before < report.frames_out == 96
    assert "FP16" in report.runtime
    colorize(panned, tmp_path / "whole.mkv", settings=settings, job=Job(codec="ffv1", segments=False))
    whole = read_frames(tmp_path / "whole.mkv", keep_colour=True)
    assert all(map(equal, read_frames(target, keep_colour=True), whole))


def test_segments_belong_to_the_gpu_that_made_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")

    class Maker:
        name, notices = "torch 2.11, NVIDIA H100 sm_90, FP16, CUDA graphs", ()

        def make(self, graph, batch):
            return lambda *given: given

    runtime = GpuRuntime(Maker(), torch.device("cuda", 0), 16)
    found = painter.engine_identity(runtime)
    assert found == {"runtime": f"{Maker.name}, batch 16", "processor": "NVIDIA H100 sm_90"}
    assert painter.engine_identity(runtime, named=False)["runtime"] == ""
    on_host = GpuRuntime(Maker(), CPU, 16)
    assert painter.engine_identity(on_host)["processor"] == painter.processor()


def test_every_batch_of_a_gpu_begins_where_a_seam_is_found_again():
    for number in (0, 5, 40, 71, 104, 1000):
        for batch in (1, 3, 4):
            first = numbered.first_needed(number, batch, since=2)
            assert (first - 2) % LARGEST_BATCH == 0
            assert (first - 2) % batch == 0
            assert first <= max(2, number - LEAD)


def test_the_batch_is_chosen_by_memory_and_the_working_size():
    gib = 1 << 30
    assert choose_batch(80 * gib, (256, 480)) == LARGEST_BATCH
    chosen = [choose_batch(total * gib, (512, 928)) for total in (2, 4, 8, 16, 24, 48, 80)]
    assert chosen == sorted(chosen)
    assert chosen[0] == 1
    assert all(batch & (batch - 1) == 0 for batch in chosen)
    assert choose_batch(24 * gib, (256, 448)) >= choose_batch(24 * gib, (512, 896))


def test_pictures_are_still_the_references():
    assert isinstance(open_reference(Settings()), TorchRuntime)
