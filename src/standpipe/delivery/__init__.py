"""The engine: queue, retries, batches, breaker, receipts and the worker that drives them."""
