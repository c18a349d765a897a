"""The contract (`base.py`), the registry of types, and one file per destination."""
