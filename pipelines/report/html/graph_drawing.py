"""Where the boxes and lines of the coarse graph are drawn.

inputs        (x)
               |
stage 0       [ ]->[ ]->[ ]
- cut 0 - - - - - - - -/- - - - - - - - - - -    3 tensors, 1.2 MB
stage 1       [ ]->[ ]->[ ]      |
                        |        |  lane of tensors that pass through stages
outputs               (y)
"""

from __future__ import annotations

from dataclasses import dataclass

from beamsplit.models.split.coarse import INPUTS, OUTPUTS, Box, CoarseGraph, Edge
from beamsplit.models.split.plan import Plan
from beamsplit.pipelines.report.units import show_bytes

WIDTH = 1080.0
LEFT, RIGHT = 150.0, 70.0
"""Room for the labels of stages and cuts, and for the lanes."""

BOX_HEIGHT, ARC_ROOM, GUTTER, PILL = 50.0, 30.0, 64.0, 28.0
"""Heights of a box, of the arcs above it, of the room between two stages, and of an input's or output's pill."""

CHARACTER, BOLD = 6.7, 7.6
"""Width of a character of 12 pixels, about; of a bold one."""

MOST_LANES = 5


@dataclass(frozen=True)
class DrawnBox:
    """A box, or the pill of the inputs or outputs."""

    x: float
    y: float
    width: float
    height: float
    stage: int
    """-1 for a pill."""

    title: str
    detail: str
    hint: str
    """Shown when the pointer rests on it."""


@dataclass(frozen=True)
class DrawnLine:
    """The path of an edge, in SVG's words."""

    path: str
    hint: str
    far: bool
    """Whether it passes through a stage without being read there."""


@dataclass(frozen=True)
class DrawnBand:
    """The background of a stage."""

    y: float
    height: float
    stage: int
    lines: tuple[str, ...]
    """Its label."""


@dataclass(frozen=True)
class DrawnCut:
    """A cut between two stages."""

    y: float
    lines: tuple[str, ...]
    hint: str


@dataclass(frozen=True)
class GraphDrawing:
    """All of it."""

    width: float
    height: float
    bands: tuple[DrawnBand, ...]
    cuts: tuple[DrawnCut, ...]
    boxes: tuple[DrawnBox, ...]
    lines: tuple[DrawnLine, ...]


def draw_graph(plan: Plan, graph: CoarseGraph) -> GraphDrawing:
    """Place everything."""
    in_stage = [[at for at, box in enumerate(graph.boxes) if box.stage == stage.index] for stage in plan.stages]
    arcs = [_has_arcs(graph, boxes) for boxes in in_stage]
    boxes: dict[int, DrawnBox] = {INPUTS: _pill("inputs", graph.inputs, 8.0)}
    bands, cuts = [], []
    y = 8.0 + PILL + GUTTER / 2 + 4
    for stage, members, arc in zip(plan.stages, in_stage, arcs, strict=True):
        height = BOX_HEIGHT + 24 + (ARC_ROOM if arc else 0)
        label = (
            f"stage {stage.index}",
            f"{len(stage.nodes):,} node{'s' * (len(stage.nodes) != 1)}",
            show_bytes(stage.weight_bytes),
        )
        bands.append(DrawnBand(y, height, stage.index, label))
        pitch = (WIDTH - LEFT - RIGHT - 12) / max(1, len(members))
        # Few boxes need not be as wide as there is room.
        width = min(pitch - 22, 190.0)
        for place, at in enumerate(members):
            x = LEFT + 12 + place * min(pitch, width + 40)
            boxes[at] = _box(graph.boxes[at], x, y + height - 12 - BOX_HEIGHT, width)
        y += height
        if stage.index < len(plan.stages) - 1:
            crossing = plan.boundary(stage.index)
            sizes = {tensor.name: tensor.nbytes for tensor in plan.boundaries}
            many = f"{len(crossing)} tensor{'s' * (len(crossing) != 1)}"
            cut = (f"cut {stage.index}", f"{many}, {show_bytes(sum(sizes[name] for name in crossing))}")
            hint = ", ".join(f"{name} ({show_bytes(sizes[name])})" for name in crossing[:20])
            cuts.append(DrawnCut(y + GUTTER / 2, cut, hint))
            y += GUTTER
    y += GUTTER / 2 + 4
    makers = [boxes[edge.source].x for edge in graph.edges if edge.target == OUTPUTS]
    boxes[OUTPUTS] = _pill("outputs", graph.outputs, y, min(makers, default=LEFT + 12))
    lines = _lines(graph, boxes, bands)
    return GraphDrawing(WIDTH, y + PILL + 8, tuple(bands), tuple(cuts), tuple(boxes.values()), tuple(lines))


def _has_arcs(graph: CoarseGraph, members: list[int]) -> bool:
    inside = set(members)
    return any(
        edge.source in inside and edge.target in inside and edge.target > edge.source + 1 for edge in graph.edges
    )


