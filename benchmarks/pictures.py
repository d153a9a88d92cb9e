"""The pictures of README and docs, from the finished project in this folder: `make pictures` after `make demo`.

Parts of the report as a browser shows it, and the outputs of the notebook. Needs chromium and the extra docs.
"""

import os
import shutil
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
FIGURES, NOTEBOOK = ROOT / "docs/figures", ROOT / "docs/guide/notebook.ipynb"
# By file: from the first element to the last one that are seen, and how wide the page is.
PARTS = {
    "found": ("#examples h3", "#examples .row >> nth=2", 960),
    "answer": ("figure.answer", "figure.answer", 900),
    "similarities": ("#similarities .figures", "#similarities .figures", 900),
}


def photograph(page: Page, name: str) -> Path:
    """Save one part of the page."""
    first, last, width = PARTS[name]
    page.set_viewport_size({"width": width, "height": 900})
    # Players are no pictures; the page is not long enough to be read here.
    page.add_style_tag(content=".item audio, .item a { display: none !important; }")
    top, bottom = page.locator(first).first.bounding_box(), page.locator(last).first.bounding_box()
    assert top and bottom
    clip = {"x": top["x"] - 8, "y": top["y"] - 8, "width": max(top["width"], bottom["width"]) + 16}
    path = FIGURES / f"{name}.png"
    page.screenshot(path=path, full_page=True, clip={**clip, "height": bottom["y"] + bottom["height"] - top["y"] + 16})
    return path


def execute(notebook: Path, project: Path) -> None:
    """Run `notebook` in `project`, and keep what it shows."""
    content = nbformat.read(notebook, as_version=4)
    NotebookClient(content, timeout=300, resources={"metadata": {"path": str(project)}}).execute()
    for cell in content.cells:
        cell.metadata.pop("execution", None)  # when it ran
    nbformat.write(content, notebook)


def main(project: Path) -> None:
    """Make all pictures from `project`."""
    report = project / "data/reports/index.html"
    if not report.is_file():
        sys.exit(f"{report} does not exist: run `make demo` first.")
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as library:
        browser = library.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        # The report forbids every style but its own.
        page = browser.new_context(bypass_csp=True, color_scheme="light").new_page()
        page.goto(report.resolve().as_uri())
        for name in PARTS:
            print(photograph(page, name).relative_to(ROOT))
        browser.close()
    os.environ["PYTHONPATH"] = str(ROOT)
    execute(NOTEBOOK, project)
    print(NOTEBOOK.relative_to(ROOT))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
