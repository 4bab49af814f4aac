"What the scripts here share: the machine and the versions, and how results are stored."
import argparse
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
    p.add_argument('--out', type=Path, default=HERE, help='folder of the results')
    return p


def store(out, name, frame, key, facts):
    "Write `name`.csv and `name`_machine.csv; rows of other `key`s stay if they come from the same machine with the same versions"
    out.mkdir(parents=True, exist_ok=True)
    path, where = out/f'{name}.csv', out/f'{name}_machine.csv'
    facts = pd.DataFrame(facts.items(), columns=['what', 'value'])
    if path.exists():
        old = pd.read_csv(path)
        others = old[~old[key].isin(frame[key])]
        if len(others):
            if not facts.equals(pd.read_csv(where, dtype=str, keep_default_na=False)): raise SystemExit(f'{path.name} was made on another machine or with other versions; run everything, or give --out FOLDER')
            order = list(dict.fromkeys(old[key]))
            frame = pd.concat([others, frame])
            frame = frame.sort_values(key, key=lambda o: o.map({k: i for i, k in enumerate([*order, *(k for k in frame[key].unique() if k not in order)])}), kind='stable')
    frame.to_csv(path, index=False)
    facts.to_csv(where, index=False)
