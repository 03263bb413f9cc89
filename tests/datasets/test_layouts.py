"""Each layout on a small tree in its authors' naming, with its oddities."""

import csv
import io
import subprocess
import sys
import unicodedata
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat
from torchreid.reid.data.datasets.image.cuhk03 import CUHK03
from torchreid.reid.data.datasets.image.dukemtmcreid import DukeMTMCreID
from torchreid.reid.data.datasets.image.market1501 import Market1501

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import VARIANTS, Data
from pyramid_reid.core.raw_set import camera_number, load_pixels, read_names
from pyramid_reid.datasets import cuhk03, layout
from pyramid_reid.datasets.layout import RawImage
from pyramid_reid.datasets.registry import DATASETS


def tree(root, *names):
    """Files with something in them (layouts are read without opening an image)."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


TREES = {
    "caviar4reid": ["0001001.jpg"],
    "viper": ["cam_a/000_45.bmp", "cam_b/000_90.bmp"],
    "prid2011": ["cam_a/person_0001.png", "cam_b/person_0001.png"],
    "grid": [
        "probe/0001_1_25004_107_32_106_221.jpeg",
        "gallery/0001_2_25023_116_134_128_330.jpeg",
    ],
    "market1501": [
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "query/0001_c1s1_001051_00.jpg",
        "bounding_box_test/0001_c2s1_000301_00.jpg",
    ],
    "dukemtmc_reid": [
        "bounding_box_train/0001_c2_f0046182.jpg",
        "query/0005_c2_f0046985.jpg",
        "bounding_box_test/0005_c5_f0051341.jpg",
    ],
    "mta_reid": [
        "train/framegta_1_camid_0_pid_7.png",
        "query/framegta_2_camid_5_pid_2733.png",
        "test/framegta_3_camid_4_pid_2733.png",
        "distractors/test/framegta_4_camid_4_pid_2733.png",
    ],
}
"""The least of each set that is a folder of images."""


def test_the_registry_holds_every_name_and_variant_of_params():
    assert set(DATASETS) == set(Data.model_fields["name"].annotation.__args__)
    assert set(VARIANTS) <= set(DATASETS)
    for name, dataset in DATASETS.items():
        if name != "synthetic":
            assert dataset.marks, name
            assert dataset.page, name
            assert bool(dataset.source) != bool(dataset.why_not), name


def test_every_set_is_described(tmp_path):
    text = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    for name, dataset in DATASETS.items():
        assert f"`{name}`" in text
        if dataset.source:
            assert dataset.source.url in text


def test_viper(tmp_path):
    tree(tmp_path, "cam_b/000_90.bmp", "cam_a/873_0.bmp", "cam_a/000_45.bmp", "cam_a/Thumbs.db")
    assert DATASETS["viper"].read(tmp_path, None) == [
        RawImage("cam_a/000_45.bmp", 0, 1),
        RawImage("cam_a/873_0.bmp", 873, 1),
        RawImage("cam_b/000_90.bmp", 0, 2),
    ]


def test_prid_s_people_beyond_200_are_not_the_same_in_both_cameras(tmp_path):
    names = [f"{camera}/person_{person}.png" for camera in ("cam_a", "cam_b") for person in PRID]
    images = DATASETS["prid2011"].read(tree(tmp_path, *names), None)
    assert [(image.pid, image.camid, image.role) for image in images] == [
        (1, 1, ""),
        (200, 1, ""),
        (201, 1, ""),
        (1, 2, ""),
        (200, 2, ""),
        (10_201, 2, "gallery"),
    ]


PRID = ["0001", "0200", "0201"]


def test_each_of_grid_s_distractors_is_a_person_of_its_own(tmp_path):
    tree(tmp_path, *TREES["grid"], "features_and_partitions.mat")
    tree(tmp_path, "gallery/0000_1_25698_101_16_87_246.jpeg", "gallery/0000_8_2_1_1_8_24.jpeg")
    assert DATASETS["grid"].read(tmp_path, None) == [
        RawImage("probe/0001_1_25004_107_32_106_221.jpeg", 1, 1),
        RawImage("gallery/0000_1_25698_101_16_87_246.jpeg", 10_001, 2, "gallery"),
        RawImage("gallery/0000_8_2_1_1_8_24.jpeg", 10_002, 2, "gallery"),
        RawImage("gallery/0001_2_25023_116_134_128_330.jpeg", 1, 2),
    ]


def test_market_leaves_junk_out_and_keeps_false_boxes_in_the_gallery(tmp_path):
    tree(
        tmp_path,
        *TREES["market1501"],
        "bounding_box_test/-1_c1s1_000401_03.jpg",
        "bounding_box_test/0000_c6s1_000151_01.jpg",
        "bounding_box_train/0007_c3s3_077419_03.jpg.jpg",
        "bounding_box_train/Thumbs.db",
        "bounding_box_train/._0002_c1s1_000451_03.jpg",
        "gt_bbox/0001_c1s1_001051_00.jpg",
    )
    assert DATASETS["market1501"].read(tmp_path, None) == [
        RawImage("bounding_box_train/0002_c1s1_000451_03.jpg", 2, 1, "train"),
        RawImage("bounding_box_train/0007_c3s3_077419_03.jpg.jpg", 7, 3, "train"),
        RawImage("query/0001_c1s1_001051_00.jpg", 1, 1, "query"),
        RawImage("bounding_box_test/0000_c6s1_000151_01.jpg", 0, 6, "gallery"),
        RawImage("bounding_box_test/0001_c2s1_000301_00.jpg", 1, 2, "gallery"),
    ]


def test_duke(tmp_path):
    assert DATASETS["dukemtmc_reid"].read(tree(tmp_path, *TREES["dukemtmc_reid"]), None) == [
        RawImage("bounding_box_train/0001_c2_f0046182.jpg", 1, 2, "train"),
        RawImage("query/0005_c2_f0046985.jpg", 5, 2, "query"),
        RawImage("bounding_box_test/0005_c5_f0051341.jpg", 5, 5, "gallery"),
    ]


def test_mta_leaves_distractors_out_wherever_they_lie(tmp_path):
    tree(tmp_path, *TREES["mta_reid"], "test/framegta_4_camid_4_pid_2733.png")
    expected = [
        RawImage("train/framegta_1_camid_0_pid_7.png", 7, 0, "train"),
        RawImage("query/framegta_2_camid_5_pid_2733.png", 2733, 5, "query"),
        RawImage("test/framegta_3_camid_4_pid_2733.png", 2733, 4, "gallery"),
    ]
    assert DATASETS["mta_reid"].read(tmp_path, None) == expected
    (tmp_path / "distractors/test/framegta_4_camid_4_pid_2733.png").unlink()
    with pytest.raises(UserError, match="names no image"):
        DATASETS["mta_reid"].read(tmp_path, None)
    tree(tmp_path, "query/framegta_5_camid_1_pid_9.png")
    listing = tmp_path / "distractors/list.txt"
    listing.write_text("test/framegta_4_camid_4_pid_2733.png\r\n\nframegta_5_camid_1_pid_9.png\n")
    assert DATASETS["mta_reid"].read(tmp_path, None) == expected
    listing.write_text("framegta_4.png\n")
    with pytest.raises(UserError, match=r"framegta_4\.png.*no image of the set"):
        DATASETS["mta_reid"].read(tmp_path, None)


MSMT17 = {
    "train": "0000/0000_000_01_0303morning_0008_0.jpg 0\n",
    "val": "0000/0000_008_04_0303noon_0070_1.jpg 0\r\n",
    "query": "0000/0000_000_15_0113afternoon_0001_0.jpg 0\n",
    "gallery": "0000/0000_003_07_0303morning_0011_1.jpg 0\n"
    "3059/3059_003_07_0303morning_0011_1.jpg 3059",
}


@pytest.mark.parametrize("folders", [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_msmt17_s_test_people_are_others_than_its_training_people(tmp_path, folders):
    train, test = folders
    for name, lines in MSMT17.items():
        (tmp_path / f"list_{name}.txt").write_text(lines)
        for line in lines.splitlines():
            folder = train if name in {"train", "val"} else test
            tree(tmp_path, f"{folder}/{line.split(' ')[0]}")
    images = DATASETS["msmt17"].read(tmp_path, None)
    assert images == [
        RawImage(f"{train}/0000/0000_000_01_0303morning_0008_0.jpg", 0, 1, "train"),
        RawImage(f"{train}/0000/0000_008_04_0303noon_0070_1.jpg", 0, 4, "train"),
        RawImage(f"{test}/0000/0000_000_15_0113afternoon_0001_0.jpg", 10_000, 15, "query"),
        RawImage(f"{test}/0000/0000_003_07_0303morning_0011_1.jpg", 10_000, 7, "gallery"),
        RawImage(f"{test}/3059/3059_003_07_0303morning_0011_1.jpg", 13_059, 7, "gallery"),
    ]
    assert len(layout.record(tmp_path, images)) == 5
    (tmp_path / test / "3059/3059_003_07_0303morning_0011_1.jpg").unlink()
    with pytest.raises(UserError, match=r"3059_003_07_0303morning_0011_1\.jpg' cannot be read"):
        layout.record(tmp_path, images)
    (tmp_path / "list_val.txt").write_text("../0000_008_04_0303noon_0070_1.jpg 0\na.jpg\n")
    with pytest.raises(UserError, match=r"2 line\(s\).*list_val\.txt:1.*list_val\.txt:2 'a\.jpg'"):
        DATASETS["msmt17"].read(tmp_path, None)


# CUHK03: the .mat file as MATLAB writes it, and the new split's as Zhong et al. do.

CELLS = {
    # pair, person: images that are there (of ten)
    (1, 1): [1, 2, 6],
    (1, 2): [1, 10],
    (2, 1): [3, 7],
}


@pytest.fixture
def cuhk(tmp_path):
    """A tiny CUHK03 with crops of rising brightness; those of `labeled` are larger."""
    root = tmp_path / "cuhk03"
    (root / "cuhk03_release").mkdir(parents=True)
    with h5py.File(root / cuhk03.MAT, "w") as mat:
        cells = mat.create_group("#refs#")

        def put(value):
            return cells.create_dataset(f"r{len(cells)}", data=value).ref

        def references(rows):
            return np.array(rows, dtype=h5py.ref_dtype)

        for boxes, height in (("detected", 6), ("labeled", 8)):
            tables = []
            for pair in (1, 2):
                people = sorted(person for of, person in CELLS if of == pair)
                rows = []
                for person in people:
                    there = CELLS[pair, person]
                    rows.append(
                        [
                            put(
                                crop(height, 10 * pair + person, image).T
                                if image in there
                                else np.zeros(2, np.uint64)  # MATLAB's empty cell: its dimensions
                            )
                            for image in range(1, 11)
                        ]
                    )
                tables.append(put(references(rows).T))
            mat[boxes] = references([tables])  # (1, pairs), MATLAB's order of axes reversed
        tests = [put(np.array([[1.0, 1.0]]).T), put(np.array([[1.0, 2.0], [2.0, 1.0]]).T)]
        mat["testsets"] = references([tests])
    names = ["1_001_1_01.png", "1_001_1_02.png", "1_001_2_06.png", "2_001_1_03.png"]
    filelist = np.array(names, dtype=object).reshape(-1, 1)
    for boxes in ("detected", "labeled"):
        savemat(
            root / f"cuhk03_new_protocol_config_{boxes}.mat",
            {
                "filelist": filelist,
                "labels": np.array([[1], [1], [1], [844]]),
                "camId": np.array([[1], [1], [2], [1]]),
                "train_idx": np.array([[4]]),
                "query_idx": np.array([[1]]),
                "gallery_idx": np.array([[2], [3]]),
            },
        )
    return root


def crop(height, person, image):
    """(height, 3, 3) pixels that tell where they come from, not symmetric in any axis."""
    rng = np.random.default_rng([height, person, image])
    return rng.integers(0, 256, (height, 3, 3), dtype=np.uint8)


def test_cuhk03_s_classic_crops_are_named_by_pair_person_view_and_image(cuhk):
    expected = [
        RawImage("1_001_1_01.png", 1001, 1),
        RawImage("1_001_1_02.png", 1001, 1),
        RawImage("1_001_2_06.png", 1001, 2),
        RawImage("1_002_1_01.png", 1002, 1),
        RawImage("1_002_2_10.png", 1002, 2),
        RawImage("2_001_1_03.png", 2001, 1),
        RawImage("2_001_2_07.png", 2001, 2),
    ]
    for variant in (None, "detected_classic", "labeled_classic"):
        assert DATASETS["cuhk03"].read(cuhk, variant) == expected
    assert DATASETS["cuhk03"].test_sets(cuhk, None) == [[1001], [1002, 2001]]
    assert DATASETS["cuhk03"].test_sets(cuhk, "labeled_new") == []  # it has roles


def test_cuhk03_without_the_authors_splits_is_one_sentence(cuhk):
    import h5py

    with h5py.File(cuhk / cuhk03.MAT, "a") as mat:
        del mat["testsets"]
    assert DATASETS["cuhk03"].test_sets(cuhk, "detected_new") == []
    with pytest.raises(UserError, match="holds no `testsets`, the authors' splits: set data"):
        DATASETS["cuhk03"].test_sets(cuhk, None)


@pytest.mark.parametrize(("variant", "height"), [(None, 6), ("labeled_new", 8)])
def test_cuhk03_s_crops_are_extracted_upright_and_in_rgb(cuhk, tmp_path, variant, height):
    DATASETS["cuhk03"].extract(cuhk, variant, tmp_path / "out")
    images = DATASETS["cuhk03"].read(cuhk, "detected_classic")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        image.path for image in images
    ]
    table = layout.record(tmp_path / "out", images)
    for row in table.itertuples():
        pair, person, _, image = (int(part) for part in row.path[:-4].split("_"))
        pixels = load_pixels(tmp_path / "out", row.path, row.sha256)
        np.testing.assert_array_equal(pixels, crop(height, 10 * pair + person, image))


def test_cuhk03_s_new_split_gives_roles(cuhk):
    assert DATASETS["cuhk03"].read(cuhk, "detected_new") == [
        RawImage("1_001_1_01.png", 1001, 1, "query"),
        RawImage("1_001_1_02.png", 1001, 1, "gallery"),
        RawImage("1_001_2_06.png", 1001, 2, "gallery"),
        RawImage("2_001_1_03.png", 2001, 1, "train"),
    ]
    (cuhk / "cuhk03_new_protocol_config_detected.mat").write_bytes(b"no .mat")
    with pytest.raises(UserError, match="is not a readable"):
        DATASETS["cuhk03"].read(cuhk, "detected_new")
    (cuhk / "cuhk03_new_protocol_config_detected.mat").unlink()
    with pytest.raises(UserError, match=r"holds no cuhk03_new_protocol_config_detected\.mat"):
        DATASETS["cuhk03"].read(cuhk, "detected_new")
    (cuhk / cuhk03.MAT).write_bytes(b"no HDF5")
    with pytest.raises(UserError, match="is not an HDF5"):
        DATASETS["cuhk03"].read(cuhk, None)


@pytest.mark.parametrize("boxes", ["detected", "labeled"])
def test_torchreid_reads_the_same_cuhk03(cuhk, tmp_path, boxes):
    def by_role(dataset):
        return {
            role: {(Path(path).name, camid + 1) for path, _, camid, *_ in getattr(dataset, role)}
            for role in ("train", "query", "gallery")
        }

    theirs = CUHK03(root=str(cuhk.parent), cuhk03_labeled=boxes == "labeled", verbose=False)
    ours = DATASETS["cuhk03"].read(cuhk, f"{boxes}_new")
    assert by_role(theirs) == {
        role: {(image.path, image.camid) for image in ours if image.role == role}
        for role in ("train", "query", "gallery")
    }
    DATASETS["cuhk03"].extract(cuhk, f"{boxes}_new", tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        np.testing.assert_array_equal(
            np.asarray(Image.open(path)),
            np.asarray(Image.open(cuhk / f"images_{boxes}" / path.name)),
        )
    every = DATASETS["cuhk03"].read(cuhk, f"{boxes}_classic")
    for split_id, pids in enumerate(DATASETS["cuhk03"].test_sets(cuhk, None)):
        theirs = CUHK03(
            root=str(cuhk.parent),
            split_id=split_id,
            cuhk03_labeled=boxes == "labeled",
            cuhk03_classic_split=True,
            verbose=False,
        )
        test = {(image.path, image.camid) for image in every if image.pid in pids}
        train = {(image.path, image.camid) for image in every} - test
        assert by_role(theirs) == {"train": train, "query": test, "gallery": test}


@pytest.mark.parametrize(
    ("name", "theirs", "folder"),
    [
        ("market1501", Market1501, "market1501/Market-1501-v15.09.15"),
        ("dukemtmc_reid", DukeMTMCreID, "dukemtmc-reid/DukeMTMC-reID"),
    ],
)
def test_torchreid_reads_the_same_roles_people_and_cameras(tmp_path, name, theirs, folder):
    root = tree(tmp_path / folder, *TREES[name])
    if name == "market1501":
        tree(root, "bounding_box_test/-1_c1s1_000401_03.jpg")
        tree(root, "bounding_box_test/0000_c6s1_000151_01.jpg")
    dataset = theirs(root=str(tmp_path), verbose=False)
    ours = DATASETS[name].read(root, None)
    for role in ("train", "query", "gallery"):
        expected = {
            (str(Path(path).relative_to(root)), camid + 1, 0 if role == "train" else pid)
            for path, pid, camid, *_ in getattr(dataset, role)
        }
        assert expected == {
            (image.path, image.camid, 0 if role == "train" else image.pid)
            for image in ours
            if image.role == role
        }


# What every layout does with a wrong folder or foreign files.


@pytest.mark.parametrize("name", TREES)
def test_a_folder_too_high_or_too_low_is_answered_with_the_right_one(tmp_path, name):
    root = tree(tmp_path / "up" / "set", *TREES[name])
    read = DATASETS[name].read
    assert len(read(root, None)) == len(TREES[name]) - (name == "mta_reid")
    for wrong, said in ((root.parent, "one level too high"), (tmp_path, "two levels too high")):
        with pytest.raises(UserError, match=f"{wrong} is {said}; give {root}$"):
            read(wrong, None)
    (root / "below" / "it").mkdir(parents=True)
    for wrong, said in (("below", "one level too low"), ("below/it", "two levels too low")):
        with pytest.raises(UserError, match=f"{wrong} is {said}; give {root}$"):
            read(root / wrong, None)
    (tmp_path / "else").mkdir()
    with pytest.raises(UserError, match=r"data\.root: .* does not exist; give the folder with"):
        read(tmp_path / "missing", None)
    with pytest.raises(UserError, match=r"holds no .*; give the folder with"):
        read(tree(tmp_path / "elsewhere" / "a" / "b" / "c", "photo.png"), None)


@pytest.mark.parametrize("name", TREES)
def test_all_foreign_images_are_counted_and_the_first_ten_named(tmp_path, name):
    root = tree(tmp_path, *TREES[name])
    folder = (root / TREES[name][0]).parent
    for number in range(12):
        tree(folder, f"holiday {number:02d}.JPG")
    tree(folder, "0000\n001.png", "readme.txt")
    with pytest.raises(UserError) as caught:
        DATASETS[name].read(root, None)
    said = str(caught.value)
    assert "13 image(s)" in said
    assert "0000\\n001.png" in said
    assert "holiday 08.JPG" in said
    assert "holiday 09.JPG" not in said
    assert said.count("\n") == 0
    assert "and 3 more" in said


# Your own crops.


@pytest.fixture
def own(tmp_path):
    """A folder of mixed crops and a writer of its manifest."""
    rng = np.random.default_rng(0)
    for name in OWN:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 4, 3), dtype=np.uint8)).save(path)

    def write(text, **options):
        (tmp_path / "manifest.csv").write_text(text, **({"encoding": "utf-8"} | options))
        return tmp_path

    return write


OWN = ["a/one.JPG", "a/two, with comma.png", "größe 3.Bmp", "four.jpeg"]


def manifest(rows, header=("path", "pid", "camid")):
    """The text of a table."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def test_a_manifest_takes_any_crops_in_its_own_order(own):
    root = own(manifest([(name, 7 - k, 0) for k, name in enumerate(OWN)]))
    images = DATASETS["manifest"].read(root, None)
    assert images == [RawImage(name, 7 - k, 0) for k, name in enumerate(OWN)]
    table = layout.record(root, images)
    table.to_csv(root / "images.csv", index=False, lineterminator="\n")
    again = pd.read_csv(root / "images.csv", dtype={"path": str})
    assert list(again.path) == OWN
    for row in again.itertuples():
        assert load_pixels(root, row.path, row.sha256).shape == (9, 4, 3)


