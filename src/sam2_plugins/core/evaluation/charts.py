"""Charts of results, drawn with what is installed anyway."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sam2_plugins.core.evaluation.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sam2_plugins.core.evaluation.results import Evaluation

__all__ = ["Series", "bar_chart", "draw_evaluation", "line_chart"]

# distinct also for most people who do not see all colours (Okabe and Ito)
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
_WIDTH, _HEIGHT = 720, 400
_LEFT, _TOP, _RIGHT, _BOTTOM = 64, 48, 20, 76  # margins in pixels
_MAX_GROUPS = 24
_POINT = re.compile(r"j_and_f@(\d+)")


@dataclass(frozen=True, slots=True)
class Series:
    """One line or one colour of bars.

    Attributes:
        name: In the legend.
        x: Positions; of bars the index of the group.
        y: Values; NaN is left out.
        low: Lower ends of intervals.
        high: Upper ends.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def draw_evaluation(evaluation: Evaluation) -> bytes:
    """The picture of a run as PNG: curves of interactive evaluation, else bars."""
    rounds = sorted(
        int(found[1]) for name in evaluation.metrics if (found := _POINT.fullmatch(name))
    )
    if rounds:
        charts = [_curves(evaluation, rounds, axis) for axis in ("frames", "seconds")]
    else:
        charts = [_bars(evaluation)]
    sheet = Image.new("RGB", (_WIDTH, _HEIGHT * len(charts)), "white")
    for number, chart in enumerate(charts):
        sheet.paste(chart, (0, number * _HEIGHT))
    data = io.BytesIO()
    sheet.save(data, format="PNG")
    return data.getvalue()


def _curves(evaluation: Evaluation, rounds: Sequence[int], axis: str) -> Image.Image:
    series = []
    for method in evaluation.methods:
        points = [evaluation.interval(method, f"j_and_f@{number}") for number in rounds]
        times = [evaluation.mean(method, f"seconds@{number}") for number in rounds]
        x = [float(number) for number in rounds] if axis == "frames" else times
        series.append(_series(method, x, points))
    title = "prompted frames" if axis == "frames" else "annotation time in seconds, by the model"
    return line_chart(series, title=f"J&F against {title}")


def _bars(evaluation: Evaluation) -> Image.Image:
    """All objects, then the groups asked for; where none are, the sequences."""
    methods = evaluation.methods
    nan = float("nan")
    nothing = Interval(nan, nan, nan, 0, "object")
    groups: list[str] = ["all"]
    values: dict[str, list[Interval]] = {m: [evaluation.interval(m)] for m in methods}
    for attribute in evaluation.by:
        found = {m: evaluation.by_group(attribute, m) for m in methods}
        names = sorted({name for groups_of in found.values() for name in groups_of})
        groups += names
        for method in methods:
            values[method] += [found[method].get(name, nothing) for name in names]
    if not evaluation.by and 1 < len(evaluation.sequences) < _MAX_GROUPS:
        groups += evaluation.sequences
        for method in methods:
            means = evaluation.by_sequence(method)
            values[method] += [
                replace(nothing, mean=means.get(name, nan)) for name in evaluation.sequences
            ]
    groups = groups[:_MAX_GROUPS]
    x = [float(index) for index in range(len(groups))]
    series = [_series(method, x, values[method][: len(groups)]) for method in methods]
    return bar_chart(series, groups, title=f"{evaluation.protocol}: {evaluation.headline}")


def _series(name: str, x: Sequence[float], intervals: Sequence[Interval]) -> Series:
    return Series(
        *(name, x, [interval.mean for interval in intervals]),
        low=[interval.low for interval in intervals],
        high=[interval.high for interval in intervals],
    )


