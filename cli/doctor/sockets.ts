import { testFfi } from "../../gateway/connections/choose-sockets.ts";
import { type CheckContext, type CheckResult, warning } from "./check.ts";

/** How gateways on this machine read and write sockets, and whether `ffi` would work. */
export async function checkSockets({ settings, clock }: CheckContext): Promise<CheckResult> {
  const { sockets } = settings;
  const tested = await testFfi(clock);
  if (!("problem" in tested)) return { says: sockets === "ffi" ? "ffi" : "node; BERTH_SOCKETS=ffi would work here" };
  const { problem } = tested;
  if (sockets !== "ffi") return { says: `node; BERTH_SOCKETS=ffi would not work here: ${problem}` };
  const what = `BERTH_SOCKETS=ffi does not work here, so berth uses Node's sockets: ${problem}.`;
  return {
    says: "node",
    problems: [warning(what, "Set BERTH_SOCKETS=node, or start berth with the Node of its package and without --no-experimental-ffi.")],
  };
}
