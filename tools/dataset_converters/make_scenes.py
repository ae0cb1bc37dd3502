"""Draw street-like scenes, in the folder layout of Cityscapes.

A small stand-in for Cityscapes that can be made anywhere: the same 19 classes (ten of
them occur), labels as train ids, 255 where unlabelled. Light, colours and textures
vary from scene to scene, so colour alone does not distinguish the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmkd_logit.arguments import Parser
from mmkd_logit.entry_point import run_tool

ROAD, SIDEWALK, BUILDING, POLE, SIGN = 0, 1, 2, 5, 7
VEGETATION, TERRAIN, SKY, PERSON, CAR = 8, 9, 10, 11, 13
VOID = 255
COUNTS = {'train': 240, 'val': 60, 'tune': 60}


class Scene:
    """One image and its label map, drawn from far to near."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng, self.height, self.width = rng, height, width
        self.image = Image.new('RGB', (width, height))
        self.labels = Image.new('L', (width, height), VOID)
        self._on_image = ImageDraw.Draw(self.image)
        self._on_labels = ImageDraw.Draw(self.labels)

    def colour(self, *base: int, spread: int = 25) -> tuple[int, ...]:
        shifted = np.array(base) + self.rng.integers(-spread, spread + 1, 3)
        return tuple(int(value) for value in shifted.clip(0, 255))

    def grey(self, low: int, high: int) -> tuple[int, ...]:
        return self.colour(*[int(self.rng.integers(low, high))] * 3, spread=12)

    def shape(self, kind: str, label: int, points: list, colour: tuple) -> None:
        """Draw a 'polygon', 'rectangle' or 'ellipse' on both."""
        getattr(self._on_image, kind)(points, fill=colour)
        getattr(self._on_labels, kind)(points, fill=label)

    def box(
        self, label: int, x: float, bottom: float, w: float, h: float, colour: tuple
    ) -> None:
        self.shape('rectangle', label, [x, bottom - h, x + w, bottom], colour)

    def draw(self) -> None:
        h, w, rng = self.height, self.width, self.rng
        horizon = h * rng.uniform(0.35, 0.5)
        vanish = w * rng.uniform(0.35, 0.65)
        self.box(SKY, 0, h, w, h, self.colour(170, 190, 215, spread=40))
        self._far(horizon)
        ground = rng.choice([SIDEWALK, TERRAIN], p=[0.7, 0.3])
        colour = (
            self.grey(110, 170) if ground == SIDEWALK else self.colour(110, 130, 70)
        )
        self.box(int(ground), 0, h, w, h - horizon, colour)
        left, right = -rng.uniform(0, 0.3) * w, (1 + rng.uniform(0, 0.3)) * w
        road = [(left, h), (vanish - 3, horizon), (vanish + 3, horizon), (right, h)]
        self.shape('polygon', ROAD, road, self.grey(70, 120))
        # Nearer objects are drawn later and larger.
        for depth in sorted(rng.uniform(0.1, 1, rng.integers(4, 10))):
            self._near(depth, horizon, vanish)
        hood = h * rng.uniform(0.0, 0.1)
        self.box(VOID, 0, h, w, hood, self.grey(20, 60))

    def _far(self, horizon: float) -> None:
        x = -self.rng.uniform(0, 20)
        while x < self.width:
            width = self.rng.uniform(12, 45)
            kind = self.rng.choice(['building', 'tree', 'gap'], p=[0.6, 0.25, 0.15])
            if kind == 'building':
                top = self.rng.uniform(0.3, 1.0) * horizon
                self.box(BUILDING, x, horizon, width, top, self.grey(80, 170))
                windows = self.grey(60, 200)
                for wx in np.arange(x + 3, x + width - 3, 6):
                    for wy in np.arange(horizon - top + 3, horizon - 3, 7):
                        self.box(BUILDING, wx, wy + 3, 2, 3, windows)
            elif kind == 'tree':
                self._tree(x, horizon, width, self.rng.uniform(0.3, 0.8) * horizon)
            x += width

    def _tree(self, x: float, bottom: float, width: float, height: float) -> None:
        trunk = self.colour(90, 70, 50)
        self.box(VEGETATION, x + 0.45 * width, bottom, 0.1 * width, height / 2, trunk)
        crown = [x, bottom - height, x + width, bottom - 0.25 * height]
        self.shape('ellipse', VEGETATION, crown, self.colour(80, 110, 60, spread=35))

    def _near(self, depth: float, horizon: float, vanish: float) -> None:
        rng, h = self.rng, self.height
        bottom = horizon + depth * (h - horizon) * 0.95
        size = depth * h
        side = rng.choice([-1, 1])
        x = vanish + side * depth * self.width * rng.uniform(0.15, 0.55)
        kind = rng.choice(
            ['car', 'person', 'pole', 'tree', 'void'], p=[0.3, 0.3, 0.2, 0.1, 0.1]
        )
        if kind == 'car':
            x = vanish + side * depth * self.width * rng.uniform(0.0, 0.3)
            w, paint = size * 0.55, self.colour(*rng.integers(30, 220, 3))
            self.box(CAR, x, bottom, w, size * 0.18, paint)
            cabin = [
                (x + w * a, bottom - size * b)
                for a, b in ((0.15, 0.17), (0.28, 0.3), (0.72, 0.3), (0.85, 0.17))
            ]
            self.shape('polygon', CAR, cabin, self.colour(60, 70, 80))
            for a in (0.12, 0.68):
                wheel = [
                    x + a * w,
                    bottom - size * 0.07,
                    x + (a + 0.2) * w,
                    bottom + size * 0.04,
                ]
                self.shape('ellipse', CAR, wheel, (25, 25, 25))
        elif kind == 'person':
            w, tall = size * 0.18, size * 0.5
            self.box(PERSON, x, bottom, w, tall * 0.45, self.colour(50, 55, 80))
            self.box(
                PERSON,
                x,
                bottom - tall * 0.42,
                w,
                tall * 0.4,
                self.colour(*rng.integers(30, 220, 3)),
            )
            head = [x + w * 0.15, bottom - tall, x + w * 0.85, bottom - tall * 0.8]
            self.shape('ellipse', PERSON, head, self.colour(200, 160, 130, spread=40))
        elif kind == 'pole':
            tall = size * rng.uniform(0.6, 0.9)
            self.box(POLE, x, bottom, max(1.5, size * 0.06), tall, self.grey(60, 150))
            sign = self.colour(
                *rng.choice([(200, 40, 40), (40, 60, 190), (210, 190, 40)])
            )
            self.box(
                SIGN,
                x - size * 0.08,
                bottom - tall * 0.75,
                size * 0.22,
                size * 0.22,
                sign,
            )
        elif kind == 'tree':
            self._tree(x - size * 0.2, bottom, size * 0.4, size * 0.8)
        else:
            self.box(
                VOID,
                x,
                bottom,
                size * 0.2,
                size * 0.2,
                self.colour(*rng.integers(0, 255, 3)),
            )

    def finish(self) -> tuple[Image.Image, Image.Image]:
        """Add light, texture and camera noise."""
        pixels = np.asarray(self.image, dtype=np.float32)
        left, right = self.rng.uniform(0.6, 1.2, 2)
        light = np.linspace(left, right, self.width)[None, :, None]
        grain = self.rng.normal(0, 9, (self.height // 2, self.width // 2, 1))
        grain = grain.repeat(2, 0).repeat(2, 1)[: self.height, : self.width]
        noise = self.rng.normal(0, 6, pixels.shape)
        pixels = (pixels * light + grain + noise).clip(0, 255).astype(np.uint8)
        return Image.fromarray(pixels), self.labels


def make_scenes(
    root: Path, counts: dict[str, int], height: int = 96, width: int = 192
) -> None:
    """Write scenes for each split.

    Args:
        root (Path): Folder for leftImg8bit/ and gtFine/.
        counts (dict[str, int]): Number of scenes per split.
        height (int): Height of the images in pixels, even. Defaults to 96.
        width (int): Width of the images in pixels, even. Defaults to 192.
    """
    for number, (split, count) in enumerate(counts.items()):
        images, labels = (
            root / part / split / 'town' for part in ('leftImg8bit', 'gtFine')
        )
        for folder in (images, labels):
            folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            scene = Scene(np.random.default_rng((number, index)), height, width)
            scene.draw()
            image, label = scene.finish()
            name = f'town_{index:06d}_000019'
            image.save(images / f'{name}_leftImg8bit.png')
            label.save(labels / f'{name}_gtFine_labelTrainIds.png')


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument('root', type=Path, help='folder to write to, as data/scenes')
    args = parser.parse_args(argv)
    make_scenes(args.root, COUNTS)
    print(f'{COUNTS} scenes are in {args.root}.')


if __name__ == '__main__':
    run_tool(main)
