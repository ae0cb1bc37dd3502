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

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called with each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
