"The benchmarks run, their results are those of the pages, and no row that was promised is missing."
import gc
import json
import logging
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT/'benchmarks'
CARDS = [p for p in (ROOT/'nbs').rglob('[0-9]*.ipynb') if p.parent.name != 'tutorials']
sys.path.insert(0, str(HERE))
import cost, evidence, pages, tuning  # noqa: E402
from common import InProcess, Results  # noqa: E402

GROUPS = [o for o in cost.ROWS if o != 'imports']     # which starts whole processes


@pytest.fixture
def run(monkeypatch):
    "Run a script's `main` in this process, which has imported everything already"
    def main(script, *args):
        monkeypatch.setattr(sys, 'argv', [script.__file__, *map(str, args)])
        script.main()
    yield main
    logging.disable(logging.NOTSET)
    gc.unfreeze()


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


def test_verdicts():
    "A target that lies within the quartiles is met in the median only"
    def row(ratio, q75): return SimpleNamespace(row='SAM()', ratio=ratio, q75=q75)
    assert [pages.verdict(row(*o)) for o in ((2., 2.04), (2., 2.1), (2.06, 2.1))] == ['met', 'met in the median', '**missed**']


def test_every_setup_has_its_evidence():
    "On at least three tasks, over at least ten seeds, with as many epochs and in as much time"
    found = pd.read_csv(HERE/'evidence.csv')
    for family, (tasks, _, _, setups) in evidence.SETUPS.items():
        here = found[found.family == family]
        assert len(tasks) >= 3 and set(here.task) == set(tasks) and set(here.setup) == set(setups)
        assert (here.groupby(['setup', 'task', 'metric']).budget.agg(set) == {'epochs', 'time'}).all()
        assert (here.epochs == here.task.map(lambda o, tasks=tasks: tasks[o].epochs)).all(), 'of another configuration: `make bench`'
        assert (here.groupby(['setup', 'task']).metric.nunique() == (2 if family == 'many' else 1)).all()
    assert (found.seeds >= 10).all()
    time = found[found.budget == 'time'].cost
    assert time.between(.75, 1.3).all() and .95 < time.median() < 1.05, 'as much time'
    assert ((found.low <= found.gain) & (found.gain <= found.high)).all()


def test_every_card_shows_its_rows():
    shown = {w for o in pd.read_csv(HERE/'evidence.csv').card for w in o.split()}
    cards = {p.stem.split('_', 1)[1]: p.read_text() for p in CARDS}
    for card in shown: assert 'benchmarks/evidence.csv' in cards[card], card


def test_the_rows_of_a_card_are_those_of_the_results():
    "As they were when its notebook was run: else `make cards`"
    found = pd.read_csv(HERE/'evidence.csv')
    for p in CARDS:
        table = next((c for c in json.loads(p.read_text())['cells'] if c['id'] == 'gain-table'), None)
        rows = found[found.card.str.contains(rf'\b{p.stem.split("_", 1)[1]}\b')]
        assert (table is not None) == (len(rows) > 0), p.name
        if table is None: continue
        text = ''.join(''.join(o['data']['text/html']) for o in table['outputs'])
        missing = [o for o in rows.shown if o not in text]
        assert not missing, f'{p.name} has other rows than evidence.csv, run `make cards`: {missing[:3]}'


def test_no_figure_of_a_file_that_is_gone():
    for p in [*(ROOT/'nbs').rglob('*.ipynb'), ROOT/'README.md', ROOT/'Makefile']:
        for name in re.findall(r'benchmarks/(\w+\.(?:py|csv))', p.read_text()): assert (HERE/name).exists(), f'{p.name}: {name}'


@pytest.mark.parametrize('group', [GROUPS[:6], [*GROUPS[6:], 'growth']], ids=lambda o: ' '.join(o))
def test_cost_runs(group, run, tmp_path):
    "Each row at a tiny size"
    run(cost, '--quick', '--rounds', 1, '--threads', 1, '--out', tmp_path, '--rows', *group)
    found = pd.read_csv(tmp_path/'cost.csv')
    assert set(found.group) == set(group) - {'growth'} and (found.ratio.notna()).all()


