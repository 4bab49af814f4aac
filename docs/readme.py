"Writes README.md from nbs/index.ipynb; `make export` runs it, and a test compares the two."
import re
from pathlib import Path

from fastcore.nbio import read_nb

ROOT = Path(__file__).resolve().parents[1]


def shown(cell):
    "The markdown of one cell; hidden cells and directives leave nothing"
    if 'hide' in cell.directives: return ''
    lines = [o for o in cell.source.splitlines() if not o.startswith('#|')]
    text = '\n'.join(lines).strip('\n')
    if cell.cell_type == 'markdown': return text
    return '\n\n'.join([f'```python\n{text}\n```'] + [o for o in map(output, cell.get('outputs', [])) if o])


def output(out):
    "The markdown of one output: markdown as it is, text in a fence"
    data = out.get('data', {})
    if 'text/markdown' in data: return ''.join(data['text/markdown']).strip('\n')
    text = ''.join(data.get('text/plain', out.get('text', ''))).strip('\n')
    return f'```\n{text}\n```' if text else ''


def linked(text):
    "Links to other pages lead to their sources: README.md is read in the repository, the notebook on the site too"
    return re.sub(r'\]\((?![a-z]+:|#)', '](nbs/', text)


def readme(path=ROOT/'nbs'/'index.ipynb'):
    "README.md's text"
    nb = read_nb(path)
    note = '<!-- Written from nbs/index.ipynb by docs/readme.py: edit the notebook, then `make export`. -->'
    return '\n\n'.join([note] + [linked(o) for o in map(shown, nb.cells) if o]) + '\n'


if __name__ == '__main__': (ROOT/'README.md').write_text(readme(), encoding='utf-8')
