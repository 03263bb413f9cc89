"""A folder per person, without a table."""

import unicodedata

import pytest
from test_layouts import tree

from pyramid_reid.core.errors import UserError
from pyramid_reid.datasets import folders, layout
from pyramid_reid.datasets.layout import RawImage


def test_folders_that_are_numbers_keep_them_and_unknown_cameras_are_one_for_each_image(tmp_path):
    tree(tmp_path, "0017/a.jpg", "0017/b/c.PNG", "3/x.bmp", "3/notes.txt", "3/.hidden.jpg")
    tree(tmp_path, "__MACOSX/0017/a.jpg", ".git/y.jpg", "3/@eaDir/x.jpg")
    (tmp_path / "empty").mkdir()
    assert folders.read(tmp_path) == [
        RawImage("0017/a.jpg", 17, 1),
        RawImage("0017/b/c.PNG", 17, 2),
        RawImage("3/x.bmp", 3, 3),
    ]


def test_names_of_people_and_cameras_are_numbered_and_the_numbers_recorded(tmp_path):
    root = tree(tmp_path, "anna/c10_1.jpg", "anna/c2_1.jpg", "Zoe B./c2_7.jpg")
    images = folders.read(root, r"c\d+(?=_)".join("()"))
    assert images == [
        RawImage("Zoe B./c2_7.jpg", 1, 1, "", "Zoe B.", "c2"),
        RawImage("anna/c10_1.jpg", 2, 2, "", "anna", "c10"),
        RawImage("anna/c2_1.jpg", 2, 1, "", "anna", "c2"),
    ]
    assert layout.names(images).to_csv(index=False, lineterminator="\n") == (
        "label,number,name\npid,1,Zoe B.\npid,2,anna\ncamid,1,c2\ncamid,2,c10\n"
    )


@pytest.mark.parametrize("pattern", [r"cam(\d)/", r"(x)?cam(?P<camera>\d)/"])
def test_the_camera_may_be_a_folder(tmp_path, pattern):
    root = tree(tmp_path, "1/cam3/a.jpg", "1/cam1/a.jpg", "2/cam3/a.jpg")
    assert [(image.path, image.camid) for image in folders.read(root, pattern)] == [
        ("1/cam1/a.jpg", 1),
        ("1/cam3/a.jpg", 3),
        ("2/cam3/a.jpg", 3),
    ]


def test_folders_of_roles_fix_the_split(tmp_path):
    root = tree(tmp_path, "train/a/1.jpg", "query/b/2.jpg", "gallery/b/3.jpg", "gallery/c/4.jpg")
    assert [(image.role, image.person, image.pid) for image in folders.read(root)] == [
        ("gallery", "b", 2),
        ("gallery", "c", 3),
        ("query", "b", 2),
        ("train", "a", 1),
    ]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "holds no folder per person"),
        (["a/notes.txt"], "holds no folder per person with images in it"),
        (["1.jpg", "a/2.jpg", "b/3.jpg"], r"1 image\(s\) outside every person's folder: '1\.jpg'"),
        (["train/1.jpg", "query/a/2.jpg"], r"outside every person's folder: 'train/1\.jpg'"),
        (["crops/a/1.jpg", "crops/b/2.jpg"], r"one person's folder alone, 'crops'; .*give .*crops"),
        (["train/a/1.jpg", "test/a/2.jpg"], r"holds train beside test: either people's folders"),
        (["a/1.jpg", "b/2.webp", "b/3.TIFF"], r"2 image\(s\) of kinds that are not read: 'b/2\.w"),
        (["17/1.jpg", "0017/2.jpg"], r"people may be the same or not: '0017' and '17'"),
        (["-1/1.jpg", "2/2.jpg"], r"'-1' is neither a whole number from 0 nor a name"),
    ],
)
def test_what_is_no_folder_per_person_is_named(tmp_path, names, said):
    with pytest.raises(UserError, match=said) as caught:
        folders.read(tree(tmp_path, *names))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_unicode_forms_of_a_name_are_a_question(tmp_path):
    forms = [unicodedata.normalize(form, "José") for form in ("NFC", "NFD")]
    tree(tmp_path, *(f"{name}/1.jpg" for name in forms))
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system takes both forms for one name")
    with pytest.raises(UserError, match=r"'Jose\\u0301' and 'Jos\\xe9'"):
        folders.read(tmp_path)


def test_links_to_folders_are_named(tmp_path):
    tree(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match=r"1 link\(s\) to folders: 'c'; copy"):
        folders.read(tmp_path)


def test_paths_without_a_camera_are_counted(tmp_path):
    root = tree(tmp_path, *(f"a/{n}.jpg" for n in range(12)), "b/c1_1.jpg")
    with pytest.raises(UserError, match=r"finds no camera in 12 of 13 paths: 'a/0\.jpg'.* 2 more"):
        folders.read(root, r"c(\d)")
    with pytest.raises(UserError, match=r"these cameras may be the same or not: 'c01' and 'c1'"):
        folders.read(tree(tmp_path / "x", "a/c1.jpg", "b/c01.jpg"), r"(c\d+)")


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match="nothing cannot be read: No such file"):
        folders.read(tmp_path / "nothing")
