// The icons of the theme's buttons, of the buttons that publishing adds, and of hosts of code.
import {dom, library} from "@fortawesome/fontawesome-svg-core";
import {faBitbucket, faGithub, faGitlab} from "@fortawesome/free-brands-svg-icons";
import {
  faAngleLeft, faAngleRight, faArrowUp, faBars, faChevronDown, faCircleHalfStroke, faCode,
  faDownload, faExpand, faFile, faFileLines, faFilePdf, faHome, faLightbulb, faList,
  faMagnifyingGlass, faMoon, faOutdent, faPencil, faPlay, faQuoteRight, faRocket, faSun,
} from "@fortawesome/free-solid-svg-icons";

library.add(
  faAngleLeft, faAngleRight, faArrowUp, faBars, faBitbucket, faChevronDown, faCircleHalfStroke,
  faCode, faDownload, faExpand, faFile, faFileLines, faFilePdf, faGithub, faGitlab, faHome,
  faLightbulb, faList, faMagnifyingGlass, faMoon, faOutdent, faPencil, faPlay, faQuoteRight,
  faRocket, faSun,
);
dom.watch();
