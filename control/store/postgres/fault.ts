import { Fault } from "../../../lib/fault.ts";

/**
 * Codes of Node (sockets, names, certificates) and SQLSTATEs of PostgreSQL that say something about the server rather than about berth, by their
 * beginning. `reconnect`: another connection may succeed soon; else it takes a person.
 */
type Meaning = { code: "STORE_UNAVAILABLE" | "STORE_FULL" | "STORE_READ_ONLY"; sentence: string; reconnect: boolean };

const away = (sentence: string, reconnect = true): Meaning => ({ code: "STORE_UNAVAILABLE", sentence, reconnect });

const MEANINGS: readonly (readonly [prefix: string, meaning: Meaning])[] = [
  ["ECONNREFUSED", away("PostgreSQL accepts no connection")],
  ["ECONNRESET", away("PostgreSQL closed the connection")],
  ["EPIPE", away("PostgreSQL closed the connection")],
  ["ENOENT", away("PostgreSQL has no socket there")],
  ["EACCES", away("The socket of PostgreSQL may not be used")],
  ["ENOTFOUND", away("The host of PostgreSQL is unknown")],
  ["EAI_", away("The name server does not answer for the host of PostgreSQL")],
  ["ETIMEDOUT", away("PostgreSQL did not answer in time")],
  ["EHOSTUNREACH", away("PostgreSQL cannot be reached")],
  ["ENETUNREACH", away("PostgreSQL cannot be reached")],
  ["CERT_", away("The certificate of PostgreSQL is not valid", false)],
  ["ERR_TLS_CERT", away("The certificate of PostgreSQL is for another host", false)],
  ["DEPTH_ZERO", away("The certificate of PostgreSQL is not trusted: set BERTH_DATABASE_CA", false)],
  ["SELF_SIGNED", away("The certificate of PostgreSQL is not trusted: set BERTH_DATABASE_CA", false)],
  ["UNABLE_TO", away("The certificate of PostgreSQL is not trusted: set BERTH_DATABASE_CA", false)],
  ["08", away("The connection to PostgreSQL broke")],
  ["28", away("PostgreSQL refused the user or the password", false)],
  ["3D000", away("PostgreSQL has no such database", false)],
  ["25006", away("PostgreSQL is read-only: it is a standby")],
  // A write transaction on a standby, and a prepared statement whose tables have changed since: a new connection helps with both.
  ["0A000", away("PostgreSQL is a standby, or its schema has changed")],
  ["25P0", away("PostgreSQL ended a transaction that was idle for too long")],
  ["42501", away("The user of PostgreSQL lacks a privilege", false)],
  ["53100", { code: "STORE_FULL", sentence: "No space is left for the store", reconnect: false }],
  ["53", away("PostgreSQL has no resources left")],
  ["55P03", away("Another transaction of PostgreSQL held a lock for too long", false)],
  ["57014", away("PostgreSQL did not finish a statement in time", false)],
  ["57P", away("PostgreSQL shuts down or starts")],
  ["58", away("PostgreSQL cannot read or write its files")],
  ["40001", away("Another transaction of PostgreSQL changed the same rows", false)],
  ["40P01", away("Another transaction of PostgreSQL locked the same rows", false)],
];

/** pg's own errors have no code. */
const TEXTS: readonly (readonly [text: RegExp, meaning: Meaning])[] = [
  [/timeout|timed out/i, away("PostgreSQL did not answer in time")],
  [/terminated|not queryable|connection error|Connection ended|closed/i, away("PostgreSQL closed the connection")],
  [/does not support SSL/, away("PostgreSQL does not use TLS: set sslmode=disable in BERTH_DATABASE_URL if the network is trusted", false)],
  [/pg_hba|SASL|SCRAM|password/i, away("PostgreSQL refused the user or the password", false)],
];

function meaningOf(error: unknown): { meaning: Meaning; code: string } | undefined {
  if (!(error instanceof Error)) return undefined;
  const nested = error instanceof AggregateError ? (error.errors[0] as unknown) : undefined;
  const code = "code" in error ? String(error.code) : nested instanceof Error && "code" in nested ? String(nested.code) : "";
  const [, byCode] = MEANINGS.find(([prefix]) => code.startsWith(prefix)) ?? [];
  if (byCode) return { meaning: byCode, code };
  if (code !== "") return undefined;
  const [, byText] = TEXTS.find(([text]) => text.test(error.message)) ?? [];
  return byText && { meaning: byText, code: "no reply" };
}

/** Whether another connection may succeed where this error came from, within seconds. */
export function isConnectionLost(error: unknown): boolean {
  return meaningOf(error)?.meaning.reconnect === true;
}

/**
 * The only place where errors of PostgreSQL become faults: STORE_UNAVAILABLE, STORE_FULL, STORE_READ_ONLY. Anything else is a bug and stays what it is.
 * `name` is the address, without a password; no text of the server is repeated, nor kept as the cause: it may name users and values.
 */
export function postgresFault(error: unknown, name: string): unknown {
  const match = meaningOf(error);
  if (!match) return error;
  return new Fault(match.meaning.code, `${match.meaning.sentence} (${name}, ${match.code}).`, { cause: withoutServerText(error) });
}

/** Undefined for an error whose text the server wrote: it has a SQLSTATE. Errors of Node and of the driver stay. */
export function withoutServerText(error: unknown): unknown {
  return error instanceof Error && "code" in error && /^[0-9A-Z]{5}$/.test(String(error.code)) && "severity" in error ? undefined : error;
}
