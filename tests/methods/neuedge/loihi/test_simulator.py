"""The simulator: by hand, against a plain reference in Python's integers, and its independence of blocks and threads."""

import dataclasses

import numpy as np
import pytest
import torch

from edgekws.core.errors import UserError
from edgekws.methods.neuedge.loihi.network import LoihiNetwork
from edgekws.methods.neuedge.loihi.simulator import simulate
from edgekws.neurons.adaptive import AdaptiveRule


def decayed(state, kept):
    """Toward zero."""
    return (abs(state) * kept >> 12) * (1 if state >= 0 else -1)


def plain(net, clip, thresholds=None):
    """u, v and s of every layer, step by step on the global clock, neuron by neuron; ``thresholds[layer][step]``."""
    steps = len(clip) + len(net.layers)
    arriving = [list(map(int, step)) for step in clip] + [[0] * net.inputs] * len(net.layers)
    found = []
    for index, layer in enumerate(net.layers):
        synapses = [[int(w) for w in row] for row in layer.weights]
        flat = [w for row in synapses for w in row]
        if min(flat) < 0 < max(flat):
            synapses = [[max(-256, min(255, w)) // 2 * 2 for w in row] for row in synapses]
        else:
            synapses = [[max(-255, min(255, w)) for w in row] for row in synapses]
        us, vs, ss, u, v, before = [], [], [], [0] * layer.neurons, [0] * layer.neurons, [0] * layer.inputs
        for t in range(steps):
            vth = thresholds[index][t] if thresholds and index < len(thresholds) else layer.vth
            fired = []
            for n in range(layer.neurons):
                a = sum(w for w, s in zip(synapses[n], before, strict=True) if s)
                a = a << layer.weight_exp if layer.weight_exp > 0 else a >> -layer.weight_exp
                u[n] = decayed(u[n], 4095 - layer.du) + (a << 6)
                if u[n] > 2**23:
                    u[n] -= 2**24
                elif u[n] <= -2**23:
                    u[n] += 2**24
                v[n] = max(1 - 2**23, min(2**23 - 1, decayed(v[n], 4096 - layer.dv) + u[n] + int(layer.bias[n])))
                fired.append(int(v[n] > vth << 6))
                v[n] *= 1 - fired[-1]
            us.append(list(u))
            vs.append(list(v))
            ss.append(fired)
            before = arriving[t]
        found.append(tuple(np.array(states) for states in (us, vs, ss)))
        arriving = ss
    return found


def own(index, steps):
    return slice(index + 1, index + 1 + steps)


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_plain_reference(random_net, random_spikes, seed):
    net, steps = random_net(seed), 25
    spikes = random_spikes(3, steps, net.inputs, seed)
    ours, bare = simulate(net, spikes, record=True, block=2), simulate(net, spikes, block=2)
    for clip, expected in enumerate(plain(net, spike) for spike in spikes):
        for index, (trace, (u, v, s)) in enumerate(zip(ours.traces, expected, strict=True)):
            np.testing.assert_array_equal(trace.u[clip], u)
            np.testing.assert_array_equal(trace.v[clip], v)
            np.testing.assert_array_equal(trace.s[clip], s)
            window = own(index, steps)
            if index < len(net.layers) - 1:
                np.testing.assert_array_equal(ours.spike_counts[index][clip], s[window].sum(0))
            resting = (np.vstack([0 * v[:1], v])[:-1] == 0) & (u == 0) & (net.layers[index].bias == 0)
            assert ours.active_updates[index][clip] == (~resting)[window].sum()
        np.testing.assert_array_equal(ours.scores[clip], expected[-1][1][own(2, steps)].mean(0))
    for name in ("spike_counts", "active_updates"):
        for left, right in zip(getattr(ours, name), getattr(bare, name), strict=True):
            np.testing.assert_array_equal(left, right)
            assert left.dtype == (np.uint16 if name == "spike_counts" else np.int64)
    np.testing.assert_array_equal(ours.scores, bare.scores)
    np.testing.assert_array_equal(ours.predictions, ours.scores.argmax(1))


def test_the_random_networks_reach_what_is_to_be_tested(random_net, random_spikes):
    nets = [random_net(seed) for seed in range(12)]
    layers = [layer for net in nets for layer in net.layers]
    assert {layer.du for layer in layers} == {0, 1000, 4095}
    assert {np.sign(layer.weight_exp) for layer in layers} == {-1, 0, 1}
    assert any(layer.bias.any() for layer in layers)
    traces = [trace for net in nets for trace in simulate(net, random_spikes(3, 25, 7), record=True).traces]
    assert 0.02 < np.mean([trace.s.mean() for trace in traces]) < 0.9
    assert any((np.abs(trace.v) == 2**23 - 1).any() for trace in traces)


def test_one_neuron_by_hand(layer):
    # dv 1024 keeps three quarters. Weight 10 arrives a step late: v 640; 480; 360 + 640 = 1000 > 15 * 64 fires; 0
    net = LoihiNetwork((layer([[10]], dv=1024, vth=15), layer([[3], [-3]], dv=2048)), ("a", "b"))
    spikes = np.array([[[1], [0], [1], [0]]], np.uint8)
    found = simulate(net, spikes, record=True)
    assert found.traces[0].u[0, :, 0].tolist() == [0, 640, 0, 640, 0, 0]
    assert found.traces[0].v[0, :, 0].tolist() == [0, 640, 480, 0, 0, 0]
    assert found.traces[0].s[0, :, 0].tolist() == [0, 0, 0, 1, 0, 0]
    # Signs are mixed: 3 becomes 2, and -3, rounded down, -4. The readout's own steps are 2 to 5; it hears of it at step 4.
    assert found.traces[1].v[0].tolist() == [[0, 0]] * 4 + [[128, -256], [64, -128]]
    assert found.scores.tolist() == [[48.0, -96.0]]
    assert found.predictions.tolist() == [0]
    assert [counts.tolist() for counts in found.spike_counts] == [[[1]]]
    # Hidden: in its 4 steps it receives, has v, receives, rests. Readout: rests, rests, both receive, both have v.
    assert [updates.tolist() for updates in found.active_updates] == [[3], [4]]


def test_decay_is_toward_zero(layer):
    net = LoihiNetwork((layer([[1], [-1]], dv=1), layer([[1, 1]])), ("a",))
    v = simulate(net, np.array([[[1], [0], [0]]], np.uint8), record=True).traces[0].v[0]
    assert v[:, 0].tolist() == [0, 0, 0, 0, 0]  # the signs are mixed, and 1 has no second bit
    assert v[:, 1].tolist() == [0, -128, -127, -126, -125]  # -128 * 4095 / 4096 = -127.97


@pytest.mark.parametrize(("total", "u", "v"), [
    (131071, [8388544, 8388544], [8388544, 0]),  # at the largest threshold: does not fire; twice that is clipped: fires
    (131072, [8388608, 8388608], [0, 0]),  # 2^23 stays; clipped to 2^23 - 1, above the largest threshold
    (132600, [-8290816, -8290816], [-8290816, -8388607]),  # 8486400 - 2^24; twice that is clipped
    (-131071, [-8388544, -8388544], [-8388544, -8388607]),
    (-131072, [8388608, 8388608], [0, 0]),  # -2^23 wraps to the other end
])
def test_u_wraps_and_v_is_clipped(layer, total, u, v):
    whole, rest = divmod(abs(total), 255)
    row = np.sign(total) * np.array([255] * whole + [rest] * (rest > 0))
    net = LoihiNetwork((layer([row]), layer([[1]])), ("a",))
    trace = simulate(net, np.ones((1, 2, len(row)), np.uint8), record=True).traces[0]
    assert trace.u[0, 1:3, 0].tolist() == u
    assert trace.v[0, 1:3, 0].tolist() == v


@pytest.mark.parametrize(("exponent", "u"), [(-2, -64), (0, -128), (3, -1024)])
def test_weight_exponent_rounds_down(layer, exponent, u):
    net = LoihiNetwork((layer([[-2, 6]], weight_exp=exponent), layer([[1]])), ("a",))
    assert simulate(net, np.array([[[1, 0]]], np.uint8), record=True).traces[0].u[0, 1, 0] == u


def adaptive(targets, **values):
    return AdaptiveRule(**{"gamma": 2.0, "targets": targets, "decay": 0.5, "clamp": (0.5, 2.0), **values})


def test_adaptive_threshold_by_hand(layer):
    net = LoihiNetwork((layer([[100]], vth=150), layer([[1]])), ("a",))
    spikes = np.ones((1, 6, 1), np.uint8)
    # v in units of 64 grows by 100. A 0.5, 0.25, 0.125 | 0.5625, 0.28125, 0.140625 gives factors 1, 1.5, 1.75 | 0.875,
    # 1.4375, 1.71875 and thresholds 150, 225, 262 (262.5 to even) | 131, 216, 258: fires at v = 300 each time.
    found = simulate(net, spikes, adaptive=adaptive((0.5,)), record=True)
    assert found.traces[0].s[0, 1:7, 0].tolist() == [0, 0, 1, 0, 0, 1]
    assert simulate(net, spikes, record=True).traces[0].s[0, 1:7, 0].tolist() == [0, 1, 0, 1, 0, 1]
    assert simulate(net, spikes, adaptive=adaptive((0.5,), gamma=0.0)).spike_counts[0].tolist() == [[3]]


@pytest.mark.parametrize("sign", [1, -1])
def test_adaptive_thresholds_are_of_each_clip_and_layer(random_net, random_spikes, sign):
    net, steps = random_net(4), 25
    net = LoihiNetwork(tuple(dataclasses.replace(layer, vth=vth) for layer, vth in
                             zip(net.layers, (400, 300, 131071), strict=True)), net.words)
    spikes, rule = random_spikes(4, steps, net.inputs), adaptive((0.2, 0.4), sign=sign, gamma=0.7, decay=0.9)
    ours = simulate(net, spikes, adaptive=rule, record=True, block=3)
    for clip, spike in enumerate(spikes):
        # The thresholds follow from what was fired; with them the plain reference must fire the same.
        thresholds = []
        for index in range(2):
            activity, layer_thresholds = rule.targets[index], [net.layers[index].vth] * (steps + 3)
            for t in range(*own(index, steps).indices(steps + 3)):
                factor = min(max(1 + sign * rule.gamma * (rule.targets[index] - activity), 0.5), 2.0)
                layer_thresholds[t:] = [round(net.layers[index].vth * factor)] * (steps + 3 - t)
                activity = 0.9 * activity + (1 - 0.9) * ours.traces[index].s[clip, t].mean()
            assert len(set(layer_thresholds)) > 5
            thresholds.append(layer_thresholds)
        for trace, (_, v, s) in zip(ours.traces, plain(net, spike, thresholds), strict=True):
            np.testing.assert_array_equal(trace.s[clip], s)
            np.testing.assert_array_equal(trace.v[clip], v)
    bare = simulate(net, spikes, adaptive=rule)
    np.testing.assert_array_equal(bare.scores, ours.scores)


@pytest.mark.parametrize("following", [False, True])
def test_blocks_and_threads_do_not_show(random_net, random_spikes, following):
    net = random_net(2)
    spikes, rule = random_spikes(23, 30, net.inputs), adaptive((0.2, 0.4)) if following else None
    whole, before = simulate(net, spikes, adaptive=rule, threads=1), torch.get_num_threads()
    for block, threads in ((1, 1), (4, 2), (7, 3), (100, 4)):
        parts = simulate(net, spikes, adaptive=rule, block=block, threads=threads)
        np.testing.assert_array_equal(parts.scores, whole.scores)
        for left, right in zip(parts.spike_counts + parts.active_updates, whole.spike_counts + whole.active_updates,
                               strict=True):
            np.testing.assert_array_equal(left, right)
    assert torch.get_num_threads() == before


def test_no_clips_give_empty_results(random_net):
    net = random_net(2)
    found = simulate(net, np.zeros((0, 5, net.inputs), np.uint8))
    assert found.scores.shape == (0, 4)
    assert [counts.shape for counts in found.spike_counts] == [(0, 9), (0, 8)]


@pytest.mark.parametrize(("spikes", "rule", "what"), [
    (np.zeros((1, 5, 6), np.uint8), None, "not 0 or 1"), (np.zeros((1, 5, 7), np.float32), None, "not 0 or 1"),
    (np.zeros((1, 0, 7), np.uint8), None, "not 0 or 1"), (np.full((1, 5, 7), 2, np.uint8), None, "not 0 or 1"),
    (np.zeros((1, 5, 7), np.uint8), adaptive((0.1,)), "targets")],
    ids=["inputs", "type", "steps", "values", "targets"])
def test_refuses_what_does_not_fit(random_net, spikes, rule, what):
    with pytest.raises(UserError, match=what):
        simulate(random_net(2), spikes, adaptive=rule)
