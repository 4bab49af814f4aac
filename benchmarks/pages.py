"Makes nbs/benchmarks.md and nbs/evidence.md, and their pictures, from the CSVs beside this file; `make bench` runs it."
import argparse
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from common import HERE
from cost import ABSENT, NOT_MEASURED, SLOPE, TARGETS, WHY
from evidence import DEFAULT, OWN_SWEEP, RATES, SETUPS, SWEEP_SEEDS, SWEPT, TIMES, level

NBS = HERE.parent/'nbs'
UNITS = {'share': '{:.2%}', 'per step': '{:+.2f}', 'copies': '{:.2f}'}
FAMILIES = {
    'general': ('Callbacks, losses, schedules and optimizers', 'Beside the plain Learner: `fit_one_cycle` with Adam. Schedules that keep their rate for long have a sweep of their own, as optimizers have.'),
    'wrong': ('Wrong labels', 'A fifth of the training labels, no more and no less, is another one than the true. `label_errors` needs predictions out of fold, so five more trainings.'),
    'constant': ('A constant rate', 'Beside `fit`, whose rate does not fall: here an average of the weights has something to do.'),
    'imbalance': ('Classes of different sizes', 'Training classes thinned out in a geometric series, from the largest class to the smallest; the score is the macro-F1 on a test set that is not thinned.'),
    'transfer': ('Transfer', "Beside fastai's `fine_tune`; the net has seen 700 images of the other five digits, which is not counted. From scratch has a sweep of rates of its own."),
    'search': ('A rate that is not known', f"Beside `fit_one_cycle` at {DEFAULT:g}, fastai's rate where none is given. `find_lr` and `tune` see the training set alone, and what they cost is counted; the search is "
               'over rate, weight decay, dropout and label smoothing, with a quarter of the training set held out; then all of it is trained on. The best rate is that of the sweep: '
               'chosen on the test sets of other seeds and at no cost, it is what a search for the rate can at most find.'),
    'many': ('Many models', 'Beside one model. As many epochs are those of each member; snapshots share them, and the parts of a soup share six of ten. That an ensemble takes five times as long to predict is not counted. For the log loss lower is better, and a gain is negative.'),
    'stopping': ('The best epoch', 'A quarter of the training set is held out to find it. Beside the one training of which the epoch with the lowest loss there is kept; its rate is the best one for half as many epochs of all items.'),
    'few': ('Few labels, many items', 'The net labels what it is sure of (0.95), and a new one trains on both, so on more items.'),
    'broken': ('Batches that are not finite', 'One item in a hundred is NaN (two in each training set). A net that is not finite in the end gets the score of always saying the first class.'),
    'rate': ('A rate that is far too high', 'Adam at a rate of 100.'),
}


def table(head, rows):
    "Plain Markdown"
    return '\n'.join(['| ' + ' | '.join(head) + ' |', '|' + '---|'*len(head), *('| ' + ' | '.join(o) + ' |' for o in rows)])


def facts(path): return dict(pd.read_csv(path, dtype=str, keep_default_na=False).values)


def ran_on(f, packages):
    threads = f"{f['processes']} processes of one thread" if 'processes' in f else f"{f['threads']} thread{'s'*(f['threads'] != '1')}"
    return (f"Ran on {f['cpu']}, {f['cores']} cores, {threads}, Python {f['python']}; "
            + ', '.join(f'{k} {f[k]}' for k in packages if k in f) + '.')


SYSTEM = 'cpu', 'cores', 'threads', 'device', 'python', 'net', 'processes', 'rounds', 'seeds'
def packages(f): return [k for k in f if k not in SYSTEM]


def verdict(o): return '**missed**' if o.ratio > TARGETS[o.row] else 'met' if o.q75 <= TARGETS[o.row] else 'met in the median'
def shown(r, value): return UNITS.get(r.unit, '{:.3f}').format(value)
def values(cost): return dict(zip(cost.row, cost.ratio, strict=True))


def why(cost):
    "For each row that misses its target, the limit that stops it"
    r = values(cost)
    return {row: WHY[row](r) for row in TARGETS if row in r and r[row] > TARGETS[row]}


def slopes(growth):
    "Of log seconds over log size, for each row: over all sizes and over the last two; the smallest and the largest size, and their seconds"
    out = []
    for (of, row), g in growth.groupby(['of', 'row'], sort=False):
        g = g.sort_values('size')
        x, y = np.log(g['size'].to_numpy()), np.log(g.seconds.to_numpy())
        out.append((row, of, np.polyfit(x, y, 1)[0], (y[-1] - y[-2])/(x[-1] - x[-2]), g['size'].min(), g['size'].max(), g.seconds.iloc[0], g.seconds.iloc[-1]))
    return out


