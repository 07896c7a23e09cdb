"""From the words of a command line to settings."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, DefaultHelpFormatter

from .examples import USE_EXAMPLES
from .settings import EXAMPLES, LR, MAIN_LR, Evaluate, Report, Sample, Train, names
from .uses import USES

__all__ = ["COMMANDS", "UsageError", "overview", "parse", "parser_for", "similar"]

COMMANDS: dict[str, type] = {"train": Train, "evaluate": Evaluate, "sample": Sample, "report": Report} | USES
NOT_NEGATIVE = ("seed", "split_seed", "kl_steps", "kl_start", "weight_decay", "program", "first", "second", "dimension",
                "label", "sequence")
ANY_NUMBER = ("low", "high")
LEAST = {"simulations": 20, "draws": 2}  # others: 1, or 0
SWITCHES = ("--overwrite", "--quiet", "--mean", "--rows", "--swap", "--drawn")
# what config.yaml of a run holds beside the settings
WRITTEN = ("pyro_rvae", "num_sequences", "data_card", "weights_sha256")


class UsageError(ValueError):
    """What was typed cannot be understood."""


class _Formatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Examples keep their lines."""


def overview() -> str:
    """What ``pyro-rvae --help`` prints."""
    lines = [f"  {name:13}{_first_line(name)}" for name in COMMANDS]
    return "\n".join(["usage: pyro-rvae COMMAND [options]", "", "Recurrent variational autoencoders in Pyro.", "",
                      "commands:", *lines, "",
                      "`pyro-rvae train` alone trains on the embedded Bach chorales, in a few minutes.",
                      "`pyro-rvae COMMAND --help` tells a command's options."])


def _first_line(command: str) -> str:
    return (COMMANDS[command].__doc__ or "").splitlines()[0]


def parse(words: Sequence[str]) -> Any:
    """The settings that a command line asks for: one of :data:`COMMANDS`.

    :raises UsageError: for an unknown command or option, or a value that an option cannot have.
    """
    command, rest = words[0], list(words[1:])
    if command not in COMMANDS:
        raise UsageError(f"there is no command {command!r}; the commands are {', '.join(COMMANDS)}"
                         f"{similar(command, COMMANDS)}")
    rest = [f"{word}=true" if word in SWITCHES and following not in ("true", "false") else word
            for word, following in zip(rest, [*rest, ""][1:], strict=True)]
    parts: dict[str, Any] = {}
    if command == "train":
        rest, parts = _model_flags(rest)
    parser = parser_for(command)
    try:
        found = parser.parse_args(rest).as_dict()
    except ArgumentError as error:
        raise UsageError(_explain(str(error), command)) from None
    settings = {name: found[name] for name in names(COMMANDS[command])}
    if command == "train":
        settings["model"] = _model(settings["model"], parts)
        _check_resume(settings)
        if settings["lr"] is None:
            settings["lr"] = LR if "class_path" in settings["model"] else MAIN_LR
    _check_numbers(settings)
    return COMMANDS[command](**settings)


def parser_for(command: str) -> ArgumentParser:
    """The parser of one command; its options are the fields of the command's settings."""
    positional = [name.upper() for name in ("run", "file") if name in names(COMMANDS[command])]
    usage = " ".join(["pyro-rvae", command, *positional, *["[options]"] * (command != "models")])
    parser = ArgumentParser(prog=f"pyro-rvae {command}", usage=usage, description=_first_line(command),
                            epilog=(EXAMPLES | USE_EXAMPLES)[command], formatter_class=_Formatter, exit_on_error=False,
                            allow_abbrev=False, print_config=None)
    if command == "train":
        parser.add_argument("--config", action=ActionConfigFile, help="YAML with any of these options, by name.")
        for name in WRITTEN:
            parser.add_argument(f"--{name}", type=Any, help=argparse.SUPPRESS)
    parser.add_class_arguments(COMMANDS[command], as_group=False, as_positional=True, fail_untyped=False)
    return parser


