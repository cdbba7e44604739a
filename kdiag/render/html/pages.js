// The list of Services, the page of one Service, the page of one node, and what was not examined.

const NODES_LISTED = 50;
const GAPS = [
  ["failed", "Wanted, and could not be had", "The evidence is incomplete: nothing can be said of these."],
  ["not-applicable", "There is nothing to see", ""],
  ["not-asked", "Left out as asked", ""],
];

function findingsOfService(service) {
  return content.findings.filter((finding) => {
    for (let at = 1; at < finding.places.length; at += 3) if (finding.places[at] === service) return true;
    return false;
  });
}

function findingsOfNode(node) {
  return content.findings.filter((finding) => {
    for (let at = 0; at < finding.places.length; at += 3) if (finding.places[at] === node) return true;
    return false;
  });
}

function drawServices() {
  const found = new Set();
  for (const finding of shownFindings()) for (let at = 1; at < finding.places.length; at += 3) found.add(finding.places[at]);
  const narrowed = filter.code || filter.severities.size < SEVERITIES.length;
  const all = content.services.map((_, service) => service);
  // As in the matrix: what has the words itself, else what the findings with the words name.
  const named = new Set(filter.search ? all.filter((service) => {
    const facts = content.serviceFacts[service];
    return [serviceName(service), ...(facts ? facts.addresses : [])].join("\n").toLowerCase().includes(filter.search);
  }) : []);
  const rows = all.filter((service) => {
    if (filter.namespace && namespaceOf(service) !== filter.namespace) return false;
    if (narrowed && !found.has(service)) return false;
    return !filter.search || (named.size ? named : found).has(service);
  });
  const list = byId("service-list");
  byId("services-title").textContent = isFiltered()
    ? `Services (${rows.length.toLocaleString("en")} of ${content.services.length.toLocaleString("en")})`
    : `Services (${content.services.length.toLocaleString("en")})`;
  if (!rows.length) {
    list.replaceChildren(make("p", { className: "dim" }, "No Service passes the filter."));
    return;
  }
  list.replaceChildren(tableOf("Services", ["Service", "State", "Type", "Addresses", "Endpoints"], lazily(sorted(rows, rowState, serviceName), serviceRow)));
}

// Rows are made when they are shown.
function lazily(items, row) {
  return { length: items.length, slice: (from, to) => items.slice(from, to).map(row) };
}

function serviceRow(service) {
  const facts = content.serviceFacts[service];
  const state = rowState(service);
  const shown = facts ? facts.addresses : [];
  const more = shown.length > 3 ? ` and ${shown.length - 3} more` : "";
  return [
    serviceLink(service),
    state === "none" ? quietState(service) : badge(state, STATES[state].word),
    facts ? facts.type : "not in the API",
    make("span", { className: "mono" }, shown.slice(0, 3).join(", ") + more || (facts ? facts.note : "")),
    facts ? String(facts.endpointCount) : "",
  ];
}

// Without findings: ok where it was judged, and no more than that.
function quietState(service) {
  const facts = content.serviceFacts[service];
  if (facts === undefined || facts.note) return make("span", { className: "dim" }, "nothing to judge");
  const judged = content.nodeFacts.filter((node) => node.judged).length;
  if (!judged) return badge("unseen", "not examined");
  if (judged === content.nodeFacts.length) return badge("ok", "ok");
  return badge("ok", `ok on ${judged} of ${count(content.nodeFacts.length, "node")}`);
}

function backLink() {
  return make("p", { className: "back" }, make("a", { href: "#matrix" }, "Back to the report"));
}

function terms(pairs) {
  return make("dl", { className: "terms" }, pairs.filter(([, value]) => value !== "" && value !== null)
    .map(([word, value]) => [make("dt", {}, word), make("dd", {}, value)]));
}

function showService(service) {
  const facts = content.serviceFacts[service];
  const name = serviceName(service);
  const [namespace, short] = name.split("/");
  const found = findingsOfService(service);
  const list = make("div");
  const page = byId("page");
  page.replaceChildren(
    backLink(),
    make("h1", { tabindex: -1 }, "Service ", make("span", { className: "mono" }, name)),
    facts
      ? terms([["Type", facts.type], ["Addresses", facts.addresses.length ? make("ul", { className: "plain mono" }, facts.addresses.map((item) => make("li", {}, item))) : ""], ["", facts.note]])
      : make("p", {}, "The API has no such Service: it is known from rules on nodes alone."),
    make("h2", {}, `Findings (${found.length})`),
    list,
    ...(facts ? endpointsOf(facts) : []),
    make("h2", {}, "On the nodes"),
    nodeStates(service),
    ...pictureOf(name, namespace, short),
  );
  findingList(found, list, "No finding names this Service.");
  return `Service ${name}`;
}

function endpointsOf(facts) {
  const heading = make("h2", {}, `Endpoints (${facts.endpointCount})`);
  if (!facts.endpointCount) return [heading, make("p", { className: "dim" }, "The API lists none.")];
  const rows = facts.endpoints.map(([address, pod, node, state]) => [
    make("span", { className: "mono" }, address),
    pod || "—",
    node === NOWHERE ? "—" : nodeLink(node),
    state,
  ]);
  const hidden = facts.endpointCount - facts.endpoints.length;
  const more = hidden > 0 ? make("p", { className: "dim" }, `and ${count(hidden, "more endpoint")}`) : "";
  return [heading, tableOf("Endpoints that the API lists", ["Address", "Pod", "Node", "State"], rows), more].filter(Boolean);
}

