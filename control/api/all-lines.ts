import type { ContainerView } from "../../gateway/directory.ts";
import type { FeedLine } from "../../gateway/wire.ts";

/** What one line of the feed comes to, in characters: a gateway gives up on one of 64 MiB, which 15 000 containers that failed with their last lines make. */
const LONG_ENOUGH = 1_048_576;

/** Every container, in lines of bounded length: at least one, so that a gateway of no containers is told, too. */
export function allLines(views: readonly ContainerView[], seq: number): FeedLine[] {
  const lines: ContainerView[][] = [];
  let line: ContainerView[] = [];
  let length = 0;
  for (const view of views) {
    line.push(view);
    length += JSON.stringify(view).length;
    if (length < LONG_ENOUGH) continue;
    lines.push(line);
    line = [];
    length = 0;
  }
  if (line.length > 0 || lines.length === 0) lines.push(line);
  return lines.map((containers, index) => ({ kind: "all", containers, seq, ...(index < lines.length - 1 ? { more: true } : {}) }));
}
