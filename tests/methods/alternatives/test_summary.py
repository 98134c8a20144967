"""The bench summed up: pairs over users, sizes held against what the field says."""

import pytest

from edgekws.core.errors import UserError
from edgekws.methods.alternatives import summary
from edgekws.protocol.settings import Statistics

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


@pytest.mark.parametrize("users", [{"a": (6, 6), "b": (5, 4), "c": (7, 7)}, {"a": (6, 10), "b": (5, 4), "c": (7, 8)}])
def test_there_is_no_share_of_a_gain_that_may_be_none(users):
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


def test_a_slow_method_is_paired_on_the_users_it_was_measured_on():
    slow = part("eprop", kind="eprop", lost=1, users={"a": (6, 9), "b": (5, 8)})
    slow["settings"]["method"]["users"] = 2
    found = summary.adaptation_file([part("bptt_full"), slow], Statistics())
    assert found["against_full"]["eprop"]["all"]["gain"]["value"] == pytest.approx(-10)
    assert found["summary"]["eprop"]["all"]["users"] == 2


def test_other_users_cannot_be_paired():
    with pytest.raises(UserError, match="other users"):
        summary.adaptation_file([part("bptt_full"), part("bptt_readout", kind="readout", users={"a": (6, 9), "b": (5, 8)})],
                                Statistics())


# ------------------------------------------------------------------------------------------------ learning together
NOBODY = {"engine": "loop", "why": "not built", "versions": {}, "privacy": {"private_1": {"noise": 1.0, "epsilon": 3.0}},
          "bytes": {"values": 8}, "secure": None, "check": None}
FOLDS = {  # (user, fold): clips of the query and of them those of known words
    ("a", 0): (10, 8), ("a", 1): (30, 20), ("b", 0): (20, 20)}


def federated(seed, right, others=12):
    """What ``edgekws alternatives federate`` writes, in short: ``right`` of a way (own, known) for each user and fold."""
    rows = [{"way": way, "fold": fold, "user": user, "support_clips": 4, "query_clips": clips, "known_clips": known,
             "correct": right[way][user, fold][0], "known_correct": right[way][user, fold][1], "others_clips": 20,
             "others_correct": others - (way != "base")} for way in right for (user, fold), (clips, known) in FOLDS.items()]
    return {"seed": seed, "rows": rows, "rates": {"federated": 0.1 * (1 + seed)}, "users": {"a": ["no"], "b": ["yes"]},
            "curves": {"federated": {"own": [40.0, 50.0 + 10 * seed], "others": []}}, "settings": {"plan": {"users": 2}},
            "provenance": {"corpus": {"name": "toy"}}, **NOBODY}


BASE = {("a", 0): (4, 4), ("a", 1): (12, 10), ("b", 0): (10, 10)}
LOCAL = {("a", 0): (6, 6), ("a", 1): (14, 12), ("b", 0): (14, 14)}
SHARED = {("a", 0): (8, 7), ("a", 1): (20, 12), ("b", 0): (12, 12)}
BOTH = {("a", 0): (9, 8), ("a", 1): (21, 13), ("b", 0): (16, 16)}


def summed(*parts):
    return summary.federated_file(parts, Statistics())


def test_folds_of_a_user_are_added_up_and_users_weigh_the_same():
    found = summed(federated(0, {"base": BASE, "federated": SHARED}))["summary"]
    # a has 16 of 40 right, then 28; b 10 of 20, then 12.
    assert found["base"]["own"]["value"] == pytest.approx((40 + 50) / 2)
    assert found["federated"]["own"]["value"] == pytest.approx((70 + 60) / 2)
    gain = found["federated"]["own_gain"]
    assert (gain["value"], gain["n"]) == (pytest.approx((30 + 10) / 2), 2)
    assert gain["ci_high"] == pytest.approx(20 + 12.7062 * 10, abs=1e-3), "Student's t of two users"
    assert found["base"]["own_gain"]["value"] == 0
    assert found["federated"]["others_gain"]["value"] == pytest.approx(-100 / 20)


def test_a_net_that_users_share_is_one_measurement_of_other_speakers_for_each_seed():
    """Two users hear of one net: what it forgets is no more certain for that."""
    ways = {"base": BASE, "local": LOCAL, "federated": SHARED, "federated_local": BOTH}
    one = summed(federated(0, ways))["summary"]
    assert (one["federated"]["others_gain"]["n"], one["federated"]["others_gain"]["ci_low"]) == (1, None)
    assert (one["federated_local"]["others"]["n"], one["federated"]["own"]["n"]) == (2, 2), "each user has a net of its own"
    two = summed(federated(0, ways, others=12), federated(1, ways, others=14))["summary"]["federated"]["others"]
    assert (two["value"], two["n"]) == (pytest.approx(100 * 12 / 20), 2)  # 11 and 13 of 20
    assert two["ci_high"] == pytest.approx(60 + 12.7062 * 5, abs=1e-3), "Student's t of two seeds"


def test_words_that_a_user_has_no_clip_of_are_told_apart():
    """Of a's 40 clips 12 are of such words, and none of b's: b has no say there."""
    found = summed(federated(0, {"base": BASE, "federated": SHARED}))["summary"]
    unknown = found["federated"]["unknown"]
    assert (unknown["value"], unknown["n"], unknown["ci_low"]) == (pytest.approx(100 * (28 - 19) / 12), 1, None)
    assert found["federated"]["unknown_gain"]["value"] == pytest.approx(100 * (9 - 2) / 12)
    nobody = {key: (clips, clips) for key, (clips, _) in FOLDS.items()}
    part = federated(0, {"base": nobody})
    for row in part["rows"]:
        row["known_clips"] = row["query_clips"]
    assert summed(part)["summary"]["base"]["unknown"] is None


def test_going_on_from_the_others_is_held_against_going_on_from_the_base():
    found = summed(federated(0, {"base": BASE, "local": LOCAL, "federated": SHARED, "federated_local": BOTH}))
    assert list(found["against_local"]) == ["federated_local"], "the base's own fine-tuning is what it is held against"
    # a: 30 of 40 instead of 20; b: 16 of 20 instead of 14.
    assert found["against_local"]["federated_local"]["value"] == pytest.approx((25 + 10) / 2)


def test_seeds_are_averaged_in_users_and_curves_and_told_by_their_rates():
    lower = {key: (own - 2, known - 2) for key, (own, known) in SHARED.items()}
    found = summed(federated(0, {"base": BASE, "federated": SHARED}), federated(1, {"base": BASE, "federated": lower}))
    gain = found["summary"]["federated"]["own_gain"]
    # a: 30 and 20 points, b: 10 and 0.
    assert (gain["value"], gain["n"]) == (pytest.approx((25 + 5) / 2), 2)
    assert found["curves"] == {"federated": {"own": [40.0, 55.0], "others": []}}
    assert found["seeds"] == [0, 1] and found["rates"] == {"0": {"federated": 0.1}, "1": {"federated": 0.2}}
    assert found["users"] == 2 and {name: found[name] for name in NOBODY} == NOBODY
