// The matrix: Services down, nodes across. Only the cells in sight exist, so a thousand nodes cost no more than ten.

const ROW = 26;
const WIDEST_HEAD = 290;
const FEW_NODES = 8;
const FEW_NODES_ON_PAPER = 5;
const PAPER = { width: 650, rows: 60 };
const MANY_CELLS = 600;

const matrix = { rows: [], columns: [], row: 0, column: 0, top: 0, left: 0, across: 0, down: 0, wide: true, printing: false };

const rowState = (service) => {
  let state = onService.has(service) ? worstOf(onService.get(service)) : "none";
  for (const node of touched.get(service) || []) state = worse(state, cellState(service, node));
  return state;
};

// Nodes that a Service has findings or no verdict on, and the worst of each node.
const touched = new Map();
const columnState = new Map();
const columnWeight = new Map();
function troubles(node, state) {
  columnState.set(node, worse(state, columnState.get(node) || "none"));
  columnWeight.set(node, (columnWeight.get(node) || 0) + 1);
}
onNode.forEach((findings, node) => troubles(node, worstOf(findings)));
for (const key of [...cells.keys(), ...unjudged.keys()]) {
  const service = Math.floor(key / NODES);
  if (!touched.has(service)) touched.set(service, new Set());
  touched.get(service).add(key % NODES);
  troubles(key % NODES, cells.has(key) ? worstOf(cells.get(key)) : "unseen");
}
content.nodeFacts.forEach((facts, node) => facts.judged || troubles(node, "unseen"));

const isJudgeable = (service) => {
  const facts = content.serviceFacts[service];
  return touched.has(service) || (facts !== undefined && !facts.note);
};
const judgeable = content.services.map((_, service) => service).filter(isJudgeable);
const hasFinding = (service) => touched.has(service) || onService.has(service);

function chosenRows() {
  const everything = byId("all-services").checked;
  const found = new Set();
  for (const finding of shownFindings()) {
    for (let at = 1; at < finding.places.length; at += 3) found.add(finding.places[at]);
  }
  const narrowed = filter.code || filter.severities.size < SEVERITIES.length;
  // Who types the name of a Service wants its row, and not those of all others that a finding names beside it.
  const named = new Set(filter.search ? judgeable.filter((service) => serviceName(service).toLowerCase().includes(filter.search)) : []);
  const rows = judgeable.filter((service) => {
    if (filter.namespace && namespaceOf(service) !== filter.namespace) return false;
    if (named.size) return named.has(service) && (!narrowed || found.has(service));
    if (narrowed || filter.search) return found.has(service);
    return everything || hasFinding(service);
  });
  return sorted(rows, rowState, serviceName);
}

function chosenColumns() {
  const everything = byId("all-nodes").checked;
  const nodes = content.nodes.map((_, node) => node).filter((node) => {
    if (filter.node) return nodeName(node) === filter.node;
    return everything || columnState.has(node);
  });
  return sorted(nodes, (node) => columnState.get(node) || "none", nodeName, (node) => columnWeight.get(node) || 0);
}

// The worst first, then what weighs most, then by name.
function sorted(items, state, name, weight) {
  const keys = new Map(items.map((item) => [item, ORDER.indexOf(state(item))]));
  const heavier = weight ? (one, other) => weight(other) - weight(one) : () => 0;
  return items.sort((one, other) => keys.get(one) - keys.get(other) || heavier(one, other) || (name(one) < name(other) ? -1 : 1));
}

