"""The embedded set: what a crop depends on, how it looks as data, and how hard it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyramid_reid.datasets.synthetic import draw
from pyramid_reid.datasets.synthetic.draw import SyntheticCrop

SEED = 7


@pytest.fixture(scope="module")
def crops() -> list[SyntheticCrop]:
    return list(draw.draw(SEED, identities=40, images_per_camera=2))


def labels(crops: list[SyntheticCrop]) -> list[tuple[int, int, int]]:
    return [(crop.pid, crop.camid, crop.frame) for crop in crops]


def smaller(pixels: np.ndarray, ratio: int) -> np.ndarray:
    """Down-sample as a far camera would."""
    image = Image.fromarray(pixels)
    size = (image.width // ratio, image.height // ratio)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def person_part(pixels: np.ndarray) -> np.ndarray:
    """The trunk, from which the background is absent, on a fixed grid; one light for all."""
    height, width, _ = pixels.shape
    trunk = pixels[height // 5 : height // 2, width * 3 // 10 : width * 7 // 10]
    grid = np.asarray(Image.fromarray(trunk).resize((8, 12), Image.Resampling.BOX), np.float64)
    return np.asarray((grid - grid.mean()) / grid.std())


def rank1(queries: list[np.ndarray], gallery: list[np.ndarray], same: np.ndarray) -> float:
    """Share of queries whose nearest gallery vector is the `same` (queries, gallery) person."""
    q, g = (np.stack([vector.ravel() for vector in vectors]) for vectors in (queries, gallery))
    nearest = np.linalg.norm(q[:, None] - g[None], axis=2).argmin(axis=1)
    return float(same[np.arange(len(q)), nearest].mean())


def test_order_and_count(crops: list[SyntheticCrop]) -> None:
    expected = [(p, c, f) for p in range(1, 41) for c in (1, 2) for f in (1, 2)]
    assert labels(crops) == expected


def test_sizes(crops: list[SyntheticCrop]) -> None:
    for crop in crops:
        height, width, channels = crop.pixels.shape
        assert crop.pixels.dtype == np.uint8
        assert channels == 3
        assert 96 <= height <= 144
        assert 0.32 <= width / height <= 0.55
    for axis in (0, 1):
        sizes = {crop.pixels.shape[axis] for crop in crops}
        assert len(sizes) > 10
        assert {size % 2 for size in sizes} == {0, 1}


def test_same_bytes_whatever_else_is_drawn(crops: list[SyntheticCrop]) -> None:
    wanted = {label: crop.pixels for label, crop in zip(labels(crops), crops, strict=True)}
    alone = list(draw.draw(SEED, identities=3, images_per_camera=3))
    shared = [crop for crop in alone if crop.frame <= 2]
    assert len(shared) == 12
    for crop in shared:
        np.testing.assert_array_equal(crop.pixels, wanted[crop.pid, crop.camid, crop.frame])


def test_seeds_differ(crops: list[SyntheticCrop]) -> None:
    other = next(draw.draw(SEED + 1, identities=1, images_per_camera=1))
    assert other.pixels.tobytes() != crops[0].pixels.tobytes()


def test_no_crop_twice(crops: list[SyntheticCrop]) -> None:
    assert len({crop.pixels.tobytes() for crop in crops}) == len(crops)


def test_crops_are_pictures(crops: list[SyntheticCrop]) -> None:
    """Neither flat nor noise: there is contrast, and neighbours in a column resemble each other."""
    for crop in crops:
        grey = crop.pixels.mean(axis=2)
        assert grey.std() > 8
        assert np.diff(grey, axis=0).std() < 0.8 * grey.std()  # of white noise: 1.4


def test_cameras_differ(crops: list[SyntheticCrop]) -> None:
    """Camera 2 sees warmer light than camera 1."""
    warmth = {
        camid: np.mean(
            [
                crop.pixels[..., 0].mean() - crop.pixels[..., 2].mean()
                for crop in crops
                if crop.camid == camid
            ]
        )
        for camid in (1, 2)
    }
    assert warmth[2] > warmth[1] + 10


@pytest.mark.parametrize("ratio", [1, 3])
def test_identity_is_in_the_clothes_not_in_the_mean_colour(
    crops: list[SyntheticCrop], ratio: int
) -> None:
    far = [crop for crop in crops if crop.camid == 2]
    near = [crop for crop in crops if crop.camid == 1]
    same = np.array([[query.pid == answer.pid for answer in near] for query in far])
    queries = [smaller(crop.pixels, ratio) for crop in far]
    gallery = [crop.pixels for crop in near]
    by_mean = rank1(
        [pixels.mean(axis=(0, 1)) for pixels in queries],
        [pixels.mean(axis=(0, 1)) for pixels in gallery],
        same,
    )
    by_trunk = rank1([*map(person_part, queries)], [*map(person_part, gallery)], same)
    assert by_mean <= 0.12
    assert by_trunk >= 0.15  # chance is 0.025
    assert by_trunk > 1.5 * by_mean


def test_write(tmp_path: Path, crops: list[SyntheticCrop]) -> None:
    folder = tmp_path / "new" / "raw"
    paths = draw.write(folder, SEED, identities=2, images_per_camera=2)
    names = [f"{p:04d}_c{c}_{f:02d}.png" for p in (1, 2) for c in (1, 2) for f in (1, 2)]
    assert paths == [folder / name for name in names]
    assert sorted(folder.iterdir()) == paths
    for path, crop in zip(paths, crops, strict=False):
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image), crop.pixels)


def test_write_twice_gives_the_same_files(tmp_path: Path) -> None:
    first = draw.write(tmp_path / "a", SEED, identities=1, images_per_camera=2)
    second = draw.write(tmp_path / "b", SEED, identities=1, images_per_camera=2)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("seed", (-1, 1, 1)),
        ("identities", (SEED, 0, 1)),
        ("images_per_camera", (SEED, 1, 0)),
    ],
)
def test_bad_arguments(tmp_path: Path, name: str, arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be at least \d, but is -?\d\.$"):
        draw.draw(*arguments)
    with pytest.raises(ValueError, match=name):
        draw.write(tmp_path / "raw", *arguments)
    assert not (tmp_path / "raw").exists()
