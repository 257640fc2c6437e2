"""From class names to the prompts that the text tower reads."""

from __future__ import annotations

from collections.abc import Sequence

from vclip_cli.common.errors import UsageError
from vclip_cli.data.label_set import LabelSet

PLACEHOLDERS = ("{class}", "{}")


def check_templates(templates: Sequence[str]) -> None:
    """Refuse an empty list, and templates in which the class has no place. Raises UsageError."""
    if not templates:
        raise UsageError("no prompt template was given")
    for template in templates:
        if not any(placeholder in template for placeholder in PLACEHOLDERS):
            raise UsageError(
                f"the template {template!r} has no place for the class",
                expected="{class} somewhere in it, such as 'a video of {class}.'",
            )


def fill(template: str, text: str) -> str:
    """The template with the class text in its place; other braces stay as they are."""
    for placeholder in PLACEHOLDERS:
        if placeholder in template:
            return template.replace(placeholder, text)
    return template


def class_prompts(
    label_set: LabelSet, classes: Sequence[str], variant: str, templates: Sequence[str]
) -> list[list[str]]:
    """One list of prompts a class, in the order of `classes`. Raises UsageError."""
    check_templates(templates)
    texts = [label_set.text(name, variant) for name in classes]
    return [[fill(template, text) for template in templates] for text in texts]
