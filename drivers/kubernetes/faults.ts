import { Fault, type FaultCode } from "../../lib/fault.ts";
import { type HttpReply, retryAfterMs } from "../../lib/http-client.ts";
import { gpuFault } from "../gpu.ts";

/** A refusal of the API server (`Status` in its reference): the cause of a fault. It has no part of the request. */
export class Refusal extends Error {
  readonly status: number;
  /** Such as `Conflict` or `Expired`. */
  readonly reason: string;
  /** The server's own delay, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(status: number, reason: string, message: string, retryAfterMs?: number) {
    super(message);
    this.name = "Refusal";
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

type RefusalRow = { code: FaultCode; status?: number; text?: RegExp; hint?: string };

/**
 * Refusals of the admission plugins to create a pod: in a response to berth, or in the condition of a Deployment.
 * Quotas and limits: https://kubernetes.io/docs/concepts/policy/ ; pod security: https://kubernetes.io/docs/concepts/security/pod-security-admission/
 */
const ADMISSION: readonly RefusalRow[] = [
  {
    code: "NO_CAPACITY",
    text: /exceeded quota|insufficient quota|failed quota/i,
    hint: "stop other containers, raise the quota, or ask for less in container.json",
  },
  { code: "SPEC_REFUSED", text: /violates PodSecurity/i, hint: "the namespace must allow the pod security standard `baseline` or `restricted`" },
  { code: "SPEC_REFUSED", text: /usage per (Container|Pod)|limit to request ratio/i, hint: "a LimitRange of the namespace" },
];

/** The sentence of an authorizer; the verb is that of a role. */
const CANNOT = /cannot (?<verb>\w+) resource/;

/** Another client has set a field. Other conflicts are two changes at once. */
const FIELD_CONFLICT = /Apply failed with/i;

/** The first row that fits names the fault. */
const ANSWERS: readonly RefusalRow[] = [
  { code: "ENGINE_ACTION_DENIED", status: 401, hint: "the cluster does not accept berth's credentials (they may have expired)" },
  ...ADMISSION.map((row) => ({ ...row, status: 403 })),
  { code: "ENGINE_FAILED", status: 403, text: /being terminated/i, hint: "the namespace is being removed" },
  { code: "ENGINE_ACTION_DENIED", status: 403, text: CANNOT },
  // Admission webhooks.
  { code: "SPEC_REFUSED", status: 403, text: /admission webhook|denied the request/i },
  { code: "ENGINE_ACTION_DENIED", status: 403 },
  {
    code: "ENGINE_FAILED",
    status: 404,
    text: /namespaces "[^"]*" not found/,
    hint: "create the namespace, or name another in GROK_SPAWNER_KUBERNETES__NAMESPACE",
  },
  { code: "SPEC_REFUSED", status: 409, text: FIELD_CONFLICT, hint: "another client has taken over some of its fields" },
  { code: "SPEC_REFUSED", status: 400 },
  { code: "SPEC_REFUSED", status: 422 },
];

type ApiOperation = { doing: string; verb: string; resource: string; namespace: string };

/** The fault of a refused call. */
export function refusedFault(refusal: Refusal, { doing, verb, resource, namespace }: ApiOperation): Fault {
  const { status, message } = refusal;
  const row = ANSWERS.find((one) => one.status === status && (one.text === undefined || one.text.test(message)));
  if (status === 403 && row?.code === "ENGINE_ACTION_DENIED") {
    const sentence = `${doing}: berth may not ${CANNOT.exec(message)?.groups?.["verb"] ?? verb} ${resource} in the namespace ${namespace}; grant it with conf/kubernetes/${resource === "pods/exec" ? "rbac-shell" : "rbac"}.yaml. The cluster answered: ${cut(message)}`;
    return new Fault("ENGINE_ACTION_DENIED", sentence, { cause: refusal });
  }
  const more = row?.hint === undefined ? "" : ` (${row.hint})`;
  return new Fault(row?.code ?? "ENGINE_FAILED", `${doing}: the cluster answered ${status}: ${cut(message)}${more}`, { cause: refusal });
}

