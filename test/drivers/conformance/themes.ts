import { COMMANDS } from "./commands.ts";
import { FAILURES } from "./failures.ts";
import type { ConformanceCase, ConformanceTheme } from "./harness.ts";
import { LIFE } from "./life.ts";
import { OUTSIDE } from "./outside.ts";
import { PAUSED } from "./paused.ts";
import { READINESS } from "./readiness.ts";

/** All that the kit asks, in its order. */
export const THEMES: readonly ConformanceTheme[] = [LIFE, READINESS, FAILURES, OUTSIDE, PAUSED, COMMANDS];

export const CASES: readonly ConformanceCase[] = THEMES.flatMap(({ cases }) => cases);
