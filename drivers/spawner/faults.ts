import { Fault, type FaultCode } from "../../lib/fault.ts";
import { parseJson } from "../../lib/parse-json.ts";
import { faultOff } from "./wire.ts";

/** Faults of the spawner about this client, not about a container, as faults for the administrator of this side. */
const OURS: Partial<Record<FaultCode, { code: FaultCode; advice: string }>> = {
  TOKEN_MISSING: { code: "ENGINE_ACTION_DENIED", advice: "Set dockerSettings.spawnerAuthMode, and grokSpawnerApiKey where it is `password`." },
  TOKEN_INVALID: {
    code: "ENGINE_ACTION_DENIED",
    advice: "Is dockerSettings.grokSpawnerApiKey its X_API_KEY, or where spawnerAuthMode is `jwt`, its DATAGROK_URL this server?",
  },
  TOKEN_KEYS_UNKNOWN: { code: "ENGINE_FAILED", advice: "It verifies this server's tokens with the keys at its DATAGROK_URL." },
  REQUEST_INVALID: { code: "SPEC_REFUSED", advice: "" },
  BODY_TOO_LARGE: { code: "SPEC_REFUSED", advice: "" },
  ROUTE_NOT_FOUND: { code: "ENGINE_FAILED", advice: "Is it another version?" },
  SPAWNER_BUSY: { code: "ENGINE_FAILED", advice: "" },
  INTERNAL: { code: "ENGINE_FAILED", advice: "" },
};

/** A fault of a spawner's response or of its last line. Faults of its driver stay as they are, with the container's log tail. */
export function remoteFault(fault: Fault, doing: string, at: string): Fault {
  const ours = OURS[fault.code];
  if (!ours) return fault;
  const sentence = `${doing}: the spawner at ${at} refused: ${fault.message.replace(/\.$/, "")}. ${ours.advice}`;
  return new Fault(ours.code, sentence.trim(), { cause: fault, retryAfterMs: fault.retryAfterMs });
}

/** The fault of a response that is no success. */
export function answerFault(status: number, text: string, doing: string, at: string): Fault {
  const fault = faultOff(parseJson(text));
  if (fault) return remoteFault(fault, doing, at);
  return new Fault("ENGINE_FAILED", `${doing}: ${at} answered ${status}, and not as a berth spawner does.`);
}

/** A connection failed or broke off. */
export function brokenOff(error: unknown, doing: string, at: string): Fault {
  return new Fault(
    "ENGINE_UNREACHABLE",
    `${doing}: the spawner at ${at} cannot be reached (${codeOf(error)}). Does it run, and are dockerSettings.grokSpawnerHost and grokSpawnerPort right?`,
    { cause: error },
  );
}

/** Node's codes for the end of an open connection. */
const CUT_OFF = ["ECONNRESET", "EPIPE", "ERR_STREAM_PREMATURE_CLOSE"];

/** True if the spawner was reached and may have begun the work. */
export function brokeOffAfterConnect({ cause }: Fault): boolean {
  return CUT_OFF.includes(codeOf(cause));
}

/** Searches the causes of an error, and of an `AggregateError` the first error. */
function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "no reason given";
  if ("code" in error && typeof error.code === "string") return error.code;
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  return error.cause === undefined ? error.message.slice(0, 100) : codeOf(error.cause);
}