/** The scheduler finds no node with the GPUs, or a quota has none left. */
export function isGpuShortage(reason: string): boolean {
  return /Insufficient nvidia\.com\/gpu|requested: [^:]*nvidia\.com\/gpu=/.test(reason);
}

/** The controller of a Deployment could not create a pod. */
export function admissionFault(service: string, message: string): Fault {
  if (isGpuShortage(message)) return gpuFault(`${service}: the cluster created no pod: ${cut(message)}`);
  const row = ADMISSION.find(({ text }) => text?.test(message));
  const more = row?.hint === undefined ? "" : ` (${row.hint})`;
  const cause = new Refusal(403, "Forbidden", message);
  return new Fault(row?.code ?? "SPEC_REFUSED", `${service}: the cluster created no pod: ${cut(message)}${more}`, { cause });
}

/** True if a retry may succeed: the server is busy, or an object (of a create: its quota) was changed twice at once. */
export function mayPass({ status, reason, message }: Refusal, verb: string): boolean {
  if (status !== 409) return status === 429;
  return (verb === "apply" && !FIELD_CONFLICT.test(message)) || (verb === "create" && reason === "Conflict");
}

/** RBAC has denied it, or the server has failed: one that has just started knows no roles and no range of addresses yet. */
export function mayBeCold({ status, message }: Refusal): boolean {
  return status >= 500 || (status === 403 && CANNOT.test(message));
}

/** The server names roles that it does not know, or does not know yet. */
export function namesMissingRoles({ message }: Refusal): boolean {
  return /RBAC: \[.* not found/.test(message);
}

/** Errors of a connection that may be another one a moment later. */
const OUTAGE = /^(?:ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN)/;
const OUTAGE_RETRY_MS = 1_000;

/** No connection, or not to the right server. If the API `hasAnswered` before, it is away for now, and the call may be repeated. */
export function unreachable(error: unknown, { doing, at, hasAnswered }: { doing: string; at: string; hasAnswered: boolean }): Fault {
  const { code, message } = error as { code?: string; message?: string };
  const sentence = `${doing}: no Kubernetes API can be reached at ${at} (${code ?? message ?? "no answer"}). Is it running, and do GROK_SPAWNER_KUBERNETES__KUBECONFIG and its certificates fit?`;
  const retryAfterMs = hasAnswered && OUTAGE.test(code ?? "") ? OUTAGE_RETRY_MS : undefined;
  return new Fault("ENGINE_UNREACHABLE", sentence, { cause: error, retryAfterMs });
}

/** True if the API answered with one of these statuses. */
export function answered(error: unknown, ...statuses: number[]): boolean {
  const from = error instanceof Fault ? error.cause : error;
  return from instanceof Refusal && statuses.includes(from.status);
}

/** Both ends of a long message: runtimes repeat the image's name, and the cause comes last. */
const LONGEST_MESSAGE = 500;
const HEAD_OF_MESSAGE = 180;

export function cut(message: string): string {
  const text = message.trim();
  if (text.length <= LONGEST_MESSAGE) return text;
  return `${text.slice(0, HEAD_OF_MESSAGE)} … ${text.slice(text.length - (LONGEST_MESSAGE - HEAD_OF_MESSAGE - 3))}`;
}

/** The refusal in a response of 400 or above: a `Status` if the API server itself wrote it. */
export function refusalOf({ status, header, text }: Pick<HttpReply, "status" | "header" | "text">, now: number): Refusal {
  const pauseMs = retryAfterMs({ header }, now);
  try {
    const { kind, message, reason } = JSON.parse(text()) as { kind?: string; message?: string; reason?: string };
    if (kind === "Status") return new Refusal(status, reason ?? "", message ?? "", pauseMs);
  } catch {
    // The response of a proxy.
  }
  return new Refusal(status, "", text().slice(0, 500), pauseMs);
}
