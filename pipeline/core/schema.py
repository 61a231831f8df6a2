"""JSON schemas: what conf/schema.yaml and the files of studies are held against."""

from typing import Any

from pipeline.core.imports import instead

UNUSED = "rfc3987_syntax"  # of the format "iri", which no schema of ours asks for; its grammar takes 1.4 s and comes with Jupyter


def validator(rules: Any) -> Any:
    """A `jsonschema.Draft202012Validator` of these rules."""
    with instead({UNUSED: None}):
        import jsonschema

    return jsonschema.Draft202012Validator(rules)
