/* Puts the playable figures in their places: where a cell of a page has the tag
   `playable-NAME`, the figure of that name stands for the cell's image, which stays where
   scripts are off. */
"use strict";

(() => {
  const { FIGURES, GREY, short } = Figures;

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  function slider(name, [label, low, high, first, kind = ""], changed) {
    const log = kind.includes("log"), whole = kind.includes("whole");
    const [from, to, at] = [low, high, first].map((x) => (log ? Math.log(x) : x));
    const steps = !log && whole ? to - from : 400;
    const input = make("input", { type: "range", min: 0, max: steps, step: 1,
      value: Math.round((steps * (at - from)) / (to - from)), name });
    const output = make("output");
    const control = {
      element: make("label", {}, make("span", {}, label), input, output), input,
      value() {
        if (input.value === input.dataset.first) return first; // exactly
        const x = from + ((to - from) * input.value) / steps;
        const value = log ? Math.exp(x) : x;
        return whole ? Math.round(value) : Number(value.toPrecision(4));
      },
    };
    input.dataset.first = input.value;
    const tell = () => {
      output.value = short(control.value());
      input.setAttribute("aria-valuetext", output.value);
    };
    input.addEventListener("input", () => (tell(), changed()));
    tell();
    return control;
  }

  function panel({ title, square, marks, ...options }, width) {
    const height = square ? Math.min(width, 340) : 230;
    const axes = Object.fromEntries(["x", "y"].map((a) => [a,
      { labelAnchor: "center", labelArrow: "none", ...options[a] }]));
    const svg = Plot.plot({ marginLeft: 48, marginBottom: 36, marginRight: 20, ...options, ...axes,
      width, height, marks: [Plot.frame({ stroke: GREY, strokeOpacity: 0.4 }), ...marks] });
    for (const part of svg.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", title);
    return make("figure", {}, make("figcaption", {}, title), svg);
  }

  function show(figure, image) {
    let seed = 1, waiting = false, playing = null;
    const panels = make("div", { class: "panels" }), said = make("p", { role: "status" });
    const redraw = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        const given = Object.entries(controls).map(([name, one]) => [name, one.value()]);
        const drawn = figure.draw(Object.fromEntries(given), seed);
        const room = Math.floor(panels.clientWidth / 210);
        const columns = Math.max(1, Math.min(drawn.panels.length, room));
        panels.style.setProperty("--columns", columns);
        const width = Math.floor(panels.clientWidth / columns) - 8;
        panels.replaceChildren(...drawn.panels.map((one) => panel(one, width)));
        said.textContent = drawn.said;
      });
    };
    const controls = Object.fromEntries(Object.entries(figure.controls).map(
      ([name, options]) => [name, slider(name, options, redraw)]));
    const buttons = make("div", { class: "buttons" });
    const button = (label, act) => {
      const one = make("button", { type: "button" }, label);
      one.addEventListener("click", () => act(one));
      buttons.append(one);
    };
    const set = (input, value) => ((input.value = value), input.dispatchEvent(new Event("input")));
    if (figure.again) button(figure.again, () => (seed++, redraw()));
    if (controls.step) button("Play", (one) => {
      const { input } = controls.step;
      const stop = () => (clearInterval(playing), (playing = null), (one.textContent = "Play"));
      if (playing) return stop();
      if (input.value === input.max) set(input, 0);
      one.textContent = "Pause";
      playing = setInterval(() => (input.value === input.max ? stop()
        : set(input, Number(input.value) + 1)), 120);
    });
    button("Reset", () => {
      for (const { input } of Object.values(controls)) set(input, input.dataset.first);
    });
    const key = make("ul", { class: "key" }, ...figure.key.map(([color, label]) =>
      make("li", { style: `--mark: ${color}` }, label)));
    const group = make("div", { class: "playable", role: "group",
      "aria-label": "Figure with sliders", "aria-description": image.alt },
      make("div", { class: "controls" }, ...Object.values(controls).map((one) => one.element),
        buttons),
      panels, key, said);
    (image.closest("a") ?? image).replaceWith(group); // a link to the image
    let width = 0;
    new ResizeObserver(() => {
      if (panels.clientWidth !== width) ((width = panels.clientWidth), redraw());
    }).observe(panels);
    redraw();
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const [name, figure] of Object.entries(FIGURES)) {
      const image = document.querySelector(`.tag_playable-${name} figure img`);
      if (image) show(figure, image);
    }
  });
})();
