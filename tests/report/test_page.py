import json
import re
from html.parser import HTMLParser

import pytest
import torch
from tests.report.conftest import NAMES, REPOSITORY, made_up_alternatives

from edgekws import report
from edgekws.core import files, registry
from edgekws.core.errors import UserError
from edgekws.ledger.build import is_decided
from edgekws.methods.alternatives import report as alternatives
from edgekws.methods.neuedge import report as neuedge
from edgekws.methods.onda import report as onda
from edgekws.methods.traces_propagation import report as traces_propagation
from edgekws.report import axis
from edgekws.report.cost import read_cost

VOID = {"meta", "br", "img", "rect", "path"}
DEVIATIONS = """# Deviations

How to read it.

## Traces Propagation

| a | b |
|---|---|
| 1 | <i>2</i> |

## Padding

None.
"""


class Checker(HTMLParser):
    """Collects what a page loads, and that its tags are balanced."""

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.images, self.ids, self.anchors = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        if tag == "img":
            self.images.append(found)
        if tag == "a":
            self.anchors.append(found["href"])
        elif "src" in found or "href" in found:
            self.loads.append(found.get("src") or found["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def add_figures(results):
    folder = results / "figures"
    folder.mkdir(exist_ok=True)
    (folder / "few_shot.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "traces_propagation.json").write_text(json.dumps(
        {"few_shot": {"title": "Few-shot", "caption": "What it shows.", "alt": "Points <rising>"}}))
    (folder / "rulegraph.svg").write_text('<svg role="img"><path d="M0 0"/></svg>')
    return folder


def built(results, tmp_path, names=NAMES):
    (tmp_path / "deviations.md").write_text(DEVIATIONS)
    (tmp_path / "config.json").write_text('{"run": "made_up"}')
    (results / "notebooks").mkdir()
    (results / "notebooks" / "traces_propagation.ipynb").write_text("{}")
    out = results / "report.html"
    report.build(results, out, names=names, deviations=tmp_path / "deviations.md", config=tmp_path / "config.json")
    return out.read_text()


def test_the_page_is_whole_and_needs_nothing_beside_it(made_up_run, tmp_path):
    results = made_up_run()
    add_figures(results)
    text = built(results, tmp_path)
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert all(load.startswith("data:") for load in checker.loads)
    assert not re.search(r"@import|url\(", text)
    assert [image["alt"] for image in checker.images] == ["Points <rising>"]
    assert len(checker.ids) == len(set(checker.ids))
    assert {anchor[1:] for anchor in checker.anchors if anchor.startswith("#")} <= set(checker.ids)
    assert '<ul class="learnt">' in text and "own test: " in text
    assert "notebooks/traces_propagation.ipynb" in checker.anchors
    of_paper = [f"traces_propagation-{part}" for part in ("claims", "figures", "numbers", "deviations")]
    sections = ["summary", "traces_propagation", *of_paper, "neuedge", "neuedge-claims", "onda", "onda-claims", "deviations",
                "cost", "provenance", "workflow"]
    assert [name for name in checker.ids if name in sections] == sections
    assert "&lt;i&gt;2&lt;/i&gt;" in text
    own, common = (text.index(f'id="{name}"') for name in ("traces_propagation-deviations", "deviations"))
    assert own < text.index("&lt;i&gt;") < common < text.index("How to read it.") < text.index("Padding")


def test_the_summary_shows_every_claim_as_a_cell_that_leads_to_it(made_up_run, tmp_path):
    results = made_up_run()
    text = built(results, tmp_path)
    summary = text[text.index('id="summary"'):text.index('id="traces_propagation"')]
    ledger = json.loads((results / "claims.json").read_text())
    for claim in ledger["claims"]:
        cell = re.search(rf'<a href="#{claim["id"]}"[^>]*><rect class="{claim["verdict"]}"([^>]*)/>', summary)
        assert cell, claim["id"]
        assert float(re.search(r' fill-opacity="([\d.]+)"', cell[1])[1]) == (1 if is_decided(claim) else 0.35)
    assert 'aria-label="Traces Propagation, 23 claims: ' in summary
    assert "N-MNIST (3)" in summary, "what is missing, and for how many claims"


def test_papers_are_shown_in_the_order_of_their_names_under_which_their_deviations_are_found(made_up_run, tmp_path):
    text = built(made_up_run(), tmp_path, {"onda": "A wake word", "neuedge": "Chips", "traces_propagation": "Padding"})
    measured, first, second, deviations = (text.index(f'id="{name}"') for name in (
        "traces_propagation", "onda", "neuedge", "deviations"))
    assert measured < first < second, "what was measured comes first"
    assert re.findall("<h2>(.*?)</h2>", text)[1:4] == ["Padding", "A wake word", "Chips"]
    own = text.index('id="traces_propagation-deviations"')
    assert own < text.index("None.", own) < first and "Traces Propagation" in text[deviations:], "there no paper is called so"


def test_every_claim_is_on_the_page_once(made_up_run, tmp_path):
    results = made_up_run()
    text = built(results, tmp_path)
    ledger = json.loads((results / "claims.json").read_text())
    for claim in ledger["claims"]:
        assert text.count(f'<tr id="{claim["id"]}">') == 1


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_speech_is_announced(made_up_run, tmp_path, synthetic):
    text = built(made_up_run(synthetic=synthetic), tmp_path)
    assert ("nothing here replicates a claim" in text) is synthetic


def test_a_bare_run_has_a_report(made_up_run):
    results = made_up_run(experiments=("one_user",))
    (results / "metrics" / "traces_propagation" / "one_user.json").unlink()
    ledger = json.loads((results / "claims.json").read_text())
    for claim in ledger["claims"]:
        claim.update(value=None, ci_low=None, ci_high=None, n=None, verdict="not_run", also=[])
    (results / "claims.json").write_text(json.dumps(ledger))
    report.build(results, results / "report.html")
    text = (results / "report.html").read_text()
    assert "The paper's numbers and ours" not in text
    assert 'id="deviations"' not in text
    assert f"<b>{len(ledger['claims'])}</b> not run" in text


@pytest.mark.parametrize("neuedge", [{"seeds": 3, "ran": True}, {"seeds": 1, "ran": False}], ids=["whole", "bare"])
def test_neuedge_has_a_section_of_its_own(made_up_run, tmp_path, neuedge):
    results = made_up_run(experiments=("one_user",), neuedge=neuedge)
    text = built(results, tmp_path)
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    section = text[text.index('<section id="neuedge-numbers">'):text.index('<section id="onda"')]
    assert section.count("<tr><td>rate code</td>") == 2  # accuracy, energy
    assert ("Lava agrees: 45,000 of 45,000" in section) is neuedge["ran"]
    assert ("NeuroBench was not run: the packages of envs/lava.txt could not be installed here." in section) is not neuedge["ran"]
    assert ("effective acs" in section) is neuedge["ran"]
    # Of the paper's own numbers: steps of power, and what follows from them.
    for told in ("-17.9", "-5.8", "-31.6", "-7.0", "50.8 %", "86 mW", "294 mW", "1.18 pJ", "20 times"):
        assert told in section
    tables = text[text.index('<section id="traces_propagation-numbers">'):text.index('<section id="neuedge"')]
    assert "ablation" not in tables


def test_the_papers_own_numbers_are_held_against_each_other():
    said = {"neuedge-01": 5, "neuedge-02": 90, "neuedge-03": 45, "neuedge-04": 60, "neuedge-08": 1000, "neuedge-11": 500,
            "neuedge-12": 400, "neuedge-13": 300, "neuedge-14": 150, "neuedge-15": 100}
    found = neuedge.arithmetic(said)
    # 100 mW saved by a fifth of the spikes: 125 mW follow them, 375 mW do not, and 25 mW are left.
    assert [found[name] for name in ("spiking", "fixed", "left", "saved")] == pytest.approx([125, 375, 25, 150])
    assert [found[name] for name in ("first", "step", "whole", "picojoules", "below")] == pytest.approx([20, 50, 80, 1, 23.6])
    assert neuedge.arithmetic({**said, "neuedge-13": None}) is None


def test_a_gain_is_told_against_a_fixed_threshold():
    rows = [{"sign": 1, "gamma": gain, "subset": "quiet", "accuracy": None, "microjoules": {"value": spent},
             "spikes_total": {"value": 10.0}} for gain, spent in ((0.0, 8.0), (0.5, 6.0))]
    assert [row["microjoules"] for row in neuedge.gamma(rows)] == [0, -25]
    assert neuedge.gamma(rows[1:])[0]["microjoules"] is None


def test_a_range_of_utilisation_leaves_out_what_does_not_fit():
    found = neuedge.widths({"chips": {"a_b": [{"naive": {"utilisation": share}, "optimised": {"utilisation": 1.0}}
                                              for share in (0.5, 0.25)] + [{"naive": None, "optimised": None}],
                                      "c": [{"naive": None, "optimised": None}]}})
    assert found == [{"chip": "a b", "naive": (25, 50), "optimised": (100, 100)}]
    assert neuedge.widths(None) == []


@pytest.mark.parametrize("measured", [{"users": 4}, {"users": 1, "seeds": 1, "whole": False}], ids=["whole", "bare"])
def test_onda_has_a_section_of_its_own(made_up_run, tmp_path, measured):
    results = made_up_run(experiments=("one_user",), onda=measured)
    text = built(results, tmp_path)
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    section = text[text.index('<section id="onda-numbers">'):text.index('<section id="deviations"')]
    whole = measured.get("whole", True)
    assert section.count("Largest compression at equal accuracy") == (4 if whole else 1)
    assert ("Controls: paired differences" in section) is whole
    assert ("OnDA-1 against random, before" in section) is whole
    assert section.count("Energy was not measured: this machine shows no energy counter.") == 1  # of GPU or processor
    assert ("Energy by RAPL" in section) is whole
    assert ("Made-up GPU" in section) is whole
    assert "0.5 an hour over 4.25 h of negatives allows 2 false alarms" in section
    # The paper's own compressions: parameters left and channels kept, by the closed forms.
    for told in ("42,933", "30 % of the channels", "9.63 (DS-CNN-L: 30 %", "3.33 (ResNet15: 55 %", "1.7 (ResNet15: 77 %"):
        assert told in section


def test_without_onda_there_is_no_section_of_it(made_up_run, tmp_path):
    assert onda.read(tmp_path / "nothing") is None
    assert "onda-numbers" not in built(made_up_run(experiments=("one_user",)), tmp_path)


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_wake_words_are_announced_on_real_words(made_up_run, tmp_path, synthetic):
    text = built(made_up_run(experiments=("one_user",), synthetic=False, onda={
        "users": 1, "seeds": 1, "whole": False, "synthetic": synthetic}), tmp_path)
    assert ("nothing of OnDA here replicates a claim" in text) is synthetic
    assert "Synthetic speech: nothing here" not in text


def personalised(accuracies):
    """An experiment of (offline, schedule, ratio, accuracies of users) as far as arms are read from it."""
    rows = [{"offline": offline, "schedule": schedule, "ratio": ratio, "user": f"u{user}", "seed": 0, "accuracy": accuracy}
            for offline, schedule, ratio, found in accuracies for user, accuracy in enumerate(found)]
    summary = {}
    for offline, schedule, ratio, _ in accuracies:
        summary.setdefault(f"{100 * offline:g}", {}).setdefault(schedule, {})[f"{100 * ratio:g}"] = {"parameters": 10}
    return {"rows": rows, "summary": summary, "users": sorted({row["user"] for row in rows}),
            "settings": {"statistics": {"resamples": 50}}}


def test_gains_are_paired_within_an_offline_share():
    rows = onda.arms(personalised([
        (0.29, "onda_1", 0.57, [60, 70]), (0.29, "pretrained", 0, [50, 20]), (0.29, "none", 0, [70, 60]),
        (0.0, "onda_1", 0.57, [90, 90]), (0.0, "pretrained", 0, [80, 80])]))
    found = {(row["offline"], row["schedule"], row["ratio"]): tuple(
        row[name] and row[name]["value"] for name in ("gain", "against")) for row in rows}
    assert list(found.items()) == [
        ((0, "pretrained", 0), (None, None)), ((0, "onda_1", 57), (10, None)),
        ((29, "pretrained", 0), (None, None)), ((29, "none", 0), (30, None)), ((29, "onda_1", 57), (30, 0))]


def test_the_pareto_front_holds_what_nothing_smaller_reaches():
    points = [(5, 80), (3, 70), (3, 60), (4, 70), (1, 10), (7, 81), (6, 79)]
    front = onda.pareto_front(points)
    assert front == [(1, 10), (3, 70), (5, 80), (7, 81)]
    assert onda.pareto_front(reversed(points)) == front
    assert onda.pareto_front([]) == []


@pytest.mark.parametrize(("backbone", "corpus", "said"), [
    ("ds_cnn_s", "heysnips_v2", ("DS-CNN-L", 9.0)), ("resnet15", "synthetic_wake_words", ("ResNet15", 3.0)),
    ("resnet15_narrow", "heysnapdragon", ("ResNet15", 2.0)), ("ds_cnn_l", "heysnapdragon", None)])
def test_the_papers_compression_is_of_the_same_kind_of_encoder_and_corpus(backbone, corpus, said):
    content = {"encoder": {"backbone": backbone}, "provenance": {"corpus": {"name": corpus}}}
    assert onda.paper_compression(content, {"onda-01": 9.0, "onda-02": 3.0, "onda-03": 2.0}) == said
    assert onda.paper_compression(content, {}) is None


def test_what_the_papers_compressions_imply():
    # Half of all channels of ResNet15: 9 * 32 + 117 * 32 ** 2 of 9 * 64 + 117 * 64 ** 2 parameters.
    [row] = onda.implied({"onda-02": 479808 / 120096})
    assert (row["left"], row["kept"], row["label"]) == (pytest.approx(120096), pytest.approx(50), "ResNet15")
    assert onda.implied({}) == []


def test_probing_is_a_share_of_the_time_of_onda_1():
    parts = [{"probes": 1.0, "updates": 3.0}, {"probes": 1.0, "pruning": 0.5, "updates": 0.5}]
    told = {"adaptation": {"onda_1": {str(place): {"parts": found} for place, found in enumerate(parts)}}}
    assert onda.probing(told) == (25, 50)
    assert onda.scaled({"value": 0.5, "ci_low": None, "ci_high": 1.0, "n": 3}, 1e3) == {
        "value": 500, "ci_low": None, "ci_high": 1000, "n": 3}


# ------------------------------------------------------------------------------------------------ alternatives
FILES = ("adaptation", "complexity", "cost_spiking", "cost_ds_cnn", "limits", "device", "retention", "federated")
HEADINGS = {"adaptation": "All methods", "limits": "What fits on a device", "device": "Built and run on a device",
            "complexity": "What local rules store",
            "retention": "Preventing forgetting", "federated": "Learning together"}


def alternatives_of(results, tmp_path):
    """The section, after what holds for every page."""
    text = built(results, tmp_path)
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    start = text.index('<section id="alternatives-numbers">')
    return text[start:text.index("</section>", start)]


def tables_of(section):
    """The rows of each table as lists of what their cells say."""
    def text(cell):
        return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", cell)).strip()

    return [[[text(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)]
             for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)]
            for body in re.findall(r"<tbody>(.*?)</tbody>", section, re.DOTALL)]


