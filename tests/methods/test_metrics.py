"""The names that metrics models list are those that the summaries write."""

from typing import get_args

from edgekws.core.registry import module, names
from edgekws.methods.neuedge import metrics as neuedge
from edgekws.methods.neuedge import summary as neuedge_summary
from edgekws.methods.onda import metrics as onda
from edgekws.methods.onda import summary as onda_summary
from edgekws.protocol.metrics import Metrics, kind_of


def test_every_method_of_ours_describes_its_files():
    assert names("metrics") == names("cli")
    for name in names("metrics"):
        assert all(issubclass(kind, Metrics) for kind in module(name, "metrics").KINDS.values())
        assert module(name, "metrics").__doc__
    assert kind_of("onda", "mine") is onda.Experiment and kind_of("nobody", "mine") is None


def test_effects_are_those_of_the_summaries():
    assert get_args(onda.Effect) == tuple(onda_summary.EFFECTS)
    assert get_args(neuedge.Step) == tuple(f"{one}_vs_{other}" for one, other in neuedge_summary.STEPS)
