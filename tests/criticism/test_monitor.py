from __future__ import annotations

import math
import warnings
from functools import partial

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_rvae as rv
from pyro_rvae.criticism import CollapseRow, CollapseWarning
from pyro_rvae.criticism.advice import advice
from pyro_rvae.criticism.monitor import read_rows


class Dead(rv.SequenceVAE):
    """z_t ~ N(0, I), x_t ~ N(b, 1), and a guide that is the prior."""

    x_dim = 1

    def __init__(self):
        super().__init__()
        self.b = nn.Parameter(torch.zeros(1))

    def noise(self):
        return dist.Normal(torch.zeros(2), 1.0).to_event(1)

    def generative(self, steps):
        for t in steps:
            t.sample("z", self.noise)
            t.sample("x", lambda: dist.Normal(self.b, 1.0).to_event(1))

    def inference(self, steps, x):
        for t in steps:
            t.sample("z", self.noise)


@pytest.fixture
def data():
    torch.manual_seed(2)
    return rv.data.SequenceDataset(torch.randn(30, 1), [3, 6, 2, 6, 4, 5, 4])


def train(model, data, monitor, epochs=6, **given):
    return rv.fit(model, data, epochs=epochs, batch_size=4, lr=0.01, progress=False,
                  callbacks=[] if monitor is None else [monitor], **given)


@pytest.mark.parametrize("made", [partial(rv.DMM, dropout=0.2), rv.VRAE])
def test_the_trained_weights_are_those_without_it(made, rolls):
    weights = []
    for monitor in (None, rv.CollapseMonitor(rolls.valid, patience=50)):
        torch.manual_seed(0)
        model = made(rolls.train.x_dim, z_dim=2, h_dim=4)
        before = torch.get_rng_state()
        train(model, rolls.train, monitor, 3, valid=rolls.valid, ema=0.9)
        assert torch.equal(torch.get_rng_state(), before)
        weights.append(model.state_dict())
    assert len(monitor.rows) == 3
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_the_table_is_that_of_the_report(rolls, tmp_path):
    torch.manual_seed(0)
    model = rv.VRAE.for_data(rolls.train, z_dim=2, h_dim=4)
    monitor = rv.CollapseMonitor(rolls.valid, every=2, patience=50, path=tmp_path / "collapse.csv", num_particles=3)
    assert "no look yet" in repr(monitor)
    history = train(model, rolls.train, monitor, 5)
    assert monitor["epoch"].tolist() == [2, 4, 5]  # the last epoch too
    assert monitor["step"].tolist() == history["step"][[1, 3, 4]].tolist()
    last, found = monitor.rows[-1], rv.collapse_report(model, rolls.valid, num_particles=3)
    assert (last.kl, last.elbo) == pytest.approx((found.kl, found.elbo), abs=1e-10)
    assert last.mutual_information == pytest.approx(found.information.value, abs=1e-10)
    assert last.collapsed.split() == list(found.collapsed) and monitor.report.to_dict().keys() == found.to_dict().keys()
    assert read_rows(tmp_path / "collapse.csv") == monitor.rows
    assert repr(monitor).splitlines()[0].split()[:4] == ["epoch", "step", "elbo", "kl"] and len(monitor.rows) == 3


def test_it_looks_at_a_few_sequences(data):
    monitor, same = (rv.CollapseMonitor(data, sequences=3, seed=1) for _ in range(2))
    assert len(monitor.data) == 3 and torch.equal(monitor.data.values, same.data.values)
    assert len(rv.CollapseMonitor(data).data) == 7


def test_it_warns_once_and_says_what_to_try(data):
    with pytest.warns(CollapseWarning) as caught:
        train(Dead(), data, rv.CollapseMonitor(data, patience=2), 8)
    text, = (str(w.message) for w in caught)
    assert "'z' of Dead is dead: after epoch 2 its KL is 0.0000 nats a draw" in text
    assert "0 of its 2 units are active (dead for 2 looks in a row, at the full KL weight)" in text
    assert "fit(kl_weight=rv.infer.linear(0.0, 1.0, 5))" in text


