"""An experiment as data: what its file may say, and how a claim becomes one PromQL expression."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from string import Template
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lab.errors import LabError
from lab.stack import MODELS, Model

FILES = Path(__file__).with_name("files")
_MEASURES = FILES / "measures.toml"

RUN = "run"
"""The phase that is the whole experiment."""

STEP, KNEE, LAST = "step", "knee", "last"
"""The phases of an experiment in steps: each step while it is judged, the highest that was kept, and the last one."""

_TERM = re.compile(r"(?P<measure>[a-z]\w*)\[(?P<phase>[a-z]\w*)(?:, *(?P<model>sync|async|streaming))?\]")
_COMPARISON = re.compile(r"^(?P<operator>>=|<=|==|>|<) (?P<bound>-?\d+(\.\d+)?)$")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Measure(_Strict):
    """A figure that Prometheus can give for any model and any span of time.

    Attributes:
        title: What it is, for a table's row.
        unit: Its unit.
        promql: The expression, with $model, $from and $to (Unix seconds), $seconds (a duration) and $rate (the orders
            per second that are offered).
    """

    title: str
    unit: str
    promql: str


class Phase(_Strict):
    """A stretch of an experiment.

    Attributes:
        name: Claims name it so.
        seconds: How long it lasts; absent when `until` ends it.
        settle: Seconds at its start that no measure counts: until what was asked for before is answered, and
            Prometheus, which looks once a second, has seen it.
        rate: Orders per second and model that arrive meanwhile; none when 0.
        cause: Actions at its start that the control leaves out: what the experiment is about.
        do: Actions at its start, in every run.
        sabotage: Actions at its end, in a run that is to break what the experiment claims is kept.
        until: What ends the phase: arithmetic over measures with a comparison, as in "waiting[run] <= 0", once it
            is true for each model.
        limit: Seconds after which waiting for `until` is a failure.
    """

    name: str = Field(pattern=r"^[a-z]\w*$")
    seconds: float | None = Field(None, gt=0, le=600)
    settle: float = Field(0, ge=0)
    rate: float = Field(0, ge=0, le=5000)
    cause: tuple[str, ...] = ()
    do: tuple[str, ...] = ()
    sabotage: tuple[str, ...] = ()
    until: str | None = None
    limit: float = Field(60, gt=0)

    @model_validator(mode="after")
    def _ends(self) -> "Phase":
        if (self.seconds is None) == (self.until is None):
            raise ValueError(f"phase {self.name}: it needs either `seconds` or `until`")
        if self.settle and self.settle >= (self.seconds or 0):
            raise ValueError(f"phase {self.name}: nothing is left of it once it has settled")
        return self


Rate = Annotated[float, Field(gt=0, le=20_000)]
"""Orders per second."""


class Check(_Strict):
    """A comparison that figures satisfy or not.

    Attributes:
        value: Arithmetic over measures, as in `accept_p50[slow] - accept_p50[before]`.
        holds: The comparison that makes it true, as in ">= 1.5".
    """

    value: str
    holds: Annotated[str, Field(pattern=_COMPARISON.pattern)]

    def true_of(self, value: float) -> bool:
        """Whether the comparison holds; never of NaN."""
        match = _COMPARISON.match(self.holds)
        assert match is not None  # noqa: S101 - the field's own pattern
        bound = float(match["bound"])
        return {
            ">=": value >= bound,
            "<=": value <= bound,
            "==": value == bound,
            ">": value > bound,
            "<": value < bound,
        }[match["operator"]]

    def known(self, phases: set[str]) -> None:
        """Make sure that it is about measures and phases that there are.

        Raises:
            ValueError: It is not.
        """
        found = list(_TERM.finditer(self.value))
        if not found:
            raise ValueError(f"{self.value!r} names no measure[phase]")
        for term in found:
            _known(term["measure"], term["phase"], phases)


class Kept(Check):
    """Something that is true of a step that a model keeps.

    Attributes:
        title: What its value is, for a table and a plot.
        unit: The value's unit.
    """

    title: str
    unit: str


class Steps(_Strict):
    """Rates that are tried one after the other, each on a quiet system, one model at a time, until one is not kept.

    Attributes:
        rates: Orders per second, ascending.
        seconds: How long each lasts.
        kept: What is true of a step that the model keeps; `measure[step]` is that of the step.
        without_cause: The rates of the control, which every model keeps.
    """

    rates: tuple[Rate, ...] = Field(min_length=2)
    seconds: float = Field(gt=0, le=60)
    kept: tuple[Kept, ...] = Field(min_length=1)
    without_cause: tuple[Rate, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ascend(self) -> "Steps":
        for rates in (self.rates, self.without_cause):
            if list(rates) != sorted(set(rates)):
                raise ValueError("the rates of the steps do not ascend")
        for check in self.kept:
            check.known({STEP})
        return self


class Claim(Check):
    """A sentence that the figures confirm or refute.

    Attributes:
        text: The sentence.
        model: The model it is about, which is also what `measure[phase]` means in `value`.
        control: Where it must fail: in the run without the cause, in the sabotaged run, or, in the same run, for
            another model.
    """

    text: str
    model: Model
    control: Literal["without cause", "sabotaged", "sync", "async", "streaming"] = "without cause"


class Row(_Strict):
    """A line of the table that sets the models side by side: one measure in one phase."""

    measure: str
    phase: str
    models: tuple[Model, ...] = MODELS


class Experiment(_Strict):
    """A question, how it is put to the system, in phases or in steps, and what is claimed about the answer."""

    name: str
    title: str
    question: str
    models: tuple[Model, ...] = MODELS
    schedule: Literal["constant", "poisson"] = "constant"
    stock: int = Field(1_000_000, ge=0)
    phases: tuple[Phase, ...] = ()
    steps: Steps | None = None
    claims: tuple[Claim, ...]
    table: tuple[Row, ...]

    @model_validator(mode="after")
    def _names(self) -> "Experiment":
        if bool(self.phases) == bool(self.steps):
            raise ValueError("it needs either `phases` or `steps`")
        phases = {RUN, *(phase.name for phase in self.phases)} | ({KNEE, LAST} if self.steps else set())
        for claim in self.claims:
            claim.known(phases)
        for row in self.table:
            _known(row.measure, row.phase, phases)
        return self

    @property
    def loaded_seconds(self) -> float:
        """How long orders arrive."""
        return sum(phase.seconds or 0 for phase in self.phases if phase.rate)

    @property
    def peak_rate(self) -> float:
        """The most orders per second that have to arrive, all models together; steps are a search and demand none."""
        return max((phase.rate for phase in self.phases), default=0) * len(self.models)

    def variant(self, variant: "Variant") -> "Experiment":
        """The experiment with the actions that belong to a variant alone."""
        left_out = {"as it is": {"sabotage"}, "without cause": {"cause", "sabotage"}, "sabotaged": set[str]()}[variant]
        phases = tuple(phase.model_copy(update=dict.fromkeys(left_out, ())) for phase in self.phases)
        steps = self.steps
        if steps and "cause" in left_out:
            steps = steps.model_copy(update={"rates": steps.without_cause})
        return self.model_copy(update={"phases": phases, "steps": steps})

    @property
    def variants(self) -> tuple["Variant", ...]:
        """The runs that it takes to see every claim hold and fail."""
        controls = {claim.control for claim in self.claims}
        return ("as it is", *(variant for variant in CONTROLS if variant in controls))


Variant = Literal["as it is", "without cause", "sabotaged"]
CONTROLS: tuple[Variant, ...] = ("without cause", "sabotaged")


def _known(measure: str, phase: str, phases: set[str]) -> None:
    if measure not in measures():
        raise ValueError(f"there is no measure {measure!r}; they are in {_MEASURES.name}")
    if phase not in phases:
        raise ValueError(f"there is no phase {phase!r}")


class Stretch(NamedTuple):
    """From when to when a phase ran, in Unix seconds, and how many orders per second were offered to each model."""

    start: float
    end: float
    rate: float = 0.0


def measured(measure: str, model: str, stretch: Stretch) -> str:
    """The PromQL of a measure for a model over a stretch of time."""
    start, end, rate = stretch
    values = {
        "model": model,
        "from": f"{start:.3f}",
        "to": f"{end:.3f}",
        "seconds": f"{max(1, round(end - start))}s",
        "rate": f"{rate:g}",
    }
    promql = Template(measures()[measure].promql).substitute(values)
    return promql.replace(f"({end:.3f} - {start:.3f})", f"{end - start:.3f}")


def claimed(value: str, model: str, stretch: Callable[[str, str], Stretch]) -> str:
    """The one PromQL expression of a claim's value.

    Args:
        value: Arithmetic over measures.
        model: The model it is about.
        stretch: When a phase (the first argument) ran for a model (the second).
    """

    def expression(term: re.Match[str]) -> str:
        of = term["model"] or model
        return f"({measured(term['measure'], of, stretch(term['phase'], of))})"

    return _TERM.sub(expression, value)


def terms(value: str) -> set[str]:
    """The measures that a claim's value is made of."""
    return {term["measure"] for term in _TERM.finditer(value)}


@cache
def measures() -> Mapping[str, Measure]:
    """Every measure by its name."""
    return {name: Measure(**entry) for name, entry in tomllib.loads(_MEASURES.read_text()).items()}


def names() -> Sequence[str]:
    """The names of the experiments there are."""
    return sorted(path.stem for path in FILES.glob("*.toml") if path != _MEASURES)


def load(name: str) -> Experiment:
    """Read an experiment.

    Raises:
        LabError: There is none of this name, or its file says what it may not.
    """
    path = FILES / f"{name}.toml"
    if name not in names():
        raise LabError(f"There is no experiment {name!r}; `lab run --list` shows those there are.")
    try:
        return Experiment(name=name, **tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise LabError(f"The experiment file {path} cannot be used: {error}") from error
