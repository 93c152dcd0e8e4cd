import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { HttpReply } from "../../lib/http-client.ts";

/** What the API server said no with (`Status` in its reference): the cause of a fault. It holds nothing of what was sent. */
export class Refusal extends Error {
  readonly status: number;
  /** Its own word, such as `Conflict` or `Expired`. */
  readonly reason: string;
  /** Milliseconds after which it wants to be asked again. */
  readonly retryAfterMs: number | undefined;

  constructor(status: number, reason: string, message: string, retryAfterMs?: number) {
    super(message);
    this.name = "Refusal";
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

type RefusalRow = { code: FaultCode; status?: number; text?: RegExp; says?: string };

/**
 * Why no pod may be made, in the words of the admission plugins: in an answer to berth, or in the condition of a Deployment whose controller got it.
 * Quotas and limits: https://kubernetes.io/docs/concepts/policy/ ; pod security: https://kubernetes.io/docs/concepts/security/pod-security-admission/
 */
const ADMISSION: readonly RefusalRow[] = [
  {
    code: "NO_CAPACITY",
    text: /exceeded quota|insufficient quota|failed quota/i,
    says: "stop other containers, raise the quota, or ask for less in container.json",
  },
  { code: "SPEC_REFUSED", text: /violates PodSecurity/i, says: "the namespace must allow the pod security standard `baseline`" },
  { code: "SPEC_REFUSED", text: /usage per (Container|Pod)|limit to request ratio/i, says: "a LimitRange of the namespace" },
];

/** How an authorizer says no; the verb is the one of a role. */
const CANNOT = /cannot (?<verb>\w+) resource/;

/** Somebody else has set a field; other conflicts are two who came at once. */
const FIELD_CONFLICT = /Apply failed with/i;

/** The first row that fits names the fault. */
const ANSWERS: readonly RefusalRow[] = [
  { code: "ENGINE_ACTION_DENIED", status: 401, says: "the cluster does not know berth's credentials (they may have run out)" },
  ...ADMISSION.map((row) => ({ ...row, status: 403 })),
  { code: "ENGINE_FAILED", status: 403, text: /being terminated/i, says: "the namespace is being removed" },
  { code: "ENGINE_ACTION_DENIED", status: 403, text: CANNOT },
  // Webhooks that look at what is applied.
  { code: "SPEC_REFUSED", status: 403, text: /admission webhook|denied the request/i },
  { code: "ENGINE_ACTION_DENIED", status: 403 },
  {
    code: "ENGINE_FAILED",
    status: 404,
    text: /namespaces "[^"]*" not found/,
    says: "create the namespace, or name another in GROK_SPAWNER_KUBERNETES__NAMESPACE",
  },
  { code: "SPEC_REFUSED", status: 409, text: FIELD_CONFLICT, says: "somebody else has taken fields of it over" },
  { code: "SPEC_REFUSED", status: 400 },
  { code: "SPEC_REFUSED", status: 422 },
];

export type ApiOperation = { doing: string; verb: string; resource: string; namespace: string };

/** An answer that is not a success, in the house's words. */
export function refusedFault(refusal: Refusal, { doing, verb, resource, namespace }: ApiOperation): Fault {
  const { status, message: said } = refusal;
  const row = ANSWERS.find((one) => one.status === status && (one.text === undefined || one.text.test(said)));
  if (status === 403 && row?.code === "ENGINE_ACTION_DENIED") {
    const sentence = `${doing}: berth may not ${CANNOT.exec(said)?.groups?.["verb"] ?? verb} ${resource} in the namespace ${namespace}; grant it with conf/kubernetes/rbac.yaml. The cluster said: ${cut(said)}`;
    return new Fault("ENGINE_ACTION_DENIED", sentence, { cause: refusal });
  }
  const more = row?.says === undefined ? "" : ` (${row.says})`;
  return new Fault(row?.code ?? "ENGINE_FAILED", `${doing}: the cluster said ${status}: ${cut(said)}${more}`, { cause: refusal });
}

/** Why the controller of a Deployment could make no pod. */
export function admissionFault(service: string, said: string): Fault {
  const row = ADMISSION.find(({ text }) => text?.test(said));
  const more = row?.says === undefined ? "" : ` (${row.says})`;
  return new Fault(row?.code ?? "SPEC_REFUSED", `${service}: the cluster made no pod: ${cut(said)}${more}`);
}

/** True where the same may be asked again after a while: the server is busy, or two changed an object at once. */
export function mayPass({ status, message }: Refusal, verb: string): boolean {
  return status === 429 || (status === 409 && verb === "apply" && !FIELD_CONFLICT.test(message));
}

/** Nobody is there, or it is not who it should be. */
export function unreachable(error: unknown, doing: string, at: string): Fault {
  const { code, message } = error as { code?: string; message?: string };
  const sentence = `${doing}: no Kubernetes API can be reached at ${at} (${code ?? message ?? "no answer"}). Is it running, and do GROK_SPAWNER_KUBERNETES__KUBECONFIG and its certificates fit?`;
  return new Fault("ENGINE_UNREACHABLE", sentence, { cause: error });
}

/** True where the API answered with one of these statuses. */
export function answered(error: unknown, ...statuses: number[]): boolean {
  const from = error instanceof Fault ? error.cause : error;
  return from instanceof Refusal && statuses.includes(from.status);
}

export function cut(said: string): string {
  return said.trim().slice(0, 500);
}

/** The refusal in a response of 400 or above: a `Status` where the API server itself wrote it. */
export function refusalOf({ status, header, text }: Pick<HttpReply, "status" | "header" | "text">): Refusal {
  const seconds = Number(header("retry-after"));
  const retryAfterMs = Number.isFinite(seconds) ? seconds * 1_000 : undefined;
  try {
    const { kind, message, reason } = JSON.parse(text()) as { kind?: string; message?: string; reason?: string };
    if (kind === "Status") return new Refusal(status, reason ?? "", message ?? "", retryAfterMs);
  } catch {
    // A proxy in between answers in its own way.
  }
  return new Refusal(status, "", text().slice(0, 500), retryAfterMs);
}
