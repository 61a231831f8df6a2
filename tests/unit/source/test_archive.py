"""Archives of strangers: what comes out, and one line for each trick; after a refusal nothing is left."""

import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import time
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import PersonError
from pipeline.source.archive import kind_of, unpack
from pipeline.source.archive_members import KINDS

LIMITS = {"max_members": 100, "max_bytes": 10_000_000, "max_file_bytes": 5_000_000, "max_ratio": 200.0}
FILES = {"cat/1.jpg": b"one" * 100, "cat/ü 2.jpg": b"", "dog/-rf\n.png": bytes(range(256)) * 20, "dog/deep/er/3.png": b"x"}


def zipped(path, members, **changes):
    """A zip of (name or ZipInfo, data) pairs."""
    with zipfile.ZipFile(path, "w", changes.pop("method", zipfile.ZIP_DEFLATED)) as file:
        for name, data in members.items() if isinstance(members, dict) else members:
            file.writestr(name, data)
    return path


def info(name, *, kind=tarfile.REGTYPE, size=0, **facts):
    made = tarfile.TarInfo(name)
    made.type, made.size = kind, size
    for key, value in facts.items():
        setattr(made, key, value)
    return made


def tarred(path, members, *, mode="w", form=tarfile.PAX_FORMAT):
    with tarfile.open(path, mode, format=form) as file:
        for member, data in members.items() if isinstance(members, dict) else members:
            made = member if isinstance(member, tarfile.TarInfo) else info(member, size=len(data))
            file.addfile(made, io.BytesIO(data))
    return path


PACKERS = {
    "zip": zipped,
    "zip stored": lambda path, members: zipped(path, members, method=zipfile.ZIP_STORED),
    "tar": tarred,
    "tar gnu": lambda path, members: tarred(path, members, form=tarfile.GNU_FORMAT),
    "tar.gz": lambda path, members: tarred(path, members, mode="w:gz"),
    "tar.xz": lambda path, members: tarred(path, members, mode="w:xz"),
}
WRITERS = ["zip", "tar", "tar.gz", "tar.xz"]


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(tmp_path, archive, **changes):
    """The line of the refusal; nothing may be left beside the archive."""
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(PersonError) as caught:
        unpack(archive, tmp_path / "out", **{**LIMITS, **changes})
    assert sorted(os.listdir(tmp_path)) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("packer", PACKERS)
def test_files_come_out_as_they_went_in(tmp_path, packer):
    names = {**FILES, "a" * 200 + "/" + "b" * 120 + ".png": b"long"}
    archive = PACKERS[packer](tmp_path / "no ending", names)
    assert unpack(archive, tmp_path / "out", **LIMITS) == len(names)
    assert content(tmp_path / "out") == names
    assert sorted(os.listdir(tmp_path)) == ["no ending", "out"]


@pytest.mark.parametrize("packer", WRITERS)
def test_modes_are_ours_and_folders_may_be_named(tmp_path, packer):
    if packer == "zip":
        entry = zipfile.ZipInfo("a/x.png")
        entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o4777) << 16
        archive = zipped(tmp_path / "a", [("a/", b""), (entry, b"1"), ("./b/y.png", b"2")])
    else:
        folder, file = info("a", kind=tarfile.DIRTYPE, mode=0o777), info("a/x.png", size=1, mode=0o4777)
        archive = tarred(tmp_path / "a", [(info(".", kind=tarfile.DIRTYPE), b""), (folder, b""), (file, b"1"), ("./b/y.png", b"2")],
                         mode=f"w{packer[3:].replace('.', ':')}")  # fmt: skip
    assert unpack(archive, tmp_path / "out", **LIMITS) == 2
    assert content(tmp_path / "out") == {"a/x.png": b"1", "b/y.png": b"2"}
    assert stat.S_IMODE((tmp_path / "out/a/x.png").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "out/a").stat().st_mode) & 0o022 == 0


BAD_NAMES = {
    "../x.png": "is not a path below", "a/../../x.png": "is not a path below", "/etc/x.png": "is not a path below",
    "a\\x.png": "is not a path below", "C:x.png": "is not a path below", "x" * 256: "is too long", "a/" * 600 + "x": "is too long",
}  # fmt: skip


