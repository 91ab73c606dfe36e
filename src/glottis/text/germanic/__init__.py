"""German and Dutch as they are read aloud: numbers, dates, money, abbreviations, signs.

The two write such things alike (a comma before decimals, the day before the month) and say them
differently: :mod:`rules` holds what is written, :mod:`german` and :mod:`dutch` what is said.
"""

from glottis.text.germanic.rules import read

__all__ = ["read"]
