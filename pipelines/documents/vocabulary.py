"""What rendered documents are about: people, places, goods, and topics whose rows and columns make tables and charts.

No word differs from another by one confusable glyph, and names of one document are drawn without repetition.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from reelmill.pipelines.documents.content import Column, Row, Table

PEOPLE = (
    "Anna Fischer", "Marco Conti", "Lucy Harper", "Omar Haddad", "Ines Moreau", "Peter Novak", "Clara Jensen",
    "David Okafor", "Mei Tanaka", "Rosa Delgado", "Hugo Lambert", "Nora Schmidt", "Samir Patel", "Elena Petrova",
)  # fmt: skip
PLACES = (
    "Brighton", "Lisbon", "Gdansk", "Porto", "Bergen", "Verona", "Cardiff", "Lyon", "Malmo", "Bruges", "Salzburg",
    "Oxford", "Tampere", "Seville", "Leeds", "Utrecht",
)  # fmt: skip
STREETS = (
    "Mill Lane",
    "Station Road",
    "Harbour Street",
    "Church Walk",
    "Castle Hill",
    "Market Square",
    "Bridge Street",
)
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November")
SHORT_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
SHOPS = (
    "Corner Bakery", "Green Basket", "Harbour Books", "Mill Street Cafe", "Northside Market", "Old Town Pharmacy",
    "Paper and Pen", "River Deli", "Sunny Garden Shop", "The Tea Room",
)  # fmt: skip
GOODS = (
    "Apple juice", "Brown bread", "Butter", "Cheese roll", "Coffee", "Dark chocolate", "Eggs", "Green tea", "Honey",
    "Lemon cake", "Milk", "Notebook", "Olive oil", "Orange", "Pasta", "Pencil set", "Rice", "Soup", "Tomato", "Yoghurt",
)  # fmt: skip
CURRENCIES = ("${}", "€{}", "£{}")


@dataclass(frozen=True, slots=True)
class Measure:
    """A numeric column: its header, the form of its cells, least and most value, and decimals."""

    name: str
    form: str
    least: int
    most: int
    decimals: int = 0


@dataclass(frozen=True, slots=True)
class Topic:
    """What a table or chart is about. The first measure is the one that a chart with one series shows."""

    title: str
    rows_are: str
    rows: tuple[str, ...]
    measures: tuple[Measure, ...]


TOPICS = (
    Topic(
        "Sales by region",
        "region",
        ("North", "South", "East", "West", "Islands", "Highlands", "Coast", "Capital", "Midlands"),
        (
            Measure("Orders", "{}", 10, 95),
            Measure("Returns", "{}", 2, 30),
            Measure("Revenue", "${}", 110, 990),
            Measure("Share", "{}%", 3, 60),
        ),
    ),
    Topic(
        "Nutrition per portion",
        "food",
        ("Lentils", "Salmon", "Tofu", "Oats", "Almonds", "Spinach", "Potato", "Chicken", "Yoghurt"),
        (
            Measure("Energy", "{} kcal", 40, 620),
            Measure("Protein", "{} g", 2, 38),
            Measure("Fat", "{} g", 1, 29, 1),
            Measure("Fibre", "{} g", 1, 17, 1),
        ),
    ),
    Topic(
        "Weather stations",
        "station",
        PLACES[:9],
        (
            Measure("Rain", "{} mm", 12, 98),
            Measure("Wind", "{} km/h", 8, 64),
            Measure("High", "{} °C", 14, 36),
            Measure("Low", "{} °C", 2, 13),
        ),
    ),
    Topic(
        "Library loans",
        "subject",
        ("History", "Poetry", "Travel", "Science", "Cookery", "Music", "Gardening", "Comics", "Drama"),
        (
            Measure("Adults", "{}", 15, 240),
            Measure("Children", "{}", 10, 190),
            Measure("Staff", "{}", 3, 40),
            Measure("Renewals", "{}", 5, 88),
        ),
    ),
    Topic(
        "Team results",
        "team",
        ("Falcons", "Rovers", "Dragons", "Comets", "Wolves", "Mariners", "Pioneers", "Badgers", "Giants"),
        (
            Measure("Points", "{}", 11, 92),
            Measure("Wins", "{}", 2, 28),
            Measure("Draws", "{}", 1, 12),
            Measure("Goals", "{}", 14, 79),
        ),
    ),
    Topic(
        "Train departures",
        "line",
        ("Express", "Regional", "Coastal", "Airport", "Night", "Mountain", "Lakeside", "Freight", "Tourist"),
        (
            Measure("Trains", "{}", 4, 48),
            Measure("Seats", "{}", 120, 860),
            Measure("Delay", "{} min", 1, 39),
            Measure("Fare", "€{}", 4, 49, 2),
        ),
    ),
)
# The word of a notice in several languages: Latin, Greek and Cyrillic, which the fonts at hand cover.
NOTICES = (
    ("Exit", "Ausgang", "Sortie", "Salida", "Έξοδος", "Выход"),
    ("Entrance", "Eingang", "Entrée", "Entrada", "Είσοδος", "Вход"),
    ("Danger", "Gefahr", "Attention", "Peligro", "Κίνδυνος", "Опасно"),
    ("Tickets", "Fahrkarten", "Billets", "Billetes", "Εισιτήρια", "Билеты"),
    ("Library", "Bücherei", "Bibliothèque", "Biblioteca", "Βιβλιοθήκη", "Библиотека"),
    ("Closed", "Geschlossen", "Fermé", "Cerrado", "Κλειστό", "Закрыто"),
)
LANGUAGES = ("English", "German", "French", "Spanish", "Greek", "Russian")


def number(rng: random.Random, measure: Measure) -> str:
    """A value of a measure without its unit."""
    scale = 10**measure.decimals
    return f"{rng.randint(measure.least * scale, measure.most * scale) / scale:.{measure.decimals}f}"


def table(rng: random.Random, topic: Topic, rows: int, measures: int) -> Table:
    """Some rows and measures of a topic, with two names of rows that it lacks."""
    chosen = sorted(rng.sample(range(len(topic.measures)), min(measures, len(topic.measures))))
    columns = [topic.measures[i] for i in chosen]
    names = rng.sample(topic.rows, min(rows + 2, len(topic.rows)))
    made = tuple(Row(n, tuple(m.form.format(number(rng, m)) for m in columns)) for n in names[:-2])
    return Table(topic.rows_are, tuple(Column(m.name, m.form) for m in columns), made, tuple(names[-2:]))


def date(rng: random.Random, first: int = 2019, last: int = 2026) -> str:
    """A day of one of the years from `first` to `last`."""
    return f"{rng.randint(2, 28)} {rng.choice(MONTHS)} {rng.randint(first, last)}"


def clock(rng: random.Random) -> str:
    return f"{rng.randint(8, 21):02d}:{rng.choice((5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55)):02d}"


def phone(rng: random.Random) -> str:
    return f"0{rng.randint(20, 98)} {rng.randint(200, 999)} {rng.randint(2000, 9999)}"


def email(rng: random.Random, person: str) -> str:
    first, last = person.lower().split(" ")
    return f"{first}.{last}@{rng.choice(('example.org', 'example.com', 'example.net'))}"
