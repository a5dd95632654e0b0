// MathJax as the book uses it: TeX to SVG, with MathML for screen readers, and no menu.
import {AssistiveMmlHandler} from "mathjax-full/js/a11y/assistive-mml.js";
import {browserAdaptor} from "mathjax-full/js/adaptors/browserAdaptor.js";
import {RegisterHTMLHandler} from "mathjax-full/js/handlers/html.js";
import {TeX} from "mathjax-full/js/input/tex.js";
import "mathjax-full/js/input/tex/ams/AmsConfiguration.js";
import "mathjax-full/js/input/tex/base/BaseConfiguration.js";
import "mathjax-full/js/input/tex/configmacros/ConfigMacrosConfiguration.js";
import {mathjax} from "mathjax-full/js/mathjax.js";
import {SVG} from "mathjax-full/js/output/svg.js";

const given = window.MathJax ?? {};
const typeset = async () => mathjax.document(document, {
  ...given.options,
  InputJax: new TeX({packages: ["base", "ams", "configmacros"], ...given.tex}),
  OutputJax: new SVG(given.svg),
}).render();
AssistiveMmlHandler(RegisterHTMLHandler(browserAdaptor()));
window.MathJax = {...given, startup: {promise: typeset()}};