def test_alternatives_have_a_section_of_their_own(made_up_run, tmp_path):
    section = alternatives_of(made_up_run(experiments=("one_user",), alternatives={}), tmp_path)
    assert section.count("<table") == section.count('<div class="scroll"') == section.count('class="sortable"') == 10
    methods, widest, needs, widest_sgd, _, built, rules, remedies, sequence, ways = tables_of(section)
    for rows in (methods, widest, needs, built, rules, remedies, sequence, ways):
        assert len({len(row) for row in rows}) == 1, "no cell is missing"
    assert [row[0] for row in methods][:2] == ["Traces Propagation", "e-prop"] and methods[-1][0] == "mine &lt;new&gt;"
    assert "<new>" not in section and "seen on &lt;local_in_time&gt;" in section, "what is shown is escaped"
    assert [row[-1] for row in methods if row[0] == "mine &lt;new&gt;"] == ["–"], "its cost was not measured"
    assert [row[:3] for row in widest if row[0] == "BPTT, LoRA 4"] == [
        ["BPTT, LoRA 4", stored, batch] for batch in ("1", "8") for stored in ("fp32", "int8")]
    assert ["none"] in [row[3:4] for row in widest] and len(widest) == len(widest_sgd) == len(needs)
    assert "The same with plain gradient descent" in section
    assert built[0][:2] == ["64", "Traces Propagation, Adam"] and "not run (no emulator)" in section
    tp, eprop, etlp = rules
    assert tp[0] == "Traces Propagation 5 clips" and tp[4:] == ["yes", "yes", "no paper: yes", "yes"]
    assert eprop[1].startswith("121 by formula 120") and eprop[4:] == ["no", "no", "yes paper: no", "no"]
    assert "in a clip" in etlp[3] and "with a trace for each synapse 3,000" in etlp[1] and etlp[4:] == ["yes"] * 4
    assert [row[1] for row in remedies if row[0] == "BPTT, LoRA 4"] == ["none", "rehearsal, 16 clips", "rehearsal, 64 clips"]
    assert {row[1]: row[4] == "–" for row in remedies if row[0] == "BPTT, all weights"} == {
        "none": True, "rehearsal, 16 clips": False, "rehearsal, 64 clips": False, "elastic weights, 1": False,
        "elastic weights, 100": False, "elastic weights, 10,000": False}
    assert [row[5].split()[0] for row in sequence[:6]] == ["+0.0", "+3.0", "+6.0", "+9.0", "+12.0", "+15.0"]
    told = {row[0]: (row[2].split()[0], row[7].split()[0], row[8]) for row in ways}
    assert told["as deployed"] == ("–", "–", "–") and told["federated"] == ("+12.0", "–", "–")
    assert told["federated, then each alone"] == ("+16.0", "+10.0", "–")
    assert told["federated, noise 4"] == ("+1.0", "–", "2.38") and told["federated, noise 4, then each alone"][2] == "2.38"
    for words in ("s messages 5.2 KiB up and 5.1 KiB down", "with secure aggregation 8.8 KiB up", "flwr 1.0",
                  "71.5 % of the users' own queries are correct instead of 72.0 %", "differ from a plain loop by at most 2e-07"):
        assert words in section


