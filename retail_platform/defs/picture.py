"""The asset graph as a picture: an SVG of the layers from left to right, the assets in them, and what is made of what.

Drawn from the definitions, so that it cannot differ from them. Pure but for the graph that it is given.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

import dagster as dg

#: The layers of the lineage, left to right; those in one column are filled from the same source.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("kafka",),
    ("bronze", "quarantine", "ops"),
    ("silver",),
    ("raw", "seeds", "reactions"),
    ("staging",),
    ("intermediate",),
    ("marts",),
    ("kpi",),
)

Key = tuple[str, ...]

_MARGIN, _HEAD = 8, 54
_BOX, _GAP, _INDENT = 124, 42, 16
_LINE, _PADDING, _SPACING, _LANE = 14, 8, 12, 10
_LETTERS = 18
_SWEEPS = 8

_STYLE = (
    "text{font-family:-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}"
    ".layer{font-size:13px;font-weight:600;fill:#768390;text-anchor:middle}"
    ".engine{font-size:10.5px;fill:#768390;text-anchor:middle}"
    ".box{fill:#f6f8fa;stroke:#57606a}"
    ".name{font-size:11.5px;fill:#1f2328}"
    ".checks{font-size:9.5px;fill:#57606a}"
    ".edge{fill:none;stroke:#8b949e;stroke-width:1.1}"
)


@dataclass
class _Item:
    """What takes a place in a column: an asset, or the lane of a line that passes through."""

    key: Key
    column: int
    lines: Sequence[str] = ()
    checks: int = 0
    parents: list["_Item"] = field(default_factory=list)
    below: list["_Item"] = field(default_factory=list)
    depth: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def is_lane(self) -> bool:
        return not self.lines

    @property
    def height(self) -> float:
        if self.is_lane:
            return _LANE
        return 2 * _PADDING + _LINE * len(self.lines) + (_LINE - 2 if self.checks else 0)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    @property
    def left(self) -> float:
        return self.x + self.depth * _INDENT

    @property
    def right(self) -> float:
        return self.left + _BOX


def render(definitions: dg.Definitions) -> str:
    """The SVG of the definitions' assets.

    Raises:
        ValueError: an asset is in a group that is not one of :data:`LAYERS`.
    """
    graph = definitions.resolve_asset_graph()
    nodes = sorted(graph.asset_nodes, key=lambda node: node.key)
    items = {tuple(node.key.path): _item(node.key, len(node.check_keys)) for node in nodes}
    engines: list[set[str]] = [set() for _ in LAYERS]
    for node in nodes:
        item = items[tuple(node.key.path)]
        item.parents = [items[tuple(key.path)] for key in sorted(node.parent_keys)]
        engines[item.column] |= node.kinds
    lanes = _pass_through(list(items.values()))
    columns = _ordered([*items.values(), *lanes])
    height = _placed(columns)
    return "\n".join(_svg(columns, engines, height)) + "\n"


# --- From the graph to columns ----------------------------------------------------------------------------------------


def _item(key: dg.AssetKey, checks: int) -> _Item:
    layer, name = key.path[0], key.path[-1]
    column = next((number for number, layers in enumerate(LAYERS) if layer in layers), None)
    if column is None:
        raise ValueError(f"{key.to_user_string()}: {layer} is not a layer of the picture")
    label = name if len(LAYERS[column]) == 1 else f"{layer}/{name}"
    return _Item(tuple(key.path), column, _wrapped(label), checks)


def _wrapped(label: str) -> list[str]:
    """The label in lines that fit into a box, broken after ``/``, ``_`` or ``-``."""
    lines = [""]
    for part in re.findall(r"[^/_-]+[/_-]?", label):
        if lines[-1] and len(lines[-1]) + len(part) > _LETTERS:
            lines.append("")
        lines[-1] += part
    return lines


def _pass_through(items: list[_Item]) -> list[_Item]:
    """Give each line that skips columns a lane in them; lines from one asset share it. Returns the lanes."""
    lanes: dict[tuple[Key, int], _Item] = {}
    for item in items:
        item.parents = [_lane_to(parent, item.column, lanes) for parent in item.parents]
        for parent in item.parents:
            if parent.column == item.column:
                parent.below.append(item)
    return list(lanes.values())


def _lane_to(origin: _Item, column: int, lanes: dict[tuple[Key, int], _Item]) -> _Item:
    before = origin
    for between in range(origin.column + 1, column):
        lane = lanes.setdefault((origin.key, between), _Item(origin.key, between, parents=[before]))
        before = lane
    return before


def _ordered(items: list[_Item]) -> list[list[_Item]]:
    """The columns, ordered so that lines cross little; what is made within a column hangs on what it is made of."""
    columns = [[item for item in items if item.column == number] for number in range(len(LAYERS))]
    for sweep in range(_SWEEPS):
        places = {id(item): place for column in columns for place, item in enumerate(column)}
        forward = sweep % 2 == 0
        for column in columns if forward else reversed(columns):
            weights = {id(item): _mean(_neighbours(item, items, forward=forward), places) for item in column}
            roots = [item for item in column if not any(parent.column == item.column for parent in item.parents)]
            own = {id(item): places[id(item)] for item in column}
            roots.sort(key=lambda item: (_of_tree(item, weights, own[id(item)]), item.key))
            column[:] = [member for root in roots for member in _tree(root, 0, weights)]
            places.update({id(item): place for place, item in enumerate(column)})
    return columns


def _neighbours(item: _Item, items: Iterable[_Item], *, forward: bool) -> list[_Item]:
    if forward:
        return [parent for parent in item.parents if parent.column != item.column]
    return [other for other in items if item in other.parents and other.column != item.column]


def _mean(neighbours: list[_Item], places: dict[int, int]) -> float | None:
    return sum(places[id(other)] for other in neighbours) / len(neighbours) if neighbours else None


def _of_tree(root: _Item, weights: dict[int, float | None], otherwise: float) -> float:
    found = [weight for item in _tree(root, 0, weights) if (weight := weights[id(item)]) is not None]
    return sum(found) / len(found) if found else otherwise


def _tree(item: _Item, depth: int, weights: dict[int, float | None]) -> Iterator[_Item]:
    item.depth = depth
    yield item
    # Leaves first: a branch below them would part them from what they hang on.
    for child in sorted(item.below, key=lambda child: (bool(child.below), child.key)):
        yield from _tree(child, depth + 1, weights)


def _placed(columns: list[list[_Item]]) -> float:
    """Give every item its place from top to bottom, columns centred on each other; the height of the whole."""
    heights = [sum(item.height for item in column) + _SPACING * (len(column) - 1) for column in columns]
    tallest, x = max(heights), float(_MARGIN)
    for column, height in zip(columns, heights, strict=True):
        y = _HEAD + (tallest - height) / 2
        for item in column:
            item.x, item.y = x, y
            y += item.height + _SPACING
        x = max(item.right for item in column) + _GAP
    return _HEAD + tallest + _MARGIN


# --- From columns to SVG ----------------------------------------------------------------------------------------------


def _svg(columns: list[list[_Item]], engines: list[set[str]], height: float) -> Iterator[str]:
    width = max(item.right for column in columns for item in column) + _MARGIN
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img">'
    yield "<title>The asset graph of retail-platform</title>"
    yield "<!-- Generated by `retail docs` from the asset graph. -->"
    yield f"<style>{_STYLE}</style>"
    yield (
        '<defs><marker id="arrow" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0 0 L6 3 L0 6 z" fill="#8b949e"/></marker></defs>'
    )
    for number, layers in enumerate(LAYERS):
        middle = (columns[number][0].x + max(item.right for item in columns[number])) / 2
        yield f'<text class="layer" x="{middle:.1f}" y="20">{" · ".join(layers)}</text>'
        yield f'<text class="engine" x="{middle:.1f}" y="36">{" · ".join(sorted(engines[number]))}</text>'
    everything = [item for column in columns for item in column]
    for item in everything:
        yield from (_edge(parent, item) for parent in item.parents)
    for item in everything:
        if not item.is_lane:
            yield from _box(item)
    yield "</svg>"


def _edge(parent: _Item, item: _Item) -> str:
    end = "" if item.is_lane else ' marker-end="url(#arrow)"'
    if parent.column == item.column:
        x = parent.left + _INDENT / 2
        path = f"M{x:.1f} {parent.y + parent.height:.1f} V{item.middle:.1f} H{item.left:.1f}"
    else:
        bend = _GAP * 0.55
        path = (
            f"M{parent.right:.1f} {parent.middle:.1f} C{parent.right + bend:.1f} {parent.middle:.1f} "
            f"{item.left - bend:.1f} {item.middle:.1f} {item.left:.1f} {item.middle:.1f}"
        )
    if item.is_lane:
        path += f" H{item.right:.1f}"
    return f'<path class="edge" d="{path}"{end}/>'


def _box(item: _Item) -> Iterator[str]:
    yield (
        f'<rect class="box" x="{item.left:.1f}" y="{item.y:.1f}" width="{_BOX}" height="{item.height:.1f}" rx="5">'
        f"<title>{escape('/'.join(item.key))}</title></rect>"
    )
    y = item.y + _PADDING - 3
    for line in item.lines:
        y += _LINE
        yield f'<text class="name" x="{item.left + 8:.1f}" y="{y:.1f}">{escape(line)}</text>'
    if item.checks:
        said = "1 check" if item.checks == 1 else f"{item.checks} checks"
        yield f'<text class="checks" x="{item.left + 8:.1f}" y="{y + _LINE - 2:.1f}">{said}</text>'
