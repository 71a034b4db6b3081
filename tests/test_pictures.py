import cv2
import numpy as np
import pytest

from train import pictures
from train.data import find_pictures


def test_mean_chroma_counts_every_picture_alike(tmp_path):
    for name, side, blue in (("small", 8, 255), ("large", 64, 0)):
        picture = np.zeros((side, side, 3), np.uint8)
        picture[..., 0] = blue  # OpenCV writes blue first
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    assert pictures.mean_chroma(find_pictures([tmp_path])) == pytest.approx((0.25, -0.114 / 1.402 / 2), abs=1e-4)
