"""Event data: files as their publishers write them through Tonic to frames, and one clear error for what is wrong."""

import os
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from edgekws.core.errors import UserError
from edgekws.methods.traces_propagation.events.clips import SHAPES, Events, convert


@pytest.fixture(scope="module")
def tonic():
    """Tonic's environment; what asks for it is skipped where there is none."""
    folder = Path(os.environ.get("EDGEKWS_TONIC") or Path(__file__).parents[3] / ".envs" / "tonic")
    if not (folder / "bin" / "python").is_file():
        pytest.skip("no tonic: build it with `envs/tool tonic .envs/tonic`, or name it by EDGEKWS_TONIC")
    return folder


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def made_up(seed, side=None, count=12):
    """Times in microseconds (sorted, from 500 on), x, y and p."""
    rng = np.random.default_rng(seed)
    times = 500 + np.sort(rng.integers(0, 90_000, count))
    return times, *(rng.integers(0, high, count) for high in ((side, side, 2) if side else (700, 1, 1)))


def shd(folder):
    """The publishers' h5: ragged arrays of seconds and channels."""
    told = []
    folder.mkdir()
    for split, clips in (("train", 3), ("test", 2)):
        with h5py.File(folder / f"shd_{split}.h5", "w") as file:
            times = file.create_dataset("spikes/times", (clips,), h5py.vlen_dtype(np.float64))
            units = file.create_dataset("spikes/units", (clips,), h5py.vlen_dtype(np.uint16))
            for clip in range(clips):
                t, x, _, _ = made_up(len(told))
                times[clip], units[clip] = t / 1e6, x
                told.append((split, 7 + clip, t, x))
            file["labels"] = np.arange(7, 7 + clips)
            file["extra/keys"], file["extra/speaker"] = np.array([b"zero"]), np.zeros(clips)
    return told


def nmnist(folder):
    """The publishers' five bytes: x, y, polarity and 23 bits of time; the second saccade is not kept."""
    told = []
    for split in ("train", "test"):
        for digit in (0, 3):
            t, x, y, p = made_up(len(told), 34)
            late = [*zip([*t, 150_000], [*x, 1], [*y, 1], [*p, 1], strict=True)]
            data = b"".join(bytes([a, b, (c << 7) | (time >> 16), (time >> 8) & 255, time & 255]) for time, a, b, c in late)
            write(folder / split.capitalize() / str(digit) / "00001.bin", data)
            told.append((split, digit, t, (p * 34 + y) * 34 + x))
    return told


