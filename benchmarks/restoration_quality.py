"""Tables of docs/restoration.md: sizes of the networks, trial of choices, PSNR and SSIM.

    python benchmarks/restoration_quality.py sizes
    python benchmarks/restoration_quality.py choices                     # synthetic set
    python benchmarks/restoration_quality.py quality --data-root FOLDER  # CAVIAR4REID, PRID2011
    python benchmarks/restoration_quality.py gradients --data-root FOLDER          # PRID2011
    python benchmarks/restoration_quality.py kernels --data-root FOLDER --records FOLDER

`choices` trains the committed network a few times with other inputs and head weights, on some of
the training identities, and judges on the others (validation); test identities take no part.
`quality` trains the light networks at their published sizes for a CPU's budget and judges on test
identities. High-resolution crops: of CAVIAR4REID those of the corridor camera of the 50 people that
both cameras saw, of PRID2011 (single shot) those of camera B of persons 1 to 200; the first of the
random halves trains (`protocol.split_identities`, seed and split 0 of params.yaml).
`gradients` compares gradients of PRID2011's `swinir_light`: with this project's kernels and with
torch's and timm's operators, in float32 and float64, and of another batch. `kernels` repeats its
training with several seeds, with this project's kernels, with torch's and timm's operators instead,
and with nothing changed but the rounding of sums: it tells whether kernels cost quality, or the
same training ends elsewhere each time. Every training is recorded when it ends; those that are
recorded are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.params import Restoration, load  # noqa: E402
from pyramid_reid.runtime import pin_environment, start_torch  # noqa: E402

PARAMS = load(ROOT / "params.yaml")
pin_environment(PARAMS.threads)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from PIL import Image  # noqa: E402
from plain_operators import as_published, flop  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from pyramid_reid.checkpoints import Checkpoints  # noqa: E402
from pyramid_reid.crops import Pixels  # noqa: E402
from pyramid_reid.datasets import synthetic  # noqa: E402
from pyramid_reid.live import LiveCurves  # noqa: E402
from pyramid_reid.protocol import split_identities  # noqa: E402
from pyramid_reid.restoration import quality  # noqa: E402
from pyramid_reid.restoration.extractors import PUBLISHED, build  # noqa: E402
from pyramid_reid.restoration.pairs import Pair, PatchSampler, make_pair  # noqa: E402
from pyramid_reid.restoration.pyramid import Architecture, Reconstructor  # noqa: E402
from pyramid_reid.restoration.pyramid import build as build_pyramid  # noqa: E402
from pyramid_reid.restoration.training import train  # noqa: E402

SCALES = PARAMS.restoration.scales
ITERATIONS = 300
GALLERY_CAMERA = 1
"""Of the synthetic set: the one whose crops are high resolution."""

TABLES = ["sizes", "choices", "quality", "gradients", "kernels"]
TRIED = "PRID2011", "swinir_light"
"""Set and extractor of `gradients` and `kernels`."""
KERNELS = {"on": (True, 1), "off": (False, 1), "halves": (True, 2)}
"""Whether this project's kernels compute, and threads. Each of two computes the gradients of half a
batch: their sum is that of the whole batch, up to rounding."""

People = dict[int, list[Pixels]]
Batch = tuple[Tensor, Sequence[Tensor]]
"""Low-resolution patches and, per scale, their targets."""


def sizes() -> None:
    """Parameters and multiply-adds of each network beside the publications."""
    published = {  # parameters of the x4 network, with an up-sampler of one scale, in the paper
        "swinir": "11.9 M",
        "swinir_light": "930 K",
        "han": "16.07 M",
        "han_light": "-",
    }
    upsampler = {  # of the publication at x4: parameters
        "swinir": 9 * (180 * 64 + 2 * 64 * 256 + 64 * 3) + 64 + 2 * 256 + 3,
        "swinir_light": 9 * 60 * 48 + 48,
        "han": 9 * (2 * 64 * 256 + 64 * 3) + 2 * 256 + 3,
        "han_light": 0,
    }
    print("| extractor | trunk | with its x4 up-sampler | published | with our heads | GMAC |")
    print("|---|---|---|---|---|---|")
    for name, size in PUBLISHED.items():
        head_dim = 16 if name.endswith("light") else 64
        model = Reconstructor(Architecture(size=size, head_dim=head_dim, scales=SCALES))
        trunk, whole = (sum(p.numel() for p in m.parameters()) for m in (build(size), model))
        own = f"{trunk + upsampler[name]:,}" if upsampler[name] else "-"
        gmac = flop(lambda model=model: model(torch.rand(1, 3, 64, 32))) / 2e9
        print(f"| `{name}` | {trunk:,} | {own} | {published[name]} | {whole:,} | {gmac:.1f} |")


def fit(
    pairs: list[Pair], held_out: list[Pair], params: Restoration, seed: int = PARAMS.seed
) -> Reconstructor:
    """Train with these params; nothing is kept."""
    with tempfile.TemporaryDirectory() as folder:
        states, live = (
            Checkpoints(Path(folder) / "states", "key"),
            LiveCurves(Path(folder) / "live"),
        )
        cpu = torch.device("cpu")
        return train(pairs, held_out, params, seed, cpu, states, live).model


def changed(**update: object) -> Restoration:
    """The committed params of the restoration with changes, checked again."""
    return Restoration.model_validate(PARAMS.restoration.model_dump() | update)


def choices(*, quick: bool) -> None:
    """PSNR on validation identities for inputs and head weights that the paper leaves open."""
    people: People = {}
    for crop in synthetic.draw(PARAMS.seed, 8 if quick else 50, 4):
        if crop.camid == GALLERY_CAMERA:
            people.setdefault(crop.pid, []).append(crop.pixels)
    pids = sorted(people)
    seen = [image for pid in pids[: len(pids) * 4 // 5] for image in people[pid]]
    held_out = [image for pid in pids[len(pids) * 4 // 5 :] for image in people[pid]]
    judges = {
        ratio: quality.judged([make_pair(image, SCALES, ratio) for image in held_out])
        for ratio in (4, 2)
    }
    inputs = {"1/4": (4,), "1/2, 1/3, 1/4": (2, 3, 4)}
    weights = {"equal": (1.0, 1.0, 1.0), "by pixels": (4.0, 9.0, 16.0)}
    print(f"| inputs | head weights | {' | '.join(f'×{s} of 1/4' for s in SCALES)} | ×2 of 1/2 |")
    print("|---|---|---|---|---|---|")
    for named, ratios in inputs.items():
        for weighted, values in weights.items():
            params = changed(head_weights=values, iterations=4 if quick else 500)
            pairs = [make_pair(image, SCALES, ratio) for image in seen for ratio in ratios]
            model = fit(pairs, judges[4][:1], params)
            cells = gains(model, judges[4]) + gains(model, judges[2])[:1]
            print(f"| {named} | {weighted} | {' | '.join(cells)} |", flush=True)


def gains(model: Reconstructor, pairs: list[Pair]) -> list[str]:
    """PSNR above bicubic, in dB, per scale."""
    figures = quality.summary(quality.compare(model, pairs)).values()
    return [f"{row['psnr'] - row['psnr_bicubic']:+.2f}" for row in figures]


def read(path: Path) -> Pixels:
    """An image as (H, W, 3) uint8."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def caviar(root: Path) -> People:
    """Corridor crops of the people that both cameras saw."""
    people: People = {}
    for path in sorted((root / "CAVIAR4REID").glob("*.jpg")):
        pid, number = int(path.stem[:4]), int(path.stem[4:])
        if number <= 10 and (path.parent / f"{pid:04d}011.jpg").exists():
            people.setdefault(pid, []).append(read(path))
    return people


