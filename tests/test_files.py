"""Files replaced whole: what stands at the path, what is left beside it, who may read it."""

import errno
import os
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from xpcnn import _files
from xpcnn._files import read_whole, replace_file

posix = pytest.mark.skipif(os.name != "posix", reason="modes, links and locks of POSIX systems")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_content_is_replaced_and_nothing_left(tmp_path):
    replace_file(tmp_path / "a", b"first")
    replace_file(str(tmp_path / "a"), b"second")
    assert read_whole(tmp_path / "a") == b"second"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "model [1] *?.st", ".hidden", "a.b.part"])
def test_names_of_all_kinds(tmp_path, name):
    replace_file(tmp_path / name, b"1")
    replace_file(tmp_path / name, b"2")
    assert read_whole(tmp_path / name) == b"2"
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("path", [None, 3, b"bytes", ["a"]])
def test_what_is_no_path(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match="path of a file"):
        replace_file(path, b"1")
    assert names(tmp_path) == []


# -- What stands at the path -----------------------------------------------------------------------


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755, 0o644])
def test_mode_is_kept(tmp_path, mode):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(mode)
    replace_file(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
def test_new_file_has_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    replace_file(tmp_path / "a", b"1")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


@posix
def test_content_cannot_be_read_by_others_while_it_is_written(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o600)
    modes = []

    def look(handle, fsync=os.fsync):
        modes.extend(stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir())
        fsync(handle)

    plain_open = os.open

    def look_open(name, *arguments):
        handle = plain_open(name, *arguments)
        modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return handle

    monkeypatch.setattr(os, "fsync", look)
    monkeypatch.setattr(os, "open", look_open)
    _files._write_beside(path, path.stat(), b"secret")
    assert set(modes) == {0o600}


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root")
def test_owner_and_group_are_kept(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    replace_file(path, b"new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o640)


@posix
def test_a_group_that_cannot_be_kept_gets_no_more_than_others(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o674)
    old = os.stat_result([*path.stat()[:5], path.stat().st_gid + 1, *path.stat()[6:]])

    def refuse(*arguments):
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refuse)
    _files._write_beside(path, old, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@posix
@pytest.mark.parametrize("relative", [True, False])
def test_links_are_followed(tmp_path, relative):
    folder = tmp_path / "disk"
    folder.mkdir()
    target = folder / "real"
    target.write_bytes(b"old")
    first = tmp_path / "first"
    first.symlink_to(Path("disk/real") if relative else target)
    second = tmp_path / "second"
    second.symlink_to(first)
    replace_file(second, b"new")
    assert first.is_symlink()
    assert second.is_symlink()
    assert target.read_bytes() == b"new"
    assert names(folder) == ["real"]
    assert names(tmp_path) == ["disk", "first", "second"]


@posix
def test_a_link_to_nothing_makes_its_target(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    replace_file(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


@posix
def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "gone").symlink_to(tmp_path / "absent" / "file")
    with pytest.raises(FileNotFoundError, match="cannot save to .*gone.*no folder .*absent"):
        replace_file(tmp_path / "gone", b"new")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="cannot save to .*links"):
        replace_file(tmp_path / "a", b"new")
    assert names(tmp_path) == ["a", "b", "gone"]


@posix
def test_a_hard_link_keeps_the_old_content(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    os.link(tmp_path / "a", tmp_path / "b")
    replace_file(tmp_path / "a", b"new")
    assert (tmp_path / "b").read_bytes() == b"old"


@posix
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link to a device"])
def test_only_files_are_replaced(tmp_path, kind):
    path = tmp_path / "there"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.close()
    elif kind == "device":
        path = Path("/dev/full")
    else:
        path.symlink_to("/dev/null")
    before = path.stat()
    with pytest.raises(OSError, match=f"cannot save to .*{kind.split()[-1]}"):
        replace_file(path, b"new")
    with pytest.raises(OSError, match=kind.split()[-1]):
        read_whole(path)
    assert path.stat() == before


@posix
def test_protected_file_stays(tmp_path):
    """Whoever is root may write everywhere; so another user tries."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o444)
    tmp_path.chmod(0o777)
    done = as_somebody_else(f"_files.replace_file({str(path)!r}, b'new')", tmp_path)
    assert "PermissionError: cannot save to" in done
    assert "write-protected" in done
    assert path.read_bytes() == b"old"


@posix
def test_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o000)
    tmp_path.chmod(0o777)
    done = as_somebody_else(f"_files.read_whole({str(path)!r})", tmp_path)
    assert "PermissionError" in done
    assert "no permission to read" in done


@posix
def test_folder_that_may_not_be_written_to(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o555)
    done = as_somebody_else(f"_files.replace_file({str(folder / 'a')!r}, b'new')", tmp_path)
    assert "PermissionError" in done
    assert "no permission to write to the folder" in done


def as_somebody_else(command, folder):
    """Run a command without the rights of root; return what it writes as an error."""
    for parent in (folder, *folder.parents):
        if os.geteuid() == 0 and parent.stat().st_mode & 0o005 != 0o005:
            if "pytest" not in str(parent):
                pytest.skip("nobody else can reach the folder of this test")
            parent.chmod(0o755)
    program = textwrap.dedent(
        f"""
        import importlib.util, os
        spec = importlib.util.spec_from_file_location("_files", {_files.__file__!r})
        _files = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(_files)
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        {command}
        """
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    return done.stderr.decode()


@pytest.mark.parametrize("call", ["fsync", "replace", "fchown"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "fchown":
        call = "write"
        plain = os.fdopen

        def fdopen(*arguments):
            file = plain(*arguments)

            class Full:
                def __enter__(self):
                    return self

                def __exit__(self, *arguments):
                    file.close()

                write = staticmethod(full)

            return Full()

        monkeypatch.setattr(os, "fdopen", fdopen)
    else:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="cannot save to .*disk is full.*unchanged") as caught:
        replace_file(path, b"new")
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


# -- Several at once -------------------------------------------------------------------------------


def test_threads_save_to_one_path(tmp_path):
    path = tmp_path / "a"
    errors = []

    def work(number):
        try:
            for _ in range(60):
                replace_file(path, bytes([number]) * 50_000)
                content = read_whole(path)
                assert len(content) == 50_000
                assert len(set(content)) == 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert names(tmp_path) == ["a"]


@posix
def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    """The name of the new file is guessed by somebody, and a link put there."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    tokens = iter(["0" * 16])
    monkeypatch.setattr(_files.secrets, "token_hex", lambda size: next(tokens))
    (tmp_path / f".a.{'0' * 16}.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        replace_file(tmp_path / "a", b"new")
    assert victim.read_bytes() == b"precious"


@posix
def test_what_killed_saves_left_is_removed(tmp_path):
    (tmp_path / f".a.{'0123456789abcdef'}.part").write_bytes(b"half")
    old = tmp_path / ".a.4711.part"  # as the first versions named them, who did not lock
    old.write_bytes(b"half")
    young = tmp_path / ".a.4712.part"
    young.write_bytes(b"half")
    others = [".b.0123456789abcdef.part", ".a.0123.part.txt", ".a.xyz.part"]
    for name in others:
        (tmp_path / name).write_bytes(b"other")
    (tmp_path / ".a.aaaaaaaaaaaaaaaa.part").mkdir()
    long_ago = time.time() - 2 * _files.LEFT_BEHIND
    os.utime(old, (long_ago, long_ago))
    replace_file(tmp_path / "a", b"new")
    assert names(tmp_path) == sorted(["a", ".a.aaaaaaaaaaaaaaaa.part", young.name, *others])


@posix
def test_what_another_process_is_writing_stays(tmp_path):
    """A save is held up before it moves its file; another save of the same path goes through."""
    path = tmp_path / "a"
    program = textwrap.dedent(
        f"""
        import os, sys
        from xpcnn import _files

        def wait(handle):
            print("writing", flush=True)
            sys.stdin.readline()

        os.fsync = wait
        _files.replace_file({str(path)!r}, b"slow")
        """
    )
    slow = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert slow.stdout.readline() == "writing\n"
        replace_file(path, b"quick")
        assert read_whole(path) == b"quick"
        assert len(names(tmp_path)) == 2
        slow.communicate("go on\n" * 3)
    finally:
        slow.kill()
        slow.wait()
    assert slow.returncode == 0
    assert read_whole(path) == b"slow"
    assert names(tmp_path) == ["a"]


@posix
def test_a_new_file_that_is_removed_is_written_again(tmp_path, monkeypatch):
    plain = os.fsync
    tries = []

    def fsync(handle):
        tries.append(handle)
        if len(tries) == 1:
            for part in tmp_path.glob(".a.*.part"):
                part.unlink()
        plain(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    replace_file(tmp_path / "a", b"new")
    assert read_whole(tmp_path / "a") == b"new"
    assert names(tmp_path) == ["a"]


def test_what_was_opened_is_read_whole_though_it_is_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old" * 100_000)
    plain = os.fstat

    def fstat(handle):
        found = plain(handle)
        monkeypatch.undo()
        replace_file(path, b"x")
        return found

    monkeypatch.setattr(os, "fstat", fstat)
    assert read_whole(path) == b"old" * 100_000