function drawMatrix() {
  matrix.rows = chosenRows();
  matrix.columns = chosenColumns();
  // A matrix without columns says nothing, so a Service-wide finding is shown beside all nodes.
  if (!matrix.columns.length && !filter.node) {
    matrix.columns = sorted(content.nodes.map((_, node) => node), () => "none", nodeName);
  }
  matrix.wide = matrix.columns.length <= (matrix.printing ? FEW_NODES_ON_PAPER : FEW_NODES);
  matrix.row = Math.min(matrix.row, Math.max(matrix.rows.length - 1, 0));
  matrix.column = Math.min(matrix.column, Math.max(matrix.columns.length - 1, 0));
  byId("matrix-note").replaceChildren(...matrixNote());
  const grid = byId("grid");
  grid.hidden = !matrix.rows.length || !matrix.columns.length;
  if (grid.hidden) return;
  const width = cellWidth() * matrix.columns.length;
  const sizer = make("div", { className: "sizer" });
  sizer.style.width = `${headWidth() + width}px`;
  sizer.style.height = `${headHeight() + ROW * matrix.rows.length}px`;
  grid.style.maxHeight = matrix.printing ? "none" : "70vh";
  matrix.table = make("table", {
    role: "grid",
    "aria-labelledby": "matrix-title",
    "aria-describedby": "matrix-help",
    "aria-rowcount": matrix.rows.length + 1,
    "aria-colcount": matrix.columns.length + 1,
    className: matrix.wide ? "wide" : "narrow",
  });
  matrix.table.addEventListener("keydown", onMatrixKey);
  matrix.table.addEventListener("click", onMatrixClick);
  sizer.append(matrix.table);
  grid.replaceChildren(sizer);
  buildWindow();
}

// The names of Services leave room for some cells on a phone.
const headWidth = () => (matrix.printing ? WIDEST_HEAD : Math.min(WIDEST_HEAD, Math.max(140, Math.floor(byId("grid").clientWidth * 0.4))));

function cellWidth() {
  if (!matrix.wide) return 26;
  const room = (matrix.printing ? PAPER.width : byId("grid").clientWidth - 20) - headWidth();
  return Math.max(matrix.printing ? 60 : 96, Math.min(170, Math.floor(room / Math.max(matrix.columns.length, 1))));
}

const headHeight = () => (matrix.wide ? 30 : 132);

function matrixNote() {
  if (!content.withOverview) return ["This report was made without the list of Services and nodes: only places of findings are shown."];
  const quiet = judgeable.filter((service) => !hasFinding(service)).length;
  const calm = content.nodes.length - columnState.size;
  const notes = [];
  if (!matrix.rows.length) notes.push(isFiltered() ? "No Service passes the filter. " : "No Service has a finding. ");
  const hidden = judgeable.length - matrix.rows.length;
  if (hidden > 0 && !isFiltered()) {
    const where = content.nodeFacts.every((facts) => facts.judged) ? "any node" : "any node that was examined";
    notes.push(`${count(quiet, "Service has", "Services have")} no finding of their own on ${where} and ${quiet === 1 ? "is" : "are"} not drawn. `);
  }
  const away = content.nodes.length - matrix.columns.length;
  if (away > 0 && !filter.node) notes.push(`${count(calm, "node has", "nodes have")} no finding and ${calm === 1 ? "is" : "are"} not drawn. `);
  const notJudged = content.nodeFacts.filter((facts) => !facts.judged).length;
  if (notJudged) notes.push(make("strong", {}, `${count(notJudged, "node was", "nodes were")} not examined. `));
  return notes;
}

