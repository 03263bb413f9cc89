"""Print what `download` and `simulate` say about sets of images with every kind of mistake.

Small sets are made in a temporary folder, shown as /data here, and given to the two stages.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "stages"), str(ROOT / "src")]

import download  # noqa: E402 - needs the path above
import simulate  # noqa: E402
from pyramid_reid.core.errors import UserError  # noqa: E402
from pyramid_reid.core.params import Params  # noqa: E402

RNG = np.random.default_rng(0)


def crop() -> Image.Image:
    """A crop unlike all others."""
    return Image.fromarray(RNG.integers(0, 256, (16, 8, 3), np.uint8))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """A file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def manifest(root: Path, *rows: str, header: str = "path,pid,camid,role") -> None:
    """A manifest, and a sound crop for each of its rows whose file is not there yet."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "manifest.csv").write_text("\n".join([header, *rows, ""]))
    for row in rows:
        path = root / row.split(",")[0]
        if not path.exists():
            crop().save(path)


def broken_images(root: Path) -> None:
    """Files that cannot be decoded, or have no agreed RGB."""
    root.mkdir()
    files = {
        "empty.jpg": b"",
        "cut_off.jpg": encoded(crop(), "JPEG")[:-60],
        "text.png": b"no image",
        "gif.png": encoded(crop(), "GIF"),
        "grey16.png": encoded(Image.fromarray(np.zeros((16, 8), np.uint16))),
        "glass.png": encoded(Image.new("RGBA", (8, 16), (1, 2, 3, 128))),
        "poster.png": encoded(Image.new("1", (5000, 5000))),
    }
    for name, content in files.items():
        (root / name).write_bytes(content)
    sound = ["q.png,2,2,query", "g.png,2,1,gallery", "t.png,1,1,train"]
    manifest(root, *sound, *(f"{name},1,{1 + n % 2},train" for n, name in enumerate(files)))


def broken_split(root: Path) -> None:
    """Leaks, queries that nothing can match, and a camera that is a typing error."""
    root.mkdir()
    for name in ("t1.png", "copy.png"):
        (root / name).write_bytes(encoded(Image.new("RGB", (8, 16), (9, 99, 199))))
    manifest(
        root, "t1.png,1,1,train", "t2.png,1,2,train", "both.png,1,1,gallery",
        "q2.png,2,2,query", "g2.png,2,1,gallery", "copy.png,3,1,gallery",
        "q8.png,8,2,query", "g8.png,8,2,gallery", "q9.png,9,22,query",
    )  # fmt: skip


def few_people(root: Path) -> None:
    """Three people whom both cameras saw."""
    rows = [f"{pid}_{camid}.png,{pid},{camid}" for pid in (1, 2, 3) for camid in (1, 2)]
    manifest(root, *rows, header="path,pid,camid")


def one_camera(root: Path) -> None:
    """Four people whom one camera saw."""
    rows = [f"{n}.png,{n // 2},1" for n in range(8)]
    manifest(root, *rows, header="path,pid,camid")


def one_camera_with_roles(root: Path) -> None:
    """The same, with a split."""
    rows = [f"{n}.png,{n // 2},1,{'query' if n % 2 else 'gallery'}" for n in range(8)]
    manifest(root, "t.png,9,1,train", *rows)


def folder_per_person(root: Path) -> None:
    """Two folders that may be one person's."""
    for path in ("17/a.png", "0017/b.png", "18/c.png"):
        (root / path).parent.mkdir(parents=True)
        crop().save(root / path)


def mistaken_table(root: Path) -> None:
    """A manifest with mistakes."""
    manifest(root, "a.png,1,1,train", "b.png,1,1,train")
    (root / "manifest.csv").write_text(
        "path,pid,camid,role\na.png,17,1,train\ncrops/b.png,0017,1,train\na.png,-1,2,\n../c.png,1,1,test\n"
    )


def viper(root: Path) -> None:
    """VIPeR's folder inside another one, with a folder of its own in it."""
    for camera, name in (("cam_a", "000_45.bmp"), ("cam_b", "000_90.bmp")):
        (root / "VIPeR" / camera).mkdir(parents=True)
        crop().save(root / "VIPeR" / camera / name)


def params_of(name: str, root: Path, low_camera: int | None) -> Params:
    """The committed params with another set."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"name": name, "root": str(root)}
    params["simulate"]["low_camera"] = low_camera
    return Params.model_validate(params)


def said(params: Params, between: Callable[[], object] = lambda: None) -> str:
    """What the stages say; `between` happens after the first one."""
    name = "download"
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            download.main(params)
            between()
            name = "simulate"
            simulate.main(params)
    except UserError as error:
        return f"{name}: {error}"
    return "nothing"


def main() -> None:
    """Print one message after the other."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        data = Path(os.path.realpath(folder)) / "data_of_user"
        data.mkdir()
        messages = []
        for make, camera in (
            (broken_images, None), (broken_split, None), (few_people, 2), (few_people, 3),
            (few_people, None), (one_camera, 1), (one_camera_with_roles, None),
            (mistaken_table, None),
        ):  # fmt: skip
            root = data / make.__name__
            if not root.exists():
                make(root)
            messages.append(said(params_of("manifest", root, camera)))
        root = data / "changed"
        manifest(root, "t.png,1,1,train", "q.png,2,2,query", "g.png,2,1,gallery", "u.png,1,2,train")
        params = params_of("manifest", root, None)
        messages.append(said(params, lambda: crop().save(root / "q.png")))
        folder_per_person(data / "folders")
        messages.append(said(params_of("folders", data / "folders", None)))
        viper(data)
        places = (data, data / "VIPeR" / "cam_a", data / "few_people", data / "Viper")
        messages += [said(params_of("viper", place, None)) for place in places]
        print("\n\n".join(messages).replace(str(data), "/data"))


if __name__ == "__main__":
    main()
