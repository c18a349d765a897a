"""Writes what the documentation takes from the code, and checks the links: `make docs`. With `--check` it writes nothing.

Whole pages (`docs/reference/`) are made by `reference_pages`; in pages written by hand the parts between
`<!-- from the code: NAME -->` and `<!-- end -->` are.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.reference_pages import PAGES  # noqa: E402  # the line above lets this file run by its path
from scripts.reference_parts import PARTS  # noqa: E402

_PART = re.compile(r"(<!-- from the code: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_FENCE = re.compile(r"^(?P<fence>```+).*?^(?P=fence)[ \t]*$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"\[[^\]\[]*(?:\[[^\]]*\][^\]\[]*)*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(?P<text>.+?)\s*$", re.MULTILINE)


def pages() -> list[Path]:
    """Every page of the documentation, as a path."""
    named = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "examples/README.md")]
    return [page for page in named if page.exists()] + sorted((ROOT / "docs").rglob("*.md"))


def outdated() -> dict[Path, str]:
    """The pages that are not as the code says, and what they should hold."""
    wanted = {ROOT / "docs" / "reference" / name: make() for name, make in PAGES.items()}
    for page in pages():
        text = wanted.get(page, page.read_text("utf-8"))
        wanted[page] = _PART.sub(lambda part: f"{part[1]}{PARTS[part['name']]()}{part[3]}", text)
    return {page: text for page, text in wanted.items() if not page.exists() or page.read_text("utf-8") != text}


def broken_links() -> list[str]:
    """Every relative link that leads nowhere, as `page:line: target`."""
    return [
        f"{page.relative_to(ROOT)}:{line}: {target}" for page in pages() for line, target in _links(page) if not _resolves(page, target)
    ]


def _links(page: Path) -> Iterator[tuple[int, str]]:
    """Line and target of each link of a page; links inside code are text."""
    text = _CODE.sub(_blank, _FENCE.sub(_blank, page.read_text("utf-8")))
    for link in _LINK.finditer(text):
        yield text.count("\n", 0, link.start()) + 1, link["target"]


def _blank(code: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", code[0])


def _resolves(page: Path, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return True
    name, _, anchor = target.partition("#")
    found = page if not name else (page.parent / unquote(name))
    if not found.exists():
        return False
    return not anchor or anchor in anchors(found)


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.finditer(_FENCE.sub(_blank, page.read_text("utf-8"))):
        plain = re.sub(r"[^\w\- ]", "", heading["text"].lower()).replace(" ", "-")
        name, number = plain, 0
        while name in found:
            number += 1
            name = f"{plain}-{number}"
        found.add(name)
    return found


def main(arguments: list[str]) -> int:
    """Write what is outdated (or only name it), then name the broken links. 0: all is well."""
    check = arguments == ["--check"]
    if arguments and not check:
        print("usage: docs.py [--check]", file=sys.stderr)
        return 2
    changed = outdated()
    for page, text in changed.items():
        print(f"{page.relative_to(ROOT)}: {'is not as the code says; run make docs' if check else 'written'}")
        if not check:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, "utf-8")
    broken = broken_links()
    for link in broken:
        print(f"{link}: leads nowhere", file=sys.stderr)
    if not changed and not broken:
        print(f"{len(pages())} pages are as the code says, and every link leads somewhere")
    return 1 if broken or (check and changed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