@pytest.mark.parametrize("packer", WRITERS)
@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leaves_or_is_too_long_is_refused(tmp_path, packer, name):
    line = refused(tmp_path, PACKERS[packer](tmp_path / "a", {"ok.png": b"1", name: b"2"}))
    assert line.startswith("a: ")
    assert BAD_NAMES[name] in line
    assert repr(name)[:40] in line


PAIRS = {
    "twice": (["a/x.png", "a/x.png"], "is there twice"), "twice, other spelling": (["a/x.png", "a/./x.png"], "is there twice"),
    "file and folder": (["a", "a/x.png"], "is both a file and a folder"), "folder and file": (["a/x.png", "a"], "both a file and"),
    "case": (["a/X.png", "a/x.png"], "differ only by case"), "case of folders": (["A/1.png", "a/2.png"], "differ only by case"),
    "NFC": (["a/\u00e9.png", "a/e\u0301.png"], "differ only by case or Unicode form"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("packer", WRITERS)
@pytest.mark.parametrize("case", PAIRS)
def test_members_that_would_meet_are_refused(tmp_path, packer, case):
    names, said = PAIRS[case]
    assert said in refused(tmp_path, PACKERS[packer](tmp_path / "a", [(name, b"1") for name in names]))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != tarfile.GNUTYPE_LONGLINK])
def test_no_link_device_or_pipe_comes_out_of_a_tar(tmp_path, kind):
    odd = info("odd", kind=kind, linkname="/etc/passwd", devmajor=1, devminor=3)
    line = refused(tmp_path, tarred(tmp_path / "a", [("ok.png", b"1"), (odd, b"")]))
    assert line == f"a: 'odd' is {KINDS[kind]}: only files and folders are unpacked; pack the file itself"


def test_a_link_chain_that_fools_the_data_filter_is_refused_at_its_first_link(tmp_path):
    """CVE-2025-4517: long names and links in each other."""
    deep = "/".join(["d" * 200] * 4)
    members = [(info(deep.split("/")[0], kind=tarfile.DIRTYPE), b""), (info("a", kind=tarfile.SYMTYPE, linkname=deep), b""),
               (info("esc", kind=tarfile.SYMTYPE, linkname="a/../../../x"), b"")]  # fmt: skip
    assert "'a' is a link" in refused(tmp_path, tarred(tmp_path / "t", members))


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_no_link_or_device_comes_out_of_a_zip(tmp_path, mode):
    entry = zipfile.ZipInfo("link")
    entry.create_system, entry.external_attr = 3, (mode | 0o777) << 16
    assert "'link' is a link or a device" in refused(tmp_path, zipped(tmp_path / "a", [(entry, b"/etc/passwd")]))


CAPS = {
    "members": ({f"{number}.png": b"" for number in range(5)}, {"max_members": 4}, "a holds more than 4 members"),
    "bytes": ({"1.png": b"x" * 600, "2.png": b"y" * 600}, {"max_bytes": 1000}, "a: '2.png' brings the total above 1,000 bytes"),
    "one file": ({"1.png": b"x" * 600}, {"max_file_bytes": 599}, "a: '1.png' unpacks to more than 599 bytes, the limit of one file"),
}  # fmt: skip


@pytest.mark.parametrize("packer", WRITERS)
@pytest.mark.parametrize("cap", CAPS)
def test_caps_hold_and_are_met_exactly(tmp_path, packer, cap):
    members, change, said = CAPS[cap]
    archive = PACKERS[packer](tmp_path / "a", members)
    assert refused(tmp_path, archive, **change).startswith(said)
    (key, value), total = *change.items(), sum(map(len, members.values()))
    exact = {"max_members": 5, "max_bytes": total, "max_file_bytes": 600}[key]
    assert exact > value
    assert unpack(archive, tmp_path / "out", **{**LIMITS, key: exact}) == len(members)


