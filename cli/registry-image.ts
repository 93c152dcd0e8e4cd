import { runImage } from "../processes/distribution/image-run.ts";
import type { Here } from "./command-context.ts";

export const usage = "Usage: berth registry-image <argument>...";

/** `berth registry-image`, which berth's own registry asks for. */
export async function run({ args }: Here): Promise<number> {
  return runImage(args);
}
