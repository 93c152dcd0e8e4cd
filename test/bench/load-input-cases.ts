import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { InputCase } from "./inputs/input-case.ts";

/** Those of all files in `inputs/`. */
export async function loadInputCases(): Promise<InputCase[]> {
  const folder = join(import.meta.dirname, "inputs");
  const cases: InputCase[] = [];
  for (const file of (await readdir(folder)).toSorted()) {
    const module = (await import(join(folder, file))) as { cases?: InputCase[] };
    cases.push(...(module.cases ?? []));
  }
  return cases;
}
