"""What each kernel for CPUs saves of a stage: each is switched off alone, beside all of them.

    python -m benchmarks.kernels.ablation                       # all parts, crops of made-up sizes
    python -m benchmarks.kernels.ablation --data-root FOLDER    # crops of FOLDER/CAVIAR4REID
    python -m benchmarks.kernels.ablation train_reid features_128x64   # these parts alone
    python -m benchmarks.kernels.ablation --list                # the parts by name

Units of work of each stage (a training step, the generation of a dozen crops) are timed in turns,
all kernels on before and after each that is off; a figure is the median over rounds of the time
with the kernel off over that with all on, and what this saves of the time without it. What malloc
keeps is a setting of the process: it is off in a process of its own.

Parts `generation_…` time other ways to run the same network: torch's and timm's operators alone,
with and without `torch.nn.functional.scaled_dot_product_attention`, and ONNX Runtime and OpenVINO
where they are installed, on batches of four 64x32 crops. Parts `features_…` do so for OSNet, and
vary the number of crops in a batch.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from benchmarks.side_by_side import OtherProcess, serve

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.params import load  # noqa: E402
from pyramid_reid.core.runtime import pin_environment, start_torch  # noqa: E402

PARAMS = load(ROOT / "params.yaml")
THREADS = PARAMS.threads
pin_environment(THREADS)

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torchreid  # noqa: E402
from benchmarks.restoration.plain_operators import as_published  # noqa: E402
from benchmarks.restoration.speed import (  # noqa: E402
    BATCH,
    DEMO,
    PATCH,
    SCALES,
    crops,
    large_crops,
    network,
)
from timm.models import swin_transformer  # noqa: E402
from torch import nn  # noqa: E402
from torch.optim.swa_utils import AveragedModel  # noqa: E402

from pyramid_reid.core import runtime  # noqa: E402
from pyramid_reid.core.crops import Pixels  # noqa: E402
from pyramid_reid.core.single_threads import single_threads  # noqa: E402
from pyramid_reid.reid.features import Extractor  # noqa: E402
from pyramid_reid.reid.network import osnet  # noqa: E402
from pyramid_reid.reid.network.kernels import gates  # noqa: E402
from pyramid_reid.reid.training.loop import _step  # noqa: E402
from pyramid_reid.restoration.inference import plan, restore_batch, restore_batches  # noqa: E402
from pyramid_reid.restoration.kernels import winograd  # noqa: E402
from pyramid_reid.restoration.network import han, swinir  # noqa: E402
from pyramid_reid.restoration.network.reconstructor import Reconstructor  # noqa: E402
from pyramid_reid.restoration.training.loop import backward, running_mean  # noqa: E402
from pyramid_reid.restoration.training.patches import PatchSampler, make_pair  # noqa: E402

CPU = torch.device("cpu")
Work = Callable[[], object]
Off = Callable[[], AbstractContextManager[object]]
SWIN, HAN = (DEMO, "swinir_light"), ("han_light",)


def off(*modules: object) -> Off:
    """Say no to the kernels that ask the switch in these modules."""

    @contextmanager
    def without() -> Iterator[None]:
        with ExitStack() as stack:
            for module in modules:
                stack.enter_context(patch.object(module, "use_kernels", lambda _: False))
            yield

    return without


def without_volumes() -> AbstractContextManager[object]:
    """HAN's attention over channels and positions as a convolution of volumes."""
    return patch.object(han, "wins_on", lambda *_: False)


def without_masks() -> AbstractContextManager[object]:
    """Swin's attention masks made at every call."""
    return patch.object(swinir, "_shift_mask", swinir._shift_mask.__wrapped__)  # noqa: SLF001


IN_TRAINING: dict[str, tuple[Off, Sequence[str]]] = {
    "Winograd": (off(winograd), SWIN + HAN),
    "Winograd for volumes alone": (without_volumes, HAN),
    "masks kept": (without_masks, SWIN),
}
IN_GENERATION = IN_TRAINING | {"window attention": (off(swinir), SWIN)}


def timed(work: Work) -> tuple[float, float]:
    """Seconds of one call: of the clock, and of all cores together."""
    start, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - busy


