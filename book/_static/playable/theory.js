/* The formulas of the playable figures: those of the library, which a test holds them
   against. One direction of curvature h (decay included), learning rate, momentum, and
   gradient noise of a variance a step: see stationarity.theory. */
"use strict";

const Theory = {
  /* The learning rate below which a quadratic has a stationary law. */
  limit: (h, momentum) => (2 * (1 + momentum)) / h,

  /* Exact variances of position and velocity, and their covariance, of SGD. */
  stationary(h, rate, variance, momentum) {
    const velocity =
      variance / (1 - momentum ** 2) / (1 - (rate * h) / (2 * (1 + momentum)));
    const position = (velocity * rate * (1 + momentum)) / (2 * h);
    return { position, velocity, cross: (velocity * rate) / 2 };
  },

  /* The same by the Langevin equation: of continuous time. */
  limiting(h, rate, variance, momentum) {
    const velocity = variance / (1 - momentum ** 2);
    return { position: (velocity * rate * (1 + momentum)) / (2 * h), velocity, cross: 0 };
  },

  /* One step of (position, velocity). */
  step([position, velocity], h, rate, momentum, noise = 0) {
    const next = momentum * velocity - h * position - noise;
    return [position + rate * next, next];
  },

  /* Mean and variance of the position at steps 0 to `steps`, from a start at rest. */
  moments(h, rate, variance, momentum, start, steps) {
    let mean = [start, 0], [a, b, c] = [0, 0, 0]; // covariances: of position, both, velocity
    const found = [{ mean: start, variance: 0 }];
    for (let k = 1; k <= steps; k++) {
      mean = Theory.step(mean, h, rate, momentum);
      const next = h * h * a - 2 * h * momentum * b + momentum ** 2 * c + variance;
      const both = momentum * b - h * a;
      [a, b, c] = [a + 2 * rate * both + rate ** 2 * next, both + rate * next, next];
      found.push({ mean: mean[0], variance: a });
    }
    return found;
  },

  /* How the Langevin equation is damped: rates per unit of time, a step being `rate`. */
  damping(h, rate, momentum) {
    const mass = (rate * (1 + momentum)) / 2;
    const [friction, natural] = [(1 - momentum) / (2 * mass), Math.sqrt(h / mass)];
    const regime = natural > friction ? "underdamped" : "overdamped";
    return { friction, natural, regime };
  },

  /* The angle by which a stationary ensemble turns in a step, exactly and by the current. */
  rotation: (h, rate, momentum) =>
    Math.sqrt(rate * h * (2 * (1 + momentum) - rate * h)) / 2,
  turn: (h, rate, momentum) => rate * Theory.damping(h, rate, momentum).natural,

  /* Mean of the naive squared norm; spread of the unbiased one, whose mean is the square
     of the signal, with Gaussian noise spread evenly over some directions. */
  naive: (signal, noise, batches) => signal ** 2 + noise ** 2 / batches,
  spread(signal, noise, batches, directions) {
    const linear = (4 * signal ** 2 * noise ** 2) / (directions * batches);
    return Math.sqrt(linear + (2 * noise ** 4) / (directions * batches * (batches - 1)));
  },

  /* Both squared norms of measured gradients: M of them, each a list of numbers. */
  squares(gradients) {
    const many = gradients.length;
    const mean = gradients[0].map((_, i) => gradients.reduce((s, g) => s + g[i], 0) / many);
    const naive = mean.reduce((sum, m) => sum + m * m, 0);
    const noise = gradients.reduce(
      (sum, g) => sum + g.reduce((s, one, i) => s + (one - mean[i]) ** 2, 0), 0);
    return { naive, unbiased: naive - noise / (many - 1) / many };
  },

  /* Descent on f(x) = 4 x^3 / 3 - 3 x^2 / 2, and the density that it keeps at rate 1. */
  descent: (x, rate) => x - rate * (4 * x * x - 3 * x),
  arcsine: (x) => 1 / (Math.PI * Math.sqrt(x * (1 - x))),

  /* Numbers without units of a stage of so many epochs. */
  numbers({ rate, decay, momentum, batch, examples, epochs }) {
    const perEpoch = Math.floor(examples / batch);
    const forgetting = (rate * decay) / (1 - momentum);
    return {
      memories: forgetting * perEpoch * epochs,
      angle: Math.sqrt(2 * forgetting),
      order: (1 - momentum) * perEpoch,
    };
  },

  /* What the last figure compares with: settings of the papers' runs. */
  papers: [
    { mark: "Z1", rate: 0.1, epochs: 30 },
    { mark: "Z2", rate: 0.01, epochs: 30 },
    { mark: "Z3", rate: 0.001, epochs: 30 },
    { mark: "Kunin", rate: 1e-4, epochs: 10 },
  ].map((run) => ({ ...run, decay: 1e-4, momentum: 0.9, batch: 256, examples: 1281167 })),
  match: 2, // numbers match within this factor
};

if (typeof module !== "undefined") module.exports = Theory;
