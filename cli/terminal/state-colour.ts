import type { Colour } from "./screen.ts";

/** Of the words for states, which tell themselves by how they begin. */
const BEGINNINGS: readonly (readonly [string, Colour])[] = [
  ["started", "green"],
  ["ready", "green"],
  ["error", "red"],
  ["stopped", "dim"],
  ["deleted", "dim"],
];

/** What is on its way to another state is yellow. */
export function stateColour(state: string): Colour {
  return BEGINNINGS.find(([beginning]) => state.startsWith(beginning))?.[1] ?? "yellow";
}
