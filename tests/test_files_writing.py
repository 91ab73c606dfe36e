"""Laws of :mod:`glottis.files`: a reader sees the old file or the new one, never a part."""

import errno
import os
import stat

import pytest

from glottis.errors import InputError
from glottis.files import replacing


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_file_appears_whole_and_alone(tmp_path):
    target = tmp_path / "deep" / "er" / "a.txt"
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.suffix == ".txt"
        assert temporary.parent == target.parent  # a rename across disks would not be atomic
    assert target.read_text() == "new"
    assert names(target.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), InputError("bad")])
def test_an_error_inside_leaves_what_was_there(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write():
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_names_the_target_and_the_remedy(tmp_path):
    target = tmp_path / "a.wav"
    with pytest.raises(InputError, match=r"a\.wav.*space"), replacing(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_an_unrelated_error_of_the_block_is_not_blamed_on_the_target(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.txt"):
        (tmp_path / "missing").read_text()
    with pytest.raises(BrokenPipeError), replacing(tmp_path / "a.txt"):
        raise BrokenPipeError(errno.EPIPE, "pipe")
    assert names(tmp_path) == []


def test_a_folder_that_is_a_file_is_refused_with_its_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/a\.txt.*another place"):
        replacing(tmp_path / "file" / "a.txt").__enter__()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="another place"):
            replacing(tmp_path / "a.txt").__enter__()
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_at_the_target_is_refused_and_kept(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="cannot write"), replacing(tmp_path / "a"):
        pass
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_obey_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "a"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask


def test_a_writer_that_makes_its_own_file_changes_nothing(tmp_path):
    with replacing(tmp_path / "a") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o600))
    with replacing(tmp_path / "b"):
        pass
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_device_is_written_and_not_replaced():
    if not os.path.exists("/dev/null"):
        pytest.skip("no /dev/null here")
    with replacing("/dev/null") as temporary:
        temporary.write_text("gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with replacing(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_name_as_long_as_the_system_allows(tmp_path):
    target = tmp_path / ("é" * 120 + ".txt")
    with replacing(target) as temporary:
        temporary.write_text("x")
    assert target.read_text() == "x"


def test_two_writers_do_not_meet(tmp_path):
    target = tmp_path / "a"
    with replacing(target) as first, replacing(target) as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert target.read_text() == "1"  # the outer one finished last
    assert names(tmp_path) == ["a"]


def test_an_interruption_right_after_it_is_made_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "close", interrupt)
        with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.txt"):
            pass
    assert not list(tmp_path.iterdir())
