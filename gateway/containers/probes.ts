import { includesIgnoringCase } from "../../lib/character-classes.ts";
import type { Head } from "../decision.ts";

/** Matches probes: requests that neither wake a container nor keep it awake. */
export type ProbeMatcher = (head: Pick<Head, "header">) => boolean;

/** `rules`: `header`, or `header:part of its value`, in any case. */
export function createProbeMatcher(rules: readonly string[]): ProbeMatcher {
  const parsed = rules.map((rule) => {
    const [name = "", ...part] = rule.toLowerCase().split(":");
    return { name: name.trim(), part: part.join(":").trim() };
  });
  return (head) => {
    for (const { name, part } of parsed) {
      const value = head.header(name);
      if (value !== undefined && includesIgnoringCase(value, part)) return true;
    }
    return false;
  };
}
