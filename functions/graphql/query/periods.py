"""Numbers of the calendar's days, weeks and months in UTC, so that a store can subtract them."""

from datetime import date, timedelta
from enum import StrEnum

from functions.graphql.query.days import FIRST_DAY

_THURSDAY = 3  # FIRST_DAY is one: three days after the Monday of its week
_DAYS_OF_WEEK = 7
_MONTHS_OF_YEAR = 12


class Period(StrEnum):
    """A length of the calendar's periods."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def number_of(self, day: date) -> int:
        """The number of the period that the day is in. Periods that follow each other have numbers that do.

        >>> Period.WEEK.number_of(date(1970, 1, 1)), Period.MONTH.number_of(date(1970, 2, 1))
        (0, 23641)
        """
        days = (day - FIRST_DAY).days
        match self:
            case Period.DAY:
                return days
            case Period.WEEK:
                return (days + _THURSDAY) // _DAYS_OF_WEEK
            case Period.MONTH:
                return day.year * _MONTHS_OF_YEAR + day.month - 1

    def start_of(self, number: int) -> date:
        """The first day of the period of this number.

        >>> Period.WEEK.start_of(1), Period.MONTH.start_of(23641)
        (datetime.date(1970, 1, 5), datetime.date(1970, 2, 1))
        """
        match self:
            case Period.DAY:
                return FIRST_DAY + timedelta(days=number)
            case Period.WEEK:
                return FIRST_DAY + timedelta(days=number * _DAYS_OF_WEEK - _THURSDAY)
            case Period.MONTH:
                return date(number // _MONTHS_OF_YEAR, number % _MONTHS_OF_YEAR + 1, 1)
