"What the scripts here share: the machine and the versions, how results are stored, and processes that share the work."
import argparse
import contextlib
import multiprocessing
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch

HERE = Path(__file__).resolve().parent


def cpu_name():
    "As the system gives it"
    info = Path('/proc/cpuinfo')
    names = [o.split(':')[1].strip() for o in info.read_text().splitlines() if o.startswith('model name')] if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def machine(packages, device='cpu'):
    "What a result depends on, beside the code"
    found = {'cpu': cpu_name(), 'cores': str(os.cpu_count()), 'threads': str(torch.get_num_threads()),
             'device': torch.cuda.get_device_name() if device == 'cuda' else 'cpu', 'python': platform.python_version()}
    for o in packages:
        try: found[o] = version(o)
        except PackageNotFoundError: found[o] = 'not installed'
    return found


def parser(doc, chosen, rows):
    "Options that every script has"
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(f'--{chosen}', nargs='*', default=None, choices=rows, metavar='NAME', help=f"only these of {', '.join(rows)}; the others of the file stay")
    p.add_argument('--quick', action='store_true', help='tiny sizes: does it run?')
    p.add_argument('--out', type=Path, help=f'folder of the results; {HERE.name}/, or {HERE.name}/out/ with --quick, if not given')
    return p


class InProcess(contextlib.nullcontext):
    "In the place of a pool of one"
    def __enter__(self): return self
    def imap_unordered(self, func, jobs, **_): return map(func, jobs)


def pool_of(processes, begin):
    "Processes, in each of which `begin` is called; or this one, in which it was"
    return multiprocessing.get_context('fork').Pool(processes, begin) if processes > 1 else InProcess()


class Results:
    """`name`.csv and `name`_machine.csv of a folder, by `key`

    If all is measured, it takes the place of what was there. If some is, the other keys stay, so what was there must come from the same machine
    with the same versions; that is looked at before anything is measured.
    """
    def __init__(self, args, name, key, facts, some):
        self.folder, self.name, self.key, self.some = args.out or (HERE/'out' if args.quick else HERE), name, key, some
        self.facts = pd.DataFrame(facts.items(), columns=['what', 'value'])
        if some and self.path().exists():
            where = self.path('_machine')
            if not where.exists() or not self.facts.equals(pd.read_csv(where, dtype=str, keep_default_na=False)):
                raise SystemExit(f'{self.path()} was made on another machine, with other versions or other options; run everything, or give --out FOLDER')

    def path(self, what=''): return self.folder/f'{self.name}{what}.csv'

    def store(self, frame):
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.some and self.path().exists():
            old, key = pd.read_csv(self.path()), self.key
            order = {k: i for i, k in enumerate(dict.fromkeys([*old[key], *frame[key]]))}
            frame = pd.concat([old[~old[key].isin(frame[key])], frame]).sort_values(key, key=lambda o: o.map(order), kind='stable')
        frame.to_csv(self.path(), index=False)
        self.facts.to_csv(self.path('_machine'), index=False)
