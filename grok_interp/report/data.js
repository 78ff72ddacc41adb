// The numbers of the report: unpacked, and read as runs, checkpoints and neurons.
const byId = (id) => document.getElementById(id);
const MATRICES = ["a", "b", "out"];
const TAU = 2 * Math.PI;

const wrap = (x) => Math.PI - ((((Math.PI - x) % TAU) + TAU) % TAU);
const range = (n) => Array.from({ length: n }, (_, i) => i);
const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}
const text = (buffer) => new TextDecoder().decode(buffer);

// An array of the blob as a function of its indices, such as phase(checkpoint, matrix, neuron). Its numbers
// are stored between a least and a largest value, which each entry of the first axis has of its own.
function reader(blob, { offset, shape, bits, low, high }) {
  const count = shape.reduce((product, n) => product * n, 1);
  const codes = bits === 8 ? new Uint8Array(blob, offset, count) : new Uint16Array(blob, offset, count);
  const levels = 2 ** bits - 2;
  return (...at) => {
    const code = codes[at.reduce((place, i, axis) => place * shape[axis] + i, 0)];
    return code > levels ? NaN : low[at[0]] + (code * (high[at[0]] - low[at[0]])) / levels;
  };
}

// What is known of one run; `t` counts checkpoints, `s` those of which the weights are stored.
class Run {
  constructor(data, blob, constants) {
    Object.assign(this, data, { constants });
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
    const { edge, level } = this.constants;
    const square = seen((x) => (x >= -0.25 - edge && x < 0.25 - edge ? level : -level));
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
