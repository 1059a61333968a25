"""Folders that one process makes for all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.web.sharing import made_once


def test_a_folder_is_made_once(tmp_path_factory):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "file").write_text("whole", encoding="utf-8")

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(made_once, tmp_path_factory, "made-once", make) for _ in range(8)]
    folders = {call.result() for call in calls}
    assert len(made) == len(folders) == 1
    assert (folders.pop() / "file").read_text(encoding="utf-8") == "whole"


def test_what_could_not_be_made_is_not_there(tmp_path_factory):
    def fail(folder):
        (folder / "half").touch()
        pytest.skip("no network")

    for _ in range(2):
        with pytest.raises(pytest.skip.Exception):
            made_once(tmp_path_factory, "never-made", fail)
    assert not (tmp_path_factory.getbasetemp() / "never-made").exists()
    assert not (tmp_path_factory.getbasetemp().parent / "never-made").exists()
