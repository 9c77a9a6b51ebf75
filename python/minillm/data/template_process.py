"""Renders chat templates for another process, which `chat_template.py` starts and may kill.

A chat template is a program that comes with somebody's tokenizer: jinja2's sandbox keeps it from
everything but strings and loops, and these it can still spend without end. So it has a process of
its own with bounds on memory, time and output. One request is a line of JSON, and so is its answer.
"""

import json
import resource
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, NoReturn, cast

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_SECONDS = 1.0
MOST_MEMORY = 1 << 28
MOST_OUTPUT = 1 << 24


class Generation(Extension):
    """The block `{% generation %}`, by which a template says what the assistant wrote."""

    tags = {"generation"}  # noqa: RUF012  as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """Puts a mark before and behind what the block renders."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        marks = cast("list[str]", self.environment.globals["generation_marks"])
        return f"{marks[0]}{caller()}{marks[1]}"


@cache
def compiled(source: str) -> Template:
    """The template, with the options and helpers that templates of the field count on."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment.from_string(source)


def render(source: str, marks: list[str], variables: dict[str, Any]) -> str:
    """One conversation as text.

    Raises:
        ValueError: If the template or its output is no good.
    """
    try:
        template = compiled(source)
        template.environment.globals["generation_marks"] = marks
        text = template.render(variables)
    except RecursionError as error:
        raise ValueError("it calls itself without end") from error
    except MemoryError as error:
        raise ValueError(f"it takes more than {MOST_MEMORY >> 20} MiB of memory") from error
    except TimeoutError as error:
        raise ValueError(f"it takes more than {MOST_SECONDS:g} s") from error
    except (TemplateError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if len(text) > MOST_OUTPUT:
        raise ValueError(f"it makes {len(text):,} characters, expected at most {MOST_OUTPUT:,}")
    return text


def serve() -> None:
    """Answers until there are no more requests."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asked
    signal.signal(signal.SIGPROF, _end)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        try:
            answer = {"text": render(**json.loads(line))}
        except ValueError as error:
            answer = {"error": str(error)}
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _end(_signal: int, _frame: object) -> NoReturn:
    raise TimeoutError


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


if __name__ == "__main__":
    serve()