def compare(stage: str, rounds: int, on: Work, others: Mapping[str, Work]) -> None:
    """Print what each of the kernels saves; `on` before and after each work that lacks one."""
    for work in (on, *others.values()):
        work()
    ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in others}
    every = []
    for _ in range(rounds):
        before = timed(on)
        for name, work in others.items():
            without, after = timed(work), timed(on)
            ratios[name].append(
                (2 * without[0] / (before[0] + after[0]), 2 * without[1] / (before[1] + after[1]))
            )
            every.append(before[0])
            before = after
    print(f"# {stage}: {statistics.median(every) * 1e3:.0f} ms with all", flush=True)
    for name, each in ratios.items():
        show(stage, name, each)


def show(stage: str, name: str, ratios: Sequence[tuple[float, float]]) -> None:
    """Print a line: time without over time with, quartiles, and what is saved of the former."""
    clock, busy = (list(each) for each in zip(*ratios, strict=True))
    low, middle, high = statistics.quantiles(clock, n=4)
    cores = statistics.median(busy)
    print(
        f"{stage:38} {name:30} x{middle:5.2f} ({low:.2f} to {high:.2f})"
        f" saves {100 * (1 - 1 / middle):3.0f} %; of the cores' time"
        f" x{cores:5.2f} {100 * (1 - 1 / cores):3.0f} %",
        flush=True,
    )


def switched(work: Work, switch: Off) -> Work:
    """The work with something switched off."""

    def without() -> None:
        with switch():
            work()

    return without


