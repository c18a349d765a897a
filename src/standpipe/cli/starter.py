"""The configuration that `standpipe init` writes."""

from __future__ import annotations

STARTER = """\
# Standpipe reads messages with agents, works on them in pipelines and delivers them with producers.
#
#   standpipe check standpipe.yaml    finds mistakes, with line, column and remedy
#   standpipe run standpipe.yaml      runs it; Ctrl-C stops reading and delivers what is pending
#   standpipe list                    all types of producers, agents and steps
#   standpipe schema -o standpipe.schema.json, and this line makes your editor help you:
# yaml-language-server: $schema=standpipe.schema.json

# What must survive a restart: how far each agent has read. Relative, as all paths here, to the working folder.
state_dir: standpipe-data/state

agents:
  # Access-log lines as nginx writes them, made up: something to play with.
  - type: generator
    name: visits
    rate: 200             # lines per second
    count: 1000           # then it is finished; without it, it goes on until you stop it
    error_ratio: 0.05
    malformed_ratio: 0.01

  # The real thing: follows files through rotation, and goes on after a restart where it stopped.
  # - type: tail
  #   name: visits
  #   paths: [/var/log/nginx/access.log]

pipelines:
  - name: access
    from: visits
    steps:
      - parse:
          preset: nginx_combined      # or format: json, format: logfmt, or a pattern of your own
          types: {code: int, size: int}
          # A line that does not parse is kept: as an error, with the reason in `parse_error`.
      - set:
          is_error: is_error or code >= 500
      - drop_fields: [host, user]
    routes:
      - to: errors
        when: is_error
      - to: archive
        otherwise: true

producers:
  - type: sqlite                      # a real database: each message once, also after a crash
    name: archive
    path: standpipe-data/archive.db
    columns: {code: code, path: path}

  - type: file                        # JSON Lines
    name: errors
    path: standpipe-data/errors.jsonl
    rotate: {max_bytes: 10MiB, keep: 5}

  # Every producer keeps what it cannot deliver now and tries again; secrets come from the environment or a file:
  # - type: my_package.my_module:MyProducer      (`standpipe new producer` writes one to start from)
  #   name: webhook
  #   token: ${env:WEBHOOK_TOKEN}
"""
"""Valid, and finished by itself after five seconds; see the tests, which run it."""
