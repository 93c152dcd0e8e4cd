import type { EcrApi } from "../../gateway/registry/upstream/ecr-api.ts";
import { Fault } from "../../lib/fault.ts";
import { type Problem, wrong } from "./finding.ts";

/** The repository that a look pushes to. */
export const REPOSITORY = "datagrok/berth-doctor";

/** What of ECR the role may not. Faults, for all but a denial: UPSTREAM_CREDENTIAL_FAILED. */
export async function deniedEcr(ecr: Pick<EcrApi, "token" | "digestOf">, signal: AbortSignal): Promise<Problem[]> {
  const calls = [() => ecr.token(signal), () => ecr.digestOf(REPOSITORY, "none", signal)];
  const problems: Problem[] = [];
  for (const call of calls) {
    try {
      await call();
    } catch (error) {
      // Its sentence names the action, and the role where AWS does.
      if (signal.aborted || !(error instanceof Fault) || !error.message.startsWith("AWS denies ")) throw error;
      problems.push(wrong(error.message, "Allow it to the role that berth runs with, as conf/ecs/policy.json does."));
    }
  }
  return problems;
}
