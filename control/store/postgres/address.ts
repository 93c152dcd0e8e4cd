import { readFileSync } from "node:fs";
import type { PoolConfig } from "pg";
import { Fault } from "../../../lib/fault.ts";

/** Of each control process, besides those of its store: one for the election, one for the token of gateways, one while its status is shown. */
export const CONNECTIONS_BESIDE_STORE = 3;

/** `url`: `postgres://user:password@host:port/database?sslmode=…&sslrootcert=…`. */
export type PostgresOptions = {
  url: string;
  /** File with the password, read at each new connection; instead of the one in the URL. */
  passwordFile?: string | undefined;
  /** PEM file with the authorities for the server's certificate, or its text; instead of `sslrootcert` in the URL. */
  caFile?: string | undefined;
  /** Most connections at a time. */
  connections: number;
};

/** From the settings; undefined: the store is a file in the data folder. */
export function configuredPostgres(database: {
  url: string | undefined;
  passwordFile: string | undefined;
  ca: string | undefined;
  connections: number;
}): PostgresOptions | undefined {
  const { url, passwordFile, ca, connections } = database;
  return url === undefined ? undefined : { url, passwordFile, caFile: ca, connections };
}

/** Where a database is, and how to connect to it. `name` is for messages and has no password. */
export type PostgresAddress = Pick<PoolConfig, "host" | "port" | "user" | "database" | "password" | "ssl"> & { name: string };

/** As libpq has them, but `allow` and `prefer`, which a machine in between can turn into `disable`. */
const SSL_MODES = ["disable", "require", "verify-ca", "verify-full"] as const;

const PARAMETERS = ["sslmode", "sslrootcert", "host"];

/**
 * Reads the URL. Without `sslmode` the certificate is verified (`verify-full`), except over loopback and Unix sockets, which use no TLS.
 * Faults: SETTINGS_INVALID.
 */
export function parsePostgresAddress({ url, passwordFile, caFile }: PostgresOptions): PostgresAddress {
  const invalid = (problem: string) => new Fault("SETTINGS_INVALID", `BERTH_DATABASE_URL ${problem}.`);
  if (!URL.canParse(url)) throw invalid("is not a URL such as postgres://user@host:5432/database");
  const { protocol, username, password, hostname, port, pathname, searchParams } = new URL(url);
  if (protocol !== "postgres:" && protocol !== "postgresql:") throw invalid("must begin with postgres://");
  for (const parameter of searchParams.keys())
    if (!PARAMETERS.includes(parameter)) throw invalid(`has an unknown parameter ${parameter}: known are ${PARAMETERS.join(", ")}`);
  const host = searchParams.get("host") ?? hostname.replace(/^\[(.*)\]$/, "$1");
  const user = decodeURIComponent(username);
  const database = decodeURIComponent(pathname.slice(1)) || user;
  if (host === "" || user === "") throw invalid("names no host or no user: postgres://user@host:5432/database");
  const isLocal = /^(\/|localhost$|127\.\d+\.\d+\.\d+$|::1$)/.test(host);
  const mode = SSL_MODES.find((one) => one === (searchParams.get("sslmode") ?? (isLocal ? "disable" : "verify-full")));
  if (mode === undefined) throw invalid(`has sslmode=${searchParams.get("sslmode")}: use one of ${SSL_MODES.join(", ")}`);
  if (passwordFile !== undefined) readPassword(passwordFile);
  const authorities = caFile ?? searchParams.get("sslrootcert") ?? undefined;
  return {
    host,
    port: port === "" ? 5432 : Number(port),
    user,
    database,
    // Given even where it is empty: pg would take that of the environment or of ~/.pgpass.
    password: passwordFile === undefined ? () => decodeURIComponent(password) : () => readPassword(passwordFile),
    ssl: mode !== "disable" && {
      rejectUnauthorized: mode !== "require" || authorities !== undefined,
      ...(authorities === undefined ? {} : { ca: readAuthorities(authorities) }),
      ...(mode === "verify-full" ? {} : { checkServerIdentity: () => undefined }),
    },
    name: `${host.includes(":") ? `[${host}]` : host}${port === "" ? "" : `:${port}`}/${database}`,
  };
}

function readPassword(file: string): string {
  try {
    return readFileSync(file, "utf8").replace(/\r?\n$/, "");
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `BERTH_DATABASE_PASSWORD_FILE cannot be read: ${(cause as Error).message}.`, { cause });
  }
}

/** The text itself where a task has variables and no files, as on Fargate. */
function readAuthorities(file: string): string {
  if (file.startsWith("-----BEGIN ")) return file;
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `The file with the database's authorities cannot be read: ${(cause as Error).message}.`, { cause });
  }
}
