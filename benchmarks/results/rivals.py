"""What no stage does: the paper's rivals, one network for all four branches, other seeds.

A network that is trained here is left in the layout of data/models/reid, and judged as it is
(`reid.epochs: 0`), by the same features, distances and protocol as all others.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from benchmarks.results.dictionaries import Coupled
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchreid.reid.losses import TripletLoss

from pyramid_reid.core import crops
from pyramid_reid.core.params import BRANCHES, Params, Reid
from pyramid_reid.core.resize import resize
from pyramid_reid.core.runtime import derive_seed, start_torch
from pyramid_reid.reid.features import Extractor
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.network.preprocessing import resized, to_float
from pyramid_reid.reid.training import batches, loop, pretrained, starts
from pyramid_reid.reid.training.augment import RATIOS, Strength, augment, random_numbers
from pyramid_reid.retrieval.distance import normalize, write_cosine_distances
from pyramid_reid.training import weights_file
from pyramid_reid.training.checkpoints import Checkpoints, digest
from pyramid_reid.training.schedule import set_lr, warmed_up

ALIKE = 1.0
"""Weight of the mean squared distance between features of a crop and of its down-sampled copy."""
ALIGNED_EPOCHS = 120
"""Of fitting the map, as VPFA has it."""
ADVERSARIAL = 0.1
"""Weight of the discriminator's reversed gradient. Both were set before anything was judged."""


