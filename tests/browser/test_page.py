"""The page as people meet it: clicks, keys, search, filter, themes, paper; with three nodes and with a thousand."""

from __future__ import annotations

import base64
import re
import time
import zlib
from datetime import date
from itertools import pairwise

import pytest
from msgspec.structs import replace

from kdiag.model.report import Acceptance, Report
from tests.browser.conftest import Browser, Open
from tests.browser.large import STALE, UNREAD
from tests.render.samples import HEALTHY, REPORT
from tests.render.test_html import hostile
from tests.render.traces import HOSTILE

ENTER, ESCAPE, TAB = "\ue007", "\ue00c", "\ue004"
DOWN, RIGHT, END, HOME, PAGE_DOWN = "\ue015", "\ue014", "\ue010", "\ue011", "\ue00f"


def cells(page: Browser) -> dict[str, str]:
    """`default/web on node01` to its state, for the cells in sight."""
    found: list[tuple[str, str]] = page.script(
        "return [...document.querySelectorAll('#grid td button')].map((b) => b.getAttribute('aria-label').split(': '))"
    )
    return dict(found)


def rows(page: Browser) -> list[str]:
    found: list[str] = page.script("return [...document.querySelectorAll('#grid tbody th')].map((h) => h.textContent)")
    return found


def columns(page: Browser) -> list[str]:
    found: list[str] = page.script(
        "return [...document.querySelectorAll('#grid thead th.column')].map((h) => h.textContent)"
    )
    return found


