// The head of the page, the filter's controls, routes, theme and printing.

function drawSummary() {
  const facts = content.cluster;
  byId("cluster").textContent = facts.name;
  byId("facts").textContent = [facts.server && `Kubernetes ${facts.server}`, facts.takenAt && `recorded ${facts.takenAt}`].filter(Boolean).join(", ");
  byId("footer").textContent = `Made by kdiag ${facts.kdiag}. This file loads nothing from anywhere.`;
  const found = SEVERITIES.filter((severity) => facts.counts[severity]).map((severity) => count(facts.counts[severity], severity));
  const failed = facts.gaps.failed;
  const worst = SEVERITIES.find((severity) => facts.counts[severity]) || (failed ? "unseen" : "ok");
  let words = found.length ? found.join(", ") : "Nothing was found";
  if (failed) words += found.length ? `; ${count(failed, "part")} not examined` : ` in what was examined; ${count(failed, "part")} not examined`;
  byId("verdict").replaceChildren(make("span", { className: `badge large ${worst}` }, make("span", { "aria-hidden": "true" }, `${STATES[worst].sign} `), words));
  const figures = [
    ["errors", facts.counts.error, facts.counts.error ? "error" : ""],
    ["warnings", facts.counts.warning, facts.counts.warning ? "warning" : ""],
    ["infos", facts.counts.info, ""],
    ["nodes examined", `${facts.nodesJudged.toLocaleString("en")} of ${facts.nodesKnown.toLocaleString("en")}`, facts.nodesJudged < facts.nodesKnown ? "unseen" : ""],
    ["Services judged", facts.servicesJudged.toLocaleString("en"), ""],
    ["addresses judged", facts.frontendsJudged.toLocaleString("en"), ""],
    ["parts not examined", failed, failed ? "unseen" : ""],
  ];
  if (facts.accepted) figures.push(["accepted findings", facts.accepted, "accepted"]);
  byId("figures").replaceChildren(...figures.map(([word, value, state]) =>
    make("div", { className: state }, make("dt", {}, word), make("dd", {}, String(value)))));
  const modes = new Map();
  for (const node of content.nodeFacts) if (node.mode) modes.set(node.mode, (modes.get(node.mode) || 0) + 1);
  const words2 = [...modes].sort().map(([mode, number]) => `${mode} on ${count(number, "node")}`);
  byId("scope").textContent = words2.length ? `kube-proxy: ${words2.join(", ")}.` : "";
}

function drawControls() {
  byId("severities").replaceChildren(...SEVERITIES.map((severity) => {
    const button = make("button", { type: "button", "aria-pressed": "true", className: `toggle ${severity}`, "data-severity": severity },
      make("span", { "aria-hidden": "true" }, `${STATES[severity].sign} `), severity);
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      if (on) filter.severities.add(severity);
      else filter.severities.delete(severity);
      refresh();
    });
    return button;
  }));
  const codes = [...new Map(content.findings.map((finding) => [finding.code, finding.slug]))].sort();
  byId("code").append(...codes.map(([code, slug]) => make("option", { value: code }, `${code} ${slug}`)));
  byId("node").append(...[...content.nodes].sort().map((name) => make("option", { value: name }, name)));
  const namespaces = [...new Set(content.services.map((_, service) => namespaceOf(service)))].sort();
  byId("namespace").append(...namespaces.map((name) => make("option", { value: name }, name)));
  let waiting = 0;
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      filter.search = byId("search").value.trim().toLowerCase();
      refresh();
    }, 120);
  });
  for (const key of ["code", "node", "namespace"]) {
    byId(key).addEventListener("change", () => {
      filter[key] = byId(key).value;
      refresh();
    });
  }
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("filter").addEventListener("reset", () => {
    Object.assign(filter, { search: "", severities: new Set(SEVERITIES), code: "", node: "", namespace: "" });
    document.querySelectorAll("[data-severity]").forEach((button) => button.setAttribute("aria-pressed", "true"));
    setTimeout(refresh);
  });
  for (const id of ["all-services", "all-nodes"]) byId(id).addEventListener("change", drawMatrix);
}

function refresh() {
  // Who filters wants to see the report, not the page of one Service.
  if (!byId("page").hidden) location.hash = "#findings";
  drawMatrix();
  drawFindings();
  drawServices();
  byId("status").textContent = isFiltered()
    ? `${count(shownFindings().length, "finding")} of ${content.findings.length}, ${count(matrix.rows.length, "Service")} in the matrix`
    : "";
}

// `#service=default%2Fweb` and `#node=node01` are pages of their own; any other hash is a section of the report.
function route() {
  const [kind, value] = location.hash.slice(1).split("=");
  let name = "";
  try {
    name = decodeURIComponent(value || "");
  } catch {
    name = "";
  }
  const number = kind === "service" ? content.services.indexOf(name) : kind === "node" ? content.nodes.indexOf(name) : -1;
  const page = byId("page");
  if (number < 0) {
    const was = !page.hidden;
    page.hidden = true;
    byId("report").hidden = false;
    document.title = `kdiag: ${content.cluster.name}`;
    if (was) {
      drawMatrix();
      const section = byId(kind);
      if (section && section.closest("#report")) section.scrollIntoView();
    }
    return;
  }
  const title = kind === "service" ? showService(number) : showNode(number);
  document.title = `${title}, kdiag: ${content.cluster.name}`;
  byId("report").hidden = true;
  page.hidden = false;
  window.scrollTo(0, 0);
  page.querySelector("h1").focus();
}

function setTheme(theme) {
  if (theme === "auto") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", theme);
  byId("theme").textContent = `Theme: ${theme}`;
}

function drawTheme() {
  const themes = ["auto", "dark", "light"];
  let theme = "auto";
  try {
    theme = themes.includes(localStorage.getItem("kdiag-theme")) ? localStorage.getItem("kdiag-theme") : "auto";
  } catch {
    theme = "auto"; // a page from disk may have no storage
  }
  setTheme(theme);
  byId("theme").addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    setTheme(theme);
    try {
      localStorage.setItem("kdiag-theme", theme);
    } catch {
      // then it holds until the page is closed
    }
  });
}

function print(on) {
  matrix.printing = on;
  drawMatrix();
  document.querySelectorAll("details.finding").forEach((details) => {
    if (on) {
      details.dataset.was = details.open ? "open" : "";
      details.fill();
      details.open = true;
    } else details.open = details.dataset.was === "open";
  });
}

drawTheme();
drawControls();
drawSummary();
drawLegend();
const few = judgeable.length * NODES <= MANY_CELLS;
byId("all-services").checked = few || !content.findings.length;
byId("all-nodes").checked = few || !content.findings.length;
byId("addresses").hidden = !byId("map").firstElementChild;
drawMatrix();
drawFindings();
drawServices();
drawGaps();
byId("grid").addEventListener("scroll", fillWindow, { passive: true });
let resized = 0;
window.addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => !byId("report").hidden && drawMatrix(), 100);
});
window.addEventListener("hashchange", route);
window.addEventListener("beforeprint", () => print(true));
window.addEventListener("afterprint", () => print(false));
route();
document.documentElement.dataset.ready = "yes";
