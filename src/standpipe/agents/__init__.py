"""Sources: one file per agent, each reading messages from somewhere and remembering its position."""
