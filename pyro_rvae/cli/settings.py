"""What the commands can be told: each field is a flag of that name, and a key of the YAML."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["EXAMPLES", "LR", "MAIN_LR", "MAIN_MODEL", "Evaluate", "Report", "Sample", "Train", "names"]

Elbo = Literal["TraceMeanField_ELBO", "Trace_ELBO", "TraceEnum_ELBO", "IWAE", "FIVO", "PathDerivative"]
Kinds = Literal["binary", "real", "counts", "categories"]

MAIN_MODEL: dict[str, Any] = {"class_path": "pyro_rvae.DMM",
                              "init_args": {"z_dim": 32, "h_dim": 200, "dropout": 0.1,
                                            "encoder": {"partial": "pyro_rvae.Backward",
                                                        "init_args": {"append": True}}}}
MAIN_LR, LR = 1e-2, 3e-3


@dataclass(frozen=True)
class Train:
    """Train a model, judge it on data held out, and write a run directory.

    Args:
        model: A model of pyro_rvae (DMM, VRNN, SRNN, RVAE, HRAE, KVAE, VAE, AE, ...: the README's table) or your own
            by dotted path (mypkg.MyModel).
            Arguments of its constructor follow as --model.NAME VALUE; a part is a class or function by name
            (--model.posterior Combiner, --model.prior mypkg.MyPrior), or, with arguments of its own,
            --model.posterior '{partial: GaussianChain, init_args: {hidden: [128]}}'; what labels and controls are
            read with: --model.context '{partial: Context, init_args: {classes: 3, control_dim: 2}}'.
            Without --model: a DMM with the settings of the main job.
        data: bach_chorales (embedded), a standard set by name (jsb_chorales, nottingham, names, spoken_digits, ...: an
            unknown name lists them), a file .npz, .csv, .txt or .fasta, or a folder of .mid, .wav or .png files.
        form: What the files of --data hold, where their ending doesn't tell it: Protein (.fasta), Waveform (.wav),
            Strokes (.npz), ...
        window: Cut the series to train and validate on into pieces of so many frames. Default: they stay whole.
        kind: What the values are, where the file doesn't say: integers may be counts or categories.
        classes: Number of classes, for categories.
        units: Real numbers are trained on standardized (mean 0, deviation 1), normalized (0 to 1), or raw; samples
            are in the units of the data.
        split_seed: Splits data without a split of their own 80/10/10.
        out: The run directory; it must not exist. Default: runs/MODEL-DATE-TIME.
        overwrite: Write into a run directory that exists; what an earlier run left there is lost.
        resume: Go on with an interrupted run (a run directory), with the settings it was started with.
        trust: Packages whose code a resumed run may import, with commas between them.
        epochs: Passes over the training data.
        batch_size: Sequences a step.
        lr: Learning rate of Adam. Default: 0.01 for the main job's model, 0.003 for a model named with --model.
        weight_decay: L2 penalty of Adam.
        schedule: How the learning rate goes: cosine falls to 0, constant stays.
        clip: Largest global norm of a gradient.
        kl_start: KL weight of the first step.
        kl_steps: Steps in which the KL weight rises to 1.
        elbo: Objective, one of Pyro's or of ours; TraceMeanField_ELBO takes the KL in closed form where there is one.
        elbo_particles: Particles of IWAE and FIVO.
        encoder_updates: Updates of the guide alone for each one of the model alone. Default: both move together.
        accumulate: Batches whose gradients make one step.
        patience: Stop when the validation bound hasn't improved for so many epochs. Default: never.
        ema: Decay of a moving average of the weights, which is validated and kept in their place. Default: none.
        seed: Of weights, batches, draws, samples.
        device: cpu, cuda, cuda:1, or auto: a GPU where there is one.
        precision: 32, or bf16 (networks in bfloat16; weights and densities stay in 32).
        threads: Of torch on a CPU. Recurrences over small batches gain little from a second one.
        num_particles: K of the importance-weighted bound on the test split.
        replicates: Replications of the test split for the predictive check.
        num: Sequences to sample; with the labels and controls of test sequences, where the data have them.
        length: Frames of each sample. Default: the median length of the training data, at most 64.
        quiet: No progress bar and no table.
    """

    model: Any = None
    data: str = "bach_chorales"
    form: str | None = None
    window: int | None = None
    kind: Kinds | None = None
    classes: int | None = None
    units: Literal["standardized", "normalized", "raw"] = "standardized"
    split_seed: int = 0
    out: str | None = None
    overwrite: bool = False
    resume: str | None = None
    trust: str = ""
    epochs: int = 100
    batch_size: int = 20
    lr: float | None = None
    weight_decay: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float = 5.0
    kl_start: float = 0.05
    kl_steps: int = 300
    elbo: Elbo = "TraceMeanField_ELBO"
    elbo_particles: int = 16
    encoder_updates: int | None = None
    accumulate: int = 1
    patience: int | None = None
    ema: float | None = None
    seed: int = 0
    device: str = "auto"
    precision: Literal["32", "bf16"] = "32"
    threads: int = 1
    num_particles: int = 100
    replicates: int = 50
    num: int = 8
    length: int | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Evaluate:
    """Judge a trained run: bounds beside the floors, and what the latents are worth.

    Args:
        run: The run directory.
        data: Other data than it was trained on: a name or a file, as for train; its test split is read.
        split: The side of the data to judge on; all of a file of --data: every sequence in it.
        num_particles: K of the importance-weighted bound.
        seed: Of the draws.
        trust: Packages whose code the run may import, with commas between them.
        out: A file to write the numbers to (.json).
    """

    run: str
    data: str | None = None
    split: Literal["train", "valid", "test", "all"] = "test"
    num_particles: int = 100
    seed: int = 0
    trust: str = ""
    out: str | None = None


@dataclass(frozen=True)
class Sample:
    """Draw new sequences from a trained run.

    Args:
        run: The run directory.
        num: How many.
        length: Frames of each (static models have none); "training" draws each length from those of the training
            data. Texts end at their end symbol; where the model reads controls, a sample is as long as those of a test
            sequence at most. Default: as the run's own samples.
        label: Of this label, where the model reads labels. Default: the labels and controls of test sequences, where
            the model reads them.
        prefix: A file of beginnings; the samples go on with them in turn. --length counts them too.
        temperature: Below 1 the samples are more typical than the data, above 1 less.
        out: Where to: .npz, .csv, .png, or the kind of file that the run was trained on (.mid, .txt, .svg, .wav, ...;
            of .mid, .wav and .png a path without an ending is a new folder, with a file for each sample).
            Default: samples-SEED in the run directory.
        seed: Of the draws.
        tempo: Quarter notes a minute, of MIDI.
        program: General MIDI instrument 0 to 127 (19 church organ, 0 piano, 52 choir).
        trust: Packages whose code the run may import, with commas between them.
        quiet: No progress bar.
    """

    run: str
    num: int = 8
    length: int | Literal["training"] | None = None
    label: int | None = None
    prefix: str | None = None
    temperature: float = 1.0
    out: str | None = None
    seed: int = 0
    tempo: float = 80.0
    program: int = 19
    trust: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Report:
    """Write one page about a trained run: is it any good?

    A section that fails says so on the page, and the exit code is then 1; the others are written all the same.

    Args:
        run: The run directory.
        data: Other data than it was trained on: a name or a file, as for train; its test split is read.
        split: The side of the data to judge on; all of a file of --data: every sequence in it.
        num_particles: K of the importance-weighted bound.
        replicates: Replications of the data for the predictive check.
        sequences: Most sequences that the one-step forecasts are made of; their first 256 frames.
        draws: One-step forecasts of each frame.
        simulations: Data sets of one sequence that the guide is tried on (simulation-based calibration).
        num: Sequences to sample.
        seed: Of the draws.
        trust: Packages whose code the run may import, with commas between them.
        out: The file to write (.html). Default: report.html in the run directory.
    """

    run: str
    data: str | None = None
    split: Literal["train", "valid", "test", "all"] = "test"
    num_particles: int = 100
    replicates: int = 50
    sequences: int = 20
    draws: int = 20
    simulations: int = 200
    num: int = 8
    seed: int = 0
    trust: str = ""
    out: str | None = None


EXAMPLES = {
    "train": """examples:
  pyro-rvae train
  pyro-rvae train --model VRNN --model.z_dim 32 --data my.npz --epochs 100 --out runs/mine
  pyro-rvae train --model.prior mypkg.MyPrior --config run.yaml
  pyro-rvae train --resume runs/mine""",
    "evaluate": """examples:
  pyro-rvae evaluate runs/mine
  pyro-rvae evaluate runs/mine --num_particles 1000 --data other.npz --trust mypkg""",
    "report": """examples:
  pyro-rvae report runs/mine
  pyro-rvae report runs/mine --split valid --num_particles 1000 --out valid.html""",
    "sample": """examples:
  pyro-rvae sample runs/mine
  pyro-rvae sample runs/mine --num 20 --length 128 --out mine.mid --program 52
  pyro-rvae sample runs/mine --prefix beginnings.txt --temperature 0.7 --out more.txt""",
}


def names(command: type) -> list[str]:
    """The names of a command's settings."""
    return [field.name for field in dataclasses.fields(command)]