SOME = ["WeightedSampling('sqrt')", 'fine_tune_stages()', 'refit_at_best_epoch()', 'pseudo_labels()', 'snapshots of 5 cycles',
        "opt_func('lion')"]
ALL = [n for o in evidence.SETUPS.values() for n in o[3]]


@pytest.mark.parametrize('setups', [SOME, pytest.param(ALL, marks=pytest.mark.slow)], ids=['some', 'all'])
def test_evidence_runs(setups, run, tmp_path):
    "At a tiny size; a second run of some with the costs of the first gives the same to the digit"
    args = '--quick', '--seeds', 2, '--processes', 1
    run(evidence, *args, '--out', tmp_path/'a', '--setups', *setups)
    first = pd.read_csv(tmp_path/'a'/'evidence.csv')
    assert set(first.setup) == set(setups) and first[['plain', 'score', 'gain']].notna().all().all()
    again = setups[:2]
    run(evidence, *args, '--out', tmp_path/'b', '--costs', tmp_path/'a'/'evidence.csv', '--setups', *again)
    second = pd.read_csv(tmp_path/'b'/'evidence.csv')
    pd.testing.assert_frame_equal(first[first.setup.isin(again)].reset_index(drop=True), second)


def test_tuning_runs(run, tmp_path):
    "With each pruner, and none of them sees fewer trials"
    run(tuning, '--quick', '--seeds', 2, '--processes', 1, '--out', tmp_path)
    found = pd.read_csv(tmp_path/'tuning.csv').set_index('pruner')
    assert list(found.index) == list(tuning.PRUNERS) and (found.trials == 4).all() and found.loc['none', 'saved'] == 0
    assert found.loc['asha', 'saved'] > 0 and found.accuracy.notna().all()


@pytest.mark.parametrize('best, found', [(3.2, 3), (-8.4, -8), (50, 6)], ids=['above', 'below', 'nowhere'])
def test_a_sweep_goes_on_until_the_best_is_between(best, found, monkeypatch):
    "The lowest loss lies far outside of where it begins; after twelve rates it ends"
    def swept(job):
        o, k, epochs, seeds = job
        return o, k, evidence.level(k), abs(k - best)
    monkeypatch.setattr(evidence, 'swept', swept)
    task = next(iter(evidence.GENERAL))
    rates = evidence.rates_of(InProcess(), [('general', task, [])], lambda *_: 12, False)
    assert rates == {('general', task, 'plain'): evidence.level(found)}


def test_as_many_labels_are_wrong_as_it_says():
    "And each of them is another label"
    for task in evidence.WRONG.values():
        right = evidence.Task(task.data, task.n_train)
        for seed in range(3):
            (x, y), (x_, y_) = right.sets(seed)[0], task.sets(seed)[0]
            assert (x == x_).all() and (y != y_).sum() == round(.2*len(y))


def test_classes_are_as_thin_as_it_says():
    "The smallest beside the largest, in each seed's own training set"
    for name, task in evidence.IMBALANCE.items():
        for seed in range(3):
            counts = task.sets(seed)[0][1].bincount()
            assert (counts > 0).all() and abs(counts.max()/counts.min() - task.thin) <= .25*task.thin, (name, counts)


def test_a_setup_that_costs_as_much_as_plain(run, tmp_path, capsys):
    "No training of another length is needed"
    args = '--quick', '--seeds', 2, '--processes', 1, '--out', tmp_path, '--setups', 'MultiClassFocalLoss()'
    run(evidence, *args)
    csv = tmp_path/'evidence.csv'
    first = pd.read_csv(csv)
    first.assign(cost=1.).to_csv(csv, index=False)
    run(evidence, *args, '--costs', csv)
    found = pd.read_csv(csv)
    assert (found.as_long == found.epochs).all() and (found.plain_epochs == found.epochs).all()
    first.assign(cost=.5).to_csv(csv, index=False)                       # half the time: no choice
    run(evidence, *args, '--costs', csv)
    found = pd.read_csv(csv).query("budget == 'time'")
    assert (found.plain_epochs == found.as_long).all() and (found.as_long == 3).all()
    with pytest.raises(SystemExit): run(evidence, *args[:-1], 'PolyLoss()', '--costs', csv)
    assert 'has no costs of' in capsys.readouterr().err


