import type { ApiName } from "./api-model.ts";

export type EcsBody = Record<string, unknown>;
export type EcsRequest = { api: ApiName; action: string; body: EcsBody };
export type EcsResponse = { status: number; body: EcsBody };
/** Asks moto. */
export type ForwardToMoto = () => Promise<EcsResponse>;

/** As AWS's JSON 1.1 protocol says what went wrong. */
export const failure = (type: string, message: string): EcsResponse => ({ status: 400, body: { __type: type, message } });
export const denied = (action: string): EcsResponse =>
  failure(
    "AccessDeniedException",
    `User: arn:aws:sts::123456789012:assumed-role/berth/i-1 is not authorized to perform: ${action} because no identity-based policy allows the ${action} action`,
  );
export const throttled: EcsResponse = failure("ThrottlingException", "Rate exceeded");