def test_a_manifest_may_have_roles_another_name_and_excel_s_mark_and_line_ends(own):
    roles = ("train", "query", "gallery", "train")
    rows = [(role, 1, name, 2) for role, name in zip(roles, OWN, strict=True)]
    text = manifest(rows, ("role", "camid", "path", "pid")).replace("\n", "\r\n")
    root = own("\ufeff" + text + "\r\n", newline="")
    (root / "manifest.csv").rename(root / "table.csv")
    assert DATASETS["manifest"].read(root / "table.csv", None) == [
        RawImage(name, 2, 1, role) for role, name in zip(roles, OWN, strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"line 1: expected the columns path,pid,camid"),
        ("path,pid,camid\n", "lists no image"),
        ("path|pid|camid\na|1|1\n", r"line 1: .*got 'path\|pid\|camid'"),
        ("sep=;\npath;pid\na;1\n", "line 2: expected"),
        ("path,pid\nfour.jpeg,1\n", "line 1: expected"),
        ("path,pid,camid,rol\nfour.jpeg,1,1,test\n", "column 'rol' is not read: call it role"),
        ("path,pid,camid,Split\nfour.jpeg,1,1,train\n", "'Split' is not read: call it role"),
        ("path,pid,camid,pid\nfour.jpeg,1,1,1\n", "line 1: expected"),
        ("path,pid,camid\nfour.jpeg,1\n", "3 columns, but line 2 has 2"),
        ("path,pid,camid\nfour.jpeg,,1\n", r"line 2 pid '' is empty"),
        ("path,pid,camid\nfour.jpeg,1,-1\n", r"line 2 camid '-1' is neither a whole number"),
        ("path,pid,camid\nfour.jpeg,1.5,1\n", r"line 2 pid '1.5' is neither a whole number"),
        ("path,pid,camid\nfour.jpeg,2.0E+11,1\n", "line 2 pid '2.0E.11' .* as text"),
        ("path,pid,camid\nfour.jpeg,1,1\na/one.JPG,1,\n", "line 3 camid '' .*name this camera"),
        (
            "path,pid,camid\nfour.jpeg,17,1\na/one.JPG,0017,1\n",
            r"line 3 pid '17' and '0017' \(line 2, line 3\) may be one person or several",
        ),
        (
            "path,pid,camid\nfour.jpeg,1,c1\na/one.JPG,1,C01\n",
            r"line 3 camid 'c1' and 'C01' \(line 2, line 3\) may be one camera or several",
        ),
        ("path,pid,camid\n\n../four.jpeg,1,1\n", r"line 3 path '\.\./four\.jpeg' leaves"),
        ("path,pid,camid\n/etc/passwd.png,1,1\n", "line 2 path '/etc/passwd.png' leaves"),
        ("path,pid,camid\na/../../four.jpeg,1,1\n", "line 2 path .* leaves"),
        ("path,pid,camid\n..\\four.jpeg,1,1\n", "line 2 path .* leaves"),
        ("path,pid,camid\nC:\\x\\four.jpeg,1,1\n", "line 2 path .* is absolute: give it below"),
        ("path,pid,camid\nhttps://a/four.jpeg,1,1\n", "line 2 path .* is an address: get the"),
        ("path,pid,camid\nA/One.jpg,1,1\n", r"\(there is 'a/one.JPG': case counts\)"),
        ("path,pid,camid\ncrops/a/one.JPG,1,1\n", r"\(there is 'a/one.JPG': a path begins below"),
        ("path,pid,camid\nfour.jpeg,1,1\n./four.jpeg,2,1\n", "line 3 names .* after line 2"),
        ("path,pid,camid\nmanifest.csv,1,1\n", "line 2 path 'manifest.csv' is no plain path"),
        ("path,pid,camid\nfive.png,1,1\n", "line 2 'five.png' cannot be read: No such file"),
        ("path,pid,camid\na,1,1\n", "line 2 path 'a' is no plain path"),
        ("path,pid,camid\nfolder.png,1,1\n", "line 2 'folder.png' is no file"),
        ("path,pid,camid\nlink.png,1,1\n", "line 2 'link.png' is a link out of the folder"),
        ("path,pid,camid\nout/secret.png,1,1\n", "line 2 'out/secret.png' is a link out of"),
        ("path,pid,camid\ndangling.png,1,1\n", "line 2 'dangling.png' cannot be read"),
        ('path,pid,camid\n"a\nb.png",1,1\n', "line 3 .*control characters"),
        ("path,pid,camid\nfour.jpeg,1,1\nfour.jpeg,2,1\n", "line 3 names .* again, after line 2"),
        ("path,pid,camid,role\nfour.jpeg,1,1,test\n", "line 2 role 'test' is none of train"),
        ("path,pid,camid,role\nfour.jpeg,1,1,train\na/one.JPG,1,1,\n", "line 3 role ''"),
        ('path,pid,camid\n"four.jpeg,1,1\n', "is not CSV"),
        ("path,pid,camid\na\0.png,1,1\n", "line 2"),
    ],
)
def test_mistakes_of_a_manifest_are_named_by_line(own, tmp_path_factory, text, said):
    root = own(text)
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.png").write_bytes(b"x")
    (root / "folder.png").mkdir()
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "out").symlink_to(outside)
    (root / "dangling.png").symlink_to(root / "nothing.png")
    with pytest.raises(UserError, match=said) as caught:
        DATASETS["manifest"].read(root, None)
    assert str(root / "manifest.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


ROWS = [(name, pid, camid) for name, pid, camid in zip(OWN, "7654", "1212", strict=True)]


@pytest.mark.parametrize(
    "options",
    [
        {"delimiter": ";"},
        {"delimiter": "\t"},
        {"delimiter": ";", "before": "sep=;\n"},
        {"delimiter": ";", "before": "sep=;\r\n", "lineterminator": "\r\n"},
        {"delimiter": "\t", "encoding": "utf-16"},
        {"encoding": "utf-8-sig", "lineterminator": "\r"},
        {"header": ("Path", " PID", "CamID ")},
        {"header": ("", "path", "pid", "camid", "")},
    ],
)
def test_tables_are_read_as_programs_write_them(own, options):
    header = options.get("header", ("path", "pid", "camid"))
    rows = [("0", *row, "") for row in ROWS] if len(header) == 5 else ROWS
    text = io.StringIO(newline="")
    style = {key: options[key] for key in ("delimiter", "lineterminator") if key in options}
    csv.writer(text, **{"lineterminator": "\n", **style}).writerows([header, *rows])
    root = own(
        options.get("before", "") + text.getvalue(),
        newline="",
        encoding=options.get("encoding", "utf-8"),
    )
    expected = [RawImage(path, int(pid), int(camid)) for path, pid, camid in ROWS]
    assert DATASETS["manifest"].read(root, None) == expected


def test_a_workbook_is_named_as_one(own):
    root = own("")
    for start, said in (
        (b"PK\x03\x04", "an Excel or Open"),
        (b"\xd0\xcf\x11\xe0", "an Excel file"),
    ):
        (root / "people.xlsx").write_bytes(start + b"\0\xff")
        with pytest.raises(UserError, match=rf"people\.xlsx is {said}.*: save it as CSV"):
            DATASETS["manifest"].read(root / "people.xlsx", None)


def test_names_are_numbered_and_the_numbers_recorded(own):
    people, cameras = ("A-10", "A-9", " A-10 ", "B"), ("c1s3", "c1s1", "c1s1", "c1s3")
    root = own(manifest(zip(OWN, people, cameras, strict=True)))
    images = DATASETS["manifest"].read(root, None)
    assert [(image.pid, image.camid) for image in images] == [(2, 2), (1, 1), (2, 1), (3, 2)]
    layout.names(images).to_csv(root / "names.csv", index=False)
    names = read_names(root)
    assert names == {"pid": {1: "A-9", 2: "A-10", 3: "B"}, "camid": {1: "c1s1", 2: "c1s3"}}
    assert [names["pid"][image.pid] for image in images] == [name.strip() for name in people]
    turned = own(manifest(reversed(list(zip(OWN, people, cameras, strict=True)))))
    assert layout.names(DATASETS["manifest"].read(turned, None)).equals(layout.names(images))
    assert camera_number("c1s3", root) == camera_number(2, root) == 2
    with pytest.raises(UserError, match=r"'roof', the set has the cameras c1s1 \(1\), c1s3 \(2\)"):
        camera_number("roof", root)
    (root / "names.csv").unlink()
    with pytest.raises(UserError, match="'roof', the set numbers its cameras"):
        camera_number("roof", root)
    assert camera_number(7, root) == 7


def test_a_camera_s_name_comes_before_another_one_s_number(own):
    root = own(manifest(zip(OWN, "1234", ("10", "2", "roof", "2"), strict=True)))
    layout.names(DATASETS["manifest"].read(root, None)).to_csv(root / "names.csv", index=False)
    assert [camera_number(name, root) for name in (2, 10, "roof", 3)] == [1, 2, 3, 3]


def test_long_numbers_are_names_and_whole_fractions_numbers(own):
    long = ("20240117001", "20240117002", "5", "20240117001")
    images = DATASETS["manifest"].read(own(manifest(zip(OWN, long, "1212", strict=True))), None)
    assert [image.pid for image in images] == [2, 3, 1, 2]
    assert [image.person for image in images] == list(long)
    rows = zip(OWN, ("1", "1.0", "2.0", "0"), ("1.0", "2", "2.0", "1"), strict=True)
    images = DATASETS["manifest"].read(own(manifest(rows)), None)
    assert [(image.pid, image.camid) for image in images] == [(1, 1), (1, 2), (2, 2), (0, 1)]
    assert layout.names(images).empty


def test_numbers_among_names_are_a_note(own):
    rows = zip(OWN, ("1", "2", "l0", "3"), "1212", strict=True)
    names = layout.names(DATASETS["manifest"].read(own(manifest(rows)), None))
    (note,) = layout.name_notes(names)
    assert "3 pids are whole numbers, but not 'l0'" in note
    assert layout.name_notes(names[names.name == "l0"]) == []


def test_unknown_cameras_are_one_for_each_image(own):
    for unknown in ("", "NaN"):
        rows = [(name, "7", unknown) for name in OWN]
        images = DATASETS["manifest"].read(own(manifest(rows)), None)
        assert [image.camid for image in images] == [1, 2, 3, 4]
        assert layout.names(images).empty


def test_further_columns_are_recorded_as_text(own):
    header = ("path", "frame", "pid", "camid", "time", "box", "sha256")
    rows = [(name, "007", 1, 1, "12:00", "[1, 2]", "") for name in OWN]
    images = DATASETS["manifest"].read(own(manifest(rows, header)), None)
    table = layout.further(images)
    assert list(table.columns) == ["path", "frame", "time", "box", "sha256"]
    assert table.to_numpy().tolist() == [[name, "007", "12:00", "[1, 2]", ""] for name in OWN]
    assert layout.further(DATASETS["manifest"].read(own(manifest(ROWS)), None)).empty


def test_paths_are_found_however_they_are_written(own):
    root = own("")
    nfd = unicodedata.normalize("NFD", "größe 3.Bmp")
    written = [".\\a\\one.JPG", str(root / "a/two, with comma.png"), nfd, " ./a/../four.jpeg"]
    own(manifest((path, 1, 1) for path in written))
    assert [image.path for image in DATASETS["manifest"].read(root, None)] == OWN
    (root / "größe 3.Bmp").rename(root / nfd)
    own(manifest([("größe 3.Bmp", 1, 1)]))
    (image,) = DATASETS["manifest"].read(root, None)
    assert (root / image.path).is_file()
    assert unicodedata.normalize("NFC", image.path) == "größe 3.Bmp"


def test_a_backslash_in_a_name_is_one_where_there_is_such_a_file(own):
    root = own("path,pid,camid\na\\one.png,1,1\n")
    (root / "a" / "one.png").write_bytes(b"x")
    assert DATASETS["manifest"].read(root, None)[0].path == "a/one.png"
    (root / "a\\one.png").write_bytes(b"x")
    assert DATASETS["manifest"].read(root, None)[0].path == "a\\one.png"


def test_all_mistakes_of_a_manifest_are_said_at_once(own):
    root = own(manifest([(f"{number}.png", "", 1) for number in range(15)]))
    with pytest.raises(UserError, match=r"line 2 .*line 11 .* and 5 more"):
        DATASETS["manifest"].read(root, None)


def test_a_manifest_that_is_no_utf8_says_so(own):
    root = own("path,pid,camid\ngröße.png,1,1\n", encoding="latin-1")
    with pytest.raises(UserError, match=r"manifest\.csv is not UTF-8"):
        DATASETS["manifest"].read(root, None)


def test_a_link_within_the_folder_is_fine(own):
    root = own("path,pid,camid\nlink.png,1,1\n")
    (root / "link.png").symlink_to(root / "four.jpeg")
    assert DATASETS["manifest"].read(root, None) == [RawImage("link.png", 1, 1)]


# Any text is a manifest or one clear error.


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='pathidcmrole,"\n\r\t 01.ä\0', max_size=60))
def test_any_table_is_read_or_refused_in_one_line(tmp_path_factory, text):
    root = tmp_path_factory.mktemp("any")
    (root / "manifest.csv").write_text("path,pid,camid\n" + text, encoding="utf-8")
    with pytest.raises(UserError) as caught:  # for no image is there
        DATASETS["manifest"].read(root, None)
    assert "\n" not in str(caught.value)


def test_prid2011_has_the_published_counts(real_data):
    root = real_data / "prid_2011" / "single_shot"
    images = DATASETS["prid2011"].read(root, None)
    assert len(images) == 385 + 749
    extra = [image for image in images if image.role == "gallery"]
    assert len(extra) == len({image.pid for image in extra}) == 549
    cameras = {pid: {i.camid for i in images if i.pid == pid} for pid in range(1, 386)}
    assert [pid for pid, seen in cameras.items() if seen == {1, 2}] == list(range(1, 201))
    assert layout.record(root, images).sha256.nunique() > 1100


def test_the_published_hashes_are_those_of_the_real_sets(real_data):
    sets = {"caviar4reid": "CAVIAR4REID", "prid2011": "prid_2011/single_shot"}
    pairs = [f"{name}={real_data / folder}" for name, folder in sets.items()]
    command = [sys.executable, ROOT / "docs/split_hashes.py", *pairs]
    printed = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    assert printed == (ROOT / "docs/splits.csv").read_text()
