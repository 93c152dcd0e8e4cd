import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { LoadResult } from "./plan.ts";
import { PREFIX, type BenchWorld } from "../world.ts";

/** As many requests at once as wrk's connections have. */
const CONNECTIONS = 8;
const STREAMS = 8;

/** nghttp2's load: each request to another container, all with one key. */
export const h2load = {
  load: ({ world, port, seconds }: { world: BenchWorld; port: number; seconds: number | "endless" }) => {
    const file = join(world.folder, `h2-targets-${port}.txt`);
    const targets = world.ids.slice(0, world.fixed).map((id) => `https://127.0.0.1:${port}${PREFIX}${id}/small`);
    writeFileSync(file, targets.join("\n"));
    const limits = [`-c${CONNECTIONS}`, `-m${STREAMS}`, "-t1", `-D${seconds}`];
    return { argv: ["h2load", ...limits, "--alpn-list=h2", "-H", `authorization: ${world.keys[0]}`, "-i", file] };
  },
  read: (output: string): LoadResult => {
    const number = (pattern: RegExp) => Number(pattern.exec(output)?.[1] ?? Number.NaN);
    if (!/^Application protocol: h2$/m.test(output)) throw new Error(`no HTTP/2: ${output.slice(-300)}`);
    const [succeeded, ok] = [number(/(\d+) succeeded/), number(/status codes: (\d+) 2xx/)];
    if (!(succeeded > 0) || ok < succeeded) throw new Error(`${succeeded - ok} of ${succeeded} answers were refusals: ${output.slice(-400)}`);
    // Those that are open when the time is over may count as failed.
    if (number(/(\d+) failed/) > CONNECTIONS * STREAMS) throw new Error(`requests failed: ${output.slice(-400)}`);
    return { count: succeeded, seconds: number(/finished in ([\d.]+)s/) };
  },
};
