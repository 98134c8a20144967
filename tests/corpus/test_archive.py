import gzip
import hashlib
import tarfile

import pytest

from edgekws.core.errors import UserError
from edgekws.corpus import archive
from edgekws.corpus.archive import Fingerprint, read_members

FILES = {"yes/a_nohash_0.wav": b"one", "LICENSE": b"two", "no/deep/er.txt": b"x" * 30_000, "empty": b""}


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
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
    (special("yes/a_nohash_0.wav", tarfile.LNKTYPE, "LICENSE"), "link"),
    (special("yes/a_nohash_0.wav", tarfile.CHRTYPE), "device"),
    (special("yes/a_nohash_0.wav", tarfile.FIFOTYPE), "device"),
])
def test_refuses_a_hostile_archive(make_archive, member, what):
    path = make_archive({"LICENSE": b"fine", "member": member})
    with pytest.raises(UserError, match=what) as caught:
        list(read_members(path))
    assert f"'{member.name}'" in caught.value.what
    assert caught.value.where == path


def test_refuses_a_link_in_a_folder(tmp_path):
    (tmp_path / "yes").symlink_to("/")
    with pytest.raises(UserError, match=r"'yes' is a link"):
        list(read_members(tmp_path))


def test_refuses_a_member_of_absurd_size_without_reading_it(make_archive, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 29_999)
    path = make_archive(FILES)
    with pytest.raises(UserError, match="30000 bytes"):
        list(read_members(path))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "big.wav").write_bytes(bytes(30_000))
    with pytest.raises(UserError, match="30000 bytes"):
        list(read_members(tmp_path / "folder"))


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
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
    with pytest.raises(UserError, match="no tar archive"):
        list(read_members(path))


def test_refuses_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such archive") as caught:
        read_members(tmp_path / "a.tar")
    assert "data/gsc/README.md" in caught.value.remedy
