"Makes nbs/benchmarks.md and nbs/evidence.md, and their pictures, from the CSVs beside this file; `make bench` runs it."
import argparse
import math
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from common import HERE
from cost import ABSENT, SLOPE, TARGETS, WHY
from evidence import RATES, SWEEP_SEEDS, TIMES

NBS = HERE.parent/'nbs'
UNITS = {'share': '{:.2%}', 'per step': '{:+.2f}', 'copies': '{:.2f}'}
FAMILIES = {
    'general': ('Callbacks, schedules and optimizers', 'Beside the plain Learner: `fit_one_cycle` with Adam.'),
    'imbalance': ('Classes of different sizes', 'Training classes thinned out in a geometric series, from the first class to the last; the score is the macro-F1 on a test set that is not thinned.'),
    'transfer': ('Transfer', "Beside fastai's `fine_tune`; the net has seen 700 images of the other five digits."),
    'many': ('Many models', 'Beside one model. Equal time means that the members share the time of one. For the log loss lower is better, and a gain is negative.'),
    'broken': ('Batches that are not finite', 'One item in a hundred is NaN. A net that is not finite in the end gets the score of always saying the first class.'),
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


SYSTEM = 'cpu', 'cores', 'threads', 'device', 'python', 'net', 'processes'
def packages(f): return [k for k in f if k not in SYSTEM]


def verdict(row, value): return 'met' if value <= TARGETS[row] else '**missed**'
def shown(r, value): return UNITS.get(r.unit, '{:.3f}').format(value)
def values(cost): return dict(zip(cost.row, cost.ratio, strict=True))


def why(cost):
    "For each row that misses its target, the limit that stops it"
    r = values(cost)
    return {row: WHY[row](r) for row in TARGETS if row in r and r[row] > TARGETS[row]}


def slopes(growth):
    "Of log seconds over log size, for each row: over all sizes, and the seconds of the smallest and of the largest"
    out = []
    for (of, row), g in growth.groupby(['of', 'row'], sort=False):
        g = g.sort_values('size')
        slope = np.polyfit(np.log(g['size']), np.log(g.seconds), 1)[0] if len(g) > 1 else math.nan
        out.append((row, of, slope, g['size'].min(), g['size'].max(), g.seconds.iloc[0], g.seconds.iloc[-1]))
    return out


def benchmarks(cost, growth, f, gpu=()):
    by_row = {o.row: o for o in cost.itertuples()}
    goals, reasons = [by_row[o] for o in TARGETS if o in by_row], why(cost)
    def beside(o):
        spread = 'counted' if o.unit in ('copies', 'per step') else f'{shown(o, o.q25)} to {shown(o, o.q75)}' if o.rounds > 1 else 'one round'
        return [o.what, o.beside, shown(o, o.ratio), spread]
    met = len(goals) - len(reasons)
    marks = {row: f' ({i})' for i, row in enumerate(reasons, 1)}
    found = slopes(growth)
    base = {of: s for row, of, s, *_ in found if row.startswith('a bare')}
    def judged(row, of, s):
        if row.startswith('a bare') or row == 'plain step': return ''
        if s <= SLOPE: return 'linear or better'
        return f'steeper; so is {base[of]:.2f}, the bare work' if base.get(of, 0) > SLOPE else '**steeper**'
    syncs = [o for o in cost.itertuples() if o.group == 'synchronisations']
    rest = [o for o in cost.itertuples() if o.row not in TARGETS and o.group != 'synchronisations']
    gpu_text = '\n\n'.join(gpu) if gpu else (
        'No GPU was available, so nothing here was measured on one. These commands do it, each with its own folder of results, and `python benchmarks/pages.py` then adds them here:\n\n'
        '```\n' + '\n'.join(f'python benchmarks/cost.py --device cuda --model {m} --size 224 --bs 64 --precision {p} --out benchmarks/cuda_{m}_{p}'
                            for m in ('resnet50', 'vit_small_patch16_224') for p in ('bf16', 'fp16')) +
        '\n```\n\nThere, the rows of synchronisations run under `torch.cuda.set_sync_debug_mode(\'warn\')` and count its warnings.')
    return f"""# What it costs

> Each callback and recipe beside what people would use in its place, measured in turns in one process.

{met} of {len(goals)} rows meet their target; the others say below what stops them. A ratio is the median over rounds of paired ratios, where ours and the other took turns in one process; in brackets the quartiles. `make bench` repeats everything, `python benchmarks/cost.py --rows sam ema` some of it.

{ran_on(f, packages(f))} Net: timm's {f['net']}, random images; rows of `BatchLossFilter` with a target at twice the width and height (at the size of the others they save less, see below). No GPU.

![Ratios beside their targets](images/cost.png)

## Targets

{table(['what', 'beside', 'ratio', 'quartiles', 'target', ''], [[*beside(o), shown(o, TARGETS[o.row]), verdict(o.row, o.ratio) + marks.get(o.row, '')] for o in goals])}

{chr(10).join(f'{i}. {by_row[row].what}: {text}' for i, (row, text) in enumerate(reasons.items(), 1)) or 'No row missed its target.'}

`max_bs` finds the largest batch to the item and then leaves a margin of 5 %; accelerate's decorator stops at the first size that fits. Trials are counted with a net that raises `torch.OutOfMemoryError` above a number of items, over {by_row['max_bs / accelerate, trials'].rounds} such limits. Bytes are those of every tensor that an operation made and that was alive, looked at after each operation.

## Other rows

{table(['what', 'beside', 'ratio', 'quartiles'], [beside(o) for o in rest])}

`own time` is the time that a callback spends in its own events, as a part of the rest of the step.

## Waiting for the device

How often the host would wait for the device in a step, beyond what fastai's own loop does ({by_row['synchronisations, plain'].ratio:.2f} on this machine, where only reads of a number can be counted). What is done once in an epoch is left out.

{table(['what', 'per step'], [[o.what, f'{o.ratio:+.2f}'] for o in syncs])}

`SkipNonFinite(wait=False)`, its way on a GPU without a `GradScaler`, and `Rollback` read one number of the batch before, so that they wait for that one at most (not measured on a GPU). `wait=True` is exact to the batch, and is what happens on a CPU and under a `GradScaler`, which waits anyway.

## As work grows

The slope of log time over log size; 1 is linear. Parameters: square linear layers, batch 8. Batch: timm's `test_resnet` at 32 px. What is in the processor's cache at the smallest size and not at the largest makes every pass over the weights steeper than linear in between, so a bare copy stands beside.

{table(['what', 'grows', 'slope', 'seconds at the smallest', 'seconds at the largest', ''],
       [[row, f'{of}, {a:,} to {b:,}', f'{s:.2f}', f'{x:.2g}', f'{y:.2g}', judged(row, of, s)] for row, of, s, a, b, x, y in found])}

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


def evidence(df, f):
    sections, main = [], df[~df.family.isin(['broken', 'rate'])]
    for family, (title, text) in FAMILIES.items():
        rows = []
        for (setup, task, metric), g in df[df.family == family].groupby(['setup', 'task', 'metric'], sort=False):
            e, t = g[g.budget == 'epochs'].iloc[0], g[g.budget == 'time'].iloc[0]
            rows.append([f'`{setup}`' if '(' in setup or '_' in setup else setup, task, metric, mean(e.plain, e.plain_se, metric), mean(e.score, e.score_se, metric), e.shown,
                         f'{e.cost:.2f}', str(t.epochs), mean(t.score, t.score_se, metric), t.shown])
        if not rows: continue
        epochs = ', '.join(map(str, sorted(df[df.family == family].plain_epochs.unique())))
        sections.append(f'## {title}\n\n{text} {epochs} epochs.\n\n' + table(
            ['what', 'task', 'score', 'beside it', 'equal epochs', 'gain (95 %)', 'cost of an epoch', 'epochs in equal time', 'equal time', 'gain (95 %)'], rows))
    counts = {b: main[(main.budget == b)].verdict.value_counts() for b in ('epochs', 'time')}
    def tally(b): return ', '.join(f'{counts[b].get(k, 0)} {what}' for k, what in (('gain', 'gains'), ('undecided', 'undecided'), ('loss', 'losses'), ('same', 'with the same score in every seed')))
    summary = []
    for (_, setup), g in main.groupby(['family', 'setup'], sort=False):
        summary.append([f'`{setup}`' if '(' in setup or '_' in setup else setup] + [str((g[g.budget == b].verdict.isin(v)).sum()) for b in ('epochs', 'time') for v in (['gain'], ['undecided', 'same'], ['loss'])])
    rates = df[df.family.isin(['general', 'imbalance', 'transfer'])].drop_duplicates(['task', 'lr']).groupby('task', sort=False).lr.first()
    seeds = sorted(df.seeds.unique())
    n = len(main)
    return f"""# What it gains and loses

> Each callback and recipe beside the plain Learner, over seeds, at equal epochs and at equal time; losses and nulls included.

With as many epochs: {tally('epochs')}. In as much time: {tally('time')}. (Without the two sections on broken trainings.) Of {n} intervals at 95 % some {n*.05:.0f} would leave zero out by chance, half of them on either side.

- Each row has {' or '.join(map(str, seeds))} seeds. A seed decides the split into training and test set, the initial weights and the order of the batches; the setups of a seed share all three. Means are given ± their standard error, gains are paired by seed with the 95 % interval of Student's t.
- Beside each setup stands the plain Learner with Adam and `fit_one_cycle`, or what the section names. Its rate is the best of {', '.join(f'{o:g}' for o in RATES)} by log loss over {len(SWEEP_SEEDS)} other seeds, for each task ({', '.join(f'{k}: {v:g}' for k, v in rates.items())}); all setups use that rate. Other optimizers have as long a sweep of their own, from {TIMES[0]:g} to {TIMES[-1]:g} times the rate that `list_opts` suggests.
- Equal time: a setup whose epoch costs c times the processor's time of a plain one, the median over seeds, trains 1/c of the epochs, rounded. On nets as small as these a callback's Python code weighs more than it does on large ones (see [what it costs](benchmarks.md)): equal time is harder here than it would be there.
- Equal time is exact where a setup's cost is one of each epoch. `find_lr` and `lr='find'` take 100 batches however many the epochs, and use more time than their row has; restarts, snapshots and soups train whole cycles, up to a quarter fewer epochs.
- Wrong labels: 20 % are drawn anew, so that some 18 % are wrong. Intervals are about other seeds on these data, not about other data.
- The data come with scikit-learn: 1,797 digits of 8×8 pixels, breast cancer, diabetes (is the progression above the median?) and wine, a small part of each for training. Nets: a small convolutional net, a perceptron of two layers. What holds here may not hold for large nets and data.
- Settings were not tuned for these tasks. `Checkpoint`, `max_bs`, `bs_find`, the diagnoses and the sanity checks do not change what is learnt and have no rows; what `tune` gains stands [on its own card](30_tuning.ipynb).

{ran_on(f, packages(f))} No GPU was used. `make bench` repeats it, `python benchmarks/evidence.py --setups 'SAM()' 'EMA()'` some of it; with `--costs benchmarks/evidence.csv` the epochs in equal time are those of this page.

![Gains with their intervals](images/evidence.png)

## In short

Number of rows (task and score) with a gain, undecided and with a loss, where the interval decides.

{table(['what', 'epochs: gain', 'undecided', 'loss', 'time: gain', 'undecided', 'loss'], summary)}

""" + '\n\n'.join(sections) + '\n'


def evidence_picture(df, path):
    df = df[(df.family == 'general') & (df.metric != 'log loss')]
    tasks, setups = list(dict.fromkeys(df.task)), list(dict.fromkeys(df.setup))
    fig, axes = plt.subplots(1, max(1, len(tasks)), figsize=(11, .5 + .27*len(setups)), sharey=True, squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=False):
        g = df[df.task == task]
        lim = max(1., np.quantile(np.abs(g[['low', 'high']]), .85))
        for budget, shift, color in (('epochs', -.15, 'C0'), ('time', .15, 'C1')):
            for o in g[g.budget == budget].itertuples():
                y = len(setups) - setups.index(o.setup) - shift
                ax.plot([o.low, o.high], [y, y], color=color, lw=1.5)
                ax.plot(np.clip(o.gain, -lim, lim), y, 'o', ms=3.5, color=color, label=f'equal {budget}' if o.setup == setups[0] else None)
        ax.axvline(0, ls=':', c='k', lw=1)
        ax.set(xlim=(-1.1*lim, 1.1*lim))
        ax.set_title(task, fontsize=9)
        ax.tick_params(labelsize=8)
    axes[0][0].set_yticks([len(setups) - i for i in range(len(setups))], setups, fontsize=8)
    axes[0][-1].legend(fontsize=8, loc='lower right')
    fig.supxlabel('gain in points of accuracy over the plain Learner, 95 % intervals; cut at the edges', fontsize=9)
    fig.tight_layout()
    fig.savefig(path, dpi=80, bbox_inches='tight')
    plt.close(fig)


def gpu_results():
    "A section for each folder of results from a GPU"
    for folder in sorted(o for o in HERE.glob('cuda_*') if (o/'cost.csv').exists()):
        cost, f = pd.read_csv(folder/'cost.csv'), facts(folder/'cost_machine.csv')
        rows = [[o.what, o.beside, shown(o, o.ratio), f'{shown(o, o.q25)} to {shown(o, o.q75)}', f'{o.ours:.3g}' if o.unit == 'ms' else '', f'{o.theirs:.3g}' if o.unit == 'ms' else '']
                for o in cost.itertuples()]
        yield f"{f['device']}: {f['net']}.\n\n" + table(['what', 'beside', 'ratio', 'quartiles', 'ms', 'ms beside'], rows)


def pages(folder=HERE):
    "The text of each page"
    cost, growth = (pd.read_csv(folder/f'{o}.csv', keep_default_na=True) for o in ('cost', 'cost_growth'))
    cost.beside = cost.beside.fillna('')
    return {'benchmarks.md': benchmarks(cost, growth, facts(folder/'cost_machine.csv'), tuple(gpu_results())),
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
