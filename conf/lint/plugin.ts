/** berth's own rules for oxlint. */
import { layers } from "./layers.ts";
import { linearRegexp } from "./linear-regexp.ts";

const plugin = { meta: { name: "berth" }, rules: { "linear-regexp": linearRegexp, layers } };

export default plugin;