def joint(workspace: Path, split: str, params: Params, out: Path) -> None:
    """Train one OSNet on the training crops of all four branches; it serves each of them."""
    device, reid = _start(params)
    # of four times the crops: half of the steps that four networks take
    reid = reid.model_copy(update={"epochs": max(reid.epochs // 2, reid.warmup_epochs + 1)})
    start, seed = _start_file(reid, workspace), derive_seed(params.seed, "joint", split)
    folders = [_crops(workspace, branch) / split for branch in BRANCHES]
    pixels, pids = [], []
    for folder in folders:
        images, people = _training(folder, reid)
        pixels.append(images)
        pids.append(people)
    with contextlib.redirect_stdout(io.StringIO()):
        model, _ = loop.train(
            np.concatenate(pixels),
            np.concatenate(pids),
            *(reid, seed, device),
            _states(out / "checkpoints", params, reid, seed, start, *folders),
            weights_file.read(start),
        )
    _save(out, BRANCHES, split, model, reid, start)


def again(workspace: Path, split: str, params: Params, out: Path, seed: int) -> None:
    """Train the four networks of the pipeline by another seed, on the same people and crops."""
    device, _ = _start(params)
    for branch in BRANCHES:
        reid = params.reid.of_branch(branch)
        folder, start = _crops(workspace, branch) / split, _start_file(reid, workspace)
        own = derive_seed(seed, "reid", branch, split)
        states = _states(out / "checkpoints" / branch, params, reid, own, start, folder)
        told = *_training(folder, reid), reid, own, device, states, weights_file.read(start)
        with contextlib.redirect_stdout(io.StringIO()):
            model, _ = loop.train(*told)
        _save(out, [branch], split, model, reid, start)


def invariant(workspace: Path, split: str, params: Params, out: Path) -> None:
    """Train an OSNet whose features should not tell the resolution of a crop.

    After the idea of RAIN (Chen et al., AAAI 2019): the features of a crop and of its down-sampled
    copy are pulled together, and a discriminator that tells them apart is deceived. RAIN does so at
    several depths of a ResNet-50, and reconstructs images beside it; here the last features alone.
    """
    device, reid = _start(params)
    images, pids = _training(_crops(workspace, "ori") / split, reid)
    seed = derive_seed(params.seed, "invariant", split)
    torch.manual_seed(seed)
    tells_apart = nn.Sequential(nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 1)).to(device)

    def alike(logits: Tensor, found: Tensor, targets: Tensor) -> Tensor:
        whole, low = F.normalize(found).chunk(2)
        guessed = tells_apart(_Reversed.apply(found, ADVERSARIAL))[:, 0]
        truth = torch.arange(len(found), device=found.device).ge(len(found) // 2).float()
        return (
            _softmax(logits, targets, reid)
            + ALIKE * (whole - low).square().sum(1).mean()
            + F.binary_cross_entropy_with_logits(guessed, truth)
        )

    start = _start_file(reid, workspace)
    lowered = (0.0, 1.0)  # as it is, and down-sampled
    told = images, pids, reid, seed, device, weights_file.read(start)
    model = fine_tuned(*told, alike, lowered, tells_apart)
    _save(out, ["ori"], split, model, reid, start)


def triplet(
    images: np.ndarray,
    pids: np.ndarray,
    reid: Reid,
    seed: int,
    device: torch.device,
    start: weights_file.Checkpoint,
) -> nn.Module:
    """Train an OSNet by softmax and triplet loss, in equal parts as torchreid's engine has them.

    The hardest positive and negative of each crop of a batch (Hermans et al., 2017).
    """
    hardest = TripletLoss()

    def both(logits: Tensor, found: Tensor, targets: Tensor) -> Tensor:
        return _softmax(logits, targets, reid) + hardest(found, targets)

    return fine_tuned(images, pids, reid, seed, device, start, both)


def fine_tuned(
    images: np.ndarray,
    pids: np.ndarray,
    reid: Reid,
    seed: int,
    device: torch.device,
    start: weights_file.Checkpoint,
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor],
    lowered: Sequence[float] = (0.0,),
    beside: nn.Module | None = None,
) -> nn.Module:
    """The pipeline's training by another loss; without checkpoints, in one process.

    Args:
        images, pids: as for `loop.train`.
        loss_of: logits (B, classes), features (B, 512) and classes (B,) → the loss.
        lowered: of each crop that many copies are in a batch: the probability of each that it is
            down-sampled.
        beside: trained with the network, and not kept.

    Returns:
        The network in evaluation mode.
    """
    classes, labels = np.unique(pids, return_inverse=True)
    size = batches.batch_size(labels, reid.batch_size, reid.instances)
    model = osnet.build(reid.model, len(classes), seed)
    with contextlib.redirect_stdout(io.StringIO()):
        pretrained.apply(model, start)
    model = model.to(device)
    optimizer = torch.optim.Adam(
        [*model.parameters(), *(beside.parameters() if beside else ())],
        reid.lr,
        weight_decay=reid.weight_decay,
        amsgrad=True,
        fused=True,
    )
    mean, features = loop.ema(model, reid.ema) if reid.ema else None, Features(model)
    generator, targets = torch.Generator().manual_seed(seed), torch.from_numpy(labels).to(device)
    plain = Strength(reid.erasing, reid.color_jitter, 0.0)
    for epoch in range(1, reid.epochs + 1):
        set_lr(optimizer, warmed_up(reid.lr, epoch - 1, reid.epochs, reid.warmup_epochs))
        osnet.open_layers(model, classifier_alone=epoch <= reid.fixed_epochs)
        rows = batches.epoch(labels, size, reid.instances, generator)
        for own, pixels in zip(rows, batches.read_ahead(images, rows, device), strict=True):
            numbers, floats = random_numbers(size, generator).to(device), to_float(pixels)
            copies = [
                augment(floats.clone(), numbers, replace(plain, mixed_resolution=share))
                for share in lowered
            ]
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = model(torch.cat(copies))
            of_batch = targets[own.to(device)].repeat(len(copies))
            loss = loss_of(logits.float(), features.last.float(), of_batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if mean:
                mean.update_parameters(model)
    features.close()
    if mean:
        model.load_state_dict(mean.module.state_dict())
    pretrained.blend(model, start, reid.start_weight)
    return model.eval()


def _softmax(logits: Tensor, targets: Tensor, reid: Reid) -> Tensor:
    return F.cross_entropy(logits, targets, label_smoothing=reid.label_smoothing)


def align(workspace: Path, split: str, params: Params, how: str) -> None:
    """Move features between the resolutions, and write the distances of branch ori anew.

    What moves them is fitted on the features of training crops and of their copies, down-sampled
    by 2, 3 and 4, all at once, as a ratio is not known at test time.

    Args:
        how: a key of `ALIGNMENTS`.
    """
    device, reid = _start(params)
    images, _ = _training(_crops(workspace, "ori") / split, reid)
    model, height, width = osnet.load(
        workspace / "data/models/reid/ori" / split / "model.safetensors"
    )
    extract = Extractor(model, device, height, width, mirrored=params.distances.mirrored)
    high = normalize(extract(images))
    low = [
        normalize(extract(np.stack([_lower(image, ratio) for image in images]))) for ratio in RATIOS
    ]
    given, wanted = (torch.from_numpy(np.concatenate(of)) for of in (low, [high] * len(low)))
    folder = workspace / "data/distances/ori" / split
    with np.load(folder / "features.npz") as file:
        query, gallery = torch.from_numpy(file["query"]), torch.from_numpy(file["gallery"])
    seed = derive_seed(params.seed, how, split)
    moved = [normalize(of.numpy()) for of in ALIGNMENTS[how](given, wanted, seed, query, gallery)]
    write_cosine_distances(folder / "distmat.npy", *moved)


def residual(
    given: Tensor, wanted: Tensor, seed: int, query: Tensor, gallery: Tensor
) -> tuple[Tensor, Tensor]:
    """Queries' features moved by a residual map, after VPFA (Liu et al., 2025, arXiv 2510.00936).

    VPFA has a map for each ratio, and larger layers.

    Args:
        given, wanted: (N, 512), of down-sampled copies and of the crops that they were made of.
        query, gallery: (Q, 512) and (G, 512).
    """
    torch.manual_seed(seed)
    moves = nn.Sequential(
        nn.Linear(512, 256), nn.LayerNorm(256), nn.ReLU(), nn.Linear(256, 512), nn.Tanh()
    )
    optimizer = torch.optim.Adam(moves.parameters(), 2.0e-4)
    for _ in range(ALIGNED_EPOCHS):
        for rows in torch.randperm(len(given)).split(64):
            loss = F.mse_loss(given[rows] + moves(given[rows]), wanted[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.inference_mode():
        return query + moves(query), gallery


def coupled(
    given: Tensor, wanted: Tensor, seed: int, query: Tensor, gallery: Tensor
) -> tuple[Tensor, Tensor]:
    """Both sides' features by semi-coupled dictionaries, after SLD²L; shapes as in `residual`."""
    learned = Coupled(given, wanted, seed)
    return learned.of_low(query), learned.of_high(gallery)


ALIGNMENTS = {"residual": residual, "coupled": coupled}


def _lower(image: np.ndarray, ratio: int) -> np.ndarray:
    """An image (H, W, 3) down-sampled and enlarged again."""
    height, width = image.shape[:2]
    small = resize(image, height // ratio, width // ratio, Image.Resampling.BICUBIC)
    return resize(small, height, width, Image.Resampling.BILINEAR)


class Features:
    """What the classifier of a network was last given: (B, 512)."""

    last: Tensor

    def __init__(self, model: nn.Module) -> None:
        self._handle = model.classifier.register_forward_pre_hook(self._keep)

    def close(self) -> None:
        """Leave the network as it was."""
        self._handle.remove()

    def _keep(self, _: nn.Module, inputs: tuple[Tensor]) -> None:
        self.last = inputs[0]


class _Reversed(torch.autograd.Function):
    """Gradient reversal (Ganin and Lempitsky, ICML 2015)."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: float) -> Tensor:  # noqa: ANN001
        ctx.weight = weight
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN001
        return -ctx.weight * gradient, None


def _start(params: Params) -> tuple[torch.device, Reid]:
    device = start_torch(params.device, params.threads)
    return device, params.reid.of_branch("ori")


def _crops(workspace: Path, branch: str) -> Path:
    """Where a branch's crops lie, in a folder per split."""
    return workspace / "data" / ("crops" if branch == "ori" else f"pyramid/{branch}")


def _training(folder: Path, reid: Reid) -> tuple[np.ndarray, np.ndarray]:
    """Training crops (N, H, W, 3) uint8 and their pids (N,)."""
    store = crops.CropStore(folder)
    rows = store.rows("train")
    return resized(store, rows, *reid.input_size("ori")), store.index.pid.to_numpy()[rows]


def _start_file(reid: Reid, folder: Path) -> Path:
    """The weights that training starts from."""
    asked = str(reid.pretrained), reid.model, reid.pretrained_sha256
    return pretrained.find(*asked, folder)


def _states(
    folder: Path, params: Params, reid: Reid, seed: int, start: Path, *images: Path
) -> Checkpoints:
    """Where a training goes on after a kill, if params, crops, start and code are the same."""
    told = params.model_dump(include={"threads", "device"}) | reid.model_dump() | {"of": seed}
    return Checkpoints(folder, digest(told, *images, start, Path(__file__), rooms=["reid"]))


def _save(
    out: Path, branches: Sequence[str], split: str, model: nn.Module, reid: Reid, start: Path
) -> None:
    told = starts.record(str(reid.pretrained), start)
    for branch in branches:
        path = out / branch / split / "model.safetensors"
        osnet.save(path, model, reid.model, *reid.input_size("ori"), told)
