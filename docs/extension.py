"What Sphinx lacks: formulas that need no script, and anchors as nbdev's links count on them."
import re

from docutils import nodes
from latex2mathml.converter import convert


def anchor(text):
    "A heading's anchor as Quarto makes it: `learner.resume` for `Learner.resume`"
    return re.sub(r'\s+', '-', re.sub(r'[^\w\s.-]', '', text.lower()).strip())


def inline_math(self, node):
    "MathML, which browsers draw by themselves"
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block_math(self, node):
    self.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer('mathml', (inline_math, None), (block_math, None))
    return dict(parallel_read_safe=True, parallel_write_safe=True)
