from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyro_rvae.data import load
from pyro_rvae.data.longform import are_days, date_of, read_csv


def write(folder, text: str):
    path = folder / "my.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_long_form_with_missing_cells_split_and_label(tmp_path) -> None:
    data = load(write(tmp_path, (
        "\ufeffsequence,time,temp,wind,split,label\n"
        "b,0.5,1.5,,train,1\n"
        "a,1,2.5,3,test,0\n"
        "b,1.5,-4e1,5,train,1\n"
        "\n"
        "c,0,6,7,valid,2\n"
        "a,3,8,9,test,0\n"
    )))  # fmt: skip
    np.testing.assert_array_equal(data.train[0], [[1.5, np.nan], [-40, 5]])
    np.testing.assert_array_equal(data.test[0], [[2.5, 3], [8, 9]])
    assert data.train.missing and not data.test.missing and data.train.kind == "real"
    assert data.train.ids == ("b",) and data.train.names == ("temp", "wind")
    assert [side.labels.tolist() for side in data] == [[1], [2], [0]]


def test_without_split_and_with_real_labels(tmp_path) -> None:
    rows = "".join(f"s{i},0,{i % 2},{i / 2}\n" for i in range(10))
    data = load(write(tmp_path, "sequence,time,on,label\n" + rows))
    assert [len(side) for side in data] == [8, 1, 1] and data.train.kind == "binary"
    assert data.train.labels.is_floating_point()


def test_integers_need_a_kind(tmp_path) -> None:
    path = write(tmp_path, "sequence,time,n\na,0,3\nb,0,\nc,0,0\n")
    with pytest.raises(ValueError, match="integers from 0 to 3 may be counts or categories"):
        load(path)
    counts = load(path, kind="counts")
    assert {side.kind for side in counts} == {"counts"} and sum(side.missing for side in counts) == 1
    codes = load(path, kind="categories", classes=4)
    assert sorted(int(side.values[0, 0]) for side in codes) == [-1, 0, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have columns 'sequence' .unless all rows are one., 'time'"),
        ("sequence;time;x\na;0;1\n", "time missing .is it separated by ';'"),
        ("sequence,x\na,0\n", "time missing"),
        ("sequence,time\na,0\n", "no column for a feature"),
        ("sequence,time,x,x\na,0,1,1\n", "column 'x' stands twice"),
        ("sequence,time,x\n", "the data set is empty"),
        ("sequence,time,x\na,0,1.5\na,1\n", "line 3 must have 3 cells"),
        ("sequence,time,x\na,0,1.5\na,1,one\n", "line 3: the cell of 'x' must be a number, .* got 'one'"),
        ("sequence,time,x\na,0,1.5\na,1,inf\n", "line 3: the cell of 'x' must be finite"),
        ("sequence,time,x\na,0,1.5\na,monday,1\n", "line 3: the cell of 'time' must be a number"),
        ("sequence,time,x\na,,1.5\n", "line 2: the cell of 'time' is empty"),
        ("sequence,time,x\n,0,1.5\n", "line 2: the cell of 'sequence' is empty"),
        ("sequence,time,x\na,0,1.5\nb,0,1\na,2,1\na,1,1\n", "line 5: time must rise .* but 1 comes after 2"),
        (
            "sequence,time,x\na,0,1.5\n\na,0,1\n",
            "line 4: time must rise .* but 0 stands twice in sequence 'a'",
        ),
        ("sequence,time,x,split\na,0,1.5,train\na,1,1,test\n", "line 3: split must be the same in all rows"),
        ("sequence,time,x,label\na,0,1.5,1\na,1,1,2\n", "line 3: label must be the same in all rows"),
        ("sequence,time,x,label\na,0,1.5,red\n", "line 2: the cell of 'label' must be a number"),
        ("sequence,time,x,split\na,0,1.5,dev\n", "split must be 'train', .* got 'dev' for sequence 0"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path, text, message) -> None:
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path, text))


def test_text_in_another_encoding_is_refused(tmp_path) -> None:
    path = write(tmp_path, "")
    path.write_bytes("sequence,time,größe\na,0,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match="cannot be read as CSV in UTF-8"):
        load(path)


def test_known_inputs(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("sequence,time,control:hour,load,control:day\na,0,5,1.5,1\na,1,6,,1\nb,0,7,2.5,0\n")
    arrays = read_csv(path)
    assert arrays["controls"].tolist() == [[5, 1], [6, 1], [7, 0]] and arrays["names"].tolist() == ["load"]
    path.write_text("sequence,time,control:hour\na,0,5.5\n")
    arrays = read_csv(path)
    assert arrays["values"].tolist() == [[5.5]] and arrays["names"].tolist() == ["hour"] and "controls" not in arrays
    path.write_text("sequence,time,load,control:hour\na,0,5.5,\n")
    with pytest.raises(ValueError, match="line 2: the cell of 'control:hour' is empty"):
        read_csv(path)


def test_dates_absent_cells_and_one_series(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_text("time,load,wind\n2024-01-01T00:00:00,1.5,NA\n2024-01-01 01:00,nan,2.5\n2024-01-02,3,null\n")
    arrays = read_csv(path)
    assert arrays["ids"].tolist() == ["load"] and bool(arrays["dates"])
    assert np.diff(arrays["times"]).tolist() == [3600.0, 23 * 3600.0]
    assert np.isnan(arrays["values"]).tolist() == [[False, True], [True, False], [False, True]]
    assert [date_of(t) for t in arrays["times"][:2]] == ["2024-01-01T00:00:00", "2024-01-01T01:00:00"]
    assert date_of(arrays["times"][2], days=True) == "2024-01-02" and not are_days(arrays["times"])
    for text, what in (("time,load\n2024-01-01,1\n7,2\n", "line 3: time is a date in the lines before, and '7'"),
                       ("time,load\n7,1\n2024-01-01,2\n", "line 3: the cell of 'time' must be a number"),
                       ("time,load\n2024-01-02,1\n2024-01-01,2\n", "time must rise"),
                       ("time;load\n7;1\n", "separated by ';'")):
        path.write_text(text)
        with pytest.raises(ValueError, match=what):
            read_csv(path)


def test_one_long_series_is_split_in_time_and_its_dates_are_written_again(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    rows = [f"2024-01-{1 + h // 24:02d}T{h % 24:02d}:00,{h + 0.5}" for h in range(100)]
    path.write_text("\n".join(["time,load", *rows]) + "\n")
    splits = load(path)
    assert [int(side.lengths.sum()) for side in splits] == [80, 10, 10]
    assert splits.test.values[0].item() == 90.5 and splits.test.form.dates and splits.train.ids == ("load",)
    splits.test.form.write(tmp_path / "again.csv", splits.test, times=[splits.test.times.tolist()])
    again = (tmp_path / "again.csv").read_text().splitlines()
    assert again[:2] == ["sequence,time,load", "load,2024-01-04T18:00:00,90.5"]
    path.write_text("\n".join(["time,load", *rows[:9]]) + "\n")
    with pytest.raises(ValueError, match="9 frames are too few"):
        load(path)


def test_unknown_labels(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("sequence,time,x,label\na,0,1.5,2\nb,0,1.5,\n")
    assert read_csv(path)["labels"].tolist() == [2, -1]
    path.write_text("sequence,time,x,label\na,0,1.5,0.5\nb,0,1.5,NA\n")
    assert np.isnan(read_csv(path)["labels"]).tolist() == [False, True]