// The nodes by state: those that work are counted, the others listed.
function nodeStates(service) {
  const groups = new Map();
  content.nodes.forEach((_, node) => {
    const state = cellState(service, node);
    if (!groups.has(state)) groups.set(state, []);
    groups.get(state).push(node);
  });
  const rows = [];
  for (const state of ORDER) {
    const nodes = groups.get(state) || [];
    if (!nodes.length) continue;
    if (["ok", "none"].includes(state) && nodes.length > 8) {
      rows.push([count(nodes.length, "node"), badge(state, STATES[state].word), ""]);
      continue;
    }
    for (const node of nodes.slice(0, NODES_LISTED)) {
      const codes = [...new Set((cells.get(service * NODES + node) || []).map((finding) => finding.code))].join(", ");
      rows.push([nodeLink(node), badge(state, STATES[state].word), codes || cellReason(service, node)]);
    }
    if (nodes.length > NODES_LISTED) rows.push([`and ${count(nodes.length - NODES_LISTED, "more node")}`, badge(state, STATES[state].word), ""]);
  }
  if (!rows.length) return make("p", { className: "dim" }, "No node is known.");
  return tableOf("State on each node", ["Node", "State", "Why"], rows);
}

function pictureOf(name, namespace, short) {
  const template = [...document.querySelectorAll("template[data-service]")].find((item) => item.dataset.service === name);
  const command = make("code", {}, `kdiag trace svc/${short} -n ${namespace}`);
  const heading = make("h2", {}, "The way of a packet");
  if (template === undefined) {
    const why = content.tracesLeftOut && findingsOfService(content.services.indexOf(name)).length ? "Only the worst Services have a picture here. " : "";
    return [heading, make("p", {}, why, "Follow it with ", command, ".")];
  }
  const picture = template.content.cloneNode(true);
  const title = picture.querySelector("title").textContent;
  return [
    heading,
    make("p", {}, title, ". The text form: ", command, "."),
    make("div", { className: "picture", tabindex: 0, role: "group", "aria-label": title }, picture),
  ];
}

function showNode(node) {
  const facts = content.nodeFacts[node];
  const name = nodeName(node);
  const found = findingsOfNode(node);
  const rows = [];
  for (const service of judgeable) {
    const state = cellState(service, node);
    if (!["ok", "none", "node", "service"].includes(state) || (state !== "none" && cells.has(service * NODES + node))) {
      const codes = [...new Set((cells.get(service * NODES + node) || []).map((finding) => finding.code))].join(", ");
      rows.push([service, state, codes]);
    }
  }
  rows.sort((one, other) => ORDER.indexOf(one[1]) - ORDER.indexOf(other[1]));
  const list = make("div");
  byId("page").replaceChildren(
    backLink(),
    make("h1", { tabindex: -1 }, "Node ", make("span", { className: "mono" }, name)),
    facts
      ? terms([["Examined", facts.judged ? "yes" : "no"], ["kube-proxy mode", facts.mode], ["kube-proxy version", facts.version]])
      : make("p", {}, "The API has no such node."),
    make("h2", {}, `Findings (${found.length})`),
    list,
    make("h2", {}, "Services that are not ok here"),
    rows.length && !(facts && !facts.judged)
      ? tableOf("Services that are not ok on this node", ["Service", "State", "Why"], lazily(rows, ([service, state, codes]) => [serviceLink(service), badge(state, STATES[state].word), codes || cellReason(service, node)]))
      : make("p", { className: "dim" }, facts && !facts.judged ? "Nothing was examined." : "None."),
  );
  findingList(found, list, "No finding names this node.");
  return `Node ${name}`;
}

function drawGaps() {
  const container = byId("gap-list");
  const total = content.gaps.reduce((sum, gap) => sum + Math.max(gap.nodes.length, 1), 0);
  byId("gaps-title").textContent = `Not examined (${total})`;
  container.replaceChildren();
  if (!content.gaps.length) container.append(make("p", { className: "dim" }, "Everything that was wanted was examined."));
  for (const [kind, heading, words] of GAPS) {
    const gaps = content.gaps.filter((gap) => gap.kind === kind);
    if (!gaps.length) continue;
    const rows = gaps.map((gap) => [gap.subject, nodesInWords(gap.nodes), gap.reason]);
    container.append(make("h3", {}, kind === "failed" ? badge("unseen", heading) : heading), words ? make("p", {}, words) : "", tableOf(heading, ["What", "Where", "Why"], rows));
  }
  if (content.checksLeftOut.length) {
    container.append(make("p", {}, `Checks that were left out: ${content.checksLeftOut.join(", ")}.`));
  }
}

function nodesInWords(nodes) {
  if (!nodes.length) return "";
  const shown = nodes.slice(0, 10).join(", ");
  if (nodes.length <= 10) return shown;
  return make("details", {}, make("summary", {}, count(nodes.length, "node")), nodes.join(", "));
}
