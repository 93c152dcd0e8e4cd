import { parseArgs } from "node:util";

export type Options = {
  /** Names of proxies and of workloads; all where none are named. */
  only: string[] | undefined;
  workloads: string[] | undefined;
  passes: number;
  seconds: number;
  /** Of one long body. */
  streamMb: number;
  /** Whether the page and the picture are written: only a whole run may replace them. */
  write: boolean;
};

export const HELP = `npm run bench:proxy -- [options]
  --only berth,nginx       these rows only
  --workloads get,ws125    these workloads only
  --passes 3               interleaved passes; medians are shown
  --seconds 2              of each pass of a workload that lasts so long as it is told to
  --stream-mb 1024         length of one long body
  --write                  writes the page although not everything was measured`;

export function readOptions(argv: string[]): Options {
  const { values } = parseArgs({
    args: argv,
    options: {
      only: { type: "string" },
      workloads: { type: "string" },
      passes: { type: "string", default: "3" },
      seconds: { type: "string", default: "2" },
      "stream-mb": { type: "string", default: "1024" },
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
    streamMb: Number(values["stream-mb"]),
    write: values.write || (only === undefined && workloads === undefined),
  };
}
