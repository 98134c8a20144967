"""The C library against PyTorch, and against itself on another target."""

import copy
import re
import shutil
import struct
import zlib

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from edgekws import cli
from edgekws.core.errors import UserError
from edgekws.embedded import compiler, image, wake_word
from edgekws.features import logmel
from edgekws.features.settings import Features
from edgekws.methods.traces_propagation import training
from edgekws.models import encoder
from edgekws.models.delta import format
from edgekws.models.delta.delta import apply
from edgekws.models.delta.int8 import quantise, rounded
from edgekws.models.recurrent_lif import RecurrentLIF, save_network
from edgekws.protocol.settings import Training

TRAINED = ("hidden.0.input", "hidden.0.recurrent", "readout")


def keep_all(device, clips):
    for wave, label in zip(*clips, strict=True):
        device.hear(wave)
        device.keep(int(label))


def test_features_are_those_of_the_front_end(open_library, clips, features):
    device = open_library()
    device.start()
    for wave, own in zip(clips[0], features.numpy(), strict=True):
        device.hear(wave)
        assert np.abs(device.features() - own).max() < 1e-4


@pytest.mark.parametrize("samples", [200, 9_999, 15_999, 16_001, 20_000])
def test_features_of_a_recording_of_another_length(open_library, metadata, clips, samples):
    wave = np.concatenate([clips[0][1] // 4, clips[0][0]])[:samples]
    device = open_library()
    device.start()
    device.hear(wave)
    own = logmel.log_mel_deltas(logmel.prepare(wave)[None], Features())[0] / metadata["feature_scale"].numpy()
    # Of a piece so short most bands are silence but for the edges of the piece.
    assert np.abs(device.features() - own).max() < (1e-3 if samples < 1000 else 1e-4)


def test_silence_has_no_features(open_library):
    device = open_library()
    device.start()
    device.hear(np.zeros(16_000, np.int16))
    assert not device.features().any()
    assert not device.predict()[1].any()


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("recurrent", [True, False])
def test_potentials_are_those_of_the_net(open_library, net, metadata, features, reset, recurrent):
    network = net.settings.model_copy(update={"reset": reset, "recurrent": recurrent, "output_leak": 0.9})
    other = RecurrentLIF(network, inputs=120, outputs=net.outputs, generator=torch.Generator().manual_seed(5))
    device = open_library(blob=image.spiking(other, metadata, where="net"))
    device.start()
    with torch.no_grad():
        wanted = other(features).numpy()
    found = np.stack([device.run(clip)[-1] for clip in features.numpy()])
    close = np.abs(found - wanted).max(1) < 1e-5 * np.abs(wanted).max()
    # A potential that rounding puts on the other side of the threshold makes another spike, and another clip from there on.
    assert close.sum() >= len(close) - 2
    assert (found.argmax(1) == wanted.argmax(1)).all()


def test_int8_weights_are_those_that_int8_can_hold(open_library, net, metadata, clips):
    coarse = copy.deepcopy(net)
    coarse.load_state_dict({name: rounded(tensor) for name, tensor in net.state_dict().items()})
    results = []
    for blob in (image.spiking(net, metadata, precision="int8", where="net"), image.spiking(coarse, metadata, where="net")):
        device = open_library(blob=blob)
        device.start()
        device.hear(clips[0][0])
        results.append(device.predict()[1].tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("batch", [0, 26])
def test_learning_gives_the_weights_of_the_host(open_library, net, clips, features, batch):
    device = open_library()
    device.start(clips=26, batch=batch)
    keep_all(device, clips)
    assert device.learn(rate=1e-3, epochs=3) == 3 * 101
    host = copy.deepcopy(net)
    training.train(host, features, torch.from_numpy(clips[1]), Training(learning_rate=1e-3, epochs=3), seed=0)
    for name, own in zip(TRAINED, device.weights(), strict=True):
        wanted, before = host.state_dict()[name].T.numpy().ravel(), net.state_dict()[name].T.numpy().ravel()
        assert np.abs(wanted - before).max() > 0.02
        assert np.abs(own - wanted).max() < 1e-4


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_back_propagation_gives_the_gradients_of_the_host(open_library, net, metadata, clips, features, reset):
    network = net.settings.model_copy(update={"reset": reset, "output_leak": 0.95})
    other = RecurrentLIF(network, inputs=120, outputs=net.outputs, generator=torch.Generator().manual_seed(5))
    device = open_library(blob=image.spiking(other, metadata, where="net"))
    device.start(clips=5, rule="bptt", optimiser="sgd")
    for number in range(5):
        device.hear(clips[0][number])
        device.keep(int(clips[1][number]))
    before = device.weights()
    assert device.learn(rate=1e-2, epochs=1) == 5
    potentials = other(features[:5])
    torch.nn.functional.cross_entropy(potentials, torch.from_numpy(clips[1][:5])).backward()
    gradient = {name: tensor.grad for name, tensor in other.trained.items()}
    hidden = gradient["hidden.0.weight"].T
    wanted = [hidden[:120], hidden[120:], gradient["readout"].T]
    for old, new, own in zip(before, device.weights(), wanted, strict=True):
        found, size = (old - new) / 1e-2, float(own.abs().max())
        assert size > 1e-3
        assert np.abs(found - own.numpy().ravel()).max() < 1e-3 * size + 1e-5


def test_learning_from_bytes_is_close(open_library, clips):
    weights = []
    for storage in ("exact", "bytes"):
        device = open_library()
        device.start(clips=26, storage=storage)
        keep_all(device, clips)
        device.recall(25)
        weights.append([device.features(), *device.weights()])
    assert 0 < np.abs(weights[0][0] - weights[1][0]).max() < 0.5


def test_a_batch_of_one_word_leaves_hidden_weights_alone(open_library, clips):
    device = open_library()
    device.start(clips=2, optimiser="sgd")
    before = device.weights()
    for _ in range(2):
        device.hear(clips[0][0])
        device.keep(0)
    device.learn(rate=1e-2, epochs=1)
    after = device.weights()
    assert np.abs(after[0] - before[0]).max() < 1e-6
    assert np.abs(after[2] - before[2]).max() > 1e-3


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_web_assembly_gives_the_same_bytes(open_library, clips, precision):
    found = []
    for target in ("host", "wasm"):
        device = open_library(target, precision=precision)
        device.start(clips=26, batch=7, optimiser="adam")
        keep_all(device, clips)
        device.learn(rate=1e-3, epochs=2, seed=5)
        outputs = [device.features().tobytes(), *(weights.tobytes() for weights in device.weights())]
        device.recall(3)
        outputs += [device.predict()[1].tobytes(), device.save("fp32"), device.save("int8")]
        found.append(outputs)
    assert found[0] == found[1]


def test_a_delta_goes_both_ways(open_library, net, metadata, clips, tmp_path):
    device = open_library()
    device.start(clips=26)
    keep_all(device, clips)
    device.learn(rate=1e-3, epochs=1)
    learnt = device.weights()
    base = {**net.state_dict(), "feature_scale": metadata["feature_scale"]}
    for precision in ("fp32", "int8"):
        path = tmp_path / f"{precision}.safetensors"
        path.write_bytes(device.save(precision))
        delta, about, _ = format.read_delta(path, base=format.checksum(base))
        applied = apply(base, delta)
        stored = format.stored_bytes(path)
        for name, own in zip(TRAINED, learnt, strict=True):
            found = applied[name].T.numpy().ravel()
            if precision == "fp32":
                assert (found == own).all()
                continue
            assert np.abs(found - own).max() < 1e-3
            difference = torch.from_numpy(own.copy()).view(base[name].T.shape).T - base[name]
            integers, scale = quantise(difference)
            assert torch.equal(delta.difference[name], integers * scale)
            assert stored[f"difference/{name}"][1] == integers.numel() + 4 * len(integers)
        device.undo()
        device.load(path.read_bytes())
        again = tmp_path / "again.safetensors"
        format.write_delta(again, delta, about, provenance={"written": "on the host"}, base=base)
        loaded = [device.weights()]
        device.undo()
        device.load(again.read_bytes())
        loaded.append(device.weights())
        for name, own, other in zip(TRAINED, *loaded, strict=True):
            assert np.abs(own - applied[name].T.numpy().ravel()).max() < 1e-7
            assert (own == other).all()
        device.undo()
        device.learn(rate=1e-3, epochs=1)


def test_undo_gives_the_base_back(open_library, clips):
    device = open_library()
    device.start(clips=4)
    before = device.weights()
    for number in range(4):
        device.hear(clips[0][number])
        device.keep(number)
    device.learn(rate=1e-3, epochs=1)
    assert (device.weights()[0] != before[0]).any()
    device.undo()
    assert all((own == other).all() for own, other in zip(device.weights(), before, strict=True))


def test_a_full_reservoir_replaces_when_told(open_library, clips):
    device = open_library()
    device.start(clips=4)
    for number, word in enumerate([0, 1, 1, 2]):
        device.hear(clips[0][number])
        assert device.keep(word, replace=99) == number
    with pytest.raises(UserError, match="full"):
        device.keep(3, replace=99)
    assert device.keep(3) == 1  # the oldest of the word that has most
    assert device.keep(0, replace=3) == 3
    assert [device.machine.call("ekw_kept", place) for place in range(4)] == [0, 3, 1, 0]


def resealed(blob, place, content):
    """The image with other bytes at a place, and a checksum that fits."""
    changed = bytearray(blob)
    changed[place:place + len(content)] = content
    changed[12:16] = struct.pack("<I", zlib.crc32(bytes(changed[16:])))
    return bytes(changed)


def test_bad_images_are_refused(open_library, net, metadata):
    blob = image.spiking(net, metadata, where="net")
    flipped = bytearray(blob)
    flipped[-1] ^= 1
    sections = {blob[place:place + 4]: struct.unpack_from("<II", blob, place + 4) for place in range(24, 24 + 12 * 16, 12)}
    size, weights = sections[b"SIZE"][0], sections[b"WINP"][0]
    for bad, what in ((b"", "no image"), (blob[:100], "damaged"), (b"nonsense" * 40, "no image"), (bytes(flipped), "checksum"),
                      (blob[:4] + b"\2" + blob[5:], "another version"),
                      (resealed(blob, size, struct.pack("<I", 5000)), "wrongly"),
                      (resealed(blob, weights, struct.pack("<f", float("nan"))), "wrongly")):
        with pytest.raises(UserError, match=what):
            open_library(blob=bad or b"\0")


def test_a_small_arena_is_refused(open_library):
    device = open_library()
    needed = device.needs(clips=3)
    with pytest.raises(UserError, match="too small"):
        device.start(clips=3, room=needed - 1)
    device.start(clips=3, room=needed)


def test_what_is_not_finite_is_refused(open_library):
    device = open_library()
    device.start()
    frame = np.zeros((1, 120), np.float32)
    for value in (np.nan, np.inf, -np.inf):
        frame[0, 7] = value
        with pytest.raises(UserError, match="not finite"):
            device.run(frame)


def test_deltas_of_others_are_refused(open_library, net, metadata, clips):
    device = open_library()
    device.start(clips=1)
    device.hear(clips[0][0])
    device.keep(0)
    device.learn(rate=1e-3, epochs=1)
    own = device.save()
    other = open_library(blob=image.spiking(
        RecurrentLIF(net.settings, inputs=120, outputs=net.outputs, generator=torch.Generator().manual_seed(9)), metadata,
        where="net"))
    other.start(clips=1)
    with pytest.raises(UserError, match="another base"):
        other.load(own)
    device = open_library()
    device.start(clips=1)
    nan = own[:-4] + struct.pack("<f", float("nan"))
    for bad in (b"", own[:50], own[:-4], nan, own.replace(b"F32", b"F64"),
                own.replace(b"replaced/readout", b"replaced/reading")):
        with pytest.raises(UserError, match="no delta"):
            device.load(bad)
    base = [tensor.T.numpy().ravel() for name, tensor in net.state_dict().items() if name in TRAINED]
    for found in device.weights():
        assert any(found.shape == tensor.shape and (found == tensor).all() for tensor in base)


def test_the_exporter_refuses_what_the_device_has_not(net, metadata):
    deep = RecurrentLIF(net.settings.model_copy(update={"hidden": [8, 8]}), inputs=120, outputs=5,
                        generator=torch.Generator())
    with pytest.raises(UserError, match="2 hidden layers"):
        image.spiking(deep, metadata, where="net")
    with pytest.raises(UserError, match="per-set"):
        image.spiking(net, {**metadata, "feature_scale": None}, where="net")
    odd = {**metadata, "settings": {"features": Features(window=482).model_dump()}}
    with pytest.raises(UserError, match="prime factor"):
        image.spiking(net, odd, where="net")


@pytest.mark.slow
def test_sanitizers_find_nothing_in_damaged_input():
    """A few of the inputs of ``python -m benchmarks.embedded_fuzz``."""
    from benchmarks import embedded_fuzz

    if shutil.which("gcc") is None and shutil.which("clang") is None:
        pytest.skip("no compiler with sanitizers")
    told = embedded_fuzz.fuzz(600, seed=1)
    assert told.startswith("600 inputs") and int(told.split()[2]) > 100


@pytest.mark.parametrize("kind", ["spiking", "wake word"])
def test_a_model_is_exported_with_all_that_a_firmware_needs(net, metadata, tmp_path, kind):
    path = tmp_path / "model.safetensors"
    if kind == "spiking":
        save_network(path, net, vocabulary=metadata["vocabulary"], feature_scale=metadata["feature_scale"],
                     about=metadata["settings"], provenance={})
        wanted = image.of_model(path, "int8")
    else:
        encoder.save_encoder(path, encoder.build("ds_cnn_s", [4] * 5), "ds_cnn_s", about={}, provenance={})
        wanted = wake_word.of_model(path, "int8")
    done = CliRunner().invoke(cli.app, ["embedded", "export", str(path), str(tmp_path / "out"), "--precision", "int8"])
    assert done.exit_code == 0, done.output
    out = tmp_path / "out"
    assert (out / "model.bin").read_bytes() == wanted
    numbers = re.findall("0x([0-9A-F]{8})", (out / "model.c").read_text())
    assert b"".join(bytes.fromhex(number)[::-1] for number in numbers)[:len(wanted)] == wanted
    assert {path.name for path in out.iterdir()} >= {"edgekws.h", "internal.h", *compiler.SOURCES}
