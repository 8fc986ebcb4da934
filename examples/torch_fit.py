"""Fits Gaussians to a photograph with a loss of your own, in torch: python examples/torch_fit.py [cpu or cuda]

The encoder does this better and faster. Start from here for a loss that it does not have. Needs
pip install 'smartsplat[gpu]'.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from smartsplat.torch import render

WIDTH, HEIGHT, COUNT, STEPS = 332, 187, 2000, 300


def main(device: str = "cpu", steps: int = STEPS) -> float:
    """Fits, writes torch_fit.png and returns the PSNR."""
    photograph = Image.open(Path(__file__).parent / "seeding.jpg").resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    target = torch.tensor(np.asarray(photograph) / 255, dtype=torch.float32, device=device)
    means = torch.rand(COUNT, 2, device=device) * torch.tensor((WIDTH, HEIGHT), device=device)
    log_scales = torch.full((COUNT, 2), math.log(math.sqrt(WIDTH * HEIGHT / COUNT) / 2), device=device)
    rotations, colors = torch.rand(COUNT, device=device) * math.pi, torch.full((COUNT, 3), 0.2, device=device)
    learning_rates = ((means, 0.2), (log_scales, 0.02), (rotations, 0.02), (colors, 0.01))
    optimizer = torch.optim.Adam([{"params": [field.requires_grad_()], "lr": lr} for field, lr in learning_rates])
    for _ in range(steps):
        image = render(means, log_scales, rotations, colors, (WIDTH, HEIGHT))
        loss = ((image - target) ** 2).mean() + 0.1 * (image - target).abs().mean()  # put your own here
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pixels = image.detach().clamp(0, 1)
    Image.fromarray((pixels * 255 + 0.5).byte().cpu().numpy()).save("torch_fit.png")
    psnr = -10 * math.log10(((pixels - target) ** 2).mean().item())
    print(f"{COUNT} Gaussians, {steps} steps, {psnr:.2f} dB: torch_fit.png")
    return psnr


if __name__ == "__main__":
    main(*sys.argv[1:])
