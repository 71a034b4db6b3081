import numpy as np
import pytest

from stream.frame import ColorTags, Frame
from train import films


def test_films_of_a_folder_leave_out_what_training_may_use(tmp_path):
    for name in ("sam2_01_dog.mp4", "sam2_02_cups.mp4", "note.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in films.find_films([tmp_path])] == ["sam2_02_cups.mp4"]
    with pytest.raises(ValueError, match="no films found"):
        films.find_films([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("full", "depth", "black", "white"), [(True, 8, 0, 255), (False, 8, 16, 235), (False, 10, 64, 940)]
)
def test_luma_covers_its_range(full, depth, black, white):
    plane = np.full((40, 60), black, np.uint8 if depth == 8 else np.uint16)
    plane[:, 30:] = white
    luma, chroma = films.working_planes(Frame(planes=(plane,), depth=depth, tags=ColorTags(full_range=full)), 64)
    assert luma.shape == (1, 64, 96)
    assert chroma.shape == (2, 64, 96)
    assert (luma.min(), luma.max()) == (0, 1)
    assert not chroma.any()


@pytest.mark.parametrize(
    ("matrix", "cb", "cr"), [("bt601", 0.25, -0.25), ("bt709", 0.25 * 1.8556 / 1.772, -0.25 * 1.5748 / 1.402)]
)
def test_chroma_is_scaled_from_the_matrix_of_the_film(matrix, cb, cr):
    luma = np.full((64, 64), 100, np.uint8)
    planes = (luma, np.full((32, 32), 128 + 56, np.uint8), np.full((32, 32), 128 - 56, np.uint8))
    _, chroma = films.working_planes(Frame(planes=planes, tags=ColorTags(matrix=matrix)), 64)
    assert chroma.mean((1, 2)).tolist() == pytest.approx([cb, cr], abs=1e-4)
