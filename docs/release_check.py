"""Can this be released? Builds sdist and wheel, checks them, and runs the quick start from each in a new environment.

`make release-check` runs it. It installs fastai and torch twice, as pip resolves them: minutes, and some 10 GB for a while.
"""
import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def sh(*cmd, cwd=ROOT): return subprocess.run(list(map(str, cmd)), cwd=cwd, check=True, text=True, stdout=subprocess.PIPE).stdout


def check_version():
    "The version is the changelog's newest, and that of the commit's tag if it has one; everything is committed"
    version = re.search(r"__version__ = ['\"](.+?)['\"]", (ROOT/'fastai_recipes'/'__init__.py').read_text())[1]
    newest, note = re.search(r'^## (\S+)(.*)', (ROOT/'CHANGELOG.md').read_text(), re.M).groups()
    tags = [o for o in sh('git', 'tag', '--points-at', 'HEAD').split() if re.match(r'v?\d', o)]
    if newest != version: sys.exit(f'fastai_recipes is {version}, the newest entry of CHANGELOG.md {newest}')
    if tags and f'v{version}' not in tags: sys.exit(f"fastai_recipes is {version}, this commit has the tag {', '.join(tags)}")
    if tags and 'unreleased' in note: sys.exit(f'CHANGELOG.md calls {newest} unreleased')
    if sh('git', 'status', '--porcelain'): sys.exit('there are changes that are not committed')
    print(f'version {version}, tag {tags[0] if tags else "none yet"}')


def build(folder):
    "sdist and wheel of a fresh clone, in `folder`"
    sh('git', 'clone', '-q', ROOT, folder/'src')
    sh(sys.executable, '-m', 'build', '--outdir', folder/'dist', folder/'src')
    files = sorted((folder/'dist').iterdir())
    print(sh(sys.executable, '-m', 'twine', 'check', '--strict', *files))
    return files


def quick_start():
    "The tutorial as a program"
    cells = json.loads((ROOT/'nbs'/'tutorials'/'01_quick_start.ipynb').read_text())['cells']
    return '\n'.join(''.join(c['source']) + '\n' for c in cells if c['cell_type'] == 'code')


def try_out(file, folder):
    "Install `file` and what it asks for in a new environment, and run the quick start there"
    venv.create(folder/'env', with_pip=True)
    python = folder/'env'/'bin'/'python'
    sh(python, '-m', 'pip', 'install', '-q', file, 'ipython')      # a notebook has IPython
    (folder/'quick_start.py').write_text("import matplotlib\nmatplotlib.use('agg')\n" + quick_start() + '\nprint(verdict)\n')
    print(sh(python, '-W', 'ignore', 'quick_start.py', cwd=folder).splitlines()[-1])
    found = 'import fastai_recipes, fastai, torch; print(fastai_recipes.__file__, fastai.__version__, torch.__version__)'
    found = sh(python, '-W', 'ignore', '-c', found, cwd=folder).split()
    if not found[0].startswith(str(folder)): sys.exit(f'the quick start ran with {found[0]}')
    print(f'{file.name}: works, with fastai {found[1]} and torch {found[2]}')


def main():
    check_version()
    with tempfile.TemporaryDirectory() as top:
        for file in build(Path(top)):
            with tempfile.TemporaryDirectory() as folder: try_out(file, Path(folder))


if __name__ == '__main__': main()
