"""The sections of a report on the model itself: training, bounds, latents, samples, reconstructions."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from .. import plots
from ..criticism import floors
from ..criticism.tables import count
from ..criticism.verdict import rows as collapse_rows
from ..plots.music import is_music
from ..plots.style import title_of
from ..plots.training import floor_name
from ..tasks import write_midi
from .html import Finding, Section, download, heading, note, picture, table, text
from .subject import NotApplicable, Subject

__all__ = ["bounds", "latent_map", "latents", "reconstructions", "samples", "training"]

NO_LATENT = "This model draws no latent for a sequence, so there is nothing to show here."
POINT = "The guide draws a point: this is a deterministic autoencoder, and its cost is no bound on the evidence"


def training(subject: Subject, section: Section) -> None:
    """Costs by epoch."""
    history, unit = subject.history, subject.unit
    section.see = f"The cost of the training and the validation data after each epoch, in nats per {unit}, its two " \
                  "parts, and floors: what models without latents or networks pay."
    section.good = "All curves fall and level out; validation stays close to training and ends well below the lowest " \
                   "floor. Validation that rises again means too much training, a curve still falling too little."
    best, last = history.best, history.rows[-1]
    cost = last.elbo if np.isnan(best.valid_elbo) else best.valid_elbo
    which = "training" if np.isnan(best.valid_elbo) else "validation"
    late = best.epoch >= 0.95 * last.epoch
    section.run = f"Lowest {which} cost {cost:.3f}, after epoch {best.epoch} of {last.epoch}" + \
        ("; it was still falling: more epochs may help." if late else ".")
    section.blocks.append(picture(plots.history_plot(history, floors=floors(subject.train, subject.valid), unit=unit)))
    section.blocks.append(note(f"{count(last.epoch, 'epoch')}, {last.step:,} steps, {history['seconds'].sum():,.0f} "
                               "s. Every epoch is in history.csv."))


def bounds(subject: Subject, section: Section) -> None:
    """ELBO and IWAE beside the floors."""
    found, unit = subject.evaluation, subject.unit
    k = found.num_particles
    section.see = f"What the data cost the model, in nats per {unit} (lower is better), beside floors: models " \
                  f"without latents or networks. IWAE-{k} is nearer to the exact cost than the ELBO, and above it too."
    section.good = "Both bounds below both floors by more than their intervals, and close to each other: then the " \
                   "guide is close to the posterior."
    if found.transformed:
        section.good += " The data are in transformed units here, so the figures compare with these floors only."
    name, cost = next(iter(found.bounds.items()))
    if found.point:
        section.run = f"{POINT}. It is {cost:.3f}."
        section.findings.append(Finding(f"{POINT}: {cost:.3f} nats per {unit}"))
    else:
        _beside_floors(subject, section, name, cost)
    section.blocks.append(picture(plots.bounds_plot(found)))
    section.blocks.append(_table_of_bounds(subject))
    if found.by_step is not None:
        section.blocks.append(heading("By step"))
        section.blocks.append(picture(plots.steps_plot(found), "A mean over the sequences that reach the step; steps "
                                      "that fewer than 5% of them reach are left out."))


def _beside_floors(subject: Subject, section: Section, name: str, cost: float) -> None:
    found, unit = subject.evaluation, subject.unit
    low, high = found.interval(1)
    section.run = f"{name} {cost:.3f}, IWAE-{found.num_particles} {found.iwae:.3f} nats per {unit}."
    if found.includes:
        section.run += f" It includes {found.includes}; the floors are of x alone."
    elif found.floors:
        floor, least = min(found.floors.items(), key=lambda item: item[1])
        below = "below" if cost < least else "above"
        section.run += f" The ELBO is {abs(least - cost):.3f} {below} the {floor_name(floor)}."
        sure = "" if np.isnan(high) or high < least or low > least else ", which is less than the interval is wide"
        section.findings.append(Finding(f"The ELBO is {cost:.3f} nats per {unit}, {abs(least - cost):.2f} {below} the "
                                        f"{floor_name(floor)}{sure}", cost < least))


def _table_of_bounds(subject: Subject) -> str:
    found = subject.evaluation
    bits, own = found.bits_per_dim, found.mean_over_sequences
    k = found.num_particles
    lines = []
    for name, cost in found.bounds.items():
        low, high = found.interval(k if name.startswith("IWAE") else 1)
        interval = "" if np.isnan(low) else f"{low:.3f} to {high:.3f}"
        per_dim = f"{bits[name]:.4f}" if name in bits else ""
        lines.append([name, f"{cost:.3f}", interval, f"{own[name]:.3f}", per_dim, ""])
    draws = count(k)
    lines += [[f"{name} ({draws})", f"{cost:.3f}", "", "", "", ""] for name, cost in
              (("reconstruction", found.reconstruction), ("KL", found.kl))]
    alone = found.point or found.includes
    lines += [[floor_name(name), f"{cost:.3f}", "", "", "", "" if alone else f"{cost - found.elbo:+.3f}"]
              for name, cost in found.floors.items()]
    head = ["", f"nats per {subject.unit}", "95% interval", f"mean of {subject.what}s", "bits/dim", "floor less ELBO"]
    return table(lines, head)


def latents(subject: Subject, section: Section) -> None:
    """Has the latent collapsed?"""
    if not subject.has_latents:
        raise NotApplicable(NO_LATENT)
    found = subject.collapse
    section.see = "How much each latent dimension says about the data (its KL), how many of them move at all " \
                  f"(active units), and what it costs to explain a {subject.what} with another one's latents."
    section.good = "Several active units, a KL well above 0, and a shuffling cost of at least the size of the KL: " \
                   "then the latent carries what the likelihood needs. All near 0: it has collapsed."
    section.run = found.verdict[0].upper() + found.verdict[1:]
    unused = bool(found.collapsed) or "hardly read" in found.verdict
    section.findings.append(Finding(section.run.rstrip("."), not unused))
    section.blocks.append(picture(plots.collapse_plot(found)))
    section.blocks.append(table(collapse_rows(found), ["", f"nats per {subject.unit}", ""]))
    if subject.monitor:
        section.blocks.append(heading("The latent in training"))
        section.blocks.append(picture(plots.monitor_plot(subject.monitor, unit=subject.unit), "Looks at a few "
                                      f"validation {subject.what}s while the model was trained; all of it is in "
                                      "collapse.csv."))


def latent_map(subject: Subject, section: Section) -> None:
    """Posterior means in two dimensions."""
    if not subject.has_latents:
        raise NotApplicable(NO_LATENT)
    if not subject.collapse.activity:
        raise NotApplicable("The latents of this model are discrete, so there is no map of them.")
    labelled = subject.data.labels is not None and subject.data.labels.dim() == 1
    section.see = "Posterior means of the first continuous latent, in the plane in which they vary most. Colours " + \
                  ("are the labels." if labelled else "are the time within a sequence, where the latent has steps.")
    section.good = "A cloud that fills its middle and, with labels, groups that lie apart. A point, or a line, means " \
                   "that few dimensions are in use."
    panels = plots.latent_map(subject.model, subject.data, seed=subject.settings.seed)
    section.blocks.append(picture(panels, "Each point is the mean of 10 draws of the guide, of a "
                                          f"{'step' if not subject.static else 'item'}, or of a {subject.what} where "
                                          "the latent is drawn once; at most 5,000 are shown."))
    section.run = f"{title_of(panels)}."


def samples(subject: Subject, section: Section) -> None:
    """What the model makes on its own."""
    made, data = subject.samples, subject.data
    section.see = f"What the model makes by itself, beside {subject.what}s of the data that it was not trained on." \
        if subject.settings.split != "train" else "What the model makes by itself, beside its training data."
    section.good = "They look (and sound) alike, and the samples differ from each other as the data do."
    section.run = f"{len(made)} samples, drawn freely, seed {subject.settings.seed}; the first are shown."
    section.blocks.append(picture(plots.sequences_plot(data, [x.numpy() for x in made], num=6 if subject.static else 3,
                                                       name=subject.name)))
    if is_music(data):
        section.blocks.append(text("To listen to:"))
        section.blocks.append(download("samples.mid", _midi(made), "audio/midi", f"samples.mid, {len(made)} samples"))
        real = [data[i][: len(made[0])] for i in range(min(len(made), len(data)))]
        words = f"data.mid, {len(real)} beginnings of data"
        section.blocks.append(download("data.mid", _midi(real), "audio/midi", words))


def _midi(rolls: object) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_midi(Path(folder) / "rolls.mid", rolls)  # type: ignore[arg-type]
        return (Path(folder) / "rolls.mid").read_bytes()


def reconstructions(subject: Subject, section: Section) -> None:
    """What the model makes of what its guide has seen."""
    if not subject.has_latents:
        raise NotApplicable("This model draws no latent for a sequence, so it encodes nothing that it could give back.")
    section.see = f"{subject.what.capitalize()}s of the data, and what the likelihood makes of latents that the " \
                  "guide drew for them."
    section.good = "Close to the data, but not a copy of their noise. Bad reconstructions with good samples: the " \
                   "latent is not used. The reverse: the prior does not know where the latents lie."
    panels = plots.reconstruction_plot(subject.model, subject.data, num=6 if subject.static else 4,
                                       seed=subject.settings.seed)
    section.run = f"{title_of(panels)}."
    caption = "A note counts as made if most of 20 draws have it." if is_music(subject.data) else "20 draws of each."
    section.blocks.append(picture(panels, caption + " A model that reads the frame before is given the observed one."
                                  * (not subject.static)))
