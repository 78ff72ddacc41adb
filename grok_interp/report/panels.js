// The panels at a checkpoint, and a neuron's card.
const named = (figure, name) => figure.data.find((trace) => trace.name === name);

// Each panel's figure at a checkpoint: Python drew it for the last one, and these put in the numbers.
const panels = {
  learning(run, t, figure) {
    const step = run.steps[t];
    const curves = ["train_accuracy", "test_accuracy", ...run.constants.modes.map((mode) => `idealised_${mode}`)];
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
    const { always, modes } = run.constants;
    for (const trace of figure.data) {
      const name = trace.y && trace.y[0];
      const mode = modes[trace.xaxis === "x2" ? 1 : 0];
      if (name === "own") trace.x = [run.measures.accuracy[t]];
      else if (name === "idealised") trace.x = [run.measures[`idealised_${mode}`][t]];
      else if (!last && !always.includes(name)) trace.x = [null];
      else continue;
      trace.hovertemplate = `${name}: %{x:.3f}<extra></extra>`;
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
    const [least, more] = run.constants.sizes;
    trace.marker.size = loud.map((a) => least + (more * a) / loudest);
  },
  residual(run, t, figure) {
    const height = new Array(run.constants.bins).fill(0);
    let total = 0;
    for (const n of run.ids) {
      const residual = run.residual(t, n);
      if (Number.isNaN(residual)) continue;
      const bin = Math.min(height.length - 1, Math.floor(((residual + Math.PI) / TAU) * height.length));
      height[bin] += run.loudness(t, n);
      total += run.loudness(t, n);
    }
    named(figure, "own").y = height.map((h) => h / Math.max(total, 1e-30));
  },
  census(run, t, figure) {
    const count = new Array(Math.floor(run.modulus / 2)).fill(0);
    for (const n of run.ids) if (run.agrees(t, n)) count[run.read.own_frequency(t, 0, n) - 1] += 1;
    named(figure, "own").y = count;
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
      const far = !ticks.length || row - ticks[ticks.length - 1] >= run.constants.between_ticks * order.length;
      if (begins && far) ticks.push(row);
    });
    for (const axis of ["yaxis", "yaxis2", "yaxis3"]) {
      figure.layout[axis].tickvals = ticks;
      figure.layout[axis].ticktext = ticks.map((row) => (k[order[row]] ? `k=${k[order[row]]}` : "none"));
    }
    figure.order = order;
    figure.note = `weights of step ${run.steps[at]}`; // nearest to the slider of those that are stored
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
