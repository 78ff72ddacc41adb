// The page: figures in their places, the table of neurons, the slider.
const SHOWN = 200; // rows of the table that are shown at a time
const config = { responsive: true, displaylogo: false, displayModeBar: false };
const state = { runs: [], step: 0, run: 0, neuron: 0, sort: { column: "neuron", down: false } };

function draw(id, figure) {
  // What a reader zoomed into stays when the slider moves.
  Object.assign(figure.layout, { template: state.template, uirevision: id });
  figure.layout.margin = { ...figure.layout.margin, t: Math.min(figure.layout.margin.t, 70) };
  return Plotly.react(byId(id), figure.data, figure.layout, config);
}

function fresh(run, panel) {
  const figure = structuredClone(run.figures[panel]);
  figure.layout.shapes = figure.layout.shapes || [];
  return figure;
}

function drawPanel(name, index) {
  const run = state.runs[index];
  const plot = byId(`${name}-${index}`);
  const t = run.at(state.step);
  const stored = String(run.storedAt(t));
  if (name === "maps" && plot.dataset.stored === stored) return null; // the largest, and unchanged
  const figure = fresh(run, name);
  panels[name](run, t, figure);
  plot.dataset.stored = stored;
  plot.dataset.order = figure.order ? JSON.stringify(figure.order) : "";
  const caption = plot.closest("figure").querySelector("figcaption");
  caption.textContent = `${run.name}, ${figure.note || `step ${run.steps[t]}`}`;
  return draw(plot.id, figure);
}

function drawCard() {
  const run = state.runs[state.run];
  const s = run.storedAt(run.at(state.step));
  const step = run.steps[run.stored[s]];
  byId("opened").textContent = `Neuron ${state.neuron} of ${run.name}`;
  byId("about").textContent = `At step ${step}, the stored step nearest to the slider: weights over one period of ` +
    "the neuron's frequency (joint mode) with its square wave and cosine, spectra, and phases.";
  const shown = [state.run, state.neuron, s].join();
  if (byId("card-plot").dataset.shown === shown) return null;
  byId("card-plot").dataset.shown = shown;
  return draw("card-plot", cardFigure(run, s, state.neuron, fresh(run, "card")));
}

function wanted(row, query) {
  const frequency = /^k\s*=?\s*(\d+)$/i.exec(query);
  if (frequency) return row.k === Number(frequency[1]);
  return query === "" || String(row.neuron) === query.replace(/^neuron\s*/i, "");
}

function rows() {
  const run = state.runs[state.run];
  const t = run.at(state.step);
  const query = byId("search").value.trim();
  const { column, down } = state.sort;
  const key = (row) => (Number.isNaN(row[column]) ? Infinity : row[column] * (down ? -1 : 1));
  return run.ids.map((n) => run.row(t, n)).filter((row) => wanted(row, query))
    .sort((one, other) => key(one) - key(other) || one.neuron - other.neuron);
}

const shown = (value) => (Number.isNaN(value) ? "" : Number.isInteger(value) ? String(value) : value.toFixed(3));

function element(tag, properties, children = []) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function drawTable() {
  const found = rows();
  const names = Object.keys(state.columns);
  const head = names.map((name) => {
    const arrow = state.sort.column === name ? (state.sort.down ? " ▼" : " ▲") : "";
    const button = element("button", { type: "button", textContent: name + arrow, title: state.columns[name] });
    button.addEventListener("click", () => {
      state.sort = { column: name, down: state.sort.column === name ? !state.sort.down : name !== "neuron" };
      drawTable();
      [...byId("table").querySelectorAll("th button")][names.indexOf(name)].focus();
    });
    const cell = element("th", { scope: "col" }, [button]);
    if (arrow) cell.setAttribute("aria-sort", state.sort.down ? "descending" : "ascending");
    return cell;
  });
  const body = found.slice(0, SHOWN).map((row) => {
    const open = element("button", { type: "button", textContent: row.neuron, title: "open this neuron" });
    open.addEventListener("click", () => openNeuron(state.run, row.neuron));
    const line = element("tr", {}, [element("td", {}, [open]),
      ...names.slice(1).map((name) => element("td", { textContent: shown(row[name]), title: state.columns[name] }))]);
    if (row.neuron === state.neuron) line.setAttribute("aria-current", "true");
    return line;
  });
  const table = element("table", {}, [element("thead", {}, [element("tr", {}, head)]), element("tbody", {}, body)]);
  byId("table").replaceChildren(table);
  const run = state.runs[state.run];
  byId("found").textContent = found.length === 0
    ? `No neuron fits. Search for a number from 0 to ${run.neurons - 1}, or a frequency such as k=5.`
    : `${found.length} of ${run.neurons} neurons at step ${run.steps[run.at(state.step)]}` +
      (found.length > SHOWN ? `, the first ${SHOWN} of them shown` : "");
}

