"""The critics of adversarial training; no part of what is shipped."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """PatchGAN (Isola et al. 2017) on Y'CbCr with spectral norm (Miyato et al. 2018): a score for every place.

    With a code it is a projection critic (Miyato and Koyama 2018): does the patch look like that style?
    """

    def __init__(self, widths: tuple[int, ...] = (48, 96, 192), code_size: int = 0) -> None:
        super().__init__()
        channels = (3, *widths)
        self.convs = nn.ModuleList(
            spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1))
            for inputs, outputs in zip(channels, widths, strict=False)
        )
        self.last = spectral_norm(nn.Conv2d(widths[-1], widths[-1], 3, padding=1))
        self.score = spectral_norm(nn.Conv2d(widths[-1], 1, 1))
        self.project = spectral_norm(nn.Linear(code_size, widths[-1], bias=False)) if code_size else None

    def forward(self, picture: Tensor, code: Tensor | None = None) -> Tensor:
        """Scores `[B, 1, h, w]`, high for real; picture `[B, 3, H, W]`: luma 0..1 and chroma; code `[B, S]`."""
        x = picture * picture.new_tensor((2.0, 4.0, 4.0)).view(1, 3, 1, 1)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        x = F.leaky_relu(self.last(x), 0.2)
        score: Tensor = self.score(x)
        if self.project is not None and code is not None:
            score = score + (self.project(code)[:, :, None, None] * x).sum(1, keepdim=True)
        return score


def hinge_real(score: Tensor) -> Tensor:
    """The critic's loss on real pictures (hinge: Lim and Ye 2017)."""
    return F.relu(1 - score).mean()


def hinge_fake(score: Tensor) -> Tensor:
    """The critic's loss on generated ones."""
    return F.relu(1 + score).mean()


def generator_loss(score: Tensor) -> Tensor:
    """What the generator minimises to be taken for real."""
    return -score.mean()
