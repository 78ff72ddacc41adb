// The report's page: unpack the numbers, draw the panels at a step, and open neurons.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const MATRICES = ["a", "b", "out"];
  const TAU = 2 * Math.PI;
  const EDGE = 1e-9; // turns within which a point counts as lying on an edge of the square wave
  const LEVEL = Math.PI / 4; // of the square wave whose fundamental has amplitude 1
  const BINS = 60; // of the residual histogram
  const SHOWN = 200; // rows of the table that are shown at a time
  const TICK_DISTANCE = 0.035; // least share of a map's height between two frequencies beside it

  const wrap = (x) => Math.PI - ((((Math.PI - x) % TAU) + TAU) % TAU);
  const range = (n) => Array.from({ length: n }, (_, i) => i);
  const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;

  async function unpacked(id) {
    const bytes = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }
  const text = (buffer) => new TextDecoder().decode(buffer);

  // An array of the blob as a function of its indices, such as phase(checkpoint, matrix, neuron).
  function reader(blob, { offset, shape, bits, low, high }) {
    const count = shape.reduce((product, n) => product * n, 1);
    const codes = bits === 8 ? new Uint8Array(blob, offset, count) : new Uint16Array(blob, offset, count);
    const levels = 2 ** bits - 2;
    return (...at) => {
      const code = codes[at.reduce((place, i, axis) => place * shape[axis] + i, 0)];
      return code > levels ? NaN : low + (code * (high - low)) / levels;
    };
  }

  // What is known of one run; `t` counts checkpoints, `s` those of which the weights are stored.
  class Run {
    constructor(data, blob) {
      Object.assign(this, data);
      this.read = {};
      for (const [name, header] of Object.entries(data.arrays)) this.read[name] = reader(blob, header);
      this.ids = range(this.neurons);
    }
    // The last checkpoint at or before a step; runs of one page may be stored at other steps.
    at(step) {
      let t = 0;
      while (t + 1 < this.steps.length && this.steps[t + 1] <= step) t += 1;
      return t;
    }
    storedAt(t) {
      const distance = (s) => Math.abs(this.steps[this.stored[s]] - this.steps[t]);
      return range(this.stored.length).reduce((best, s) => (distance(s) < distance(best) ? s : best), 0);
    }
    residual(t, n) {
      return this.read.residual(t, n);
    }
    phaseSum(t, n) {
      return wrap(this.read.phase(t, 0, n) + this.sign * this.read.phase(t, 1, n));
    }
    // Geometric mean of the three amplitudes.
    loudness(t, n) {
      return Math.cbrt(range(3).reduce((product, m) => product * this.read.amplitude(t, m, n), 1));
    }
    agrees(t, n) {
      const [a, b, out] = range(3).map((m) => this.read.own_frequency(t, m, n));
      return a > 0 && a === b && b === out;
    }
    row(t, n) {
      const r = this.read;
      const row = { neuron: n, k: Math.max(...range(3).map((m) => r.frequency(t, m, n))) };
      MATRICES.forEach((name, m) => { row[`k_${name}`] = r.own_frequency(t, m, n); });
      row.agree = this.agrees(t, n) ? 1 : 0;
      for (const field of ["amplitude", "phase"])
        MATRICES.forEach((name, m) => { row[`${field}_${name}`] = r[field](t, m, n); });
      row.residual = this.residual(t, n);
      row.ipr = r.ipr(t, n);
      for (const field of ["power_share", "r2_square", "r2_cosine"])
        MATRICES.forEach((name, m) => { row[`${field}_${name}`] = r[field](t, m, n); });
      row.dead = r.dead(t, n);
      return row;
    }
    // A column's weights at its points of Z_m and its two waves, sorted by place in the period.
    waves(s, m, n) {
      const t = this.stored[s];
      const [k, amplitude, phase] = ["frequency", "amplitude", "phase"].map((f) => this.read[f](t, m, n));
      const [points, tokens] = this.points[m];
      if (!k) return { turns: [], weight: [], square: [], cosine: [] };
      const turns = points.map((x) => {
        const turn = ((k * x) % this.modulus) / this.modulus + phase / TAU;
        return turn - Math.floor(turn + 0.5);
      });
      // A class that several points lead to sees the sum of the wave at these points.
      const seen = (wave) => {
        const sums = new Map();
        tokens.forEach((token, i) => sums.set(token, (sums.get(token) || 0) + wave(turns[i])));
        return tokens.map((token) => amplitude * sums.get(token));
      };
      const square = seen((x) => (x >= -0.25 - EDGE && x < 0.25 - EDGE ? LEVEL : -LEVEL));
      const cosine = seen((x) => Math.cos(TAU * x));
      const order = range(points.length).sort((i, j) => turns[i] - turns[j] || i - j);
      return {
        turns: order.map((i) => turns[i]),
        weight: order.map((i) => this.read.weights(s, m, tokens[i], n)),
        square: order.map((i) => square[i]),
        cosine: order.map((i) => cosine[i]),
      };
    }
  }

  const named = (figure, name) => figure.data.find((trace) => trace.name === name);

  // Each panel's figure at a checkpoint: Python drew it for the last one, and these put in the numbers.
  const panels = {
    learning(run, t, figure) {
      const step = run.steps[t];
      const curves = ["train_accuracy", "test_accuracy", "idealised_per_matrix", "idealised_joint"];
      const marks = curves.map((name) => run.measures[name][t]);
      figure.data.push({
        x: marks.map(() => step), y: marks, text: curves, name: "this step", type: "scatter", mode: "markers",
        marker: { symbol: "circle-open", size: 11, color: "#222222", line: { width: 2 } },
        hovertemplate: "%{text}: %{y:.3f}",
      });
      figure.layout.shapes.push({
        type: "line", xref: "x", yref: "paper", x0: step, x1: step, y0: 0, y1: 1, line: { color: "#222222", width: 1 },
      });
    },
    effect(run, t, figure) {
      const last = t === run.steps.length - 1;
      const always = ["untrained", "frozen_input"];
      const modes = ["per_matrix", "joint"];
      for (const trace of figure.data) {
        const name = trace.y && trace.y[0];
        const mode = modes[trace.xaxis === "x2" ? 1 : 0];
        if (name === "own") trace.x = [run.measures.accuracy[t]];
        else if (name === "idealised") trace.x = [run.measures[`idealised_${mode}`][t]];
        else if (!last && !always.includes(name)) trace.x = [null];
        else continue;
        if (!last) delete trace.hovertemplate;
      }
    },
    phase_sum(run, t, figure) {
      const drawn = run.ids.filter((n) => !Number.isNaN(run.residual(t, n)));
      const loud = drawn.map((n) => run.loudness(t, n));
      const loudest = loud.reduce((a, b) => Math.max(a, b), 1e-30);
      const trace = named(figure, "neurons");
      trace.x = drawn.map((n) => run.phaseSum(t, n));
      trace.y = drawn.map((n) => run.read.phase(t, 2, n));
      trace.customdata = drawn;
      trace.marker.size = loud.map((a) => 3 + (9 * a) / loudest);
    },
    residual(run, t, figure) {
      const height = new Array(BINS).fill(0);
      let total = 0;
      for (const n of run.ids) {
        const residual = run.residual(t, n);
        if (Number.isNaN(residual)) continue;
        const bin = Math.min(BINS - 1, Math.floor(((residual + Math.PI) / TAU) * BINS));
        height[bin] += run.loudness(t, n);
        total += run.loudness(t, n);
      }
      named(figure, "network").y = height.map((h) => h / Math.max(total, 1e-30));
    },
    census(run, t, figure) {
      const count = new Array(Math.floor(run.modulus / 2)).fill(0);
      for (const n of run.ids) if (run.agrees(t, n)) count[run.read.own_frequency(t, 0, n) - 1] += 1;
      named(figure, "network").y = count;
    },
    fits(run, t, figure) {
      const r2 = (wave, matrices, n) => mean(matrices.map((m) => run.read[`r2_${wave}`](t, m, n)));
      for (const [name, matrices] of [["W_in", [0, 1]], ["W_out", [2]]]) {
        const x = run.ids.map((n) => r2("cosine", matrices, n));
        const y = run.ids.map((n) => r2("square", matrices, n));
        const drawn = run.ids.filter((n) => !Number.isNaN(x[n] + y[n]));
        Object.assign(named(figure, name), {
          x: drawn.map((n) => x[n]), y: drawn.map((n) => y[n]), customdata: drawn,
        });
      }
    },
    maps(run, t, figure) {
      const s = run.storedAt(t);
      const at = run.stored[s];
      const k = run.ids.map((n) => run.read.frequency(at, 0, n));
      const phase = run.ids.map((n) => run.read.phase(at, 0, n) || 0);
      const order = [...run.ids].sort((i, j) => (k[i] === 0) - (k[j] === 0) || k[i] - k[j] || phase[i] - phase[j]);
      const labels = order.map((n) => `neuron ${n}, k=${k[n]}`);
      figure.data.forEach((trace, m) => {
        const [points, tokens] = run.points[m];
        const along = range(points.length).sort((i, j) => points[i] - points[j] || i - j);
        const distinct = new Set(points).size === points.length;
        trace.x = distinct ? along.map((i) => points[i]) : range(points.length);
        trace.y = labels;
        trace.z = order.map((n) => {
          const row = along.map((i) => run.read.weights(s, m, tokens[i], n));
          const size = Math.sqrt(mean(row.map((w) => w * w)));
          return run.read.frequency(at, m, n) ? row.map((w) => w / size) : row.map(() => 0);
        });
      });
      const ticks = [];
      order.forEach((n, row) => {
        const begins = row === 0 || k[n] !== k[order[row - 1]];
        const far = !ticks.length || row - ticks[ticks.length - 1] >= TICK_DISTANCE * order.length;
        if (begins && far) ticks.push(row);
      });
      for (const axis of ["yaxis", "yaxis2", "yaxis3"]) {
        figure.layout[axis].tickvals = ticks;
        figure.layout[axis].ticktext = ticks.map((row) => (k[order[row]] ? `k=${k[order[row]]}` : "none"));
      }
      figure.order = order;
      figure.note = `weights of step ${run.steps[at]}`;
    },
  };

  function cardFigure(run, s, n, figure) {
    const t = run.stored[s];
    const count = Math.floor(run.modulus / 2);
    const phases = [];
    const number = (value, digits) => (Number.isNaN(value) ? "none" : value.toFixed(digits));
    range(3).forEach((m) => {
      const [weight, square, cosine, spectrum] = figure.data.slice(4 * m, 4 * m + 4);
      const waves = run.waves(s, m, n);
      [[weight, "weight"], [square, "square"], [cosine, "cosine"]].forEach(([trace, name]) =>
        Object.assign(trace, { x: waves.turns, y: waves[name] }));
      spectrum.x = range(count).map((i) => i + 1);
      spectrum.y = range(count).map((i) => run.read.spectra(s, m, i, n));
      const k = run.read.frequency(t, m, n);
      phases.push(k ? run.read.phase(t, m, n) : NaN);
      const [label, share] = figure.layout.annotations.slice(2 * m, 2 * m + 2);
      label.text = `W_${MATRICES[m]}, A=${run.read.amplitude(t, m, n).toPrecision(3)}, ` + (k
        ? `k=${k}<br>R2 square ${number(run.read.r2_square(t, m, n), 2)}<br>R2 cosine ${number(run.read.r2_cosine(t, m, n), 2)}`
        : "constant<br>no frequency");
      share.text = `power share<br>${run.read.power_share(t, m, n).toFixed(2)} at k=${k}`;
    });
    // Phases of different frequencies do not add up.
    const [ka, kb, kout] = range(3).map((m) => run.read.frequency(t, m, n));
    phases.push(ka && ka === kb && kb === kout ? run.phaseSum(t, n) : NaN);
    figure.data.slice(12).forEach((trace, i) => {
      const degrees = (phases[i] * 360) / TAU;
      Object.assign(trace, Number.isNaN(degrees) ? { r: [], theta: [] } : { r: [0, 1], theta: [0, degrees] });
    });
    return figure;
  }

  const config = { responsive: true, displaylogo: false, displayModeBar: false };
  const state = { runs: [], step: 0, run: 0, neuron: 0, sort: { column: "neuron", down: false } };

  function draw(id, figure, template) {
    figure.layout.template = template;
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
    const stored = String(run.storedAt(run.at(state.step)));
    if (name === "maps" && plot.dataset.stored === stored) return null; // the largest, and unchanged
    const figure = fresh(run, name);
    panels[name](run, run.at(state.step), figure);
    plot.dataset.stored = stored;
    plot.dataset.step = run.steps[run.at(state.step)];
    plot.dataset.order = figure.order ? JSON.stringify(figure.order) : "";
    const caption = plot.closest("figure").querySelector("figcaption");
    caption.textContent = figure.note ? `${run.name}, ${figure.note}` : run.name;
    return draw(plot.id, figure, state.template);
  }

  function drawCard() {
    const run = state.runs[state.run];
    const s = run.storedAt(run.at(state.step));
    const step = run.steps[run.stored[s]];
    byId("opened").textContent = `Neuron ${state.neuron} of ${run.name}`;
    byId("about").textContent = `At step ${step}, the stored step nearest to the slider: weights over one period of ` +
      "the neuron's frequency (joint mode) with its square wave and cosine, spectra, and phases.";
    return draw("card-plot", cardFigure(run, s, state.neuron, fresh(run, "card")), state.template);
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

  function neuronsAsCsv() {
    const run = state.runs[state.run];
    const names = Object.keys(state.columns);
    const lines = rows().map((row) => names.map((name) => (Number.isNaN(row[name]) ? "" : +row[name].toPrecision(6))).join(","));
    download(`neurons_step${run.steps[run.at(state.step)]}.csv`, [names.join(","), ...lines]);
  }

  function measuresAsCsv() {
    const run = state.runs[state.run];
    const names = Object.keys(run.measures);
    const lines = run.steps.map((step, t) => [step, ...names.map((name) => run.measures[name][t] ?? "")].join(","));
    download("measures.csv", [["step", ...names].join(","), ...lines]);
  }

  // A slider that is dragged asks for many steps: while one is being drawn, only the last is kept.
  let drawing = false;
  let asked = false;
  async function moved() {
    const slider = byId("step");
    state.step = state.steps[Number(slider.value)];
    slider.setAttribute("aria-valuetext", `step ${state.step}`);
    byId("where").textContent = state.step;
    asked = true;
    if (drawing) return;
    drawing = true;
    document.body.dataset.drawn = "";
    while (asked) {
      asked = false;
      for (const name of Object.keys(panels))
        await Promise.all(state.runs.map((_, index) => drawPanel(name, index)));
      drawTable();
      await drawCard();
    }
    drawing = false;
    document.body.dataset.drawn = state.step;
  }

  async function start() {
    const script = element("script", { textContent: text(await unpacked("plotly")) });
    document.head.append(script);
    const payload = JSON.parse(text(await unpacked("payload")));
    const blob = await unpacked("blob");
    state.runs = payload.runs.map((data) => new Run(data, blob));
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
    byId("failed").hidden = false;
    byId("failed").textContent =
      `The figures could not be drawn (${error}). They need a browser of 2023 or later; the answers above do not.`;
    throw error;
  });
})();
