/* The playable figures, by name. Each has `controls` (name: [label, low, high, at first, kind];
   of the kinds "log" is a logarithmic slider and "whole" one of whole numbers; one called
   `step` can be played), a button that draws `again`, a `key` of its colours, and `draw`: from
   the values of the controls and a seed to the `panels`, options of Plot.plot, and what is
   `said` of them. `sliders.js` shows them. */
"use strict";

const Figures = (() => {
  const [C0, C1, C2, C3, GREY] = ["0", "1", "2", "3", "theory"].map((c) => `var(--mark-${c})`);
  const { line, dot, arrow, rectY, areaY, ruleX, ruleY, text } = Plot;
  const range = (n, first = 0, last = n - 1) =>
    Array.from({ length: n }, (_, i) => first + ((last - first) * i) / Math.max(n - 1, 1));
  const powers = (n, first, last) => range(n, Math.log(first), Math.log(last)).map(Math.exp);
  const short = (x) => (x === 0 || (Math.abs(x) >= 0.001 && Math.abs(x) < 1e5)
    ? String(Number(x.toPrecision(3))) : x.toExponential(1));

  /* The same normal numbers for the same seed, so that a slider changes nothing else. */
  function normals(seed) {
    let state = (seed * 2654435761 + 1) >>> 0;
    const uniform = () => { // mulberry32
      let t = (state = (state + 0x6d2b79f5) >>> 0);
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  }

  const bell = (x, variance) =>
    Math.exp((-x * x) / (2 * variance)) / Math.sqrt(2 * Math.PI * variance);

  /* Bars of a histogram, as a density. */
  function bars(values, low, high, many) {
    const counts = new Array(many).fill(0), wide = (high - low) / many;
    for (const v of values) if (v >= low && v < high) counts[Math.floor((v - low) / wide)]++;
    return counts.map((c, i) =>
      ({ x1: low + i * wide, x2: low + (i + 1) * wide, y: c / values.length / wide }));
  }
  const histogram = (rows, color) =>
    rectY(rows, { x1: "x1", x2: "x2", y: "y", fill: color, fillOpacity: 0.45, inset: 0 });
  /* Points of a line as one path: thousands of them are drawn at once. */
  const specks = (path) => ({ lineStart() {}, lineEnd() {},
    point: (x, y) => (path.moveTo(x, y), path.lineTo(x + 0.01, y)) });
  const dashed = { strokeDasharray: "5 3", strokeWidth: 1.6 };
  const theory = { stroke: GREY, strokeWidth: 2 }, limitLine = { stroke: C1, strokeWidth: 2 };
  const here = { stroke: GREY, strokeDasharray: "1 3" };
  const curve = (xs, of, style) => line(xs, { x: (x) => x, y: of, ...style });
  const series = (rows, style) => line(rows, { x: (_, k) => k, y: (value) => value, ...style });
  const POWER = { type: "log", ticks: 4,
    tickFormat: (d) => (d < 0.001 ? d.toExponential(0) : String(d)) };
  const WEIGHT = "weight θ (no unit)", UNIT = { domain: [0, 1], label: WEIGHT };

  const FIGURES = {};

  FIGURES.quadratic = {
    controls: {
      rate: ["learning rate η", 0.01, 4, 0.3, "log"],
      momentum: ["momentum β", 0, 0.98, 0.5],
      curvature: ["curvature of the loss ρ", 0.05, 5, 1, "log"],
      decay: ["weight decay λ", 0, 0.5, 0],
      noise: ["noise √s of a minibatch", 0, 2, 1],
    },
    again: "New noise",
    draw({ rate, momentum, curvature, decay, noise }, seed) {
      const h = curvature + decay, limit = Theory.limit(h, momentum), steps = 150, start = 3;
      const stable = rate < limit, random = normals(seed), variance = noise ** 2;
      let state = [start, 0];
      const path = [start], settled = [];
      for (let k = 1; k <= 4000 && Math.abs(state[0]) < 1e6; k++) {
        state = Theory.step(state, h, rate, momentum, noise * random());
        if (k <= steps) path.push(state[0]);
        if (k > 200) settled.push(state[0]);
      }
      const exact = stable ? Theory.stationary(h, rate, variance, momentum).position : NaN;
      const langevin = Theory.limiting(h, rate, variance, momentum).position;
      const wide = 1.2 * Math.max(3.2 * Math.sqrt(Math.max(exact || 0, langevin)), start, 0.1);
      const moments = Theory.moments(h, rate, variance, momentum, start, steps);
      const bands = moments.map((m, k) =>
        ({ k, y1: m.mean - 1.96 * Math.sqrt(m.variance), y2: m.mean + 1.96 * Math.sqrt(m.variance) }));
      const grid = range(161, -wide, wide), rates = powers(120, 0.01, Math.min(4, 0.999 * limit));
      const level = (of) => (r) => Math.sqrt(of(h, r, variance, momentum).position);
      const lasting = Math.sqrt(Math.max(exact, 0));
      return {
        panels: [
          { title: "One run, from θ = 3", x: { label: "step" },
            y: { domain: [-wide, wide], label: WEIGHT }, marks: [
              areaY(bands, { x: "k", y1: "y1", y2: "y2", fill: C0, fillOpacity: 0.18, clip: true }),
              series(path, { stroke: C0, clip: true }), ruleY([0])] },
          { title: "Where it stays", x: { domain: [-wide, wide], label: WEIGHT },
            y: { label: "density" }, marks: stable && noise ? [
              histogram(bars(settled, -wide, wide, 40), C0),
              curve(grid, (x) => bell(x, exact), theory),
              curve(grid, (x) => bell(x, langevin), { stroke: C3, ...dashed }),
            ] : [text([stable ? "no noise: a point" : "no stationary law"],
              { frameAnchor: "middle", fontSize: 13 })] },
          { title: "Stationary deviation",
            x: { ...POWER, domain: [0.01, 4], label: "learning rate η" },
            y: { ...POWER, label: "√Var θ" }, marks: noise ? [
              curve(rates, level(Theory.stationary), theory),
              curve(rates, level(Theory.limiting), { stroke: C3, ...dashed }),
              ruleX(limit < 4 ? [limit] : [], limitLine),
              dot(stable ? [rate] : [], { x: (x) => x, y: () => lasting, fill: C0, r: 5 }),
            ] : [text(["no noise: no deviation"], { frameAnchor: "middle", fontSize: 13 })] },
        ],
        said: stable
          ? `Stable: below η = 2(1+β)/h = ${short(limit)}. Stationary deviation of the weight: `
            + `${short(lasting)} exactly, ${short(Math.sqrt(langevin))} by the Langevin equation`
            + (noise ? `, ${short(100 * (1 - Math.sqrt(langevin / exact)))} % less.` : ".")
          : `Unstable: η is not below 2(1+β)/h = ${short(limit)}. There is no stationary law.`,
      };
    },
    key: [[C0, "simulated; band: mean ± 1.96 deviations"], [GREY, "exact theory"],
      [C3, "Langevin equation"], [C1, "stability limit"]],
  };

  FIGURES.norm = {
    controls: {
      batches: ["minibatches M", 2, 128, 8, "log whole"],
      noise: ["noise σ", 0, 3, 1],
      signal: ["true norm ‖∇f‖", 0, 1, 0.2],
    },
    again: "Measure again",
    draw({ batches, noise, signal }, seed) {
      const random = normals(seed), directions = 20, size = noise / Math.sqrt(directions);
      const found = range(150).map(() => Theory.squares(range(batches).map(() =>
        range(directions).map((i) => (i ? 0 : signal) + size * random()))));
      const sizes = powers(60, 2, 128), top = 1.15 * Theory.naive(signal, noise, 2) || 1;
      const rows = sizes.map((m) => {
        const spread = Theory.spread(signal, noise, m, directions);
        return { m, naive: Theory.naive(signal, noise, m),
          low: signal ** 2 - spread, high: signal ** 2 + spread };
      });
      const all = found.flatMap((f) => [f.naive, f.unbiased]);
      const ends = [Math.min(0, ...all), Math.max(...all, 1e-3) * 1.02], truth = signal ** 2;
      const mean = (of) => found.reduce((s, f) => s + f[of], 0) / found.length;
      const cut = found.filter((f) => f.unbiased < 0).length;
      return {
        panels: [
          { title: "By theory", x: { type: "log", base: 2, label: "minibatches M", tickFormat: "~d" },
            y: { label: "squared norm", domain: [Math.min(...rows.map((r) => r.low)), top] },
            color: { domain: ["naive", "unbiased"], range: [C1, C0] }, marks: [
              areaY(rows, { x: "m", y1: "low", y2: "high", fill: C0, fillOpacity: 0.18 }),
              line(rows, { x: "m", y: "naive", stroke: C1, ...dashed }),
              ruleY([truth], theory), ruleX([batches], here),
              dot(["naive", "unbiased"], { x: () => batches, y: mean, fill: (d) => d, r: 5 })] },
          { title: "150 measurements", x: { label: "squared norm", domain: ends, ticks: 5 },
            y: { label: "density" }, marks: [
              histogram(bars(found.map((f) => f.naive), ...ends, 40), C1),
              histogram(bars(found.map((f) => f.unbiased), ...ends, 40), C0),
              ruleX([truth], theory)] },
        ],
        said: `True square ${short(truth)}. Mean of the naive square: ${short(mean("naive"))}, by `
          + `theory ${short(Theory.naive(signal, noise, batches))}. Mean of the unbiased one: `
          + `${short(mean("unbiased"))}; ${cut} of 150 are negative.`,
      };
    },
    key: [[C1, "naive"], [C0, "unbiased; band: one deviation"], [GREY, "truth"]],
  };

  FIGURES.descent = {
    controls: {
      rate: ["learning rate η", 0.3, 1, 1],
      start: ["start θ₀", 0.01, 0.99, 0.123],
      steps: ["steps T", 10, 20000, 2000, "log whole"],
    },
    attractor: range(141, 0.3, 1).flatMap((rate) => {
      let x = 0.123;
      for (let k = 0; k < 500; k++) x = Theory.descent(x, rate);
      return range(20).map(() => [rate, (x = Theory.descent(x, rate))]);
    }),
    draw({ rate, start, steps }) {
      const path = [start];
      let slope = 0, stretch = 0;
      for (let k = 1; k <= steps; k++) {
        const x = path[k - 1];
        slope += (4 * x * x - 3 * x) ** 2 / steps;
        stretch += Math.log(Math.max(Math.abs(1 - rate * (8 * x - 3)), 1e-300)) / steps;
        path.push(Theory.descent(x, rate));
      }
      const last = path.slice(-80), from = path.length - last.length;
      const density = bars(path, 0, 1.0001, 50), grid = range(197, 0.004, 0.996);
      return {
        panels: [
          { title: "The last iterates", x: { label: "step", ticks: 4 }, y: UNIT, marks: [
            line(last, { x: (_, k) => from + k, y: (x) => x, stroke: C0, strokeWidth: 0.7 }),
            dot(last, { x: (_, k) => from + k, y: (x) => x, fill: C0, r: 2 })] },
          { title: "Histogram of all", x: UNIT,
            y: { label: "density", domain: rate === 1 ? [0, 6] : undefined }, marks: [
              histogram(density, C0),
              curve(rate === 1 ? grid : [], Theory.arcsine, theory)] },
          { title: "Where each η ends", x: { domain: [0.3, 1], label: "learning rate η" }, y: UNIT,
            marks: [
              line(FIGURES.descent.attractor, { x: "0", y: "1", curve: specks, stroke: GREY,
                strokeLinecap: "round", strokeWidth: 1.2 }),
              ruleX([2 / 3], limitLine), ruleX([rate], { stroke: C0, strokeWidth: 2 })] },
        ],
        said: `Root mean square of the gradient: ${short(Math.sqrt(slope))}. A small distance of two `
          + `runs is multiplied by ${short(Math.exp(stretch))} a step on average: they `
          + (stretch > 0 ? "part, and the run is chaotic." : "meet."),
      };
    },
    key: [[C0, "the run"], [GREY, "arcsine law, at η = 1; right: last iterates"],
      [C1, "η = 2/f″ at the minimum"]],
  };

  FIGURES.phase = {
    controls: {
      momentum: ["momentum β", 0.3, 0.98, 0.9],
      share: ["learning rate × curvature, ηh", 0.001, 1, 0.1, "log"],
      step: ["step", 0, 60, 0, "whole"],
    },
    again: "New ensemble",
    draw({ momentum, share, step }, seed) {
      const random = normals(seed), law = Theory.stationary(share, 1, 1, momentum); // η = 1
      const [p, v] = [Math.sqrt(law.position), Math.sqrt(law.velocity)];
      const along = law.cross / p, across = Math.sqrt(law.velocity - along ** 2);
      const copies = range(150).map(() => {
        const [a, b] = [random(), random()];
        return { first: a > 0 ? "right" : "left", path: [[p * a, along * a + across * b]] };
      });
      for (const one of copies) {
        for (let k = 1; k <= 60; k++) // all, so that a step more changes no number before
          one.path.push(Theory.step(one.path[k - 1], share, 1, momentum, random()));
      }
      const { regime, friction, natural } = Theory.damping(share, 1, momentum);
      const turn = Theory.turn(share, 1, momentum), places = range(7, -2.4, 2.4);
      const field = places.flatMap((x) => places.map((y) => [x, y]))
        .filter(([x, y]) => x * x + y * y < 6.5);
      const near = copies[0].path.slice(Math.max(0, step - 20), step + 1);
      const axis = (label) => ({ domain: [-3.3, 3.3], label, ticks: 5 });
      const mean = range(61).map((k) => copies.reduce((s, c) =>
        s + (c.first === "right" ? 1 : -1) * c.path[k][0], 0) / copies.length / p);
      return {
        panels: [
          { title: "Phase space", square: true, x: axis("position / its deviation"),
            y: axis("velocity / its deviation"),
            color: { domain: ["right", "left"], range: [C3, C0] }, marks: [
              arrow(field, { x1: "0", y1: "1", x2: ([x, y]) => x + 0.17 * y,
                y2: ([x, y]) => y - 0.17 * x, stroke: GREY, headLength: 5, strokeOpacity: 0.7 }),
              line(near, { x: (s) => s[0] / p, y: (s) => s[1] / v, stroke: C2, strokeWidth: 1.5 }),
              dot(copies, { x: (c) => c.path[step][0] / p, y: (c) => c.path[step][1] / v,
                fill: "first", r: 3, clip: true })] },
          { title: "Mean position of the two colours", x: { label: "step", domain: [0, 60] },
            y: { label: "position / its deviation", domain: [-1, 1] }, marks: [
              ruleY([0]), ruleX([step], here),
              series(mean, { stroke: C3, strokeWidth: 2 }),
              series(mean.map((m) => -m), { stroke: C0, strokeWidth: 2 })] },
        ],
        said: `${regime[0].toUpperCase()}${regime.slice(1)}: friction γ = ${short(friction)}, natural `
          + `frequency ω = ${short(natural)} a step. The current turns by ${short(turn)} radians a `
          + `step, the ensemble by ${short(Theory.rotation(share, 1, momentum))}.`,
      };
    },
    key: [[C3, "started at the right"], [C0, "at the left"], [C2, "one copy, 20 steps"],
      [GREY, "current of the theory, enlarged"]],
  };

  FIGURES.numbers = {
    controls: {
      rate: ["learning rate η of stage 1", 0.001, 1, 0.1, "log"],
      decay: ["weight decay λ", 1e-6, 0.02, 5e-4, "log"],
      momentum: ["momentum β", 0, 0.99, 0.9],
      batch: ["batch size", 8, 4096, 128, "log whole"],
      examples: ["training examples", 1000, 1281167, 50000, "log whole"],
      epochs: ["epochs a stage", 1, 300, 30, "log whole"],
      curvature: ["top curvature h₁ in stage 1", 0.1, 200, 20, "log"],
    },
    draw(given) {
      const stages = [1, 0.1, 0.01].map((part) => ({ ...given, rate: given.rate * part }));
      const mine = stages.map((s) => ({ ...s, ...Theory.numbers(s) }));
      const theirs = Theory.papers.map((s) => ({ ...s, ...Theory.numbers(s) }));
      const alike = (a, b) => Math.max(a / b, b / a) < Theory.match;
      const model = mine.every((m, i) => alike(m.memories, theirs[i].memories));
      const friction = powers(60, 0.001, 1);
      const tops = stages.map((s) => ({ step: s.rate * given.curvature }));
      const regimes = tops.map((t) => (t.step >= Theory.limit(1, given.momentum) ? "unstable"
        : Theory.damping(t.step, 1, given.momentum).regime));
      const told = (words) => (new Set(words).size > 1 ? words.join(", ") : `all ${words[0]}`);
      return {
        panels: [
          { title: "The clock of the weights",
            x: { ...POWER, domain: [1e-4, 1000], label: "memories in the stage, ηλT/(1−β)" },
            y: { ...POWER, domain: [1e-4, 0.3], label: "turn a step, √(2ηλ/(1−β))" }, marks: [
              ruleX([1], here),
              ...theirs.map((t) => line([1 / Theory.match, Theory.match], {
                x: (f) => f * t.memories, y: () => t.angle, stroke: GREY, strokeWidth: 10,
                strokeOpacity: 0.35 })),
              dot(theirs, { x: "memories", y: "angle", symbol: "square", fill: GREY, r: 4 }),
              text(theirs, { x: "memories", y: "angle", text: "mark", dy: -14 }),
              line(mine, { x: "memories", y: "angle", stroke: C0, strokeWidth: 0.8, clip: true }),
              dot(mine, { x: "memories", y: "angle", fill: C0, r: 5, clip: true })] },
          { title: "Damping of the top direction",
            x: { ...POWER, domain: [0.001, 1], label: "friction, 1−β" },
            y: { ...POWER, domain: [1e-6, 20], label: "ηh₁ (no unit)" }, marks: [
              curve(friction, (f) => f ** 2 / (2 * (2 - f)), { stroke: C3, clip: true, ...dashed }),
              curve(friction, (f) => Theory.limit(1, 1 - f), limitLine),
              dot(tops, { x: () => 1 - given.momentum, y: "step", fill: C0, r: 5, clip: true })] },
        ],
        said: `Memories in the three stages (η, η/10, η/100): ${mine.map((m) => short(m.memories)).join(", ")}: `
          + `${told(mine.map((m) => (m.memories > 1 ? "long" : "short")))} on the clock of the weights. `
          + (model ? "A scale model of the run of Zhang et al. "
            : "An analogue of the run of Zhang et al., no scale model. ")
          + `In the top direction they are ${told(regimes)}; an epoch has ${short(mine[0].order)} memories of momentum.`,
      };
    },
    key: [[C0, "your run, three stages"],
      [GREY, "the papers' runs, to a factor of two: Z1 to Z3, Kunin"],
      [C3, "critical damping"], [C1, "stability limit"]],
  };

  return { FIGURES, GREY, short };
})();
