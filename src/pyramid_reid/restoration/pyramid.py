"""RC: three images of rising resolution from one set of features, and its file format."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pyramid_reid.errors import UserError
from pyramid_reid.params import Restoration, Section
from pyramid_reid.restoration.swinir import PUBLISHED, SwinIR


class Architecture(Section):
    """All that rebuilds a reconstructor."""

    depths: tuple[int, ...]
    dim: int
    num_heads: int
    head_dim: int
    scales: tuple[int, ...]

    @classmethod
    def of(cls, restoration: Restoration) -> Architecture:
        """The published size of the extractor where params leave it open."""
        depths, dim, num_heads = PUBLISHED[restoration.extractor]
        return cls(
            depths=restoration.depths or depths,
            dim=restoration.dim or dim,
            num_heads=restoration.num_heads or num_heads,
            head_dim=restoration.head_dim,
            scales=restoration.scales,
        )


class Head(nn.Module):
    """One scale: convolution, pixel shuffle, convolution, added to the bicubic up-sampling.

    The last convolution starts at zero, so that an untrained head is bicubic up-sampling.
    """

    def __init__(self, in_channels: int, head_dim: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.expand = nn.Conv2d(in_channels, head_dim * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)
        self.rgb = nn.Conv2d(head_dim, 3, 3, padding=1)
        nn.init.zeros_(self.rgb.weight)
        nn.init.zeros_(self.rgb.bias)  # type: ignore[arg-type]  # a Conv2d has a bias here

    def forward(self, features: Tensor, x: Tensor) -> Tensor:
        """(B, C, H, W) features of the images x (B, 3, H, W) to (B, 3, s H, s W)."""
        y = self.shuffle(self.expand(features))  # (B, head_dim, s H, s W)
        residual: Tensor = self.rgb(F.leaky_relu(y, 0.01))
        return residual + upsample(x, self.scale)


def upsample(x: Tensor, scale: int) -> Tensor:
    """Bicubic up-sampling of (B, 3, H, W): what a head corrects, and the baseline."""
    return F.interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False)


class Reconstructor(nn.Module):
    """X_h1, X_h2, X_h3 = RC(E(x_ori)) (Peng et al. 2024)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.extractor = SwinIR(architecture.depths, architecture.dim, architecture.num_heads)
        self.heads = nn.ModuleList(
            Head(self.extractor.out_channels, architecture.head_dim, scale)
            for scale in architecture.scales
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Restore crops of one size.

        Args:
            x: (B, 3, H, W) in [0, 1], any H and W from 1 on.

        Returns:
            (B, 3, s H, s W) for each scale s, about [0, 1], not clipped.
        """
        height, width = x.shape[2:]
        x = pad(x, self.extractor.multiple)
        features = self.extractor(x)
        return [
            head(features, x)[:, :, : height * scale, : width * scale]
            for head, scale in zip(self.heads, self.architecture.scales, strict=True)
        ]


def pad(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of (B, C, H, W) up to the next multiple, at most."""
    height, width = x.shape[2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def build(architecture: Architecture, seed: int) -> Reconstructor:
    """A fresh network whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Reconstructor(architecture).to(memory_format=torch.channels_last)


def save(path: Path, model: Reconstructor) -> None:
    """Write weights as safetensors, with the architecture in the metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    metadata = {"architecture": model.architecture.model_dump_json()}
    save_file(weights, path, metadata)


def load(path: Path) -> Reconstructor:
    """Read what `save` wrote, ready for inference on the CPU.

    Raises:
        UserError: the file is missing, damaged, or no reconstructor.
    """
    try:
        with safe_open(path, "pt") as file:
            raw = (file.metadata() or {})["architecture"]
        model = build(Architecture.model_validate_json(raw), seed=0)
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} is no reconstructor ({error}); run `dvc repro train_reconstructor`"
        ) from error
    return model.eval()