def gestures_of_tonic(folder):
    """Tonic's npy: x, y, polarity and milliseconds."""
    told = []
    for split in ("train", "test"):
        for label in (2, 10):
            t, x, y, p = made_up(len(told), 128)
            path = folder / f"ibmGesture{split.capitalize()}" / "user01_fluorescent" / f"{label}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.stack([x, y, p, t // 1000], 1).astype(np.float64))
            told.append((split, label, t // 1000 * 1000, (p * 128 + y) * 128 + x))
    return sorted(told, key=lambda clip: (clip[0] == "test", str(clip[1])))


def recorded_gestures(folder):
    """IBM's AEDAT 3.1 in packets of at most eight events, with the tables that cut a recording into gestures."""
    told = []
    for split in ("train", "test"):
        t, x, y, p = made_up(len(told), 128)
        address = (x << 17) | (y << 2) | (p << 1) | 1
        packets = b""
        for start in range(0, len(t), 8):
            some = slice(start, start + 8)
            rows = np.stack([address[some], t[some]], 1).astype("<u4")
            packets += struct.pack("<hhiiiiii", 1, 0, 8, 4, 0, len(rows), len(rows), len(rows)) + rows.tobytes()
        write(folder / f"{split}_led.aedat", b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n" + packets)
        table = f"class,startTime_usec,endTime_usec\n3,{t[2]},{t[6]}\n11,{t[6]},{t[11]}\n"
        write(folder / f"{split}_led_labels.csv", table.encode())
        write(folder / f"trials_to_{split}.txt", f"{split}_led.aedat\n".encode())
        unit = (p * 128 + y) * 128 + x
        for label, low, high in ((2, t[2], t[6]), (10, t[6], t[11])):
            kept = (t >= low) & (t < high)
            told.append((split, label, t[kept], unit[kept]))
    return told


def cifar10_dvs(folder):
    """The publishers' AEDAT 2.0: a big-endian address and time for each event; ten clips of two classes."""
    told = {}
    for label, name in ((1, "automobile"), (8, "ship")):
        for clip in range(10):
            t, x, y, p = made_up(100 * label + clip, 128)
            rows = np.stack([(x << 8) | (y << 1) | p, t], 1).astype(">u4")
            write(folder / name / f"cifar10_{name}_{clip}.aedat", b"#!AER-DAT2.0\r\n# data\r\n" + rows.tobytes())
            told[label, clip] = ("train" if clip < 9 else "test", label, t, (p * 128 + y) * 128 + x)
    return [told[key] for key in sorted(told)]


@pytest.mark.parametrize("made, dataset", [
    (shd, "shd"), (nmnist, "nmnist"), (gestures_of_tonic, "dvs_gesture"), (recorded_gestures, "dvs_gesture"),
    (cifar10_dvs, "cifar10_dvs")], ids=lambda value: getattr(value, "__name__", value))
def test_what_the_publishers_write_is_what_the_networks_get(made, dataset, tonic, tmp_path):
    told = made(tmp_path / "source")
    table = convert(tmp_path / "source", tonic, tmp_path / "out" / "e.npy", dataset)
    found = Events.open(tmp_path / "out" / "e.npy")
    assert found.dataset == dataset and found.table.equals(table)
    assert [(row.split, row.label) for row in table.itertuples()] == [clip[:2] for clip in told]
    for row, (_, _, times, units) in zip(table.itertuples(), told, strict=True):
        mine = found.events[row.first:row.first + row.events]
        order = np.lexsort((units, times))
        wanted = np.stack([times - times.min(), units], 1)[order]
        assert np.array_equal(mine[np.lexsort((mine[:, 1], mine[:, 0]))], wanted)


# ------------------------------------------------------------------------------------------------ frames
@pytest.fixture
def three(tmp_path):
    """Clips of N-MNIST's shape: two events, none, and three over 2.5 ms."""
    import pandas as pd

    events = np.array([[0, 5], [1500, 5], [0, 0], [900, 2311], [2500, 0]], np.int32)
    table = pd.DataFrame({"split": ["train", "train", "test"], "label": [4, 1, 9], "events": [2, 0, 3], "first": [0, 2, 2]})
    return Events("nmnist", events, table)


def test_frames_count_events_and_shorter_clips_end_in_empty_ones(three):
    frames = three.split("train", window=1000)
    assert frames.labels.tolist() == [4, 1] and len(frames) == 2
    found = frames[np.array([0, 1])]
    assert found.shape == (2, 2, *SHAPES["nmnist"]) and found.sum() == 2
    assert found[0, 0].flatten()[5] == found[0, 1].flatten()[5] == 1 and not found[1].any()


def test_so_many_frames_to_a_clip(three):
    found = three.split("test", bins=2)[np.array([0])]
    assert found.shape[1] == 2 and found[0, 0].sum() == 2 and found[0, 1].sum() == 1


def test_long_clips_are_cut_into_slices_and_the_rest_is_dropped(three):
    frames = three.split("test", window=500, longest=1000)
    assert len(frames) == 2 and frames.labels.tolist() == [9, 9]
    assert torch.equal(frames[np.array([0])].sum((2, 3, 4)), torch.tensor([[1.0, 1.0]]))
    assert frames[np.array([1])].sum() == 0  # from 1000 to 2000 nothing; what comes at 2500 is left over


# ------------------------------------------------------------------------------------------------ errors
def test_what_cannot_be_read_says_so(tmp_path, tonic):
    with pytest.raises(UserError, match="no such folder"):
        convert(tmp_path / "none", tonic, tmp_path / "e.npy", "shd")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        convert(tmp_path / "empty", tonic, tmp_path / "e.npy", "shd")
    with pytest.raises(UserError, match="holds no clip of the train split"):
        convert(tmp_path / "empty", tonic, tmp_path / "e.npy", "cifar10_dvs")
    assert not list(tmp_path.glob("e.*"))


def test_without_the_environment_the_remedy_is_told(tmp_path):
    with pytest.raises(UserError, match="has not been built") as raised:
        convert(tmp_path, tmp_path / "nowhere", tmp_path / "e.npy", "shd")
    assert "envs/tool tonic" in raised.value.remedy


def test_files_that_do_not_belong_together_are_refused(three, tmp_path):
    from edgekws.core import files

    np.save(tmp_path / "e.npy", three.events[:-1])
    files.write_table(tmp_path / "e.parquet", three.table, {"dataset": "nmnist"})
    with pytest.raises(UserError, match="another table"):
        Events.open(tmp_path / "e.npy")
