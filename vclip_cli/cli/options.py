"""The options of the verbs, generated from the settings' declarations in `engine/specs.py`."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from vclip_cli.cli.console import is_verbose, set_verbosity
from vclip_cli.common.settings import Declared
from vclip_cli.engine.requests import settings_of

OWN, OUTPUT = "Options", "Output"
"""Headings in a verb's help: options of the verb alone, and of all verbs."""


def _quiet(value: bool) -> bool:
    if value:
        set_verbosity(quiet=True, verbose=False)
    return value


def _verbose(value: bool) -> bool:
    if value:
        set_verbosity(quiet=False, verbose=True)
    return value or is_verbose()


DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be done, and stop.", rich_help_panel="Run"),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="VIDEOS_A_SECOND",
        min=1e-6,
        help="With --dry-run: how fast one process is (see: vclip bench), for the time needed.",
        rich_help_panel="Run",
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=OUTPUT),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "-q",
        "--quiet",
        callback=_quiet,
        help="Only results, warnings and errors.",
        rich_help_panel=OUTPUT,
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v",
        "--verbose",
        callback=_verbose,
        help="More detail, and tracebacks of vclip's errors.",
        rich_help_panel=OUTPUT,
    ),
]
Text = Annotated[
    str | None,
    typer.Option("--text", help="Which text of a class is shown: natural, or a paper's."),
]
DatasetName = Annotated[
    str, typer.Argument(metavar="DATASET", help="A registered dataset, or toy.")
]


def takes(
    verb: str,
    *,
    without: tuple[str, ...] = (),
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Replace a function's `**settings` by the options of a verb.

    without: settings that the function spells out itself, as arguments; defaults: where the verb's
    own differ.
    """
    changed = defaults or {}
    offered = [
        replace(entry, default=changed.get(entry.name, entry.default))
        for entry in settings_of(verb)
        if entry.name not in without
    ]

    def offer(function: Callable[..., Any]) -> Callable[..., Any]:
        hints = typing.get_type_hints(function, include_extras=True)
        own, generated = [], [_parameter(entry) for entry in offered]
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            kind = parameter.KEYWORD_ONLY
            own.append(parameter.replace(kind=kind, annotation=hints[parameter.name]))
        parameters = [*own, *generated]
        first = [p for p in parameters if _is_argument(p)]
        rest = [p for p in parameters if p not in first and p not in own]
        last = [p for p in own if p not in first]
        function.__signature__ = inspect.Signature([*first, *rest, *last])  # type: ignore[attr-defined]  # Typer reads it
        function.__annotations__ = {p.name: p.annotation for p in parameters}
        return function

    return offer


def _is_argument(parameter: inspect.Parameter) -> bool:
    facts = getattr(parameter.annotation, "__metadata__", ())
    return any(isinstance(fact, typer.models.ArgumentInfo) for fact in facts)


def _parameter(entry: Declared) -> inspect.Parameter:
    setting, kind, default = entry.setting, entry.kind, entry.default
    many = entry.many and not setting.commas
    if setting.commas:
        kind = str
        default = ",".join(map(str, default)) if default else None
    names = [f"{entry.option}/--no-{entry.key}" if setting.negatable else entry.option]
    names += [f"-{setting.short}"] if setting.short else []
    bounded = kind in (int, float)
    option = typer.Option(
        *names,
        help=setting.help,
        metavar=setting.metavar or None,
        envvar=None if many else entry.variable,  # Click would cut it at every blank
        rich_help_panel=entry.group,
        show_default=default not in (None, ()),
        min=setting.low if bounded else None,
        max=setting.high if bounded else None,
    )
    annotation: Any = list.__class_getitem__(kind) if many else kind
    if many or default is None:
        annotation, default = annotation | None, None
    return inspect.Parameter(
        entry.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[annotation, option],
    )


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given: None stands for the default."""
    return {name: value for name, value in settings.items() if value is not None}


class GroupedCommand(TyperCommand):
    """A verb whose help shows its options by group: Data, Model, Input, Text, Compute, Run."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and each group of options, in the order of the declarations."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            group = getattr(parameter, "rich_help_panel", None) or OWN
            if parameter.param_type_name == "argument":
                group = "Arguments"
            elif parameter.name == "help":
                group = OUTPUT
            groups.setdefault(group, []).append(record)
        first = {"Arguments": 0, OWN: 1, OUTPUT: 3}
        for heading in sorted(groups, key=lambda heading: first.get(heading, 2)):
            with formatter.section(heading):
                formatter.write_dl(groups[heading])
