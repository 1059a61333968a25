"""Folders of classes and tables of labels are data sets of images."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from xpcnn.data import ImageFolder, ImageReader, train_test_split

Image = pytest.importorskip("PIL.Image")


def put(path: Path, level: int = 0, size: tuple[int, int] = (12, 9)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path)


@pytest.fixture
def photos(tmp_path) -> Path:
    root = tmp_path / "photos"
    for at, name in enumerate(("dog", "ant", "éléphant")):
        for number in range(4):
            put(root / name / f"{number}.png", 60 * at + number)
    put(root / "ant" / "more" / "small.bmp", 99)
    return root


def test_folders_are_classes(photos):
    folder = ImageFolder(photos, size=(5, 6), mode="L")
    assert folder.class_names == ("ant", "dog", "éléphant")
    assert folder.targets.tolist() == [0] * 5 + [1] * 4 + [2] * 4
    assert folder.targets.dtype == np.int64
    assert [f.relative_to(photos).as_posix() for f in folder.files[3:6]] == [
        "ant/3.png", "ant/more/small.bmp", "dog/0.png",
    ]  # fmt: skip
    assert len(folder) == 13
    assert repr(folder) == f"ImageFolder({str(photos)!r}, 13 images of 'ant', 'dog', 'éléphant')"
    x, y = folder[5]
    assert (x.shape, x.dtype, x[0, 0, 0], int(y)) == ((1, 5, 6), np.uint8, 0, 1)
    assert folder[-1][0].max() == 123
    assert [int(label) for _, label in folder] == folder.targets.tolist()
    for wrong in (13, -14):
        with pytest.raises(IndexError, match="there are 13 images"):
            folder[wrong]
    with pytest.raises(TypeError):
        folder["a"]


def test_classes_and_files_are_those_of_torchvision(photos):
    datasets = pytest.importorskip("torchvision.datasets")
    theirs, ours = datasets.ImageFolder(str(photos)), ImageFolder(photos)
    assert list(ours.class_names) == theirs.classes
    assert ours.targets.tolist() == theirs.targets
    for (name, _), file in zip(theirs.samples, ours.files, strict=True):
        assert Path(name).parent == file.parent
    assert sorted(map(str, ours.files)) == sorted(name for name, _ in theirs.samples)
    first = np.asarray(theirs[0][0]).transpose(2, 0, 1)
    np.testing.assert_array_equal(ours[0][0], first)


def test_load_gives_what_the_items_give(photos):
    folder = ImageFolder(photos, size=7)
    x, y = folder.load()
    assert (x.shape, x.dtype, y.dtype) == ((13, 3, 7, 7), np.uint8, np.int64)
    np.testing.assert_array_equal(x, np.stack([image for image, _ in folder]))
    np.testing.assert_array_equal(y, folder.targets)


def test_load_without_a_size(photos):
    assert ImageFolder(photos).load()[0].shape == (13, 3, 9, 12)
    put(photos / "dog" / "wide.png", 0, (20, 9))
    with pytest.raises(ValueError, match=r"wide.png of \(3, 9, 20\); bring them to one size"):
        ImageFolder(photos).load()


def test_classes_choose_and_order(photos):
    folder = ImageFolder(photos, classes=["éléphant", "ant"])
    assert folder.class_names == ("éléphant", "ant")
    assert folder.targets.tolist() == [0] * 4 + [1] * 5
    decomposed = ImageFolder(photos, classes=["e\u0301le\u0301phant", "ant"])
    assert decomposed.class_names == folder.class_names


def test_what_lies_beside_images(photos):
    (photos / "dog" / "notes.txt").write_text("no image")
    (photos / "readme.md").write_text("no image")
    (photos / "dog" / ".hidden.png").write_bytes(b"")
    (photos / ".cache" / "x").mkdir(parents=True)
    (photos / "__MACOSX").mkdir()
    folder = ImageFolder(photos)
    assert len(folder) == 13
    assert folder.ignored == [photos / "dog" / "notes.txt"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed_but_not_in_circles(photos, tmp_path):
    (photos / "dog" / "link.png").symlink_to(photos / "ant" / "0.png")
    (photos / "dog" / "again").symlink_to(photos / "dog", target_is_directory=True)
    put(tmp_path / "elsewhere" / "1.JPG", 5)
    (photos / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    folder = ImageFolder(photos)
    assert folder.class_names == ("ant", "dog", "linked", "éléphant")
    assert np.bincount(folder.targets).tolist() == [5, 5, 1, 4]


def test_subsets_and_splits(photos):
    folder = ImageFolder(photos, size=4)
    train, test = train_test_split(folder, test_size=0.3, seed=3)
    assert isinstance(train, ImageFolder)
    assert train.class_names == folder.class_names
    assert sorted([*train.files, *test.files]) == sorted(folder.files)
    for part in (train, test):
        assert [file.relative_to(photos).parts[0] for file in part.files] == [
            part.class_names[label] for label in part.targets
        ]
    assert np.bincount(test.targets).tolist() == [2, 1, 1]
    assert len(folder) == 13
    assert folder.subset(folder.targets == 1).files == folder.files[5:9]
    again = pickle.loads(pickle.dumps(test))
    np.testing.assert_array_equal(again.load()[0], test.load()[0])


def test_other_class_names(photos):
    folder = ImageFolder(photos, classes=["dog", "ant"])
    other = folder.with_class_names(["ant", "bee", "dog"])
    assert other.class_names == ("ant", "bee", "dog")
    assert other.targets.tolist() == [2] * 4 + [0] * 5
    assert folder.targets.tolist() == [0] * 4 + [1] * 5
    with pytest.raises(ValueError, match="are dog, ant, and dog is not among the expected ant"):
        folder.with_class_names(["ant"])


def test_a_reader_in_place_of_its_settings(photos):
    reader = ImageReader(4, mode="L", invert=True)
    folder = ImageFolder(photos, image_reader=reader)
    assert folder.image_reader is reader
    assert folder[0][0].shape == (1, 4, 4)
    with pytest.raises(ValueError, match="give size or image_reader, not both"):
        ImageFolder(photos, 4, image_reader=reader)
    with pytest.raises(TypeError, match="image_reader must be an ImageReader, got 'reader'"):
        ImageFolder(photos, image_reader="reader")


def test_broken_images_are_named(photos):
    (photos / "dog" / "broken.jpg").write_bytes(b"nonsense")
    (photos / "ant" / "empty.png").touch()
    folder = ImageFolder(photos, size=4)
    with pytest.raises(ValueError, match=r"2 of 15 images cannot be read; remove or") as caught:
        folder.load()
    assert str(photos / "dog" / "broken.jpg") in str(caught.value)
    assert str(photos / "ant" / "empty.png") in str(caught.value)
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        folder.subset(folder.targets == 1).load()
    with pytest.raises(ValueError, match=r"empty\.png as an image: it is empty"):
        list(folder)


def test_wrong_folders(photos, tmp_path):
    with pytest.raises(NotADirectoryError, match="'nowhere' is no folder"):
        ImageFolder("nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="has neither folders nor images in it"):
        ImageFolder(tmp_path / "bare")
    with pytest.raises(ValueError, match="has 4 images and no folders in it; put the images of"):
        ImageFolder(photos / "dog")
    (photos / "bee").mkdir()
    with pytest.raises(ValueError, match=r"no image in .*bee \(0 other files\); remove the folder"):
        ImageFolder(photos)
    put(photos / "loose.png")
    with pytest.raises(ValueError, match=r"loose\.png lies in no folder of a class"):
        ImageFolder(photos)
    assert len(ImageFolder(photos, classes=["ant", "dog"])) == 9


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["ant", "cow"], "classes has 'cow', and"),
        (["ant", "ant"], "'ant' stands there twice"),
        ([], "there is no name"),
        ("ant", "must be a list of names"),
        (["ant", 3], "must be strings, got 3; write str"),
        (["ant", " "], "a name is empty"),
        (7, "must be a list of names"),
    ],
)
def test_wrong_classes(photos, classes, message):
    with pytest.raises((ValueError, TypeError)) as caught:
        ImageFolder(photos, classes=classes)
    assert message in str(caught.value)


# -- tables --------------------------------------------------------------------------------------


@pytest.fixture
def scans(tmp_path) -> Path:
    root = tmp_path / "scans"
    for at, name in enumerate(("a.png", "b.png", "sub/c.png", "d, e.png")):
        put(root / name, at)
    return root


TABLE = (("a.png", "old"), ("b.png", "new"), ("sub/c.png", "old"))


@pytest.mark.parametrize("header", [None, "file,label", "Filename,Class", "label,file", "x,y"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_tables(scans, header, delimiter, mark):
    rows = [row[::-1] if header == "label,file" else row for row in TABLE]
    lines = [delimiter.join(row) for row in rows]
    if header is not None:
        lines.insert(0, header.replace(",", delimiter))
    (scans / "labels.csv").write_text(mark + "\r\n".join(lines) + "\n\n", encoding="utf-8")
    folder = ImageFolder(scans, labels="labels.csv")
    assert folder.class_names == ("new", "old")
    assert folder.files == [scans / name for name, _ in TABLE]
    assert folder.targets.tolist() == [1, 0, 1]
    assert [int(x.max()) for x, _ in folder] == [0, 1, 2]
    assert folder.ignored == []


def test_names_with_commas_and_more_columns(scans, tmp_path):
    table = tmp_path / "elsewhere.csv"
    table.write_text('id,label,"image"\n1,10,"d, e.png"\n2,9,a.png\n')
    folder = ImageFolder(scans, labels=table)
    assert folder.class_names == ("9", "10")  # by size
    assert folder.files == [scans / "d, e.png", scans / "a.png"]
    assert folder.targets.tolist() == [1, 0]
    chosen = ImageFolder(scans, labels=table, classes=["10", "9"])
    assert chosen.targets.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("a.png,x\nnone.png,y\n", {}, "line 2: there is no file 'none.png'"),
        ("file,label\na.png,x\nb.png,y\na.png,x\n", {}, "line 4: 'a.png' stands in line 2 already"),
        ("a.png,x\nb.png,\n", {}, "line 2: the label is empty"),
        ("a.png,x\n,y\n", {}, "line 2: the file name is empty"),
        ("a.png,x\nb.png,y\n", {"classes": ["x"]}, "line 2: the label 'y' is none of the classes"),
        ("a.png,x\n", {"classes": ["x", "z"]}, "no line has the label 'z', which classes names"),
        ("a.png,x\nb.png\n", {}, "line 2: expected 2 columns, file name and label, got 1"),
        ("a.png,x,1\n", {}, "line 1: expected 2 columns, file name and label, got 3"),
        ("id,kind,number\n1,x,2\n", {}, "3 columns, id, kind, number; call one of them 'file'"),
        ("file,path,label\n1,x,2\n", {}, "call one of them 'file', and no other"),
        ("a.png\n", {}, "line 1: expected 2 columns"),
        ("", {}, "the table is empty"),
        ("file,label\n", {}, "a header and no lines below it"),
    ],
)
def test_wrong_tables(scans, text, settings, message):
    (scans / "labels.csv").write_text(text)
    with pytest.raises(ValueError) as caught:
        ImageFolder(scans, labels="labels.csv", **settings)
    assert message in str(caught.value)
    assert "labels.csv" in str(caught.value)


def test_what_is_no_table(scans):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        ImageFolder(scans, labels="none.csv")
    (scans / "labels.csv").write_bytes(b"a.png,caf\xe9\n")
    with pytest.raises(ValueError, match="not a table in UTF-8"):
        ImageFolder(scans, labels="labels.csv")
    (scans / "labels.csv").write_bytes((scans / "a.png").read_bytes())
    with pytest.raises(ValueError, match=r"labels\.csv"):
        ImageFolder(scans, labels="labels.csv")
