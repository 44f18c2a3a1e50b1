"""The ways in which numbers and dates are written, and how SQL reads each; pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from unicodedata import category

PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
PLAIN_LINES = re.compile(rf"(?:{PLAIN.pattern}\n)*+")
CODE = re.compile(r"[+-]?0\d+")  # 01234 is a code: as a number it would lose the zero
POINT = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")  # 1,234.5
COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?")  # 1.234,5 or 1234,5
SPACE = re.compile(r"[+-]?\d{1,3}([ '’\u00a0\u202f]\d{3})+([.,]\d+)?")
ONLY_COMMA = re.compile(
    r"[+-]?\d+,(\d{1,2}|\d{4,})|[+-]?0,\d+|[+-]?\d{1,3}(\.\d{3})+,\d+"
)
ONLY_POINT = re.compile(r"[+-]?\d{1,3}(,\d{3})+\.\d+|[+-]?\d{1,3}(,\d{3}){2,}")
NO_CHANGE = ("", "", "")
AS_PROGRAMS = {  # by a style's name: what is replaced, by what, and what is left out
    "point": ("", "", ","),
    "comma": (",", ".", "."),
    "space": (",", ".", " '’\u00a0\u202f"),
}
DATE = re.compile(r"(?=.*\d).*[-/.: T].*")
ZONE = r"[T ]\d\d(:?\d\d)*([.,]\d+)? ?([Zz]|[+-]\d\d(:?\d\d)?)\s*$"  # of a time
TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
DAYS: tuple[str, ...] = (
    "%d.%m.%Y",
    "%Y/%m/%d",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
)
DAYS += ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%Y.%m.%d")
DAYS += ("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%b-%y")
TOKENS = {
    "-",
    "--",
    "?",
    ".",
    "*",
    "unknown",
    "Unknown",
    "missing",
    "n.a.",
    "nil",
    "NIL",
}
BLANKS = " \t\u00a0\u202f"  # beside a sign; a sheet writes one that breaks no line
ANY = re.compile("|".join(f"({p.pattern})" for p in (PLAIN, POINT, COMMA, SPACE)))
LIKELY = 0.9  # of the first values: then the rest is taken for mistakes


@dataclass(frozen=True)
class Style:
    """How the values of a column are written: number, comma, ..., date, text."""

    kind: str  # number, date or text
    name: str = ""  # of a number: point, comma, space; of a date: its form
    also: str = ""  # another form that fits all first values as well
    sign: str = ""  # of percent or a currency, beside each number

    def sql(self, column: str) -> str:
        """Return the expression that reads a value, or gives null."""
        if self.kind == "text":
            return column
        if self.kind == "date":
            return (
                f"try_cast({column} as timestamptz)"
                if not self.name
                else (f"timezone('UTC', try_strptime({column}, '{self.name}'))")
            )
        if self.sign:
            column = _bare(column, self.sign)
        text = {
            "": column,
            "point": f"replace({column}, ',', '')",
            "comma": f"replace(replace({column}, '.', ''), ',', '.')",
            "space": (
                f"replace(translate({column}, ' ''’\u00a0\u202f', ''), ',', '.')"
            ),
        }[self.name]
        number = f"try_cast({text} as double)"
        return f"case when isfinite({number}) then {number} end"

    @property
    def iso(self) -> bool:
        """Whether these are dates of ISO 8601, each of which may name its zone."""
        return self.kind == "date" and not self.name

    def zoned(self, column: str) -> str:
        """Return the expression that tells whether a time of ISO 8601 names a zone."""
        return f"regexp_matches({column}, '{ZONE}')"

    def exact(self, text: str) -> Decimal | None:
        """Return the number that a text spells, to its last digit, or None.

        05 is a code, and 1e999999999999999999999 is too large for any.
        """
        bare = text.translate(str.maketrans(*AS_PROGRAMS.get(self.name, NO_CHANGE)))
        if not PLAIN.fullmatch(bare) or CODE.fullmatch(bare):
            return None
        try:
            return Decimal(bare)
        except InvalidOperation:
            return None

    @property
    def words(self) -> str:
        """What it is called on the page."""
        forms = {
            "point": "numbers written as 1,234.5",
            "comma": "numbers written as 1.234,5",
            "space": "numbers written as 1 234,5",
        }
        if self.kind == "date":
            return f"dates written as {self.name or 'ISO 8601'}"
        suffix = f" with {self.sign}" if self.sign else ""
        return forms.get(self.name, f"{self.kind}s") + suffix


TEXT = Style("text")
NUMBER = Style("number")  # as programs write it: -1.5e3


def style(values: Sequence[str], comma: bool = False) -> Style:
    """Return how most of some values are written; `comma` is what the table prefers."""
    values = [v.strip() for v in values if v not in TOKENS]
    if not values:
        return TEXT
    if not any("." in v for v in values) and any(map(CODE.fullmatch, values)):
        return TEXT
    if not comma and are_plain(values):
        return Style("number")

    counts = Counter(values)  # each is looked at once, however often it stands there

    def rows(pattern: re.Pattern[str]) -> int:
        return sum(n for value, n in counts.items() if pattern.fullmatch(value))

    def most(pattern: re.Pattern[str]) -> bool:
        return rows(pattern) >= LIKELY * len(values)

    grouped = comma and any(v.count(".") > 1 or ONLY_COMMA.fullmatch(v) for v in values)
    if most(PLAIN) and not grouped:
        dotted = [v for v in counts if "." in v]
        thousands = comma and dotted and all(COMMA.fullmatch(v) for v in dotted)
        return Style("number", "comma" if thousands else "")
    if most(SPACE) or (
        most(re.compile(f"{SPACE.pattern}|{PLAIN.pattern}|\\d+,\\d+"))
        and any(SPACE.fullmatch(v) for v in counts)
    ):
        return Style("number", "space")
    points, commas = rows(ONLY_POINT), rows(ONLY_COMMA)
    either = re.compile(f"({POINT.pattern})|({PLAIN.pattern})")
    first = (
        ("comma", COMMA)
        if commas > points or (comma and not points)
        else ("point", either)
    )
    for name, pattern in (first, ("comma", COMMA), ("point", either)):
        if most(pattern):
            return Style("number", name)
    return _date(values)


def _signed(sign: str) -> str:
    """Return the pattern of a sign before or after a number, its own sign in \\1."""
    gap = f"[{BLANKS}]*"
    return rf"^([+-]?){gap}{re.escape(sign)}{gap}|{gap}{re.escape(sign)}$"


def _bare(column: str, sign: str) -> str:
    """Return the expression for a text without its sign; null without one.

    A number alone may be a share where another is a percentage.
    """
    trimmed = f"trim({column}, '{BLANKS}')"
    bare = f"regexp_replace({trimmed}, '{_signed(sign)}', '\\1')"
    return f"case when contains({column}, '{sign}') then {bare} end"


def is_sign(letter: str) -> bool:
    """Tell whether a letter is the sign of percent or of a currency."""
    return letter in "%‰" or category(letter) == "Sc"


def sign(values: Sequence[str]) -> str:
    """Return the sign of percent or a currency that each value has beside a number.

    "" is none, also where they have different ones, or some have none.
    """
    values = [v.strip(BLANKS) for v in values if v not in TOKENS]
    signs = set(filter(is_sign, set[str]().union(*values)))
    if len(signs) != 1:
        return ""
    (symbol,) = signs
    bare = bares(values, symbol)
    alone = all(v.count(symbol) == 1 for v in values)
    return symbol if alone and all(map(ANY.fullmatch, bare)) else ""


def bares(values: Sequence[str], sign: str) -> list[str]:
    """Return values without the sign beside them."""
    return [re.sub(_signed(sign), r"\1", value.strip(BLANKS)) for value in values]


def signed_otherwise(values: Sequence[str], sign: str) -> list[str]:
    """Return values that are numbers to a reader: of another sign, or of none.

    Whoever takes them for missing loses one currency of two, or what is negative.
    """
    found = []
    for value in values:
        letters = [c for c in value if not (c.isspace() or c in "()\u2212")]
        bare = "".join(c for c in letters if not is_sign(c))
        if (sign or len(bare) < len(letters)) and ANY.fullmatch(bare):
            found.append(value)
    return found


def are_plain(values: Sequence[str]) -> bool:
    """Tell whether all values are plain numbers; at once, as there are many."""
    lines = "\n".join([*values, ""])
    one_each = lines.count("\n") == len(values)
    return one_each and PLAIN_LINES.fullmatch(lines) is not None


def _date(values: Sequence[str]) -> Style:
    """Return the form in which most values are dates; text where there is none."""
    from datetime import datetime

    looks = [v for v in values if DATE.fullmatch(v) and 6 <= len(v) <= 40]
    if len(looks) < LIKELY * len(values):
        return TEXT

    def fit(form: str) -> int:
        count = 0
        for value in looks[:500]:
            try:
                datetime.strptime(value, form)  # a form is looked for
                count += 1
            except ValueError:
                pass
        return count

    def iso(value: str) -> bool:
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return False
        return not value.isdigit()

    if sum(map(iso, looks)) >= LIKELY * len(values):
        return Style("date")
    counts = {day + time: fit(day + time) for day in DAYS for time in TIMES}
    best = max(counts.values())
    if best < LIKELY * len(looks[:500]):
        return TEXT
    forms = [form for form, count in counts.items() if count == best]
    return Style("date", forms[0], forms[1] if len(forms) > 1 else "")


def prefers_comma(columns: Sequence[Sequence[str]], delimiter: str = ",") -> bool:
    """Tell whether a table writes its decimals with a comma, by its clear values."""
    commas = points = 0
    if not any("," in value for values in columns for value in values):
        return False  # most tables: nothing is left to weigh
    for values in columns:
        marked = [v.strip() for v in values if "," in v]
        dotted = [v.strip() for v in values if "." in v and "," not in v]
        commas += sum(1 for v in marked if ONLY_COMMA.fullmatch(v))
        points += sum(1 for v in marked if ONLY_POINT.fullmatch(v))
        points += sum(
            1 for v in dotted if PLAIN.fullmatch(v) and not COMMA.fullmatch(v)
        )
    return commas > points
