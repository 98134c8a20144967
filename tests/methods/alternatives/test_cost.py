"""What adapting costs: clips made longer, claims held against made-up numbers, and a small case that is measured."""

import pytest
import torch
from tests.methods.alternatives.conftest import NETWORK

from edgekws.methods.alternatives import cost
from edgekws.methods.alternatives.memory import CATEGORIES
from edgekws.methods.alternatives.settings import Alternatives, AlternativeTraining

METHODS = Alternatives().methods
KIB = 1024

pytestmark = pytest.mark.usefixtures("one_thread")


# ------------------------------------------------------------------------------------------------ longer clips
def test_longer_clips_are_the_clips_again_and_again(spiking):
    clips = spiking.corpus.clips([3, 8, 20], frozen_scale=spiking.base.scale)
    longer = cost.Longer(clips, 3)
    plain = clips[[2, 0]]
    assert len(longer) == 3 and longer[[2, 0]].shape == (2, 3 * plain.shape[1], plain.shape[2])
    for start in range(0, 3 * plain.shape[1], plain.shape[1]):
        assert torch.equal(longer[[2, 0]][:, start:start + plain.shape[1]], plain)


# ------------------------------------------------------------------------------------------------ claims
def usage(peak, batch=0):
    return {"peak": peak, "at_peak": {**dict.fromkeys(CATEGORIES, 0), "batch": batch}}


def made_up(**peaks):
    """By method (peak, batch at the peak) in KiB, with clips as they are and with longer ones."""
    return {name: {"memory": usage(*(KIB * size for size in short)), "memory_longer": usage(*(KIB * size for size in longer))}
            for name, (short, longer) in peaks.items()}


def told(**peaks):
    found = made_up(**peaks)
    return cost.checks({name: METHODS[name] for name in found}, found)


def test_claims_about_memory_hold():
    checks = told(bptt_full=((100, 10), (190, 20)), bptt_lora_4=((80, 10), (170, 20)), tess=((40, 10), (50, 20)),
                  decolle=((50, 10), (60, 20)))
    assert {name: check["holds"] for name, check in checks.items()} == {
        "lora_less_memory": True, "local_less_memory": True, "local_any_length": True}
    assert checks["lora_less_memory"]["why"] == (
        "LoRA of rank 4 takes 80 KiB, all weights take 100 KiB: 1.25 times as much")
    assert checks["local_less_memory"]["why"] == "back-propagation takes 100 KiB, tess 40 KiB, decolle 50 KiB"
    assert checks["local_any_length"]["why"].endswith(
        "beside the clips grows to 1.00 times (tess), 1.00 times (decolle), 1.89 times (bptt full)")


@pytest.mark.parametrize(("peaks", "failed"), [
    ({"bptt_lora_4": ((91, 10), (170, 20))}, {"lora_less_memory"}),
    ({"bptt_lora_4": ((120, 10), (170, 20))}, {"lora_less_memory"}),
    ({"decolle": ((100, 10), (110, 20))}, {"local_less_memory"}),
    ({"decolle": ((50, 10), (61, 20))}, {"local_any_length"})])
def test_one_method_that_does_not_fails_a_claim(peaks, failed):
    holding = {"bptt_full": ((100, 10), (190, 20)), "bptt_lora_4": ((80, 10), (170, 20)), "tess": ((40, 10), (50, 20)),
               "decolle": ((50, 10), (60, 20))}
    checks = told(**{**holding, **peaks})
    assert {name for name, check in checks.items() if not check["holds"]} == failed


def test_claims_are_made_of_what_is_there():
    """LoRA of rank 4 against all weights with Adam; nothing is said where one of the two is missing."""
    assert told(bptt_lora_4=((80, 10), (170, 20)), tess=((40, 10), (50, 20))) == {}
    assert told(bptt_full=((100, 10), (190, 20)), bptt_lora_1=((80, 10), (170, 20))) == {}
    assert told(bptt_full_sgd=((100, 10), (190, 20)), tess=((40, 10), (50, 20))) == {}
    conventional = {name: {"memory": usage(peak)} for name, peak in (("ds_cnn_full", 200), ("ds_cnn_lora_4", 300))}
    checks = cost.checks({name: METHODS[name] for name in conventional}, conventional)
    assert list(checks) == ["lora_less_memory"] and not checks["lora_less_memory"]["holds"]


# ------------------------------------------------------------------------------------------------ measured
def test_through_time_takes_more_for_longer_clips_and_local_rules_do_not(spiking):
    """But Traces Propagation in the form that is quickest: it keeps its target path's traces of all frames."""
    names = ["traces_propagation", "tess", "decolle", "eprop", "bptt_full", "bptt_lora_4"]
    clips = spiking.corpus.clips(spiking.work[0].support, frozen_scale=spiking.base.scale)
    found = cost.costs(spiking.base, clips, {name: METHODS[name] for name in names}, AlternativeTraining(), repetitions=1)
    frames, inputs = clips[[0]].shape[1:]
    assert (found["clips"], found["frames"], list(found["methods"])) == (6, frames, names)

    def grown(name):
        """More bytes at the peak with clips of twice as many frames, beside the clips."""
        short, longer = (found["methods"][name][which] for which in ("memory", "memory_longer"))
        assert longer["largest"]["batch"] - short["largest"]["batch"] == 4 * 6 * frames * inputs
        return (longer["peak"] - longer["at_peak"]["batch"]) - (short["peak"] - short["at_peak"]["batch"])

    assert [grown(name) for name in ("tess", "decolle", "eprop")] == [0, 0, 0]
    neurons, outputs = NETWORK.hidden[0], spiking.base.net.outputs
    assert grown("traces_propagation") == 4 * frames * outputs * neurons
    assert grown("bptt_full") > 4 * 6 * frames * (inputs + neurons), "at least what drives the neurons at each frame"
    assert all(found["methods"][name]["seconds"] > 0 for name in names)
    checks = found["checks"]
    assert not checks["local_any_length"]["holds"], "for Traces Propagation's sake"
    less = {name: METHODS[name] for name in names if name != "traces_propagation"}
    assert cost.checks(less, found["methods"])["local_any_length"]["holds"]


def test_a_conventional_net_is_measured_at_one_length(conventional):
    clips = conventional.corpus.clips(conventional.work[0].support, frozen_scale=conventional.base.scale)
    names = ["ds_cnn_full", "ds_cnn_readout"]
    found = cost.costs(conventional.base, clips, {name: METHODS[name] for name in names}, AlternativeTraining(epochs=1),
                       repetitions=1)
    assert all("memory_longer" not in found["methods"][name] for name in names) and found["checks"] == {}
    trained = sum(weights.numel() for weights in conventional.base.net.parameters())
    full, readout = (found["methods"][name]["memory"] for name in names)
    assert full["largest"]["parameters"] == 4 * trained and full["peak"] > 3 * readout["peak"]
