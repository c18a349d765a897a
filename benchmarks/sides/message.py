"""The message that is measured with: ten fields, 250 bytes as JSON, of the kinds that events have."""

from __future__ import annotations

MESSAGE: dict[str, str | int | float | bool] = {
    "event": "order.created",
    "order_id": 48210917,
    "customer": "c-5a1e77b0-9d",
    "amount": 129.95,
    "currency": "EUR",
    "items": 3,
    "express": True,
    "shop": "https://shop.example.com/",
    "client": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
    "at": "2026-11-23T13:00:00Z",
}
