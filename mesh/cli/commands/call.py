"""Calls any RPC by its name, with JSON, a file, stdin or field=value."""

from mesh.cli.groups import CallGroup

command = CallGroup(
    "call",
    help="""Calls any RPC by its name: StartTraining, learning.StartTraining, start-training, or in full.

    The request is field=value (dots for what is nested), a JSON object, @FILE, - for stdin, or options as at the services' own
    verbs. Streams print each answer as it comes; a stream of requests is read from stdin, a line of JSON each.
    """,
)
