import { pino } from "pino";
import { Fault } from "./fault.ts";

/** Fields first, then the message; an `Error` goes into `err`. */
type Write = (fields: Record<string, unknown>, sentence: string) => void;

export type Log = {
  debug: Write;
  info: Write;
  warn: Write;
  error: Write;
  child(fields: Record<string, unknown>): Log;
};

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Field names whose values are credentials; they are masked wherever they turn up in a line. */
const SECRET_FIELDS = ["authorization", "cookie", "token", "key", "password", "secret", "apiKey", "x-user-api-key", "x-api-key"];

/** Writes JSON lines to standard error, so that standard output stays free for what a command prints. */
export function openLog(options: { level: LogLevel; name: string }): Log {
  return pino(
    {
      name: options.name,
      level: options.level,
      serializers: { err: described },
      redact: { paths: SECRET_FIELDS.flatMap((field) => [`["${field}"]`, `*["${field}"]`]), censor: "***" },
    },
    pino.destination({ fd: 2, sync: true }),
  );
}

/** A fault has its code and message. Only a bug has its stack. */
function described(error: Error): object {
  if (!(error instanceof Fault)) return pino.stdSerializers.err(error);
  const { cause } = error;
  return { code: error.code, message: error.message, ...(cause instanceof Error ? { cause: cause.message } : {}) };
}