def test_a_learning_rate_at_an_end_of_those_tried_is_marked(made_up_run, tmp_path):
    results = made_up_run(experiments=("one_user",), alternatives={})
    tuning = results / "metrics" / "alternatives" / "tuning"
    tuning.mkdir()
    for name, tried in (("traces_propagation", (3e-4, 1e-3)), ("eprop", (1e-4, 3e-4)), ("decolle", (1e-4, 3e-4, 1e-3))):
        (tuning / f"{name}.json").write_text(json.dumps({
            "schema": 1, "paper": "alternatives", "method": name, "seeds": [0], "settings": {}, "provenance": {}, "budget": {},
            "grid": [{"learning_rate": rate} for rate in tried], "on_edge": []}))
    rates = {row[0]: row[1] for row in tables_of(alternatives_of(results, tmp_path))[0]}
    assert [rates[name] for name in ("Traces Propagation", "e-prop", "DECOLLE", "ETLP")] == [
        "0.0003 (lowest)", "0.0003 (highest)", "0.0003", "0.0003"]


def test_where_flower_could_not_be_built_the_page_says_so(made_up_run, tmp_path):
    section = alternatives_of(made_up_run(experiments=("one_user",), alternatives={"users": 1, "seeds": 1, "flower": False}),
                              tmp_path)
    assert "Federations ran in a plain loop: the packages of envs/flower.txt could not be installed here." in section
    assert "secure aggregation" not in section and "messages" not in section
    assert "1 user," in section and "1 seed." in section


