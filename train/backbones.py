"""Frozen feature nets: VGG19 for the perceptual losses, VGG16 and SqueezeNet (with LPIPS) for measures only.

They come from a folder the user names (`--backbones DIR`) as safetensors and are never part of the shipped weights.
"""

from pathlib import Path
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

VGG_LAYERS = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv3_4")
VGG_WIDTHS = {"1": 64, "2": 128, "3": 256}


Padding: TypeAlias = Literal["zeros", "reflect"]


class Vgg(nn.Module):
    """VGG (Simonyan and Zisserman 2014) up to the third block; R'G'B' `[B, 3, H, W]` 0..1 to a dict of taps.

    taps: which of relu1_1 .. relu3_4 to give; the net is built no deeper than the last of them.
    """

    def __init__(self, taps: tuple[str, ...], *, padding: Padding, normalised: bool) -> None:
        super().__init__()
        self.taps = taps
        last = max(VGG_LAYERS.index("conv" + tap[4:]) for tap in taps)
        # The normalised VGG19 brings its own first layer, 1x1: R'G'B' 0..1 to BGR 0..255 less the mean.
        self.prepare: nn.Module = nn.Conv2d(3, 3, 1) if normalised else ImageNetScale()
        self.convs = nn.ModuleDict()
        channels = 3
        for name in VGG_LAYERS[: last + 1]:
            width = VGG_WIDTHS[name[4]]
            self.convs[name] = nn.Conv2d(channels, width, 3, padding=1, padding_mode=padding)
            channels = width

    def forward(self, rgb: Tensor) -> dict[str, Tensor]:
        """Features by tap; strides 1, 2, 4 for blocks 1, 2, 3."""
        x, taps, block = self.prepare(rgb), {}, "1"
        for name, conv in self.convs.items():
            if name[4] != block:
                x, block = F.max_pool2d(x, 2), name[4]
            x = torch.relu(conv(x))
            taps["relu" + name[4:]] = x
        return {tap: taps[tap] for tap in self.taps}


class ImageNetScale(nn.Module):
    """Mean and deviation of the ImageNet pictures."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        deviation: tuple[float, float, float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, 3, H, W]`, shifted and scaled."""
        return (x - self.mean) / self.deviation


class Fire(nn.Module):
    """SqueezeNet's module: squeeze by 1x1, expand by 1x1 and 3x3."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, 2 * expand, H, W]`."""
        x = torch.relu(self.squeeze(x))
        return torch.cat((torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))), 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 (Iandola et al. 2016): the seven taps that LPIPS looks at."""

    TAPS = (1, 4, 7, 9, 10, 11, 12)

    def __init__(self) -> None:
        super().__init__()
        self.prepare = ImageNetScale()
        pools = [nn.MaxPool2d(3, 2, ceil_mode=True) for _ in range(3)]
        fires = [Fire(64, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128), Fire(256, 32, 128)]
        fires += [Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)]
        head = (nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pools[0])
        self.features = nn.Sequential(*head, *fires[:2], pools[1], *fires[2:4], pools[2], *fires[4:])

    def taps(self, scaled: Tensor) -> list[Tensor]:
        """The seven taps of a picture that is scaled already."""
        x, taps = scaled, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.TAPS:
                taps.append(x)
        return taps

    def pooled(self, rgb: Tensor) -> Tensor:
        """Features `[B, 512]` of R'G'B' `[B, 3, H, W]` 0..1, averaged over the picture: the kernel distance's."""
        return self.taps(self.prepare(rgb))[-1].mean((2, 3))


class Lpips(nn.Module):
    """LPIPS v0.1 "squeeze" (Zhang et al. 2018): a measure here and never a loss."""

    WIDTHS = (64, 128, 256, 384, 384, 512, 512)

    def __init__(self, net: SqueezeNet) -> None:
        super().__init__()
        self.net = net
        self.scale = ImageNetScale((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))  # on -1..1, as published
        for index, width in enumerate(self.WIDTHS):
            self.register_buffer(f"lin{index}", torch.zeros(1, width, 1, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances `[B]` of two batches R'G'B' `[B, 3, H, W]` 0..1."""
        total = torch.zeros(a.shape[0], device=a.device)
        pairs = zip(self.net.taps(self.scale(2 * a - 1)), self.net.taps(self.scale(2 * b - 1)), strict=True)
        for index, (x, y) in enumerate(pairs):
            difference = (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square()
            total = total + (difference * self.get_buffer(f"lin{index}")).sum(1).mean((1, 2))
        return total


def _read(folder: Path, name: str) -> dict[str, Tensor]:
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise ValueError(
            f"{folder = }: {path.name} is missing; give the folder of the feature nets, or switch their losses off"
        )
    return {key: value.float() for key, value in load_file(path).items()}


def _frozen(net: nn.Module, state: dict[str, Tensor]) -> None:
    net.load_state_dict(state)
    net.eval().requires_grad_(False)


def load_vgg(folder: Path, name: str, taps: tuple[str, ...]) -> Vgg:
    """`vgg16` or `vgg19` (normalised: every tap has a mean of about 1 on photographs), frozen, fp32."""
    file, normalised = {"vgg16": ("vgg16_relu3_3", False), "vgg19": ("wct_vgg19norm_to3_4", True)}[name]
    net = Vgg(taps, padding="reflect" if normalised else "zeros", normalised=normalised)
    state = {}
    for key, value in _read(folder, file).items():
        layer = key.split(".", 1)[0]
        if layer in net.convs:
            state["convs." + key] = value
        elif normalised and layer not in VGG_LAYERS:
            state["prepare." + key.split(".", 1)[1]] = value
    _frozen(net, state)
    return net


def load_squeezenet(folder: Path) -> SqueezeNet:
    """SqueezeNet 1.1 without its classifier, frozen, fp32."""
    net = SqueezeNet()
    state = {key: value for key, value in _read(folder, "squeezenet1_1").items() if key.startswith("features.")}
    _frozen(net, state)
    return net


def load_lpips(folder: Path) -> Lpips:
    """LPIPS on SqueezeNet, frozen, fp32."""
    net = Lpips(load_squeezenet(folder))
    heads = _read(folder, "lpips_squeeze_lin")
    missing = net.load_state_dict(heads, strict=False).unexpected_keys
    if missing:
        raise ValueError(f"{folder = }: lpips_squeeze_lin holds unknown tensors {missing}")
    net.eval().requires_grad_(False)
    return net
