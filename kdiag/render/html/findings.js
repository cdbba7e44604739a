// Findings: each one a cause, with where it shows, the lines that prove it and what to do.

const PLACES_SHOWN = 20;
const EVIDENCE_SHOWN = 12;
const GROUPED_FROM = 20;
const GROUP_SHOWN = 10;

function findingPlace(finding) {
  return [nodeName(finding.node), serviceName(finding.service), portName(finding.port)].filter(Boolean).join(" ");
}

function evidenceOf(finding) {
  if (!finding.evidence.length) return null;
  const list = make("ul", { className: "evidence" });
  const block = make("div", {}, list);
  let above = null;
  const draw = ([source, line, text]) => {
    const file = content.sources[source];
    list.append(make(
      "li",
      {},
      // Each file once, above its first line.
      source === above ? null : make("span", { className: "source" }, file),
      text ? make("code", {}, line ? make("span", { className: "line" }, String(line)) : null, text) : null,
    ));
    above = source;
  };
  paged(finding.evidence, EVIDENCE_SHOWN, draw, block, "lines");
  if (finding.moreEvidence) block.append(make("p", { className: "dim" }, `and ${count(finding.moreEvidence, "more line")} in -o json`));
  return [make("h4", {}, "Evidence"), block];
}

function placesOf(finding) {
  const rows = [];
  for (let at = 0; at < finding.places.length; at += 3) {
    const [node, service, port] = finding.places.slice(at, at + 3);
    if (finding.places.length === 3 && node === finding.node && service === finding.service) break;
    if (service === NOWHERE && node === finding.node && finding.places.length > 3) continue;
    rows.push([
      service === NOWHERE ? "—" : serviceLink(service),
      portName(port),
      node === NOWHERE ? "all" : nodeLink(node),
    ]);
  }
  if (!rows.length) return null;
  return [
    make("h4", {}, `Where it shows: ${count(rows.length, "place")}`),
    tableOf("Places where it shows", ["Service", "Port", "Node"], rows, PLACES_SHOWN),
  ];
}

// Explanations are Markdown with paragraphs, lists, bold, italics and code, and nothing else.
function markdown(text) {
  return text.trim().split(/\n\s*\n/).map((block) => {
    const lines = block.split("\n");
    if (lines[0].startsWith("- ") || lines[0].startsWith("* ")) {
      const items = block.split(/\n(?=[-*] )/).map((item) => item.replace(/^[-*] /, ""));
      return make("ul", {}, items.map((item) => make("li", {}, spans(item.replace(/\s*\n\s*/g, " ")))));
    }
    return make("p", {}, spans(lines.join(" ")));
  });
}

function spans(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*)/).map((part) => {
    if (part.length > 2 && part.startsWith("`") && part.endsWith("`")) return make("code", {}, part.slice(1, -1));
    if (part.length > 4 && part.startsWith("**") && part.endsWith("**")) return make("strong", {}, part.slice(2, -2));
    if (part.length > 2 && part.startsWith("*") && part.endsWith("*")) return make("em", {}, part.slice(1, -1));
    return part;
  });
}

function explanationOf(finding) {
  const check = content.checks.find((item) => item.code === finding.code);
  const command = make("code", {}, `kdiag explain ${finding.code}`);
  if (check === undefined) return make("p", { className: "explain" }, "More about this check: ", command);
  const details = make("details", { className: "explain" }, make("summary", {}, "About this check: ", command));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(...markdown(check.explanation));
  });
  return details;
}

function acceptanceOf(finding) {
  const item = finding.acceptance;
  if (item === null) return null;
  const words = item.expired ? "Was accepted until" : "Accepted until";
  const after = item.expired ? " and counts again" : "";
  return make("p", { className: "acceptance" }, `${words} ${item.expires} by ${item.owner}${after}: ${item.reason}`);
}

// The body of a finding: made only when somebody opens it.
function findingBody(finding) {
  const [first, ...others] = finding.message.split("\n");
  const list = others.filter((line) => line.startsWith("- ")).map((line) => make("li", {}, line.slice(2)));
  const rest = others.filter((line) => line && !line.startsWith("- ")).map((line) => make("p", {}, line));
  const pairs = [["Address", finding.frontend], ["Expected", finding.expected], ["Actual", finding.actual]];
  const terms = pairs.filter(([, value]) => value).map(([word, value]) => [make("dt", {}, word), make("dd", {}, value)]);
  return make(
    "div",
    { className: "body" },
    make("p", {}, first),
    list.length ? make("ul", {}, list) : null,
    rest,
    acceptanceOf(finding),
    terms.length ? make("dl", { className: "terms" }, terms) : null,
    evidenceOf(finding),
    placesOf(finding),
    finding.hint ? make("p", { className: "hint" }, make("strong", {}, "What to do: "), finding.hint) : null,
    explanationOf(finding),
  );
}

function findingItem(finding, open) {
  const state = stateOf(finding);
  const word = state === "accepted" ? `accepted ${finding.severity}` : finding.severity;
  const details = make(
    "details",
    { className: `finding ${state}` },
    make(
      "summary",
      {},
      badge(state, word),
      make("span", { className: "code mono" }, ` ${finding.code} `),
      make("span", { className: "title" }, finding.title),
      make("span", { className: "place mono" }, findingPlace(finding)),
    ),
  );
  const fill = () => {
    if (details.childElementCount === 1) details.append(findingBody(finding));
  };
  details.addEventListener("toggle", () => details.open && fill());
  details.fill = fill;
  if (open) {
    fill();
    details.open = true;
  }
  return details;
}

// Findings one below the other; a few are open from the start.
function findingList(findings, container, nothing) {
  container.replaceChildren();
  if (!findings.length) {
    container.append(make("p", { className: "dim" }, nothing));
    return;
  }
  const open = findings.length <= 3;
  const groups = new Map();
  for (const finding of findings) put(groups, `${finding.code} ${finding.slug}`, finding);
  const small = findings.length <= GROUPED_FROM || groups.size === 1;
  for (const [heading, members] of groups) {
    const list = make("div", { className: "findings" });
    if (!small) container.append(make("h3", {}, `${heading} (${members.length})`));
    container.append(list);
    paged(members, small ? 100 : GROUP_SHOWN, (finding) => list.append(findingItem(finding, open)), container, "findings");
  }
}

function drawFindings() {
  const found = shownFindings();
  const nothing = content.findings.length ? "No finding passes the filter." : "Nothing was found.";
  findingList(found, byId("finding-list"), nothing);
  byId("findings-title").textContent = isFiltered()
    ? `Findings (${found.length} of ${content.findings.length})`
    : `Findings (${content.findings.length})`;
}
