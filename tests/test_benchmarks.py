"The benchmarks run, their results are those of the pages, and no row that was promised is missing."
import logging
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT/'benchmarks'
sys.path.insert(0, str(HERE))
import cost, evidence, pages  # noqa: E402

GROUPS = [o for o in cost.ROWS if o != 'imports']     # which starts whole processes


@pytest.fixture
def run(monkeypatch):
    "Run a script's `main` in this process, which has imported everything already"
    def main(script, *args):
        monkeypatch.setattr(sys, 'argv', [script.__file__, *map(str, args)])
        script.main()
    yield main
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize('name', ['benchmarks.md', 'evidence.md'])
def test_page_is_made_of_the_results(name):
    assert (ROOT/'nbs'/name).read_text(encoding='utf-8') == pages.pages()[name], 'run `python benchmarks/pages.py`'


def test_pictures_are_small():
    for name in ('cost', 'evidence'): assert 5_000 < (ROOT/'nbs'/'images'/f'{name}.png').stat().st_size < 100_000, name


def test_every_promised_row():
    found = pd.read_csv(HERE/'cost.csv')
    assert set(cost.TARGETS) <= set(found.row) and set(found.group) == set(cost.ROWS)
    assert found.ratio.notna().all()
    growth = pd.read_csv(HERE/'cost_growth.csv')
    assert set(growth.of) == {'parameters', 'batch', 'items'}
    for of, low, high in (('parameters', 1e5, 1e8), ('batch', 8, 512), ('items', 1e4, 1e7)):
        assert growth[growth.of == of].groupby('row')['size'].agg(['min', 'max']).drop_duplicates().values.tolist() == [[low, high]]


def test_a_missed_target_is_explained():
    found = pd.read_csv(HERE/'cost.csv')
    assert set(cost.WHY) == set(cost.TARGETS)
    numbers = pages.values(found)
    assert all(len(text(numbers)) > 40 for text in cost.WHY.values())
    page = (ROOT/'nbs'/'benchmarks.md').read_text()
    for row, text in pages.why(found).items(): assert numbers[row] > cost.TARGETS[row] and text in page


def test_every_setup_has_its_evidence():
    "On at least three tasks, over at least ten seeds, with as many epochs and in as much time"
    found = pd.read_csv(HERE/'evidence.csv')
    for family, (tasks, _, _, setups) in evidence.SETUPS.items():
        here = found[found.family == family]
        assert len(tasks) >= 3 and set(here.task) == set(tasks) and set(here.setup) == set(setups)
        assert (here.groupby(['setup', 'task', 'metric']).budget.agg(set) == {'epochs', 'time'}).all()
    assert (found.seeds >= 10).all()
    assert ((found.low <= found.gain) & (found.gain <= found.high)).all()


def test_every_card_shows_its_rows():
    shown = {w for o in pd.read_csv(HERE/'evidence.csv').card for w in o.split()}
    cards = {p.stem.split('_', 1)[1]: p.read_text() for p in (ROOT/'nbs').glob('[0-9]*.ipynb')}
    for card in shown: assert 'benchmarks/evidence.csv' in cards[card], card


def test_no_figure_of_a_file_that_is_gone():
    for p in [*(ROOT/'nbs').glob('*.ipynb'), ROOT/'README.md', ROOT/'Makefile']:
        for name in re.findall(r'benchmarks/(\w+\.(?:py|csv))', p.read_text()): assert (HERE/name).exists(), f'{p.name}: {name}'


@pytest.mark.parametrize('group', [GROUPS[:6], [*GROUPS[6:], 'growth']], ids=lambda o: ' '.join(o))
def test_cost_runs(group, run, tmp_path):
    "Each row at a tiny size"
    run(cost, '--quick', '--rounds', 1, '--threads', 1, '--out', tmp_path, '--rows', *group)
    found = pd.read_csv(tmp_path/'cost.csv')
    assert set(found.group) == set(group) - {'growth'} and (found.ratio.notna()).all()


def test_evidence_runs(run, tmp_path):
    "Each setup at a tiny size; a second run of some with the costs of the first gives the same to the digit"
    args = '--quick', '--seeds', 2, '--processes', 1
    run(evidence, *args, '--out', tmp_path/'a')
    first = pd.read_csv(tmp_path/'a'/'evidence.csv')
    assert set(first.setup) == {n for o in evidence.SETUPS.values() for n in o[3]} and first[['plain', 'score', 'gain']].notna().all().all()
    again = 'SAM()', 'WeightedSampling(\'sqrt\')', 'fine_tune_stages()'
    run(evidence, *args, '--out', tmp_path/'b', '--costs', tmp_path/'a'/'evidence.csv', '--setups', *again)
    second = pd.read_csv(tmp_path/'b'/'evidence.csv')
    pd.testing.assert_frame_equal(first[first.setup.isin(again)].reset_index(drop=True), second)


def test_the_others_of_a_file_stay(tmp_path):
    "Rows that run alone take the place of theirs, on the same machine with the same versions only"
    from common import store
    def frame(**o): return pd.DataFrame([dict(row=k, x=v) for k, v in o.items()])
    store(tmp_path, 'f', frame(a=1, b=2, c=3), 'row', dict(torch='1'))
    store(tmp_path, 'f', frame(b=5), 'row', dict(torch='1'))
    assert pd.read_csv(tmp_path/'f.csv').values.tolist() == [['a', 1], ['b', 5], ['c', 3]]
    with pytest.raises(SystemExit, match='other versions'): store(tmp_path, 'f', frame(b=6), 'row', dict(torch='2'))
