from dataclasses import replace

import pytest
import torch

from model import weights
from model.generator import Generator
from model.style import EXEMPLAR_SIDES, PALETTE


@pytest.fixture(scope="module")
def release():
    return weights.releases()["kinochrome"]


def test_the_release_is_small_and_loads(release):
    assert release.path.stat().st_size <= 20e6
    generator = weights.load(release)
    assert not generator.training
    with torch.no_grad():
        assert torch.isfinite(generator.natural(torch.rand(1, 1, 64, 64))).all()


def test_the_release_names_licence_and_sources(release):
    assert release.licence
    assert release.sources
    assert "natural" in release.graphs


def test_a_changed_file_is_refused(release, tmp_path, monkeypatch):
    changed = bytearray(release.path.read_bytes())
    changed[-1] ^= 1
    (tmp_path / release.file).write_bytes(changed)
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(weights.WeightsError, match="sha256"):
        weights.load(release)


def test_a_missing_file_is_refused(release):
    with pytest.raises(weights.WeightsError, match="missing"):
        weights.load(replace(release, file="nothing.safetensors"))


def test_what_is_exported_comes_back(tmp_path):
    generator = Generator().eval()
    weights.export(generator, tmp_path / "a.safetensors", style=True)
    again = weights.load_path(tmp_path / "a.safetensors")
    luma = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(again.natural(luma), generator.natural(luma), atol=2e-3)  # FP16


def test_looks_travel_with_the_weights(release, tmp_path):
    codes = {"first": torch.randn(128), "second": torch.randn(128)}
    weights.export(Generator(), tmp_path / "a.safetensors", style=True, looks=codes)
    found = weights.load_looks(replace(release, file=str(tmp_path / "a.safetensors"), looks=dict.fromkeys(codes, "")))
    assert found.keys() == codes.keys()
    assert all(torch.allclose(found[name], code, atol=2e-3) for name, code in codes.items())
    assert weights.load_path(tmp_path / "a.safetensors").style_decoder.head.weight.abs().sum() > 0


def test_the_release_has_looks_of_unit_size(release):
    looks = weights.load_looks(release)
    assert len(looks) >= 8
    for codes in looks.values():
        assert codes.shape == (len(EXEMPLAR_SIDES), release.config.code_size)
        assert (codes[:, PALETTE:].square().mean(1) - 1).abs().max() < 0.01


def test_weights_of_another_network_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(weights.WeightsError, match="not this network's"):
        weights.load_path(tmp_path / "b.safetensors")
    (tmp_path / "c.safetensors").write_text("text")
    with pytest.raises(weights.WeightsError, match="no safetensors"):
        weights.load_path(tmp_path / "c.safetensors")


def test_weights_beyond_fp16_are_not_written(tmp_path):
    generator = Generator()
    with torch.no_grad():
        generator.chroma_head.weight.fill_(1e6)
    with pytest.raises(weights.WeightsError, match="FP16"):
        weights.export(generator, tmp_path / "d.safetensors")
