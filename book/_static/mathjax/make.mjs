// Writes mathjax.js: MathJax with the letters and signs that a book on mathematics needs.
import {readFileSync} from "node:fs";
import {basename} from "node:path";
import {build} from "esbuild";

const RANGES = [
  [0x0020, 0x20ff], // letters, Greek ones, marks
  [0x2300, 0x24ff], [0xe150, 0xe156], // parts of brackets and braces
  [0x1d400, 0x1d467], [0x1d538, 0x1d551], [0x1d6e2, 0x1d71b], // bold, italic, double-struck
];
const SIGNS = new Set("ℂℍℎℏℑℓℕ℘ℙℚℜℝℤℵ←↑→↓↔↕↖↗↘↙↦↩↪⇀⇌⇐⇑⇒⇓⇔⟵⟶⟷⟸⟹⟺"
  + "∀∂∃∅∆∇∈∉∋∏∐∑−∓∖∗∘∙√∝∞∠∣∤∥∦∧∨∩∪∫∬∭∮∴∵∼≀≃≅≈≍≐≠≡≤≥≪≫≲≳≺≻⪯⪰⩽⩾"
  + "⊂⊃⊆⊇⊊⊎⊕⊖⊗⊘⊙⊢⊣⊤⊥⊨⋀⋁⋂⋃⋄⋅⋆⋮⋯⋱⨁⨂⟨⟩□\ue000\ue001");
const WITHOUT = /fraktur|script|sans-serif|monospace|oldstyle|bold|italic|mathit/;

function isKept(font, point) {
  const isInRange = RANGES.some(([first, last]) => first <= point && point <= last);
  return !WITHOUT.test(font) && (isInRange || SIGNS.has(String.fromCodePoint(point)));
}

// The bars of a norm, which else are as small as what stands between them.
const SMALL_BARS = "sizes: [.602, 1], schar: [0, 0x2225], variants: [1, 0]";

const glyphs = {
  name: "glyphs",
  setup: ({onLoad}) => onLoad({filter: /fonts\/tex\/[\w-]+\.ts$/}, ({path}) => {
    const lines = readFileSync(path, "utf8").split("\n").filter(line => {
      const glyph = line.match(/^ {4}0x([0-9A-F]+): /);
      return !glyph || isKept(basename(path), parseInt(glyph[1], 16));
    });
    const contents = lines.join("\n")
      .replace(SMALL_BARS, "sizes: [1], schar: [0x2225], variants: [0]");
    return {contents, loader: "ts"};
  }),
};
// From its sources: of modules, what is not used is left out.
await build({
  entryPoints: ["typeset.js"], outfile: "mathjax.js", plugins: [glyphs],
  bundle: true, minify: true, format: "iife", legalComments: "none",
  tsconfigRaw: {compilerOptions: {useDefineForClassFields: false}},
});
