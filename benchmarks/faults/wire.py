"""How the processes of the campaign talk: JSON lines in on stdin, answers out on stdout."""

# Begins a line that is an answer; the middleware writes lines of its own.
ANSWER = "> "


def answer(value: object) -> None:
    """Answer one request."""
    print(f"{ANSWER}{value}", flush=True)
