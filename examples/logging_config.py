"""The program's own log, shipped by a producer that `logging.config.dictConfig` makes.

python examples/logging_config.py [FILE]
"""

from __future__ import annotations

import logging.config
import sys


def configure(path: str) -> None:
    """Everything goes to the terminal as before, and from INFO on to the producer as well."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"short": {"format": "%(levelname)-7s %(name)s: %(message)s"}},
            "handlers": {
                "terminal": {"class": "logging.StreamHandler", "formatter": "short", "stream": "ext://sys.stdout"},
                "shipped": {
                    "class": "standpipe.StandpipeHandler",
                    "level": "INFO",
                    # any producer; with `"producer": "logs", "config": "standpipe.yaml"` the one of that name in a file
                    "producer": {"type": "file", "name": "logs", "path": path, "queue": {"max_messages": 10_000}},
                },
            },
            "root": {"level": "INFO", "handlers": ["terminal", "shipped"]},
        }
    )


def main(path: str) -> None:
    """Some work that is logged. Fields in `extra` stay fields; a full queue never makes the program wait."""
    configure(path)
    log = logging.getLogger("shop.orders")
    for order in range(3):
        log.info("order %d accepted", order, extra={"order": order, "customer": f"c-{order}"})
    try:
        raise ConnectionError("the bank does not answer")
    except ConnectionError:
        log.exception("payment failed", extra={"order": 2})
    logging.shutdown()  # happens by itself at the end of every program: it delivers what is pending
    with open(path, encoding="utf-8") as shipped:
        print(shipped.read(), end="")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "log.jsonl")
