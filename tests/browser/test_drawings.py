"""What is drawn by arithmetic of ours: squarified tree maps and layered graphs, on random ones, in the browser that draws them."""

import random
from typing import Any

from tests.browser.room import Room

SEED = 20261126
_IMPORT = """async ([module, name, args]) => {
  const base = document.querySelector('script[type=module]').src
  const found = (await import(new URL(module, base).href))[name](...args)
  return found.places ? {...found, places: [...found.places]} : found
}"""


async def drawn(room: Room, module: str, name: str, *args: Any) -> Any:
    """What a function of a page's module gives."""
    return await room.page.evaluate(_IMPORT, [module, name, list(args)])


async def test_a_tree_map_fills_its_box_by_the_values(room: Room) -> None:
    """Each area is its value's share, nothing sticks out, nothing overlaps, and most are nearly square."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    await room.open("code")
    values = [chance.lognormvariate(0, 1.5) for _ in range(60)]
    tiles = await room.page.evaluate(
        """async ([values, box]) => {
          const base = document.querySelector('script[type=module]').src
          const { squarify } = await import(new URL('pages/code/squarify.js', base).href)
          return squarify(values, (value) => value, box)
        }""",
        [[*values, 0], {"x": 10, "y": 20, "width": 800, "height": 500}],
    )
    assert sorted(tile["item"] for tile in tiles) == sorted(values)
    for tile in tiles:
        share = tile["item"] / sum(values)
        assert abs(tile["width"] * tile["height"] - share * 800 * 500) < 1e-3
        assert tile["x"] >= 10 - 1e-6
        assert tile["y"] >= 20 - 1e-6
        assert tile["x"] + tile["width"] <= 810 + 1e-6
        assert tile["y"] + tile["height"] <= 520 + 1e-6
    assert not [pair for pair in _pairs(tiles) if _overlap(*pair, "width", "height")]
    ratios = sorted(max(tile["width"] / tile["height"], tile["height"] / tile["width"]) for tile in tiles)
    assert ratios[len(ratios) // 2] < 2


async def test_a_graph_is_laid_out_in_layers(room: Room) -> None:
    """Every node is right of those it comes after, no two lie on each other, every edge is drawn; a circle ends too."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    await room.open("runs")
    size = {"width": 100, "height": 40, "gapX": 30, "gapY": 10}
    for count in (1, 5, 40):
        nodes = [
            {"id": f"n{at}", "after": chance.sample([f"n{i}" for i in range(at)], min(at, chance.randint(0, 3)))}
            for at in range(count)
        ]
        chance.shuffle(nodes)
        plan = await drawn(room, "lib/layered.js", "layered", nodes, size)
        places = {name: place for name, place in plan["places"] if "\0" not in name}
        for node in nodes:
            for before in node["after"]:
                assert places[before]["x"] + 130 <= places[node["id"]]["x"]
        assert not [pair for pair in _pairs(list(places.values())) if _overlap(*pair, 100, 40)]
        assert {(edge["from"], edge["to"]) for edge in plan["edges"]} == {
            (before, node["id"]) for node in nodes for before in node["after"]
        }
        assert all(place["y"] + 40 <= plan["height"] and place["x"] + 100 <= plan["width"] for place in places.values())
    circle = [{"id": "a", "after": ["b"]}, {"id": "b", "after": ["a", "gone"]}]
    assert len((await drawn(room, "lib/layered.js", "layered", circle, size))["places"]) >= 2


def _pairs(items: list[dict[str, float]]) -> list[tuple[dict[str, float], dict[str, float]]]:
    return [(one, other) for at, one in enumerate(items) for other in items[at + 1 :]]


def _overlap(one: dict[str, float], other: dict[str, float], width: str | float, height: str | float) -> bool:
    """Whether two rectangles share more than an edge; sizes are fields or numbers."""

    def sides(item: dict[str, float]) -> tuple[float, float]:
        return (item[width] if isinstance(width, str) else width, item[height] if isinstance(height, str) else height)

    (one_w, one_h), (other_w, other_h) = sides(one), sides(other)
    apart = 1e-6
    across = one["x"] + one_w > other["x"] + apart and other["x"] + other_w > one["x"] + apart
    return across and one["y"] + one_h > other["y"] + apart and other["y"] + other_h > one["y"] + apart
