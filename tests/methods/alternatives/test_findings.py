"""The page of findings holds the numbers of the metrics, and says yes or no as they do."""

import pytest

from edgekws.methods.alternatives import findings


def cell(value, low=None, high=None):
    return {"value": value, "ci_low": low, "ci_high": high}


def page(gain, scales, **more):
    shot = {"before": cell(90.0), "after": cell(90.0 + gain), "gain": cell(gain, gain - 1, gain + 1),
            "forgetting": cell(0.5), "users": 11}
    corpus = {"name": "gsc", "synthetic": False, "words": ["a", "b"], "clips": 10, "speakers": 3}
    settings = {"methods": {"bptt_full": {"net": "strong_spiking"}}, "training": {"epochs": 7, "batch_size": 16}}
    strong = {"settings": {"strong": settings},
              "provenance": {"corpus": corpus}, "bases": {"strong_spiking": {"test": cell(92.6), "validation": cell(94.4)}},
              "checks": {"bptt_full": {"holds": gain > 1}}, "summary": {"bptt_full": {"all": shot}}, "seeds": [0],
              "budgets": {"bptt_full": {"learning_rate": 0.001, "epochs": 7, "batch_size": 16}}}
    net = {"accuracy": cell(61.2), "auxiliary": {"all": 57600}, "memory": 2048}
    depth = {"settings": {"depth": {"epochs": 3, "clips": 600, "learning_rate": [0.001]}}, "seeds": [0, 1],
             "checks": {"scales": {"holds": scales, "why": "61.2 of 70"}}, "nets": {"vgg": {"bptt": net}}}
    return findings.page(strong, depth, **more)


@pytest.mark.parametrize("gain, scales", [(3.0, True), (0.2, False)])
def test_numbers_and_answers_are_those_of_the_metrics(gain, scales):
    text = page(gain, scales)
    assert f"| {gain:+.1f} [{gain - 1:+.1f}, {gain + 1:+.1f}] |" in text and "92.6 % of the test split" in text
    assert "| 0.001, 7, 16 | all |" in text
    assert ("Adapting still pays, with BPTT, all weights" in text) == (gain > 1)
    assert f"* {'Yes' if scales else 'No'}, the rule scales to a deeper net: 61.2 of 70." in text
    assert "| VGG-like | BPTT | 61.2 | 57,600 | 2 |" in text and "(2 seeds)" in text and "**Of this run**" not in text


def test_a_note_is_on_the_page():
    assert "**Of this run**: one fold alone" in page(1.0, True, note="one fold alone")
