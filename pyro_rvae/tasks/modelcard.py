"""The model card: a README.md that says what a saved model is, what it was trained on, and how to load it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..criticism.tables import FLOORS, count
from .naming import FORMS, packages_of

__all__ = ["is_ours", "model_card"]

HERE = "path/to/this/folder"
OURS = "<!-- written by pyro_rvae, which writes it again; without this line it leaves the file alone -->"


def is_ours(path: Path) -> bool:
    """Whether a README.md may be written: there is none, or it is a card that nobody has taken over."""
    try:
        return OURS in path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def model_card(model: Any, config: Mapping[str, Any], metrics: Mapping[str, Any] | None = None) -> str:
    """The text of the card, Markdown with a front matter as model hubs read it.

    Arguments:
        model: the model; its weights are counted, and its class's docstring is read.
        config: what ``config.yaml`` holds.
        metrics: figures, as ``metrics.json`` of a run holds them or ``rv.evaluate(...).to_dict()`` gives them.
    """
    name = type(model).__name__
    parts = [_front(model, name), f"# {name}", _what_it_is(model, config), _trained_on(model, config),
             _bounds(metrics or {}), _use(model, config, name), OURS]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(model: Any, name: str) -> str:
    tags = ["pyro", "variational-autoencoder", "generative-model", name.lower()]
    tags += [] if model.static else ["sequences", "time-series"]
    written = yaml.safe_dump({"library_name": "pyro_rvae", "tags": tags}, sort_keys=False).strip()
    return f"---\n{written}\n# license: the weights' owner chooses one, such as mit\n---"


# ------------------------------------------------------------------------------------------ what it is
def _what_it_is(model: Any, config: Mapping[str, Any]) -> str:
    equation = (inspect.getdoc(type(model)) or "").partition("\n")[0]
    numbers = sum(p.numel() for p in model.parameters())
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters()})
    about = [f"A model and its guide, written with pyro_rvae "
             f"{config['pyro_rvae']}: {numbers:,} weights ({', '.join(dtypes)})."]
    if equation:
        about.append(f"```text\n{equation}\n```")
    arguments = (config.get("model") or {}).get("init_args") or {}
    if arguments:
        rows = [f"| `{name}` | {_cell(_short(value))} |" for name, value in arguments.items() if value is not None]
        about.append("\n".join(["| part | |", "|---|---|", *rows]))
    return "\n\n".join(about)


def _short(value: Any) -> str:
    """A described part in one line: its class, and the arguments that it was given."""
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    if not isinstance(value, Mapping):
        return str(value)
    form = next((form for form in FORMS if form in value), None)
    given = value if form is None else value.get("init_args") or {}
    inside = ", ".join(f"{key}={_short(item)}" for key, item in given.items() if item is not None)
    if form is None:
        return inside
    return str(value[form]).removeprefix("pyro_rvae.") + (f"({inside})" if inside else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# ------------------------------------------------------------------------------------------ data and figures
def _trained_on(model: Any, config: Mapping[str, Any]) -> str:
    card = model.data_card
    if card is None:
        return ""
    lines = [f"- {card.kind}" + f" of {card.classes} classes" * (card.classes is not None) + ", "
             + count(card.x_dim, "feature") + _names(card.names)]
    number, what = config.get("num_sequences"), "item" if model.static else "sequence"
    if number:
        lines.append(f"- {count(number, what, f'{number:,}')} to train on" + _lengths(card.lengths))
    if card.missing:
        lines.append("- with missing elements")
    if card.control_dim:
        lines.append(f"- with {count(card.control_dim, 'known input')} a step")
    if card.labels is not None:
        lines.append(f"- with labels, {count(len(card.labels), 'value')}")
    if model.transform is not None:
        lines.append("- scaled feature by feature; `rv.tasks` take and give raw units")
    return "\n".join(["## Training data", "", *lines])


def _names(names: Any, most: int = 12) -> str:
    if not names:
        return ""
    shown = ", ".join(map(str, names[:most]))
    return f" ({shown}{', ...' if len(names) > most else ''})"


def _lengths(lengths: Mapping[int, int]) -> str:
    """Least, median and most frames."""
    if not lengths:
        return ""
    low, high, middle = min(lengths), max(lengths), median_length(lengths)
    return f", of {count(low, 'frame')} each" if low == high else f", of {low} to {high} frames (median {middle})"


def median_length(lengths: Mapping[int, int]) -> int:
    """The median of the training lengths."""
    half, seen = sum(lengths.values()) / 2, 0
    for length in sorted(lengths):
        seen += lengths[length]
        if seen >= half:
            break
    return length


def _bounds(metrics: Mapping[str, Any]) -> str:
    rows = {name: value for name, value in _figures(metrics).items() if math.isfinite(value)}
    if not rows:
        return ""
    split, unit = metrics.get("split"), metrics.get("unit", "nats per frame")
    title = f"Bounds on the {split} data" if split else "Figures given with the model"
    particles = metrics.get("num_particles")
    drawn = f", {count(particles)}" if isinstance(particles, int) else ""
    lines = [f"| {name} | {value:.3f} |" for name, value in rows.items()]
    return "\n".join([f"## {title}", "", f"In {unit}{drawn}; lower is better.", "",
                      "| | |", "|---|---:|", *lines])


def _figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Bounds and floors, of either form in which they come."""
    found = {}
    for name, value in metrics.items():
        head, _, k = name.partition("_")
        plain = isinstance(value, int | float) and not isinstance(value, bool) and (not k or k.isdigit())
        if plain and head in ("elbo", "iwae", "reconstruction", "kl"):
            shown = {"elbo": "ELBO", "iwae": f"IWAE-{k}", "kl": "KL"}.get(head, head)
            found[shown] = float(value)
    floors = metrics.get("floors") or {name.removesuffix("_floor"): value for name, value in metrics.items()
                                       if name.endswith("_floor")}
    return found | {f"{FLOORS.get(name, name)} floor": float(value) for name, value in floors.items()
                    if isinstance(value, int | float)}


# ------------------------------------------------------------------------------------------ how to use it
def _use(model: Any, config: Mapping[str, Any], name: str) -> str:
    if "model" not in config:
        why = config["unnamed"]
        return (f"## Load it\n\n{why[0].upper()}{why[1:]}\n\n```python\nimport pyro_rvae as rv\n\n"
                f"model = ...  # the {name}, built by the code that built it for training\n"
                f'rv.tasks.load_weights(model, "{HERE}")\nmodel.eval()\n```')
    packages = packages_of(config["model"])
    allow = f", allow={packages!r}" if packages else ""
    trust = f"\nParts come from {', '.join(packages)}, which has to be installed; importing it runs its code, hence " \
            "`allow`.\n" if packages else ""
    return f"## Load and use it\n{trust}\n```python\nimport pyro_rvae as rv\n\n" \
           f'model = rv.from_pretrained("{HERE}"{allow})\n{_generates(model)}\n```'


def _generates(model: Any) -> str:
    """The line that draws new data."""
    card, given = model.data_card, ""
    if card is not None and card.control_dim:
        given += f", controls=controls)  # (4, length, {card.control_dim}), known inputs"
    if getattr(model.context, "reads_labels", False):
        given = f", labels=labels{given or ')  # one a sequence'}"
    length = "" if model.static else f", {median_length(card.lengths) if card is not None and card.lengths else 100}"
    return f"samples = rv.generate(model, 4{length}, seed=0{given or ')'}"