def benchmarks(cost, growth, f, gpu=()):
    by_row = {o.row: o for o in cost.itertuples()}
    goals, reasons = [by_row[o] for o in TARGETS if o in by_row], why(cost)
    def beside(o):
        spread = ['counted', ''] if o.unit in ('copies', 'per step') else [f'{shown(o, o.q25)} to {shown(o, o.q75)}', str(o.rounds)]
        return [o.what, o.beside, shown(o, o.ratio), *spread]
    met, barely = len(goals) - len(reasons), sum(verdict(o) == 'met in the median' for o in goals)
    smaller = [(by_row[o].ratio, TARGETS[o.split(', ')[0]]) for o in by_row if o.startswith('BatchLossFilter') and o.endswith(' px')]
    too_small = f" (at the size of the others {sum(a > b for a, b in smaller)} of {len(smaller)} of them would miss it, see below)" if smaller else ''
    marks = {row: f' ({i})' for i, row in enumerate(reasons, 1)}
    found = slopes(growth)
    base = {of: max(s, last) for row, of, s, last, *_ in found if row.startswith('a bare')}
    def judged(row, of, s):
        if row.startswith('a bare') or row == 'plain step': return ''
        if s <= SLOPE: return 'linear or better'
        return f'steeper, less than the bare work: {base[of]:.2f}' if s <= base.get(of, 0) else '**steeper**'
    syncs = [o for o in cost.itertuples() if o.group == 'synchronisations']
    rest = [o for o in cost.itertuples() if o.row not in TARGETS and o.group != 'synchronisations']
    gpu_text = '\n\n'.join(gpu) if gpu else (
        'No GPU was available, so nothing here was measured on one. These commands do it, each with its own folder of results, and `python benchmarks/pages.py` then adds them here:\n\n'
        '```\n' + '\n'.join(f'python benchmarks/cost.py --device cuda --model {m} --size 224 --bs 64 --precision {p} --out benchmarks/cuda_{m}_{p}'
                            for m in ('resnet50', 'vit_small_patch16_224') for p in ('bf16', 'fp16')) +
        '\n```\n\nThere, the rows of synchronisations run under `torch.cuda.set_sync_debug_mode(\'warn\')` and count its warnings; it does not see that a number is read which was sent to the host a batch before.')
    return f"""# What it costs

> Each callback and recipe beside what people would use in its place, measured in turns.

{met} of {len(goals)} rows meet their target, {barely} of them in the median only: the target lies within their quartiles, and another run may miss it. The others say below what stops them. A ratio is the median over rounds of paired ratios, where ours and the other took turns in one process (imports: in fresh ones). `make bench` repeats everything, `python benchmarks/cost.py --rows sam ema` some of it.

{ran_on(f, packages(f))} Net: timm's {f['net']}, random images; rows of `BatchLossFilter` with a target at twice the width and height{too_small}.{'' if gpu else ' No GPU.'}

![Ratios beside their targets](images/cost.png)

## Targets

{table(['what', 'beside', 'ratio', 'quartiles', 'rounds', 'target', ''], [[*beside(o), shown(o, TARGETS[o.row]), verdict(o) + marks.get(o.row, '')] for o in goals])}

{chr(10).join(f'{i}. {by_row[row].what}: {text}' for i, (row, text) in enumerate(reasons.items(), 1)) or 'No row missed its target.'}

`max_bs` finds the largest batch to the item and then leaves a margin of 5 %; accelerate's decorator stops at the first size that fits. A trial of `max_bs` is two whole steps, optimizer and all, and a validation; that of a decorated function is whatever the function does. Trials are counted with a net that raises `torch.OutOfMemoryError` above a number of items, over {by_row['max_bs / accelerate, trials'].rounds} such limits, each larger than the last by about the same factor; its quartiles are over these limits. Bytes are those of every tensor that an operation made and that was alive, looked at after each operation; the copy of weights and optimizer state from which `bs_find` leaves no trace waits in the CPU's memory, and is not among them.

## Other rows

{table(['what', 'beside', 'ratio', 'quartiles', 'rounds'], [beside(o) for o in rest])}

A callback's events are all that it does while training, in seconds of the clock; its share is measured in the same epochs as its ratio, where there is one.

## Waiting for the device

How often the host would wait for the device in a step, beyond what fastai's own loop does ({by_row['synchronisations, plain'].ratio:.2f} on this machine, where only reads of a number can be counted). What is done once in an epoch is left out.

{table(['what', 'per step'], [[o.what, f'{o.ratio:+.2f}'] for o in syncs])}

`SkipNonFinite(wait=False)`, its way on a GPU without a `GradScaler`, and `Rollback` read one number of the batch before, so that they wait for that one at most{'' if gpu else ' (not measured on a GPU)'}. `wait=True` is exact to the batch, and is what happens on a CPU and under a `GradScaler`, which waits anyway.

## As work grows

The slope of log time over log size, over all sizes and over the last two; 1 is linear. Parameters: square linear layers, batch 8. Batch: timm's `test_resnet` at 32 px. What is in the processor's cache at the smallest size and not at the largest makes every pass over the weights steeper than linear in between, so a bare copy stands beside. `own time` is that of a callback's events. `AWP` is two passes as `SAM` is, `Checkpoint` a file of weights and state; `max_bs`, `bs_find` and BatchNorm's re-estimation are made of whole training steps or forward passes, and have no rows here.

{table(['what', 'grows', 'slope', 'of the last two', 'seconds at the smallest', 'seconds at the largest', ''],
       [[row, f'{of}, {a:,} to {b:,}', f'{s:.2f}', f'{last:.2f}', f'{x:.2g}', f'{y:.2g}', judged(row, of, max(s, last))] for row, of, s, last, a, b, x, y in found])}

## Callbacks without a row

{chr(10).join(f'- `{k}` {v}.' for k, v in NOT_MEASURED.items())}

## Peers that are not here

{chr(10).join(f'- {k}: {v}.' for k, v in ABSENT.items())}

## On a GPU

{gpu_text}
"""


