"""The types of producers: built-in, installed (entry-point group `standpipe.producers`), or `package.module:Class`."""

from __future__ import annotations

from standpipe.core.plugins import Registry
from standpipe.producers.base import BaseProducer

PRODUCERS = Registry(
    kind="producer",
    base=BaseProducer,
    group="standpipe.producers",
    built_in={
        "file": "standpipe.producers.file:FileProducer",
        "sqlite": "standpipe.producers.sqlite:SqliteProducer",
        "console": "standpipe.producers.console:ConsoleProducer",
        "null": "standpipe.producers.null:NullProducer",
        "http": "standpipe.producers.http:HttpProducer",
        "kafka": "standpipe.producers.kafka:KafkaProducer",
        "rabbitmq": "standpipe.producers.rabbitmq:RabbitmqProducer",
        "postgres": "standpipe.producers.postgres:PostgresProducer",
        "mqtt": "standpipe.producers.mqtt:MqttProducer",
        "redis": "standpipe.producers.redis:RedisProducer",
        "nats": "standpipe.producers.nats:NatsProducer",
    },
    extras={
        "nats": "nats",
        "http": "http",
        "kafka": "kafka",
        "rabbitmq": "rabbitmq",
        "postgres": "postgres",
        "mqtt": "mqtt",
        "redis": "redis",
    },
)
