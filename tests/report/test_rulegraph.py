import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekws.report import rulegraph

DOT = '''digraph snakemake_dag {
    graph[bgcolor=white, margin=0];
    node[shape=box, style=rounded, fontname=sans, fontsize=10, penwidth=2];
    edge[penwidth=2, color=grey];
\t0[label = "all", color = "0.00 0.6 0.85", style="rounded"];
\t1[label = "report", color = "0.33 0.6 0.85", style="rounded"];
\t2[label = "index_corpus", color = "0.10 0.6 0.85", style="rounded,dashed"];
\t3[label = "claims", color = "0.20 0.6 0.85", style="rounded"];
\t1 -> 0
\t3 -> 0
\t2 -> 3
\t3 -> 1
\t2 -> 1
}
'''
SVG = "{http://www.w3.org/2000/svg}"


def boxes(svg):
    """Left edge of each box by its full name."""
    root = ElementTree.fromstring(svg)
    return {group.find(f"{SVG}title").text: float(group.find(f"{SVG}rect").get("x"))
            for group in root.iter(f"{SVG}g") if group.find(f"{SVG}title") is not None}


def test_what_is_needed_stands_left_of_what_needs_it():
    found = boxes(rulegraph.draw(DOT))
    assert found["index_corpus"] < found["claims"] < found["report"] < found["all"]


def test_implied_edges_are_left_out():
    # index -> claims -> report -> all; claims -> all and index -> report are implied
    assert len(re.findall("<path", rulegraph.draw(DOT))) == 3


def test_layers_are_longest_paths():
    assert rulegraph.layers_of("abcd", [("a", "b"), ("b", "c"), ("a", "c"), ("d", "c")]) == {
        "a": 0, "b": 1, "c": 2, "d": 0}
    with pytest.raises(ValueError, match="no cycles"):
        rulegraph.layers_of("ab", [("a", "b"), ("b", "a")])


def test_labels_are_escaped_and_an_empty_graph_is_drawn():
    assert "a &lt; b" in rulegraph.draw('digraph x {\n0[label = "a < b"];\n}')
    assert ElementTree.fromstring(rulegraph.draw("digraph x {}")).tag == f"{SVG}svg"


@given(st.integers(1, 12).flatmap(lambda size: st.tuples(
    st.just(size), st.sets(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=30))))
def test_any_acyclic_graph(graph):
    size, pairs = graph
    edges = [(str(a), str(b)) for a, b in pairs if a < b]
    lines = [f'{node}[label = "rule_{node}"];' for node in range(size)] + [f"{a} -> {b}" for a, b in edges]
    svg = rulegraph.draw("digraph x {\n" + "\n".join(lines) + "\n}")
    found = boxes(svg)
    assert len(found) == size
    assert all(found[f"rule_{a}"] < found[f"rule_{b}"] for a, b in edges)
    kept = rulegraph.reduced(edges)
    assert svg.count("<path") == len(kept)
    assert reach(kept) == reach(edges)


def reach(edges):
    """All pairs of nodes with a path from one to the other."""
    found = set(edges)
    while more := {(a, d) for a, b in found for c, d in edges if b == c} - found:
        found |= more
    return found