def test_as_much_time():
    "The better of the two plain trainings stands beside it, for each metric; the cost is that of the longer one"
    def runs(epochs, score, log_loss):
        return pd.DataFrame(dict(seed=[1, 0], epochs=epochs, in_all=epochs, score=[score, score + 2], log_loss=[log_loss, log_loss + .1]))
    long, equal = runs(24, 80., .5), runs(12, 79., .3)
    score, loss = evidence.summary(runs(12, 82., .4), [long, equal], 'time', 'many', 'digits', 'x', 'card', .01, .98, 'accuracy')
    assert (score['plain_epochs'], score['as_long'], score['plain'], score['gain']) == (24, 24, 81., 2.)
    assert (loss['plain_epochs'], loss['as_long'], loss['cost']) == (12, 24, .98) and abs(loss['gain'] - .1) < 1e-9
    assert (score['verdict'], loss['verdict']) == ('gain', 'loss')


def test_pages_of_a_gpu(tmp_path):
    "Results in a folder beside the others, by a device that there is not"
    for o in HERE.glob('*.csv'): shutil.copy(o, tmp_path)
    (tmp_path/'cuda_x').mkdir()
    shutil.copy(HERE/'cost.csv', tmp_path/'cuda_x')
    found = pd.read_csv(HERE/'cost_machine.csv', dtype=str)
    found.value = found.value.where(found.what != 'device', 'NVIDIA Something')
    found.to_csv(tmp_path/'cuda_x'/'cost_machine.csv', index=False)
    page = pages.pages(tmp_path)['benchmarks.md']
    assert 'NVIDIA Something' in page and 'No GPU' not in page and 'not measured on a GPU' not in page


def test_the_figures_of_the_guide_are_those_of_the_results():
    "As they were when it was run: else `make cards`"
    cells = json.loads((ROOT/'nbs'/'guides'/'which_first.ipynb').read_text())['cells']
    text = ''.join(''.join(o.get('data', {}).get('text/markdown', '')) for c in cells for o in c.get('outputs', []))
    shown = re.findall(r'[+-]\d+\.\d+ \([^)]* to [^)]*\)', text)
    assert len(shown) >= 15 and '±' not in text
    results = '|'.join(pd.read_csv(HERE/'evidence.csv').shown)
    for o in shown: assert o in results, o
    times = re.findall(r'([\d.]+) ×', text)
    known = {f'{o:.2f}' for o in [*pd.read_csv(HERE/'evidence.csv').cost, *pd.read_csv(HERE/'cost.csv').ratio]}
    assert len(times) >= 10 and set(times) <= known, set(times) - known


def test_the_table_of_the_readme_is_that_of_the_demo():
    text = (ROOT/'README.md').read_text()
    for o in pd.read_csv(HERE/'demo.csv', dtype=str, keep_default_na=False).values: assert f"| {' | '.join(o)} |" in text


def test_the_others_of_a_file_stay(tmp_path):
    "Rows that run alone take the place of theirs, on the same machine with the same versions only; a whole run takes the place of all"
    def frame(**o): return pd.DataFrame([dict(row=k, x=v) for k, v in o.items()])
    def store(torch, some, **rows):
        Results(SimpleNamespace(out=tmp_path, quick=False), 'f', 'row', dict(torch=torch), some).store(frame(**rows))
    def values(): return pd.read_csv(tmp_path/'f.csv').values.tolist()
    store('1', None, a=1, b=2, c=3)
    store('1', ['b'], b=5)
    assert values() == [['a', 1], ['b', 5], ['c', 3]]
    with pytest.raises(SystemExit, match='other versions'): store('2', ['b'], b=6)
    store('2', None, b=7)
    assert values() == [['b', 7]]
    (tmp_path/'f_machine.csv').unlink()
    with pytest.raises(SystemExit, match='other versions'): store('2', ['b'], b=6)
