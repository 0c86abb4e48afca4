"""The job by hand in Python, for engines that leave per-event windows to the user."""

import math
from collections import Counter, deque
from typing import Sequence

from fraud import WINDOWS_MS


class Window:
    """Running values over the payments of one length before the latest."""

    __slots__ = ("length", "live", "sum", "squares", "greatest")

    def __init__(self, length: int) -> None:
        self.length = length
        self.live: deque[tuple[int, float, int]] = deque()
        self.sum = 0.0
        self.squares = 0.0
        # Falling amounts: the first is the maximum.
        self.greatest: deque[tuple[int, float]] = deque()

    def update(self, ts: int, amount: float, merchant: int) -> list[int]:
        """Takes a payment in; the merchants of those that leave."""
        live, greatest = self.live, self.greatest
        live.append((ts, amount, merchant))
        self.sum += amount
        self.squares += amount * amount
        while greatest and greatest[-1][1] <= amount:
            greatest.pop()
        greatest.append((ts, amount))
        end = ts - self.length
        left = []
        while live[0][0] <= end:
            _, old, merchant = live.popleft()
            self.sum -= old
            self.squares -= old * old
            left.append(merchant)
        while greatest[0][0] <= end:
            greatest.popleft()
        return left

    def features(self) -> tuple[float, ...]:
        """Count, sum, mean, standard deviation and maximum."""
        count = len(self.live)
        mean = self.sum / count
        std = math.nan
        if count > 1:
            std = math.sqrt(max(self.squares - self.sum * mean, 0.0) / (count - 1))
        return count, self.sum, mean, std, self.greatest[0][1]


class Card:
    """The state of one card."""

    __slots__ = ("windows", "merchants")

    def __init__(self) -> None:
        self.windows = [Window(length) for length in WINDOWS_MS.values()]
        self.merchants: Counter[int] = Counter()

    def update(self, ts: int, amount: float, merchant: int) -> Sequence[float]:
        """Takes the card's next payment in and gives its sixteen features."""
        row: list[float] = []
        left: list[int] = []
        for window in self.windows:
            left = window.update(ts, amount, merchant)
            row += window.features()
        merchants = self.merchants
        merchants[merchant] += 1
        for old in left:
            merchants[old] -= 1
            if not merchants[old]:
                del merchants[old]
        row.append(len(merchants))
        return row