function openNeuron(run, neuron, reveal = true) {
  Object.assign(state, { run, neuron });
  byId("run").value = String(run);
  drawTable();
  drawCard();
  if (reveal) {
    byId("opened").focus({ preventScroll: true });
    byId("card").scrollIntoView({ block: "start" });
  }
}

function clicked(index, plot, event) {
  const point = event.points[0];
  const neuron = plot.dataset.order ? JSON.parse(plot.dataset.order)[point.pointIndex[0]] : point.customdata;
  if (Number.isInteger(neuron)) openNeuron(index, neuron);
}

function download(name, lines) {
  const url = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
  const link = element("a", { href: url, download: name });
  link.click();
  URL.revokeObjectURL(url);
}

// All neurons of the run at the step of the slider, to the digits that 16 bits hold.
function neuronsAsCsv() {
  const run = state.runs[state.run];
  const t = run.at(state.step);
  const names = Object.keys(state.columns);
  const number = (value) => (Number.isNaN(value) ? "" : +value.toPrecision(5));
  const lines = run.ids.map((n) => run.row(t, n)).map((row) =>
    [quoted(run.name), run.steps[t], ...names.map((name) => number(row[name]))].join(","));
  download(`${fileName(run.name)}_step${run.steps[t]}_neurons.csv`, [["run", "step", ...names].join(","), ...lines]);
}

function measuresAsCsv() {
  const run = state.runs[state.run];
  const names = Object.keys(run.measures);
  const lines = run.steps.map((step, t) =>
    [quoted(run.name), step, ...names.map((name) => run.measures[name][t] ?? "")].join(","));
  download(`${fileName(run.name)}_measures.csv`, [["run", "step", ...names].join(","), ...lines]);
}

const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
const fileName = (text) => text.replace(/[^\w.-]+/g, "_").replace(/^_+|_+$/g, "") || "run";

function failed(error) {
  byId("failed").hidden = false;
  byId("failed").textContent =
    `The figures could not be drawn (${error}). They need a browser of 2023 or later; the answers above do not.`;
}

// What has to be drawn at a step: what is in sight first.
function waiting() {
  const inSight = (id) => {
    const { top, bottom } = byId(id).getBoundingClientRect();
    return bottom > 0 && top < window.innerHeight;
  };
  const jobs = Object.keys(panels).flatMap((name) => state.runs.map((_, index) =>
    ({ id: `${name}-${index}`, run: () => drawPanel(name, index) })));
  jobs.push({ id: "table", run: drawTable }, { id: "card-plot", run: drawCard });
  return jobs.filter((job) => inSight(job.id)).concat(jobs.filter((job) => !inSight(job.id)));
}

// A slider that is dragged asks for many steps: a newer one takes the place of what is not drawn yet.
let drawing = false;
let asked = false;
async function moved() {
  const slider = byId("step");
  state.step = state.steps[Number(slider.value)];
  slider.setAttribute("aria-valuetext", `step ${state.step}`);
  byId("where").textContent = state.step;
  asked = true;
  document.body.dataset.drawn = "";
  if (drawing) return;
  drawing = true;
  try {
    while (asked) {
      asked = false;
      for (const job of waiting()) {
        await job.run();
        await new Promise((done) => setTimeout(done)); // lets the slider move on
        if (asked) break;
      }
    }
    document.body.dataset.drawn = state.step;
  } catch (error) {
    failed(error);
    throw error;
  } finally {
    drawing = false;
  }
}

async function start() {
  const script = element("script", { textContent: text(await unpacked("plotly")) });
  document.head.append(script);
  const payload = JSON.parse(text(await unpacked("payload")));
  const blob = await unpacked("blob");
  state.runs = payload.runs.map((data) => new Run(data, blob, payload.constants));
  state.columns = payload.columns;
  state.template = payload.template;
  state.steps = [...new Set(state.runs.flatMap((run) => run.steps))].sort((a, b) => a - b);
  byId("run").append(...state.runs.map((run, i) => element("option", { value: i, textContent: run.name })));
  const slider = byId("step");
  slider.max = state.steps.length - 1;
  slider.value = slider.max;
  state.step = state.steps[state.steps.length - 1];
  const loudest = (run) => {
    const t = run.steps.length - 1;
    const loud = run.ids.map((n) => run.loudness(t, n) || 0);
    return loud.indexOf(Math.max(...loud));
  };
  state.neuron = loudest(state.runs[0]);
  await moved();
  for (const name of ["phase_sum", "fits", "maps"])
    state.runs.forEach((_, index) => {
      const plot = byId(`${name}-${index}`);
      plot.on("plotly_click", (event) => clicked(index, plot, event));
    });
  slider.addEventListener("input", moved);
  byId("search").addEventListener("input", drawTable);
  byId("run").addEventListener("change", (event) => {
    const index = Number(event.target.value);
    openNeuron(index, loudest(state.runs[index]), false);
  });
  byId("csv").addEventListener("click", neuronsAsCsv);
  byId("measures").addEventListener("click", measuresAsCsv);
  document.body.dataset.ready = "true";
}

start().catch((error) => {
  failed(error);
  throw error;
});
