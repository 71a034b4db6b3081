"""Every runtime against the torch reference, with the shipped weights."""

import json

import numpy as np
import pytest
import torch

from stream.config import Settings
from stream.errors import EngineError, UsageError
from stream.runtime import (
    GOLDEN_MEAN,
    GOLDEN_P999,
    PAINTED_MEAN,
    PAINTED_P999,
    Painted,
    Style,
    check_engine,
    difference,
    golden_frames,
    golden_style,
    open_reference,
    open_runtime,
)

SIZE = (64, 96)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module", params=["torch", "openvino"])
def runtime(request):
    return open_runtime(Settings(runtime=request.param), SIZE, styled=True).runtime


@pytest.fixture(scope="module")
def reference():
    return open_reference(Settings())


def pictures(count, size=SIZE):
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 1, 8, 12, generator=generator)
    luma = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)
    return (luma + 0.02 * torch.randn(luma.shape, generator=generator)).clamp(0, 1).numpy()


class TestEveryRuntime:
    def test_agrees_with_the_reference(self, runtime, reference):
        for luma in (pictures(4), golden_frames(SIZE)):
            mean, p999 = difference(runtime.start(luma)().chroma, reference.start(luma)().chroma)
            assert mean <= GOLDEN_MEAN
            assert p999 <= GOLDEN_P999

    def test_frame_by_frame_equals_a_batch(self, runtime):
        luma = pictures(5)
        whole = runtime.start(luma)().chroma
        # oneDNN and cuDNN choose other kernels for other batches: equal to a hundredth of an eight-bit level.
        for index in range(5):
            assert np.abs(runtime.start(luma[index : index + 1])().chroma - whole[index : index + 1]).max() * 255 < 0.01

    def test_batches_may_overlap(self, runtime):
        luma = pictures(6)
        first, second = runtime.start(luma[:3]), runtime.start(luma[3:])
        assert (
            np.abs(np.concatenate((first().chroma, second().chroma)) - runtime.start(luma)().chroma).max() * 255 < 0.01
        )

    def test_shape_and_range(self, runtime):
        chroma, luma = runtime.start(pictures(2))()
        assert luma is None
        assert chroma.shape == (2, 2, SIZE[0] // 2, SIZE[1] // 2)
        assert chroma.dtype == np.float32
        assert np.abs(chroma).max() <= 0.5

    @pytest.mark.parametrize("coloured", [False, True])
    def test_paints_as_the_reference_does(self, runtime, reference, coloured):
        luma = pictures(3)
        code, chroma = golden_style(luma, reference.generator.config.code_size)
        style = Style(code=code, chroma=chroma if coloured else None)
        made, wanted = runtime.start(luma, style)(), reference.start(luma, style)()
        assert made.luma.shape == luma.shape
        for found, right in zip(made, wanted, strict=True):
            mean, p999 = difference(found, right)
            assert mean <= PAINTED_MEAN
            assert p999 <= PAINTED_P999
        assert difference(made.luma, luma)[0] > 1  # and it is painted

    def test_no_strength_is_the_natural_look(self, runtime, reference):
        luma = pictures(2)
        code = np.zeros(reference.generator.config.code_size, np.float32)
        made = runtime.start(luma, Style(code=code, chroma=None))()
        assert np.array_equal(made.luma, luma)
        assert np.abs(made.chroma - runtime.start(luma)().chroma).max() * 255 < 0.5


def test_a_style_needs_an_engine_opened_for_it():
    luma = pictures(1)
    runtime = open_runtime(Settings(runtime="openvino"), SIZE).runtime
    with pytest.raises(EngineError, match="styled=True"):
        runtime.start(luma, golden_style(luma, 128))()


def test_an_engine_is_converted_once_and_marked_as_checked(cache):
    open_runtime(Settings(runtime="openvino"), SIZE)
    (meta,) = cache.glob("kinochrome/engines/*/*natural-64x96*/meta.json")
    assert json.loads(meta.read_text())["p999_levels"] <= GOLDEN_P999
    model = meta.with_name("graph.xml")
    before = model.stat().st_mtime_ns
    open_runtime(Settings(runtime="openvino"), SIZE)
    assert model.stat().st_mtime_ns == before
    assert (cache / "kinochrome").stat().st_mode & 0o077 == 0


def test_a_cut_off_conversion_is_made_again(cache):
    open_runtime(Settings(runtime="openvino"), SIZE)
    (meta,) = cache.glob("kinochrome/engines/*/*natural-64x96*/meta.json")
    meta.unlink()
    meta.with_name("graph.xml").write_text("half a file")
    assert open_runtime(Settings(runtime="openvino"), SIZE).runtime.start(pictures(1))().chroma.shape[0] == 1


@pytest.mark.parametrize("name", ["graph.xml", "graph.bin"])
def test_a_damaged_engine_is_made_again(cache, reference, name):
    open_runtime(Settings(runtime="openvino"), SIZE)
    (file,) = cache.glob(f"kinochrome/engines/*/*natural-64x96*/{name}")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x40
    file.write_bytes(content)
    chroma = open_runtime(Settings(runtime="openvino"), SIZE).runtime.start(pictures(2))().chroma
    assert difference(chroma, reference.start(pictures(2))().chroma)[1] <= GOLDEN_P999


def test_a_cache_that_cannot_be_written_is_named(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    with pytest.raises(EngineError, match="XDG_CACHE_HOME"):
        open_runtime(Settings(runtime="openvino"), SIZE)


@pytest.mark.parametrize("wrong", [np.nan, 0.02])
def test_an_engine_that_differs_is_refused(reference, wrong):
    class Off:
        name = "off"

        def start(self, luma, style=None):
            return lambda: Painted(reference.start(luma)().chroma + np.float32(wrong), None)

    with pytest.raises(EngineError, match="differs from the reference"):
        check_engine(Off(), reference.generator, SIZE)


def test_a_precision_that_fails_the_check_gives_way_to_fp32_and_says_so(monkeypatch, cache):
    if "bf16" not in open_runtime(Settings(runtime="openvino"), SIZE).runtime.name:
        pytest.skip("this CPU has no bf16: there is nothing to refuse")
    monkeypatch.setattr("stream.runtime.GOLDEN_P999", 1e-3)  # fp32 is closer than this, bf16 is not
    for _ in range(2):  # made, then read from the cache
        runtime = open_runtime(Settings(runtime="openvino"), (96, 96)).runtime
        assert ", f32, " in runtime.name
        assert "bf16 refused: differs from the reference" in runtime.name


def test_the_choice_says_why():
    assert open_runtime(Settings(), SIZE).reason == "the default on a CPU"
    assert open_runtime(Settings(runtime="torch"), SIZE).reason == "asked for"


def test_weights_that_do_not_exist_are_refused_with_the_choices():
    with pytest.raises(UsageError, match="kinochrome"):
        open_runtime(Settings(weights="sepia"), SIZE)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiples of 32"):
        open_runtime(Settings(runtime="torch"), (100, 100))
