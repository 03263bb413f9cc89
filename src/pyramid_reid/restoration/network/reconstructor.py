"""The reconstructor RC: an extractor and three heads (×2, ×3, ×4), and its file format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as packed
from torch import Tensor, nn
from torch.nn import functional as F

from pyramid_reid.core.errors import DAMAGED, UserError, reason
from pyramid_reid.core.params import HanSize, Restoration, Section, SwinSize
from pyramid_reid.restoration.kernels.winograd import TILE, Conv3x3
from pyramid_reid.restoration.network import extractors
from pyramid_reid.restoration.network.bicubic import upsample

RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""Of DIV2K, in [0, 1]: both publications subtract it from the input."""


class Architecture(Section):
    """All that rebuilds a reconstructor; `size` is None for bicubic up-sampling.

    Scales are 1 where nothing is restored.
    """

    size: SwinSize | HanSize | None
    head_dim: Annotated[int, Field(ge=1)]
    scales: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=3, max_length=3)]

    @classmethod
    def of(cls, restoration: Restoration) -> Architecture:
        """What params ask for."""
        return cls(
            size=extractors.size_of(restoration),
            head_dim=restoration.head_dim,
            scales=restoration.branch_scales,
        )


class Head(nn.Module):
    """One scale's residual: convolution, pixel shuffle, leaky ReLU, convolution.

    The last convolution starts at zero, so that an untrained head adds nothing to the bicubic
    up-sampling.
    """

    def __init__(self, in_channels: int, head_dim: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.expand = Conv3x3(in_channels, head_dim * scale**2)
        self.shuffle = nn.PixelShuffle(scale)
        self.rgb = Conv3x3(head_dim, 3)
        nn.init.zeros_(self.rgb.weight)
        nn.init.zeros_(self.rgb.bias)  # type: ignore[arg-type]  # a Conv2d has a bias here

    def forward(
        self, features: Annotated[Tensor, "B C H W"], mask: Annotated[Tensor, "B 1 H W"] | None
    ) -> Annotated[Tensor, "B 3 s*H s*W"]:
        """The residual at this scale; the mask is 1 inside each crop and 0 outside."""
        y = self.shuffle(self.expand(features))  # (B, head_dim, s H, s W)
        y = F.leaky_relu(y, 0.01, inplace=True)
        if mask is not None:
            y = y * F.interpolate(mask, scale_factor=self.scale, mode="nearest")
        residual: Tensor = self.rgb(y)
        return residual


class Reconstructor(nn.Module):
    """X_h1, X_h2, X_h3 = RC(E(x_ori)) (Peng et al. 2024)."""

    mean: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.extractor = None if architecture.size is None else extractors.build(architecture.size)
        self.heads = nn.ModuleList(
            Head(self.extractor.out_channels, architecture.head_dim, scale)
            for scale in architecture.scales
            if self.extractor is not None
        )
        mean = torch.tensor(RGB_MEAN).reshape(1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)

    @property
    def multiple(self) -> int:
        """Height and width are padded to a multiple of this inside."""
        return 1 if self.extractor is None else self.extractor.multiple

    @property
    def batch_multiple(self) -> int:
        """Crops whose sides reach the same multiples of this share a batch: with little padding."""
        return max(self.multiple, TILE)

    def forward(
        self, x: Annotated[Tensor, "B 3 H W"], mask: Annotated[Tensor, "B 1 H W"] | None = None
    ) -> list[Annotated[Tensor, "B 3 s*H s*W"]]:
        """Restore crops of one size, or of several that the caller padded to one.

        Args:
            x: in [0, 1], any H and W from 1 on.
            mask: 1 inside each crop, 0 where its border was repeated; only for an
                extractor without windows (`multiple` of 1): those see a padded crop anyway.

        Returns:
            One batch of images per scale s, in about [0, 1], not clipped.
        """
        if self.extractor is None:
            return [upsample(x, scale) for scale in self.architecture.scales]
        height, width = x.shape[2:]
        centred = pad(x, self.multiple) - self.mean
        features = self.extractor(centred) if mask is None else self.extractor(centred * mask, mask)
        images = []
        for head, scale in zip(self.heads, self.architecture.scales, strict=True):
            residual = head(features, mask)[:, :, : height * scale, : width * scale]
            images.append(residual + upsample(x, scale))
        return images


def pad(
    x: Annotated[Tensor, "B C H W"], multiple: int
) -> Annotated[Tensor, "B C padded_H padded_W"]:
    """Repeat the last row and column up to the next multiple of both sides, and no further."""
    height, width = x.shape[2:]
    if not (height % multiple or width % multiple):
        return x
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def build(architecture: Architecture, seed: int) -> Reconstructor:
    """A fresh network whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Reconstructor(architecture)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return model


def save(
    path: Path,
    model: Reconstructor,
    start: Mapping[str, str] | None = None,
    *,
    trained: bool = True,
) -> None:
    """Write weights as safetensors, with the architecture in the metadata.

    Args:
        start: what trained the weights that training started from, and their licence; None:
            random weights.
        trained: whether training changed those of `start`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    told = model.architecture.model_dump_json()
    if start is not None:
        said = json.loads(told) | {"start": dict(sorted(start.items())), "trained": trained}
        told = json.dumps(said)
    # one key alone: safetensors writes several in an order that differs from run to run
    metadata = {"architecture": told}
    path.write_bytes(packed(weights, metadata))


def load(path: Path) -> Reconstructor:
    """Read what `save` wrote, ready for inference on the CPU.

    Raises:
        UserError: the file is missing, damaged, or no reconstructor.
    """
    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {})["architecture"])
        sizes = {key: value for key, value in told.items() if key not in ("start", "trained")}
        model = build(Architecture.model_validate_json(json.dumps(sizes)), seed=0)
        model.load_state_dict(load_file(path))
    except (*DAMAGED, SafetensorError) as error:
        raise UserError(
            f"{path} is not a reconstructor ({reason(error)}); run `dvc repro train_reconstructor`"
        ) from error
    return model.eval()
