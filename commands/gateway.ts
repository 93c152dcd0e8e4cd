import { runGateway } from "../roles/gateway.ts";
import { untilOver } from "../roles/until-told.ts";
import { begin, type Here, runtimeHere } from "./here.ts";
import { addressOf } from "./serve.ts";
import { VERSION } from "./version.ts";

/** `berth gateway`: alone, beside a control process or before a Datagrok server; or one of the processes of `berth serve`. */
export async function run(here: Here): Promise<void> {
  const { settings, log } = begin(here, "gateway");
  const runtime = runtimeHere(here, settings);
  const handle = await here.parent?.handle();
  await untilOver(async () => {
    const gateway = await runGateway({ settings, runtime, handle, clock: here.clock, log });
    if (gateway.port !== undefined) console.log(`berth ${VERSION} gateway at ${addressOf(settings, gateway.port)}`);
    return gateway;
  }, here.parent);
}
