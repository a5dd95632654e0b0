// Writes mathjax.js: MathJax with the letters and signs that a book on mathematics needs.
import {readFileSync} from "node:fs";
import {basename} from "node:path";
import {build} from "esbuild";

// Of the alphabets for mathematics: bold, italic, double-struck, and Greek bold and italic.
const ALPHABETS = [[0x1d400, 0x1d467], [0x1d538, 0x1d56b], [0x1d6a8, 0x1d71b]];
const WITHOUT = /fraktur|script|sans-serif|monospace|oldstyle|calligraphic-bold|mathit/;

function isKept(font, point) {
  if (WITHOUT.test(font) || (font.startsWith("bold") && point >= 0x2000)) return false;
  return point < 0x1d400 || ALPHABETS.some(([first, last]) => first <= point && point <= last);
}

const glyphs = {
  name: "glyphs",
  setup: ({onLoad}) => onLoad({filter: /svg\/fonts\/tex\/[\w-]+\.js$/}, ({path}) => {
    const lines = readFileSync(path, "utf8").split("\n").filter(line => {
      const glyph = line.match(/^ {4}0x([0-9A-F]+): /);
      return !glyph || isKept(basename(path), parseInt(glyph[1], 16));
    });
    return {contents: lines.join("\n")};
  }),
};
await build({
  entryPoints: ["typeset.js"], outfile: "mathjax.js", plugins: [glyphs],
  bundle: true, minify: true, format: "iife", legalComments: "none",
});
