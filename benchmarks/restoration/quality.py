"""Tables of docs/restoration.md: sizes of the networks, trial of choices, PSNR and SSIM.

    python -m benchmarks.restoration.quality sizes
    python -m benchmarks.restoration.quality choices                     # synthetic set
    python -m benchmarks.restoration.quality quality --data-root FOLDER  # CAVIAR4REID, PRID2011

`choices` trains the committed network a few times with other inputs and head weights, on some of
the training identities, and judges on the others (validation); test identities take no part.
`quality` trains the light networks at their published sizes for a CPU's budget and judges on test
identities. High-resolution crops: of CAVIAR4REID those of the corridor camera of the 50 people that
both cameras saw, of PRID2011 (single shot) those of camera B of persons 1 to 200; the first of the
random halves trains (`protocol.split_identities`, seed and split 0 of params.yaml).
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core.params import Restoration, load  # noqa: E402
from pyramid_reid.core.runtime import pin_environment, start_torch  # noqa: E402

PARAMS = load(ROOT / "params.yaml")
pin_environment(PARAMS.threads)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from benchmarks.restoration.plain_operators import flop  # noqa: E402
from PIL import Image  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.crops import Pixels  # noqa: E402
from pyramid_reid.datasets.synthetic import draw  # noqa: E402
from pyramid_reid.protocol.roles import split_identities  # noqa: E402
from pyramid_reid.restoration.network.extractors import PUBLISHED, build  # noqa: E402
from pyramid_reid.restoration.network.reconstructor import Architecture, Reconstructor  # noqa: E402
from pyramid_reid.restoration.training import quality  # noqa: E402
from pyramid_reid.restoration.training.loop import train  # noqa: E402
from pyramid_reid.restoration.training.patches import Pair, make_pair  # noqa: E402
from pyramid_reid.training.checkpoints import Checkpoints  # noqa: E402
from pyramid_reid.training.live import LiveCurves  # noqa: E402

SCALES = PARAMS.restoration.scales
ITERATIONS = 300
GALLERY_CAMERA = 1
"""Of the synthetic set: the one whose crops are high resolution."""

People = dict[int, list[Pixels]]


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


def fit(pairs: list[Pair], held_out: list[Pair], params: Restoration) -> Reconstructor:
    """Train with these params; nothing is kept."""
    with tempfile.TemporaryDirectory() as folder:
        states, live = (
            Checkpoints(Path(folder) / "states", "key"),
            LiveCurves(Path(folder) / "live"),
        )
        cpu = torch.device("cpu")
        return train(pairs, held_out, params, PARAMS.seed, cpu, states, live).model


def changed(**update: object) -> Restoration:
    """The committed params of the restoration with changes, checked again."""
    return Restoration.model_validate(PARAMS.restoration.model_dump() | update)


def choices(*, quick: bool) -> None:
    """PSNR on validation identities for inputs and head weights that the paper leaves open."""
    people: People = {}
    for crop in draw.draw(PARAMS.seed, 8 if quick else 50, 4):
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


def table(root: Path, names: list[str], *, quick: bool) -> None:
    """PSNR and SSIM on test identities of light networks after a CPU's budget."""
    print("| set | extractor | minutes | scale | PSNR | bicubic | SSIM | bicubic |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        people = {"CAVIAR4REID": caviar, "PRID2011": prid}[name](root)
        train_pids, test_pids = split_identities(sorted(people), PARAMS.seed, 0)
        seen, unseen = (
            [make_pair(image, SCALES) for pid in sorted(pids) for image in people[pid]]
            for pids in (train_pids, test_pids)
        )
        judged = quality.judged(unseen)
        for extractor in ("swinir_light", "han_light"):
            params = changed(
                extractor=extractor,
                swinir_light=None,
                iterations=4 if quick else ITERATIONS,
                checkpoint_every=ITERATIONS,
            )
            start = time.perf_counter()
            model = fit(seen, judged[:1], params)
            minutes = (time.perf_counter() - start) / 60
            for scale, row in quality.summary(quality.compare(model, judged)).items():
                psnr = f"{row['psnr']:.2f} | {row['psnr_bicubic']:.2f}"
                ssim = f"{row['ssim']:.4f} | {row['ssim_bicubic']:.4f}"
                what = f"{name} | `{extractor}` | {minutes:.1f} | ×{scale[1:]}"
                print(f"| {what} | {psnr} | {ssim} |", flush=True)


def main() -> None:
    """Print the table that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=["sizes", "choices", "quality"])
    parser.add_argument("--quick", action="store_true", help="few iterations: figures mean nothing")
    parser.add_argument("--data-root", type=Path, help="folder of CAVIAR4REID/ and prid_2011/")
    parser.add_argument("--only", choices=["CAVIAR4REID", "PRID2011"], help="one set of `quality`")
    arguments = parser.parse_args()
    start_torch("cpu", PARAMS.threads)
    print(f"# {platform.machine()}, {os.cpu_count()} cores, seed {PARAMS.seed}", file=sys.stderr)
    if arguments.table == "sizes":
        sizes()
    elif arguments.table == "choices":
        choices(quick=arguments.quick)
    elif arguments.data_root is None:
        parser.error("quality needs --data-root")
    else:
        names = [arguments.only] if arguments.only else ["CAVIAR4REID", "PRID2011"]
        table(arguments.data_root, names, quick=arguments.quick)


if __name__ == "__main__":
    printing.end_when_lost()
    main()