def cost_picture(cost, path):
    goals = [o for o in cost.itertuples() if o.row in TARGETS]
    goals = sorted(goals, key=lambda o: -list(TARGETS).index(o.row))
    fig, ax = plt.subplots(figsize=(7.5, 5))
    for i, o in enumerate(goals):
        t = TARGETS[o.row]
        color = 'C0' if o.ratio <= t else 'C3'
        ax.plot([o.q25/t, o.q75/t], [i, i], color=color, lw=3, alpha=.5)
        ax.plot(min(o.ratio/t, 2.), i, '>' if o.ratio/t > 2 else 'o', color=color)
    ax.axvline(1, ls=':', c='k')
    ax.set_yticks(range(len(goals)), [f'{o.row}  {shown(o, o.ratio)} (≤ {shown(o, TARGETS[o.row])})' for o in goals], fontsize=8)
    ax.set(xlim=(0, 2.05))
    fig.suptitle('measured / target, with quartiles; left of the line the target is met', fontsize=9)
    fig.tight_layout()
    fig.savefig(path, dpi=80, bbox_inches='tight')
    plt.close(fig)


def mean(value, se, metric): return f'{value:.3f} ± {se:.3f}' if metric == 'log loss' else f'{value:.2f} ± {se:.2f}'


def code(setup): return f'`{setup}`' if '(' in setup or '_' in setup else setup


