"""What each setting means: the docstrings of the schemas' fields."""

import ast
import dataclasses
import inspect
import re
import typing

from valstab.config.engines import EngineConfig, TransformersConfig


def meanings(kind: type) -> dict[str, tuple[str, str]]:
    """Return the type (as written) and the docstring of each field of a dataclass, inherited fields first.

    A field without a docstring has an empty one.
    """
    fields: dict[str, tuple[str, str]] = {}
    for base in reversed(kind.__mro__[:-1]):
        (definition,) = ast.parse(inspect.getsource(base)).body
        body = typing.cast("ast.ClassDef", definition).body
        for statement, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(statement, ast.AnnAssign):
                text = (
                    after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
                )
                fields[ast.unparse(statement.target)] = (ast.unparse(statement.annotation), " ".join(str(text).split()))
    return fields


def describe_settings(kind: type, prefix: str = "") -> dict[str, str]:
    """Return the first sentence on each setting of a schema and its sections, by key; of engines, transformers'."""
    found: dict[str, str] = {}
    types = typing.get_type_hints(kind)
    for name, (_, text) in meanings(kind).items():
        type_ = TransformersConfig if types[name] is EngineConfig else types[name]
        if dataclasses.is_dataclass(type_):
            found |= describe_settings(typing.cast("type", type_), f"{prefix}{name}.")
        elif not name.startswith("_"):
            found[f"{prefix}{name}"] = re.split(r"(?<=\.) ", text)[0]
    return found
