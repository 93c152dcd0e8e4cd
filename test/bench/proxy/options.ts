import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

export type BenchOptions = {
  /** Names of proxies and of workloads; all where none are named. */
  only: string[] | undefined;
  workloads: string[] | undefined;
  passes: number;
  seconds: number;
  /** Of one long body. */
  streamMb: number;
  /** The checkout whose gateway is measured. */
  berth: string;
  /** One more checkout, whose gateway is measured in between. */
  beside: string | undefined;
  /** Where berth's processes leave processor profiles, for Chromium's tools; it costs them a little. */
  profile: string | undefined;
  /** Whether the page and the picture are written: only a whole run may replace them. */
  write: boolean;
};

export const HELP = `npm run bench:proxy -- [options]
  --only berth,nginx       these rows only
  --workloads get,ws125    these only; beside those of the table: idle, serve, growth, workers
  --passes 3               interleaved passes; medians are shown
  --seconds 1              of each pass of a workload that has a set duration
  --stream-mb 1024         length of one long body
  --berth FOLDER           the gateway of another checkout, with this one's loads and peers
  --beside FOLDER          the gateway of one more checkout, as a row of its own: before and after in one run
  --profile FOLDER         leaves processor profiles of berth's rows there
  --write                  writes the page although not everything was measured`;

export function readOptions(argv: string[]): BenchOptions {
  const { values } = parseArgs({
    args: argv,
    options: {
      only: { type: "string" },
      workloads: { type: "string" },
      passes: { type: "string", default: "3" },
      seconds: { type: "string", default: "1" },
      "stream-mb": { type: "string", default: "1024" },
      berth: { type: "string", default: join(import.meta.dirname, "../../..") },
      beside: { type: "string" },
      profile: { type: "string" },
      write: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  const list = (text: string | undefined) => text?.split(",").map((name) => name.trim());
  const [only, workloads] = [list(values.only), list(values.workloads)];
  return {
    only,
    workloads,
    passes: Number(values.passes),
    seconds: Number(values.seconds),
    berth: resolve(values.berth),
    beside: values.beside === undefined ? undefined : resolve(values.beside),
    profile: values.profile === undefined ? undefined : resolve(values.profile),
    streamMb: Number(values["stream-mb"]),
    write: values.write || (only === undefined && workloads === undefined),
  };
}