@pytest.mark.parametrize("packer", ["zip", "tar.gz", "tar.xz"])
def test_a_bomb_is_stopped_by_its_ratio(tmp_path, packer):
    archive = PACKERS[packer](tmp_path / "a", {"zeros.bmp": b"\0" * 4_000_000})
    assert archive.stat().st_size < 20_000
    assert "unpacks to more than 200 times its packed size, which looks like a bomb" in refused(tmp_path, archive)
    assert unpack(archive, tmp_path / "out", **{**LIMITS, "max_ratio": 1e6}) == 1


def test_one_member_may_not_hide_its_ratio_behind_others(tmp_path):
    noise = np.random.default_rng(0).bytes(1_000_000)
    assert "'z.bmp' unpacks to more than 200 times" in refused(
        tmp_path, zipped(tmp_path / "a", {"n": noise, "z.bmp": bytes(4_000_000)})
    )


def test_a_small_constant_picture_is_no_bomb(tmp_path):
    assert unpack(zipped(tmp_path / "a", {"z.bmp": bytes(500_000)}), tmp_path / "out", **LIMITS) == 1


def test_an_archive_inside_stays_a_file(tmp_path):
    inner = zipped(tmp_path / "inner", {"../evil": b"1"}).read_bytes()
    unpack(zipped(tmp_path / "a", {"inner.zip": inner}), tmp_path / "out", **LIMITS)
    assert content(tmp_path / "out") == {"inner.zip": inner}


def edit(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def test_overlapping_members_are_refused(tmp_path):
    """A second directory entry of the same bytes, as in Fifield's bomb, under a name of its own."""
    archive = zipped(tmp_path / "a", {"1.png": b"x" * 1000, "2.png": b"y" * 1000}, method=zipfile.ZIP_STORED)

    def twice(data):
        second = data.rfind(b"PK\x01\x02")
        data[second + 42 : second + 46] = struct.pack("<L", 20)  # into the first member

    assert "overlaps another member, which looks like a bomb" in refused(tmp_path, edit(archive, twice))


def test_an_encrypted_zip_is_refused(tmp_path):
    def lock(data):
        for place, flags in ((data.find(b"PK\x03\x04"), 6), (data.find(b"PK\x01\x02"), 8)):
            data[place + flags] |= 1

    archive = edit(zipped(tmp_path / "a", {"1.png": b"x"}), lock)
    assert refused(tmp_path, archive) == "a: '1.png' is encrypted: pack it again without a password"


def test_an_unusual_method_is_refused(tmp_path):
    archive = zipped(tmp_path / "a", {"1.png": b"x"}, method=zipfile.ZIP_BZIP2)
    assert refused(tmp_path, archive) == "a: '1.png' is packed by method 12: pack it again with deflate, the usual one"


@pytest.mark.parametrize("declared", [1, 999, 1001, 10**6])
def test_a_forged_size_in_a_zip_is_seen(tmp_path, declared):
    archive = zipped(tmp_path / "a", {"1.png": b"x" * 1000})

    def forge(data):
        for place, field in ((data.find(b"PK\x03\x04"), 22), (data.find(b"PK\x01\x02"), 24)):
            data[place + field : place + field + 4] = struct.pack("<L", declared)

    assert "damaged or truncated" in refused(tmp_path, edit(archive, forge))


def test_a_changed_byte_in_a_zip_is_seen(tmp_path):
    archive = zipped(tmp_path / "a", {"1.png": b"x" * 1000}, method=zipfile.ZIP_STORED)
    assert "damaged or truncated (Bad CRC-32" in refused(tmp_path, edit(archive, lambda data: data.__setitem__(100, 0)))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path, packer):
    whole = PACKERS[packer](tmp_path / "a", FILES).read_bytes()
    end = whole.rstrip(b"\0") if packer.startswith("tar") and "." not in packer else whole
    for size in np.linspace(1, len(end) - 9, 12).astype(int):
        (tmp_path / "a").write_bytes(whole[:size])
        line = refused(tmp_path, tmp_path / "a")
        assert "damaged or truncated" in line or "is not an archive" in line


def test_members_are_counted_before_they_are_built(tmp_path, monkeypatch):
    """The directory of a zip is counted from its bytes, whatever its end record says."""
    archive = zipped(tmp_path / "a", {f"{number}.png": b"" for number in range(50)})
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("the directory was read"))
    edit(archive, lambda data: data.__setitem__(slice(-14, -10), struct.pack("<HH", 1, 1)))
    assert "holds more than 49 members" in refused(tmp_path, archive, max_members=49)


