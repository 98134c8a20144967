import gzip
import hashlib
import io
import tarfile
import unicodedata
import zipfile

import pytest

from edgekws.core.errors import UserError
from edgekws.corpus import archive
from edgekws.corpus.archive import Fingerprint, read_members

FILES = {"yes/a_nohash_0.wav": b"one", "LICENSE": b"two", "no/deep/er.txt": b"x" * 30_000, "empty": b""}


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "no suffix"])
def test_reads_an_archive_and_knows_its_checksum(make_archive, name):
    path, fingerprint = make_archive({"no/": None, **FILES}, name), Fingerprint()
    assert list(read_members(path, fingerprint)) == [("no", None), *FILES.items()]
    assert fingerprint == Fingerprint(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)


def test_reads_a_folder_in_sorted_order(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    fingerprint = Fingerprint()
    assert list(read_members(tmp_path, fingerprint)) == [
        ("LICENSE", b"two"), ("empty", b""), ("no", None), ("no/deep", None), ("no/deep/er.txt", b"x" * 30_000),
        ("yes", None), ("yes/a_nohash_0.wav", b"one")]
    assert fingerprint.size == 30_006
    before = fingerprint.sha256
    (tmp_path / "LICENSE").write_bytes(b"too")
    list(read_members(tmp_path, fingerprint))
    assert fingerprint.sha256 != before


@pytest.mark.parametrize(("member", "what"), [
    (special("/etc/passwd", tarfile.REGTYPE), "outside"),
    (special("yes/../../a.wav", tarfile.REGTYPE), "outside"),
    (special("yes\\..\\a.wav", tarfile.REGTYPE), "outside"),
    (special("../yes", tarfile.DIRTYPE), "outside"),
    (special("yes/a_nohash_0.wav", tarfile.SYMTYPE, "/etc/passwd"), "link"),
    (special("yes/a_nohash_0.wav", tarfile.LNKTYPE, "../LICENSE"), "link"),
    (special("yes/a_nohash_0.wav", tarfile.CHRTYPE), "device"),
    (special("yes/a_nohash_0.wav", tarfile.FIFOTYPE), "device"),
])
def test_refuses_a_hostile_archive(make_archive, member, what):
    path = make_archive({"LICENSE": b"fine", "member": member})
    with pytest.raises(UserError, match=what) as caught:
        list(read_members(path))
    assert f"'{member.name}'" in caught.value.what
    assert caught.value.where == path


def test_a_persons_folder_may_be_made_of_links(tmp_path):
    store, mine = tmp_path / "store", tmp_path / "mine"
    (store / "yes").mkdir(parents=True)
    (store / "yes" / "a.wav").write_bytes(b"one")
    (mine / "no").mkdir(parents=True)
    (mine / "yes").symlink_to(store / "yes")
    (mine / "no" / "b.wav").symlink_to("../../store/yes/a.wav")
    (tmp_path / "root").symlink_to("mine")
    expected = [("no", None), ("no/b.wav", b"one"), ("yes", None), ("yes/a.wav", b"one")]
    assert list(read_members(mine)) == list(read_members(tmp_path / "root")) == expected


@pytest.mark.parametrize(("target", "what"), [("nowhere", "leads nowhere"), (".", "folder that it is in"),
                                              ("/dev/null", "device")])
def test_a_folders_link_that_cannot_be_followed_is_named(tmp_path, target, what):
    (tmp_path / "yes").symlink_to(target)
    with pytest.raises(UserError, match=f"'yes.*' is a .*{what}"):
        list(read_members(tmp_path))


def linked(members):
    """A tar of plain files and links: (name, target) symbolic, (name, target, "hard") hard."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content, *hard in members:
            header = tarfile.TarInfo(name)
            if isinstance(content, str):
                header.type, header.linkname = tarfile.LNKTYPE if hard else tarfile.SYMTYPE, content
            else:
                header.size = len(content)
            tar.addfile(header, io.BytesIO(content) if isinstance(content, bytes) else None)
    return file.getvalue()


def test_a_link_inside_an_archive_stands_for_what_it_leads_to(tmp_path):
    path, fingerprint = tmp_path / "a.tar", Fingerprint()
    path.write_bytes(linked([("yes/b.wav", "../store/a.wav"), ("store/a.wav", b"one"), ("no", "store"),
                             ("yes/c.wav", "store/a.wav", "hard"), ("yes/d.wav", "../no/a.wav")]))
    plain, *links = read_members(path, fingerprint)
    assert plain == ("store/a.wav", b"one")
    assert sorted(links) == [("no/a.wav", b"one"), ("yes/b.wav", b"one"), ("yes/c.wav", b"one"), ("yes/d.wav", b"one")]
    assert fingerprint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("members", "what"), [
    ([("a", "../a")], "leads outside"), ([("a", "/etc/passwd", "hard")], "leads outside"),
    ([("a", "x/../../b")], "leads outside"), ([("a", "b")], "not in the archive"), ([("a", "b"), ("b", "a")], "circle"),
    ([("x/a", "../x"), ("x/b", b"")], "folder that it is in"), ([("a", "a")], "circle")])
def test_a_link_that_leaves_an_archive_or_leads_nowhere_is_refused(tmp_path, members, what):
    path = tmp_path / "a.tar"
    path.write_bytes(linked(members))
    with pytest.raises(UserError, match=what):
        list(read_members(path))


def test_refuses_a_member_of_absurd_size_without_reading_it(make_archive, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 29_999)
    path = make_archive(FILES)
    with pytest.raises(UserError, match="30000 bytes"):
        list(read_members(path))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "big.wav").write_bytes(bytes(30_000))
    with pytest.raises(UserError, match="30000 bytes"):
        list(read_members(tmp_path / "folder"))


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_notices_a_truncated_archive(make_archive, name, share):
    noise = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(256)) * 16
    path = make_archive({f"yes/{i}": noise for i in range(10)}, name)
    whole = path.read_bytes()
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(UserError, match="cut short"):
        list(read_members(path))


def test_notices_an_archive_truncated_between_two_members(make_archive):
    path = make_archive({"yes/a": b"1" * 512, "yes/b": b"2" * 512})
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(UserError, match="damaged"):
        list(read_members(path))


def test_notices_a_damaged_header_in_the_middle(make_archive):
    path = make_archive({"yes/a": b"1" * 512, "yes/b": b"2" * 512})
    content = bytearray(path.read_bytes())
    content[1024:1030] = b"\xff" * 6
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        list(read_members(path))


def test_notices_damaged_compressed_data(make_archive):
    path = make_archive(FILES, "a.tar.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF  # inside gzip's own checksum
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        list(read_members(path))


@pytest.mark.parametrize("content", [b"", b"hello" * 1000, gzip.compress(b"hello" * 1000, mtime=0)],
                         ids=["empty", "text", "compressed text"])
def test_refuses_what_is_no_archive(tmp_path, content):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="no archive"):
        list(read_members(path))


def test_refuses_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such archive") as caught:
        read_members(tmp_path / "a.tar")
    assert "data/gsc/README.md" in caught.value.remedy


# ------------------------------------------------------------------------------------------------ as people's machines leave it
LEFT = ("._yes", "yes/._a.wav", "__MACOSX/yes/._a.wav", ".DS_Store", "yes/.DS_Store", "yes/Thumbs.db", "Desktop.ini",
        ".Trash-1000/files/old.wav", ".ipynb_checkpoints/x.wav", "@eaDir/a.wav", "$RECYCLE.BIN/a.wav")


def packed(folder, members, name):
    """The members as a folder, a zip or a tar of that name."""
    path = folder / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
            for member, content in members.items():
                opened.writestr(member, content)
    elif name.endswith(".tar"):
        path.write_bytes(linked(members.items()))
    else:
        for member, content in members.items():
            (path / member).parent.mkdir(parents=True, exist_ok=True)
            (path / member).write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a.tar", "a.zip", "folder"])
def test_what_desktops_leave_behind_is_passed_over_everywhere(tmp_path, name):
    path = packed(tmp_path, {"yes/a.wav": b"one", **dict.fromkeys(LEFT, b"left")}, name)
    found = {name: content for name, content in read_members(path) if content is not None}
    assert found == {"yes/a.wav": b"one"}
    folders = {name for name, content in read_members(path) if content is None}
    assert folders <= {"yes"}


def test_a_folder_that_was_looked_at_is_the_same_folder(tmp_path):
    path, before, after = packed(tmp_path, {"yes/a.wav": b"one"}, "folder"), Fingerprint(), Fingerprint()
    list(read_members(path, before))
    (path / "yes" / ".DS_Store").write_bytes(b"x")
    list(read_members(path, after))
    assert before == after


def test_a_zip_is_read_like_a_tar_and_damage_is_noticed(tmp_path):
    path, fingerprint = packed(tmp_path, FILES, "a.zip"), Fingerprint()
    assert dict(read_members(path, fingerprint)) == FILES
    whole = path.read_bytes()
    assert fingerprint == Fingerprint(hashlib.sha256(whole).hexdigest(), len(whole))
    for damaged in (whole[:-30], whole[:40] + b"\xff" * 8 + whole[48:], whole[:100]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            list(read_members(path))


def test_a_zip_may_not_lead_outside_nor_be_encrypted(tmp_path):
    with pytest.raises(UserError, match="outside"):
        list(read_members(packed(tmp_path, {"../a.wav": b"x"}, "a.zip")))
    path = packed(tmp_path, {"a.wav": b"x"}, "b.zip")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="encrypted") as caught:
        list(read_members(path))
    assert "password" in caught.value.remedy


def test_a_link_in_a_zip_is_followed_inside_it(tmp_path):
    link = zipfile.ZipInfo("no/b.wav")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("yes/a.wav", b"one")
        opened.writestr(link, "../yes/a.wav")
    assert list(read_members(tmp_path / "a.zip")) == [("yes/a.wav", b"one"), ("no/b.wav", b"one")]


@pytest.mark.parametrize("name", ["a.tar", "a.zip", "folder"])
def test_decomposed_names_are_composed(tmp_path, name):
    path = packed(tmp_path, {unicodedata.normalize("NFD", "für/ä.wav"): b"one"}, name)
    assert ("für/ä.wav", b"one") in list(read_members(path))


def test_macs_zip_names_are_read_though_they_do_not_say_that_they_are_utf_8(tmp_path):
    path = packed(tmp_path, {"furx/a.wav": b"one"}, "a.zip")
    path.write_bytes(path.read_bytes().replace(b"furx", "für".encode()))
    assert list(read_members(path)) == [("für/a.wav", b"one")]


@pytest.mark.parametrize(("head", "what"), [
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"), (b"Rar!\x1a\x07", "RAR"), (b"<!DOCTYPE html><html>", "web page"),
    (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS")])
def test_what_is_no_archive_is_called_by_its_name(tmp_path, head, what):
    (tmp_path / "a.tar.gz").write_bytes(head + bytes(1000))
    with pytest.raises(UserError, match=what):
        list(read_members(tmp_path / "a.tar.gz"))
