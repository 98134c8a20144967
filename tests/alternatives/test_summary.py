"""The bench summed up: pairs over users, sizes held against what the field says."""

import pytest

from edgekws.alternatives import summary
from edgekws.errors import UserError
from edgekws.settings import Statistics

USERS = {"a": (6, 9), "b": (5, 8), "c": (4, 9)}  # right before and after full fine-tuning, of 10


def part(method, *, kind="full", net="spiking", rank=4, values=1000, lost=0, seed=0, users=USERS, forgotten=3):
    """What ``edgekws alternatives adapt`` writes, in short: ``lost`` fewer clips right than with full fine-tuning."""
    rows = [{"user": user, "split": "test", "fold": 0, "shot": "all", "support_clips": 8, "query_clips": 10,
             "correct_before": before, "correct_after": after - lost, "others_clips": 20, "others_before": 15,
             "others_after": 15 - forgotten} for user, (before, after) in users.items()]
    return {"method": method, "seed": seed, "rows": rows, "provenance": {"corpus": {"name": "toy"}},
            "delta": {"values": values, "base_values": 2000, "share": values / 2000,
                      "bytes": {"fp32": 4 * values, "int8": values}},
            "settings": {"method": {"kind": kind, "net": net, "rank": rank, "optimiser": "adam"}, "plan": {"users": 3},
                         "budget": {"learning_rate": 0.001, "epochs": 1, "batch_size": 8}}}


def test_methods_are_paired_with_full_fine_tuning_of_the_same_net():
    found = summary.adaptation_file([part("bptt_full"), part("bptt_lora_4", kind="lora", values=8, lost=1, forgotten=1),
                                     part("ds_cnn_full", net="ds_cnn"), part("ds_cnn_readout", net="ds_cnn", lost=2)],
                                    Statistics())
    assert set(found["against_full"]) == {"bptt_lora_4", "ds_cnn_readout"}
    lora = found["against_full"]["bptt_lora_4"]["all"]
    # Every user has one clip of ten less: a difference without spread.
    assert (lora["gain"]["value"], lora["gain"]["ci_low"], lora["gain"]["ci_high"]) == pytest.approx((-10, -10, -10))
    assert lora["forgetting"]["value"] == pytest.approx(-10)  # 5 % of the others' clips instead of 15 %
    after, gain = (90 + 80 + 90) / 3, (30 + 30 + 50) / 3
    assert lora["accuracy_kept"]["value"] == pytest.approx(100 * (after - 10) / after)
    assert lora["gain_kept"]["value"] == pytest.approx(100 * (gain - 10) / gain)
    assert found["against_full"]["ds_cnn_readout"]["all"]["gain"]["value"] == pytest.approx(-20)
    assert found["summary"]["bptt_full"]["all"]["gain"]["value"] == pytest.approx(gain)


def test_there_is_no_share_of_a_gain_that_is_none():
    users = {"a": (6, 6), "b": (5, 4), "c": (7, 7)}
    found = summary.adaptation_file([part("bptt_full", users=users), part("bptt_readout", kind="readout", users=users)],
                                    Statistics())
    assert "gain_kept" not in found["against_full"]["bptt_readout"]["all"]


@pytest.mark.parametrize("values, fewer, small", [(5, True, True), (10, True, True), (20, False, False), (1, True, True)])
def test_sizes_are_held_against_what_the_field_says(values, fewer, small):
    checks = summary.adaptation_file([part("bptt_full"), part("bptt_lora_1", kind="lora", rank=1, values=values)],
                                     Statistics())["checks"]
    assert set(checks) == {"lora_fewer_spiking", "lora_small_spiking"}
    assert (checks["lora_fewer_spiking"]["holds"], checks["lora_small_spiking"]["holds"]) == (fewer, small)
    assert f"{1000 / values:.1f} times (rank 1)" in checks["lora_fewer_spiking"]["why"]


def test_a_claim_about_all_ranks_fails_with_one():
    checks = summary.adaptation_file([part("bptt_full"), part("bptt_lora_1", kind="lora", rank=1, values=5),
                                      part("bptt_lora_16", kind="lora", rank=16, values=500)], Statistics())["checks"]
    assert not checks["lora_fewer_spiking"]["holds"] and not checks["lora_small_spiking"]["holds"]


def test_other_users_cannot_be_paired():
    with pytest.raises(UserError, match="other users"):
        summary.adaptation_file([part("bptt_full"), part("bptt_readout", kind="readout", users={"a": (6, 9), "b": (5, 8)})],
                                Statistics())
