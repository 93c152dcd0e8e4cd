import type { Verbs } from "../verb.ts";
import { moveVerb } from "./move-all.ts";

export const verbs: Verbs = { "": moveVerb("stop", "stop containers, and wait until they have ended") };
