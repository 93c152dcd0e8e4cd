import { Fault } from "../../lib/fault.ts";
import { adviceOnExec, advisedFault, type DriverFaultCode } from "../faults.ts";
import { gpuFault } from "../gpu.ts";

/** The first row that fits names the fault. `status` and `text` are conditions if present. */
type EngineFaultRow = { code: DriverFaultCode; status?: number; text?: RegExp };

/** The engine has no driver for GPUs, or the NVIDIA container toolkit finds no GPU. */
const NO_GPU = /could not select device driver|nvidia-container-cli|nvidia-container-runtime/i;

/** An authorization plugin of the engine may decide on each call. */
const ACTION_DENIED: EngineFaultRow = { code: "ENGINE_ACTION_DENIED", text: /authorization denied by plugin/i };

/** The rows for an error of the engine, by the kind of the call. */
const ERROR_TABLES = {
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
    { code: "NO_CAPACITY", text: NO_GPU },
    {
      code: "NO_CAPACITY",
      text: /no space left on device|cannot allocate memory|range of cpus|fully subnetted|port is already allocated/i,
    },
    { code: "IMAGE_NOT_FOUND", status: 404, text: /no such image/i },
    { code: "CONTAINER_CRASHED", text: /executable file not found|exec format error|permission denied|no such file or directory|is a directory/i },
    { code: "SPEC_REFUSED", status: 400 },
  ],
} as const satisfies Record<string, readonly EngineFaultRow[]>;

export type CallKind = keyof typeof ERROR_TABLES;

/** Node's codes for an engine that is unreachable or not the right one, without a failed system call. */
const UNREACHABLE = /^(ECONNRESET|EPROTO|ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HPE_)/;

/** The fault of an error of the engine's client. `doing` begins the sentence, such as "Stopping x"; `at` is the engine's address. */
export function engineFault(error: unknown, kind: CallKind, doing: string, at = "its usual socket"): Fault {
  if (error instanceof Fault) return error;
  const { code, syscall, statusCode, message } = error as { code?: unknown; syscall?: string; statusCode?: number; message?: string };
  if (statusCode === undefined && typeof code === "string" && (syscall !== undefined || UNREACHABLE.test(code))) {
    const sentence = `${doing}: no container engine can be reached at ${at} (${code}). Is it running, and is DOCKER_HOST right?`;
    return new Fault("ENGINE_UNREACHABLE", sentence, { cause: error });
  }
  const reason = withoutPrefix(message ?? String(error));
  if (kind === "start" && NO_GPU.test(reason)) return gpuFault(`${doing}: ${reason}`, { cause: error });
  const fault = codeOf(kind, reason, statusCode) ?? "ENGINE_FAILED";
  const todo = fault === "CONTAINER_CRASHED" ? adviceOnExec(reason) : undefined;
  return advisedFault(fault, `${doing}: ${reason}`, { cause: error, todo });
}

/** The fault code of the engine's own sentence, if a row fits. */
export function codeOf(kind: CallKind, reason: string, statusCode?: number): DriverFaultCode | undefined {
  const rows: readonly EngineFaultRow[] = ERROR_TABLES[kind];
  return rows.find(({ status, text }) => (status === undefined || status === statusCode) && (text === undefined || text.test(reason)))?.code;
}

/** True if the engine answered with one of these statuses. */
export function answered(error: unknown, ...statuses: number[]): boolean {
  const from = error instanceof Fault ? error.cause : error;
  const status = (from as { statusCode?: unknown } | undefined)?.statusCode;
  return typeof status === "number" && statuses.includes(status);
}

/** The result of a call; undefined if the engine answered with one of these statuses. */
export async function undefinedOn<T>(statuses: readonly number[], call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (answered(error, ...statuses)) return undefined;
    throw error;
  }
}

/** The engine's own sentence, without the prefix of the client. */
function withoutPrefix(message: string): string {
  return message
    .replace(/^\(HTTP code \d+\) .*? - /, "")
    .trim()
    .slice(0, 500);
}
