"""The page in a real browser, wide and on a phone: search in every way there is, by mouse and by keyboard."""

import contextlib
import html
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("uvicorn", reason="needs the extra serve")
pytestmark = pytest.mark.skipif(not BROWSER, reason=f"needs a browser: {', '.join(BROWSERS)}")

WIDTHS = {"wide": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def address(made_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`mcr serve` in a copy of the small project, which is the working directory of these tests."""
    folder = tmp_path_factory.mktemp("browsed") / "project"
    shutil.copytree(made_project, folder)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "stages.cli", "serve", "--port", "0"]
    with (
        contextlib.chdir(folder),
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout
        said = (re.search(r"serve: (http\S+)", line) for line in server.stdout)
        yield next(found[1] for found in said if found)
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 128 + signal.SIGINT


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as library:
        made = library.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """The page, loaded; whatever it complains of, or asks of others, is an error of the test."""
    width, height = WIDTHS[request.param]
    opened = browser.new_page(viewport={"width": width, "height": height})
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "request",
        lambda asked: complaints.append(asked.url) if not asked.url.startswith((address, "data:", "about:")) else None,
    )
    opened.expected = 0
    opened.set_default_timeout(8000)
    opened.goto(address)
    opened.wait_for_selector("#connections input")
    yield opened
    assert opened.evaluate("document.documentElement.scrollWidth") <= width, "something is cut"
    opened.close()
    assert len(complaints) == opened.expected, complaints


def until(page: Any, condition: str) -> None:
    """Wait until the expression `condition` is true; the page's policy forbids the library's own way, an eval."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {condition}")


def results(page: Any) -> list[str]:
    until(page, "!document.querySelector('#message').textContent.includes('...')")
    return [text.strip() for text in page.locator(".found .item small").all_inner_texts()]


def search(page: Any, text: str) -> list[str]:
    page.fill("#text", text)
    page.press("#text", "Enter")
    page.wait_for_selector(".found .item")
    return results(page)


def test_words_by_keyboard_alone(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.type("a photo of w1")
    page.keyboard.press("Enter")
    page.wait_for_selector(".found .item")
    assert len(results(page)) == 12
    tall = "(one) => { one.previousSibling.textContent = 'long/'.repeat(20); return one.offsetHeight; }"
    assert page.locator(".found .score").first.evaluate(tall) < 30, "a number beside a long key is broken in two"
    until(page, "[...document.querySelectorAll('.found img')].some((one) => one.naturalWidth > 0)")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "More like this":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#query .shown")
    assert page.inner_text("#query").startswith("Like ") and len(results(page)) == 12


@pytest.mark.parametrize(("file", "into"), [("photos/p03.png", "audio"), ("sounds/s03.flac", "image"), ("shapes/s03.npy", "text"), ("captions.txt", "image")])  # fmt: skip
def test_a_file_of_each_modality(page: Any, file: str, into: str) -> None:
    page.uncheck("#connections input[value=audio_image]")
    page.check("#connections input[value=unified]")
    page.check(f"#into input[value={into}]")
    page.set_input_files("#file", str(Path("data/raw", file)))
    page.wait_for_selector(".found .item")
    assert len(results(page)) > 5
    assert page.locator("#query .shown").locator("img, canvas, blockquote").count() == 1
    if into == "audio":
        sound = page.locator(".found audio").first
        sound.evaluate("(one) => one.play()")
        until(page, "document.querySelector('.found audio').currentTime > 0")


def test_a_file_is_dropped(page: Any) -> None:
    content = list(Path("data/raw/photos/p03.png").read_bytes())
    page.evaluate(
        """(content) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(content)], "dropped.png"));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        content,
    )
    page.wait_for_selector(".found .item")
    assert page.inner_text("#query") == "Like dropped.png"


def test_side_by_side_and_in_one_corpus(page: Any) -> None:
    page.check("#connections input[value=bridged]")
    search(page, "a photo of w1")
    assert [text.split()[0] for text in page.locator(".found h2").all_inner_texts()] == ["audio_image", "bridged"]
    page.uncheck("#corpora input[value=heldout]")
    until(page, "![...document.querySelectorAll('.found small')].some((one) => one.textContent.startsWith('heldout'))")
    assert len(results(page)) == 2 + 24 - 2


def test_what_comes_from_the_data_is_text(page: Any) -> None:
    page.check("#into input[value=text]")
    search(page, "a <b>sound</b> of w1")
    page.wait_for_selector("blockquote")
    words = page.locator(".found blockquote").all_inner_texts()
    assert any("<b>sound</b>" in text for text in words) and page.locator(".found b").count() == 0


def test_point_clouds_turn(page: Any) -> None:
    """By key, by mouse and by finger, though the points of the first cloud come last."""
    late: list[Any] = []
    page.route(re.compile("/media/points/"), lambda one: one.continue_() if late else late.append(one))
    page.check("#connections input[value=unified]")
    page.check("#into input[value=point]")
    page.uncheck("#connections input[value=audio_image]")
    search(page, "a photo")
    page.wait_for_selector(".found canvas[data-points='96']")
    canvas = page.locator(".found canvas").first
    assert canvas.get_attribute("data-points") is None
    canvas.focus()
    late[0].continue_()
    until(page, "document.querySelector('.found canvas').dataset.points === '96'")
    seen = [canvas.evaluate("(one) => one.toDataURL()")]
    page.keyboard.press("ArrowRight")
    seen.append(canvas.evaluate("(one) => one.toDataURL()"))
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 40)
    page.mouse.up()
    seen.append(canvas.evaluate("(one) => one.toDataURL()"))
    touch = page.context.new_cdp_session(page)
    for kind, x in (("touchStart", 30), ("touchMove", 60), ("touchMove", 100)):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": box["x"] + x, "y": box["y"] + 60}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    seen.append(canvas.evaluate("(one) => one.toDataURL()"))
    assert len(set(seen)) == 4


def test_what_a_pseudo_pair_is_made_of(page: Any) -> None:
    search(page, "a photo of w1")
    page.click("#partners summary")
    page.wait_for_selector(".memory .item")
    assert page.locator(".memory").count() == 2
    assert all(text.endswith(" %") for text in page.locator(".memory .score").all_inner_texts())


def test_the_map(page: Any) -> None:
    page.click("#show-map")
    until(page, "document.querySelector('#map-note').textContent.includes('70 items')")
    box = page.locator("#plane").bounding_box()
    place = page.evaluate("fetch('api/map?connection=audio_image').then((one) => one.json())")["places"][0]
    page.mouse.move(
        box["x"] + (0.5 + 0.47 * place["x"]) * box["width"], box["y"] + (0.5 - 0.47 * place["y"]) * box["height"]
    )
    page.wait_for_selector("#near .item")
    page.focus("#plane")
    before = page.inner_text("#near small")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#near small") != before
    page.keyboard.press("Enter")
    page.wait_for_selector(".found .item")
    assert page.inner_text("#query").startswith("Like ")


def test_what_cannot_be_used_is_said(page: Any, tmp_path: Path) -> None:
    for name, content, said in (
        ("a.png", b"no picture", "does not hold image data"),
        ("a.exe", b"MZ", "not a supported kind"),
    ):
        (tmp_path / name).write_bytes(content)
        page.set_input_files("#file", str(tmp_path / name))
        until(page, f"document.querySelector('#message').textContent.includes({said!r})")
        assert page.get_attribute("#message", "class") == "bad"
    page.expected = 2  # the browser itself notes each refused request


def test_the_same_file_can_be_chosen_again(page: Any) -> None:
    """What is not held any more is to be chosen again; a browser tells nothing where the choice stays the same."""
    for _ in range(2):
        page.evaluate("document.querySelector('#query').replaceChildren()")
        with page.expect_file_chooser() as chooser:
            page.click(".file")
        chooser.value.set_files(str(Path("data/raw/photos/p03.png")))
        page.wait_for_selector("#query .shown")
        results(page)


def test_words_in_the_address(page: Any, address: str) -> None:
    page.goto("about:blank")
    page.goto(f"{address}#q=a photo of w2")
    page.wait_for_selector(".found .item")
    assert page.input_value("#text") == "a photo of w2"


def test_an_example_of_the_report_opens_here(page: Any, address: str, tmp_path: Path) -> None:
    """A link in a page of another origin, as the report in a file is: the page opens, and asks with the item itself."""
    from stages.tools.serve import PORT

    report = Path("data/reports/index.html").read_text()
    link = html.unescape(re.findall(rf'href="http://127.0.0.1:{PORT}/(#like=audio/[^"]+)', report)[0])
    (tmp_path / "report.html").write_text(f'<a href="{address.rstrip("/")}/{html.escape(link)}">look further</a>')
    opened = page.context.browser.new_page()
    opened.goto((tmp_path / "report.html").as_uri())
    opened.click("a")
    opened.wait_for_selector(".found .item")
    assert opened.inner_text("#query").startswith("Like ") and opened.is_checked("#into input[value=image]")
    opened.close()


def test_nothing_of_the_report_is_cut(browser: Any, address: str) -> None:
    """Every table is as wide as its frame at most, also on a phone."""
    for width, height in WIDTHS.values():
        opened = browser.new_page(viewport={"width": width, "height": height})
        opened.goto(Path("data/reports/index.html").resolve().as_uri())
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        cut = "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth).length"
        assert opened.evaluate(cut) == 0
        opened.close()