def evidence(df, f):
    sections, main = [], df[~df.family.isin(['broken', 'rate']) & (df.setup != SWEPT)]
    for family, (title, text) in FAMILIES.items():
        rows = []
        for (setup, task, metric), g in df[df.family == family].groupby(['setup', 'task', 'metric'], sort=False):
            e, t = g[g.budget == 'epochs'].iloc[0], g[g.budget == 'time'].iloc[0]
            rows.append([code(setup), task, metric, str(e.in_all), mean(e.score, e.score_se, metric), mean(e.plain, e.plain_se, metric), e.shown,
                         f'{e.cost:.2f}', str(t.as_long), f'{mean(t.plain, t.plain_se, metric)} ({t.plain_epochs})', t.shown])
        epochs = ', '.join(map(str, sorted(df[df.family == family].epochs.unique())))
        sections.append(f'## {title}\n\n{text} {epochs} epochs.\n\n' + table(
            ['what', 'task', 'score', 'epochs in all', 'it', 'beside, as many epochs', 'gain (95 %)', 'its time', 'epochs in that time', 'beside, at most as much time (epochs)', 'gain (95 %)'], rows))
    counts = {b: o.verdict.value_counts() for b, o in (('epochs', main[(main.budget == 'epochs') & (main.in_all == main.epochs)]), ('time', main[main.budget == 'time']))}
    def tally(b): return ', '.join(f'{counts[b].get(k, 0)} {what}' for k, what in (('gain', 'gains'), ('undecided', 'undecided'), ('loss', 'losses'), ('same', 'the same to the bit in every seed')))
    summary = []
    for (_, setup), g in main.groupby(['family', 'setup'], sort=False):
        summary.append([code(setup), FAMILIES[g.family.iloc[0]][0]] + [str((g[g.budget == b].verdict.isin(v)).sum()) for b in ('epochs', 'time') for v in (['gain'], ['undecided', 'same'], ['loss'])])
    swept = df[df.family.isin(['general', 'wrong', 'constant', 'imbalance', 'transfer', 'few'])]
    own = swept.setup.str.startswith('opt_func') | swept.setup.isin(OWN_SWEEP)
    rates = swept[~own].groupby('task', sort=False).lr.first()
    others = '; '.join(f"{k}: {', '.join(f'{o:g}' for o in g.lr)}" for k, g in swept[own & (swept.budget == 'epochs')].groupby('setup', sort=False))
    timed = df[df.budget == 'time']
    seeds = sorted(df.seeds.unique())
    def by_chance(b): return round(.05*(counts[b].sum() - counts[b].get('same', 0)))
    optimizers = sum(o.startswith('opt_func') for o in SETUPS['general'][3])
    return f"""# What it gains and loses

> Each callback and recipe beside the plain Learner, over seeds, at equal epochs and at equal time; losses and nulls included.

Beside as many epochs: {tally('epochs')} (without what trains more epochs than that). Beside as much time: {tally('time')}. (Neither with the two sections on broken trainings, nor with the best rate.) Were there no differences at all, some {by_chance('epochs')} and {by_chance('time')} of these intervals would leave zero out by chance, half of them on either side.

- Each row has {' or '.join(map(str, seeds))} seeds. A seed decides the split into training and test set, the initial weights and the order of the batches; setups that do not change them share all three. Means are given ± their standard error, gains are paired by seed with the 95 % interval of Student's t.
- Beside each setup stands the plain Learner with Adam and `fit_one_cycle`, or what the section names. Its rate has the lowest log loss on the test sets of {len(SWEEP_SEEDS)} other seeds, for each task: {', '.join(f'{level(k):g}' for k in RATES)} are tried, and lower or higher ones while the best is at an end ({', '.join(f'{k}: {v:g}' for k, v in rates.items())}); setups use that rate, which is the best one for plain and need not be for them, and what is beside them for as much time does too; but for those that find their own (`find_lr`, `tune`, `lr='find'`) and for `bs_find`, where it grows with the root of the batch. Other optimizers, schedules that keep their rate for long, and training from scratch have a sweep of their own, those of optimizers beginning at {level(TIMES[0]):g} to {level(TIMES[-1]):g} times the rate that `list_opts` suggests ({others}).
- As much time: a setup that takes c times the plain training, the median over seeds of the processor's seconds, stands beside a plain training of about c times the epochs: what the setup took is {timed.cost.min():.2f} to {timed.cost.max():.2f} of that one's time, {timed.cost.median():.2f} in the median. Where that is longer and on average worse than the plain training of as many epochs, the latter stands beside it: nobody has to use the time. Which of the two it is was chosen on these seeds, which leans against the setup. So what is done once (`find_lr`, folds, a search) is counted as what is done in each step is. On nets as small as these a callback's Python code weighs more than it does on large ones (see [what it costs](benchmarks.md)): equal time is harder here than it would be there. Only the collection of garbage, for which Python looks through all that is imported, does not look through it here: a search does it after each trial, and it would take longer than the trial.
- Intervals are about other seeds on these data, not about other data.
- The data come with scikit-learn: 1,797 digits of 8×8 pixels, breast cancer, diabetes (is the progression above the median?) and wine, a small part of each for training. Nets: a small convolutional net, a perceptron of two layers. What holds here may not hold for large nets and data.
- Settings were not tuned for these tasks, but for those of `Rollback` at a rate of 100. `Checkpoint`, `max_bs`, `label_errors` as a table and the sanity checks do not change what is learnt and have no rows; losses for several labels have no data here. Of the optimizers of `opt_func` {optimizers} have rows; the pruners of `tune` are compared on one task only, in its [card](recipes/44_tuning.ipynb).

{ran_on(f, packages(f))} No GPU was used. `make bench` repeats it, `python benchmarks/evidence.py --setups 'SAM()' 'EMA()'` some of it; with `--costs benchmarks/evidence.csv` the epochs in as much time are those of this page.

![Gains with their intervals](images/evidence.png)

## In short

Number of rows (task and score) with a gain, undecided and with a loss, where the interval decides.

{table(['what', 'where', 'epochs: gain', 'undecided', 'loss', 'time: gain', 'undecided', 'loss'], summary)}

""" + '\n\n'.join(sections) + f"""

## The tasks

All are small: what needs many steps, as an average with a long memory or a copy each 50 steps does, has little room here. Where a part is held out (20 epochs, and in a search), the training has three quarters of the items.

{table(['task', 'for training', 'in a batch', 'steps of the plain training', 'for testing'], sizes())}
"""


