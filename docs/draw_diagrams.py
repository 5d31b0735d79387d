"""Draws the Mermaid diagrams of the pages, once: ``python docs/draw_diagrams.py MERMAID_JS``.

The site must work offline and in the dark, so its diagrams are drawn when they are written and not
when they are read. Each drawing is `docs/_static/diagrams/KEY.svg`, whose key follows from the text
of the diagram. Run this after a change of a diagram, and commit what it writes. A test says which
drawings are missing.

It needs Chromium (Debian's package `chromium`), and the file `dist/mermaid.min.js` of the package
`mermaid`::

    npm install --prefix /some/folder mermaid
    python docs/draw_diagrams.py /some/folder/node_modules/mermaid/dist/mermaid.min.js
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
from diagrams import DRAWINGS, MERMAID_BLOCK, key  # pyright: ignore[reportMissingImports]

DOCS = Path(__file__).resolve().parent

COLOURS = {
    "#010101": "var(--color-foreground-primary)",
    "#020202": "var(--color-foreground-muted)",
    "#030303": "var(--color-background-secondary)",
    "#040404": "var(--color-background-border)",
    "#050505": "var(--color-background-primary)",
}
"""Mermaid computes with colours, so it gets these; the drawing gets the variables of the theme."""
TEXT, LINE, FILL, BORDER, PAGE = COLOURS

THEME = {
    "background": PAGE,
    "primaryColor": FILL,
    "secondaryColor": FILL,
    "tertiaryColor": PAGE,
    "mainBkg": FILL,
    "nodeBorder": LINE,
    "clusterBkg": PAGE,
    "clusterBorder": BORDER,
    "titleColor": TEXT,
    "edgeLabelBackground": PAGE,
    "lineColor": LINE,
    "textColor": TEXT,
    "primaryTextColor": TEXT,
    "secondaryTextColor": TEXT,
    "tertiaryTextColor": TEXT,
    "primaryBorderColor": LINE,
    "secondaryBorderColor": LINE,
    "tertiaryBorderColor": BORDER,
    "nodeTextColor": TEXT,
    "actorBkg": FILL,
    "actorBorder": LINE,
    "actorTextColor": TEXT,
    "actorLineColor": BORDER,
    "signalColor": LINE,
    "signalTextColor": TEXT,
    "labelBoxBkgColor": FILL,
    "labelBoxBorderColor": LINE,
    "labelTextColor": TEXT,
    "loopTextColor": TEXT,
    "noteBkgColor": FILL,
    "noteBorderColor": BORDER,
    "noteTextColor": TEXT,
    "transitionColor": LINE,
    "transitionLabelColor": TEXT,
    "stateLabelColor": TEXT,
    "stateBkg": FILL,
    "labelBackgroundColor": PAGE,
    "compositeBackground": PAGE,
    "specialStateColor": LINE,
    "innerEndBackground": LINE,
    "fontFamily": "sans-serif",
    "fontSize": "14px",
}

PAGE_OF_MERMAID = """<!DOCTYPE html><meta charset="utf-8"><body><script src="{script}"></script>
<script>
mermaid.initialize({{
  startOnLoad: false, theme: "base", htmlLabels: false, flowchart: {{htmlLabels: false}},
  sequence: {{mirrorActors: false, wrap: true, width: 150}}, deterministicIds: true,
  themeVariables: {theme},
}});
(async () => {{
  const drawn = {{}};
  for (const [key, text] of Object.entries({diagrams})) {{
    drawn[key] = (await mermaid.render("d" + key, text)).svg;
  }}
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = JSON.stringify(drawn);
  document.body.replaceChildren(result);
}})().catch((error) => {{ document.body.textContent = "failed: " + error; }});
</script>"""


def diagrams() -> dict[str, str]:
    """The text of each diagram of the pages, by its key."""
    texts = [
        match["text"]
        for page in sorted(DOCS.glob("**/*.md"))
        for match in MERMAID_BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]
    return {key(text): text for text in texts}


def draw(wanted: dict[str, str], mermaid: Path) -> dict[str, str]:
    """The drawings of ``wanted``, made by Mermaid in Chromium."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        page.write_text(
            PAGE_OF_MERMAID.format(
                script=mermaid.resolve().as_uri(),
                theme=json.dumps(THEME),
                diagrams=json.dumps(wanted).replace("</", "<\\/"),
            ),
            encoding="utf-8",
        )
        ran = subprocess.run(
            [
                "chromium", "--headless", "--no-sandbox", "--disable-gpu",
                f"--user-data-dir={folder}/profile", "--virtual-time-budget=60000",
                "--allow-file-access-from-files", "--dump-dom", page.as_uri(),
            ],
            check=True, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    found = re.search(r'<pre id="result">(.*?)</pre>', ran.stdout, re.DOTALL)
    if found is None:
        raise SystemExit(f"Mermaid drew nothing: {ran.stdout[-500:]}")
    return {name: themed(svg) for name, svg in json.loads(html.unescape(found[1])).items()}


def themed(svg: str) -> str:
    """The drawing in the colours of the site's theme, and no smaller than one can read."""
    for shade, variable in COLOURS.items():
        svg = svg.replace(shade, variable)
    return (
        re.sub(
            r"max-width: ([\d.]+)px",
            lambda found: f"{found[0]}; min-width: {float(found[1]) * 0.72:.0f}px",
            svg,
        )
        + "\n"
    )


def main(mermaid: Path) -> None:
    """Draw what is not drawn yet, and remove the drawings of diagrams that are gone."""
    wanted = diagrams()
    DRAWINGS.mkdir(exist_ok=True)
    for path in DRAWINGS.glob("*.svg"):
        if path.stem not in wanted:
            path.unlink()
    missing = {
        name: text for name, text in wanted.items() if not (DRAWINGS / f"{name}.svg").exists()
    }
    for name, svg in draw(missing, mermaid).items() if missing else ():
        (DRAWINGS / f"{name}.svg").write_text(svg, encoding="utf-8")
        print(f"drew {name}: {missing[name].split(maxsplit=1)[0]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
