"""ruff, with the package's own length of lines: 120. What nbdev writes, the list `__all__`, may be longer.

`make lint` runs it.
"""
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUFF = Path(sys.executable).with_name('ruff')


def long_lines():
    "Lines of the package that are too long"
    cmd = [RUFF, 'check', 'fastai_recipes', '--select', 'E501', '--config', 'line-length=120', '--output-format', 'json']
    for o in json.loads(subprocess.run(cmd, cwd=ROOT, capture_output=True, text=True).stdout):
        line = Path(o['filename']).read_text(encoding='utf-8').splitlines()[o['location']['row'] - 1]
        if not line.startswith('__all__ = '): yield f"{o['filename']}:{o['location']['row']}: {o['message']}"


def main():
    failed = subprocess.run([RUFF, 'check', '.'], cwd=ROOT).returncode
    found = list(long_lines())
    print('\n'.join(found))
    return bool(failed or found)


if __name__ == '__main__': sys.exit(main())
