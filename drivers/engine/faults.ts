import { Fault } from "../../lib/fault.ts";
import { advisedFault, type DriverFaultCode } from "../faults.ts";

/** The first row that fits names the fault; a row without `status` or `text` does not ask for it. */
type EngineFaultRow = { code: DriverFaultCode; status?: number; text?: RegExp };

/** Whoever set the engine up may have an authorisation plugin decide on each call. */
const ACTION_DENIED: EngineFaultRow = { code: "ENGINE_ACTION_DENIED", text: /authorization denied by plugin/i };

/** What was being done decides how the engine's answer is read. */
export const READINGS = {
  control: [ACTION_DENIED],
  pull: [
    ACTION_DENIED,
    { code: "PULL_DENIED", text: /denied|unauthorized|forbidden|authentication required|no basic auth|\b40[13]\b/i },
    { code: "PULL_DENIED", status: 401 },
    { code: "PULL_DENIED", status: 403 },
    { code: "IMAGE_REFERENCE_INVALID", text: /invalid reference format|invalid repository name|repository name must be/i },
    { code: "NO_CAPACITY", text: /no space left on device/i },
    { code: "IMAGE_NOT_FOUND", text: /manifest unknown|name unknown|not found|no matching manifest/i },
    { code: "IMAGE_NOT_FOUND", status: 404 },
  ],
  start: [
    ACTION_DENIED,
    {
      code: "NO_CAPACITY",
      text: /no space left on device|cannot allocate memory|range of cpus|could not select device driver|fully subnetted|port is already allocated/i,
    },
    { code: "IMAGE_NOT_FOUND", status: 404, text: /no such image/i },
    { code: "CONTAINER_CRASHED", text: /executable file not found|exec format error|permission denied|no such file or directory|is a directory/i },
    { code: "SPEC_REFUSED", status: 400 },
  ],
} as const satisfies Record<string, readonly EngineFaultRow[]>;

export type Reading = keyof typeof READINGS;

/** Nobody is there, nobody answers, or it is not who it should be, where Node names no failed system call beside it. */
const UNREACHABLE = /^(ECONNRESET|EPROTO|ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HPE_)/;

/** An error of the engine's client, in the house's words; `doing` begins the sentence, such as "Stopping x", and `at` is the engine's address. */
export function engineFault(error: unknown, reading: Reading, doing: string, at = "its usual socket"): Fault {
  if (error instanceof Fault) return error;
  const { code, syscall, statusCode, message } = error as { code?: unknown; syscall?: string; statusCode?: number; message?: string };
  if (statusCode === undefined && typeof code === "string" && (syscall !== undefined || UNREACHABLE.test(code))) {
    const sentence = `${doing}: no container engine can be reached at ${at} (${code}). Is it running, and is DOCKER_HOST right?`;
    return new Fault("ENGINE_UNREACHABLE", sentence, { cause: error });
  }
  const said = saidBy(message ?? String(error));
  return advisedFault(readAnswer(reading, said, statusCode) ?? "ENGINE_FAILED", `${doing}: ${said}`, { cause: error });
}

/** What the engine's own sentence means, if it is one that the table knows. */
export function readAnswer(reading: Reading, said: string, statusCode?: number): DriverFaultCode | undefined {
  const rows: readonly EngineFaultRow[] = READINGS[reading];
  return rows.find(({ status, text }) => (status === undefined || status === statusCode) && (text === undefined || text.test(said)))?.code;
}

/** True where the engine answered with one of these statuses. */
export function answered(error: unknown, ...statuses: number[]): boolean {
  const from = error instanceof Fault ? error.cause : error;
  const status = (from as { statusCode?: unknown } | undefined)?.statusCode;
  return typeof status === "number" && statuses.includes(status);
}

/** The engine's own sentence, without the client's frame around it. */
function saidBy(message: string): string {
  return message
    .replace(/^\(HTTP code \d+\) .*? - /, "")
    .trim()
    .slice(0, 500);
}
