"""Renders chat templates for another process, `chat_template.py`, which starts it.

A chat template is a program that comes with somebody's tokenizer: jinja2's sandbox keeps it from
everything but strings and loops, and these it can still spend without end. So it has a process of
its own, which the system bounds: beyond its memory an allocation fails, beyond its time an alarm
kills it, wherever it stands. One request is a line of JSON, and so is its answer.
"""

import contextlib
import json
import re
import resource
import signal
import sys
from datetime import datetime
from functools import cache, partial
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_MEMORY = 1 << 28


@cache
def compiled(source: str) -> Template:
    """The template, with the options and helpers that templates of the field count on.

    Today is always 26 July 2024, to which Llama 3's fall back: or the same conversation would be
    other tokens tomorrow. There is nothing to call, and answers are to come at once.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    environment.globals.update(enable_thinking=False, functions="", datetime="2024-07-26")
    environment.globals.update(strftime_now=datetime(2024, 7, 26).strftime, raise_exception=_refuse)
    # A block that tells transformers what to learn; `chat_template.py` has its own way.
    source = re.sub(r"(\{%-?\s*)generation\b", r"\1if true", source)
    return environment.from_string(re.sub(r"(\{%-?\s*)endgeneration\b", r"\1endif", source))


def render(source: str, variables: list[dict[str, Any]]) -> list[str]:
    """Conversations as text.

    Raises:
        ValueError: If the template is no good, or takes too much.
    """
    try:
        return [compiled(source).render(one) for one in variables]
    except MemoryError as error:
        raise ValueError(f"it takes more than {MOST_MEMORY >> 20} MiB of memory") from error
    except Exception as error:  # whatever somebody's code raises
        raise ValueError(str(error) or type(error).__name__) from error


def serve() -> None:
    """Answers until there are no more requests."""
    with contextlib.suppress(ValueError):  # some systems know no such bound
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asked
    for line in sys.stdin:
        # A second of its own. On a machine at work for others that may be long in coming: the
        # clock's is the larger, or an honest template would be stopped while it waits its turn.
        signal.setitimer(signal.ITIMER_PROF, 1)
        signal.setitimer(signal.ITIMER_REAL, 5)
        try:
            answer = json.dumps({"texts": render(**json.loads(line))})
        except (ValueError, MemoryError) as error:  # the answer, too, has to find room
            answer = json.dumps({"error": str(error) or "its text is too long"})
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)


if __name__ == "__main__":
    serve()
