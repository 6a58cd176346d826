# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural textures, drawn anew for every seed: (SIZE, SIZE, 3) float32 albedo in [0, 1].

Tiled textures repeat every TILE metres and are drawn so that opposite edges meet; those with
TILE = 0 are fitted, once onto a face.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.sim.rng import stream

SIZE = 256
Image: TypeAlias = NDArray[np.float32]
Rng: TypeAlias = np.random.Generator
Painter: TypeAlias = Callable[[Rng], Image]
Colour: TypeAlias = Sequence[float] | NDArray[Any]

AISLE_LETTERS = "ABCDEF"
DOCK_NUMBERS = "12345"
CARTON_STYLES = 4


_EPOXY = (
    (0.24, 0.36, 0.29),
    (0.40, 0.25, 0.20),
    (0.30, 0.36, 0.44),
    (0.20, 0.20, 0.21),
    (0.56, 0.57, 0.56),
    (0.50, 0.43, 0.30),
)


def _plain(rng: Rng) -> Image:
    return np.ones((SIZE, SIZE, 3), np.float32)


def _fill(colour: Colour) -> Image:
    return np.tile(np.asarray(colour, np.float32), (SIZE, SIZE, 1))


def _noise(rng: Rng, coarsest: int, octaves: int, stretch: int = 1) -> NDArray[np.float32]:
    """Return periodic value noise (SIZE, SIZE) of zero mean and about unit amplitude.

    coarsest: cells per side of the first octave. stretch: how much longer grains are along x.
    """
    total = np.zeros((SIZE, SIZE), np.float32)
    for octave in range(octaves):
        rows = min(coarsest << octave, SIZE)
        columns = max(rows // stretch, 1)
        cells = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
        wrapped = np.pad(cells, ((2, 2), (2, 2)), mode="wrap")
        v = (np.arange(SIZE, dtype=np.float32) + 0.5) * rows / SIZE + 1.5
        u = (np.arange(SIZE, dtype=np.float32) + 0.5) * columns / SIZE + 1.5
        grid_u, grid_v = np.meshgrid(u, v)
        total += cv2.remap(wrapped, grid_u, grid_v, cv2.INTER_CUBIC) * 0.6**octave
    return total


def _shade(image: Image, by: NDArray[np.float32]) -> Image:
    return np.clip(image * (1 + by[..., None]), 0, 1).astype(np.float32)


def _text(image: Image, text: str, centre: tuple[float, float], height: float, ink: Colour) -> None:
    """Write text about a centre, both in fractions of the texture, `height` tall."""
    face, thickness = cv2.FONT_HERSHEY_DUPLEX, max(1, round(height * SIZE / 9))
    (_, unit), _ = cv2.getTextSize(text, face, 1.0, thickness)
    scale = height * SIZE / unit
    (width, tall), _ = cv2.getTextSize(text, face, scale, thickness)
    origin = round(centre[0] * SIZE - width / 2), round(centre[1] * SIZE + tall / 2)
    stencil = np.zeros((SIZE, SIZE), np.uint8)
    cv2.putText(stencil, text, origin, face, scale, 255, thickness, cv2.LINE_AA)
    cover = (stencil / np.float32(255))[..., None]
    image += cover * (np.asarray(ink, np.float32) - image)


def _area(image: Image, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
    """Paint a rectangle given in fractions of the texture."""
    a, b = round(x0 * SIZE), round(x1 * SIZE)
    image[round(y0 * SIZE) : round(y1 * SIZE), a:b] = np.asarray(colour, np.float32)


def _concrete(rng: Rng) -> Image:
    """A floor: bare concrete, or concrete under an epoxy coat of some colour."""
    bare = rng.random() < 0.5
    tone = (0.46, 0.45, 0.43) if bare else _EPOXY[rng.integers(len(_EPOXY))]
    image = _fill(np.array(tone) * rng.uniform(0.75, 1.1))
    blotches = 0.16 if bare else 0.06
    image = _shade(image, blotches * _noise(rng, 2, 5) + 0.05 * _noise(rng, 64, 2))
    for _ in range(5):  # tyre marks
        x, y = rng.integers(0, SIZE, 2)
        angle, length = rng.uniform(0, np.pi), rng.uniform(40, 110)
        end = int(x + length * np.cos(angle)), int(y + length * np.sin(angle))
        mark = np.zeros((SIZE, SIZE), np.float32)
        cv2.line(mark, (int(x), int(y)), end, 1.0, int(rng.integers(3, 8)))
        image = _shade(image, -0.25 * cv2.GaussianBlur(mark, (0, 0), 2.5))
    if rng.random() < 0.6:  # cast slabs
        _area(image, 0, 0.0, 1, 0.008, (0.2, 0.2, 0.19))
        _area(image, 0.0, 0, 0.008, 1, (0.2, 0.2, 0.19))
    return image


def _wall(rng: Rng) -> Image:
    tones = ((0.72, 0.72, 0.69), (0.62, 0.66, 0.70), (0.74, 0.70, 0.60), (0.55, 0.58, 0.58))
    image = _fill(tones[rng.integers(len(tones))])
    image = _shade(image, 0.04 * _noise(rng, 2, 3))
    if rng.random() < 0.6:  # sheet metal panels
        ribs = np.sin(np.arange(SIZE) * 2 * np.pi * 8 / SIZE).astype(np.float32)
        image = _shade(image, np.tile(0.07 * ribs, (SIZE, 1)))
    return image


def _wood(rng: Rng) -> Image:
    image = _fill(np.array([0.62, 0.46, 0.28]) * rng.uniform(0.7, 1.1))
    grain = _noise(rng, 32, 3, stretch=16)
    image = _shade(image, 0.16 * grain + 0.12 * _noise(rng, 2, 3))
    for _ in range(4):  # knots
        centre = tuple(int(c) for c in rng.integers(20, SIZE - 20, 2))
        cv2.ellipse(image, centre, (9, 4), 0, 0, 360, (0.25, 0.15, 0.08), -1, cv2.LINE_AA)
    return image


def _label(image: Image, rng: Rng, x: float, y: float, width: float, height: float) -> None:
    """Paint a white shipping label with a bar code and lines of print."""
    _area(image, x, y, x + width, y + height, (0.86, 0.86, 0.84))
    u = x + 0.08 * width
    while u < x + 0.9 * width:
        bar = rng.uniform(0.012, 0.05) * width
        _area(image, u, y + 0.1 * height, u + bar, y + 0.5 * height, (0.08, 0.08, 0.08))
        u += bar + rng.uniform(0.015, 0.05) * width
    for row in range(3):
        v = y + (0.6 + 0.12 * row) * height
        end = x + rng.uniform(0.4, 0.9) * width
        _area(image, x + 0.08 * width, v, end, v + 0.05 * height, (0.2, 0.2, 0.22))


def _cardboard(rng: Rng) -> Image:
    image = _fill(np.array([0.58, 0.43, 0.27]) * rng.uniform(0.75, 1.15))
    image = _shade(image, 0.05 * _noise(rng, 2, 4) + 0.02 * _noise(rng, 64, 2, stretch=32))
    rim = image.mean(axis=(0, 1)) * 0.55
    for x0, y0, x1, y1 in ((0, 0, 1, 0.015), (0, 0.985, 1, 1), (0, 0, 0.015, 1), (0.985, 0, 1, 1)):
        _area(image, x0, y0, x1, y1, rim)
    return image


def _carton(rng: Rng) -> Image:
    """One side of a carton: tape, a label, sometimes an arrow or a brand."""
    image = _cardboard(rng)
    tape = (0.70, 0.60, 0.42) if rng.random() < 0.6 else (0.36, 0.24, 0.14)
    _area(image, 0.43, 0, 0.57, rng.uniform(0.2, 0.4), tape)
    _label(image, rng, rng.uniform(0.06, 0.5), rng.uniform(0.45, 0.62), 0.38, 0.28)
    brand = "".join(rng.choice(list("ABDEGIKLMNORSTUVX"), rng.integers(3, 6)))
    ink = ((0.1, 0.15, 0.45), (0.5, 0.08, 0.08), (0.08, 0.3, 0.12), (0.07, 0.07, 0.07))
    _text(image, brand, (0.5, 0.3), rng.uniform(0.1, 0.16), ink[rng.integers(len(ink))])
    return image


def _carton_top(rng: Rng) -> Image:
    image = _cardboard(rng)
    _area(image, 0, 0.49, 1, 0.51, (0.2, 0.14, 0.08))
    _area(image, 0, 0.44, 1, 0.56, np.array([0.68, 0.57, 0.40]))
    return image


def _stack(rng: Rng) -> Image:
    """Many cartons seen from one side, as on a full pallet."""
    columns, rows = int(rng.integers(2, 5)), int(rng.integers(3, 6))
    cell = _carton(rng)
    canvas = np.empty((SIZE, SIZE, 3), np.float32)
    u, v = np.linspace(0, SIZE, columns + 1).astype(int), np.linspace(0, SIZE, rows + 1).astype(int)
    for i in range(columns):
        for j in range(rows):
            size = (int(u[i + 1] - u[i]), int(v[j + 1] - v[j]))
            part = cv2.resize(cell, size, interpolation=cv2.INTER_AREA)
            canvas[v[j] : v[j + 1], u[i] : u[i + 1]] = part * rng.uniform(0.85, 1.1)
    return np.clip(canvas, 0, 1)


def _wrapped(rng: Rng) -> Image:
    """Goods under stretch film: pale, with streaks of light."""
    image = 0.45 * _stack(rng) + 0.42 * _fill((0.85, 0.88, 0.9))
    streaks = _noise(rng, 24, 3, stretch=12)
    return np.clip(image + 0.10 * streaks[..., None], 0, 1).astype(np.float32)


def _crate(rng: Rng) -> Image:
    tones = ((0.12, 0.25, 0.55), (0.55, 0.12, 0.1), (0.15, 0.4, 0.2), (0.3, 0.3, 0.32))
    base = np.array(tones[rng.integers(len(tones))])
    image = _fill(base)
    for row in range(4):
        top = row / 4
        _area(image, 0, top, 1, top + 0.03, base * 0.4)
        _area(image, 0, top + 0.03, 1, top + 0.07, np.minimum(base * 1.5, 1))
        for column in range(6):
            x = column / 6 + 0.03
            _area(image, x, top + 0.11, x + 0.1, top + 0.2, base * 0.5)
    return _shade(image, 0.06 * _noise(rng, 4, 3))


def _drum(rng: Rng) -> Image:
    tones = ((0.1, 0.22, 0.5), (0.5, 0.1, 0.08), (0.1, 0.1, 0.11), (0.65, 0.5, 0.1))
    image = _fill(tones[rng.integers(len(tones))])
    for y in (0.0, 0.32, 0.64, 0.96):
        _area(image, 0, y, 1, y + 0.04, (0.35, 0.35, 0.36))
    for x in (0.05, 0.55):
        _label(image, rng, x, 0.4, 0.18, 0.2)
    return _shade(image, 0.06 * _noise(rng, 4, 4))


def _sacks(rng: Rng) -> Image:
    image = _fill(np.array([0.68, 0.64, 0.54]) * rng.uniform(0.8, 1.1))
    for row in range(6):
        shift = 0.25 * (row % 2)
        y = np.arange(SIZE) / SIZE * 6 - row
        bulge = np.clip(1 - (2 * y - 1) ** 2, 0, 1) * ((y > 0) & (y < 1))
        image *= 1 - 0.25 * ((y > 0) & (y < 1) * (bulge < 0.3))[:, None, None]
        for column in range(2):
            _area(image, (column / 2 + shift) % 1, row / 6, (column / 2 + shift) % 1 + 0.012,
                  (row + 1) / 6, (0.25, 0.22, 0.18))  # fmt: skip
        _text(image, "CEMENT", ((0.25 + shift) % 1, (row + 0.5) / 6), 0.05, (0.2, 0.25, 0.4))
    return _shade(image, 0.06 * _noise(rng, 8, 3))


def _steel(rng: Rng) -> Image:
    """Painted metal: white, so that the tint decides; worn at places."""
    image = _shade(_fill((0.9, 0.9, 0.9)), 0.05 * _noise(rng, 4, 4))
    worn = _noise(rng, 8, 4) > 1.25
    image[worn] *= np.array([0.55, 0.5, 0.48], np.float32)
    return image


def _deck(rng: Rng) -> Image:
    """Rack shelf boards."""
    image = _wood(rng)
    for column in range(8):
        _area(image, column / 8, 0, column / 8 + 0.012, 1, (0.12, 0.09, 0.06))
    return image


def _hazard(rng: Rng) -> Image:
    """Yellow and black diagonals."""
    v, u = np.mgrid[0:SIZE, 0:SIZE]
    image = _fill((0.82, 0.62, 0.05))
    image[((u + v) // (SIZE // 4)) % 2 == 0] = (0.05, 0.05, 0.05)
    return _shade(image, 0.06 * _noise(rng, 4, 4))


def _red_white(rng: Rng) -> Image:
    image = _fill((0.85, 0.85, 0.83))
    for band in range(2):
        _area(image, 0, band / 2, 1, band / 2 + 0.25, (0.72, 0.07, 0.05))
    return image


def _paint(rng: Rng) -> Image:
    """Floor paint, white so that the tint decides, worn through in places."""
    image = _shade(_fill((0.95, 0.95, 0.95)), 0.05 * _noise(rng, 8, 3))
    worn = np.clip(_noise(rng, 6, 5) - 0.75, 0, 1)[..., None]
    return np.asarray(image * (1 - worn) + 0.4 * worn, np.float32)


def _roller_door(rng: Rng) -> Image:
    image = _fill((0.62, 0.64, 0.66))
    slats = np.sin(np.arange(SIZE) * 2 * np.pi * 20 / SIZE).astype(np.float32)
    return _shade(image, np.tile(0.18 * slats[:, None], (1, SIZE)) + 0.05 * _noise(rng, 4, 3))


def _door(rng: Rng) -> Image:
    tones = ((0.25, 0.32, 0.42), (0.4, 0.2, 0.15), (0.3, 0.38, 0.3))
    image = _fill(tones[rng.integers(len(tones))])
    _area(image, 0.3, 0.12, 0.7, 0.38, (0.55, 0.65, 0.7))
    _area(image, 0.82, 0.5, 0.9, 0.54, (0.75, 0.75, 0.75))
    _area(image, 0, 0, 1, 0.02, (0.1, 0.1, 0.1))
    _area(image, 0, 0, 0.03, 1, (0.1, 0.1, 0.1))
    _area(image, 0.97, 0, 1, 1, (0.1, 0.1, 0.1))
    return image


def _roof(rng: Rng) -> Image:
    image = _fill((0.5, 0.51, 0.52))
    ribs = np.sin(np.arange(SIZE) * 2 * np.pi * 6 / SIZE).astype(np.float32)
    return _shade(image, np.tile(0.15 * ribs, (SIZE, 1)))


def _cloth(rng: Rng) -> Image:
    return _shade(_fill((0.9, 0.9, 0.9)), 0.10 * _noise(rng, 4, 4) + 0.04 * _noise(rng, 64, 1))


def _vest(rng: Rng) -> Image:
    """A high-visibility vest, tinted yellow or orange, with grey reflective bands."""
    image = _cloth(rng)
    for y in (0.45, 0.7):
        _area(image, 0, y, 1, y + 0.1, (0.8, 0.85, 0.95))
    for x in (0.12, 0.36, 0.62, 0.86):
        _area(image, x, 0, x + 0.05, 0.5, (0.8, 0.85, 0.95))
    return image


def _rubber(rng: Rng) -> Image:
    image = _shade(_fill((0.045, 0.045, 0.05)), 0.2 * _noise(rng, 16, 2))
    _area(image, 0.0, 0.4, 1, 0.5, (0.09, 0.09, 0.09))
    return image


def _sky(rng: Rng) -> Image:
    v = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None, None]
    image = (1 - v) * _fill((0.5, 0.68, 0.95)) + v * _fill((0.9, 0.93, 0.97))
    yard = slice(round(0.72 * SIZE), SIZE)
    image[yard] = np.asarray((0.42, 0.42, 0.40), np.float32)
    return _shade(image, 0.04 * _noise(rng, 3, 4))


def _panel(rng: Rng) -> Image:
    """The front of a charger: screen, lamps, vents."""
    image = _fill((0.8, 0.82, 0.82))
    _area(image, 0.2, 0.1, 0.8, 0.35, (0.05, 0.12, 0.16))
    _text(image, "72%", (0.5, 0.23), 0.12, (0.2, 0.9, 0.4))
    for row in range(5):
        _area(image, 0.2, 0.6 + row * 0.06, 0.8, 0.63 + row * 0.06, (0.3, 0.3, 0.3))
    _area(image, 0.25, 0.44, 0.35, 0.5, (0.1, 0.8, 0.2))
    _area(image, 0.45, 0.44, 0.55, 0.5, (0.9, 0.6, 0.1))
    return image


def _sign(text: str, paper: Colour, ink: Colour, height: float = 0.5) -> Painter:
    def paint(rng: Rng) -> Image:
        image = _fill(ink)
        _area(image, 0.04, 0.04, 0.96, 0.96, paper)
        _text(image, text, (0.5, 0.5), height, ink)
        return image

    return paint


def _warning(rng: Rng) -> Image:
    image = _fill((0.88, 0.88, 0.86))
    triangle = np.array([[128, 20], [240, 210], [16, 210]], np.int32)
    cv2.fillPoly(image, [triangle], (0.03, 0.03, 0.03), cv2.LINE_AA)
    inner = np.array([[128, 48], [216, 197], [40, 197]], np.int32)
    cv2.fillPoly(image, [inner], (0.9, 0.68, 0.05), cv2.LINE_AA)
    _text(image, "!", (0.5, 0.58), 0.32, (0.03, 0.03, 0.03))
    _text(image, "FORKLIFTS", (0.5, 0.91), 0.08, (0.03, 0.03, 0.03))
    return image


_YELLOW, _BLACK, _PAPER = (0.88, 0.72, 0.08), (0.03, 0.03, 0.03), (0.9, 0.9, 0.88)

# Name -> (metres covered by one repeat, 0 = fitted onto a face; painter).
_SPECS: dict[str, tuple[float, Painter]] = {
    "plain": (0.0, _plain),
    "concrete": (3.0, _concrete),
    "wall": (2.4, _wall),
    "wood": (0.8, _wood),
    "cardboard": (0.0, _cardboard),
    "carton_top": (0.0, _carton_top),
    "steel": (1.0, _steel),
    "deck": (1.2, _deck),
    "hazard": (0.6, _hazard),
    "red_white": (0.8, _red_white),
    "paint": (1.5, _paint),
    "roller_door": (0.0, _roller_door),
    "door": (0.0, _door),
    "roof": (2.0, _roof),
    "cloth": (0.0, _cloth),
    "vest": (0.0, _vest),
    "rubber": (0.3, _rubber),
    "sky": (0.0, _sky),
    "panel": (0.0, _panel),
    "drum": (0.0, _drum),
    "sacks": (0.0, _sacks),
    "warning": (0.0, _warning),
    "exit": (0.0, _sign("EXIT", (0.05, 0.45, 0.15), _PAPER, 0.28)),
    "fire": (0.0, _sign("FIRE", (0.7, 0.06, 0.05), _PAPER, 0.25)),
    "charging": (0.0, _sign("CHARGE", (0.08, 0.2, 0.55), _PAPER, 0.18)),
    **{f"carton_{i}": (0.0, _carton) for i in range(CARTON_STYLES)},
    **{f"stack_{i}": (0.0, _stack) for i in range(CARTON_STYLES)},
    **{f"wrapped_{i}": (0.0, _wrapped) for i in range(2)},
    **{f"crate_{i}": (0.0, _crate) for i in range(2)},
    **{f"aisle_{c}": (0.0, _sign(c, _YELLOW, _BLACK, 0.6)) for c in AISLE_LETTERS},
    **{f"dock_{c}": (0.0, _sign(c, _PAPER, (0.08, 0.2, 0.5), 0.6)) for c in DOCK_NUMBERS},
}
NAMES = tuple(_SPECS)
LAYER = {name: index for index, name in enumerate(NAMES)}
TILE = {name: spec[0] for name, spec in _SPECS.items()}


def paint_all(seed: int) -> list[Image]:
    """Return every texture of this seed's world, in the order of NAMES."""
    return [paint(seed, name) for name in NAMES]


def paint(seed: int, name: str) -> Image:
    """Return one texture of this seed's world."""
    return _SPECS[name][1](stream(seed, "texture", name))
