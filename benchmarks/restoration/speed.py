"""Speed of the restoration: generating, training, and arithmetic per second of each network.

Prints one figure per line, `NAME VALUE UNIT`:

    python -m benchmarks.restoration.speed                       # crops of made-up sizes
    python -m benchmarks.restoration.speed --data-root FOLDER    # those of FOLDER/CAVIAR4REID
    python -m benchmarks.restoration.speed --part training       # this one alone
    python -m benchmarks.restoration.speed --device cuda         # all but arithmetic, on a GPU
    python -m benchmarks.restoration.speed --quick

`generation` stands beside one crop at a time in the default memory format, padded by what is
missing to the next window or, where nothing is, by a whole one, through timm's Swin blocks as they
are. `training` stands beside a plain float32 loop over a PyTorch DataLoader (two workers) that
decodes images, cuts patches, and trains the same network in the default memory format, from torch's
and timm's operators alone. Both sides alternate in one run, the other one in a process of its own;
figures are medians. Arithmetic counts multiplications and additions that products and convolutions
have by their definition (`torch.utils.flop_counter`), 2 per multiply-add: Winograd's convolutions
do fewer. On a GPU, both sides compute there, with the published sizes, too; ours trains in
bfloat16, as the pipeline does.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.side_by_side import OtherProcess, serve

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core.errors import UserError  # noqa: E402
from pyramid_reid.core.params import SwinSize, load  # noqa: E402
from pyramid_reid.core.runtime import pin_environment, start_torch  # noqa: E402

PARAMS = load(ROOT / "params.yaml")
pin_environment(PARAMS.threads)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from benchmarks.restoration.plain_operators import as_published, flop  # noqa: E402
from PIL import Image  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.optim.swa_utils import AveragedModel  # noqa: E402
from torch.utils.data import DataLoader, Dataset, RandomSampler  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.crops import Pixels  # noqa: E402
from pyramid_reid.core.single_threads import single_threads  # noqa: E402
from pyramid_reid.restoration.inference import plan, restore_batches  # noqa: E402
from pyramid_reid.restoration.kernels.window_attention import WINDOW  # noqa: E402
from pyramid_reid.restoration.network.extractors import PUBLISHED, Size  # noqa: E402
from pyramid_reid.restoration.network.images import to_pixels, to_tensor  # noqa: E402
from pyramid_reid.restoration.network.reconstructor import Architecture, Reconstructor, build  # noqa: E402
from pyramid_reid.restoration.training.loop import EMA_DECAY, backward, running_mean  # noqa: E402
from pyramid_reid.restoration.training.patches import PatchSampler, make_pair  # noqa: E402

SCALES = PARAMS.restoration.scales
BATCH, PATCH = (
    PARAMS.restoration.batch_size,
    (
        PARAMS.restoration.patch_height,
        PARAMS.restoration.patch_width,
    ),
)
DEMO = "swinir_light_demo"
SIZES: dict[str, Size] = PUBLISHED | {
    DEMO: PARAMS.restoration.swinir_light or SwinSize(depths=(2, 2, 2), dim=32, num_heads=4)
}
Batch = tuple[Tensor, list[Tensor]]
SMALL, ALL = (DEMO, "swinir_light", "han_light"), (DEMO, *PUBLISHED)
COMPARED = {"cpu": SMALL, "cuda": tuple(PUBLISHED)}
"""What is compared, by device: a CPU would take hours for the large ones."""
BATCH_PIXELS = {"cpu": PARAMS.generation.batch_pixels, "cuda": 2**17}
"""The latter is that of the preset `paper`."""


def network(name: str, device: str = "cpu") -> Reconstructor:
    """A network with the heads of the paper's size, or the demo's for small ones."""
    size, head_dim = SIZES[name], 16 if name in SMALL else 64
    return build(Architecture(size=size, head_dim=head_dim, scales=SCALES), seed=0).to(device)


def channels_first(model: Reconstructor) -> Reconstructor:
    """The same network with its weights in the default memory format."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.contiguous_format)
    return model


def crops(root: Path | None, number: int) -> list[Pixels]:
    """Crops of CAVIAR4REID, or of noise at sizes like its own (heights 39 to 150)."""
    rng = np.random.default_rng(0)
    if root is not None:
        paths = sorted((root / "CAVIAR4REID").glob("*.jpg"))
        chosen = rng.permutation(len(paths))[:number]
        return [np.asarray(Image.open(paths[place]).convert("RGB")) for place in chosen]
    heights = rng.integers(39, 151, number)
    widths = np.rint(heights * rng.uniform(0.32, 0.5, number)).astype(int)
    shapes = zip(heights, widths, strict=True)
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in shapes]


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(repeats: int, *works: Callable[[], object]) -> list[float]:
    """Median seconds of each, called in turns after one call each that does not count."""
    for work in works:
        work()
    rounds = [[timed(work) for work in works] for _ in range(repeats)]
    return [statistics.median(each) for each in zip(*rounds, strict=True)]