def _pill(kind: str, names: tuple[str, ...], y: float, x: float = LEFT + 12) -> DrawnBox:
    text = clip(f"{kind}: {', '.join(names)}", 560 / CHARACTER)
    width = len(text) * CHARACTER + 30
    return DrawnBox(min(x, WIDTH - 20 - width), y, width, PILL, -1, text, "", ", ".join(names[:40]))


def _box(box: Box, x: float, y: float, width: float) -> DrawnBox:
    room = (width - 14) / CHARACTER
    bold = (width - 14) / BOLD
    title = clip(_operators(box, bold), bold)
    detail = f"{len(box.nodes):,} node{'s' * (len(box.nodes) != 1)}"
    if box.weight_bytes:
        longer = f"{detail} · {show_bytes(box.weight_bytes)}"
        detail = longer if len(longer) <= room else detail
    operators = ", ".join(f"{count} {name}" for name, count in box.operators)
    between = box.nodes[0] if len(box.nodes) == 1 else f"{box.nodes[0]} … {box.nodes[-1]}"
    return DrawnBox(x, y, width, BOX_HEIGHT, box.stage, title, clip(detail, room), f"{between}: {operators}")


def _operators(box: Box, room: float) -> str:
    """As many of its most frequent operators as there is room for."""
    shown: list[str] = []
    for name, count in box.operators:
        longer = [*shown, f"{count} {name}" if count > 1 else name]
        if shown and len(", ".join(longer)) > room - 2:
            return f"{', '.join(shown)} …"
        shown = longer
    return ", ".join(shown)


def clip(text: str, room: float) -> str:
    """The text, its end left out where it is longer than `room` characters."""
    return text if len(text) <= room else text[: max(1, int(room) - 1)].rstrip(" ,") + "…"


def _lines(graph: CoarseGraph, boxes: dict[int, DrawnBox], bands: list[DrawnBand]) -> list[DrawnLine]:
    lines = []
    lane = 0
    row = {at: -1 if at == INPUTS else len(bands) if at == OUTPUTS else graph.boxes[at].stage for at in boxes}
    leaves: dict[int, list[Edge]] = {}
    enters: dict[int, list[Edge]] = {}
    for edge in graph.edges:
        if row[edge.source] != row[edge.target]:
            leaves.setdefault(edge.source, []).append(edge)
            enters.setdefault(edge.target, []).append(edge)
    for edge in graph.edges:
        one, other = boxes[edge.source], boxes[edge.target]
        hint = f"{len(edge.tensors)} tensor{'s' * (len(edge.tensors) != 1)}: {', '.join(edge.tensors[:12])}"
        if row[edge.source] == row[edge.target]:
            lines.append(DrawnLine(_inside(one, other, edge), hint, False))
            continue
        x1 = _port(one, leaves[edge.source].index(edge), len(leaves[edge.source]))
        x2 = _port(other, enters[edge.target].index(edge), len(enters[edge.target]))
        y1, y2 = one.y + one.height, other.y - 4
        if row[edge.target] == row[edge.source] + 1:
            middle = (y1 + y2) / 2
            path = f"M{x1:.1f},{y1:.1f} C{x1:.1f},{middle:.1f} {x2:.1f},{middle:.1f} {x2:.1f},{y2:.1f}"
            lines.append(DrawnLine(path, hint, False))
            continue
        at = WIDTH - RIGHT + 12 + 10 * (lane % MOST_LANES)
        lane += 1
        down, up = y1 + 40, y2 - 40
        path = (
            f"M{x1:.1f},{y1:.1f} C{x1:.1f},{y1 + 26:.1f} {at:.1f},{y1 + 2:.1f} {at:.1f},{down:.1f} "
            f"L{at:.1f},{up:.1f} C{at:.1f},{y2 - 4:.1f} {x2:.1f},{y2 - 26:.1f} {x2:.1f},{y2:.1f}"
        )
        lines.append(DrawnLine(path, hint, True))
    return lines


def _port(box: DrawnBox, number: int, count: int) -> float:
    """Where on its edge a line begins or ends, so that lines do not hide one another."""
    return box.x + min(box.width, 190.0) * (number + 1) / (count + 1)


def _inside(one: DrawnBox, other: DrawnBox, edge: Edge) -> str:
    if edge.target == edge.source + 1:
        y = one.y + one.height / 2
        return f"M{one.x + one.width:.1f},{y:.1f} L{other.x - 4:.1f},{y:.1f}"
    x1, x2 = one.x + one.width * 0.7, other.x + other.width * 0.3
    rise = min(ARC_ROOM + 8, 16 + 6 * (edge.target - edge.source))
    return f"M{x1:.1f},{one.y:.1f} C{x1:.1f},{one.y - rise:.1f} {x2:.1f},{one.y - rise:.1f} {x2:.1f},{one.y - 4:.1f}"
