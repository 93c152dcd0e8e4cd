import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";

/** What is stored of an error: a fault as it is; anything else is a bug, which is logged here and told without detail. */
export function asFault(error: unknown, log: Log): Fault {
  if (error instanceof Fault) return error;
  log.error({ err: error }, "unexpected error");
  return new Fault("INTERNAL", "An internal error occurred.", { cause: error });
}