def _model_flags(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Take ``--model.NAME VALUE`` and ``--model.NAME=VALUE`` out of the words; values are read as YAML."""
    rest, parts = [], {}
    stream = iter(words)
    for word in stream:
        if not word.startswith("--model."):
            rest.append(word)
            continue
        name, equals, value = word.removeprefix("--model.").partition("=")
        if not equals:
            value = next(stream, "")
            if not value:
                raise UsageError(f"{word} needs a value")
        try:
            parts[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"{word}: the value {value!r} is no YAML: {' '.join(str(error).split())}") from None
    return rest, parts


def _model(model: Any, parts: dict[str, Any]) -> dict[str, Any]:
    """The model as ``class_path`` and ``init_args``; flags go before the YAML."""
    if model is None and not parts:
        return {}
    if isinstance(model, str):
        model = {"class_path": model}
    if model is not None and not (isinstance(model, dict) and isinstance(model.get("class_path"), str)):
        raise UsageError(f"--model must be a name, or a mapping with class_path and init_args, got {model!r}")
    model = model or {}
    return {**model, "init_args": {**(model.get("init_args") or {}), **parts}}


def _check_resume(settings: dict[str, Any]) -> None:
    if settings["resume"] is None:
        return
    plain = dataclasses.asdict(Train()) | {"model": {}}
    others = [name for name, value in settings.items()
              if name not in ("resume", "quiet", "trust") and value != plain[name]]
    if others:
        raise UsageError(f"--resume goes on with the settings the run was started with; leave "
                         f"{', '.join(f'--{name}' for name in others)} out, or start another run")


def _check_numbers(settings: dict[str, Any]) -> None:
    """Before anything is written or computed. (What else :func:`~pyro_rvae.fit` wants it checks itself.)"""
    for name, value in settings.items():
        if name in ANY_NUMBER:
            continue
        least = 0 if name in NOT_NEGATIVE else LEAST.get(name, 1)
        if isinstance(value, int) and not isinstance(value, bool) and value < least:
            raise UsageError(f"--{name} must be at least {least}, got {value}")
        if isinstance(value, float) and not (value > 0 or (value == 0 and name in NOT_NEGATIVE)):
            raise UsageError(f"--{name} must be above 0, got {value}")
    if settings.get("ema") is not None and not settings["ema"] < 1:
        raise UsageError(f"--ema must lie between 0 and 1 (a decay such as 0.999), got {settings['ema']}")


def _explain(message: str, command: str) -> str:
    """The parser's message in one or two lines, with what may have been meant."""
    options = [f"--{name}" for name in names(COMMANDS[command])]
    if "nrecognized arguments:" in message:
        word = next((w for w in message.split() if w.startswith("-")), message.split()[-1]).partition("=")[0]
        return f"there is no option {word}{similar(word, options)}; `pyro-rvae {command} --help` tells them all"
    if "are required:" in message or "is required" in message:
        needed = "RUN, a run directory" + ", and FILE, your data" * ("file" in names(COMMANDS[command]))
        return f"{command} needs {needed}; `pyro-rvae {command} --help` shows examples"
    unknown = re.search(r"Option '([^']+)' is not accepted", message)
    if unknown:
        return f"the YAML has {unknown[1]!r}, which is no option{similar('--' + unknown[1], options)}"
    message = re.sub(r'Parser key "([^"]+)"', r"--\1", " ".join(message.split()))
    message = re.sub(r"a typing\.Literal\[([^]]+)\]", r"one of \1", message)
    message = re.sub(r"<class '(\w+)'>", r"\1", message)
    several = re.match(r"(--\w+): Does not validate against any of the Union subtypes.* Given value: (.*)$", message)
    if several:
        wanted = [kind for kind in re.findall(r"- Expected (?:an? )?(.*?)(?=\.? Got value| - | Given )", message)
                  if kind != "NoneType"]
        return _plainly(f"{several[1]} must be {' or '.join(wanted).replace('one of ', '')}, got {several[2]}")
    if needs := re.match(r"argument (--\w+): expected one argument", message):
        return f"{needs[1]} needs a value"
    return _plainly(re.sub(r"^(--\w+): Expected (?:an? )?(.*)\. Got value: (.*)$", r"\1 must be \2, got \3", message))


def _plainly(message: str) -> str:
    """Kinds of values in words."""
    for kind, words in {"int": "a whole number", "float": "a number", "bool": "true or false"}.items():
        message = re.sub(rf"(must be|or) {kind}\b", rf"\1 {words}", message)
    return message


def similar(word: str, known: Iterable[str]) -> str:
    """", did you mean ...?", or nothing. Dashes don't count: all options have them."""
    bare = {name.lstrip("-"): name for name in known}
    close = difflib.get_close_matches(word.lstrip("-"), list(bare), n=1, cutoff=0.7)
    return f" (did you mean {bare[close[0]]}?)" if close else ""
