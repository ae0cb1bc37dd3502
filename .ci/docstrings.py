"""Docstrings of the package as Markdown: roles, formulas and code blocks of Sphinx."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

ROLE = re.compile(r':(?:attr|class|func|meth):`~?([^`]+)`')
MATH = re.compile(r':math:`([^`]+)`')
BLOCK = re.compile(
    r'^(?P<margin> *)(?P<lead>\.\. math::|\S.*::)\n+'
    r'(?P<body>(?:(?P=margin) +\S.*\n?|[ ]*\n)+)',
    re.M,
)


def block(found: re.Match[str]) -> str:
    """A formula, or an example, of what is indented below its first line."""
    margin, lead = found['margin'], found['lead']
    body = textwrap.dedent(found['body']).strip()
    if lead == '.. math::':
        text = f'$$\n{body}\n$$\n\n'
    else:
        text = f'{lead[:-1]}\n\n```python\n{body}\n```\n\n'
    return textwrap.indent(text, margin)


def markdown(text: str) -> str:
    """A docstring as Markdown.

    Args:
        text (str): The docstring, without its indentation.

    Returns:
        str: The same, with the marks of Sphinx that this package uses replaced.
    """
    text = text.replace('``', '`').replace('\nExample:\n', '\nExamples:\n')
    text = BLOCK.sub(block, text)
    return MATH.sub(r'\\(\1\\)', ROLE.sub(r'`\1`', text))


class SphinxMarks(griffe.Extension):
    """Rewrites every docstring as it is loaded."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called with each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Called with the whole package: a function replaces the module of its name."""
        for part in pkg.modules.values():
            hidden = [
                (name, module[name])
                for name, module in part.modules.items()
                if part.imports.get(name) == f'{module.path}.{name}'
            ]
            for member in part.members.values() if hidden else ():
                if member.is_alias and member.target_path.startswith(part.path):
                    member.resolve_target()  # while its module is still there
            for name, function in hidden:
                part.set_member(name, griffe.Alias(name, function, parent=part))
