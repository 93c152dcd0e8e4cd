import type { Verbs } from "../verb.ts";
import { moveVerb } from "./move-all.ts";

export const verbs: Verbs = { "": moveVerb("run", "start containers, and wait until they answer") };