def sizes():
    "How large each task is, in the first seed"
    for name, task in dict(kv for tasks, *_ in SETUPS.values() for kv in tasks.items()).items():
        train, test, _ = task.sets(0)
        yield [name, str(len(train[0])), str(task.bs), str(task.epochs*(len(train[0])//task.bs)), str(len(test[0]))]


def evidence_picture(df, path):
    df = df[(df.family == 'general') | (df.task == 'digits, 20 % wrong labels')]
    tasks, setups, named = list(dict.fromkeys(df.task)), list(dict.fromkeys(df.setup)), set()
    fig, axes = plt.subplots(1, max(1, len(tasks)), figsize=(11, .5 + .27*len(setups)), sharey=True, squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=False):
        g = df[df.task == task]
        lim = max(1., np.quantile(np.abs(g[['low', 'high']]), .85))
        for budget, shift, color in (('epochs', -.15, 'C0'), ('time', .15, 'C1')):
            for o in g[g.budget == budget].itertuples():
                y = len(setups) - setups.index(o.setup) - shift
                ax.plot([o.low, o.high], [y, y], color=color, lw=1.5)
                ax.plot(np.clip(o.gain, -lim, lim), y, 'o', ms=3.5, color=color, label=None if (task, budget) in named else f'equal {budget}')
                named.add((task, budget))
        ax.axvline(0, ls=':', c='k', lw=1)
        ax.set(xlim=(-1.1*lim, 1.1*lim))
        ax.set_title(task, fontsize=9)
        ax.tick_params(labelsize=8)
    axes[0][0].set_yticks([len(setups) - i for i in range(len(setups))], setups, fontsize=8)
    fig.legend(*axes[0][0].get_legend_handles_labels(), fontsize=8, loc='lower left')
    fig.supxlabel('gain in points of accuracy over the plain Learner, 95 % intervals; cut at the edges', fontsize=9)
    fig.tight_layout()
    fig.savefig(path, dpi=80, bbox_inches='tight')
    plt.close(fig)


def read_cost(folder):
    cost = pd.read_csv(folder/'cost.csv')
    return cost.assign(beside=cost.beside.fillna(''))


def gpu_results(folder):
    "A section for each folder of results from a GPU"
    for sub in sorted(o.parent for o in folder.glob('cuda_*/cost.csv')):
        cost, f = read_cost(sub), facts(sub/'cost_machine.csv')
        rows = [[o.what, o.beside, shown(o, o.ratio), f'{shown(o, o.q25)} to {shown(o, o.q75)}', *(f'{ms:.3g}' if o.unit == 'ms' else '' for ms in (o.ours, o.theirs)),
                 *((shown(o, TARGETS[o.row]), verdict(o)) if o.row in TARGETS else ('', ''))] for o in cost.itertuples()]
        yield f"{f['device']}: {f['net']}. {ran_on(f, packages(f))}\n\n" + table(['what', 'beside', 'ratio', 'quartiles', 'ms', 'ms beside', 'target', ''], rows)


def pages(folder=HERE):
    "The text of each page"
    return {'benchmarks.md': benchmarks(read_cost(folder), pd.read_csv(folder/'cost_growth.csv'), facts(folder/'cost_machine.csv'), tuple(gpu_results(folder))),
            'evidence.md': evidence(pd.read_csv(folder/'evidence.csv'), facts(folder/'evidence_machine.csv'))}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--out', type=Path, default=NBS, help='folder of the pages')
    out = p.parse_args().out
    (out/'images').mkdir(parents=True, exist_ok=True)
    for name, text in pages().items(): (out/name).write_text(text, encoding='utf-8')
    cost_picture(pd.read_csv(HERE/'cost.csv'), out/'images'/'cost.png')
    evidence_picture(pd.read_csv(HERE/'evidence.csv'), out/'images'/'evidence.png')


if __name__ == '__main__': main()
