"""Train a restorer on by what a ReID network sees in its images, beside their pixels.

    python -m benchmarks.results.feature_loss CROPS RESTORER OUT

CROPS is the data/crops/split_0 of the run that trained RESTORER (docs/results.md), so its training
people are seen again and no others. OUT is the new restorer, for
`rows --feature-restorer`.

Pixels alone make a blurred mean of all sharp images that fit. Here each restored image shall also
have the features of its target, by a frozen OSNet from MSMT17: a perceptual loss (Johnson et al.,
ECCV 2016) whose network knows people.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.errors import UserError  # noqa: E402
from pyramid_reid.core.runtime import derive_seed, pin_environment, start_torch  # noqa: E402

pin_environment(threads=1)

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from pyramid_reid.core import crops  # noqa: E402
from pyramid_reid.reid.network import osnet  # noqa: E402
from pyramid_reid.reid.network.preprocessing import normalize  # noqa: E402
from pyramid_reid.reid.training import pretrained  # noqa: E402
from pyramid_reid.restoration.inference import restore  # noqa: E402
from pyramid_reid.restoration.network import reconstructor  # noqa: E402
from pyramid_reid.restoration.network.images import to_tensor  # noqa: E402
from pyramid_reid.restoration.training import patches, quality  # noqa: E402
from pyramid_reid.training import origin, weights_file  # noqa: E402
from pyramid_reid.training.schedule import cosine, set_lr  # noqa: E402

NETWORK, HEIGHT, WIDTH = "osnet_x0_25", 256, 128
"""Of the frozen network, which reads all images at this size."""
PATCH = (32, 16)
"""Of the input: targets of ×4 are 128×64, so most of a person."""
WEIGHT = 0.1
"""Of the loss on features (a mean cosine distance) beside that on pixels. Set, like all numbers
here, before anything was judged."""
HELD_OUT = 100
"""Crops of other people that show what the loss changes."""
BATCH, ITERATIONS, LR = 8, 600, 2.0e-4


def by_features(network: nn.Module) -> Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]:
    """Mean cosine distance of features between restored images and the largest targets.

    Args:
        network: in evaluation mode, with frozen weights.

    Returns:
        Of images and targets, (B, 3, sH, sW) in [0, 1] for each scale s in rising order.
    """

    def features(images: Tensor) -> Tensor:
        sized = F.interpolate(images, (HEIGHT, WIDTH), mode="bilinear", align_corners=False)
        return F.normalize(network(normalize(sized)))

    def loss(images: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        with torch.no_grad():
            wanted = features(targets[-1])
        distances = [1 - (features(image) * wanted).sum(1) for image in images]
        return torch.stack(distances).mean()

    return loss


def train(
    model: reconstructor.Reconstructor,
    sampler: patches.PatchSampler,
    alike: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor],
    iterations: int,
    seed: int,
) -> list[tuple[float, float]]:
    """Train the restorer in place; returns the losses on pixels and on features, by iteration."""
    optimizer = torch.optim.Adam(model.parameters(), LR, fused=True)
    generator, losses = torch.Generator().manual_seed(seed), []
    model.train()
    for iteration in range(iterations):
        set_lr(optimizer, cosine(LR, iteration, iterations))
        low, targets = sampler.batch(BATCH, generator)
        images = model(low)
        pairs = zip(images, targets, strict=True)
        pixels = torch.stack([F.l1_loss(image, target) for image, target in pairs]).mean()
        features = alike(images, targets)
        optimizer.zero_grad()
        (pixels + WEIGHT * features).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append((float(pixels.detach()), float(features.detach())))
        if iteration % 50 == 49:
            told = torch.tensor(losses[-50:]).mean(0).tolist()
            print("{}: pixels {:.4f}, features {:.4f}".format(iteration + 1, *told), flush=True)
    model.eval()
    return losses


@torch.inference_mode()
def judged(
    model: reconstructor.Reconstructor,
    pairs: Sequence[patches.Pair],
    alike: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor],
) -> str:
    """PSNR by scale and distance of features on whole crops, in a line."""
    measured = quality.summary(quality.compare(model, pairs))
    distances = [
        float(alike(*([to_tensor(image[None]) for image in of] for of in (restored, pair.targets))))
        for pair, restored in zip(pairs, restore(model, [pair.low for pair in pairs]), strict=True)
    ]
    psnr = ", ".join(f"{name} {row['psnr']:.2f}" for name, row in measured.items())
    return f"PSNR {psnr} dB, features {sum(distances) / len(distances):.4f}"


def main() -> None:
    """Train and save; print what it changes on the pool's held-out people."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("crops", "restorer", "out"):
        parser.add_argument(name, type=Path)
    told = parser.parse_args()
    start_torch("cpu", 1)
    try:
        model = reconstructor.load(told.restorer)
        found = pretrained.find("msmt17", NETWORK, None, told.out.parent)
        network = osnet.build(NETWORK, 1, seed=0)
        pretrained.apply(network, weights_file.read(found))
        network.eval().requires_grad_(False)
        scales = model.architecture.scales
        store, alike = crops.CropStore(told.crops), by_features(network)
        pairs = patches.of_roles(store, patches.TRAIN, scales)
        held_out = quality.judged(patches.of_roles(store, patches.TEST, scales), HELD_OUT)
        sampler = patches.PatchSampler(pairs, PATCH, scales)
        print(f"{len(sampler.pairs)} of {len(pairs)} crops are large enough", flush=True)
        print(f"held out, bicubic: {judged(quality.baseline(scales), held_out, alike)}")
        print(f"held out, before: {judged(model, held_out, alike)}", flush=True)
        train(model, sampler, alike, ITERATIONS, derive_seed(1, "feature loss"))
        print(f"held out, after: {judged(model, held_out, alike)}")
        reconstructor.save(told.out, model, origin.of_file(told.restorer.name, told.restorer))
    except UserError as error:
        sys.exit(f"feature_loss: {error}")


if __name__ == "__main__":
    printing.survive()
    main()
