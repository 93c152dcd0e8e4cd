import { type Lifecycle, type LifecycleOptions, openLifecycle } from "../../../control/lifecycle/open-lifecycle.ts";
import { openLog } from "../../../lib/log.ts";

const log = openLog({ level: "silent", name: "test" });

/** A lifecycle as models run it: without variables, chance and log. */
export async function openModelLifecycle(
  options: Pick<LifecycleOptions, "store" | "driver" | "clock" | "filesFolder" | "limits">,
): Promise<Lifecycle> {
  return openLifecycle({ ...options, log, environment: "test", injectedEnv: () => ({}), random: () => 0 });
}
