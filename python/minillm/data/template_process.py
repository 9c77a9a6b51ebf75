"""Renders chat templates for another process, `chat_template.py`, which starts it.

A chat template is a program that comes with somebody's tokenizer: jinja2's sandbox keeps it from
everything but strings and loops, and these it can still spend without end. So it has a process of
its own, which the system bounds: beyond its memory an allocation fails, beyond its time it is
killed, wherever it stands. One request is a line of JSON, and so is its answer.
"""

import contextlib
import json
import re
import resource
import signal
import sys
import time
from functools import cache, partial
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_MEMORY = 1 << 28


@cache
def compiled(source: str) -> Template:
    """The template, with the options and helpers that templates of the field count on.

    Not `strftime_now`: with it, the same conversation would be other tokens tomorrow.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    environment.globals["raise_exception"] = _refuse
    # A block that tells transformers what to learn; `chat_template.py` has its own way.
    source = re.sub(r"(\{%-?\s*)generation\b", r"\1if true", source)
    return environment.from_string(re.sub(r"(\{%-?\s*)endgeneration\b", r"\1endif", source))


def render(source: str, variables: dict[str, Any]) -> str:
    """One conversation as text.

    Raises:
        ValueError: If the template is no good, or takes too much.
    """
    try:
        return compiled(source).render(variables)
    except MemoryError as error:
        raise ValueError(f"it takes more than {MOST_MEMORY >> 20} MiB of memory") from error
    except Exception as error:  # whatever somebody's code raises
        raise ValueError(str(error) or type(error).__name__) from error


def serve() -> None:
    """Answers until there are no more requests."""
    with contextlib.suppress(ValueError):  # some systems know no such bound
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asked
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    for line in sys.stdin:
        # In whole seconds of this process: one to two are left for this request.
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 2, hard))
        try:
            answer = json.dumps({"text": render(**json.loads(line))})
        except (ValueError, MemoryError) as error:  # the answer, too, has to find room
            answer = json.dumps({"error": str(error) or "its text is too long"})
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)


if __name__ == "__main__":
    serve()
