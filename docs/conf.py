"What Sphinx is told; docs/build.py runs it on the pages that it has translated."
import tomllib
from pathlib import Path

import fastai_recipes

project = tomllib.loads((Path(__file__).parents[1]/'pyproject.toml').read_text(encoding='utf-8'))['project']['name']
html_title = f'{project} {fastai_recipes.__version__}'
extensions = ['myst_nb', 'extension']
html_theme, html_math_renderer = 'furo', 'mathml'
html_favicon = '../nbs/images/favicon.svg'
html_static_path, html_css_files = ['site.css'], ['site.css']
html_use_index = html_copy_source = html_show_sphinx = html_show_copyright = False
html_theme_options = dict(footer_icons=[], top_of_page_buttons=[])
nb_execution_mode, nb_render_markdown_format = 'off', 'myst'
nb_code_prompt_show, nb_code_prompt_hide = 'Show the code', 'Hide the code'
myst_enable_extensions = ['dollarmath', 'colon_fence', 'attrs_inline']
myst_heading_anchors, myst_heading_slug_func = 4, 'extension.anchor'
suppress_warnings = ['myst.header']   # show_doc's headings are of the third level wherever they stand
