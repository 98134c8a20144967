"""Draw Snakemake's rule graph as SVG, without graphviz.

Boxes in layers from left to right by the longest path; an edge over several layers is led through them, and each
layer is sorted by the mean place of its neighbours (Sugiyama, Tagawa & Toda 1981). An edge that a longer path
implies is left out.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Iterable

# The packages that draw graphs (graphviz, pygraphviz, pydot) all call Graphviz's program `dot`, which pip cannot install; the
# report must build wherever the Python packages do.
_NODE = re.compile(r'^\s*(\d+)\s*\[\s*label\s*=\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)
_EDGE = re.compile(r"^\s*(\d+)\s*->\s*(\d+)", re.MULTILINE)
_HEIGHT, _ROW, _GAP, _LETTER, _LINE, _MARGIN = 38, 54, 36, 7.0, 14, 8
_LONG = 14  # letters; a longer label is set in two lines
_SWEEPS = 8

Edge = tuple[str, str]


def parse(dot: str) -> tuple[dict[str, str], list[Edge]]:
    """Labels by node, and edges (from what is made first to what needs it), of Snakemake's ``--rulegraph``.

    >>> parse('digraph snakemake_dag {\\n 0[label = "all"];\\n 1[label = "index"];\\n 1 -> 0\\n}')
    ({'0': 'all', '1': 'index'}, [('1', '0')])
    """
    labels = {node: label.replace("\\n", " ").replace('\\"', '"') for node, label in _NODE.findall(dot)}
    return labels, sorted({edge for edge in _EDGE.findall(dot) if edge[0] in labels and edge[1] in labels})


def layers_of(nodes: Iterable[str], edges: Iterable[Edge]) -> dict[str, int]:
    """The layer of each node: the edges on the longest path that leads to it.

    Raises:
        ValueError: The graph has a cycle.
    """
    layer = dict.fromkeys(nodes, 0)
    edges = list(edges)
    for _ in range(len(layer) + 1):
        late = [(a, b) for a, b in edges if layer[b] <= layer[a]]
        if not late:
            return layer
        for a, b in late:
            layer[b] = max(layer[b], layer[a] + 1)
    raise ValueError("a rule graph has no cycles")


def reduced(edges: Iterable[Edge]) -> list[Edge]:
    """The edges that no longer path implies (transitive reduction of an acyclic graph).

    >>> reduced([("a", "b"), ("b", "c"), ("a", "c")])
    [('a', 'b'), ('b', 'c')]
    """
    after: dict[str, set[str]] = {}
    for a, b in edges:
        after.setdefault(a, set()).add(b)

    @functools.cache
    def beyond(node: str) -> frozenset[str]:
        return frozenset(after.get(node, set()).union(*(beyond(other) for other in after.get(node, set()))))

    return sorted((a, b) for a, ends in after.items() for b in ends
                  if not any(b in beyond(other) for other in ends - {b}))


def draw(dot: str) -> str:
    """SVG of a rule graph; empty graphs give an empty picture. Colours follow the page through ``currentColor``."""
    labels, edges = parse(dot)
    layer = layers_of(labels, edges)
    edges = reduced(edges)
    # Pull sources next to what needs them: fewer long edges.
    for node in sorted(labels, key=lambda node: -layer[node]):
        after = [layer[b] for a, b in edges if a == node]
        layer[node] = min(after) - 1 if after else layer[node]
    paths = [_path(edge, layer) for edge in edges]
    columns = _ordered(labels, layer, paths)
    width = [max((_LETTER * max(map(len, _wrapped(labels[node]))) + 20 for node in column if node in labels), default=0)
             for column in columns]
    left = [_MARGIN + sum(width[:place]) + _GAP * place for place in range(len(columns))]
    tallest = max((len(column) for column in columns), default=0)
    centre = {node: _MARGIN + _ROW * (row + (tallest - len(column)) / 2 + 0.5)
              for column in columns for row, node in enumerate(column)}
    place = {node: index for index, column in enumerate(columns) for node in column}
    lines = [_curve(path, place, left, width, centre, labels) for path in paths]
    boxes = [_box(labels[node], left[place[node]], width[place[node]], centre[node])
             for node in sorted(labels, key=int)]
    size = (left[-1] + width[-1] + _MARGIN if columns else 0, tallest * _ROW + 2 * _MARGIN)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]:.0f} {size[1]:.0f}" width="{size[0]:.0f}" '
            f'height="{size[1]:.0f}" role="img" aria-label="Rules of the workflow and what each needs" color="#33415c" '
            'font-family="system-ui, sans-serif" font-size="12">\n'
            '<g fill="none" stroke="currentColor" stroke-opacity="0.45" stroke-width="1.2">\n'
            + "\n".join(lines) + '\n</g>\n<g fill="currentColor">\n' + "\n".join(boxes) + "\n</g>\n</svg>\n")


def _path(edge: Edge, layer: dict[str, int]) -> list[str]:
    """The edge's nodes with a waypoint in every layer between."""
    source, target = edge
    between = [f"{source}>{target}@{place}" for place in range(layer[source] + 1, layer[target])]
    return [source, *between, target]