def test_a_zip_with_a_comment_that_looks_like_an_end_is_not_misread(tmp_path):
    archive = tmp_path / "a"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("1.png", b"x")
        file.comment = b"PK\x05\x06 and more"
    assert "damaged or truncated" in refused(tmp_path, archive)


def test_a_name_that_a_mac_wrote_is_read_as_utf8(tmp_path):
    archive = zipped(tmp_path / "a", {"\u00fcber/1.png": b"x"})

    def unsay(data):
        for place, flags in ((data.find(b"PK\x03\x04"), 7), (data.find(b"PK\x01\x02"), 9)):
            data[place + flags] &= ~0x08

    unpack(edit(archive, unsay), tmp_path / "out", **LIMITS)
    assert content(tmp_path / "out") == {"\u00fcber/1.png": b"x"}


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    archive = tarred(tmp_path / "a", [(os.fsdecode(b"bad\xff.png"), b"1")], form=tarfile.GNU_FORMAT)
    assert refused(tmp_path, archive) == "a: 'bad\\udcff.png' is not UTF-8: rename it"


def header(**facts):
    return info(facts.pop("name", "x"), **facts).tobuf(tarfile.USTAR_FORMAT)


def block(data):
    return data + bytes(-len(data) % 512)


FORGED = {
    "notes without end": (header(kind=tarfile.XHDTYPE, size=1 << 30), "malformed"),
    "notes twice": ((header(kind=tarfile.XHDTYPE, size=9) + block(b"9 abc=de\n")) * 2, "malformed"),
    "a record too long": (header(kind=tarfile.XHDTYPE, size=9) + block(b"99 abc=de") + header(), "malformed pax header"),
    "a size of letters": (header(kind=tarfile.XHDTYPE, size=12) + block(b"12 size=abc\n") + header(), "has the size 'abc'"),
    "a size below zero": (header(kind=tarfile.XHDTYPE, size=11) + block(b"11 size=-1\n") + header(), "has the size '-1'"),
    "a sparse file": (header(kind=tarfile.XHDTYPE, size=22) + block(b"22 GNU.sparse.major=1\n") + header(), "sparse"),
    "a path for all": (header(kind=tarfile.XGLTYPE, size=11) + block(b"11 path=ab\n") + header(), "malformed"),
    "a folder with content": (header(kind=tarfile.DIRTYPE, size=512) + bytes(512), "has the size 512"),
    "an unknown kind": (header(kind=b"Z"), "of the unknown kind b'Z'"),
    "a wrong checksum": (bytearray(header()).replace(b"x", b"y", 1), "bad checksum"),
}  # fmt: skip


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_tar_header_is_refused(tmp_path, case):
    data, said = FORGED[case]
    (tmp_path / "a").write_bytes(bytes(data) + bytes(1024))
    assert said in refused(tmp_path, tmp_path / "a")


def test_a_global_comment_as_git_writes_it_is_passed_over(tmp_path):
    data = (
        header(kind=tarfile.XGLTYPE, size=14)
        + block(b"14 comment=ab\n")
        + header(name="1.png", size=2)
        + block(b"ok")
        + bytes(1024)
    )
    (tmp_path / "a").write_bytes(data)
    unpack(tmp_path / "a", tmp_path / "out", **LIMITS)
    assert content(tmp_path / "out") == {"1.png": b"ok"}


@pytest.mark.parametrize("packer", ["tar.gz", "tar.xz"])
def test_a_changed_byte_in_a_compressed_tar_is_seen(tmp_path, packer):
    whole = PACKERS[packer](tmp_path / "a", {"noise.png": np.random.default_rng(0).bytes(5000)}).read_bytes()
    for place in np.linspace(60, len(whole) - 12, 10).astype(int):
        (tmp_path / "a").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert "damaged or truncated" in refused(tmp_path, tmp_path / "a")


