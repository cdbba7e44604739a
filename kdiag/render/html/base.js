// What everything else stands on: the content, small helpers for the document, the state of a cell, the filter.

const content = JSON.parse(document.getElementById("content").textContent);
const NOWHERE = -1;
const SEVERITIES = ["error", "warning", "info"];
const NODES = content.nodes.length;

// Every state has a sign and a word beside its colour.
const STATES = {
  error: { sign: "✕", word: "error" },
  warning: { sign: "!", word: "warning" },
  info: { sign: "i", word: "info" },
  accepted: { sign: "a", word: "accepted by the baseline" },
  unseen: { sign: "?", word: "not examined" },
  node: { sign: "|", word: "nothing of its own, but the node has a finding" },
  service: { sign: "–", word: "nothing of its own, but the Service has a finding" },
  ok: { sign: "·", word: "ok" },
  none: { sign: "", word: "nothing to judge" },
};

const byId = (id) => document.getElementById(id);

// An element with properties and children; strings become text and never markup.
function make(tag, properties, ...children) {
  const item = document.createElement(tag);
  for (const [key, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) item.addEventListener(key.slice(2), value);
    else if (key === "className") item.className = value;
    else item.setAttribute(key, value === true ? "" : value);
  }
  item.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return item;
}

const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many || one + "s"}`;

const nodeName = (node) => (node === NOWHERE ? "" : content.nodes[node]);
const serviceName = (service) => (service === NOWHERE ? "" : content.services[service]);
const portName = (port) => (port === NOWHERE ? "" : content.ports[port]);
const namespaceOf = (service) => serviceName(service).split("/")[0];

const serviceLink = (service) => make("a", { href: `#service=${encodeURIComponent(serviceName(service))}` }, serviceName(service));
const nodeLink = (node) => make("a", { href: `#node=${encodeURIComponent(nodeName(node))}` }, nodeName(node));

const isAccepted = (finding) => finding.acceptance !== null && !finding.acceptance.expired;
const stateOf = (finding) => (isAccepted(finding) ? "accepted" : finding.severity);
const ORDER = ["error", "warning", "info", "accepted", "unseen", "node", "service", "ok", "none"];
const worse = (one, other) => (ORDER.indexOf(one) <= ORDER.indexOf(other) ? one : other);

// Where findings show: on cells (Service and node), on whole nodes, on whole Services.
const cells = new Map();
const onNode = new Map();
const onService = new Map();

function put(map, key, finding) {
  const known = map.get(key);
  if (known === undefined) map.set(key, [finding]);
  else if (known[known.length - 1] !== finding) known.push(finding);
}

for (const finding of content.findings) {
  for (let at = 0; at < finding.places.length; at += 3) {
    const node = finding.places[at];
    const service = finding.places[at + 1];
    if (node !== NOWHERE && service !== NOWHERE) put(cells, service * NODES + node, finding);
    else if (service !== NOWHERE) put(onService, service, finding);
    else if (node !== NOWHERE) put(onNode, node, finding);
  }
}

const unjudged = new Map();
for (const item of content.unjudged) {
  for (const service of item.services) {
    const key = service * NODES + item.node;
    unjudged.set(key, unjudged.has(key) ? `${unjudged.get(key)}; ${item.reason}` : item.reason);
  }
}

const stripes = (findings) => (findings || []).filter((finding) => finding.stripe && finding.severity !== "info");
const worstOf = (findings) => findings.reduce((state, finding) => worse(state, stateOf(finding)), "none");

// The state of a Service on a node. Only what was looked at and is free of findings is ok.
function cellState(service, node) {
  const own = cells.get(service * NODES + node);
  if (own !== undefined) return worstOf(own);
  const facts = content.nodeFacts[node];
  const described = content.serviceFacts[service];
  if (described === undefined || described.note) return "none";
  if (facts === undefined || !facts.judged || unjudged.has(service * NODES + node)) return "unseen";
  if (stripes(onNode.get(node)).length) return "node";
  if (onService.has(service)) return "service";
  return "ok";
}

// Why a cell is as it is, in a sentence for the state, apart from its findings.
function cellReason(service, node) {
  const facts = content.nodeFacts[node];
  const described = content.serviceFacts[service];
  if (described === undefined) return "The API has no such Service.";
  if (described.note) return described.note;
  if (facts === undefined) return "The API has no such node.";
  if (!facts.judged) return "The rules of this node were not examined: see what was not examined.";
  return unjudged.get(service * NODES + node) || "";
}

const filter = { search: "", severities: new Set(SEVERITIES), code: "", node: "", namespace: "" };

function findingText(finding) {
  if (finding.text === undefined) {
    const parts = [finding.code, finding.slug, finding.title, finding.message, finding.frontend, finding.expected];
    parts.push(finding.actual, finding.hint, nodeName(finding.node), serviceName(finding.service), portName(finding.port));
    for (let at = 0; at < finding.places.length; at += 3) {
      parts.push(nodeName(finding.places[at]), serviceName(finding.places[at + 1]));
    }
    for (const [source, , text] of finding.evidence) parts.push(content.sources[source], text);
    finding.text = parts.join("\n").toLowerCase();
  }
  return finding.text;
}

// True if one of the finding's places passes; a finding without places concerns the whole cluster.
function touches(finding, passes) {
  if (!finding.places.length) return true;
  for (let at = 0; at < finding.places.length; at += 3) {
    if (passes(finding.places[at], finding.places[at + 1])) return true;
  }
  return false;
}

function isShown(finding) {
  if (!filter.severities.has(finding.severity)) return false;
  if (filter.code && finding.code !== filter.code) return false;
  if (filter.node && !touches(finding, (node) => node === NOWHERE || nodeName(node) === filter.node)) return false;
  const wanted = filter.namespace;
  if (wanted && !touches(finding, (_, service) => service === NOWHERE || namespaceOf(service) === wanted)) return false;
  return !filter.search || findingText(finding).includes(filter.search);
}

const shownFindings = () => content.findings.filter(isShown);
const isFiltered = () =>
  Boolean(filter.search || filter.code || filter.node || filter.namespace || filter.severities.size < SEVERITIES.length);

// A list that grows on demand: thousands of rows at once make a page slow.
function paged(items, size, draw, container, noun) {
  let drawn = 0;
  const more = make("button", { type: "button", className: "quiet more" });
  const next = () => {
    items.slice(drawn, drawn + size).forEach((item) => draw(item));
    drawn = Math.min(drawn + size, items.length);
    more.textContent = `${(items.length - drawn).toLocaleString("en")} more ${noun}: show`;
    more.hidden = drawn >= items.length;
  };
  more.addEventListener("click", next);
  next();
  container.append(more);
}

// A table with headings; `rows` are arrays of cells, the first of which names its row.
function tableOf(caption, headings, rows, size) {
  const body = make("tbody");
  const table = make(
    "table",
    {},
    make("caption", { className: "hidden" }, caption),
    make("thead", {}, make("tr", {}, headings.map((heading) => make("th", { scope: "col" }, heading)))),
    body,
  );
  const wrap = make("div", { className: "scroll" }, table);
  paged(rows, size || 100, (row) => {
    const [first, ...others] = row;
    body.append(make("tr", {}, make("th", { scope: "row" }, first), others.map((cell) => make("td", {}, cell))));
  }, wrap, "rows");
  return wrap;
}

const badge = (state, word) =>
  make("span", { className: `badge ${state}` }, make("span", { "aria-hidden": "true" }, STATES[state].sign), ` ${word || state}`);