// Makes as many rows and cells as are in sight, once; scrolling only writes into them.
function buildWindow() {
  const grid = byId("grid");
  const height = matrix.printing ? headHeight() + PAPER.rows * ROW : Math.min(grid.clientHeight || 600, window.innerHeight * 0.7);
  const width = matrix.printing ? PAPER.width : grid.clientWidth;
  matrix.down = Math.min(matrix.rows.length, Math.max(1, Math.floor((height - headHeight()) / ROW)));
  matrix.across = Math.min(matrix.columns.length, Math.max(1, Math.floor((width - headWidth()) / cellWidth())));
  const table = matrix.table;
  table.style.width = `${headWidth() + matrix.across * cellWidth()}px`;
  const group = make("colgroup", {}, make("col"));
  group.firstChild.style.width = `${headWidth()}px`;
  const headings = make("tr", { "aria-rowindex": 1 }, make("th", { scope: "col" }, "Service"));
  for (let at = 0; at < matrix.across; at += 1) {
    const column = make("col");
    column.style.width = `${cellWidth()}px`;
    group.append(column);
    headings.append(make("th", { scope: "col", className: "column" }, make("a", {})));
  }
  const head = make("thead", {}, headings);
  headings.style.height = `${headHeight()}px`;
  const body = make("tbody");
  for (let at = 0; at < matrix.down; at += 1) {
    const row = make("tr", {}, make("th", { scope: "row" }, make("a", {})));
    for (let across = 0; across < matrix.across; across += 1) {
      row.append(make("td", { role: "gridcell" }, make("button", { type: "button", tabindex: -1 })));
    }
    body.append(row);
  }
  table.replaceChildren(group, head, body);
  if (matrix.printing && (matrix.down < matrix.rows.length || matrix.across < matrix.columns.length)) {
    const words = `On paper: ${matrix.down} of ${count(matrix.rows.length, "Service")} on ${matrix.across} of ${count(matrix.columns.length, "node")}, the worst first.`;
    byId("matrix-note").append(words);
  }
  fillWindow();
}

// Cells are whole and the window is not: at its end, the last cell must be in sight.
function firstInSight(scrolled, size, most, last) {
  if (matrix.printing) return 0;
  return most > 0 && scrolled >= most - 1 ? Math.max(last, 0) : clamp(Math.round(scrolled / size), last);
}

function fillWindow() {
  const grid = byId("grid");
  const table = matrix.table;
  if (table === undefined || !table.tBodies.length) return;
  matrix.top = firstInSight(grid.scrollTop, ROW, grid.scrollHeight - grid.clientHeight, matrix.rows.length - matrix.down);
  matrix.left = firstInSight(grid.scrollLeft, cellWidth(), grid.scrollWidth - grid.clientWidth, matrix.columns.length - matrix.across);
  const headings = table.tHead.rows[0].cells;
  for (let at = 0; at < matrix.across; at += 1) {
    const node = matrix.columns[matrix.left + at];
    const heading = headings[at + 1];
    const state = onNode.has(node) ? worstOf(onNode.get(node)) : content.nodeFacts[node]?.judged ? "ok" : "unseen";
    heading.className = `column ${state === "ok" ? "" : state}`;
    heading.setAttribute("aria-colindex", matrix.left + at + 2);
    const link = heading.firstChild;
    link.textContent = state === "ok" ? nodeName(node) : `${STATES[state].sign} ${nodeName(node)}`;
    link.title = state === "ok" ? nodeName(node) : `${nodeName(node)}: ${STATES[state].word}`;
    link.href = `#node=${encodeURIComponent(nodeName(node))}`;
  }
  for (let at = 0; at < matrix.down; at += 1) fillRow(table.tBodies[0].rows[at], matrix.top + at);
}

function fillRow(row, at) {
  const service = matrix.rows[at];
  row.setAttribute("aria-rowindex", at + 2);
  const link = row.cells[0].firstChild;
  const mark = onService.has(service) ? `${STATES[worstOf(onService.get(service))].sign} ` : "";
  link.textContent = mark + serviceName(service);
  link.title = serviceName(service);
  link.href = `#service=${encodeURIComponent(serviceName(service))}`;
  for (let across = 0; across < matrix.across; across += 1) {
    const number = matrix.left + across;
    const node = matrix.columns[number];
    const state = cellState(service, node);
    const cell = row.cells[across + 1];
    const button = cell.firstChild;
    const stripe = stripes(onNode.get(node)).length ? " stripe" : "";
    cell.className = `${state}${stripe}`;
    cell.setAttribute("aria-colindex", number + 2);
    button.textContent = matrix.wide && state !== "none" ? `${STATES[state].sign} ${shortWord(state)}` : STATES[state].sign;
    button.setAttribute("aria-label", `${serviceName(service)} on ${nodeName(node)}: ${STATES[state].word}`);
    button.tabIndex = at === matrix.row && number === matrix.column ? 0 : -1;
    button.dataset.row = at;
    button.dataset.column = number;
  }
}