@torch.inference_mode()
def one_at_a_time(model: Reconstructor, images: Sequence[Pixels]) -> None:
    """Restore as published code does: batches of one, padded even where nothing is missing."""
    for image in images:
        x = to_tensor(image[None]).contiguous()
        height, width = image.shape[:2]
        padding = (0, WINDOW - width % WINDOW, 0, WINDOW - height % WINDOW)
        padded = F.pad(x, padding, mode="replicate").to(model.mean.device)
        for restored, scale in zip(model(padded), SCALES, strict=True):
            to_pixels(restored[:, :, : height * scale, : width * scale])


def in_batches(model: Reconstructor, images: Sequence[Pixels]) -> None:
    """Restore as `generate_pyramid` does."""
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    pixels = BATCH_PIXELS[model.mean.device.type]
    batches = dict(enumerate(plan(sizes, pixels, model.batch_multiple)))
    for _ in restore_batches(model, batches, images.__getitem__, PARAMS.threads):
        pass


def beside(repeats: int, work: Callable[[], object], theirs: OtherProcess) -> tuple[float, float]:
    """Median seconds of ours and of the other process's, in turns after one each."""
    rounds = [(timed(work), theirs()) for _ in range(repeats + 1)][1:]
    ours, others = (statistics.median(each) for each in zip(*rounds, strict=True))
    return ours, others


def restored(name: str, root: Path | None, *, quick: bool) -> list[Pixels]:
    """The crops that a network restores."""
    return crops(root, 16 if quick else 48 if name == "swinir_light" else 128)


def generation(root: Path | None, device: str, *, quick: bool) -> None:
    """Crops per second of both ways."""
    for name in (DEMO,) if quick else COMPARED[device]:
        images, ours = restored(name, root, quick=quick), network(name, device).eval()
        with OtherProcess("generation", name, int(quick), root or "", device) as process:
            fast, slow = beside(1 if quick else 5, lambda: in_batches(ours, images), process)  # noqa: B023 - called at once
        show(f"{name}.generation", len(images) / fast, "crops/s")
        show(f"{name}.generation_one_at_a_time", len(images) / slow, "crops/s")
        show(f"{name}.generation_speedup", slow / fast, "x")


class Files(Dataset[Batch]):
    """Patches cut from image files that are decoded each time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, place: int) -> Batch:
        with Image.open(self._paths[place]) as image:
            pair = make_pair(np.asarray(image.convert("RGB")), SCALES)
        sampler = PatchSampler([pair], PATCH, SCALES)
        low, targets = sampler.batch(1, torch.Generator().manual_seed(place))
        return low[0].contiguous(), [target[0].contiguous() for target in targets]


def large_crops(root: Path | None) -> list[Pixels]:
    """Crops from which a patch can be cut."""
    least = [side * max(SCALES) for side in PATCH]
    return [
        image
        for image in crops(root, 1220 if root else 400)
        if image.shape[0] >= least[0] and image.shape[1] >= least[1]
    ]


def training(root: Path | None, device: str, *, quick: bool) -> None:
    """Iterations per second of both ways."""
    block = 2 if quick else 8
    sampler = PatchSampler([make_pair(image, SCALES) for image in large_crops(root)], PATCH, SCALES)
    for name in (DEMO,) if quick else COMPARED[device]:
        with (
            OtherProcess("training", name, int(quick), root or "", device) as process,
            single_threads(PARAMS.threads) as pool,
        ):
            work = _ours(network(name, device).train(), sampler, block, pool)
            fast, slow = beside(1 if quick else 5, work, process)
        show(f"{name}.training", block / fast, "iterations/s")
        show(f"{name}.training_plain_loop", block / slow, "iterations/s")
        show(f"{name}.training_speedup", slow / fast, "x")


def run_child(what: str, name: str, quick: str, root: str, device: str) -> None:
    """The other side of a comparison, with torch's own settings but for the number of threads."""
    torch.set_num_threads(PARAMS.threads)
    folder = Path(root) if root else None
    model = channels_first(network(name, device))
    if what == "generation":
        images = restored(name, folder, quick=bool(int(quick)))
        with as_published():
            serve(lambda: timed(lambda: one_at_a_time(model.eval(), images)))
        return
    with tempfile.TemporaryDirectory() as place, as_published():
        large = large_crops(folder)
        paths = [Path(place) / f"{number}.jpg" for number in range(len(large))]
        for path, image in zip(paths, large, strict=True):
            Image.fromarray(image).save(path, quality=90)
        loader = DataLoader(
            Files(paths),
            BATCH,
            num_workers=2,
            drop_last=True,
            sampler=RandomSampler(paths, replacement=True, num_samples=10**6),
        )
        work = _theirs(model.train(), iter(loader), 2 if int(quick) else 8)
        serve(lambda: timed(work))


