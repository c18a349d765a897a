"""YAML to models: every problem at once with file, line, column and remedy; includes, secrets, JSON Schema for editors.

The models are handed in; this package knows none of them.
"""

from standpipe.config.document import Document, load_document, load_document_text
from standpipe.config.problems import ConfigProblems, Path, Position, Problem, format_path
from standpipe.config.redaction import redact_text, redact_url
from standpipe.config.schema import json_schema
from standpipe.config.secrets import redact_secrets, redacted, resolve_secrets
from standpipe.config.validation import Validator, validate
from standpipe.core.redaction import REDACTED

__all__ = [
    "REDACTED",
    "ConfigProblems",
    "Document",
    "Path",
    "Position",
    "Problem",
    "Validator",
    "format_path",
    "json_schema",
    "load_document",
    "load_document_text",
    "redact_secrets",
    "redact_text",
    "redact_url",
    "redacted",
    "resolve_secrets",
    "validate",
]
