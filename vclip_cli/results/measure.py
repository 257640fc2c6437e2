"""One measured value as records hold it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Closed(BaseModel):
    """The base of all parts of a record: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Metric(Closed):
    """A value with its 95 % interval.

    low, high: null where no interval was computed. n: the number of videos behind the value.
    unit: `%` for everything in 0..100.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int = Field(ge=1)
    unit: str = "%"

    @model_validator(mode="after")
    def _lies_in_its_interval(self) -> Metric:
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        if not low - 1e-9 <= self.value <= high + 1e-9:
            raise ValueError(f"{self.value} lies outside its interval {low} to {high}")
        return self


class ClassMetric(Closed):
    """The metric of one class; value is null where the class has no (positive) video, n is 0."""

    name: str
    value: float | None
    n: int = Field(ge=0)


class PerClass(Closed):
    """One metric for every class, in the order of the classes, in %."""

    metric: str
    values: list[ClassMetric]


class Evaluation(Closed):
    """All that is measured on one set of predictions: what a record's metrics are made from.

    without_positives: the classes that no scored video belongs to; they are left out of the
    averages over classes.
    """

    metrics: dict[str, Metric]
    per_class: PerClass
    without_positives: list[str]
