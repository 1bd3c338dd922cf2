"""A headless Chromium that opens a file and says what it ran into: through its own logs, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--metrics-recording-only",
    "--no-pings",
    "--enable-logging=stderr",
    "--v=0",
)


OWN = re.compile(
    r"https?://(clients\d*|update|www|accounts|optimizationguide-pa|content-autofill|safebrowsing\w*|edgedl|redirector)"
    r"\.(me\.)?(google|googleapis|gvt1)\.com/"
)
"""What the browser asks for on its own account, whatever it is told; no page of ours names these."""


def chromium() -> str | None:
    """Returns the browser's command, None where none is installed."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


@dataclass(frozen=True)
class Seen:
    """What came of opening a page: its text, console errors, addresses that were asked for, and seconds in all."""

    text: str
    errors: list[str]
    requests: list[str]
    seconds: float


WRAPPER = """<!doctype html><title>wrapper</title>
<body><iframe src="{source}" width="{width}" height="900"></iframe>
<script>onload = () => {{
  const frame = document.querySelector("iframe"), page = frame.contentDocument
  page.querySelectorAll("details").forEach(one => one.open = true)
  const boxes = [...page.querySelectorAll(".box")]
  document.body.textContent = JSON.stringify({{
    width: frame.contentWindow.innerWidth, scroll_width: page.documentElement.scrollWidth,
    background: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    boxes: boxes.length, scrolling: boxes.filter(one => one.scrollWidth > one.clientWidth).length }})
}}</script>"""
"""The page in a frame, because a window of Chromium's is never less than 500 wide. All that is folded is opened."""


@dataclass(frozen=True)
class Layout:
    """How a page lies in a window: lengths in CSS pixels; of `boxes` so many are `scrolling`, as they are too wide."""

    width: int
    scroll_width: int
    background: str
    boxes: int
    scrolling: int


@dataclass(frozen=True)
class Browser:
    """How the page is opened."""

    scripts: bool = True
    dark: bool = False
    size: tuple[int, int] = (1280, 900)

    def _command(self, folder: str) -> list[str]:
        blink = [
            "--blink-settings="
            + ",".join(
                [f"preferredColorScheme={0 if self.dark else 1}", *([] if self.scripts else ["scriptEnabled=false"])]
            )
        ]
        command = chromium()
        assert command is not None
        return [
            command,
            *FLAGS,
            *blink,
            f"--user-data-dir={folder}/profile",
            f"--window-size={self.size[0]},{self.size[1]}",
        ]

    def open(self, path: Path) -> Seen:
        """Returns what was seen. The page is written out by the browser once it is loaded."""
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "net.json"
            command = [
                *self._command(folder),
                f"--log-net-log={log}",
                "--net-log-capture-mode=Default",
                # What is written out is read by a script: without scripts there is a picture alone.
                "--dump-dom" if self.scripts else f"--screenshot={folder}/page.png",
                path.as_uri(),
            ]
            start = perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
            seconds = perf_counter() - start
            return Seen(done.stdout, re.findall(r"CONSOLE.*", done.stderr), _requests(log), seconds)

    def layout(self, path: Path, width: int) -> Layout:
        """Returns how the page lies in a window of this width, everything in it unfolded."""
        with tempfile.TemporaryDirectory() as folder:
            wrapper = Path(folder) / "wrapper.html"
            wrapper.write_text(WRAPPER.format(source=path.as_uri(), width=width))
            # Of two files, each is foreign to the other unless this is said.
            flags = ["--allow-file-access-from-files", "--dump-dom", wrapper.as_uri()]
            done = subprocess.run(
                [*self._command(folder), *flags], capture_output=True, text=True, timeout=120, check=True
            )
        return Layout(**json.loads(done.stdout.partition("<body>")[2].partition("</body>")[0]))

    def picture(self, path: Path, to: Path) -> None:
        """Writes a PNG of the page."""
        with tempfile.TemporaryDirectory() as folder:
            command = [*self._command(folder), f"--screenshot={to}", "--hide-scrollbars", path.as_uri()]
            subprocess.run(command, capture_output=True, timeout=120, check=True)


def _requests(log: Path) -> list[str]:
    """Returns the addresses of the network log that a page can have asked for."""
    text = log.read_text(errors="replace")
    try:
        events = json.loads(text)["events"]
    except ValueError:  # the browser ended before it closed the list
        events = json.loads(text.rstrip().rstrip(",") + "]}")["events"]
    found = {
        event["params"]["url"] for event in events if isinstance(event.get("params"), dict) and "url" in event["params"]
    }
    return sorted(url for url in found if url.startswith(("http:", "https:")) and not OWN.match(url))