def _ordered(labels: dict[str, str], layer: dict[str, int], paths: list[list[str]]) -> list[list[str]]:
    """Nodes and waypoints of each layer, sorted by barycentre in sweeps to and fro."""
    place = dict(layer)
    neighbours: dict[str, list[list[str]]] = {}
    for path in paths:
        for step, node in enumerate(path):
            place[node] = layer[path[0]] + step
            before, after = neighbours.setdefault(node, [[], []])
            before += path[step - 1:step] if step else []
            after += path[step + 1:step + 2]
    columns: list[list[str]] = [[] for _ in range(max(place.values(), default=-1) + 1)]
    for node in sorted(place, key=lambda node: (labels.get(node, node), node)):
        columns[place[node]].append(node)
    for sweep in range(_SWEEPS):
        side = sweep % 2
        row = {node: index - len(column) / 2 for column in columns for index, node in enumerate(column)}
        for column in columns[::-1] if side else columns:
            mean = {}
            for node in column:
                around = neighbours.get(node, [[], []])[side]
                mean[node] = sum(row[other] for other in around) / len(around) if around else row[node]
            column.sort(key=mean.__getitem__)
            row |= {node: index - len(column) / 2 for index, node in enumerate(column)}
    return columns


def _curve(path: list[str], place: dict[str, int], left: list[float], width: list[float], centre: dict[str, float],
           labels: dict[str, str]) -> str:
    """A smooth line from the right edge of a box to the left edge of another, level where it passes a layer."""
    start = path[0]
    x, y = left[place[start]] + width[place[start]], centre[start]
    text = f"M{x:.1f} {y:.1f}"
    for node in path[1:]:
        to_x, to_y = left[place[node]], centre[node]
        bend = (to_x - x) / 2
        text += f"C{x + bend:.1f} {y:.1f} {to_x - bend:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
        if node not in labels:
            x += width[place[node]]
            text += f"H{x:.1f}"
    return f'<path d="{text}"/>'


def _wrapped(label: str) -> list[str]:
    """A long label in two lines, broken at the underscore nearest to its middle."""
    breaks = [place for place, letter in enumerate(label) if letter == "_"]
    if len(label) <= _LONG or not breaks:
        return [label]
    middle = min(breaks, key=lambda place: abs(2 * place - len(label)))
    return [label[:middle + 1], label[middle + 1:]]


def _box(label: str, x: float, width: float, y: float) -> str:
    lines = _wrapped(label)
    top = y + 4 - _LINE * (len(lines) - 1) / 2
    text = "".join(f'<text x="{x + width / 2:.1f}" y="{top + _LINE * number:.1f}" text-anchor="middle">'
                   f"{html.escape(line)}</text>" for number, line in enumerate(lines))
    return (f'<g><title>{html.escape(label)}</title><rect x="{x:.1f}" y="{y - _HEIGHT / 2:.1f}" width="{width:.1f}" '
            f'height="{_HEIGHT}" rx="6" fill="currentColor" fill-opacity="0.08" stroke="currentColor"/>{text}</g>')