const shortWord = (state) => ({ node: "see node", service: "see Service", unseen: "not examined", accepted: "accepted" })[state] || state;
const clamp = (value, highest) => Math.max(0, Math.min(value, Math.max(highest, 0)));

function onMatrixClick(event) {
  const button = event.target.closest("button");
  if (button === null) return;
  matrix.row = Number(button.dataset.row);
  matrix.column = Number(button.dataset.column);
  fillWindow();
  openCell(matrix.rows[matrix.row], matrix.columns[matrix.column]);
}

function onMatrixKey(event) {
  if (event.target.tagName !== "BUTTON") return;
  const moves = {
    ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
    PageUp: [-matrix.down, 0], PageDown: [matrix.down, 0],
    Home: [0, -matrix.columns.length], End: [0, matrix.columns.length],
  };
  const move = moves[event.key];
  if (move === undefined || event.altKey || event.metaKey) return;
  event.preventDefault();
  const far = event.ctrlKey && (event.key === "Home" || event.key === "End");
  matrix.row = clamp(matrix.row + (far ? Math.sign(move[1]) * matrix.rows.length : move[0]), matrix.rows.length - 1);
  matrix.column = clamp(matrix.column + move[1], matrix.columns.length - 1);
  focusCell();
}

// Scrolls the active cell into sight and gives it the focus.
function focusCell() {
  const grid = byId("grid");
  if (matrix.row < matrix.top) grid.scrollTop = matrix.row * ROW;
  if (matrix.row >= matrix.top + matrix.down) grid.scrollTop = (matrix.row - matrix.down + 1) * ROW;
  if (matrix.column < matrix.left) grid.scrollLeft = matrix.column * cellWidth();
  if (matrix.column >= matrix.left + matrix.across) grid.scrollLeft = (matrix.column - matrix.across + 1) * cellWidth();
  fillWindow();
  const row = matrix.table.tBodies[0].rows[matrix.row - matrix.top];
  const cell = row && row.cells[matrix.column - matrix.left + 1];
  if (cell) cell.firstChild.focus({ preventScroll: true });
}

function drawLegend() {
  const used = ["ok", "error", "warning", "info", "unseen", "node", "service"];
  if (content.cluster.accepted) used.push("accepted");
  byId("legend").replaceChildren(...used.map((state) =>
    make("li", {}, make("span", { className: `swatch ${state}`, "aria-hidden": "true" }, STATES[state].sign), STATES[state].word)));
}

// The details of a cell: what was found there, or why nothing was.
function openCell(service, node) {
  const dialog = byId("cell");
  const state = cellState(service, node);
  const key = service * NODES + node;
  const about = [...(cells.get(key) || [])];
  for (const finding of [...(onNode.get(node) || []), ...(onService.get(service) || [])]) {
    if (!about.includes(finding)) about.push(finding);
  }
  const body = make("div", { className: "content" });
  const close = make("button", { type: "button", className: "quiet close", onclick: () => dialog.close() }, "Close");
  const reason = cellReason(service, node);
  dialog.replaceChildren(
    make(
      "header",
      {},
      make("h2", { id: "cell-title" }, serviceLink(service), " on ", nodeLink(node)),
      close,
    ),
    make("p", {}, badge(state, STATES[state].word), reason ? ` ${reason}` : ""),
    body,
  );
  dialog.querySelectorAll("h2 a").forEach((link) => link.addEventListener("click", () => dialog.close()));
  findingList(about, body, state === "ok" ? "Its rules do what the API says, for every address and every client that was judged." : "No finding tells more.");
  dialog.showModal();
  close.focus();
}
