import type { StartTimes } from "../contract.ts";

/** Says where the time of a wake-up went (W3C Server Timing); a part that the start did not have is left out. */
export function serverTiming(start: StartTimes | undefined, connectMs: number): string {
  const parts: [name: string, ms: number | undefined][] = [
    ["queue", start?.queue],
    ["pull", start?.pull],
    ["create", start?.create],
    ["boot", start?.boot],
    ["connect", connectMs],
  ];
  return parts.flatMap(([name, ms]) => (ms === undefined ? [] : [`${name};dur=${ms.toFixed(1)}`])).join(", ");
}
