"""When each picture of a film is due, what came, and whether the end did."""

from fractions import Fraction

from stream.film import ReadTally

_TRUNCATION_S = 0.1


class Timeline:
    """Gives every picture a time after the last one's, and counts in `tally` what is missing.

    The decoder hands out pictures in order of time, so what was due before one that has come is lost.
    """

    def __init__(self, tally: ReadTally, rate: Fraction | None) -> None:
        self._tally = tally
        self._rate = rate
        self._due: set[int] = set()
        self._newest = -(1 << 63)
        self._last: int | None = None
        self.film_end_s = 0.0
        """End of the last picture."""
        self.file_end_s = 0.0
        """End of the last packet of any other stream that was looked at."""
        self.header_end_s: float | None = None
        """End of the film by its header."""

    def expect(self, pts: int | None) -> None:
        """A packet of the film has been read."""
        if pts is not None:
            self._due.add(pts)

    def arrive(self, pts: int | None, *, interlaced: bool) -> None:
        """A picture has been decoded."""
        if pts is None or interlaced:  # packets of single fields name times that no picture has
            self._due.clear()
            return
        late = {due for due in self._due if due < pts}
        self._tally.frames_lost += len(late) - (pts < self._newest)  # one out of order was counted as lost before
        self._newest = max(self._newest, pts)
        self._due -= late | {pts}

    def place(self, pts: int | None, dts: int | None, duration: int, time_base: Fraction) -> int:
        """The time of the next picture: its pts, else its dts, else a picture's duration on; always after the last."""
        duration = duration or (round(1 / (self._rate * time_base)) if self._rate else 1)
        own = dts if pts is None else pts
        last = self._last
        if own is None:
            placed = 0 if last is None else last + max(1, duration)
        else:
            placed = own if last is None else max(own, last + 1)
        self._tally.times_repaired += pts is None or placed != pts
        self._last = placed
        self.film_end_s = float((placed + duration) * time_base)
        return placed

    def end(self) -> None:
        """All has been read: what is still due is lost, and the last time is compared with the header's."""
        self._tally.frames_lost += len(self._due)
        if self.header_end_s is None:
            return
        missing_s = self.header_end_s - max(self.film_end_s, self.file_end_s)
        if missing_s > max(_TRUNCATION_S, float(2 / self._rate) if self._rate else 0.0):
            self._tally.truncated = True
            self._tally.missing_s = missing_s
