"""Takes a picture of a page, or of a Markdown comment as GitHub would show it.

`python -m rehearsal.page.picture timeline.html timeline.png --width 390 --dark`
"""

import argparse
import base64
import shutil
import tempfile
from pathlib import Path

from rehearsal.page.browser import MAX_HEIGHT, Browser, BrowserError
from rehearsal.page.document import MERMAID, comment_page

UNFOLD = "document.querySelectorAll('details').forEach(d => { d.open = true })"
HEIGHT = "Math.ceil(document.documentElement.getBoundingClientRect().height)"


def take(
    page: Path,
    picture: Path,
    width: int = 1280,
    dark: bool = False,
    unfold: bool = False,
) -> None:
    """Write a PNG of the whole page (at most 16,000 pixels high); BrowserError."""
    with Browser() as browser:
        browser.open(page, width, dark=dark)
        if unfold:
            browser.evaluate(UNFOLD)
        for _ in range(2):  # charts make the page taller
            height = min(int(browser.evaluate(HEIGHT)), MAX_HEIGHT)
            browser.resize(width, height)
            browser.drawn()
        shot = browser.call("Page.captureScreenshot", format="png")
    picture.write_bytes(base64.b64decode(shot["data"]))


def take_comment(
    markdown: str,
    picture: Path,
    width: int = 960,
    dark: bool = False,
    unfold: bool = False,
) -> None:
    """Write a PNG of one comment as GitHub shows it; BrowserError."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "comment.html")
        page.write_text(comment_page(markdown), encoding="utf-8")
        shutil.copyfile(MERMAID, page.with_name("mermaid.js"))
        take(page, picture, width, dark, unfold)


def main() -> None:
    """Read the command line, take the picture."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.page.picture")
    parser.add_argument("page", type=Path, help="an HTML file, or a comment as .md")
    parser.add_argument("picture", type=Path, help="the PNG to write")
    parser.add_argument("--width", type=int, default=None, help="in CSS pixels")
    parser.add_argument("--dark", action="store_true", help="as a dark screen shows it")
    parser.add_argument("--unfold", action="store_true", help="open what is folded")
    args = parser.parse_args()
    if not args.page.is_file():
        raise SystemExit(f"There is no file {args.page}; `make demo` writes the page.")
    options = {"dark": args.dark, "unfold": args.unfold}
    try:
        if args.page.suffix == ".md":
            text = args.page.read_text(encoding="utf-8")
            take_comment(text, args.picture, args.width or 960, **options)
        else:
            take(args.page, args.picture, args.width or 1280, **options)
    except BrowserError as problem:
        raise SystemExit(str(problem)) from None


if __name__ == "__main__":
    main()