@pytest.mark.parametrize("present", FILES)
def test_each_file_of_the_alternatives_is_shown_alone_or_missing(made_up_run, tmp_path, present):
    others = tuple(name for name in FILES if name != present)
    made = {"users": 2, "seeds": 1, "missing": others}
    section = alternatives_of(made_up_run(experiments=("one_user",), alternatives=made), tmp_path)
    assert {name for name, heading in HEADINGS.items() if heading in section} == {present} & set(HEADINGS)


def test_without_alternatives_there_is_no_section_of_them(made_up_run, tmp_path):
    assert alternatives.read(tmp_path / "nothing") is None
    assert "alternatives-numbers" not in built(made_up_run(experiments=("one_user",)), tmp_path)


def test_what_fits_is_told_by_optimiser_method_and_width():
    found = alternatives.limits(made_up_alternatives(users=2, seeds=1)["limits"])
    assert found["budgets"] == [8192, 65536] and found["widths"] == [16, 32] and list(found["optimisers"]) == ["adam", "sgd"]
    for rows in found["optimisers"].values():
        for row in rows:
            for width, need in row["needs"].items():
                assert all((need["bytes"] <= budget) == (width <= neurons) for budget, neurons in row["widest"].items())
                fitting = [budget for budget in found["budgets"] if need["bytes"] <= budget]
                assert need["budget"] == min(fitting, default=None)
    assert {need["measured"] for row in found["optimisers"]["sgd"] for need in row["needs"].values()} == {None}


