"""Events out of a program, without waiting for where they go.

    python examples/library.py [FILE]

`produce` returns in microseconds with a receipt; a worker delivers. Replace the file by any other producer.
"""

from __future__ import annotations

import sys

from standpipe.producers.file import FileProducer, FileProducerConfig


def main(path: str) -> None:
    """Produce some events, and look at what became of them."""
    config = FileProducerConfig(name="events", path=path, fields=["id", "time", "is_error"])
    with FileProducer(config) as producer:
        for order in range(1000):
            producer.produce(is_error=False, message={"event": "order placed", "order": order}, key=f"customer-{order % 10}")
        receipt = producer.produce(is_error=True, message={"event": "payment failed", "order": 999})

        # Nobody has to wait for a receipt. Who wants to know, can: here, with `await receipt`, or with a callback.
        print(f"the last one is {receipt.wait(timeout=5).value}; its id is {receipt.message_id}")

    # Leaving the block has delivered what was pending and closed the file.
    now = producer.statistics()
    print(f"{now.accepted} accepted = {now.delivered} delivered + {now.dead_lettered} dead-lettered + {now.pending} pending")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "events.jsonl")
