import type { ApiName } from "./api-model.ts";

export type Body = Record<string, unknown>;
export type Asked = { api: ApiName; action: string; body: Body };
export type Answer = { status: number; body: Body };
/** Asks moto. */
export type Pass = () => Promise<Answer>;

/** As AWS's JSON 1.1 protocol says what went wrong. */
export const failure = (type: string, message: string): Answer => ({ status: 400, body: { __type: type, message } });
export const denied = (action: string): Answer =>
  failure(
    "AccessDeniedException",
    `User: arn:aws:sts::123456789012:assumed-role/berth/i-1 is not authorized to perform: ${action} because no identity-based policy allows the ${action} action`,
  );
export const throttled: Answer = failure("ThrottlingException", "Rate exceeded");