class TestSmall:
    def test_the_summary_says_what_was_found_and_examined(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo)
        assert page.text("#verdict") == "✕ 3 errors, 2 warnings"
        assert "nodes examined\n3 of 3\n" in page.text("#figures")
        assert page.text("#gap-list") == "Everything that was wanted was examined."
        assert page.driver.title == "kdiag: demo"

    def test_a_stale_node_is_a_stripe(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo)
        found = cells(page)
        assert columns(page)[0] == "✕ node02"
        assert found["default/local-cluster on node02"] == "error"
        assert found["default/sticky on node02"] == "nothing of its own, but the node has a finding"
        assert found["default/sticky on node01"] == "ok"
        assert found["default/checkout on node01"] == "nothing of its own, but the Service has a finding"
        assert found["default/web-admin on node01"] == "nothing to judge"
        stripe = page.script(
            "return [...document.querySelectorAll('#grid tbody tr')].map((row) => row.cells[1].className)"
        )
        assert all("stripe" in name for name in stripe)
        # The sign in a cell tells the states apart without any colour.
        signs = {button.text.split()[0] for button in page.all("#grid td button") if button.text}
        assert signs == {"✕", "|", "·", "\N{EN DASH}"}

    def test_a_click_on_a_cell_opens_what_is_behind_it(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo)
        page.find('[aria-label="default/web on node01: error"]').click()
        dialog = page.text("dialog[open]")
        assert "default/web on node01" in dialog
        assert "KD209" in dialog
        assert "nodes/node01/iptables-save.txt\n117\n-A PREROUTING" in dialog
        assert "-A PREROUTING -d 10.96.100.25/32" in dialog
        page.find("dialog .close").click()
        assert page.all("dialog[open]") == []

    def test_the_matrix_by_keyboard(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo)
        assert page.script("return document.querySelectorAll('#grid button[tabindex=\"0\"]').length") == 1
        page.script("document.querySelector('#grid button[tabindex=\"0\"]').focus()")
        assert page.focus() == "default/local-cluster on node02: error"
        page.keys(DOWN, DOWN, DOWN, RIGHT)
        assert page.focus() == "default/web on node01: error"
        page.keys(ENTER)
        assert "default/web on node01" in page.text("dialog[open]")
        assert page.focus() == "Close"
        page.keys(ESCAPE)
        page.wait("!document.querySelector('dialog[open]')")
        assert page.focus() == "default/web on node01: error"
        page.keys(END)
        assert page.focus().startswith("default/web on controlplane")
        page.keys(HOME, PAGE_DOWN)
        assert page.focus().startswith("kube-system/kube-dns on node02")

    def test_all_controls_can_be_reached_in_order_and_show_the_focus(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo)
        seen = []
        for _ in range(17):
            page.keys(TAB)
            seen.append(page.focus())
            outline = page.script("return getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", seen[-1]
        assert seen[0] == "Skip to the report"
        assert seen[1:8] == ["Summary", "Matrix", "Findings", "Addresses", "Services", "Not examined", "Theme: auto"]
        assert seen[8] == "search"
        assert [re.sub(r"\W", "", item) for item in seen[9:12]] == ["error", "warning", "iinfo"]
        assert seen[15] == "Reset"

    def test_findings_open_with_evidence_hint_and_explanation(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo)
        assert len(page.all("#finding-list .finding")) == 5
        page.find("#finding-list .finding summary").click()
        page.wait("document.querySelector('#finding-list .finding[open] .body')")
        body = page.text("#finding-list .finding[open] .body")
        assert "Evidence\nnodes/node01/iptables-save.txt\n117\n-A PREROUTING" in body
        assert "What to do: Find out who wrote the rule" in body
        assert "kdiag explain KD209" in body
        page.find("#finding-list .finding[open] .explain summary").click()
        page.wait("document.querySelector('.explain[open] strong')")
        assert "How it is found." in page.text("#finding-list .explain[open]")

    def test_search(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo)
        page.find("#search").send_keys("Docker0")
        page.wait("document.getElementById('status').textContent")
        assert page.text("#status").startswith("1 finding of 5")
        assert page.text("#findings-title") == "Findings (1 of 5)"
        assert "KD101" in page.text("#finding-list")
        page.find("#search").clear()
        page.find("#search").send_keys("nowhere to be found")
        page.wait("document.getElementById('finding-list').textContent.includes('No finding passes')")
        assert "No Service passes the filter." in page.text("#service-list")
        assert not page.find("#grid").is_displayed()
        page.find("#filter [type=reset]").click()
        page.wait("!document.getElementById('status').textContent")
        assert page.text("#findings-title") == "Findings (5)"

    def test_filters(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo)
        page.find('[data-severity="error"]').click()
        assert page.find('[data-severity="error"]').get_attribute("aria-pressed") == "false"
        assert page.text("#findings-title") == "Findings (2 of 5)"
        page.find('[data-severity="error"]').click()
        page.script(
            "const s = document.getElementById('code'); s.value = 'KD223'; s.dispatchEvent(new Event('change'))"
        )
        assert page.text("#findings-title") == "Findings (1 of 5)"
        assert sorted(rows(page)) == [
            "default/local-cluster",
            "default/new-svc",
            "default/nodeport-wide",
            "default/web-admin",
        ]
        page.find("#filter [type=reset]").click()
        page.wait("!document.getElementById('status').textContent")
        page.script(
            "const s = document.getElementById('node'); s.value = 'node01'; s.dispatchEvent(new Event('change'))"
        )
        assert columns(page) == ["! node01"]
        page.script(
            "const s = document.getElementById('namespace'); s.value = 'kube-system'; s.dispatchEvent(new Event('change'))"
        )
        assert rows(page) == ["kube-system/kube-dns"]

    def test_the_page_of_a_service(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo)
        page.script("document.querySelector('#service-list a[href=\"#service=default%2Fweb\"]').click()")
        page.wait("!document.getElementById('page').hidden")
        text = page.text("#page")
        for words in (
            "cluster IP 10.96.100.25:80/TCP",
            "10.244.1.60:80",
            "default/web-1",
            "KD209",
            "kdiag trace svc/web",
        ):
            assert words in text
        assert page.focus() == "Service default/web"
        assert "WRONG, every connection" in page.text("#page .picture svg")
        page.driver.back()
        page.wait("document.getElementById('page').hidden")
        assert page.find("#report").is_displayed()
        assert page.driver.title == "kdiag: demo"

    def test_a_link_to_a_page_and_one_to_nothing(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo, "#node=node02")
        assert page.driver.title == "Node node02, kdiag: demo"
        assert "kube-proxy is not healthy" in page.text("#page")
        page.find("#page .back a").click()
        page.wait("document.getElementById('page').hidden")
        for fragment in ("#service=gone", "#node=%E0%A4%A", "#nothing"):
            page = open_page(demo, fragment)
            assert page.find("#report").is_displayed()

    def test_a_service_that_works_says_how_to_follow_it(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo, "#service=kube-system%2Fkube-dns")
        assert "kdiag trace svc/kube-dns -n kube-system" in page.text("#page")
        assert page.all("#page svg") == []

    def test_themes(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo)
        background = "return getComputedStyle(document.body).backgroundColor"
        page.media(prefers_color_scheme="light")
        light = page.script(background)
        page.media(prefers_color_scheme="dark")
        dark = page.script(background)
        assert light != dark
        assert page.text("#theme") == "Theme: auto"
        page.find("#theme").click()
        assert (page.text("#theme"), page.script(background)) == ("Theme: dark", dark)
        page.find("#theme").click()
        assert (page.text("#theme"), page.script(background)) == ("Theme: light", light)
        page.find("#theme").click()
        assert (page.text("#theme"), page.script(background)) == ("Theme: auto", dark)

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_text_can_be_read(self, open_page: Open, demo: Report, theme: str) -> None:
        """Contrast of at least 4.5 to 1, as WCAG 2.1 level AA asks of text."""
        page = open_page(demo)
        page.media(prefers_color_scheme=theme)
        page.script("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
        page.wait("document.querySelectorAll('.finding .body').length === 5")
        poor = page.script(
            """
            const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
            const light = ([r, g, b]) => {
              const [x, y, z] = [r, g, b].map((v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
              return 0.2126 * x + 0.7152 * y + 0.0722 * z;
            };
            const behind = (item) => {
              for (; item; item = item.parentElement) {
                const colour = parse(getComputedStyle(item).backgroundColor);
                if (colour.length === 3 || colour[3] > 0) return colour;
              }
              return [255, 255, 255];
            };
            const poor = [];
            for (const item of document.querySelectorAll('body *')) {
              const own = [...item.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
              if (!own || !item.checkVisibility()) continue;
              const svg = item.namespaceURI.endsWith('svg');
              const front = light(parse(getComputedStyle(item)[svg ? 'fill' : 'color']));
              const back = light(behind(item));
              const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
              if (ratio < 4.5) poor.push(`${item.tagName}.${item.className} ${ratio.toFixed(2)} ${item.textContent.slice(0, 20)}`);
            }
            return poor;
            """
        )
        assert poor == []

    def test_everything_has_a_name(self, open_page: Open, demo: Report) -> None:
        """Nothing that can be used is without a name, and headings leave no level out."""
        page = open_page(demo)
        page.driver.execute_cdp_cmd("Accessibility.enable", {})
        tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        seen = [(item.get("role", {}).get("value"), item.get("name", {}).get("value", "")) for item in tree]
        usable = {"button", "link", "searchbox", "combobox", "checkbox", "grid", "img", "navigation", "search", "main"}
        assert [(role, name) for role, name in seen if role in usable - {"main"} and not name] == []
        assert {"banner", "navigation", "main", "search", "grid", "status", "contentinfo"} <= {role for role, _ in seen}
        levels = [int(item.tag_name[1]) for item in page.all("h1, h2, h3, h4")]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))

    def test_on_paper(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo)
        printed = page.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
        document = base64.b64decode(printed["data"])
        assert document.startswith(b"%PDF")
        assert 3 <= len(re.findall(rb"/Type /Page\b", document)) <= 8
        assert any(
            b"BT" in zlib.decompress(part) for part in re.findall(rb"stream\r?\n(x.*?)endstream", document, re.S)
        )
        # Afterwards the page is as it was.
        assert len(page.all("#finding-list .finding[open]")) == 0
        assert len(rows(page)) == 14

    def test_what_is_printed_is_open_and_complete(self, open_page: Open, demo: Report) -> None:
        page = open_page(demo)
        page.script("window.dispatchEvent(new Event('beforeprint'))")
        assert len(page.all("#finding-list .finding[open] .evidence")) == 5
        assert (len(rows(page)), len(columns(page))) == (14, 3)
        page.script("window.dispatchEvent(new Event('afterprint'))")
        assert page.all("#finding-list .finding[open]") == []

    @pytest.mark.parametrize("width", [360, 800])
    def test_a_narrow_window_does_not_scroll_sideways(self, open_page: Open, demo: Report, width: int) -> None:
        page = open_page(demo)
        try:
            page.driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False},
            )
            page.wait(f"document.documentElement.clientWidth <= {width}")
            assert page.script("return document.documentElement.scrollWidth") <= width
        finally:
            page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