def test_bad_inputs_are_named(made_up_run, tmp_path):
    with pytest.raises(UserError, match=r"claims\.json"):
        report.build(tmp_path, tmp_path / "report.html")
    results = made_up_run(experiments=("one_user",))
    folder = add_figures(results)
    (folder / "few_shot.svg").unlink()
    with pytest.raises(UserError, match="caption for 'few_shot'"):
        report.build(results, results / "report.html")
    (results / "claims.json").write_text('{"schema": 1}')
    with pytest.raises(UserError, match="schema 3"):
        report.build(results, results / "report.html")
    assert not (results / "report.html").exists()


def test_cost_sums_seeds_and_parts_and_bears_what_was_not_measured(made_up_run):
    results = made_up_run(experiments=("one_user",))
    bench = results / "benchmarks" / "traces_propagation"
    for name in ("one_user", "base_frozen_seed1"):
        (bench / f"{name}.tsv").write_bytes((bench / "base_seed0.tsv").read_bytes())
    for part in (0, 1):
        for name in (f"many_seed0_part{part}", f"many_part{part}_seed-1", f"one/seed{part}"):
            (bench / name).parent.mkdir(exist_ok=True)
            (bench / f"{name}.tsv").write_bytes((bench / "base_seed0.tsv").read_bytes())
    metrics = results / "metrics" / "traces_propagation" / "one_user.json"
    told = json.loads(metrics.read_text())
    told["provenance"]["device"] = "a made-up GPU"
    metrics.write_text(json.dumps(told))
    network = torch.nn.Linear(1, 1).state_dict()
    files.write_model(results / "models" / "traces_propagation" / "base_frozen_seed1.safetensors", network,
                      architecture="none", settings={}, provenance={"device": "another"})
    cost = read_cost(results, "cpu")
    assert cost["rows"] == [
        {"name": "claims", "jobs": 1, "wall": 0.4, "memory": 0.0, "devices": ["cpu"]},
        {"name": "traces_propagation/base_frozen", "jobs": 1, "wall": 60.0, "memory": 500.5, "devices": ["another"]},
        {"name": "traces_propagation/base", "jobs": 2, "wall": 90.0, "memory": 700.0, "devices": ["cpu"]},
        {"name": "traces_propagation/many", "jobs": 4, "wall": 240.0, "memory": 500.5, "devices": ["cpu"]},
        {"name": "traces_propagation/one/each seed", "jobs": 2, "wall": 120.0, "memory": 500.5, "devices": ["cpu"]},
        {"name": "traces_propagation/one_user", "jobs": 1, "wall": 60.0, "memory": 500.5, "devices": ["a made-up GPU"]}]
    assert (cost["wall"], cost["jobs"], cost["memory"]) == (570.4, 11, 700.0)
    (bench / "one_user.tsv").write_text("cut off")
    with pytest.raises(UserError, match=r"one_user.tsv: is no benchmark"):
        read_cost(results)