@pytest.mark.parametrize("rest", [b"more", bytes(17 << 20)], ids=["text", "zeros"])
def test_what_stands_behind_the_end_of_a_tar_is_refused(tmp_path, rest):
    archive = tarred(tmp_path / "a", FILES)
    archive.write_bytes(gzip.compress(archive.read_bytes() + rest, 1))
    assert "a goes on after its end marker" in refused(tmp_path, archive)


def test_an_xz_that_demands_much_memory_is_refused(tmp_path):
    greedy = [{"id": lzma.FILTER_LZMA2, "dict_size": 300 << 20, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "nice_len": 3}]
    plain = tarred(tmp_path / "a", FILES).read_bytes()
    (tmp_path / "a").write_bytes(lzma.compress(plain, filters=greedy))
    assert "damaged or truncated (Memory usage limit exceeded)" in refused(tmp_path, tmp_path / "a")
    (tmp_path / "a").write_bytes(lzma.compress(plain, preset=9))
    assert unpack(tmp_path / "a", tmp_path / "out", **LIMITS) == len(FILES)


def test_what_is_no_archive_says_what_is_accepted(tmp_path):
    for data in (b"", b"hello", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"\x89PNG\r\n\x1a\n" + bytes(600)):
        (tmp_path / "a.zip").write_bytes(data)
        assert kind_of(tmp_path / "a.zip") is None
        assert "not an archive of an accepted kind (zip, tar, tar.gz and tar.xz)" in refused(tmp_path, tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(gzip.compress(b"not a tar" * 100))
    assert "damaged or truncated" in refused(tmp_path, tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(lzma.compress(b""))
    assert "damaged or truncated" in refused(tmp_path, tmp_path / "a.zip")


@pytest.mark.parametrize("packer", WRITERS)
def test_an_empty_archive_is_refused(tmp_path, packer):
    assert refused(tmp_path, PACKERS[packer](tmp_path / "a", [])) in ("a holds no file: put the data into it", "a is not an archive of an accepted kind "
        "(zip, tar, tar.gz and tar.xz): repack it as one of them")  # fmt: skip


def test_nothing_that_exists_is_touched_and_leftovers_of_a_kill_are_removed(tmp_path):
    archive = zipped(tmp_path / "a", FILES)
    (tmp_path / "out.partial" / "cat").mkdir(parents=True)
    (tmp_path / "out.partial" / "cat" / "old.jpg").write_text("of a killed run")
    unpack(archive, tmp_path / "out", **LIMITS)
    assert content(tmp_path / "out") == FILES
    with pytest.raises(PersonError, match="exists already"):
        unpack(archive, tmp_path / "out", **LIMITS)
    assert content(tmp_path / "out") == FILES
    with pytest.raises(PersonError, match="does not exist"):
        unpack(tmp_path / "none.zip", tmp_path / "other", **LIMITS)


def test_a_long_name_of_raw_bytes_is_shortened(tmp_path):
    link = tarfile.TarInfo("\udcff\x00" * 2000)
    link.type, link.linkname = tarfile.LNKTYPE, "x"
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        archive.addfile(link)
    line = refused(tmp_path, tmp_path / "a.tar")
    assert "hard link" in line
    assert len(line) < 1500
    assert line.isprintable()


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.source.archive._write", full)
    assert "No space left on device after 0 MB" in refused(tmp_path, zipped(tmp_path / "a", FILES))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(PACKERS)), data=st.data())
def test_mutated_archives_neither_escape_nor_hang_nor_leave_anything(tmp_path, kind, data):
    """Fuzz: some bytes of a whole archive are changed; it is unpacked below the target or refused with a line."""
    home = tmp_path / f"{time.monotonic_ns()}"
    home.mkdir()
    whole = bytearray(PACKERS[kind](home / "a", FILES).read_bytes())
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=6)
    ):
        whole[place] = value
    (home / "a").write_bytes(whole)
    started = time.monotonic()
    try:
        unpack(home / "a", home / "out", **LIMITS)
    except PersonError as error:
        assert "\n" not in str(error)
        assert sorted(os.listdir(home)) == ["a"]
    else:
        assert sorted(os.listdir(home)) == ["a", "out"]
        assert not any(path.is_symlink() for path in home.rglob("*"))
    assert time.monotonic() - started < 5
