"""OHIF in headless Chromium, driven as a reader would, and asked what it shows."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps",
    # WebGL 2 without a GPU
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
)  # fmt: skip
SIZE = {"width": 1400, "height": 900}
SECONDS = 120.0
"""How long anything may take before the test gives up; a study of 100 slices is drawn in about five."""

VIEWPORT = """const viewport = () => services.cornerstoneViewportService.getCornerstoneViewport(
    services.viewportGridService.getActiveViewportId());"""
DRAWN = """const v = viewport();
    return !!v && !!v.getImageIds && v.getImageIds().length > 0
      && !!cornerstone.cache.getImage(v.getCurrentImageId()) && !!document.querySelector('canvas.cornerstone-canvas')"""
COLOR = """const v = viewport(), c = v.canvas, k = c.width / c.clientWidth, p = v.worldToCanvas(a[0]);
    const pixel = c.getContext('2d').getImageData(Math.round(p[0] * k), Math.round(p[1] * k), 1, 1).data;
    return Array.from(pixel.slice(0, 3))"""
STATISTICS = """const s = services.segmentationService.getSegmentations().filter(s => s.label === a[0]).pop();
    const shown = Object.values(s.segments).filter(g => g.segmentIndex > 0);  // a label map has a background
    return cornerstoneTools.utilities.segmentation.getStatistics({ segmentationId: s.segmentationId,
      segmentIndices: shown.map(g => g.segmentIndex), mode: 'individual' }).then(counted =>
        shown.map(g => { const n = counted[g.segmentIndex];
          return [g.label, n.count.value, n.mean.value, n.volume.value] }))"""
COUNT = """const c = viewport().canvas, d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
    let n = 0;
    for (let i = 0; i < d.length; i += 4) if ([0, 1, 2].every(j => Math.abs(d[i + j] - a[0][j]) < a[1])) n++;
    return n"""
LINES = """const v = viewport(), points = [];
    for (const l of document.querySelectorAll('svg.svg-layer line, svg.svg-layer polyline, svg.svg-layer ellipse')) {
      const is = name => +l.getAttribute(name);
      const n = l.tagName === 'line' ? [is('x1'), is('y1'), is('x2'), is('y2')]
        : l.tagName === 'ellipse' ? [is('cx'), is('cy') - is('ry'), is('cx'), is('cy') + is('ry')]
        : (l.getAttribute('points') || '').trim().split(/[ ,]+/).map(Number);
      for (let i = 0; i + 1 < n.length; i += 2) points.push([n[i], n[i + 1]]); }
    return points.map(p => Array.from(v.canvasToWorld(p)))"""
STROKES = """const drawn = [...document.querySelectorAll('svg.svg-layer [stroke]')];
    return [...new Set(drawn.map(l => l.getAttribute('stroke')))]"""
TEXTS = """return [...document.querySelectorAll('svg.svg-layer text')].map(t =>
    [...t.querySelectorAll('tspan')].map(s => s.textContent).join(' ') || t.textContent).filter(Boolean)"""


@dataclass(frozen=True, slots=True)
class Shown:
    """A segment as OHIF itself counts it: voxels, mean of the image under them, volume in mm³."""

    voxels: int
    mean: float
    volume: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """One browser page with OHIF in it."""

    page: Page
    address: str
    errors: list[str] = field(default_factory=list)

    def open(self, study_uid: str, *, series: int, params: str = "") -> None:
        """Open a study, and wait until all its series are listed and an image is drawn."""
        self.page.goto(f"{self.address}/viewer?StudyInstanceUIDs={study_uid}{params}", wait_until="commit")
        listed = "return !!window.services && services.displaySetService.getActiveDisplaySets().length >= a[0]"
        self.until(listed, series)
        self.until(DRAWN)

    def series(self) -> dict[str, bool]:
        """Return the descriptions of the listed series, and whether OHIF says that it can show them."""
        return {
            str(name): bool(supported)
            for name, supported in self.ask(
                "return services.displaySetService.getActiveDisplaySets()"
                ".map(d => [d.label || d.SeriesDescription, !d.unsupported])"
            )
        }

    def open_series(self, description: str) -> None:
        """Double-click a series in the list."""
        listed = self.page.locator('[data-cy^="study-browser-thumbnail"]', has_text=description)
        listed.first.dblclick(timeout=SECONDS * 1000)

    def open_segmentation(self, description: str) -> None:
        """Double-click a segmentation, answer that it shall be opened, and wait until it and its images are there."""
        self.open_series(description)
        self.page.locator('[data-cy="yes-hydrate-btn"]').click(timeout=SECONDS * 1000)
        self.until("return services.segmentationService.getSegmentations().some(s => s.label === a[0])", description)
        self.until("return viewport().getImageIds().every(i => !!cornerstone.cache.getImage(i))")

    def open_report(self, description: str) -> None:
        """Double-click a report, and wait until its graphics are drawn."""
        self.open_series(description)
        self.page.locator("svg.svg-layer text").first.wait_for(state="attached", timeout=SECONDS * 1000)

    def go_to(self, sop_instance_uid: str) -> None:
        """Show one image of the stack."""
        self.ask(
            "const v = viewport(); v.setImageIdIndex(v.getImageIds().findIndex(i => i.includes(a[0])))",
            sop_instance_uid,
        )
        self.until("return viewport().getCurrentImageId().includes(a[0])", sop_instance_uid)
        self.settle()

    def shown_image(self) -> str:
        """Return the SOP Instance UID of the image in the viewport."""
        found = re.search(r"/instances/([\d.]+)", str(self.ask("return viewport().getCurrentImageId()")))
        return found[1] if found else ""

    def segments(self, description: str) -> dict[str, Shown]:
        """Return what the viewer itself counts and measures under each segment of an open segmentation."""
        return {label: Shown(*numbers) for label, *numbers in self.ask(STATISTICS, description)}

    def panel(self) -> str:
        """Return the words of the panel with the segments."""
        rows = self.page.locator('[data-cy="data-row"]')
        if not rows.count():
            self.page.locator('[data-cy="panelSegmentation-btn"]').first.click()
            rows.first.wait_for(timeout=SECONDS * 1000)
        return "\n".join(rows.all_inner_texts())

    def color(self, place: Sequence[float]) -> tuple[int, int, int]:
        """Return (red, green, blue) on the screen at a place in the patient, mm LPS."""
        red, green, blue = self.ask(COLOR, list(place))
        return red, green, blue

    def count(self, color: Sequence[int], within: int = 12) -> int:
        """Return how many pixels of the image as shown have a colour, within so much of each of its parts."""
        return int(self.ask(COUNT, list(color), within))

    def lines(self) -> list[tuple[float, float, float]]:
        """Return the corners of lines, and top and bottom of ellipses, that are drawn over the image, mm LPS."""
        return [tuple(point) for point in self.ask(LINES)]

    def strokes(self) -> set[str]:
        """Return the colours of all that is drawn over the image."""
        return {str(color) for color in self.ask(STROKES)}

    def texts(self) -> list[str]:
        """Return what is written over the image."""
        return [str(text) for text in self.ask(TEXTS)]

    def settle(self) -> None:
        """Wait until what was asked for is painted: nothing on the page says when."""
        self.page.mouse.move(SIZE["width"] - 20, SIZE["height"] - 20)  # no tooltip, no highlight
        self.page.wait_for_timeout(500)

    def ask(self, script: str, *arguments: object) -> Any:
        """Run the body of a function of `a`, the arguments, in the page."""
        return self.page.evaluate(f"(a) => {{ {VIEWPORT} {script} }}", list(arguments))

    def until(self, script: str, *arguments: object) -> None:
        """Wait until such a body returns what is true."""
        body = f"(a) => {{ {VIEWPORT} {script} }}"
        self.page.wait_for_function(body, arg=list(arguments), timeout=SECONDS * 1000)

    def shot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(path))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the system's Chromium, which stays on this machine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def viewer(browser: Browser, address: str) -> Iterator[Viewer]:
    """Open an empty page; what goes wrong in it is in `errors`."""
    context = browser.new_context(viewport=SIZE, device_scale_factor=1)  # type: ignore[arg-type]
    # on the first visit a tour of the product covers the images
    context.add_init_script("localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))")
    page = context.new_page()
    shown = Viewer(page=page, address=address)

    def said(message: ConsoleMessage) -> None:
        # OHIF's error boundary says at the level "debug" why the viewport is black
        if message.type == "error" or "Error Boundary" in message.text:
            shown.errors.append(message.text)

    page.on("console", said)
    page.on("pageerror", lambda error: shown.errors.append(str(error)))
    try:
        yield shown
    finally:
        context.close()