def test_key_figures_share_an_axis_that_holds_every_number(made_up_run):
    ledger = json.loads((made_up_run() / "claims.json").read_text())
    accuracy, gain = axis.key_figures(ledger["claims"], {"%": "Accuracy, %"})
    assert [row["claim"]["id"] for row in accuracy["rows"]] == ["tp-01", "tp-02", "tp-03", "tp-04"]
    assert (accuracy["title"], gain["title"]) == ("Accuracy, %", "percentage points")
    assert [row["claim"]["id"] for row in gain["rows"]] == ["tp-05", "tp-06", "tp-07"]
    for group in (accuracy, gain):
        for row in group["rows"]:
            for bar in (row["paper_bar"], row["ours_bar"], *(other["bar"] for other in row["also"])):
                assert 0 <= bar["left"] <= bar["left"] + bar["width"] <= 100.01
        assert (group["ticks"][0]["at"], group["ticks"][-1]["at"]) == (0, 100)
    assert "0" in [tick["text"] for tick in gain["ticks"]]


def test_tuned_is_set_beside_published_where_both_exist():
    def cell(value):
        return {"gain": {"value": value}}
    found = {"many_users": {"summary": {"bptt": {"all": cell(9)}},
                            "summary_reporting_users": {"bptt": {"1": cell(1), "all": cell(2)}}},
             "many_users_tuned": {"summary": {"bptt": {"all": cell(3)}, "b": {"all": cell(4)}}}}
    assert traces_propagation.tuned_against_published(found) == [
        {"label": "BPTT", "shot": "all", "published": cell(2), "tuned": cell(3)}]
    assert traces_propagation.tuned_against_published({"many_users": found["many_users"]}) == []


def test_each_method_names_its_axes_by_the_units_of_its_claims(made_up_run):
    ledger = json.loads((made_up_run() / "claims.json").read_text())
    for paper in registry.names("report"):
        units = {claim["unit"] for claim in ledger["claims"] if claim["paper"] == paper}
        assert set(registry.module(paper, "report").AXES) <= units, paper


def test_no_file_of_the_page_names_a_method():
    room = REPOSITORY / "src" / "edgekws" / "report"
    for path in [*room.rglob("*.py"), *room.rglob("*.html"), REPOSITORY / "src" / "edgekws" / "core" / "style.py"]:
        text = path.read_text(encoding="utf-8").lower()
        assert not [name for method in registry.names("cli") for name in (method, method.replace("_", " ")) if name in text], path
