import type { Verbs } from "../verb.ts";
export const verbs: Verbs = {};
