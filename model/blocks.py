"""The pieces of the generator: convolutions with batch norm, the EfficientNet-Lite0 trunk, one level of the decoder."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Kernel, stride, expansion, channels, repeats: EfficientNet-Lite0 (Apache-2.0), the table of its authors.
LITE0_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# The last stage at each stride; strides 2, 4, 8, 16, 32.
LITE0_TAPS = (0, 1, 2, 4, 6)
LITE0_CHANNELS = tuple(LITE0_STAGES[tap][3] for tap in LITE0_TAPS)
LITE0_STEM = 32
EARLY_STAGES = 3
LITE0_MEAN, LITE0_SPREAD = 127, 128
"""What the ImageNet weights took off eight-bit samples, and divided them by."""


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding for even sizes, which the ImageNet weights were trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, C', H / stride, W / stride]`; H and W are multiples of the stride."""
        total = self.kernel_size[0] - self.stride[0]
        before = total // 2
        # Symmetric padding would shift the features of strided layers by a pixel and costs accuracy.
        padded = F.pad(x, (before, total - before, before, total - before))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, 1, self.groups)


def same_conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias; the plain kind wherever its symmetric padding is the same thing."""
    if stride == 1:
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return SameConv(inputs, outputs, kernel, stride, groups=groups, bias=False)


class InvertedResidual(nn.Module):
    """MobileNetV2's block as EfficientNet-Lite uses it: no squeeze-and-excitation, ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = nn.Conv2d(inputs, wide, 1, bias=False) if expansion > 1 else None
        self.norm_expand = nn.BatchNorm2d(wide, eps=1e-3) if expansion > 1 else None
        self.depthwise = same_conv(wide, wide, kernel, stride, groups=wide)
        self.norm_depthwise = nn.BatchNorm2d(wide, eps=1e-3)
        self.project = nn.Conv2d(wide, outputs, 1, bias=False)
        self.norm_project = nn.BatchNorm2d(outputs, eps=1e-3)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, C', H / stride, W / stride]`."""
        y: Tensor = x
        if self.expand is not None and self.norm_expand is not None:
            y = F.relu6(self.norm_expand(self.expand(y)))
        y = F.relu6(self.norm_depthwise(self.depthwise(y)))
        y = self.norm_project(self.project(y))
        return x + y if self.residual else y


class Trunk(nn.Module):
    """EfficientNet-Lite0 up to stride 32, for pictures of one channel.

    A grey picture has three equal channels, so the stem's weights are their sum: the same function, cheaper.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = same_conv(1, LITE0_STEM, 3, stride=2)
        self.norm_stem = nn.BatchNorm2d(LITE0_STEM, eps=1e-3)
        stages, channels = [], LITE0_STEM
        for kernel, stride, expansion, outputs, repeats in LITE0_STAGES:
            blocks = []
            for index in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, kernel, stride if index == 0 else 1, expansion))
                channels = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, luma: Tensor) -> list[Tensor]:
        """Features at strides 2, 4, 8, 16, 32 of luma `[B, 1, H, W]` 0..1."""
        early = self.early(luma)
        return early + self.late(early[-1])

    def early(self, luma: Tensor) -> list[Tensor]:
        """Features at strides 2, 4, 8: the part that needs more than bf16's eight bits (stream/runtime_openvino.py)."""
        return self.early_from(self.begin(luma))

    def begin(self, luma: Tensor) -> Tensor:
        """Features at stride 2: the part that needs more than FP16's eleven bits (model/graphs.py)."""
        return self.begin_from((luma * 255 - LITE0_MEAN) / LITE0_SPREAD)

    def begin_from(self, x: Tensor) -> Tensor:
        """`begin` for those who have scaled luma so themselves."""
        return self._run(F.relu6(self.norm_stem(self.stem(x))), range(1))[0]

    def early_from(self, x: Tensor) -> list[Tensor]:
        """`early` for those who have run `begin` themselves, in another precision."""
        return [x, *self._run(x, range(1, EARLY_STAGES))]

    def late(self, x: Tensor) -> list[Tensor]:
        """Features at strides 16, 32 of those at stride 8."""
        return self._run(x, range(EARLY_STAGES, len(LITE0_STAGES)))

    def _run(self, x: Tensor, stages: range) -> list[Tensor]:
        taps = []
        for index in stages:
            x = self.stages[index](x)
            if index in LITE0_TAPS:
                taps.append(x)
        return taps


class ConvNorm(nn.Sequential):
    """3x3 convolution, batch norm, ReLU: folds into one operation at run time."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Hint(nn.Module):
    """Known colours as features of one level. They join the decoder, so that the trunk stays a reader of luma alone."""

    def __init__(self, stride: int, channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(3, channels, 1, bias=False)
        nn.init.zeros_(self.conv.weight)  # nothing known changes nothing, and training starts from there

    def forward(self, known: Tensor) -> Tensor:
        """`[B, C, H/stride, W/stride]` of known colours `[B, 3, H, W]`: Cb and Cr, zero where unknown, and where."""
        return self.conv(F.avg_pool2d(known, self.stride))  # type: ignore[no-any-return]


class Level(nn.Module):
    """One level of the feature pyramid: what came from below, upsampled, plus the trunk's features of this stride."""

    def __init__(self, below: int, lateral: int, width: int, stride: int) -> None:
        super().__init__()
        self.below = nn.Conv2d(below, width, 1, bias=False)
        self.lateral = nn.Conv2d(lateral, width, 1, bias=False)
        self.hint = Hint(stride, width)
        self.norm = nn.BatchNorm2d(width)
        self.first = ConvNorm(width, width)
        self.second = ConvNorm(width, width)

    def forward(self, below: Tensor, lateral: Tensor, known: Tensor | None) -> Tensor:
        """`[B, C, h, w]` and `[B, C', 2h, 2w]` to `[B, width, 2h, 2w]`; known: `[B, 3, H, W]` as `Hint` takes it."""
        # The 1x1 runs before the upsampling: the two commute, and it is four times cheaper there.
        x: Tensor = F.interpolate(self.below(below), scale_factor=2.0, mode="bilinear", align_corners=False)
        x = x + self.lateral(lateral)
        if known is not None:
            x = x + self.hint(known)
        return self.second(self.first(torch.relu(self.norm(x))))  # type: ignore[no-any-return]