def _ours(
    model: Reconstructor, sampler: PatchSampler, block: int, pool: ThreadPoolExecutor
) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    mean = AveragedModel(model, multi_avg_fn=running_mean)
    generator = torch.Generator().manual_seed(0)
    parts = PARAMS.threads if model.mean.device.type == "cpu" else 1

    def work() -> None:
        for _ in range(block):
            low, targets = sampler.batch(BATCH, generator)
            backward(model, low, targets, (1, 1, 1), pool, parts)
            optimizer.step()
            mean.update_parameters(model)
        _finish(model)

    return work


def _finish(model: Reconstructor) -> None:
    """Wait for a GPU, which goes on when Python is done."""
    if model.mean.device.type == "cuda":
        torch.cuda.synchronize()


def _theirs(model: Reconstructor, batches: Iterator[Batch], block: int) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.parameters())
    mean = AveragedModel(model, avg_fn=lambda m, w, _: EMA_DECAY * m + (1 - EMA_DECAY) * w)

    def work() -> None:
        for _ in range(block):
            batch, wanted = next(batches)
            low = batch.to(model.mean.device)
            targets = [target.to(model.mean.device) for target in wanted]
            losses = [F.l1_loss(y, t) for y, t in zip(model(low), targets, strict=True)]
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            optimizer.step()
            mean.update_parameters(model)
        _finish(model)

    return work


def arithmetic(_: Path | None, _device: str, *, quick: bool) -> None:
    """GFLOP/s of a large product, and of each network in inference and in training."""
    a = torch.rand(2048, 2048)
    (seconds,) = alternate(3, lambda: a @ a)
    show("matrix_product_2048", 2 * 2048**3 / seconds / 1e9, "GFLOP/s")
    for name in (DEMO,) if quick else ALL:
        model, repeats = network(name), 1 if quick else 3
        x = torch.rand(16 if name in SMALL else 2, 3, 64, 32)
        patches = torch.rand(BATCH, 3, *PATCH)
        x, patches = (t.contiguous(memory_format=torch.channels_last) for t in (x, patches))
        forward = flop(lambda model=model, x=x: model(x))
        step = flop(lambda model=model, x=patches: _gradients(model, x, 1))

        def infer(model: Reconstructor = model, x: Tensor = x) -> None:
            with single_threads(PARAMS.threads) as pool:  # as `restore_batches` does
                list(pool.map(torch.inference_mode()(model.forward), [x] * PARAMS.threads))

        def learn(model: Reconstructor = model, x: Tensor = patches) -> None:
            _gradients(model, x, PARAMS.threads)

        seconds = alternate(repeats, infer, learn)
        show(f"{name}.per_64x32_crop", forward / len(x) / 2e9, "GMAC")
        show(f"{name}.inference", PARAMS.threads * forward / seconds[0] / 1e9, "GFLOP/s")
        show(f"{name}.training", step / seconds[1] / 1e9, "GFLOP/s")


def _gradients(model: Reconstructor, x: Tensor, parts: int) -> None:
    targets = [torch.zeros(len(x), 3, *(s * side for side in x.shape[2:])) for s in SCALES]
    with single_threads(parts) as pool:
        backward(model, x, targets, (1, 1, 1), pool, parts)


def show(name: str, value: float, unit: str) -> None:
    """Print a figure."""
    print(f"restoration.{name} {value:.2f} {unit}", flush=True)


PARTS = {"arithmetic": arithmetic, "generation": generation, "training": training}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, help="this one alone")
    parser.add_argument("--quick", action="store_true", help="few crops, the demo's network alone")
    parser.add_argument("--data-root", type=Path, help="folder that holds CAVIAR4REID/")
    parser.add_argument("--device", choices=COMPARED, default="cpu", help="default: cpu")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(*arguments.child)
        return
    device = arguments.device
    if device == "cuda" and arguments.part == "arithmetic":
        parser.error("--part arithmetic is of the CPU's kernels: leave out --device cuda")
    start_torch(device, PARAMS.threads)
    kind = "CAVIAR4REID" if arguments.data_root else "made-up sizes"
    where = f"{platform.machine()}, {os.cpu_count()} cores, {PARAMS.threads} threads"
    if device == "cuda":
        where = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    print(f"# {where}; {kind}")
    told = [part for part in PARTS if device == "cpu" or part != "arithmetic"]
    for part in [arguments.part] if arguments.part else told:
        PARTS[part](arguments.data_root, device, quick=arguments.quick)


if __name__ == "__main__":
    printing.end_when_lost()
    try:
        main()
    except UserError as error:
        sys.exit(f"speed: {error}")
