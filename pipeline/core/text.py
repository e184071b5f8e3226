"""Numbers and foreign text as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.names import LONGEST_LABEL


def percent(share: float | None, digits: int = 1) -> str:
    """ "97.3 %"; a dash for what was not measured.

    >>> percent(0.9731), percent(None)
    ('97.3 %', '–')
    """
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def count(number: float) -> str:
    """Thousands apart: "1 234 567".

    >>> count(1234567.0)
    '1\u202f234\u202f567'
    """
    return f"{number:,.0f}".replace(",", "\u202f")


def counted(number: int, noun: str) -> str:
    """A number of things: "1 sample", "1 559 samples". noun: regular, in the singular.

    >>> counted(1, "sample"), counted(200, "attack"), counted(0, "layer")
    ('1 sample', '200 attacks', '0 layers')
    """
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def listed(items: Sequence[str], most: int) -> str:
    """The items, of many the first: "a, b and 3 more".

    >>> listed(["a", "b"], 2), listed(["a", "b", "c"], 2)
    ('a, b', 'a, b and 1 more')
    """
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def compact(number: float) -> str:
    """Three digits and a unit: "83.8 M".

    >>> compact(83807216), compact(5998353), compact(373840), compact(692)
    ('83.8 M', '6.00 M', '374 k', '692')
    """
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= limit:
            scaled = number / limit
            return f"{scaled:.{max(0, 3 - len(str(int(scaled))))}f}{unit}"
    return f"{number:.0f}"


def size(number: int) -> str:
    """Bytes as a person reads them.

    >>> size(812), size(6144)
    ('812 B', '6.0 KiB')
    """
    if number < 1024:
        return f"{number} B"
    return f"{number / 1024:.1f} KiB" if number < 1 << 20 else f"{number / (1 << 20):.1f} MiB"


def signed(change: int) -> str:
    """A change of bytes with its sign: "+120".

    >>> signed(120), signed(-3), signed(0)
    ('+120', '−3', '0')
    """
    return "0" if not change else f"{'+' if change > 0 else chr(0x2212)}{count(abs(change))}"


def printable(foreign: str) -> str:
    """The text without what is not printable, at most LONGEST_LABEL characters.

    >>> printable("net\x1b[2J.h5")
    'net[2J.h5'
    """
    return "".join(filter(str.isprintable, foreign))[:LONGEST_LABEL]


def one_line(foreign: str) -> str:
    """The text in one line, what is not printable as Python escapes.

    >>> print(one_line("two\\nlines \\x07"))
    two lines \\x07
    """
    line = " ".join(foreign.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def duration(seconds: float) -> str:
    """A time as a person reads it.

    >>> duration(8.25), duration(1000), duration(11400)
    ('8.2 s', '16 min 40 s', '3 h 10 min')
    """
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
