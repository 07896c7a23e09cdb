"""``pyro-rvae report``: the sections in their order, and the file."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from ..criticism.tables import count
from ..data.atomic import atomic
from ..tasks.config import CONFIG, read_config
from . import checks, sections
from .html import Section, code, failed, heading, note, page, table, text
from .settings import Report
from .subject import NotApplicable, Subject

__all__ = ["write_report"]

Fill = Callable[[Subject, Section], None]
SECTIONS: tuple[tuple[str, str, Fill], ...] = (
    ("training", "Training", sections.training),
    ("bounds", "Bounds beside floors", sections.bounds),
    ("latents", "Is the latent used?", sections.latents),
    ("samples", "Samples", sections.samples),
    ("reconstructions", "Reconstructions", sections.reconstructions),
    ("free-running", "Does it look like the data?", checks.free_running),
    ("one-step", "One step ahead", checks.forecasts),
    ("calibration", "Calibration", checks.calibration),
    ("two-samples", "Can samples be told from data?", checks.two_samples),
    ("map", "Latent map", sections.latent_map),
)
LIBRARIES = ("pyro-rvae", "torch", "pyro-ppl", "numpy", "scipy", "arviz", "matplotlib")


def write_report(subject: Subject, path: Path) -> list[str]:
    """Write the page, whole or not at all; the messages of the sections that failed, which it holds as well."""
    start, failures, took, made = time.monotonic(), [], [], []
    for name, title, fill in SECTIONS:
        began = time.monotonic()
        section = Section(name, title)
        message = _fill(subject, section, fill)
        failures += [f"{title}: {message}"] * bool(message)
        took.append((title, time.monotonic() - began))
        made.append(section)
    made += [_configuration(subject), _again(subject, took, time.monotonic() - start)]
    text_ = page(f"{subject.name} on {Path(subject.trained.data).name}", _under(subject), made,
                 f"Written by pyro-rvae report. Costs are in nats per {subject.unit}; lower is better.")
    with atomic(path) as file:
        file.write(text_.encode())
    return failures


def _fill(subject: Subject, section: Section, fill: Fill) -> str:
    """Fill a section; what hindered it, or nothing. Whatever goes wrong in one must not lose the others."""
    message = ""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            fill(subject, section)
        except NotApplicable as why:
            section.blocks.append(note(str(why)))
        except Exception as error:  # a user's own model may raise anything; it is shown, and the exit code tells
            message = " ".join(f"{type(error).__name__}: {error}".split())
            section.blocks.append(failed(f"This section could not be made. {message}"))
    for words in dict.fromkeys(str(one.message) for one in said if issubclass(one.category, UserWarning)):
        section.blocks.append(note(f"Warning: {' '.join(words.split())}"))
    return message


def _under(subject: Subject) -> str:
    """The line under the title."""
    data, settings = subject.data, subject.settings
    held = count(len(data), subject.what, f"{len(data):,}")
    held += "" if subject.static else f", {count(data.num_frames, 'frame', f'{data.num_frames:,}')}"
    of = settings.data if settings.data is not None else subject.trained.data
    weights = sum(p.numel() for p in subject.model.parameters())
    return f"{weights:,} weights, judged on the {settings.split} split of {Path(of).name}: {held}. " \
           f"{time.strftime('%d %B %Y')}."


# ------------------------------------------------------------------------------------------------ the run itself
def _configuration(subject: Subject) -> Section:
    section = Section("configuration", "Configuration")
    section.blocks.append(text(f"{CONFIG} of the run: every setting, and the model with all its parts."))
    config = read_config(subject.run.path)
    section.blocks.append(code(yaml.safe_dump(config, sort_keys=False, allow_unicode=True).rstrip()))
    return section


def _again(subject: Subject, took: list[tuple[str, float]], total: float) -> Section:
    section = Section("again", "How to make it again")
    section.blocks.append(text("The run, from its configuration, and this page:"))
    section.blocks.append(code("\n".join(_commands(subject))))
    section.blocks.append(heading("What it was made with"))
    trained, settings = subject.trained, subject.settings
    lines = [[name, _version(name)] for name in LIBRARIES]
    lines = [["Python", platform.python_version()], *lines,
             ["machine", f"{platform.system()} {platform.machine()}, torch on {torch.get_num_threads()} thread"
                         + "s" * (torch.get_num_threads() != 1)],
             ["seed of the training", str(trained.seed)], ["seed of this page", str(settings.seed)]]
    section.blocks.append(table(lines))
    section.blocks.append(heading("How much was looked at"))
    section.blocks.append(table(_amounts(subject)))
    section.blocks.append(note(f"{total:.0f} seconds in all: " + ", ".join(f"{title.lower()} {seconds:.1f}"
                                                                          for title, seconds in took) + "."))
    return section


def _amounts(subject: Subject) -> list[list[str]]:
    settings, number = subject.settings, len(subject.data)
    whole = f"all {count(number, subject.what, f'{number:,}')}"
    rows = [["bounds", f"{whole}, {count(settings.num_particles)} (--num_particles)"],
            ["use of the latent", f"{whole}, 10 draws"],
            ["free-running check", f"{whole}, {count(settings.replicates, 'replication')} (--replicates)"],
            ["simulation-based calibration", f"{settings.simulations} simulations (--simulations), 49 draws"]]
    if not subject.static:
        words = f"{subject.few_words} (--sequences), {count(settings.draws, 'draw')} of each frame (--draws)"
        rows.append(["one-step forecasts", words])
        words = f"{subject.few_words}, {count(settings.replicates, 'replication')}"
        rows.append(["check behind the first half", words])
    return rows


def _commands(subject: Subject) -> list[str]:
    run, trust = str(subject.run.path), subject.settings.trust
    train = ["pyro-rvae", "train", "--config", f"{run}/{CONFIG}", "--out", f"{run}-again"]
    plain = Report(run=run)
    flags = [f"--{field.name} {shlex.quote(str(value))}" for field in dataclasses.fields(Report)
             if (value := getattr(subject.settings, field.name)) is not None and field.name != "run"
             and value != getattr(plain, field.name)]
    shown = [f"--num_particles {subject.settings.num_particles}", f"--seed {subject.settings.seed}"]
    flags = [*flags, *(flag for flag in shown if flag not in flags)]
    evaluate = ["pyro-rvae", "evaluate", run, "--split", subject.settings.split, *(["--trust", trust] if trust else [])]
    return [shlex.join(train), shlex.join(evaluate), f"pyro-rvae report {shlex.quote(run)} {' '.join(flags)}"]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        module = sys.modules.get(name.replace("-", "_"))
        return str(getattr(module, "__version__", "not installed"))