def prid(root: Path) -> People:
    """Camera B's crops of the people that both cameras saw."""
    folder = root / "prid_2011/single_shot/cam_b"
    return {pid: [read(folder / f"person_{pid:04d}.png")] for pid in range(1, 201)}


def halves(name: str, root: Path) -> tuple[list[Pair], list[Pair]]:
    """Pairs of the training identities, and those of the test identities that judge."""
    people = {"CAVIAR4REID": caviar, "PRID2011": prid}[name](root)
    train_pids, test_pids = split_identities(sorted(people), PARAMS.seed, 0)
    seen, unseen = (
        [make_pair(image, SCALES) for pid in sorted(pids) for image in people[pid]]
        for pids in (train_pids, test_pids)
    )
    return seen, quality.judged(unseen)


def published(extractor: str, iterations: int) -> Restoration:
    """Params of a light network at its published size."""
    return changed(
        extractor=extractor,
        swinir_light=None,
        iterations=iterations,
        checkpoint_every=iterations,
    )


def table(root: Path, names: list[str], *, quick: bool) -> None:
    """PSNR and SSIM on test identities of light networks after a CPU's budget."""
    print("| set | extractor | minutes | scale | PSNR | bicubic | SSIM | bicubic |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        seen, judged = halves(name, root)
        for extractor in ("swinir_light", "han_light"):
            params = published(extractor, 4 if quick else ITERATIONS)
            start = time.perf_counter()
            model = fit(seen, judged[:1], params)
            minutes = (time.perf_counter() - start) / 60
            for scale, row in quality.summary(quality.compare(model, judged)).items():
                psnr = f"{row['psnr']:.2f} | {row['psnr_bicubic']:.2f}"
                ssim = f"{row['ssim']:.4f} | {row['ssim_bicubic']:.4f}"
                what = f"{name} | `{extractor}` | {minutes:.1f} | ×{scale[1:]}"
                print(f"| {what} | {psnr} | {ssim} |", flush=True)


def kernels(root: Path, records: Path, kinds: list[str], seeds: list[int], iterations: int) -> None:
    """PSNR with this project's kernels and with plain operators, seed by seed.

    Args:
        records: folder with a file per training, written when it has ended.
        kinds: of `KERNELS`.
    """
    name, extractor = TRIED
    seen, judged = halves(name, root)
    records.mkdir(parents=True, exist_ok=True)
    psnr: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    for kind in kinds:
        own, threads = KERNELS[kind]
        torch.set_num_threads(threads)
        for seed in seeds:
            record = records / f"{kind}_{seed}_{iterations}.json"
            if not record.exists():
                with nullcontext() if own else as_published():
                    model = fit(seen, judged[:1], published(extractor, iterations), seed)
                found = quality.summary(quality.compare(model, judged))
                partial = record.with_suffix(".partial")
                partial.write_text(json.dumps({scale: row["psnr"] for scale, row in found.items()}))
                partial.replace(record)
            psnr[kind].append(list(json.loads(record.read_text()).values()))
    print(f"| scale | kernels | {' | '.join(f'seed {seed}' for seed in seeds)} | mean | s.d. |")
    print(f"|---|---|{'---|' * len(seeds)}---|---|")
    figures = {kind: np.array(rows).T for kind, rows in psnr.items()}  # (scales, seeds)
    for place, scale in enumerate(SCALES):
        for kind, values in figures.items():
            print(f"| ×{scale} | {kind} | {cells(values[place])} |")
        for kind in kinds[1:]:
            moved = figures[kind][place] - figures[kinds[0]][place]
            print(f"| ×{scale} | {kind} minus {kinds[0]} | {cells(moved, '+')} |")


def gradients(root: Path, seed: int) -> None:
    """How far gradients of a batch lie apart: relative to their norm, over all weights at once."""
    name, extractor = TRIED
    seen, params = halves(name, root)[0], published(extractor, ITERATIONS)
    sampler = PatchSampler(seen, (params.patch_height, params.patch_width), SCALES)
    drawn = torch.Generator().manual_seed(seed)
    first, second = (sampler.batch(params.batch_size, drawn) for _ in range(2))
    model = build_pyramid(Architecture.of(params), seed).train()
    for head in model.heads:  # they begin at zero, where the trunk has no gradient
        nn.init.normal_(head.rgb.weight, std=0.02, generator=drawn)

    def gradient(model: Reconstructor, batch: Batch, dtype: torch.dtype) -> Tensor:
        low, targets = batch
        losses = [
            F.l1_loss(image, target.to(dtype))
            for image, target in zip(model(low.to(dtype)), targets, strict=True)
        ]
        found = torch.autograd.grad(torch.stack(losses).mean(), list(model.parameters()))
        return torch.cat([each.flatten().double() for each in found])

    print("| gradients of a batch | relative distance |\n|---|---|")
    on = gradient(model, first, torch.float32)
    with as_published():
        off = gradient(model, first, torch.float32)
        exact = gradient(deepcopy(model).double(), first, torch.float64)
        other = gradient(model, second, torch.float32)
    for name, one, two in (
        ("on, off", on, off),
        ("on, float64", on, exact),
        ("off, float64", off, exact),
        ("off, off on another batch", off, other),
    ):
        print(f"| {name} | {float((one - two).norm() / two.norm()):.1e} |")


def cells(values: NDArray[np.float64], sign: str = "") -> str:
    """Values, their mean and their standard deviation, in dB."""
    deviation = f"{values.std(ddof=1):.2f}" if len(values) > 1 else "-"
    shown = " | ".join(f"{value:{sign}.2f}" for value in [*values, values.mean()])
    return f"{shown} | {deviation}"


def main() -> None:
    """Print the table that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--quick", action="store_true", help="few iterations: figures mean nothing")
    parser.add_argument("--data-root", type=Path, help="folder of CAVIAR4REID/ and prid_2011/")
    parser.add_argument("--only", choices=["CAVIAR4REID", "PRID2011"], help="one set of `quality`")
    parser.add_argument("--records", type=Path, help="folder that keeps the trainings of `kernels`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of `kernels`")
    parser.add_argument(
        "--kernels", choices=KERNELS, nargs="+", default=list(KERNELS), help="of `kernels`"
    )
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help="of `kernels`")
    arguments = parser.parse_args()
    start_torch("cpu", PARAMS.threads)
    print(f"# {platform.machine()}, {os.cpu_count()} cores, seed {PARAMS.seed}", file=sys.stderr)
    if arguments.table == "sizes":
        sizes()
    elif arguments.table == "choices":
        choices(quick=arguments.quick)
    elif arguments.data_root is None:
        parser.error(f"{arguments.table} needs --data-root")
    elif arguments.table == "gradients":
        gradients(arguments.data_root, arguments.seeds[0])
    elif arguments.table == "kernels":
        if arguments.records is None:
            parser.error("kernels needs --records")
        kernels(
            arguments.data_root,
            arguments.records,
            arguments.kernels,
            arguments.seeds,
            4 if arguments.quick else arguments.iterations,
        )
    else:
        names = [arguments.only] if arguments.only else ["CAVIAR4REID", "PRID2011"]
        table(arguments.data_root, names, quick=arguments.quick)


if __name__ == "__main__":
    main()