@pytest.mark.parametrize(("epochs", "given"), [
    (1, {}), (4, {"patience": 5}),
    (6, {"kl_weight": rv.infer.linear(0.0, 1.0, 12)}),  # full at the last step only
    (6, {"kl_weight": lambda step: 0.1 if step < 11 else 1.0}),
])
def test_it_does_not_warn_early(data, epochs, given):
    monitor = rv.CollapseMonitor(data, patience=given.pop("patience", 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(Dead(), data, monitor, epochs, **given)
    assert monitor.rows[-1].collapsed == "z" and monitor.rows[-1].active_units == 0


def test_the_first_tenth_of_a_training_is_its_start(data):
    class Stop(rv.Callback):
        def on_epoch_end(self, state, row):
            state.stop = row.epoch == 3

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor = rv.CollapseMonitor(data, patience=1)
        rv.fit(Dead(), data, epochs=40, progress=False, callbacks=[monitor, Stop()])
    assert len(monitor.rows) == 3


def test_a_latent_that_lives_is_left_alone(gaussian):
    class Trained(gaussian.Model):
        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def likelihood(self, z):
            return dist.Normal(z + 0 * self.unused, 0.3**0.5).to_event(1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor = rv.CollapseMonitor(gaussian.data, patience=1)
        train(Trained(), gaussian.data, monitor, 2)
    assert set(monitor["collapsed"]) == {""} and (monitor["active_units"] == 1).all()


def test_a_resumed_run_goes_on_with_the_table(rolls, tmp_path):
    class Stop(rv.Callback):
        def on_epoch_end(self, state, row):
            state.stop = row.epoch == 2

    def run(folder, *more, **given):
        torch.manual_seed(0)
        monitor = rv.CollapseMonitor(rolls.valid, patience=50, path=tmp_path / f"{folder}.csv")
        rv.fit(rv.VRAE.for_data(rolls.train, z_dim=2, h_dim=4), rolls.train, epochs=4, batch_size=4, progress=False,
               checkpoint=tmp_path / folder, callbacks=[monitor, *more], **given)
        return [row._replace(seconds=0.0) for row in monitor.rows]

    whole, first = run("whole"), run("cut", Stop())
    assert [row.epoch for row in first] == [1, 2] and run("cut", resume=True) == whole
    assert [row.epoch for row in read_rows(tmp_path / "cut.csv")] == [1, 2, 3, 4]


def test_a_new_run_begins_a_new_table(data):
    monitor = rv.CollapseMonitor(data, patience=50)
    for _ in range(2):
        train(Dead(), data, monitor, 2)
    assert monitor["epoch"].tolist() == [1, 2]


# ------------------------------------------------------------------------------------------ what to try
SAYS = {
    "VRAE": (rv.VRAE, "feedback=partial.rv.WordDropout, p=0.5."),
    "VRAE that drops": (partial(rv.VRAE, feedback=partial(rv.WordDropout, p=0.5)), "WordDropout, p=0.75."),
    "skip edges": (partial(rv.DMM, skip_edges=True, skip_dim=3), "skip_edges=False"),
    "VRNN": (rv.VRNN, "a lower h_dim"),
}


@pytest.mark.parametrize("name", SAYS)
def test_advice_by_model(name, rolls):
    made, match = SAYS[name]
    model = made(rolls.test.x_dim, z_dim=2, h_dim=4)
    report = rv.collapse_report(model, rolls.test, num_particles=2)
    with pytest.warns(UserWarning, match=match):
        warnings.warn(advice("z", report, 9, 3, model, rv.infer.constant(), 100), stacklevel=1)


def test_advice_by_schedule_and_for_a_decoder_that_sees_z_alone(rolls):
    model = rv.DMM(rolls.test.x_dim, z_dim=2, h_dim=4)
    report = rv.collapse_report(model, rolls.test, num_particles=2)
    texts = [advice("z", report, 9, 3, model, schedule, 100).split("What to try: ")[1] for schedule in (
        rv.infer.constant(), rv.infer.linear(0.0, 1.0, 10), rv.infer.cyclical(10))]
    assert "rv.infer.linear(0.0, 1.0, 33)" in texts[0] and "rv.infer.cyclical(16)" in texts[1]
    assert "over more steps;" in texts[2]
    assert not any(word in text for text in texts for word in ("h_dim", "WordDropout", "skip_edges"))


# ------------------------------------------------------------------------------------------ refusals
@pytest.mark.parametrize(("wrong", "match"), [
    ({"every": 0}, "CollapseMonitor: every must be an integer of at least 1, got 0"),
    ({"sequences": 1}, "CollapseMonitor: sequences must be an integer of at least 2"),
    ({"num_particles": 0}, "CollapseMonitor: num_particles must be"),
    ({"patience": 0}, "CollapseMonitor: patience must be"),
    ({"floor": -1.0}, "CollapseMonitor: floor must be a finite number of at least 0"),
    ({"threshold": math.nan}, "CollapseMonitor: threshold must be a finite number"),
])
def test_arguments(data, wrong, match):
    with pytest.raises(ValueError, match=match):
        rv.CollapseMonitor(data, **wrong)


def test_data(data, rolls):
    with pytest.raises(TypeError, match="CollapseMonitor needs one data set, such as data.valid; got Splits"):
        rv.CollapseMonitor(rolls)
    with pytest.raises(ValueError, match="the data set has only one: give it at least two"):
        rv.CollapseMonitor(data.subset([0]))
    static = rv.data.StaticDataset(torch.randn(4, 1))
    with pytest.raises(ValueError, match="Dead is a model of sequences, the data set holds rows without time"):
        train(Dead(), data, rv.CollapseMonitor(static))
    with pytest.raises(KeyError, match="a monitor has the columns epoch, step"):
        rv.CollapseMonitor(data)["elob"]


def test_a_file_that_is_no_table(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("epoch,loss\n1,2\n")
    with pytest.raises(ValueError, match="is no table of a CollapseMonitor"):
        read_rows(path)
    path.write_text(",".join(CollapseRow._fields) + "\n1,2\n")
    with pytest.raises(ValueError, match="a row can't be read"):
        read_rows(path)
