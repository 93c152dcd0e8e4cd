import { ownBuild } from "../lib/own-files.ts";
import about from "../package.json" with { type: "json" };

/** As package.json has it. */
export const VERSION: string = about.version;

/** `berth version` */
export async function run(): Promise<void> {
  const build = ownBuild();
  const from = build ? `commit ${build.commit} of ${build.built}, build ${build.bundle.slice(0, 12)}` : "from its source tree";
  console.log(`berth ${VERSION} (${from}; Node ${process.version}, ${process.platform}-${process.arch})`);
}