def line_chart(series: Sequence[Series], *, title: str) -> Image.Image:
    """Lines with whiskers; values are from 0 to 1, of which the part with values is shown."""
    known = [value for one in series for value in one.x if value == value]
    ends = [v for one in series for values in (one.y, one.low, one.high) for v in values if v == v]
    rows = _Axis(*_tens(ends), _HEIGHT - _BOTTOM, _TOP)
    columns = _Axis(min(known, default=0.0), max(known, default=1.0), _LEFT, _WIDTH - _RIGHT)
    image, draw = _canvas(series, title, rows)
    for value in columns.ticks():
        place = columns.place(value), _HEIGHT - _BOTTOM + 8
        draw.text(place, f"{value:g}", "black", _font(), anchor="ma")
    for one, colour in zip(series, _cycle(len(series)), strict=True):
        points = []
        for index, (x, y) in enumerate(zip(one.x, one.y, strict=True)):
            if not np.isnan([x, y]).any():
                points.append((columns.place(x), rows.place(y)))
                _whisker(draw, points[-1][0], one, index, colour=colour, rows=rows)
        if len(points) > 1:
            draw.line(points, fill=colour, width=2)
        for x, y in points:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
    return image


def bar_chart(series: Sequence[Series], groups: Sequence[str], *, title: str) -> Image.Image:
    """Bars with whiskers, side by side in each group; values are from 0 to 1."""
    rows = _Axis(0.0, 1.0, _HEIGHT - _BOTTOM, _TOP)
    image, draw = _canvas(series, title, rows)
    width = (_WIDTH - _LEFT - _RIGHT) / max(len(groups), 1)
    bar = 0.8 * width / max(len(series), 1)
    for index, name in enumerate(groups):
        across = _LEFT + (index + 0.5) * width
        most = max(3, int(width / 7))
        label = name if len(name) <= most else name[: most - 1] + "…"
        draw.text((across, _HEIGHT - _BOTTOM + 8), label, "black", _font(), anchor="ma")
    for number, (one, colour) in enumerate(zip(series, _cycle(len(series)), strict=True)):
        for index, (x, y) in enumerate(zip(one.x, one.y, strict=True)):
            if np.isnan(y):
                continue
            left = _LEFT + (x + 0.1) * width + number * bar
            draw.rectangle((left, rows.place(y), left + bar - 2, rows.place(0)), fill=colour)
            _whisker(draw, left + bar / 2, one, index, colour="black", rows=rows)
            place = left + bar / 2, rows.place(0) - 4
            if bar > 26:
                draw.text(place, f"{y:.2f}", "white", _font(), anchor="ms")
    return image


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values from `low` to `high`, at pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """At most 8 round numbers."""
        span = self.high - self.low
        if span == 0:
            return [self.low]
        magnitude = 10.0 ** np.floor(np.log10(span / 8))
        step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= span / 8)
        first, last = np.ceil(self.low / step - 1e-9), np.floor(self.high / step + 1e-9)
        return [round(float(number * step), 10) for number in np.arange(first, last + 1)]


def _tens(values: Sequence[float]) -> tuple[float, float]:
    """The tenths around the values, at least one apart."""
    low = np.floor(10 * min(values, default=0.0) + 1e-9) / 10
    high = np.ceil(10 * max(values, default=1.0) - 1e-9) / 10
    return float(low), float(max(high, low + 0.1))


def _canvas(
    series: Sequence[Series], title: str, rows: _Axis
) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    draw.text((_LEFT, 12), title, "black", _font(15))
    for value in rows.ticks():
        y = rows.place(value)
        draw.line((_LEFT, y, _WIDTH - _RIGHT, y), fill="#dddddd")
        draw.text((_LEFT - 8, y), f"{value:g}", "black", _font(), anchor="rm")
    across = _LEFT
    for one, colour in zip(series, _cycle(len(series)), strict=True):
        y = _HEIGHT - 28
        draw.rectangle((across, y, across + 12, y + 12), fill=colour)
        draw.text((across + 18, y + 6), one.name, "black", _font(), anchor="lm")
        across += 18 + int(draw.textlength(one.name, _font())) + 24
    return image, draw


def _whisker(
    draw: ImageDraw.ImageDraw,
    across: float,
    series: Series,
    index: int,
    *,
    colour: str,
    rows: _Axis,
) -> None:
    if not series.low or np.isnan([series.low[index], series.high[index]]).any():
        return
    low, high = rows.place(series.low[index]), rows.place(series.high[index])
    draw.line((across, low, across, high), fill=colour)
    for y in (low, high):
        draw.line((across - 4, y, across + 4, y), fill=colour)


def _cycle(count: int) -> list[str]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(count)]


def _font(size: int = 12) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