class TestOther:
    def test_nothing_found(self, open_page: Open) -> None:
        page = open_page(HEALTHY)
        assert page.text("#verdict") == "· Nothing was found"
        assert page.text("#finding-list") == "Nothing was found."

    def test_nothing_found_is_no_good_news_if_not_all_was_examined(self, open_page: Open) -> None:
        page = open_page(replace(REPORT, findings=()))
        assert page.text("#verdict") == "? Nothing was found in what was examined; 2 parts not examined"
        gaps = page.text("#gap-list")
        assert "iptables-save node03, node04 connection refused; start sshd" in gaps
        assert "the control plane is managed" in gaps

    def test_accepted_findings_are_shown_and_do_not_count(self, open_page: Open, demo: Report) -> None:
        acceptance = Acceptance(reason="we know", owner="network team", expires=date(2026, 12, 31))
        findings = tuple(
            replace(item, acceptance=acceptance) if item.code == "KD209" else item for item in demo.findings
        )
        page = open_page(replace(demo, findings=findings))
        assert page.text("#verdict") == "✕ 2 errors, 2 warnings"
        assert cells(page)["default/web on node01"] == "accepted by the baseline"
        assert "a accepted error KD209" in page.text("#finding-list").replace("\n", " ")

    @pytest.mark.parametrize("name", HOSTILE)
    def test_hostile_names_are_text_and_nothing_else(self, open_page: Open, name: str) -> None:
        page = open_page(hostile(name))
        assert page.script("return document.querySelectorAll('script').length") == 2
        assert page.script("return [...document.querySelectorAll('main a')].every((a) => a.protocol === 'file:')")
        for link in ("#service-list a", "#page .back a", "#finding-list .places a"):
            page.script("const a = document.querySelector(arguments[0]); if (a) a.click()", link)
        page.script("document.querySelector('#grid td button')?.click()")
        page.script("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
        assert page.script("return document.querySelectorAll('main script, main iframe, main object').length") == 0


class TestLarge:
    def test_it_opens_fast_and_draws_only_what_is_in_sight(self, open_page: Open, large: Report) -> None:
        page = open_page(large)
        timing = page.script(
            "const [n] = performance.getEntriesByType('navigation'); return n.domContentLoadedEventEnd"
        )
        assert timing < 3000
        assert page.script("return document.querySelectorAll('*').length") < 8000
        assert page.script("return document.querySelectorAll('#grid td').length") < 3000

    def test_the_stale_node_stands_first_and_healthy_ones_are_counted(self, open_page: Open, large: Report) -> None:
        page = open_page(large)
        assert columns(page)[0] == f"✕ {STALE}"
        note = page.text("#matrix-note")
        assert "957 Services have no finding of their own on any node that was examined and are not drawn." in note
        assert "947 nodes have no finding and are not drawn." in note
        assert "1 node was not examined." in note

    def test_all_of_it_can_be_reached(self, open_page: Open, large: Report) -> None:
        page = open_page(large)
        for box in ("all-services", "all-nodes"):
            page.script("document.getElementById(arguments[0]).click()", box)
        grid = page.find("#grid table")
        assert (grid.get_attribute("aria-rowcount"), grid.get_attribute("aria-colcount")) == ("2001", "1001")
        page.script(
            "const g = document.getElementById('grid'); g.scrollTop = g.scrollHeight; g.scrollLeft = g.scrollWidth"
        )
        page.wait("[...document.querySelectorAll('#grid tbody tr')].pop().getAttribute('aria-rowindex') === '2001'")
        assert columns(page)[-1] == "node-0999"
        page.script(
            "document.querySelector('#grid button[tabindex=\"0\"]')?.blur(); document.getElementById('grid').scrollTop = 0; document.getElementById('grid').scrollLeft = 0"
        )
        page.wait("document.querySelector('#grid tbody tr').getAttribute('aria-rowindex') === '2'")
        page.script("document.querySelector('#grid button[tabindex=\"0\"]').focus()")
        page.keys(END)
        assert " on node-0999: " in page.focus()
        page.keys(PAGE_DOWN, PAGE_DOWN)
        assert " on node-0999: " in page.focus()
        assert page.script("return document.getElementById('grid').scrollTop") > 0

    def test_scrolling_draws_what_is_seen_and_no_more(self, open_page: Open, large: Report) -> None:
        page = open_page(large)
        for box in ("all-services", "all-nodes"):
            page.script("document.getElementById(arguments[0]).click()", box)
        cells, rows_seen = page.driver.execute_async_script(
            """
            const done = arguments[0]; const grid = document.getElementById('grid'); let step = 0; let most = 0;
            const seen = new Set();
            const next = () => {
              most = Math.max(most, grid.querySelectorAll('td').length);
              seen.add(grid.querySelector('tbody th').textContent);
              if (step === 60) { done([most, seen.size]); return; }
              step += 1; grid.scrollTop += 520; grid.scrollLeft += 260;
              grid.dispatchEvent(new Event('scroll')); requestAnimationFrame(next);
            };
            next();
            """
        )
        assert rows_seen > 50, "each step shows other rows"
        assert cells < 4000, "of two million"

    def test_search_answers_at_once(self, open_page: Open, large: Report) -> None:
        page = open_page(large)
        began = time.monotonic()
        page.find("#search").send_keys("service-0123")
        page.wait("document.getElementById('status').textContent.includes('finding')")
        assert time.monotonic() - began < 3
        assert page.text("#services-title") == "Services (1 of 2,000)"
        assert rows(page) == ["team-03/service-0123"]

    def test_a_service_is_found_among_those_that_one_finding_names(self, open_page: Open, large: Report) -> None:
        page = open_page(large)
        page.find("#search").send_keys("service-0040")
        page.wait("document.getElementById('status').textContent.includes('finding')")
        assert rows(page) == ["team-00/service-0040"]
        assert page.text("#services-title") == "Services (1 of 2,000)"
        assert len(page.all("#finding-list .finding")) > 0

    def test_a_node_that_was_not_examined_is_never_ok(self, open_page: Open, large: Report) -> None:
        page = open_page(large)
        page.script(
            "const s = document.getElementById('node'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))",
            UNREAD,
        )
        page.script("document.getElementById('all-services').click()")
        assert set(cells(page).values()) == {"not examined"}
        page = open_page(large, f"#node={UNREAD}")
        assert "Nothing was examined." in page.text("#page")

    def test_paper_says_what_is_not_on_it(self, open_page: Open, large: Report) -> None:
        page = open_page(large)
        page.script("window.dispatchEvent(new Event('beforeprint'))")
        assert "On paper: 60 of 1,043 Services on 13 of 53 nodes, the worst first." in page.text("#matrix-note")
        assert len(rows(page)) == 60
        page.script("window.dispatchEvent(new Event('afterprint'))")
        assert "On paper" not in page.text("#matrix-note")

    def test_the_page_of_a_service_lists_what_is_wrong_and_counts_the_rest(
        self, open_page: Open, large: Report
    ) -> None:
        page = open_page(large, "#service=team-00%2Fservice-0000")
        text = page.text("#page")
        assert STALE in text
        assert "997 nodes · ok" in text.replace("\n", " ")
        assert page.all("#page .picture svg") != []
