"""What the retailer sells: products with categories, prices in each currency, and the promotions of a day."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from retail_platform.producer.simulator.draw import Weighted, weighted

#: Local prices for one dollar of the price list; a retailer's price points, not the day's exchange rate.
_PRICE_LEVELS = {"USD": 1.0, "GBP": 0.82, "EUR": 0.95, "CAD": 1.33}
_ENDINGS = (99, 99, 99, 95, 49, 0)
_PROMOTED_SHARE = 0.08
_PERCENTS_OFF = (10, 10, 15, 20, 20, 25, 30, 50)

_STYLES = (
    "Classic", "Organic", "Vintage", "Compact", "Deluxe", "Everyday", "Nordic", "Striped", "Recycled", "Café",
    "Heritage", "Pocket", "Family", "Travel", "Artisan", "Soft", "Bright", "Rustic", "Royal", "Mini",
)  # fmt: skip

_CATEGORIES = (
    # name, share of the catalogue, median price in dollars, spread (sigma of the logarithm), nouns
    ("Grocery", 22, 4.5, 0.5, ("Coffee", "Olive Oil", "Granola", "Tea", "Pasta", "Honey", "Chocolate", "Crackers")),
    ("Home", 14, 24.0, 0.7, ("Cushion", "Throw", "Lantern", "Vase", "Candle", "Picture Frame", "Doormat")),
    ("Kitchen", 12, 22.0, 0.7, ("Skillet", "Mug", "Chopping Board", "Kettle", "Knife", "Mixing Bowl", "Teapot")),
    ("Apparel", 16, 32.0, 0.6, ("T-shirt", "Jumper", "Jeans", "Scarf", "Socks", "Jacket", "Dress")),
    ("Toys", 10, 18.0, 0.6, ("Puzzle", "Teddy Bear", "Building Blocks", "Board Game", "Kite", "Model Train")),
    ("Beauty", 9, 14.0, 0.6, ("Hand Cream", "Shampoo", "Soap", "Face Mask", "Perfume", "Lip Balm")),
    ("Electronics", 7, 95.0, 0.9, ("Headphones", "Speaker", "Charger", "Keyboard", "Tablet", "Camera")),
    ("Stationery", 5, 7.0, 0.5, ("Notebook", "Pen Set", "Gift Wrap", "Calendar", "Sketchbook")),
    ("Sports", 5, 38.0, 0.8, ("Yoga Mat", "Football", "Water Bottle", "Tent", "Running Belt", "Dumbbell")),
)


@dataclass(frozen=True, slots=True)
class Product:
    """A product. ``prices`` holds whole cents by currency."""

    id: str
    name: str
    category: str
    prices: dict[str, int]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All products, and the same by how often they sell."""

    products: tuple[Product, ...]
    by_demand: Weighted[Product]


def make_catalogue(count: int, random: Random) -> Catalogue:
    """``count`` products; a few sell much more often than the rest."""
    categories = weighted((category, category[1]) for category in _CATEGORIES)
    products = tuple(_product(number, categories.draw(random), random) for number in range(1, count + 1))
    ranks = list(range(1, count + 1))
    random.shuffle(ranks)
    return Catalogue(products, weighted((product, rank**-0.7) for product, rank in zip(products, ranks, strict=True)))


def promotions(catalogue: Catalogue, random: Random) -> dict[str, int]:
    """One day's promotions: percent off by product id."""
    promoted = random.sample(catalogue.products, round(len(catalogue.products) * _PROMOTED_SHARE))
    return {product.id: random.choice(_PERCENTS_OFF) for product in promoted}


def _product(number: int, category: tuple[str, int, float, float, tuple[str, ...]], random: Random) -> Product:
    name, _, median, spread, nouns = category
    dollars = median * random.lognormvariate(0, spread)
    ending = random.choice(_ENDINGS)
    prices = {currency: _price_point(dollars * level, ending) for currency, level in _PRICE_LEVELS.items()}
    return Product(f"P{number:05d}", f"{random.choice(_STYLES)} {random.choice(nouns)}", name, prices)


def _price_point(amount: float, ending: int) -> int:
    """Whole cents near ``amount`` that end as the shop's prices do; at least 49."""
    return max(49, int(amount) * 100 + ending)
