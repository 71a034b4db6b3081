"""A discriminator with its optimiser: learns from what it was shown, judges what the generator makes."""

from typing import Any

import torch
from torch import Tensor

from model.discriminator import Discriminator, generator_loss, hinge_fake, hinge_real


class Critic:
    """Tells real pictures from generated ones; `judge` is the generator's loss, `learn` the critic's own step."""

    def __init__(self, device: torch.device, *, learning_rate: float, code_size: int = 0) -> None:
        self.net = Discriminator(code_size=code_size).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Betas of GANs with spectral norm (Miyato et al. 2018); a critic with momentum runs behind the generator.
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=learning_rate, betas=(0.0, 0.9))
        self._shown: tuple[Tensor, Tensor, Tensor | None] | None = None

    def judge(self, real: Tensor, fake: Tensor, code: Tensor | None = None) -> Tensor:
        """The generator's loss for fake pictures `[B, 3, H, W]`; keeps both, detached, for `learn`."""
        self._shown = (real.detach(), fake.detach(), None if code is None else code.detach())
        if not fake.requires_grad:
            return fake.new_zeros(())
        self.net.requires_grad_(False)
        score = self.net(fake, None if code is None else code.detach())
        self.net.requires_grad_(True)
        return generator_loss(score.float())

    def learn(self) -> Tensor:
        """One update on the pictures last judged; the loss, detached."""
        if self._shown is None:
            raise ValueError("nothing was judged yet; call judge first")
        real, fake, code = self._shown
        with torch.autocast(real.device.type, dtype=torch.bfloat16):
            loss = hinge_real(self.net(real, code).float()) + hinge_fake(self.net(fake, code).float())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint's state."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
