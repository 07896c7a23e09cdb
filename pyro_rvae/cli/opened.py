"""A trained run, and the file that it is used on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import data as library
from ..core import SequenceVAE
from ..data import StaticDataset
from ..tasks.inputs import as_data
from .choose import load_data, trained_on
from .parser import UsageError
from .rundir import RunDirectory
from .settings import Train
from .writing import destination

__all__ = ["SIDES", "Opened"]

SIDES = ("train", "valid", "test")


@dataclass(frozen=True)
class Opened:
    """A trained run, and the file that it is used on."""

    run: RunDirectory
    model: SequenceVAE
    trained: Train
    form: Any
    file: str

    @classmethod
    def open(cls, settings: Any) -> Opened:
        run = RunDirectory.open(settings.run)
        model = run.model(settings.trust)
        return cls(run, model, run.settings(), library.form_of(model), settings.file)

    @property
    def stem(self) -> str:
        """The name of the file, or of the side."""
        return Path(self.file).stem

    @property
    def own(self) -> bool:
        """Whether it is a side of the run's own data."""
        return self.file in SIDES and not Path(self.file).exists()

    def raw(self) -> Any:
        """The user's file, or a side of the run's own data, in raw units: the numbers as they were read."""
        if not self.own:
            return library.read(self.file, self.form)
        return getattr(load_data(replace(self.trained, units="raw"), static=self.model.static), self.file)

    def data(self) -> Any:
        """The same in the model's units."""
        if self.own:
            return self.side(self.file)
        data = self.raw()
        if isinstance(data, StaticDataset) != self.model.static:
            raise UsageError(f"{self.file} holds {'rows without time' if self.model.static is False else 'sequences'}, "
                             f"and this run's {type(self.model).__name__} is of "
                             f"{'rows without time' if self.model.static else 'sequences'}: give a file like those "
                             "that it was trained on")
        return as_data(self.model, data, self.file)

    def side(self, name: str) -> Any:
        """A side of the data that the run was trained on."""
        return getattr(trained_on(self.trained, self.model), name)

    def out(self, settings: Any, word: str, ending: str, endings: Iterable[str], *, folder: bool = False) -> Path:
        """Where to write, asked before anything is computed."""
        path = destination(self.run, settings.out, f"{word}-{self.stem}{ending}", endings, folder=folder)
        for file in (self.file, getattr(settings, "controls", None)):
            if file is not None and path.exists() and Path(file).exists() and path.samefile(file):
                raise UsageError(f"--out {path} is the file that is read: name another one, nothing of yours is "
                                 "overwritten")
        return path

    def out_of_sequences(self, settings: Any, word: str) -> Path:
        """The same for sequences, in the kind of file that the run was trained on unless told."""
        return self.out(settings, word, str(self.form.writes[0]), self.endings(), folder=self.form.each)

    def endings(self) -> tuple[str, ...]:
        """Of files of sequences."""
        tables = (".npz",) if self.model.static else (".npz", ".csv")
        return tuple(dict.fromkeys((*self.form.writes, *tables, ".png")))
