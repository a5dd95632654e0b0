// MathJax as the book uses it: TeX to SVG, with MathML for screen readers, and no menu.
import {AssistiveMmlHandler} from "mathjax-full/ts/a11y/assistive-mml.ts";
import {browserAdaptor} from "mathjax-full/ts/adaptors/browserAdaptor.ts";
import {RegisterHTMLHandler} from "mathjax-full/ts/handlers/html.ts";
import {TeX} from "mathjax-full/ts/input/tex.ts";
import "mathjax-full/ts/input/tex/ams/AmsConfiguration.ts";
import "mathjax-full/ts/input/tex/base/BaseConfiguration.ts";
import "mathjax-full/ts/input/tex/configmacros/ConfigMacrosConfiguration.ts";
import {mathjax} from "mathjax-full/ts/mathjax.ts";
import {SVG} from "mathjax-full/ts/output/svg.ts";

const given = window.MathJax ?? {};
const typeset = async () => mathjax.document(document, {
  ...given.options,
  InputJax: new TeX({packages: ["base", "ams", "configmacros"], ...given.tex}),
  OutputJax: new SVG(given.svg),
}).render();
AssistiveMmlHandler(RegisterHTMLHandler(browserAdaptor()));
window.MathJax = {...given, startup: {promise: typeset()}};
