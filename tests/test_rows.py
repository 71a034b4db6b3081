import pytest
import torch

from model import weights as released
from model.generator import Generator
from stream.errors import InputError
from train import checkpoint, rows


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(1)
    return Generator().eval()


def test_generators_are_loaded_from_safetensors_and_checkpoints(generator, tmp_path):
    digest = released.export(generator, tmp_path / "a.safetensors")
    checkpoint.save(tmp_path / "b.pt", {"average": generator.state_dict()}, checkpoint.Progress())
    luma = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = generator.natural(luma)
        for name in ("a.safetensors", "b.pt"):
            loaded = rows.load_generator(tmp_path / name)
            assert torch.allclose(loaded.generator.natural(luma), expected, atol=0.02)
            assert len(loaded.sha256) == 64
    assert rows.load_generator(tmp_path / "a.safetensors").sha256 == digest


def test_a_strange_checkpoint_is_refused(tmp_path):
    checkpoint.save(tmp_path / "b.pt", {"average": {"a": torch.zeros(1)}}, checkpoint.Progress())
    with pytest.raises(InputError, match="weights of another network"):
        rows.load_generator(tmp_path / "b.pt")


def test_a_file_tells_whether_its_style_path_is_trained(generator, tmp_path):
    for style in (False, True):
        released.export(generator, tmp_path / "a.safetensors", style=style)
        assert rows.load_generator(tmp_path / "a.safetensors").styled == style


def test_rows_are_named_by_their_sources_or_as_one_likes():
    assert rows.labelled(("natural", "after=runs/a=b.pt")) == {"natural": "natural", "after": "runs/a=b.pt"}
    with pytest.raises(ValueError, match="two rows of one name"):
        rows.labelled(("a=x.pt", "a=y.pt"))


def test_what_is_neither_file_nor_release_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=f"no release of that name; there are {next(iter(released.releases()))}"):
        rows.load_generator("nowhere")