def some_batches(model: Reconstructor, root: Path | None, number: int) -> list[list[Pixels]]:
    """Whole batches of the plan for a whole set, evenly spread over it."""
    images = crops(root, 1220)
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    batches = plan(sizes, PARAMS.generation.batch_pixels, model.batch_multiple)
    return [[images[row] for row in batch] for batch in batches[:: len(batches) // number]][:number]


def one_by_one(model: Reconstructor, batches: Sequence[list[Pixels]]) -> Work:
    """Batches one after the other, all threads at each."""

    def work() -> None:
        for batch in batches:
            restore_batch(model, batch)

    return work


def generation(model: Reconstructor, batches: Sequence[list[Pixels]]) -> Work:
    """Restore batches as `generate_pyramid` does."""
    images = [image for batch in batches for image in batch]
    numbers = iter(range(len(images)))
    shared = {number: [next(numbers) for _ in batch] for number, batch in enumerate(batches)}

    def work() -> None:
        for _ in restore_batches(model, shared, images.__getitem__, THREADS):
            pass

    return work


def ablate_generation(name: str, root: Path | None, rounds: int) -> None:
    """Each kernel of `generate_pyramid`."""
    model = network(name).eval()
    batches = some_batches(model, root, 6 if name == DEMO else 4)
    on, alone = generation(model, batches), one_by_one(model, batches)
    without = {
        kernel: switched(on, switch)
        for kernel, (switch, names) in IN_GENERATION.items()
        if name in names
    }
    without["a thread per batch"] = alone
    without["all of them"] = switched(alone, as_published)
    compare(f"generate_pyramid, {name}", rounds, on, without)


def training_step(model: Reconstructor, sampler: PatchSampler, pool: Any, parts: int) -> Work:
    """One step as `train_reconstructor` makes it."""
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    mean = AveragedModel(model, multi_avg_fn=running_mean)
    generator = torch.Generator().manual_seed(0)

    def work() -> None:
        low, targets = sampler.batch(BATCH, generator)
        backward(model, low, targets, (1, 1, 1), pool, parts)
        optimizer.step()
        mean.update_parameters(model)

    return work


def ablate_training(name: str, root: Path | None, rounds: int) -> None:
    """Each kernel of `train_reconstructor`."""
    sampler = PatchSampler([make_pair(image, SCALES) for image in large_crops(root)], PATCH, SCALES)
    model = network(name).train()
    with single_threads(THREADS) as pool:
        on = training_step(model, sampler, pool, THREADS)
        whole = training_step(model, sampler, pool, 1)
        without = {
            kernel: switched(on, switch)
            for kernel, (switch, names) in IN_TRAINING.items()
            if name in names
        }
        without["a thread per part"] = whole
        without["all of them"] = switched(whole, as_published)
        compare(f"train_reconstructor, {name}", rounds, on, without)


def reid_step(model: nn.Module, size: tuple[int, int], batch: int) -> Work:
    """One step as `train_reid` makes it."""
    optimizer = torch.optim.Adam(model.parameters(), amsgrad=True, fused=True)
    images = torch.rand(batch, 3, *size).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(batch) % 8
    return partial(_step, model, optimizer, images, targets, batch, 0.1)


def ablate_reid(name: str, size: tuple[int, int], batch: int, rounds: int) -> None:
    """Each kernel of `train_reid`."""
    on = reid_step(osnet.build(name, 8, 0).train(), size, batch)
    theirs = torchreid.reid.models.build_model(name, 8, loss="softmax", pretrained=False)
    theirs = theirs.train().to(memory_format=torch.channels_last)
    without = {
        "gates": switched(on, off(gates)),
        "gates, sums in place": reid_step(theirs, size, batch),
    }
    compare(f"train_reid, {name} {size[0]}x{size[1]}", rounds, on, without)


def malloc_work(stage: str, name: str, root: str, until: ExitStack) -> Work:
    """The work whose time a setting of malloc is measured in.

    Args:
        until: is closed when nobody works any more.
    """
    folder = Path(root) if root else None
    if stage == "train_reid":
        return reid_step(osnet.build("osnet_x0_25", 8, 0).train(), (128, 64), 64)
    if stage == "generate_pyramid":
        model = network(name).eval()
        return generation(model, some_batches(model, folder, 6))
    pairs = [make_pair(image, SCALES) for image in large_crops(folder)]
    pool = until.enter_context(single_threads(THREADS))
    return training_step(network(name).train(), PatchSampler(pairs, PATCH, SCALES), pool, THREADS)


def ablate_malloc(stage: str, name: str, root: Path | None, rounds: int) -> None:
    """Keeping freed memory, beside a process that does not."""
    arguments = ("malloc", stage, name, root or "")
    with OtherProcess(*arguments, "kept") as kept, OtherProcess(*arguments, "default") as default:
        figures = [(kept(), default(), kept()) for _ in range(rounds + 1)][1:]
    # only one figure comes from the other process: the clock's
    ratios = [2 * b / (a + c) for a, b, c in figures]
    show(f"{stage}, {name}", "malloc settings", list(zip(ratios, ratios, strict=True)))


class _Exported(nn.Module):
    """A reconstructor that gives a tuple, as an exporter wants it."""

    def __init__(self, model: Reconstructor) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.model(x))


def export(model: nn.Module, example: torch.Tensor, path: Path, names: Sequence[str]) -> None:
    """Write ONNX, of torch's and timm's operators."""
    with as_published(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (example,), str(path), input_names=["x"], output_names=list(names), dynamo=False
        )


def onnx_runtime(path: Path, example: torch.Tensor, threads: int = THREADS) -> Work:
    """A session of ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": example.numpy()})


def openvino(path: Path, example: torch.Tensor) -> Work:
    """A compiled model of OpenVINO."""
    import openvino as ov

    core = ov.Core()
    settings = {"INFERENCE_NUM_THREADS": THREADS, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    return lambda: compiled([example.numpy()])


RUNTIMES = {"ONNX Runtime": onnx_runtime, "OpenVINO": openvino}


def beside_runtimes(
    stage: str,
    rounds: int,
    works: dict[str, Work],
    model: nn.Module,
    example: torch.Tensor,
    outputs: Sequence[str],
    times: int,
) -> None:
    """Compare "ours" with the other works, and with other runtimes of the exported network.

    Args:
        times: how often a runtime computes the example to do as much as a work.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        for name, start in RUNTIMES.items():
            try:
                if not path.exists():
                    export(model, example.contiguous(), path, outputs)
                works[name] = repeated(start(path, example.contiguous()), times)
            except ImportError as error:
                print(f"{stage:38} {name:30} left out: {error}", flush=True)
        on = works.pop("ours")
        compare(stage, rounds, on, works)


def repeated(work: Work, times: int) -> Work:
    """A work, several times."""

    def again() -> None:
        for _ in range(times):
            work()

    return again


@contextmanager
def timms(model: nn.Module, *, fused: bool) -> Iterator[None]:
    """Torch's and timm's operators alone, with fused attention or without."""
    for module in model.modules():
        if isinstance(module, swin_transformer.WindowAttention):
            module.fused_attn = fused
    with as_published():
        yield


def other_ways(name: str, rounds: int) -> None:
    """Two batches of four 64x32 crops: ours a thread each, the others by all threads."""
    model = network(name).eval()
    x = torch.rand(4, 3, 64, 32).contiguous(memory_format=torch.channels_last)
    with single_threads(THREADS) as pool:
        infer = torch.inference_mode()(model.forward)

        def ours() -> None:
            list(pool.map(infer, [x] * THREADS))

        def whole() -> None:
            for _ in range(THREADS):
                infer(x)

        works: dict[str, Work] = {"ours": ours}
        if name in SWIN:
            for label, fused in (("torch, timm, SDPA", True), ("torch, timm, no SDPA", False)):
                as_timm = partial(timms, model, fused=fused)
                works[label] = switched(whole, as_timm)
                works[f"{label}, a thread each"] = switched(ours, as_timm)
        else:
            works["torch"] = switched(whole, as_published)
            works["torch, a thread each"] = switched(ours, as_published)
        beside_runtimes(
            f"generation, {name}", rounds, works, _Exported(model), x, ["x2", "x3", "x4"], THREADS
        )


def ablate_features(name: str, size: tuple[int, int], rounds: int) -> None:
    """Features of 100 images by the number in a batch, and by other runtimes (of 25)."""
    model = osnet.build(name, 2, 0).eval()
    images = np.random.default_rng(0).integers(0, 256, (100, *size, 3), dtype=np.uint8)

    def batches_of(count: int) -> Work:
        extractor = Extractor(model, CPU, *size)
        extractor.batch = count or extractor.batch
        return lambda: extractor(images)

    works = {f"batches of {count}": batches_of(count) for count in (5, 10, 25, 50, 100)}
    works["ours"] = batches_of(0)
    example = torch.rand(25, 3, *size)
    stage = f"distances, {name} {size[0]}x{size[1]}"
    beside_runtimes(stage, rounds, works, model, example, ["features"], 4)


def parts_by_name(root: Path | None, rounds: int) -> dict[str, Work]:
    """What can be measured alone."""
    reid = "osnet_x0_25"
    parts: dict[str, Work] = {}
    for name in (DEMO, "swinir_light", "han_light"):
        parts[f"generate_pyramid_{name}"] = partial(ablate_generation, name, root, rounds)
        parts[f"train_reconstructor_{name}"] = partial(ablate_training, name, root, rounds)
        parts[f"generation_{name}"] = partial(other_ways, name, rounds)
    parts["train_reid"] = partial(ablate_reid, reid, (128, 64), 64, rounds)
    for height, width in ((128, 64), (256, 128)):
        features = partial(ablate_features, reid, (height, width), rounds)
        parts[f"features_{height}x{width}"] = features
    for stage, name in (
        ("generate_pyramid", DEMO),
        ("train_reconstructor", DEMO),
        ("train_reconstructor", "han_light"),
        ("train_reid", reid),
    ):
        parts[f"malloc_{stage}_{name}"] = partial(ablate_malloc, stage, name, root, rounds)
    return parts


def main() -> None:
    """Measure and print."""
    printing.end_when_lost()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help="measure these alone")
    parser.add_argument("--list", action="store_true", help="print the names of the parts")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--data-root", type=Path, help="folder that holds CAVIAR4REID/")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _, stage, name, root, kind = arguments.child
        # glibc's own settings grow with what is freed, and no longer where one of them was ever set
        untouched = patch.object(runtime, "keep_freed_memory")
        with untouched if kind == "default" else nullcontext():
            start_torch("cpu", THREADS)
        with ExitStack() as until:
            work = malloc_work(stage, name, root, until)
            serve(lambda: timed(work)[0])
        return
    root, rounds = arguments.data_root, 2 if arguments.quick else arguments.rounds
    parts = parts_by_name(root, rounds)
    if arguments.list:
        print("\n".join(parts))
        return
    if unknown := set(arguments.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}: --list names them")
    start_torch("cpu", THREADS)
    kind = "CAVIAR4REID" if root else "made-up sizes"
    print(f"# {platform.machine()}, {os.cpu_count()} cores, {THREADS} threads; {kind}", flush=True)
    for name in arguments.parts or parts:
        parts[name]()


if __name__ == "__main__":
    main()
